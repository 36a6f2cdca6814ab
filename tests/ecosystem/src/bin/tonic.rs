//! A gRPC server of tonic that answers every call it has begun with, in one message or in many.
//!
//! Type `cargo run -p ecosystem --bin tonic` and press Ctrl-C while it is being asked. Its messages are
//! plain texts, so that no compiler of protocols is needed; what such a compiler generates ends up in
//! the same `serve_with_incoming_shutdown`.

use std::error::Error;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::Poll;

use axum::Router;
use axum::routing::post;
use ecosystem::Work;
use ecosystem::text::Text;
use futures::stream::{self, BoxStream, StreamExt as _};
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

#[aiorun::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let work = Work::counted();
    let (unary, stream) = (Answer(work.clone()), Spell(work));
    let router = Router::new()
        .route(
            "/texts/answer",
            post(async move |request| Grpc::new(Text).unary(unary.clone(), request).await),
        )
        .route(
            "/texts/spell",
            post(async move |request| {
                Grpc::new(Text)
                    .server_streaming(stream.clone(), request)
                    .await
            }),
        );
    let incoming = TcpIncoming::from(ecosystem::listen().await?);
    Server::builder()
        .serve_with_incoming_shutdown(router, incoming, aiorun::cancelled())
        .await?;
    Ok(())
}

/// One text for one text.
#[derive(Clone)]
struct Answer(Work);

impl UnaryService<String> for Answer {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let work = self.0.clone();
        Box::pin(async move { Ok(Response::new(work.answer(request.get_ref()).await)) })
    }
}

/// The same text word by word. A stream that has no end of its own would be told to end by
/// `take_until(aiorun::stopping())`; this one has, and comes to it.
#[derive(Clone)]
struct Spell(Work);

impl ServerStreamingService<String> for Spell {
    type Response = String;
    type ResponseStream = BoxStream<'static, Result<String, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let work = self.0.clone();
        work.begin();
        let answer = ecosystem::answer_to(request.get_ref());
        let words: Vec<String> = answer.split_inclusive(' ').map(str::to_owned).collect();
        let words = stream::iter(words).then(async |word| {
            ecosystem::pause().await;
            Ok(word)
        });
        let last = stream::poll_fn(move |_| {
            work.done();
            Poll::Ready(None)
        });
        ready(Ok(Response::new(words.chain(last).boxed())))
    }
}
