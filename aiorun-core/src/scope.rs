//! The scopes of one task: itself, the *root*, and each `catch_cancel` in it that is under way; with
//! its shields, and those who wait to hear of a cancellation.
//!
//! A task gets its `Scopes` when it first needs them, through its slot. They are told of a
//! cancellation by the task itself, on the thread that polls it, and by nobody else: at the start of
//! a poll, where the task is suspended, or where the running code enters a catch or asks, which makes
//! its scope cooperative. So a scope never fires while its future is being polled, unless that polls
//! a catch that began elsewhere and was moved into it; and whoever registers from inside the task
//! looks under the lock. Only listeners may be polled by others, and they look and register under one
//! lock.
//!
//! A run has two that are no task's, to tell whoever listens that there is a reason to stop, and that
//! the tasks were cancelled.
//!
//! # Invariants
//!
//! 1. Nothing is received while there is a shield.
//! 2. A catch fires only if no catch lives inside it, and never when it is cooperative.
//! 3. `fired` counts the catches that fired and are not over. Such a catch yields at the start of its
//!    next poll. Nothing in it has run since it fired, so there is no shield inside it, and whatever
//!    is shielded beside it is not its business.
//! 4. When the task has ended, `ended` is set before its slot is free for another.

use std::panic::{AssertUnwindSafe, Location, RefUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Weak};
use std::task::Waker;

use slab::Slab;
#[cfg(feature = "tokio-util")]
use tokio_util::sync::CancellationToken;

use crate::group::Members;
use crate::sync::{AtomicBool, AtomicU32, Mutex, lock};
#[cfg(feature = "tokio-util")]
use crate::token::Source;

/// Where in the code.
pub(crate) type Place = &'static Location<'static>;

/// The task itself, where a scope is named by the index of its node.
const ROOT: u32 = u32::MAX;

/// The scopes of one task.
#[derive(Debug)]
pub(crate) struct Scopes {
    tree: Mutex<Tree>,
    /// The scope whose code is running. For the thread that polls the task only.
    current: AtomicU32,
    /// How many catches have fired and not noticed.
    fired: AtomicU32,
    /// The task is gone.
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Tree {
    nodes: Slab<Node>,
    /// To tell a node from its successors at the same index.
    serial: u64,
    shields: usize,
    /// What was received last is nobody's yet: no scope that was told is cooperative, and no catch
    /// that fired has yielded.
    unclaimed: bool,
    root: Marks,
    /// Where a cancellation was last caught.
    caught: Option<Place>,
    receipts: Receipts,
    /// What the task is polled in.
    #[cfg(feature = "tracing")]
    span: Option<Arc<tracing::Span>>,
    /// In which phase of the shutdown it is cancelled.
    phase: u8,
    /// Whose member it is.
    group: Option<Arc<Members>>,
}

/// What a scope knows of itself.
#[derive(Debug, Default)]
struct Marks {
    /// It received a cancellation.
    told: bool,
    /// Where it was asked for one first, if that was in code.
    asked: Option<Place>,
    cooperative: bool,
    #[cfg(feature = "tokio-util")]
    token: Source,
}

#[derive(Debug)]
enum Node {
    Catch(Catch),
    Shield(Place),
    Listener(Listener),
}

#[derive(Debug)]
struct Catch {
    serial: u64,
    parent: u32,
    /// How many catches are directly inside.
    inside: u32,
    /// How many listeners are bound to it.
    listeners: u32,
    marks: Marks,
    fired: bool,
    /// Who is to be woken when it fires, where that is not the task.
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Listener {
    scope: ScopeId,
    waker: Option<Waker>,
}

/// Names a scope of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ScopeId {
    index: u32,
    serial: u64,
}

impl ScopeId {
    const ROOT: Self = Self {
        index: ROOT,
        serial: 0,
    };
}

/// Cancellations that a task has received and somebody still holds: not in a list, but as the
/// other ends of what the holders have.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    own: Weak<()>,
    /// Those that came with what other tasks returned.
    adopted: Vec<Weak<()>>,
    /// How many of those there were after the last look at which are dead.
    kept: usize,
}

/// Held by whoever holds a cancellation that was received.
pub(crate) type Receipt = Arc<()>;

impl Receipts {
    fn issue(&mut self) -> Receipt {
        self.own.upgrade().unwrap_or_else(|| {
            let receipt = Receipt::default();
            self.own = Arc::downgrade(&receipt);
            receipt
        })
    }

    fn adopt(&mut self, others: Self) {
        const FEW: usize = 8;
        if self.adopted.len() > FEW.max(2 * self.kept) {
            self.adopted.retain(is_live);
            self.kept = self.adopted.len();
        }
        let others = others.adopted.into_iter().chain([others.own]);
        self.adopted.extend(others.filter(is_live));
    }

    fn is_live(&self) -> bool {
        is_live(&self.own) || self.adopted.iter().any(is_live)
    }
}

fn is_live(receipt: &Weak<()>) -> bool {
    receipt.strong_count() > 0
}

/// Who is to be woken once all locks are released.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    pub(crate) fn wake(self) {
        // Nobody, nearly always.
        if !self.0.is_empty() {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(self) {
        self.0.into_iter().for_each(wake);
    }
}

/// tokio's do not panic, but a waker may be anybody's, and a panic of one is not to be at the cost of
/// the others.
pub(crate) fn wake(waker: Waker) {
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

/// What a task looks like from outside.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Places {
    /// Where it last caught a cancellation.
    pub(crate) caught: Option<Place>,
    /// Where it asked for one, which made it cooperative.
    pub(crate) asked: Option<Place>,
    /// Where it is shielded.
    pub(crate) shielded: Option<Place>,
}

/// How a listener finds its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearing {
    Told,
    Waiting,
    /// The task is gone and its scope was not told.
    Ended,
}

/// No critical section panics, so none is left half done.
impl RefUnwindSafe for Scopes {}

impl Scopes {
    pub(crate) fn new() -> Self {
        Self {
            tree: Mutex::new(Tree::default()),
            current: AtomicU32::new(ROOT),
            fired: AtomicU32::new(0),
            ended: AtomicBool::new(false),
        }
    }

    /// Makes them fit for another task; says whether they are worth keeping.
    pub(crate) fn reset(&mut self) -> bool {
        const MOST_NODES: usize = 64;
        let Self {
            tree,
            current,
            fired,
            ended,
        } = self;
        let mut tree = lock(tree);
        debug_assert!(tree.nodes.is_empty(), "whoever has a node refers to them");
        let nodes = std::mem::take(&mut tree.nodes);
        let worth = nodes.capacity() <= MOST_NODES;
        *tree = Tree {
            nodes,
            ..Tree::default()
        };
        current.store(ROOT, Relaxed);
        fired.store(0, Relaxed);
        ended.store(false, Relaxed);
        worth
    }

    /// The task is gone; says whether it had caught a cancellation. Those who still listen will have
    /// to look elsewhere.
    pub(crate) fn end(&self) -> (bool, Wakers) {
        let mut tree = lock(&self.tree);
        self.ended.store(true, Release);
        tree.receipts = Receipts::default();
        let listening = tree.listeners().filter_map(|it| it.waker.take()).collect();
        let mut wakers = Wakers(listening);
        tree.release_tokens(&mut wakers);
        (tree.caught.is_some(), wakers)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Runs the code of `scope` until the guard is dropped.
    pub(crate) fn enter(&self, scope: u32) -> Entered<'_> {
        let outer = self.current.load(Relaxed);
        self.current.store(scope, Relaxed);
        Entered {
            scopes: self,
            outer,
        }
    }

    /// Whether a catch may have fired. The one thing that a catch asks on every poll.
    pub(crate) fn has_fired(&self) -> bool {
        self.fired.load(Acquire) > 0
    }

    /// Begins a catch in the scope that is running.
    pub(crate) fn begin_catch(&self) -> u32 {
        let parent = self.current.load(Relaxed);
        let mut tree = lock(&self.tree);
        tree.serial += 1;
        let catch = Catch {
            serial: tree.serial,
            parent,
            inside: 0,
            listeners: 0,
            marks: Marks::default(),
            fired: false,
            waker: None,
        };
        if let Some(parent) = tree.catch(parent) {
            parent.inside += 1;
        }
        tree.insert(Node::Catch(catch))
    }

    /// Says whom to wake for the catch; returns whom it was before, or who is to be woken at once. It
    /// fires in a poll of its own where that polls a catch that was moved here from elsewhere, which
    /// asks.
    pub(crate) fn follow(&self, catch: u32, waker: Option<Waker>) -> (Option<Waker>, Wakers) {
        let mut tree = lock(&self.tree);
        match tree.catch(catch) {
            Some(catch) if catch.fired => (None, Wakers(waker.into_iter().collect())),
            Some(catch) => (
                std::mem::replace(&mut catch.waker, waker),
                Wakers::default(),
            ),
            None => (waker, Wakers::default()),
        }
    }

    /// Whether the catch has fired, and so is to yield.
    pub(crate) fn fires(&self, catch: u32) -> bool {
        lock(&self.tree).catch(catch).is_some_and(|node| node.fired)
    }

    /// A catch yields; returns what proves that its cancellation was received.
    pub(crate) fn note_caught(&self, place: Place) -> Receipt {
        let mut tree = lock(&self.tree);
        tree.caught = Some(place);
        tree.unclaimed = false;
        tree.receipts.issue()
    }

    /// Ends a catch, in whatever way. Returns whether the task has to receive its cancellation once
    /// more: every catch that fired was dropped before it yielded.
    pub(crate) fn end_catch(&self, catch: u32) -> (bool, Wakers) {
        // Declared before the lock, and so dropped after it: its waker may be anybody's.
        let mut node;
        let mut tree = lock(&self.tree);
        match tree.nodes.try_remove(catch as usize) {
            Some(Node::Catch(catch)) => node = catch,
            _ => return Default::default(),
        }
        let last = node.fired && self.fired.fetch_sub(1, AcqRel) == 1;
        let again = last && std::mem::take(&mut tree.unclaimed);
        // It is dropped out of order where its future was moved elsewhere.
        if let Some(parent) = tree.catch(node.parent) {
            parent.inside = parent.inside - 1 + node.inside;
        }
        if node.inside > 0 {
            let orphans = tree.catches().filter(|other| other.parent == catch);
            orphans.for_each(|orphan| orphan.parent = node.parent);
        }
        let mut wakers = Wakers::default();
        node.marks.release_token(&mut wakers);
        if node.listeners > 0 {
            let id = node.id(catch);
            let bound = tree.listeners().filter(|it| it.scope == id);
            wakers.0.extend(bound.filter_map(|it| it.waker.take()));
        }
        (again, wakers)
    }

    pub(crate) fn begin_shield(&self, place: Place) -> u32 {
        let mut tree = lock(&self.tree);
        tree.shields += 1;
        tree.insert(Node::Shield(place))
    }

    /// Ends a shield; says whether it was the last.
    pub(crate) fn end_shield(&self, shield: u32) -> bool {
        let mut tree = lock(&self.tree);
        let was = tree.nodes.try_remove(shield as usize);
        debug_assert!(matches!(was, Some(Node::Shield(_))));
        tree.shields -= 1;
        tree.shields == 0
    }

    /// Tells every scope of a cancellation; says whether a catch is alive, and so the task goes on.
    pub(crate) fn receive(&self, cooperative: bool) -> (bool, Wakers) {
        let mut tree = lock(&self.tree);
        let mut wakers = Wakers::default();
        let mut alive = false;
        let mut claimed = cooperative;
        tree.root.tell(&mut wakers);
        for (_, node) in &mut tree.nodes {
            match node {
                Node::Catch(catch) => {
                    alive = true;
                    catch.marks.tell(&mut wakers);
                    claimed |= catch.marks.cooperative;
                    if catch.inside == 0 && !catch.marks.cooperative && !catch.fired {
                        catch.fired = true;
                        self.fired.fetch_add(1, AcqRel);
                        wakers.0.extend(catch.waker.take());
                    }
                }
                Node::Listener(listener) => wakers.0.extend(listener.waker.take()),
                Node::Shield(_) => debug_assert!(false, "nothing is received under a shield"),
            }
        }
        tree.unclaimed = alive && !claimed;
        (alive, wakers)
    }

    /// Tells all who listen to the root: for scopes that are no task's.
    pub(crate) fn announce(&self) {
        self.receive(true).1.wake();
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn keep_span(&self, span: tracing::Span) {
        lock(&self.tree).span = Some(Arc::new(span));
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn span(&self) -> Option<Arc<tracing::Span>> {
        lock(&self.tree).span.clone()
    }

    /// To be dropped with no lock held: the subscriber is told.
    #[cfg(feature = "tracing")]
    pub(crate) fn take_span(&self) -> Option<Arc<tracing::Span>> {
        lock(&self.tree).span.take()
    }

    pub(crate) fn keep_phase(&self, phase: u8) {
        lock(&self.tree).phase = phase;
    }

    pub(crate) fn phase(&self) -> u8 {
        lock(&self.tree).phase
    }

    pub(crate) fn keep_group(&self, group: Arc<Members>) {
        lock(&self.tree).group = Some(group);
    }

    /// To be told with no lock held.
    pub(crate) fn take_group(&self) -> Option<Arc<Members>> {
        lock(&self.tree).group.take()
    }

    /// Whether a catch is alive.
    pub(crate) fn is_catching(&self) -> bool {
        lock(&self.tree).catches().next().is_some()
    }

    /// Makes the scope that is running cooperative; says whether it is the task itself.
    pub(crate) fn cooperate(&self, place: Place) -> bool {
        let current = self.current.load(Relaxed);
        let mut tree = lock(&self.tree);
        tree.marks(current).cooperate(place);
        current == ROOT
    }

    /// The token of the scope that is running, unless it is cancelled.
    ///
    /// What tells a catch tells the task too. So the task's token does for all until then, and that of a
    /// catch that is over is the task's, as it is to be.
    #[cfg(feature = "tokio-util")]
    pub(crate) fn source(
        &self,
        fresh: impl FnOnce() -> CancellationToken,
    ) -> Option<CancellationToken> {
        let current = self.current.load(Relaxed);
        let mut tree = lock(&self.tree);
        let scope = if tree.root.told { current } else { ROOT };
        let marks = tree.marks(scope);
        (!marks.told).then(|| marks.token.get(fresh))
    }

    /// Leaves the token of the task, which is about to end, to others; yields it if they were told already.
    #[cfg(feature = "tokio-util")]
    pub(crate) fn leave_token_to(&self, others: &Self) -> Option<Waker> {
        let token = lock(&self.tree).root.token.take()?;
        let mut tree = lock(&others.tree);
        if tree.root.told {
            return Some(token);
        }
        tree.insert(Node::Listener(Listener {
            scope: ScopeId::ROOT,
            waker: Some(token),
        }));
        None
    }

    /// Notes that the task had received a cancellation before it had scopes.
    pub(crate) fn tell_root(&self) {
        lock(&self.tree).root.told = true;
    }

    /// Makes the task itself cooperative.
    pub(crate) fn cooperate_at_root(&self, place: Place) {
        lock(&self.tree).root.cooperate(place);
    }

    /// Whether the scope that is running has received a cancellation.
    pub(crate) fn is_told(&self) -> bool {
        let current = self.current.load(Relaxed);
        lock(&self.tree).marks(current).told
    }

    pub(crate) fn issue(&self) -> Receipt {
        lock(&self.tree).receipts.issue()
    }

    pub(crate) fn adopt(&self, receipts: Receipts) {
        lock(&self.tree).receipts.adopt(receipts);
    }

    /// Takes the receipts, if somebody still holds one.
    pub(crate) fn take_live_receipts(&self) -> Option<Receipts> {
        let mut tree = lock(&self.tree);
        let receipts = std::mem::take(&mut tree.receipts);
        receipts.is_live().then_some(receipts)
    }

    pub(crate) fn places(&self) -> Places {
        let tree = lock(&self.tree);
        let mut places = Places {
            caught: tree.caught,
            asked: tree.root.asked,
            shielded: None,
        };
        for (_, node) in &tree.nodes {
            match node {
                Node::Catch(catch) => places.asked = places.asked.or(catch.marks.asked),
                Node::Shield(place) => places.shielded = Some(place),
                Node::Listener(_) => {}
            }
        }
        places
    }
}

impl Tree {
    fn insert(&mut self, node: Node) -> u32 {
        u32::try_from(self.nodes.insert(node)).expect("fewer than 2^32 scopes in a task")
    }

    fn catch(&mut self, index: u32) -> Option<&mut Catch> {
        match self.nodes.get_mut(index as usize) {
            Some(Node::Catch(catch)) => Some(catch),
            _ => None,
        }
    }

    fn catches(&mut self) -> impl Iterator<Item = &mut Catch> {
        self.nodes.iter_mut().filter_map(|(_, node)| match node {
            Node::Catch(catch) => Some(catch),
            _ => None,
        })
    }

    fn listeners(&mut self) -> impl Iterator<Item = &mut Listener> {
        self.nodes.iter_mut().filter_map(|(_, node)| match node {
            Node::Listener(listener) => Some(listener),
            _ => None,
        })
    }

    fn listener(&mut self, index: u32) -> Option<&mut Listener> {
        match self.nodes.get_mut(index as usize) {
            Some(Node::Listener(listener)) => Some(listener),
            _ => None,
        }
    }

    /// Those of a scope that is there: the root where there is no catch at `index`.
    fn marks(&mut self, index: u32) -> &mut Marks {
        match self.nodes.get_mut(index as usize) {
            Some(Node::Catch(catch)) => &mut catch.marks,
            _ => &mut self.root,
        }
    }

    fn release_tokens(&mut self, wakers: &mut Wakers) {
        self.root.release_token(wakers);
        self.catches()
            .for_each(|catch| catch.marks.release_token(wakers));
    }

    fn id(&mut self, index: u32) -> ScopeId {
        self.catch(index)
            .map_or(ScopeId::ROOT, |catch| catch.id(index))
    }

    /// What a listener that is bound to `scope` hears.
    fn hears(&mut self, scope: &mut ScopeId, ended: bool) -> Hearing {
        let told = if let Some(catch) = self.bound_catch(*scope) {
            catch.marks.told
        } else {
            // The scope is over: from now on the task counts.
            *scope = ScopeId::ROOT;
            self.root.told
        };
        match told {
            true => Hearing::Told,
            false if ended => Hearing::Ended,
            false => Hearing::Waiting,
        }
    }

    /// The catch that `id` names, unless it is over.
    fn bound_catch(&mut self, id: ScopeId) -> Option<&mut Catch> {
        self.catch(id.index)
            .filter(|catch| catch.serial == id.serial)
    }
}

impl Catch {
    fn id(&self, index: u32) -> ScopeId {
        ScopeId {
            index,
            serial: self.serial,
        }
    }
}

impl Marks {
    fn cooperate(&mut self, place: Place) {
        self.cooperative = true;
        self.asked.get_or_insert(place);
    }

    fn tell(&mut self, wakers: &mut Wakers) {
        self.told = true;
        self.release_token(wakers);
    }

    /// Its token is to be cancelled.
    #[cfg_attr(
        not(feature = "tokio-util"),
        expect(unused_variables, clippy::unused_self, reason = "there is no token")
    )]
    fn release_token(&mut self, wakers: &mut Wakers) {
        #[cfg(feature = "tokio-util")]
        wakers.add(self.token.take());
    }
}

/// While it lives, the code of a scope is running.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    scopes: &'a Scopes,
    outer: u32,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.scopes.current.store(self.outer, Relaxed);
    }
}

/// Listens for the cancellation of one scope, from wherever.
#[derive(Debug)]
pub(crate) struct Ear {
    scopes: Arc<Scopes>,
    scope: ScopeId,
    node: Option<u32>,
}

impl Ear {
    /// Bound to the scope whose code is running.
    pub(crate) fn new(scopes: Arc<Scopes>) -> Self {
        let current = scopes.current.load(Relaxed);
        let scope = lock(&scopes.tree).id(current);
        Self {
            scopes,
            scope,
            node: None,
        }
    }

    pub(crate) fn hear(&mut self) -> Hearing {
        let mut tree = lock(&self.scopes.tree);
        tree.hears(&mut self.scope, self.scopes.has_ended())
    }

    /// As [`Ear::hear`], and remembers whom to wake.
    pub(crate) fn listen(&mut self, waker: &Waker) -> Hearing {
        let Self {
            scopes,
            scope,
            node,
        } = self;
        let mut tree = lock(&scopes.tree);
        let hearing = tree.hears(scope, scopes.has_ended());
        let known = node.and_then(|node| tree.listener(node)?.waker.as_ref());
        if hearing != Hearing::Waiting || known.is_some_and(|known| known.will_wake(waker)) {
            return hearing;
        }
        drop(tree);
        // Cloned and dropped with no lock held, so that there is another look.
        let mut waker = Some(waker.clone());
        let mut tree = lock(&scopes.tree);
        let hearing = tree.hears(scope, scopes.has_ended());
        if hearing != Hearing::Waiting {
            drop(tree);
            return hearing;
        }
        if let Some(listener) = node.and_then(|node| tree.listener(node)) {
            listener.scope = *scope;
            std::mem::swap(&mut listener.waker, &mut waker);
        } else {
            if let Some(catch) = tree.bound_catch(*scope) {
                catch.listeners += 1;
            }
            let (scope, waker) = (*scope, waker.take());
            *node = Some(tree.insert(Node::Listener(Listener { scope, waker })));
        }
        drop(tree);
        hearing
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let Some(node) = self.node else { return };
        let mut tree = lock(&self.scopes.tree);
        let was = tree.nodes.try_remove(node as usize);
        if let Some(Node::Listener(listener)) = &was
            && let Some(catch) = tree.bound_catch(listener.scope)
        {
            catch.listeners -= 1;
        }
        drop(tree);
        drop(was);
    }
}

#[cfg(all(test, not(aiorun_loom)))]
mod tests;
