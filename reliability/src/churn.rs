//! A little of everything that a program does with its tasks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use aiorun::{
    Group, JoinHandle, cancelled, catch_cancel, group, shield, shutdown_waits_for, spawn,
    spawn_blocking, task,
};
use fastrand::Rng;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::load::{count, section};
use crate::scene::{AGES, idle};
use crate::tally::Token;

/// The phases of the shutdown that there are tasks of.
const PHASES: u8 = 4;
const RARELY: u16 = 100;
const SHORT: Duration = Duration::from_millis(20);

/// How many tasks were ended by force, as the groups know that shut them down.
pub(crate) static REFUSED: AtomicU64 = AtomicU64::new(0);

pub(crate) async fn do_something(rng: &mut Rng) {
    let token = Token::new();
    match rng.u8(..14) {
        0 => spawn(async { drop(token) }).await.expect("it completes"),
        1 => drop(spawn(async {
            yield_now().await;
            drop(token);
        })),
        2 => {
            let task = spawn(forever(token));
            if rng.bool() {
                yield_now().await;
            }
            task.cancel();
            assert!(task.await.expect_err("it never completes").is_cancelled());
        }
        3 => {
            let (entered, all_entered) = oneshot::channel();
            let task = spawn(scopes(token, entered));
            all_entered.await.expect("it enters them");
            task.cancel();
            assert!(task.await.expect("it catches that"));
        }
        4 => {
            let task = spawn(async move {
                shield(section()).await;
                forever(token).await;
            });
            yield_now().await;
            task.cancel();
            assert!(task.await.expect_err("it never completes").is_cancelled());
        }
        5 => spawn_blocking(|| drop(token)).await.expect("it completes"),
        6 => {
            let task = spawn(async {
                let _token = token;
                yield_now().await;
                panic!("seen");
            });
            assert!(task.await.expect_err("it never completes").is_panic());
        }
        7 => drop(task("unseen").spawn(async {
            let _token = token;
            panic!("unseen");
        })),
        8 => drop(shutdown_waits_for(async {
            section().await;
            drop(token);
        })),
        9 => {
            let task = spawn(forever(token));
            task.abort();
            assert!(task.await.expect_err("it never completes").is_cancelled());
        }
        10 => {
            let task = task("asks").cooperative().spawn(asks(token));
            task.cancel();
            task.await.expect("it hears of it");
        }
        11 => {
            let phase = rng.u8(..PHASES);
            let task = task("later").shutdown_phase(phase).spawn(async {
                // Which has its phase.
                let child = spawn(forever(token));
                child.cancel();
                child.await.expect_err("it never completes");
            });
            task.await.expect("it completes");
        }
        // It takes a while to ask who is to be ended where he is, and to look that up.
        12 if rng.u16(..RARELY) == 0 => refuses(token).await,
        _ => part_of_the_program(token, rng).await,
    }
}

async fn forever(token: Token) {
    idle().await;
    drop(token);
}

async fn asks(token: Token) {
    cancelled().await;
    drop(token);
}

/// Whether each innermost of its scopes has caught the cancellation. It is to come when all are entered:
/// of those that are entered while it is pending, the first has it for itself.
async fn scopes(token: Token, entered: oneshot::Sender<()>) -> bool {
    let nested = catch_cancel(catch_cancel(idle()));
    let (one, other, _) = tokio::join!(biased; catch_cancel(idle()), nested, async {
        entered.send(())
    });
    drop(token);
    one.is_err() && matches!(other, Ok(Err(_)))
}

/// A group with one inside, and one of the ways in which it may end.
async fn part_of_the_program(token: Token, rng: &mut Rng) {
    let part = group("part").shutdown_phase(rng.u8(..PHASES));
    let inner = part.group("inner");
    let members = populate(&part, &inner, token);
    if rng.bool() {
        yield_now().await;
    }
    match rng.u8(..5) {
        0 => part.cancel(),
        1 => is_shut_down(&part, members.len()).await,
        2 => {
            is_shut_down(&inner, members.len() - 1).await;
            part.cancel();
        }
        3 => {
            let _ = timeout(Duration::ZERO, part.shutdown(AGES)).await;
            let late = inner.spawn(forever(Token::new()));
            let error = late.await.expect_err("it takes no more members");
            assert!(error.is_cancelled());
        }
        _ => {
            // The members go on, and so are ended one by one.
            drop((part, inner));
            return members.iter().for_each(JoinHandle::cancel);
        }
    }
    part.join().await;
    assert!(part.tasks().is_empty(), "it is not waited for all");
}

/// A member of the outer one, who knows his group, and one of each other sort of the inner one.
fn populate(part: &Group, inner: &Group, token: Token) -> [JoinHandle<()>; 4] {
    let (own, asking, protected, job) = (part.clone(), Token::new(), Token::new(), Token::new());
    [
        part.spawn(async move {
            forever(token).await;
            drop(own);
        }),
        inner.task("asks").cooperative().spawn(asks(asking)),
        inner.task("protected").protected().spawn(async {
            shield(section()).await;
            drop(protected);
        }),
        inner.task("job").spawn_blocking(|| drop(job)),
    ]
}

async fn is_shut_down(group: &Group, members: usize) {
    let tasks = group.shutdown(AGES).await.tasks;
    assert_eq!((tasks.spawned, tasks.refused), (members as u64, 0));
    assert!(group.is_closed() && group.tasks().is_empty());
}

/// A member that does not listen, and is ended by force.
async fn refuses(token: Token) {
    let deaf = group("deaf");
    let task = deaf.task("refuses").cooperative().spawn(forever(token));
    let report = deaf.shutdown(SHORT).await;
    let tasks = report.tasks;
    assert_eq!(
        (report.refused.len(), tasks.spawned, tasks.refused),
        (1, 1, 1)
    );
    assert!(task.await.expect_err("it never completes").is_cancelled());
    count(&REFUSED);
}
