//! The span of `tracing` that a task is polled in: that of its spawner, or where it has a name one of its own
//! in that.
//!
//! Where no subscriber was ever set, a task costs one look at that when it is spawned, and nothing when it is
//! polled. Otherwise the span is with the scopes of the task, and a flag that draws attention leads each poll to
//! it; the flag is down while the span is entered.

use tracing::{Span, info_span};

use crate::registry::{Birth, Slot};
use crate::task::Id;

/// Gives the place of a task that is being spawned its span, by the code that spawns it.
///
/// Calls the subscriber, and so not for main, callback and hooks, which the control thread may start.
#[cold]
#[inline(never)]
pub(crate) fn inherit(slot: &'static Slot, id: Id, birth: &Birth) -> (Option<&'static Slot>, Id) {
    if birth.is_spawned() {
        let own = birth
            .name()
            .map(|name| info_span!(target: "aiorun", "task", name));
        // One that the subscriber leaves out does not hide the spawner's.
        let own = own.filter(|own| !own.is_disabled());
        let span = own.unwrap_or_else(Span::current);
        if !span.is_none() {
            slot.keep_span(span);
        }
    }
    (Some(slot), id)
}
