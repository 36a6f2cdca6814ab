//! Servers that are told to stop by a future: each takes `cancelled()` as it is, and an `async fn`
//! around it, and ends with the request in hand.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use aiorun::{Exit, Handle, JoinHandle, Phase, cancelled};
use axum::http::uri::PathAndQuery;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tonic::Status;
use tonic::server::UnaryService;
use tonic::transport::server::TcpIncoming;

use crate::text::Text;
use crate::trial::{FLAVORS, Log, builder, give_way, reach, run};

/// The form of axum's documentation. The server may call it in a task of its own.
async fn shutdown_signal() {
    cancelled().await;
}

type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a server is told to stop by; called in the task that serves.
const STOPS: [fn() -> Stop; 2] = [|| Box::pin(cancelled()), || Box::pin(shutdown_signal())];

/// Where the requests meet.
#[derive(Clone, Default)]
struct Service {
    /// The slow request has begun.
    begun: Arc<Notify>,
    /// It may end.
    release: Arc<Notify>,
}

impl Service {
    async fn answer(&self, path: &str) -> String {
        if path == "/slow" {
            self.begun.notify_one();
            self.release.notified().await;
        }
        format!("this is {path}")
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// What is to be served, and where, to a client that is on its way.
async fn visited(log: &Log) -> (Service, TcpListener) {
    let (service, listener) = (Service::default(), listener().await);
    let address = listener.local_addr().unwrap();
    client(service.clone(), log.clone(), move |path| get(address, path));
    (service, listener)
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Waits until a server listens for the shutdown, perhaps in a task of its own.
async fn somebody_asks() {
    let handle = Handle::current();
    while handle.tasks().iter().all(|task| task.asked.is_none()) {
        tokio::task::yield_now().await;
    }
}

/// Asks twice, and stops the program while the second answer is on its way.
fn client<F>(service: Service, log: Log, ask: impl Fn(&'static str) -> F) -> JoinHandle<()>
where
    F: Future<Output = String> + Send + 'static,
{
    let (quick, slow) = (ask("/quick"), ask("/slow"));
    // The client is not what is cancelled here.
    aiorun::shutdown_waits_for(async move {
        log.say(quick.await);
        let slow = aiorun::shutdown_waits_for(slow);
        service.begun.notified().await;
        somebody_asks().await;
        aiorun::stop();
        reach(Phase::Cancelling).await;
        give_way().await;
        service.release.notify_one();
        log.say(slow.await.unwrap());
    })
}

/// Runs a server in main, which ends with the request in hand.
#[track_caller]
fn ends_well<F>(serve: impl Fn(fn() -> Stop, Log) -> F)
where
    F: Future<Output = ()>,
{
    for flavor in FLAVORS {
        for stop in STOPS {
            let log = Log::default();
            let exit = run(&mut builder(flavor), async {
                serve(stop, log.clone()).await;
                log.say("the server has ended");
            });
            check(&log, &exit);
        }
    }
}

#[track_caller]
fn check(log: &Log, exit: &Exit) {
    let mut lines = log.lines();
    assert_eq!(lines.remove(0), "this is /quick");
    // The server and its client end at the same time.
    lines.sort();
    assert_eq!(lines, ["the server has ended", "this is /slow"]);
    assert_eq!(exit.report.tasks.cancelled, 0);
    assert!(exit.report.refused.is_empty());
}

// --- axum ----------------------------------------------------------------------------------------

fn router(service: Service) -> axum::Router {
    let answer = async move |request: axum::extract::Request| {
        let path = request.uri().path().to_owned();
        service.answer(&path).await
    };
    axum::Router::new().fallback(answer)
}

#[test]
fn axum_in_main() {
    ends_well(async |stop, log| {
        let (service, listener) = visited(&log).await;
        let server = axum::serve(listener, router(service));
        server.with_graceful_shutdown(stop()).await.unwrap();
    });
}

#[test]
fn axum_as_its_documentation_has_it() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let (service, listener) = visited(&log).await;
            axum::serve(listener, router(service))
                .with_graceful_shutdown(shutdown_signal())
                .await
                .unwrap();
            log.say("the server has ended");
        });
        check(&log, &exit);
    }
}

#[test]
fn axum_with_cancelled_itself() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let (service, listener) = visited(&log).await;
            axum::serve(listener, router(service))
                .with_graceful_shutdown(cancelled())
                .await
                .unwrap();
            log.say("the server has ended");
        });
        check(&log, &exit);
    }
}

#[test]
fn axum_in_a_task() {
    for flavor in FLAVORS {
        let log = Log::default();
        let exit = run(&mut builder(flavor), async {
            let (service, listener) = visited(&log).await;
            let log = log.clone();
            // Called in the task, it is the task that becomes cooperative.
            aiorun::spawn(async move {
                let server = axum::serve(listener, router(service));
                server.with_graceful_shutdown(cancelled()).await.unwrap();
                log.say("the server has ended");
            });
        });
        check(&log, &exit);
    }
}

#[test]
fn the_commit_of_a_handler_is_shielded() {
    for flavor in FLAVORS {
        let log = Log::default();
        let (of_handler, of_main) = (log.clone(), log.clone());
        let exit = run(&mut builder(flavor), async move {
            let commit = async move || {
                aiorun::stop();
                aiorun::shield(async {
                    reach(Phase::Cancelling).await;
                    give_way().await;
                    of_handler.say("committed");
                })
                .await;
            };
            let listener = listener().await;
            let address = listener.local_addr().unwrap();
            let router = axum::Router::new().fallback(async move || commit.clone()().await);
            // Nobody tells this server to stop: it is dropped, and its connections are left.
            aiorun::spawn(async move {
                let _told = of_main.on_drop("the server is dropped");
                axum::serve(listener, router).await.unwrap();
            });
            aiorun::shutdown_waits_for(async move { get(address, "/commit").await });
        });
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["committed", "the server is dropped"]);
        assert!(exit.report.refused.is_empty());
    }
}

// --- hyper ---------------------------------------------------------------------------------------

/// A server of hyper 1: an accept loop, and connections that are told and awaited.
async fn serve_hyper(listener: TcpListener, service: Service, mut stop: Stop) {
    use hyper::body::Incoming;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use hyper_util::server::graceful::GracefulShutdown;

    let connections = GracefulShutdown::new();
    let http = hyper::server::conn::http1::Builder::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            () = &mut stop => break,
        };
        let service = service.clone();
        let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
            let service = service.clone();
            async move {
                let answer = service.answer(request.uri().path()).await;
                Ok::<_, Infallible>(Response::new(answer))
            }
        });
        let connection = http.serve_connection(TokioIo::new(stream), answer);
        let connection = connections.watch(connection);
        aiorun::shutdown_waits_for(async move { connection.await.unwrap() });
    }
    drop(listener);
    connections.shutdown().await;
}

#[test]
fn hyper_in_main() {
    ends_well(async |stop, log| {
        let (service, listener) = visited(&log).await;
        serve_hyper(listener, service, stop()).await;
    });
}

#[test]
fn hyper_in_a_task() {
    for flavor in FLAVORS {
        for stop in STOPS {
            let log = Log::default();
            let exit = run(&mut builder(flavor), async {
                let (service, listener) = visited(&log).await;
                let log = log.clone();
                aiorun::spawn(async move {
                    serve_hyper(listener, service, stop()).await;
                    log.say("the server has ended");
                });
            });
            check(&log, &exit);
        }
    }
}

// --- tonic ---------------------------------------------------------------------------------------

impl UnaryService<String> for Service {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<String>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let answer = service.answer(request.get_ref()).await;
            Ok(tonic::Response::new(answer))
        })
    }
}

async fn get_by_grpc(address: SocketAddr, path: &'static str) -> String {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    let method = PathAndQuery::from_static("/texts/answer");
    let request = tonic::Request::new(path.to_owned());
    let answer: tonic::Response<String> = client.unary(request, method, Text).await.unwrap();
    answer.into_inner()
}

/// As [`visited`].
fn visited_by_grpc(log: &Log) -> (Service, TcpIncoming) {
    let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let (service, address) = (Service::default(), incoming.local_addr().unwrap());
    client(service.clone(), log.clone(), move |path| {
        get_by_grpc(address, path)
    });
    (service, incoming)
}

/// What `serve_with_shutdown` calls once it has bound its address, which is known here.
async fn serve_tonic(incoming: TcpIncoming, service: Service, stop: Stop) {
    let answer = async move |request: axum::extract::Request| {
        tonic::server::Grpc::new(Text).unary(service, request).await
    };
    let router = axum::Router::new().fallback(answer);
    let builder = tonic::transport::Server::builder();
    let serving = builder.serve_with_incoming_shutdown(router, incoming, stop);
    serving.await.unwrap();
}

#[test]
fn tonic_in_main() {
    ends_well(async |stop, log| {
        let (service, incoming) = visited_by_grpc(&log);
        serve_tonic(incoming, service, stop()).await;
    });
}

#[test]
fn tonic_in_a_task() {
    for flavor in FLAVORS {
        for stop in STOPS {
            let log = Log::default();
            let exit = run(&mut builder(flavor), async {
                let (service, incoming) = visited_by_grpc(&log);
                let log = log.clone();
                aiorun::spawn(async move {
                    serve_tonic(incoming, service, stop()).await;
                    log.say("the server has ended");
                });
            });
            check(&log, &exit);
        }
    }
}
