//! The clients of a server, who ask and ask, and count.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aiorun::JoinHandle;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use ecosystem::answer_to;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::watch;

type AnyError = Box<dyn Error + Send + Sync>;
type Body = Full<Bytes>;

/// In how many calls at a time a connection of HTTP/2 is used.
const STREAMS: u32 = 4;

/// How somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// One connection, one request after the other.
    KeepAlive,
    /// A connection for each request.
    NewConnection,
    /// One connection of HTTP/2, several requests at a time.
    Http2,
    /// As `Http2`, by gRPC; one message is the answer.
    Unary,
    /// As `Unary`; each word of the answer is a message.
    Streaming,
}

/// What all clients of a server have counted.
#[derive(Debug)]
pub(crate) struct Counts {
    answered: watch::Sender<u64>,
    /// Of those answered the ones that were asked before the signal, and answered after it.
    pub(crate) in_hand: AtomicU64,
    /// Sent, or about to be, when the connection was closed.
    pub(crate) unanswered: AtomicU64,
    /// Of those the ones that were sent, or about to be, when the signal came.
    pub(crate) overtaken: AtomicU64,
    sent: AtomicU64,
    signalled: AtomicBool,
    /// Nobody is to ask any more.
    sent_elsewhere: AtomicBool,
}

impl Counts {
    pub(crate) fn answered(&self) -> u64 {
        *self.answered.borrow()
    }

    fn is_signalled(&self) -> bool {
        self.signalled.load(Ordering::SeqCst)
    }

    fn may_ask(&self) -> bool {
        !self.sent_elsewhere.load(Ordering::SeqCst)
    }

    /// What nobody asks twice.
    fn question(&self) -> String {
        self.sent.fetch_add(1, Ordering::SeqCst).to_string()
    }

    #[track_caller]
    fn only_after_the_signal(&self, what: impl fmt::Display) {
        assert!(self.is_signalled(), "before the signal: {what}");
    }
}

/// Clients at work.
pub(crate) struct Load {
    counts: Arc<Counts>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, habits: &[Habit]) -> Self {
        let counts = Arc::new(Counts {
            answered: watch::Sender::new(0),
            in_hand: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            overtaken: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            signalled: AtomicBool::new(false),
            sent_elsewhere: AtomicBool::new(false),
        });
        let client = |habit: &Habit| {
            let (habit, counts) = (*habit, Arc::clone(&counts));
            aiorun::spawn(async move {
                while counts.may_ask()
                    && let Some(connection) = connect(address, habit, &counts).await
                {
                    connection.use_up(habit, &counts).await;
                }
            })
        };
        let clients = habits.iter().map(client).collect();
        Self { counts, clients }
    }

    /// Waits until so many are answered.
    pub(crate) async fn answered(&self, count: u64) {
        let mut answered = self.counts.answered.subscribe();
        let enough = answered.wait_for(|answered| *answered >= count).await;
        enough.expect("the counts are still there");
    }

    /// From now on a server may refuse.
    pub(crate) fn about_to_signal(&self) {
        self.counts.signalled.store(true, Ordering::SeqCst);
    }

    /// Clients ask elsewhere from now on; what they have asked already is still to be answered.
    pub(crate) fn send_elsewhere(&self) {
        self.counts.sent_elsewhere.store(true, Ordering::SeqCst);
    }

    /// Waits until nobody is served any more.
    pub(crate) async fn finish(self) -> Arc<Counts> {
        for client in self.clients {
            client.await.expect("a client that found nothing wrong");
        }
        self.counts
    }
}

enum Connection {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// `None` when the server does not listen any more.
async fn connect(address: SocketAddr, habit: Habit, counts: &Counts) -> Option<Connection> {
    match open(address, habit).await {
        Ok(connection) => Some(connection),
        Err(error) => {
            counts.only_after_the_signal(error);
            None
        }
    }
}

async fn open(address: SocketAddr, habit: Habit) -> Result<Connection, AnyError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = TokioIo::new(stream);
    Ok(match habit {
        Habit::KeepAlive | Habit::NewConnection => {
            let (sender, connection) = http1::handshake(stream).await?;
            aiorun::spawn(connection);
            Connection::Http1(sender)
        }
        Habit::Http2 | Habit::Unary | Habit::Streaming => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            aiorun::spawn(connection);
            Connection::Http2(sender)
        }
    })
}

impl Connection {
    /// Asks until the connection is closed, or as long as is the client's habit.
    async fn use_up(self, habit: Habit, counts: &Counts) {
        match self {
            Self::Http1(mut sender) => {
                while counts.may_ask() && sender.ready().await.is_ok() {
                    let question = counts.question();
                    let answer = sender.send_request(request(habit, &question));
                    if !note(habit, &question, answer, counts).await
                        || habit == Habit::NewConnection
                    {
                        break;
                    }
                }
            }
            Self::Http2(sender) => {
                let ask_on = async |mut sender: http2::SendRequest<Body>| {
                    while counts.may_ask() && sender.ready().await.is_ok() {
                        let question = counts.question();
                        let answer = sender.send_request(request(habit, &question));
                        if !note(habit, &question, answer, counts).await {
                            break;
                        }
                    }
                };
                join_all((0..STREAMS).map(|_| ask_on(sender.clone()))).await;
            }
        }
    }
}

/// Whether it was answered. What is wrong in an answer is the end of the test.
async fn note<F>(habit: Habit, question: &str, answer: F, counts: &Counts) -> bool
where
    F: Future<Output = hyper::Result<Response<Incoming>>>,
{
    let before = !counts.is_signalled();
    let response = match answer.await {
        Ok(response) => response,
        Err(error) => {
            counts.only_after_the_signal(error);
            counts.unanswered.fetch_add(1, Ordering::SeqCst);
            counts.overtaken.fetch_add(before.into(), Ordering::SeqCst);
            return false;
        }
    };
    assert_eq!(response.status(), 200, "{question}");
    // Once it has begun to come, it has to come to its end.
    let body = response.into_body().collect().await;
    let text = text(habit, body.expect("an answer to its end"));
    assert_eq!(text, answer_to(question));
    counts.answered.send_modify(|answered| *answered += 1);
    if before && counts.is_signalled() {
        counts.in_hand.fetch_add(1, Ordering::SeqCst);
    }
    true
}

fn request(habit: Habit, question: &str) -> Request<Body> {
    let request = match habit {
        Habit::KeepAlive | Habit::NewConnection => {
            let request = Request::get(format!("/{question}")).header("host", "localhost");
            match habit {
                Habit::NewConnection => request.header("connection", "close"),
                _ => request,
            }
        }
        Habit::Http2 => Request::get(format!("http://localhost/{question}")),
        Habit::Unary => call("answer"),
        Habit::Streaming => call("spell"),
    };
    let body = match habit {
        Habit::Unary | Habit::Streaming => message(question),
        _ => Bytes::new(),
    };
    request.body(Full::new(body)).expect("a request")
}

fn call(method: &str) -> hyper::http::request::Builder {
    Request::post(format!("http://localhost/texts/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// As gRPC frames it: not compressed, so many bytes, the bytes.
fn message(text: &str) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(text.len().try_into().expect("a short text"));
    frame.put_slice(text.as_bytes());
    frame.freeze()
}

/// What a body says; a call has to have succeeded.
fn text(habit: Habit, body: Collected<Bytes>) -> String {
    if matches!(habit, Habit::Unary | Habit::Streaming) {
        let status = body.trailers().and_then(|it| it.get("grpc-status"));
        assert_eq!(status.expect("the status of a call"), "0");
    }
    let mut bytes = body.to_bytes();
    let mut text = Vec::new();
    match habit {
        Habit::Unary | Habit::Streaming => {
            while bytes.has_remaining() {
                assert_eq!(bytes.get_u8(), 0, "not compressed");
                let length = bytes.get_u32().try_into().expect("a short text");
                text.extend(bytes.split_to(length));
            }
        }
        _ => text.extend(bytes),
    }
    String::from_utf8(text).expect("a text")
}

/// An answer, over a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Response<Incoming> {
    let connection = open(address, Habit::KeepAlive).await;
    let Ok(Connection::Http1(mut sender)) = connection else {
        panic!("the server listens");
    };
    let request = Request::get(path).header("host", "localhost");
    let request = request.body(Body::default()).expect("a request");
    sender.send_request(request).await.expect("an answer")
}

/// A connection that asks once, or not at all, and stays open: to hold it is all there is to do.
pub(crate) async fn idle(address: SocketAddr, habit: Habit, ask: bool) -> impl Sized {
    let mut connection = open(address, habit).await.expect("the server listens");
    if ask {
        let request = request(habit, "hello");
        let response = match &mut connection {
            Connection::Http1(sender) => sender.send_request(request).await,
            Connection::Http2(sender) => sender.send_request(request).await,
        };
        let body = response.expect("an answer").into_body().collect().await;
        body.expect("an answer to its end");
    }
    connection
}
