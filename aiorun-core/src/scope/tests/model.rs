//! The rules of cancellation as a plain data structure: no wakers, no flags, no locks. A task is
//! polled from its root, all parts in order, until nothing changes any more.

use super::program::{Case, Event, Look, Op, Program, Seen, Turn};
use crate::registry::Outcome;

/// What has to be seen, turn by turn.
pub(super) fn run(case: &Case) -> Vec<Turn> {
    let mut task = Task::new(case.cooperative);
    let mut root = Some(Node::new(&case.program));
    let mut turns = Vec::new();
    let last = [vec![Event::Abort]];
    for events in case.turns.iter().chain(&last) {
        let mut outcome = None;
        for event in events {
            match event {
                Event::Release(label) => task.released.push(*label),
                Event::Cancel | Event::Shutdown => task.pending = true,
                Event::Limit => task.is_over_the_limit = true,
                Event::Abort => outcome = Some(Outcome::Cancelled),
            }
        }
        if let Some(program) = &mut root {
            outcome = outcome.or_else(|| task.settle(program));
        }
        if let Some(outcome) = outcome {
            root.take().into_iter().for_each(|root| root.cut(&mut task));
            task.empty_pocket();
            let caught = task.caught;
            task.see(Seen::Ended { outcome, caught });
        }
        turns.push(Turn {
            seen: std::mem::take(&mut task.log),
            look: root.as_ref().map(|_| task.look()),
        });
        if root.is_none() {
            break;
        }
    }
    turns
}

/// A task, without its code.
struct Task {
    /// A cancellation was requested and is not received.
    pending: bool,
    is_over_the_limit: bool,
    shields: usize,
    /// All that ever were; the first is the task itself, the *root*.
    scopes: Vec<Scope>,
    /// The scope whose code is running.
    current: usize,
    /// The cancellations that were received, and whether each is *settled*: somebody has taken it
    /// up, or it is pending again.
    settled: Vec<bool>,
    caught: bool,
    released: Vec<usize>,
    /// The scope to which the `cancelled()` in the pocket is bound.
    bound: Option<usize>,
    begun: Option<Node>,
    log: Vec<Seen>,
    /// How much has happened.
    changes: usize,
}

const ROOT: usize = 0;

#[derive(Clone, Default)]
struct Scope {
    is_over: bool,
    parent: usize,
    told: bool,
    /// Somebody has asked in it, or it is so from birth.
    cooperative: bool,
    asked: bool,
    /// It is to yield `Err`.
    fired: bool,
    /// How many cancellations had been received when it was entered.
    entered: usize,
}

impl Task {
    fn new(cooperative: bool) -> Self {
        let root = Scope {
            cooperative,
            ..Scope::default()
        };
        Self {
            pending: false,
            is_over_the_limit: false,
            shields: 0,
            scopes: vec![root],
            current: ROOT,
            settled: Vec::new(),
            caught: false,
            released: Vec::new(),
            bound: None,
            begun: None,
            log: Vec::new(),
            changes: 0,
        }
    }

    fn see(&mut self, seen: Seen) {
        self.log.push(seen);
        self.changes += 1;
    }

    fn look(&self) -> Look {
        Look {
            cooperative: self.scopes[ROOT].cooperative,
            asked: self.scopes.iter().any(|it| it.asked && !it.is_over),
            shielded: self.shields > 0,
            caught: self.caught,
        }
    }

    /// Polls until there is nothing to do.
    fn settle(&mut self, root: &mut Node) -> Option<Outcome> {
        loop {
            let before = self.changes;
            if self.is_over_the_limit {
                let scopes = &self.scopes;
                let chance = scopes[ROOT].told || scopes[ROOT].cooperative || self.shields > 0;
                let unaware = self.pending && !chance && self.catches().next().is_none();
                return Some(if unaware {
                    Outcome::Cancelled
                } else {
                    Outcome::Refused
                });
            }
            if self.may_receive() && !self.receive() {
                return Some(Outcome::Cancelled);
            }
            if root.poll(self) {
                return Some(Outcome::Completed);
            }
            if self.changes == before {
                return None;
            }
        }
    }

    fn may_receive(&self) -> bool {
        self.pending && self.shields == 0
    }

    /// The catches that are alive.
    fn catches(&self) -> impl Iterator<Item = usize> {
        (ROOT + 1..self.scopes.len()).filter(|scope| !self.scopes[*scope].is_over)
    }

    /// Tells every scope; says whether the task goes on.
    fn receive(&mut self) -> bool {
        let catches: Vec<_> = self.catches().collect();
        for &catch in &catches {
            let innermost = catches
                .iter()
                .all(|other| self.scopes[*other].parent != catch);
            let scope = &mut self.scopes[catch];
            scope.told = true;
            scope.fired |= innermost && !scope.cooperative;
        }
        self.scopes[ROOT].told = true;
        let alive = |scope: &&Scope| !scope.is_over;
        let cooperative = self.scopes.iter().filter(alive).any(|it| it.cooperative);
        self.settled.push(cooperative);
        self.pending = false;
        self.changes += 1;
        cooperative || !catches.is_empty()
    }

    /// Whoever is in `scope` knows.
    fn take_up(&mut self, scope: usize) {
        self.scopes[scope].fired = false;
        let entered = self.scopes[scope].entered;
        self.settled[entered..].fill(true);
    }

    fn cooperate(&mut self) -> usize {
        let scope = &mut self.scopes[self.current];
        scope.cooperative = true;
        scope.asked = true;
        if scope.fired {
            self.take_up(self.current);
        }
        self.current
    }

    fn ask(&mut self) -> bool {
        let scope = self.cooperate();
        if self.may_receive() {
            self.receive();
        }
        self.scopes[scope].told
    }

    /// Whether a `cancelled()` that is bound to the scope resolves.
    fn hears(&self, scope: usize) -> bool {
        let bound = &self.scopes[scope];
        let bound = if bound.is_over {
            &self.scopes[ROOT]
        } else {
            bound
        };
        bound.told
    }

    fn enter_catch(&mut self) -> usize {
        let catch = self.scopes.len();
        self.scopes.push(Scope {
            parent: self.current,
            entered: self.settled.len(),
            ..Scope::default()
        });
        if self.may_receive() {
            self.receive();
        }
        catch
    }

    fn leave_catch(&mut self, catch: usize) {
        let Scope {
            fired,
            parent,
            entered,
            ..
        } = self.scopes[catch];
        self.scopes[catch].is_over = true;
        for scope in &mut self.scopes {
            if scope.parent == catch {
                scope.parent = parent;
            }
        }
        if fired {
            // What it was to yield is pending again, unless somebody else has it, or will.
            for received in entered..self.settled.len() {
                let waits = |other: &Scope| other.fired && other.entered <= received;
                let others = self.catches().any(|other| waits(&self.scopes[other]));
                if !self.settled[received] && !others {
                    self.settled[received] = true;
                    self.pending = true;
                }
            }
        }
        self.changes += 1;
    }

    fn leave_shield(&mut self) {
        self.shields -= 1;
        self.changes += 1;
    }

    fn empty_pocket(&mut self) {
        if let Some(begun) = self.begun.take() {
            begun.cut(self);
        }
        self.bound = None;
    }
}

/// A part of a program that is under way.
struct Node {
    program: Program,
    state: State,
}

enum State {
    New,
    Suspended,
    Listening(usize),
    Catch(usize, Box<Node>),
    Shield(Box<Node>),
    Parts(Vec<Node>),
    Over,
}

impl Node {
    fn new(program: &Program) -> Self {
        Self {
            program: program.clone(),
            state: State::New,
        }
    }

    /// Says whether it is done.
    fn poll(&mut self, task: &mut Task) -> bool {
        if matches!(self.state, State::New) {
            self.state = self.begin(task);
        }
        let done = self.go_on(task);
        if done {
            self.state = State::Over;
        }
        done
    }

    fn begin(&mut self, task: &mut Task) -> State {
        let label = self.program.label;
        match &self.program.op {
            Op::Wait | Op::Checkpoint => {
                task.see(Seen::Begun(label));
                State::Suspended
            }
            Op::Request => {
                task.pending = true;
                task.changes += 1;
                State::Over
            }
            Op::Ask => {
                let answer = task.ask();
                task.see(Seen::Answer(label, answer));
                State::Over
            }
            Op::Listen => {
                task.see(Seen::Begun(label));
                State::Listening(task.cooperate())
            }
            Op::Bind => {
                task.bound = Some(task.cooperate());
                State::Over
            }
            Op::Hear => match task.bound.take() {
                Some(scope) => {
                    task.see(Seen::Begun(label));
                    State::Listening(scope)
                }
                None => State::Over,
            },
            Op::Catch(inner) => {
                task.see(Seen::Begun(label));
                State::Catch(task.enter_catch(), Box::new(Self::new(inner)))
            }
            Op::Shield(inner) => {
                task.see(Seen::Begun(label));
                task.shields += 1;
                State::Shield(Box::new(Self::new(inner)))
            }
            Op::Seq(_) | Op::Join(..) | Op::Select(_) => {
                State::Parts(self.program.parts().iter().map(Self::new).collect())
            }
            Op::Begin(inner) => {
                let mut begun = Self::new(inner);
                if !begun.poll(task)
                    && let Some(replaced) = task.begun.replace(begun)
                {
                    replaced.cut(task);
                }
                State::Over
            }
            Op::Finish => State::Parts(task.begun.take().into_iter().collect()),
        }
    }

    fn go_on(&mut self, task: &mut Task) -> bool {
        let label = self.program.label;
        match &mut self.state {
            State::New => unreachable!("it has begun"),
            State::Over => true,
            State::Suspended => {
                let done = match self.program.op {
                    Op::Checkpoint => !task.may_receive(),
                    _ => task.released.contains(&label),
                };
                if done {
                    task.see(Seen::Done(label));
                }
                done
            }
            State::Listening(scope) => {
                let done = task.hears(*scope);
                if done {
                    task.see(Seen::Done(label));
                }
                done
            }
            State::Catch(catch, inner) => {
                let catch = *catch;
                if task.scopes[catch].fired && task.shields == 0 {
                    std::mem::replace(&mut **inner, Self::over()).cut(task);
                    task.take_up(catch);
                    task.leave_catch(catch);
                    task.caught = true;
                    task.see(Seen::Caught(label));
                    return true;
                }
                let outer = std::mem::replace(&mut task.current, catch);
                let done = inner.poll(task);
                task.current = outer;
                if done {
                    task.leave_catch(catch);
                    task.see(Seen::Done(label));
                }
                done
            }
            State::Shield(inner) => {
                let done = inner.poll(task);
                if done {
                    task.leave_shield();
                    task.see(Seen::Done(label));
                }
                done
            }
            State::Parts(parts) => match self.program.op {
                Op::Join(..) => {
                    let mut done = true;
                    for part in parts {
                        done &= part.poll(task);
                    }
                    done
                }
                Op::Select(_) => {
                    let done = parts.iter_mut().any(|part| part.poll(task));
                    if done {
                        parts.drain(..).for_each(|part| part.cut(task));
                    }
                    done
                }
                _ => parts.iter_mut().all(|part| part.poll(task)),
            },
        }
    }

    fn over() -> Self {
        Self {
            program: Op::Seq(Vec::new()).into(),
            state: State::Over,
        }
    }

    /// Drops it.
    fn cut(self, task: &mut Task) {
        match self.state {
            State::New | State::Over => return,
            State::Parts(parts) => {
                parts.into_iter().for_each(|part| part.cut(task));
                return;
            }
            State::Suspended | State::Listening(_) => {}
            State::Catch(catch, inner) => {
                inner.cut(task);
                task.leave_catch(catch);
            }
            State::Shield(inner) => {
                inner.cut(task);
                task.leave_shield();
            }
        }
        task.see(Seen::Dropped(self.program.label));
    }
}
