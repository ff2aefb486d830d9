//! How many endpoints there are to ask.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::status::NodeState;

/// Counts the endpoints of a chain that can be read from. The last of them is judged otherwise than
/// one of several: to be slow is no reason to be without any.
#[derive(Debug, Default)]
pub(crate) struct Usable {
    count: AtomicU32,
    /// Since when there is none.
    none_since: Mutex<Option<Instant>>,
}

impl Usable {
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there has been none for so long; never true before the first one.
    pub(crate) fn are_gone_for(&self, time: Duration) -> bool {
        self.count() == 0
            && self
                .none_since
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some_and(|since| since.elapsed() >= time)
    }

    /// An endpoint went over from one state to another.
    pub(crate) fn turned(&self, before: NodeState, state: NodeState) {
        let were_there = match (before.is_readable(), state.is_readable()) {
            (false, true) => self.count.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.count.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        if were_there == 1 && !state.is_readable() {
            let since = self.none_since.lock();
            *since.unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn that_nobody_is_there_is_told_after_its_time_and_not_once_somebody_is_back() {
        let usable = Usable::default();
        let time = Duration::from_secs(10);
        assert!(!usable.are_gone_for(Duration::ZERO));
        usable.turned(NodeState::Undialed, NodeState::Alive);
        usable.turned(NodeState::Alive, NodeState::OutOfSync);
        assert_eq!(usable.count(), 1);
        usable.turned(NodeState::OutOfSync, NodeState::Unreachable);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!usable.are_gone_for(time));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(usable.are_gone_for(time));
        usable.turned(NodeState::Unreachable, NodeState::Alive);
        assert!(!usable.are_gone_for(time));
    }
}
