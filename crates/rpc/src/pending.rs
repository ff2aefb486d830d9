//! Transactions that wait to be mined, as all endpoints tell of them together.
//!
//! Every endpoint has a pool of its own, so what one of them tells is a part. The union is told
//! once each, as long as the last [`KEPT`] hashes remember it; nothing more is promised, because no
//! endpoint promises more. Endpoints are only asked while somebody wants to know.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy::primitives::B256;
use tokio::sync::watch;

/// Hashes kept: to know what was told already, and for whoever reads slowly.
pub(crate) const KEPT: usize = 131_072;

pub(crate) struct Pending {
    told: Mutex<Told>,
    /// How many want to know.
    wanted: watch::Sender<usize>,
    /// Moves with every new hash.
    news: watch::Sender<u64>,
}

#[derive(Default)]
struct Told {
    known: HashSet<B256>,
    order: VecDeque<B256>,
    /// The place of the first of `order` in everything ever told.
    first: u64,
}

/// Somebody wants to know, until dropped.
pub(crate) struct Wanted(Arc<Pending>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.wanted.send_modify(|count| *count -= 1);
        if *self.0.wanted.borrow() == 0 {
            let mut told = self.0.told();
            told.first += told.order.len() as u64;
            told.known = HashSet::new();
            told.order = VecDeque::new();
        }
    }
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            told: Mutex::default(),
            wanted: watch::Sender::new(0),
            news: watch::Sender::new(0),
        }
    }
}

impl Pending {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn want(self: &Arc<Self>) -> Wanted {
        self.wanted.send_modify(|count| *count += 1);
        Wanted(Arc::clone(self))
    }

    /// Waits until somebody wants to know, or until nobody does any more.
    pub(crate) async fn wanted(&self, wanted: bool) {
        let mut count = self.wanted.subscribe();
        // The sender is ours and lives as long as we do.
        let _ = count.wait_for(|count| (*count > 0) == wanted).await;
    }

    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// An endpoint told of a transaction.
    pub(crate) fn saw(&self, hash: B256) {
        if *self.wanted.borrow() == 0 {
            return;
        }
        {
            let mut told = self.told();
            if !told.known.insert(hash) {
                return;
            }
            told.order.push_back(hash);
            if told.order.len() > KEPT
                && let Some(old) = told.order.pop_front()
            {
                told.known.remove(&old);
                told.first += 1;
            }
        }
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }

    /// The place behind everything told so far.
    pub(crate) fn now(&self) -> u64 {
        let told = self.told();
        told.first + told.order.len() as u64
    }

    /// What was told since a place, at most `most`, and the place behind it. What is not kept any
    /// more is left out.
    pub(crate) fn since(&self, place: u64, most: usize) -> (Vec<B256>, u64) {
        let told = self.told();
        let skip = usize::try_from(place.saturating_sub(told.first)).unwrap_or(usize::MAX);
        let hashes: Vec<B256> = told.order.iter().skip(skip).take(most).copied().collect();
        let next = place.max(told.first) + hashes.len() as u64;
        (hashes, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> B256 {
        B256::from(alloy::primitives::U256::from(n))
    }

    #[test]
    fn what_several_endpoints_tell_is_told_once() {
        let pending = Arc::new(Pending::default());
        pending.saw(hash(1));
        assert_eq!(pending.now(), 0, "nobody wanted to know");
        let wanted = pending.want();
        let start = pending.now();
        for n in [1, 2, 1, 2, 3] {
            pending.saw(hash(n));
        }
        let (hashes, next) = pending.since(start, 2);
        assert_eq!(hashes, [hash(1), hash(2)]);
        assert_eq!(pending.since(next, 100).0, [hash(3)]);
        drop(wanted);
        assert!(pending.told().order.is_empty());
        assert_eq!(pending.now(), 3);
    }

    #[test]
    fn only_so_many_are_kept_and_whoever_is_slower_misses_them() {
        let pending = Arc::new(Pending::default());
        let _wanted = pending.want();
        for n in 0..KEPT as u64 + 5 {
            pending.saw(hash(n));
        }
        let (hashes, next) = pending.since(0, 1);
        assert_eq!((hashes, next), (vec![hash(5)], 6));
        assert_eq!(pending.told().known.len(), KEPT);
    }
}
