use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use futures::task::AtomicWaker;

use super::*;

/// Counts how often it was woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Alarm {
    fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn alarm() -> (Arc<Alarm>, Waker) {
    let alarm = Arc::<Alarm>::default();
    let waker = Waker::from(Arc::clone(&alarm));
    (alarm, waker)
}

fn traced(waker: &Waker, poll: impl FnOnce(&Waker)) -> Taken {
    let traced = Traced::new(waker, Instant::now() + Duration::from_secs(600));
    poll(traced.waker());
    traced.taken().expect("there was time")
}

#[test]
fn what_is_too_late_is_only_counted() {
    let (_, waker) = alarm();
    let none = |copies: usize| {
        let traced = Traced::new(&waker, Instant::now());
        let copies: Vec<_> = (0..copies).map(|_| traced.waker().clone()).collect();
        assert!(copies.iter().all(|copy| copy.will_wake(&waker)));
        traced.taken().map(|taken| taken.more)
    };
    assert_eq!(none(3), None, "nothing is known");
    assert_eq!(none(0), Some(0), "there is nothing to know");
}

#[test]
fn a_copy_is_one_of_the_tasks_own() {
    let (alarm, waker) = alarm();
    let mut copies = Vec::new();
    let taken = traced(&waker, |traced| {
        assert!(!traced.will_wake(&waker));
        assert!(own(traced).will_wake(&waker));
        copies.push(traced.clone());
        copies.push(copies[0].clone());
    });
    assert_eq!((taken.places.len(), taken.more), (1, 0));
    assert!(copies.iter().all(|copy| copy.will_wake(&waker)));
    assert_eq!(
        Arc::strong_count(&alarm),
        4,
        "none is lost and none too many"
    );
    for copy in copies {
        copy.wake();
    }
    assert_eq!(alarm.rings(), 2);
    drop(waker);
    assert_eq!(Arc::strong_count(&alarm), 1);
}

#[test]
fn it_wakes_the_task() {
    let (alarm, waker) = alarm();
    traced(&waker, |traced| {
        traced.wake_by_ref();
        traced.wake_by_ref();
    });
    assert_eq!(alarm.rings(), 2);
}

#[test]
fn a_future_is_polled_as_ever() {
    let (alarm, waker) = alarm();
    let stored = AtomicWaker::new();
    let mut done = false;
    let mut future = pin!(std::future::poll_fn(|cx| {
        stored.register(cx.waker());
        if std::mem::replace(&mut done, true) {
            Poll::Ready(5)
        } else {
            Poll::Pending
        }
    }));
    let mut polled = Poll::Pending;
    let taken = traced(&waker, |waker| {
        polled = future.as_mut().poll(&mut Context::from_waker(waker));
    });
    assert_eq!((polled, taken.places.len()), (Poll::Pending, 1));
    stored.wake();
    assert_eq!(alarm.rings(), 1);
    let polled = future.poll(&mut Context::from_waker(&waker));
    assert_eq!(polled, Poll::Ready(5));
}

#[inline(never)]
fn the_one_who_takes_a_copy(waker: &Waker) -> Waker {
    waker.clone()
}

#[test]
fn the_backtrace_leads_to_the_caller() {
    let (_, waker) = alarm();
    let taken = traced(&waker, |traced| drop(the_one_who_takes_a_copy(traced)));
    let text = taken.places[0].to_string();
    assert!(text.contains("the_one_who_takes_a_copy"), "{text}");
}

#[test]
fn there_is_an_end_to_what_is_noted() {
    let (alarm, waker) = alarm();
    let taken = traced(&waker, |traced| {
        for _ in 0..MOST_BRANCHES + 3 {
            drop(traced.clone());
        }
        note(traced);
    });
    assert_eq!((taken.places.len(), taken.more), (MOST_BRANCHES, 4));
    assert_eq!(Arc::strong_count(&alarm), 2);
}

#[test]
fn to_note_is_enough_for_who_takes_no_copy() {
    let (alarm, waker) = alarm();
    note(&waker);
    let taken = traced(&waker, note);
    assert_eq!(taken.places.len(), 1);
    assert_eq!(Arc::strong_count(&alarm), 2);
}

#[test]
fn who_wakes_is_noted_where_nobody_takes_a_copy() {
    let (alarm, waker) = alarm();
    let woken = |copies: usize| {
        let taken = traced(&waker, |traced| {
            (0..3).for_each(|_| traced.wake_by_ref());
            (0..copies).for_each(|_| drop(traced.clone()));
        });
        taken.places.len()
    };
    assert_eq!((woken(0), woken(1), woken(2)), (3, 1, 2));
    assert_eq!(alarm.rings(), 9);
}

#[test]
fn threads_may_share_it_for_the_time_of_the_poll() {
    let (alarm, waker) = alarm();
    let taken = traced(&waker, |traced| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    traced.wake_by_ref();
                    let copy = traced.clone();
                    copy.wake();
                });
            }
        });
    });
    assert_eq!(taken.places.len(), 4);
    assert_eq!(alarm.rings(), 8);
    assert_eq!(Arc::strong_count(&alarm), 2);
}

#[test]
fn polls_nest() {
    let (alarm, waker) = alarm();
    let mut inner = None;
    let outer = traced(&waker, |outer| {
        inner = Some(traced(outer, |both| {
            assert!(own(both).will_wake(&waker));
            both.wake_by_ref();
            assert!(both.clone().will_wake(&waker));
        }));
        assert!(own(outer).will_wake(&waker));
    });
    assert_eq!((outer.places.len(), inner.unwrap().places.len()), (1, 1));
    assert_eq!(alarm.rings(), 1);
}

#[test]
fn a_panic_in_a_poll_leaves_nothing_behind() {
    let (alarm, waker) = alarm();
    let panicked = catch_unwind(std::panic::AssertUnwindSafe(|| {
        traced(&waker, |traced| {
            let _copy = traced.clone();
            panic!("it is a poll like any other");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(Arc::strong_count(&alarm), 2);
}

/// One whose own functions panic: that is between it and whoever calls them.
#[test]
fn a_waker_that_panics_does_so_as_without_a_trace() {
    struct Broken;
    impl Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("broken");
        }
    }
    let waker = Waker::from(Arc::new(Broken));
    let taken = traced(&waker, |traced| {
        let wake = || traced.wake_by_ref();
        assert!(catch_unwind(std::panic::AssertUnwindSafe(wake)).is_err());
        drop(traced.clone());
    });
    assert_eq!(taken.places.len(), 1);
}
