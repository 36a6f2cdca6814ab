//! Groups: parts of a program that are cancelled, awaited and listed alone.
//!
//! A member's slot keeps its group, which is told when the slot is freed: so of every member there is
//! exactly one end, however it comes, and the group knows what it was. A member is one of all the groups
//! above as well, so nothing ever walks down.
//!
//! The lock of a group is taken with no other one held, and nothing but a leaf is locked under it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::current;
use crate::exit::StopReason;
use crate::handle::Handle;
use crate::join::JoinHandle;
use crate::listing::oldest_first;
use crate::log::Line;
use crate::phase::{GRACE, Phase};
use crate::registry::survey::Findings;
use crate::registry::{Birth, Outcome, Slot, Tally, too_late};
use crate::report::{PhaseReport, Report, TaskCounts};
use crate::reporter::Message;
use crate::run::{Caller, Command, Run};
use crate::spawn::{outside, reserve_in};
use crate::sync::lock_std as lock;
use crate::task::{Builder, Id, Kind, TaskInfo};

/// How long before the limit of a group those are asked where they are that will not make it.
const AHEAD: Duration = Duration::from_millis(250);

/// A part of a program that is cancelled, awaited and listed alone: what [`group`] returns.
///
/// Its members are the tasks and blocking jobs that were spawned by it, and those of the groups inside
/// it. In every other respect they are like others: a shutdown cancels and awaits them, and whoever
/// spawns by [`aiorun::spawn`](crate::spawn()) from inside a member spawns a task that is in no group.
///
/// In listings a member has its group's name before its own, `tenant-7/worker`, or in the place of one.
///
/// A `Group` is cheap to clone. Dropping the last one does nothing to the members, as with a
/// [`JoinHandle`]: they go on, and nobody can stop them together any more.
///
/// ```
/// use std::time::Duration;
///
/// #[aiorun::main]
/// async fn main() {
///     let tenant = aiorun::group("tenant-7");
///     tenant.task("worker").spawn(std::future::pending::<()>());
///     tenant.spawn(async { /* something short */ });
///
///     // The tenant leaves, and the program goes on.
///     let report = tenant.shutdown(Duration::from_secs(10)).await;
///     assert_eq!((report.tasks.spawned, report.tasks.refused), (2, 0));
///     aiorun::stop();
/// }
/// ```
#[derive(Clone)]
pub struct Group {
    members: Arc<Members>,
    phase: Option<u8>,
}

/// Names a part of the program: see [`Group`].
///
/// The name is for people. Two groups of one name are two groups.
///
/// # Panics
///
/// Outside a supervisor. [`Handle::group`](crate::Handle::group) is for other threads.
///
/// ```
/// #[aiorun::main]
/// async fn main() {
///     let tenant = aiorun::group("tenant-7");
///     tenant.spawn(async { println!("serving tenant 7") });
///     tenant.join().await;
///     aiorun::stop();
/// }
/// ```
#[track_caller]
pub fn group(name: impl Into<Cow<'static, str>>) -> Group {
    match current::run() {
        Some(run) => Group::new(run, name.into()),
        None => outside("group"),
    }
}

impl Group {
    pub(crate) fn new(run: Arc<Run>, name: Cow<'static, str>) -> Self {
        Self::within(None, run, name, None)
    }

    fn within(
        parent: Option<Arc<Members>>,
        run: Arc<Run>,
        name: Cow<'static, str>,
        phase: Option<u8>,
    ) -> Self {
        let members = Members {
            name: Arc::new(name),
            parent,
            run,
            born: Instant::now(),
            state: Mutex::default(),
            left: Notify::new(),
        };
        Self {
            members: Arc::new(members),
            phase,
        }
    }

    /// A group inside this one: its members are this one's too. In listings it is `tenant-7/billing`.
    ///
    /// ```
    /// #[aiorun::main]
    /// async fn main() {
    ///     let tenant = aiorun::group("tenant-7");
    ///     let billing = tenant.group("billing");
    ///     billing.task("mailer").spawn(std::future::pending::<()>());
    ///     assert_eq!(tenant.tasks()[0].name(), Some("tenant-7/billing/mailer"));
    ///
    ///     billing.cancel(); // and nothing else of the tenant's
    ///     tenant.join().await;
    ///     aiorun::stop();
    /// }
    /// ```
    #[must_use]
    pub fn group(&self, name: impl Into<Cow<'static, str>>) -> Self {
        let name = self.members.path(name.into());
        let run = Arc::clone(&self.members.run);
        Self::within(Some(Arc::clone(&self.members)), run, name, self.phase)
    }

    /// The same group, whose members are cancelled in that phase of the shutdown, if they are spawned by
    /// what this returns: see [`task::Builder::shutdown_phase`](Builder::shutdown_phase). A task may say
    /// otherwise for itself. Groups that are made from it have the phase too.
    ///
    /// ```
    /// let exit = aiorun::run(async {
    ///     let storage = aiorun::group("storage").shutdown_phase(1);
    ///     storage.task("writer").spawn(std::future::pending::<()>());
    ///     assert_eq!(storage.tasks()[0].shutdown_phase, 1);
    ///     aiorun::stop();
    /// });
    /// assert!(exit.is_success());
    /// ```
    #[must_use]
    pub fn shutdown_phase(self, phase: u8) -> Self {
        Self {
            phase: Some(phase),
            ..self
        }
    }

    /// Its name, with those of the groups that it is in: `tenant-7/billing`.
    ///
    /// ```
    /// let exit = aiorun::run(async {
    ///     assert_eq!(aiorun::group("tenant-7").group("billing").name(), "tenant-7/billing");
    ///     aiorun::stop();
    /// });
    /// assert!(exit.is_success());
    /// ```
    pub fn name(&self) -> &str {
        &self.members.name
    }

    /// As [`aiorun::spawn`](crate::spawn()), a member, from any thread. Once the group is being shut
    /// down, or the run is over, the future is dropped and the handle says cancelled.
    ///
    /// ```
    /// #[aiorun::main]
    /// async fn main() {
    ///     let tenant = aiorun::group("tenant-7");
    ///     let thread = std::thread::spawn(move || tenant.spawn(async { "from afar" }));
    ///     assert_eq!(thread.join().unwrap().await.unwrap(), "from afar");
    ///     aiorun::stop();
    /// }
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.nameless().spawn(future)
    }

    /// As [`aiorun::spawn_fallible`](crate::spawn_fallible), a member: see [`Group::spawn`].
    ///
    /// ```
    /// #[aiorun::main]
    /// async fn main() {
    ///     let tenant = aiorun::group("tenant-7");
    ///     let sync = tenant.spawn_fallible(async { Err::<(), _>("no such tenant") });
    ///     assert_eq!(sync.await.unwrap(), Err("no such tenant"));
    ///     aiorun::stop();
    /// }
    /// ```
    #[track_caller]
    pub fn spawn_fallible<F, T, E>(&self, future: F) -> JoinHandle<Result<T, E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        self.nameless().spawn_fallible(future)
    }

    /// As [`aiorun::task`](crate::task()), for a member: see [`Group::spawn`]. Local tasks and blocking
    /// jobs become members in this way.
    ///
    /// ```
    /// #[aiorun::main]
    /// async fn main() {
    ///     let tenant = aiorun::group("tenant-7");
    ///     let export = tenant.task("export").spawn_blocking(|| "done");
    ///     assert_eq!(tenant.tasks()[0].name(), Some("tenant-7/export"));
    ///     assert_eq!(export.await.unwrap(), "done");
    ///     aiorun::stop();
    /// }
    /// ```
    pub fn task(&self, name: impl Into<Cow<'static, str>>) -> Builder {
        let name = self.members.path(name.into());
        Builder::member(Arc::clone(&self.members), Arc::new(name), self.phase)
    }

    fn nameless(&self) -> Builder {
        let members = Arc::clone(&self.members);
        Builder::member(members, Arc::clone(&self.members.name), self.phase)
    }

    /// Requests the cancellation of every member, protected or not, as [`JoinHandle::cancel`] does.
    /// Returns at once. Who calls it and is a member is asked too.
    ///
    /// The group goes on, and what is spawned later has not been asked.
    ///
    /// ```
    /// #[aiorun::main]
    /// async fn main() {
    ///     let tenant = aiorun::group("tenant-7");
    ///     let worker = tenant.spawn(std::future::pending::<()>());
    ///     tenant.cancel();
    ///     assert!(worker.await.unwrap_err().is_cancelled());
    ///     assert_eq!(tenant.spawn(async { 7 }).await.unwrap(), 7);
    ///     aiorun::stop();
    /// }
    /// ```
    pub fn cancel(&self) {
        self.members.cancel();
    }

    /// Waits until there is no member: at once where there is none, and where members spawn others, for
    /// those too.
    ///
    /// A member that waits for its own group waits for itself, until it is cancelled.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped; the members go on, and a new one waits as well.
    ///
    /// ```
    /// #[aiorun::main]
    /// async fn main() {
    ///     let crawl = aiorun::group("crawl");
    ///     let more = crawl.clone();
    ///     crawl.spawn(async move {
    ///         more.spawn(async { /* what the first page leads to */ });
    ///     });
    ///     crawl.join().await;
    ///     assert!(crawl.tasks().is_empty());
    ///     aiorun::stop();
    /// }
    /// ```
    pub async fn join(&self) {
        loop {
            let mut left = pin!(self.members.left.notified());
            // Before the look, so that the last one is not missed between the two.
            left.as_mut().enable();
            if self.members.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Stops this part of the program, as the shutdown stops all of it: no more members from now on, those
    /// that are not protected are cancelled, and all are awaited for `limit` at the most. Returns what came
    /// of it.
    ///
    /// Whatever is spawned from now on by this group, or a group inside it, is dropped and its handle says
    /// cancelled. Blocking jobs, queued ones too, run to their end, and [`is_cancelled`] is true in them. Those
    /// that have not ended at the limit, protected and shielded ones too, are asked where they are suspended,
    /// named in a warning, and ended by force, which may take a tenth of a second more, and as much where they
    /// do not answer. A blocking job cannot be ended and goes on: [`Report::abandoned`]. So does a task that is
    /// stuck in a poll, which the shutdown of the program will wait for.
    ///
    /// All are cancelled at once, in whatever [phase](Self::shutdown_phase) of the program's shutdown they
    /// would be. Where order matters, groups inside this one are shut down one after the other.
    ///
    /// The report is of this group: its times are counted from when the group was made, and its tasks are
    /// all that were ever members. It tells of no strays, hooks and failures, which are the program's. Who
    /// refused is counted by the report of the program too, and is no error of it.
    ///
    /// The limit is by tokio's clock, as that of [`tokio::time::timeout`], and not the shutdown's: when the
    /// program stops meanwhile, its members are cancelled in their phase, and ended at the program's limit.
    /// A member that shuts its own group down is cancelled by that, here.
    ///
    /// [`is_cancelled`]: crate::is_cancelled()
    ///
    /// # Panics
    ///
    /// In a runtime without tokio's timers, which [`supervise`](crate::Builder::supervise) may be in.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the group takes no more members, and they have been asked to end; nobody is
    /// ended by force. Another call goes on from there, with a request and a limit of its own.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let exit = aiorun::run(async {
    ///     let tenant = aiorun::group("tenant-7");
    ///     tenant.task("deaf").cooperative().spawn(std::future::pending::<()>());
    ///     tokio::task::yield_now().await; // it starts
    ///
    ///     let report = tenant.shutdown(Duration::from_millis(100)).await;
    ///     assert_eq!(report.refused[0].name(), Some("tenant-7/deaf"));
    ///     assert!(tenant.spawn(async {}).await.unwrap_err().is_cancelled());
    ///     aiorun::stop();
    /// });
    /// assert!(exit.is_success());
    /// ```
    pub async fn shutdown(&self, limit: Duration) -> Report {
        self.members.close();
        let ahead = AHEAD.min(limit / 4);
        let ended = timeout(limit.saturating_sub(ahead), self.join()).await;
        let mut left = match ended {
            Ok(()) => Vec::new(),
            Err(_) => self.end_by_force(ahead).await,
        };
        self.members.keep_refused(&mut left);
        self.members.report(left)
    }

    /// Asks those that are left where they are, all before the first is ended, and ends them when the time
    /// is over. Returns how they were.
    async fn end_by_force(&self, ahead: Duration) -> Vec<TaskInfo> {
        let members = &self.members;
        let alive = members.alive().into_iter();
        let ids = alive.map(|(id, _)| id).collect();
        let findings = members.ask(ids, Instant::now() + ahead);
        if timeout(ahead, self.join()).await.is_ok() {
            return Vec::new();
        }
        let findings = timeout(GRACE, findings).await;
        let mut left = members.force();
        if let Ok(Ok(findings)) = findings {
            findings.add_to(&mut left);
        }
        // Who is stuck in a poll, or a blocking job, will not be gone.
        let _ = timeout(GRACE, self.join()).await;
        left
    }

    /// Whether it was shut down, or one that it is in.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let exit = aiorun::run(async {
    ///     let tenant = aiorun::group("tenant-7");
    ///     tenant.shutdown(Duration::ZERO).await;
    ///     assert!(tenant.is_closed() && tenant.group("billing").is_closed());
    ///     aiorun::stop();
    /// });
    /// assert!(exit.is_success());
    /// ```
    pub fn is_closed(&self) -> bool {
        let mut all = self.members.and_above();
        all.any(|members| lock(&members.state).closed.is_some())
    }

    /// Its members, oldest first, as [`Handle::tasks`] has them.
    ///
    /// ```
    /// let exit = aiorun::run(async {
    ///     let tenant = aiorun::group("tenant-7");
    ///     tenant.task("worker").spawn(std::future::pending::<()>());
    ///     for task in tenant.tasks() {
    ///         println!("{task}"); // task `tenant-7/worker` spawned at …
    ///     }
    ///     aiorun::stop();
    /// });
    /// assert!(exit.is_success());
    /// ```
    pub fn tasks(&self) -> Vec<TaskInfo> {
        self.members.describe(Slot::info)
    }

    /// The supervisor that it belongs to.
    ///
    /// ```
    /// let exit = aiorun::run(async {
    ///     let tenant = aiorun::group("tenant-7");
    ///     std::thread::spawn(move || tenant.handle().stop());
    /// });
    /// assert!(exit.is_success());
    /// ```
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.members.run))
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name())
            .field("shutdown_phase", &self.phase)
            .field("members", &self.members.alive().len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What the handles of one group share, and what a member's slot keeps.
pub(crate) struct Members {
    name: Arc<Cow<'static, str>>,
    parent: Option<Arc<Members>>,
    run: Arc<Run>,
    born: Instant,
    state: Mutex<State>,
    /// Told when the last member has left.
    left: Notify,
}

#[derive(Default)]
struct State {
    alive: BTreeMap<Id, &'static Slot>,
    /// How many are being spawned, and so will be among them, or not.
    entering: usize,
    /// How often all were cancelled.
    requests: u64,
    /// When it was shut down.
    closed: Option<Instant>,
    /// Of those that have ended.
    tally: Tally,
    refused: HashSet<Id>,
}

impl State {
    fn is_empty(&self) -> bool {
        self.entering == 0 && self.alive.is_empty()
    }
}

impl Members {
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is what `into` makes")]
    fn path(&self, name: Cow<'static, str>) -> Cow<'static, str> {
        format!("{}/{name}", self.name).into()
    }

    /// This group and those that it is in.
    fn and_above(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |members| members.parent.as_deref())
    }

    /// A place in the registry for a member, or none where the group takes no more, or the run is over.
    pub(crate) fn admit(self: &Arc<Self>, birth: &Birth) -> (Option<&'static Slot>, Id) {
        let Some(entry) = Entry::begin(self) else {
            return (None, too_late());
        };
        let parent = current::slot();
        let parent = parent.filter(|slot| std::ptr::eq(slot.registry(), self.run.registry));
        let (slot, id) = reserve_in(&self.run, parent, birth);
        if let Some(slot) = slot {
            slot.keep_group(Arc::clone(self));
            entry.finish(slot, id);
        }
        (slot, id)
    }

    /// A member has ended.
    pub(crate) fn ended(&self, id: Id, outcome: usize, caught: bool) {
        for members in self.and_above() {
            let mut state = lock(&members.state);
            state.alive.remove(&id);
            state.tally.ended[outcome] += 1;
            state.tally.caught += u64::from(caught);
            if outcome == Outcome::Refused as usize {
                state.refused.insert(id);
            }
            members.tell_if_empty(state);
        }
    }

    /// With the lock released: a waker may be anybody's.
    fn tell_if_empty(&self, state: MutexGuard<'_, State>) {
        let is_empty = state.is_empty();
        drop(state);
        if is_empty {
            let _ = catch_unwind(AssertUnwindSafe(|| self.left.notify_waiters()));
        }
    }

    fn is_empty(&self) -> bool {
        lock(&self.state).is_empty()
    }

    fn alive(&self) -> Vec<(Id, &'static Slot)> {
        let state = lock(&self.state);
        state.alive.iter().map(|(id, slot)| (*id, *slot)).collect()
    }

    fn cancel(&self) {
        lock(&self.state).requests += 1;
        for (id, slot) in self.alive() {
            slot.cancel(id);
        }
    }

    fn close(&self) {
        {
            let mut state = lock(&self.state);
            state.requests += 1;
            state.closed.get_or_insert_with(Instant::now);
        }
        for (id, slot) in self.alive() {
            slot.shut_down(id);
        }
    }

    fn describe(&self, look: impl Fn(&'static Slot, Id) -> Option<TaskInfo>) -> Vec<TaskInfo> {
        let alive = self.alive().into_iter();
        let mut tasks: Vec<_> = alive.filter_map(|(id, slot)| look(slot, id)).collect();
        oldest_first(&mut tasks, |task| task);
        tasks
    }

    /// Ends all tasks at their next poll. Returns how they were, and how the jobs are.
    fn force(&self) -> Vec<TaskInfo> {
        self.describe(|slot, id| {
            if slot.is_blocking() {
                slot.info(id)
            } else {
                slot.force(id)
            }
        })
    }
}

/// What becomes of a shutdown.
impl Members {
    /// Asks some of them where they are suspended.
    fn ask(&self, ids: HashSet<Id>, until: Instant) -> oneshot::Receiver<Arc<Findings>> {
        let (caller, findings) = Caller::of(ids, until);
        self.run.send(Command::Survey(caller));
        findings
    }

    /// Keeps those that were ended by force, or are still there.
    fn keep_refused(&self, left: &mut Vec<TaskInfo>) {
        let state = lock(&self.state);
        left.retain_mut(|task| {
            let is_alive = state.alive.contains_key(&task.id);
            task.unresponsive |= is_alive && task.kind != Kind::Blocking;
            is_alive || state.refused.contains(&task.id)
        });
        if self.run.phase() == Phase::Running {
            self.run.registry.forget_refused(&state.refused);
        }
    }

    /// What came of the group, with those that did not end within the limit.
    fn report(&self, left: Vec<TaskInfo>) -> Report {
        let (jobs, tasks): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|task| task.kind == Kind::Blocking);
        for (line, tasks) in [
            (Line::Refused as fn(_) -> _, &tasks),
            (Line::Abandoned, &jobs),
        ] {
            if !tasks.is_empty() {
                self.run.say(Message::Line(line(tasks.clone())));
            }
        }
        let (tally, closed) = {
            let state = lock(&self.state);
            let given_up = state.alive.len() as u64;
            let tally = Tally {
                given_up,
                ..state.tally
            };
            (tally, state.closed)
        };
        let ended = self.born.elapsed();
        let closed = closed.map_or(ended, |at| at.saturating_duration_since(self.born));
        let phase = |phase, began, ended| PhaseReport {
            phase,
            began,
            ended,
        };
        Report {
            reason: StopReason::Stop,
            phases: vec![
                phase(Phase::Running, Duration::ZERO, closed),
                phase(Phase::Cancelling, closed, ended),
            ],
            tasks: TaskCounts::at_close(tally),
            refused: tasks,
            abandoned: jobs,
            strays: 0,
            hooks: Vec::new(),
            failures: Vec::new(),
            more_failures: 0,
        }
    }
}

/// A member that is being spawned: counted before it has a place, so that nobody finds the group empty
/// meanwhile.
struct Entry<'a> {
    members: &'a Members,
    /// How often all were cancelled before, here and above.
    requests: u64,
}

impl<'a> Entry<'a> {
    /// `None` where the group, or one that it is in, takes no more.
    fn begin(members: &'a Members) -> Option<Self> {
        let mut requests = 0;
        for (number, level) in members.and_above().enumerate() {
            let mut state = lock(&level.state);
            if state.closed.is_some() {
                drop(state);
                members.and_above().take(number).for_each(Self::retract);
                return None;
            }
            state.entering += 1;
            requests += state.requests;
        }
        Some(Self { members, requests })
    }

    /// It is a member now, and has heard of what came meanwhile.
    fn finish(self, slot: &'static Slot, id: Id) {
        let (mut requests, mut is_closed) = (0, false);
        for level in self.members.and_above() {
            let mut state = lock(&level.state);
            state.alive.insert(id, slot);
            requests += state.requests;
            is_closed |= state.closed.is_some();
        }
        if requests == self.requests {
            return;
        }
        if is_closed {
            slot.shut_down(id);
        } else {
            slot.cancel(id);
        }
    }

    fn retract(members: &Members) {
        let mut state = lock(&members.state);
        state.entering -= 1;
        members.tell_if_empty(state);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.members.and_above().for_each(Self::retract);
    }
}
