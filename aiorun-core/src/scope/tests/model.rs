//! The rules of cancellation as a plain data structure: no wakers, no flags, no locks. A task is
//! polled from its root, all parts in order, until nothing changes any more.

use super::program::{
    BEGUN, CAUGHT, Case, DONE, DROPPED, Event, FALSE, Op, Program, Seen, TRUE, Then, Turn,
};
use crate::registry::Outcome;

/// What has to be seen, turn by turn.
pub(super) fn run(case: &Case) -> Vec<Turn> {
    let mut task = Task::new(case.cooperative);
    let mut root = Node::new(&case.program);
    let mut turns = Vec::new();
    for events in case.turns.iter().chain([&vec![Event::Abort]]) {
        let mut ended = None;
        for event in events {
            match event {
                Event::Release(label) => task.released.push(*label),
                Event::Cancel | Event::Shutdown => task.pending = true,
                Event::Limit => task.is_over_the_limit = true,
                Event::Abort => ended = Some(Outcome::Cancelled),
            }
        }
        ended = ended.or_else(|| task.settle(&mut root));
        if ended.is_some() {
            task.is_dropped_outside = events.iter().any(|event| matches!(event, Event::Abort));
            root.end(&mut task, DROPPED);
            if let Some(mut begun) = task.begun.take() {
                begun.end(&mut task, DROPPED);
            }
        }
        turns.push(Turn {
            seen: std::mem::take(&mut task.log),
            then: task.then(ended),
        });
        if ended.is_some() {
            break;
        }
    }
    turns
}

/// A task, without its code.
#[derive(Default)]
struct Task {
    /// A cancellation was requested and is not received.
    pending: bool,
    is_over_the_limit: bool,
    /// By its owner, while it is not running.
    is_dropped_outside: bool,
    shields: usize,
    /// All that ever were; the first is the task itself, the *root*.
    scopes: Vec<Scope>,
    /// The scope whose code is running.
    current: usize,
    /// What was received last is nobody's yet. It stands for those before, for whoever was told of
    /// them and is alive was told again.
    unsettled: bool,
    caught: bool,
    released: Vec<usize>,
    /// In the pocket: the scope to which a `cancelled()` is bound, and a program.
    bound: Option<usize>,
    begun: Option<Node>,
    log: Vec<Seen>,
    /// How much has happened.
    changes: usize,
}

const ROOT: usize = 0;

#[derive(Default)]
struct Scope {
    is_over: bool,
    parent: usize,
    told: bool,
    asked: bool,
    /// Because it has asked, or from birth.
    cooperative: bool,
    /// It is to yield `Err`.
    fired: bool,
}

impl Task {
    fn new(cooperative: bool) -> Self {
        let root = Scope {
            cooperative,
            ..Scope::default()
        };
        Self {
            scopes: vec![root],
            ..Self::default()
        }
    }

    fn see(&mut self, label: usize, what: &'static str) {
        self.log.push((label, what));
        self.changes += 1;
    }

    fn then(&self, ended: Option<Outcome>) -> Then {
        let caught = self.caught;
        match ended {
            Some(outcome) => Then::Ended { outcome, caught },
            None => Then::Lives {
                cooperative: self.scopes[ROOT].cooperative,
                asked: self.scopes.iter().any(|it| it.asked && !it.is_over),
                shielded: self.shields > 0,
                caught,
            },
        }
    }

    /// Polls until there is nothing to do.
    fn settle(&mut self, program: &mut Node) -> Option<Outcome> {
        loop {
            let before = self.changes;
            if self.is_over_the_limit {
                // To refuse, one must have had a chance to obey.
                let root = &self.scopes[ROOT];
                let alone = self.catches().next().is_none() && self.shields == 0;
                let obeys = self.pending && alone && !root.told && !root.cooperative;
                return Some([Outcome::Refused, Outcome::Cancelled][usize::from(obeys)]);
            }
            // A task that has not begun is not suspended: a plain one never begins, and in another
            // it is pending for what that begins with.
            let is_new = program.state == State::New && self.scopes[ROOT].cooperative;
            if self.may_receive() && !is_new && !self.receive() {
                return Some(Outcome::Cancelled);
            }
            if program.poll(self) {
                return Some(Outcome::Completed);
            }
            if self.changes == before && !is_new {
                return None;
            }
        }
    }

    fn request(&mut self) {
        self.pending = true;
        self.changes += 1;
    }

    fn may_receive(&self) -> bool {
        self.pending && self.shields == 0
    }

    /// The catches that are alive.
    fn catches(&self) -> impl Iterator<Item = &Scope> {
        self.scopes[ROOT + 1..].iter().filter(|it| !it.is_over)
    }

    /// Tells every scope; says whether the task goes on.
    fn receive(&mut self) -> bool {
        let parents: Vec<_> = self.catches().map(|it| it.parent).collect();
        let alive = self
            .scopes
            .iter_mut()
            .enumerate()
            .filter(|(_, it)| !it.is_over);
        let mut taken_up = false;
        for (index, scope) in alive {
            scope.told = true;
            taken_up |= scope.cooperative;
            scope.fired |= index != ROOT && !parents.contains(&index) && !scope.cooperative;
        }
        self.unsettled = !taken_up;
        self.pending = false;
        self.changes += 1;
        taken_up || !parents.is_empty()
    }

    fn cooperate(&mut self) -> usize {
        let scope = &mut self.scopes[self.current];
        scope.cooperative = true;
        scope.asked = true;
        self.current
    }

    fn listen(&mut self) -> usize {
        let scope = self.cooperate();
        if self.may_receive() {
            self.receive();
        }
        scope
    }

    fn ask(&mut self, label: usize) {
        let told = !self.is_dropped_outside && {
            let scope = self.listen();
            self.scopes[scope].told
        };
        self.see(label, if told { TRUE } else { FALSE });
    }

    /// Whether a `cancelled()` that is bound to the scope resolves.
    fn hears(&self, scope: usize) -> bool {
        let over = self.scopes[scope].is_over;
        self.scopes[if over { ROOT } else { scope }].told
    }

    fn enter_catch(&mut self) -> usize {
        self.scopes.push(Scope {
            parent: self.current,
            ..Scope::default()
        });
        if self.may_receive() {
            self.receive();
        }
        self.scopes.len() - 1
    }

    fn leave_catch(&mut self, catch: usize) {
        self.changes += 1;
        self.scopes[catch].is_over = true;
        let parent = self.scopes[catch].parent;
        // It may be over before those inside, where they were moved elsewhere.
        let inside = self.scopes.iter_mut().filter(|it| it.parent == catch);
        inside.for_each(|it| it.parent = parent);
        // What it was to yield is pending again, unless somebody else has it, or will.
        let others = self.catches().any(|other| other.fired);
        if self.scopes[catch].fired && self.unsettled && !others {
            self.unsettled = false;
            self.pending = true;
        }
    }

    fn leave_shield(&mut self) {
        self.shields -= 1;
        self.changes += 1;
    }
}

/// A part of a program, and how far it has come.
struct Node {
    label: usize,
    op: Op,
    parts: Vec<Node>,
    state: State,
    /// Its own, or that which it listens to.
    scope: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    /// It has begun, and that was seen, or not.
    Begun {
        seen: bool,
    },
    Over,
}

impl Node {
    fn new(program: &Program) -> Self {
        Self {
            label: program.label,
            op: program.op,
            parts: program.parts.iter().map(Self::new).collect(),
            state: State::New,
            scope: ROOT,
        }
    }

    /// Says whether it is done.
    fn poll(&mut self, task: &mut Task) -> bool {
        if self.state == State::New {
            self.begin(task);
        }
        let fired = self.op == Op::Catch && task.scopes[self.scope].fired;
        if self.state != State::Over && fired {
            self.end_parts(task);
            task.scopes[self.scope].fired = false;
            task.unsettled = false;
            task.caught = true;
            self.end(task, CAUGHT);
        } else if self.go_on(task) {
            self.end(task, DONE);
        }
        self.state == State::Over
    }

    fn begin(&mut self, task: &mut Task) {
        let seen = match self.op {
            Op::Wait | Op::Leave | Op::Checkpoint | Op::Listen | Op::Catch | Op::Shield => true,
            Op::Hear => task.bound.is_some(),
            _ => false,
        };
        self.state = State::Begun { seen };
        if seen {
            task.see(self.label, BEGUN);
        }
        match self.op {
            Op::Request => task.request(),
            Op::Ask => task.ask(self.label),
            Op::Listen => self.scope = task.listen(),
            Op::Bind => task.bound = Some(task.listen()),
            Op::Hear => self.scope = task.bound.take().unwrap_or(ROOT),
            Op::Catch => self.scope = task.enter_catch(),
            Op::Shield => task.shields += 1,
            Op::Finish => self.parts.extend(task.begun.take()),
            _ => {}
        }
    }

    fn go_on(&mut self, task: &mut Task) -> bool {
        let parts = &mut self.parts;
        match self.op {
            _ if self.state == State::Over => true,
            Op::Request | Op::Ask | Op::Bind => true,
            Op::Wait | Op::Leave => task.released.contains(&self.label),
            Op::Checkpoint => !task.may_receive(),
            Op::Hear if self.state == (State::Begun { seen: false }) => true,
            Op::Listen | Op::Hear => task.hears(self.scope),
            Op::Catch => {
                let outer = std::mem::replace(&mut task.current, self.scope);
                let done = parts.iter_mut().all(|part| part.poll(task));
                task.current = outer;
                done
            }
            Op::Shield | Op::Seq | Op::Finish => parts.iter_mut().all(|part| part.poll(task)),
            Op::Join(_) => {
                let mut done = true;
                for part in parts {
                    done &= part.poll(task);
                }
                done
            }
            Op::Select => parts.iter_mut().any(|part| part.poll(task)),
            Op::Begin => {
                let mut begun = Self::new(&Op::Seq.of([]));
                begun.parts = std::mem::take(parts);
                if !begun.poll(task)
                    && let Some(mut replaced) = task.begun.replace(begun)
                {
                    replaced.end(task, DROPPED);
                }
                true
            }
        }
    }

    fn end_parts(&mut self, task: &mut Task) {
        let running = if self.op == Op::Catch {
            self.scope
        } else {
            task.current
        };
        let outer = std::mem::replace(&mut task.current, running);
        for part in &mut self.parts {
            part.end(task, DROPPED);
        }
        task.current = outer;
    }

    /// Ends it, in whatever way, unless it is over.
    fn end(&mut self, task: &mut Task, how: &'static str) {
        let State::Begun { seen } = self.state else {
            return;
        };
        self.end_parts(task);
        match self.op {
            Op::Catch => task.leave_catch(self.scope),
            Op::Shield => task.leave_shield(),
            _ => {}
        }
        if seen {
            task.see(self.label, how);
        }
        if self.op == Op::Leave && how == DROPPED {
            task.ask(self.label);
        }
        self.state = State::Over;
    }
}
