//! Names of the user's own do not get into the generated code, nor its names into the user's.

#![allow(dead_code, non_camel_case_types, non_snake_case, unused_macros)]

mod std {}
mod core {}
mod alloc {}
mod tokio {}

struct Result;
struct Builder;
struct Exit;
struct Duration;
struct ExitCode;
enum Option {
    Some,
    None,
}
type bool = u8;
type usize = ();
type u64 = ();

fn Some() {}
fn Ok() {}
fn drop() {}
fn probe() {}
fn reported() {}

trait Extension {
    fn flavor(self);
    fn name(self);
    fn run(self);
}

impl<T> Extension for T {
    fn flavor(self) {}
    fn name(self) {}
    fn run(self) {}
}

macro_rules! compile_error {
    () => {};
}

macro_rules! vec {
    () => {};
}

#[aiorun::main(
    flavor = "current_thread",
    name = "hygiene",
    run_forever = false,
    shutdown_timeout = "1s",
    timeout_task_shutdown = "none",
    signals = []
)]
async fn serve(builder: u8, main: u8, arg2: u8, _: u8) {
    let _ = (builder, main, arg2);
}

#[aiorun::main(flavor = "current_thread", name = "hygiene", run_forever = false, signals = [])]
async fn main() {}
