//! Where a task is suspended, as found in a build for production: optimised, and with the line
//! tables alone for debug information.

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};

use aiorun::Handle;
use lint_consumer as _;

static LINE: AtomicU32 = AtomicU32::new(0);

async fn waits() {
    LINE.store(line!() + 1, Ordering::Relaxed);
    let _ = aiorun::spawn(pending::<()>()).await;
}

#[aiorun::test]
async fn the_line_is_known() {
    let task = aiorun::task("waiter").spawn(async { waits().await });
    let dump = Handle::current().dump().await;
    let waiter = dump.tasks.iter().find(|it| it.id == task.id());
    let trace = waiter.and_then(|waiter| waiter.trace.as_ref());
    let [branch] = trace.expect("it is suspended").branches() else {
        panic!("it waits at one place: {dump}");
    };
    let [.., last] = &branch.frames[..] else {
        panic!("there is debug information: {dump}");
    };
    let file = last.file.as_deref().unwrap_or_default();
    assert!(file.ends_with("tests/trace.rs"), "{dump}");
    assert_eq!(last.line, Some(LINE.load(Ordering::Relaxed)), "{dump}");
    assert!(branch.frames.len() <= 2, "nothing of the runtime: {dump}");
}
