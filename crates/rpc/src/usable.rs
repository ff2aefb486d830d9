//! How many endpoints there are to ask.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::status::NodeState;

/// Counts the endpoints of a chain that can be read from. The last of them is judged otherwise than
/// one of several: to be slow is no reason to be without any.
#[derive(Debug, Default)]
pub(crate) struct Usable(AtomicU32);

impl Usable {
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// An endpoint went over from one state to another.
    pub(crate) fn turned(&self, before: NodeState, state: NodeState) {
        match (before.is_readable(), state.is_readable()) {
            (false, true) => self.0.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.0.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
    }
}
