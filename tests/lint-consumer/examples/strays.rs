//! A program that starts tasks behind the supervisor's back, for `tests/strays.rs`, without which it
//! is empty.

#[cfg(strays)]
#[aiorun::main(flavor = "local")]
async fn main() {
    drop(tokio::spawn(async {}));
    drop(tokio::task::spawn(async {}));
    drop(tokio::task::spawn_local(async {}));
    drop(tokio::task::spawn_blocking(|| ()));
    drop(aiorun::spawn(async {}));
}

#[cfg(not(strays))]
fn main() {}
