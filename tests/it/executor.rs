//! Tasks that hyper spawns.

use std::convert::Infallible;

use aiorun::{Executor, Handle, cancelled};
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor as _;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::trial::{FLAVORS, attempt, builder, on_a_runtime, passes, run};

/// What the handler of a request sees of its own task, and that it is told, and not cut.
async fn answer(line: u32) -> Result<Response<String>, Infallible> {
    let tasks = Handle::current().tasks();
    let request = tasks.iter().find(|it| it.name() == Some("request"));
    let request = request.expect("a request is a task");
    assert!(request.cooperative, "{request}");
    assert_eq!(request.location.file(), file!());
    assert_eq!(request.location.line(), line);
    aiorun::stop();
    cancelled().await;
    tokio::task::yield_now().await;
    Ok(Response::new("answered".to_owned()))
}

#[test]
fn a_request_of_http2_is_a_task_and_is_answered() {
    for flavor in FLAVORS {
        let exit = run(&mut builder(flavor), async {
            let (client, server) = tokio::io::duplex(4096);
            let executor = (Executor::named("request"), line!());
            let http = hyper::server::conn::http2::Builder::new(executor.0);
            let service = service_fn(move |_: Request<Incoming>| answer(executor.1));
            let connection = http.serve_connection(TokioIo::new(server), service);
            let connection = aiorun::shutdown_waits_for(connection);

            // Main is not what is asked here, and is cancelled.
            aiorun::shutdown_waits_for(async move {
                let client = TokioIo::new(client);
                let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), client);
                let (mut client, driver) = client.await.unwrap();
                aiorun::shutdown_waits_for(driver);
                let request = Request::get("http://localhost/").body(String::new());
                let response = client.send_request(request.unwrap()).await.unwrap();
                assert_eq!(response.body().size_hint().exact(), Some(8));
                drop((client, response));
                connection.await.unwrap().unwrap();
            });
            cancelled().await;
        });
        assert!(exit.report.refused.is_empty(), "{}", exit.report);
        assert_eq!(exit.report.tasks.cancelled, 0, "{}", exit.report);
    }
}

#[test]
fn a_panic_in_a_task_of_hyper_is_not_lost() {
    for flavor in FLAVORS {
        let exit = attempt(builder(flavor).stop_on_unhandled_errors(true), async {
            Executor::new().execute(async { panic!("a handler gives up") });
        });
        let error = exit.into_result().unwrap_err().to_string();
        assert!(error.contains("`connection`"), "{error}");
        assert!(error.contains("a handler gives up"), "{error}");
    }
}

#[test]
fn the_name_is_connection_or_what_was_asked_for() {
    for flavor in FLAVORS {
        passes(&mut builder(flavor), async {
            let executors = [
                (Executor::default(), "connection"),
                (Executor::new().clone(), "connection"),
                (Executor::named("stream".to_owned()), "stream"),
            ];
            for (executor, _) in &executors {
                executor.execute(cancelled());
            }
            let tasks = Handle::current().tasks();
            let mut names: Vec<_> = tasks.iter().filter_map(|task| task.name()).collect();
            names.sort_unstable();
            assert_eq!(names, ["connection", "connection", "stream"]);
            let lines: Vec<_> = tasks.iter().map(|task| task.location.file()).collect();
            assert!(lines.iter().all(|file| *file == file!()), "{lines:?}");
            aiorun::stop();
        });
    }
}

#[test]
#[should_panic(expected = "outside a supervisor")]
fn outside_a_supervisor_it_panics() {
    on_a_runtime(async { Executor::new().execute(async {}) });
}
