//! Whatever happens to a run, in whatever order, it ends in time: for random events of proptest, and for
//! those that the fuzzer in `fuzz/` makes up.

use super::*;

/// What happens to a run.
#[derive(Debug)]
pub(super) struct History {
    pub(super) limits: Limits,
    pub(super) callback: bool,
    pub(super) repeat: RepeatSignal,
    /// Each so many milliseconds after the one before.
    pub(super) events: Vec<(u64, Event)>,
    /// How many exit hooks there are.
    pub(super) hooks: u32,
}

impl History {
    /// Plays it. Phases only move forward, each is entered once, and once there is a reason to stop,
    /// deadlines alone bring the run to its end within the budget.
    pub(super) fn check(mut self) {
        let budget = self.limits.budget(DEFAULT_BUDGET).expect("it has one");
        let mut machine = Machine::new(self.limits, self.repeat, self.callback);
        let mut now = Duration::from_secs(1);
        let mut stopped = None;
        let mut ended = now;
        let mut phases = vec![Phase::Running];
        let mut events = self.events.into_iter();
        for _ in 0..1_000 {
            // First the events at their times, deadlines in between; then deadlines.
            let mut pending = Vec::new();
            match (events.next(), machine.deadline()) {
                (Some((after, event)), deadline) => {
                    let at = now + Duration::from_millis(after);
                    now = deadline.map_or(at, |deadline| deadline.clamp(now, at));
                    if deadline.is_some_and(|deadline| deadline <= now) {
                        pending.push(Event::Deadline);
                    }
                    pending.push(event);
                }
                (None, Some(deadline)) => {
                    now = now.max(deadline);
                    pending.push(Event::Deadline);
                }
                (None, None) => break,
            }
            while let Some(event) = pending.pop() {
                for action in machine.on(now, event) {
                    match action {
                        Action::Enter(phase) => {
                            assert!(Some(&phase) > phases.last(), "{phases:?}, and {phase:?}");
                            phases.push(phase);
                            ended = now;
                            stopped.get_or_insert(now);
                        }
                        Action::StartHook if self.hooks > 0 => self.hooks -= 1,
                        Action::StartHook => pending.push(Event::NoHook),
                        Action::Leave => pending.push(Event::Quiet),
                        _ => {}
                    }
                }
            }
        }
        if let Some(stopped) = stopped {
            assert_eq!(machine.step(), Step::End, "{machine:?}");
            assert!(
                ended <= stopped + budget + GRACE + CLOSE + STUCK,
                "{ended:?}"
            );
            assert!(phases.contains(&Phase::Closed));
        }
    }

    /// A history for any bytes: six for the limits, two for the delay, one each for the options and the
    /// hooks, and four for each event. What is missing is 0.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut bytes = bytes.iter().copied();
        let mut byte = || bytes.next();
        let mut word = || Some(u16::from_le_bytes([byte()?, byte().unwrap_or(0)]));
        let mut limit = || match word().unwrap_or(0) {
            0 => Limit::Default,
            number => Limit::After(Duration::from_millis(2 * u64::from(number - 1))),
        };
        let limits = Limits {
            total: limit(),
            tasks: limit(),
            jobs: limit(),
            delay: Duration::from_millis(2 * u64::from(word().unwrap_or(0))),
        };
        let [options, hooks] = word().unwrap_or(0).to_le_bytes();
        let events = std::iter::from_fn(|| {
            let [kind, more] = word()?.to_le_bytes();
            let event = match kind % 9 {
                0 => Event::Stop(StopReason::Signal(Signal::INT)),
                1 => Event::Stop(StopReason::Signal(Signal::TERM)),
                2 => Event::Stop(StopReason::Stop),
                3 => Event::Stop(StopReason::MainFailed),
                4 => Event::Quiet,
                5 => Event::Deadline,
                6 => Event::Abandon,
                7 => Event::TurnOver,
                _ => Event::Ahead(u32::from(more)),
            };
            Some((u64::from(word()?) / 2, event))
        });
        Self {
            limits,
            callback: options & 1 != 0,
            repeat: match options / 2 % 3 {
                0 => RepeatSignal::Auto,
                1 => RepeatSignal::Ignore,
                _ => RepeatSignal::Abort,
            },
            // The player has a limit of its own.
            events: events.take(200).collect(),
            hooks: u32::from(hooks % 50),
        }
    }
}
