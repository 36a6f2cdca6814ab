//! The locks of the registry on more cores than can be had: a model, fed with what was measured.
//!
//! Workers spawn and complete tasks as fast as they can. For each task a worker takes the lock of its
//! shard twice, and where another worker has had it in between, the memory of the shard has to come
//! over from that one's core. Whoever finds it taken stands in line.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;

/// Nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Of a task, outside of the locks.
    pub(crate) outside: u64,
    /// Of a task, under them; everything that the registry does, which is more than is true.
    pub(crate) under: u64,
    /// For the memory of a shard to come over from another core.
    pub(crate) transfer: u64,
}

/// How long a task takes with so many workers, as a multiple of what it takes with one.
pub(crate) fn slowdown(costs: Costs, workers: usize, shards: usize) -> f64 {
    const TASKS: usize = 2_000;
    let (section, between) = (costs.under / 2, costs.outside / 2);
    let mut rng = Rng::with_seed(1);
    // When the lock will be free, and who has it last.
    let mut locks = vec![(0, usize::MAX); shards];
    let mut arrivals: BinaryHeap<_> = (0..workers)
        .map(|worker| Reverse((rng.u64(0..=between), worker)))
        .collect();
    let mut ended = 0;
    // Each takes it twice for each task.
    for _ in 0..workers * TASKS * 2 {
        let Some(Reverse((now, worker))) = arrivals.pop() else {
            break;
        };
        let (free, last) = &mut locks[worker % shards];
        let transfer = if *last == worker { 0 } else { costs.transfer };
        *free = now.max(*free) + transfer + section;
        *last = worker;
        ended = ended.max(*free);
        // Never twice the same, or they would keep out of each other's way.
        let pause = rng.u64(between / 2..=between * 3 / 2);
        arrivals.push(Reverse((*free + pause, worker)));
    }
    let alone = 2 * (section + between) * TASKS as u64;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let slowdown = ended as f64 / alone as f64;
    slowdown
}
