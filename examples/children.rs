//! Child processes that are stopped in order, newest first.
//!
//! Type `cargo run --example children` and press Ctrl-C: the front is asked to end, and does; then the
//! store is asked, does not listen, and is killed two seconds later. Kill one of them from another
//! terminal instead, and the program stops too, for it needs both.

use std::io;
use std::time::Duration;

use aiorun::catch_cancel;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(2);

#[aiorun::main]
async fn main() -> io::Result<()> {
    // Each has a process of its own, that tells its number when a signal finds it as it will be.
    const WORK: &str = "sh -c 'echo the $0 works in process $$; exec sleep 1000' $0 & wait";
    start("store", &format!("trap '' TERM; {WORK}"))?;
    start("front", &format!("trap 'echo bye; exit' TERM; {WORK}"))
}

/// Whoever starts a child says right there how to stop it.
fn start(name: &'static str, script: &str) -> io::Result<()> {
    let mut child = Command::new("sh")
        .args(["-c", script, name])
        // In a group of its own: Ctrl-C in a terminal is for all processes of a group, and would
        // reach it before its turn; and a signal to the group reaches what the child has started.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    println!("the {name} is process {}", child.id().unwrap_or_default());
    let (hand_over, handed_over) = oneshot::channel();
    aiorun::task(name).critical().spawn(async move {
        match catch_cancel(child.wait()).await {
            Ok(status) => println!("the {name} has ended by itself: {status:?}"),
            Err(_) => drop(hand_over.send(child)),
        }
    });
    aiorun::on_exit(format!("stop the {name}"), async move {
        if let Ok(child) = handed_over.await {
            stop(name, child).await;
        }
    });
    Ok(())
}

async fn stop(name: &str, mut child: Child) {
    // It has not been waited for, so the number is nobody else's.
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let send = |signal| group.map(|group| kill_process_group(group, signal));
    send(Signal::TERM);
    if timeout(PATIENCE, child.wait()).await.is_err() {
        println!("the {name} does not listen");
        send(Signal::KILL);
        let _ = child.wait().await;
    }
    println!("the {name} has ended");
}
