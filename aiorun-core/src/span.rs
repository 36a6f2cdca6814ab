//! The span of `tracing` that a task is polled in: that of its spawner, or where it has a name one of its own
//! in that.
//!
//! Where no subscriber was ever set, a task costs one look at that when it is spawned, and nothing when it is
//! polled. Otherwise the span is with the scopes of the task, and a flag that draws attention leads each poll to
//! it; the flag is down while the span is entered.

use tracing::{Span, info_span};

use crate::registry::Slot;

/// Gives a task that was just spawned, by the code that calls this, its span.
#[inline]
pub(crate) fn inherit(task: Option<&'static Slot>) {
    if tracing::dispatcher::has_been_set()
        && let Some(slot) = task
    {
        inherit_from_current(slot);
    }
}

/// Calls the subscriber, so never for the control thread.
#[cold]
#[inline(never)]
fn inherit_from_current(slot: &'static Slot) {
    let name = slot.name();
    let own = name.map(|name| info_span!(target: "aiorun", "task", name = &**name));
    // One that the subscriber leaves out does not hide the spawner's.
    let own = own.filter(|own| !own.is_disabled());
    let span = own.unwrap_or_else(Span::current);
    if !span.is_none() {
        slot.keep_span(span);
    }
}
