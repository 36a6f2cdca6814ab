//! What can hold a program up: mistakes that are easily made.

use std::future::pending;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aiorun::{catch_cancel, is_cancelled, on_exit, shield, task};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;

const AGES: Duration = Duration::from_secs(1_000_000);

type Culprit = (&'static str, &'static str, fn());

pub(crate) const CULPRITS: [Culprit; 14] = [
    (
        "catch",
        "goes on after its cancellation, as if nothing had happened",
        catch,
    ),
    (
        "cooperative",
        "asks whether it is cancelled, and takes no notice",
        cooperative,
    ),
    ("protected", "protects something without end", protected),
    ("shield", "shields something without end", shielded),
    (
        "bare_shield",
        "the same in a task of bare `tokio::spawn`",
        bare_shield,
    ),
    (
        "deadlock",
        "two tasks, each with what the other waits for",
        deadlock,
    ),
    ("block", "blocks every thread inside a poll", blocked),
    ("spin", "computes without end inside a poll", spin),
    ("job", "a blocking job without end", job),
    (
        "stdin",
        "reads from standard input; holds up plain tokio only",
        stdin,
    ),
    ("destructor", "a destructor that blocks", destructor),
    ("callback", "a shutdown callback without end", || ()),
    ("sync_callback", "a shutdown callback that blocks", || ()),
    ("hook", "an exit hook without end", || {
        on_exit("flush", save());
    }),
];

fn catch() {
    task("reader").spawn(async {
        let (_sender, mut queue) = mpsc::channel::<u32>(1);
        loop {
            // The mistake: after an `Err` it should clean up and return.
            let _ = catch_cancel(queue.recv()).await;
        }
    });
}

fn cooperative() {
    task("poller").spawn(async {
        loop {
            if is_cancelled() {
                println!("cancelled, but never mind");
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
}

fn protected() {
    task("saver").protected().spawn(save());
}

fn shielded() {
    task("payments").spawn(async { shield(save()).await });
}

#[expect(clippy::disallowed_methods, reason = "libraries do this")]
fn bare_shield() {
    tokio::spawn(async { shield(save()).await });
}

fn deadlock() {
    let locks = [(); 2].map(|()| Arc::new(Mutex::new(())));
    for (name, order) in [("transfer", [0, 1]), ("audit", [1, 0])] {
        let [first, second] = order.map(|lock| Arc::clone(&locks[lock]));
        task(name).protected().spawn(async move {
            let _first = first.lock().await;
            sleep(Duration::from_millis(100)).await;
            // The mistake: they do not take them in one order.
            let _second = second.lock().await;
        });
    }
}

fn blocked() {
    for _ in 0..thread::available_parallelism().map_or(64, Into::into) {
        task("hasher").spawn(async { block() });
    }
}

fn spin() {
    task("miner").spawn(async {
        loop {
            std::hint::spin_loop();
        }
    });
}

fn job() {
    task("export").spawn_blocking(block);
}

fn stdin() {
    task("prompt").spawn(async { tokio::io::stdin().read_u8().await });
}

fn destructor() {
    struct Connection;

    impl Drop for Connection {
        fn drop(&mut self) {
            block();
        }
    }

    let connection = Connection;
    task("client").spawn(async {
        let _connection = connection;
        pending::<()>().await;
    });
}

pub(crate) async fn save() {
    write_all().await;
}

/// Waits for a disk that never answers.
async fn write_all() {
    sleep(AGES).await;
}

pub(crate) fn block() {
    thread::sleep(AGES);
}
