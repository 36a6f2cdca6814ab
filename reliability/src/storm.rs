//! What a storm is, and the list of all.

use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use aiorun::Flavor;
use fastrand::Rng;

use crate::child::Program;
use crate::scene::Scene;
use crate::{crowd, panic, repeat, scarce, several, soak, start, stop, surroundings};

/// Something that befalls programs, what is promised of them, and how both are played.
pub(crate) struct Storm {
    pub(crate) name: &'static str,
    /// In a sentence.
    pub(crate) promise: &'static str,
    /// What the child does.
    pub(crate) scene: fn(&Scene) -> ExitCode,
    /// What the parent does and checks: a panic is a storm that did not hold.
    pub(crate) check: fn(&Trial) -> Verdict,
}

/// What came of it.
pub(crate) enum Verdict {
    /// In figures.
    Held(String),
    /// With why not.
    NotPlayed(&'static str),
    /// With what the check said.
    Failed(String),
}

pub(crate) const STORMS: &[&Storm] = &[
    &start::STORM,
    &repeat::STORM,
    &crowd::STORM,
    &stop::STORM,
    &panic::STORM,
    &panic::OF_THE_HOOK,
    &scarce::DESCRIPTORS,
    &scarce::THREADS,
    &scarce::MEMORY,
    &surroundings::STDERR,
    &surroundings::STDOUT,
    &surroundings::CHILDREN,
    &surroundings::CLOCK,
    &surroundings::SUSPENDED,
    &surroundings::ONE_CORE,
    &surroundings::BUSY,
    &several::IN_SEQUENCE,
    &several::IN_PARALLEL,
    &soak::STORM,
];

pub(crate) fn by_name(name: &str) -> Option<&'static Storm> {
    STORMS.iter().copied().find(|storm| storm.name == name)
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) short: bool,
    pub(crate) soak: Duration,
}

/// One storm as it is played.
pub(crate) struct Trial {
    pub(crate) storm: &'static str,
    pub(crate) extent: Extent,
    pub(crate) seed: u64,
    /// Who starts the programs, where they are not started by us.
    pub(crate) under: &'static [&'static str],
}

/// The flavours that differ in their threads.
pub(crate) const FLAVORS: [Flavor; 2] = [Flavor::MultiThread, Flavor::CurrentThread];

pub(crate) const SIZE: &str = "AIORUN_SIZE";
pub(crate) const SEED: &str = "AIORUN_SEED";

/// Most of a program's short life is waiting: more of them at a time than there are cores.
const AT_ONCE: u64 = 12;

impl Trial {
    /// One of two numbers: that of a whole run, or that of a short one.
    pub(crate) fn size(&self, whole: u64, short: u64) -> u64 {
        if self.extent.short { short } else { whole }
    }

    /// The scene of this storm, told a size.
    pub(crate) fn program(&self, flavor: Flavor, size: u64) -> Program {
        let program = Program::scenario(self.storm, flavor);
        let program = match self.under {
            [] => program,
            words => program.started_by(words),
        };
        program
            .with(SIZE, &size.to_string())
            .with(SEED, &self.seed.to_string())
    }

    /// Plays so many, some of them at a time, each with its number and with choices of its own, which
    /// are the same for the same seed.
    pub(crate) fn each<T: Send>(
        &self,
        count: u64,
        play: impl Fn(u64, &mut Rng) -> T + Sync,
    ) -> Vec<T> {
        let next = AtomicU64::new(0);
        let play_on = || {
            let mut played = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return played;
                }
                let mut rng = Rng::with_seed(self.seed.wrapping_add(number));
                played.push(play(number, &mut rng));
            }
        };
        thread::scope(|scope| {
            let players: Vec<_> = (0..AT_ONCE.min(count))
                .map(|_| scope.spawn(play_on))
                .collect();
            let played = players
                .into_iter()
                .map(|player| player.join().unwrap_or_else(|panic| resume_unwind(panic)));
            played.flatten().collect()
        })
    }
}

/// The number that the parent gave to a scene.
pub(crate) fn size() -> u64 {
    number(SIZE)
}

pub(crate) fn number(variable: &str) -> u64 {
    let number = std::env::var(variable).ok();
    let number = number.and_then(|number| number.parse().ok());
    number.expect("the parent says so")
}
