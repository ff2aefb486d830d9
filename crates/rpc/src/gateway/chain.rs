//! The one chain that callers see: which block is the tip, and how it came to be.
//!
//! Endpoints show heads; a pure decision (`tip.rs`) chooses the block the gateway speaks about;
//! the journal records how to get there from the block before: blocks removed from the old tip
//! downwards, blocks added upwards, each linked to its parent by hash. Subscriptions and filters
//! read the journal, never an endpoint, so the loss of one is nothing they could notice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy::primitives::B256;
use bytes::Bytes;
use tokio::sync::watch;

use super::block::Tags;
use super::log::BlockLogs;
use crate::head::Head;

/// Changes kept for subscribers and filters to catch up with.
pub(crate) const JOURNAL: usize = 2048;
/// Blocks whose logs are kept after somebody needed them.
const LOGS_KEPT: usize = 128;
/// Longer than this nobody waits to hear which block is the newest.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);
/// No such block known.
const NONE: u64 = u64::MAX;

/// A block of the journal.
pub(crate) struct Block {
    pub(crate) head: Head,
    /// The payload of a `newHeads` notification: the endpoint's own bytes for every member that
    /// belongs there.
    pub(crate) header: Bytes,
    pub(crate) logs: LogsOfBlock,
}

/// The logs of a block, once somebody needed them.
#[derive(Default)]
pub(crate) struct LogsOfBlock {
    kept: tokio::sync::Mutex<Kept>,
    /// How often they were not to be had.
    failed: AtomicU64,
}

#[derive(Debug, Clone, Default)]
pub(crate) enum Kept {
    #[default]
    NotYet,
    All(Arc<BlockLogs>),
    /// It left the chain before anybody was told of them, so nobody is, nor that they left.
    Untold,
}

impl LogsOfBlock {
    /// Held by whoever finds them out.
    pub(crate) async fn lock(&self) -> tokio::sync::MutexGuard<'_, Kept> {
        self.kept.lock().await
    }

    /// What is known of them, unless somebody is finding it out.
    pub(crate) fn known(&self) -> Option<Kept> {
        self.kept.try_lock().ok().map(|kept| kept.clone())
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn were_not_to_be_had(&self) {
        self.failed.fetch_add(1, Ordering::AcqRel);
    }

    /// They can be had again.
    fn forget(&self) {
        if let Ok(mut kept) = self.kept.try_lock() {
            *kept = Kept::NotYet;
        }
    }
}

impl Block {
    /// The block as nobody was told of it yet, if it was decided that nobody is.
    fn anew(self: Arc<Self>) -> Arc<Self> {
        match self.logs.known() {
            Some(Kept::Untold) => Arc::new(Self {
                head: self.head.clone(),
                header: self.header.clone(),
                logs: LogsOfBlock::default(),
            }),
            _ => self,
        }
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.head.number, self.head.hash)
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Add(Arc<Block>),
    Remove(Arc<Block>),
}

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    epoch: u64,
    next: u64,
}

impl Cursor {
    pub(crate) fn earlier(self, other: Self) -> Self {
        if other.is_before(self) { other } else { self }
    }

    pub(crate) fn later(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    /// Whether this place comes before another one.
    pub(crate) fn is_before(self, other: Self) -> bool {
        (self.epoch, self.next) < (other.epoch, other.next)
    }
}

/// The journal does not reach back to a cursor: what lies between cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap;

pub(crate) struct ChainView {
    latest: AtomicU64,
    safe: AtomicU64,
    finalized: AtomicU64,
    journal: Mutex<Journal>,
    /// Moves with every change of the journal or the tags.
    changed: watch::Sender<u64>,
    tips: watch::Sender<Option<Head>>,
    /// Whether it is being found out how far down the chain ends.
    unsettled: AtomicBool,
}

/// While it lives, what is said about the newest block has to wait.
pub(crate) struct Unsettled<'a>(&'a ChainView);

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        self.0.unsettled.store(false, Ordering::Release);
        self.0.poke();
    }
}

#[derive(Default)]
struct Journal {
    /// Grows when the chain could not be followed without a gap.
    epoch: u64,
    first: u64,
    changes: VecDeque<Change>,
    /// The canonical blocks, lowest first.
    canonical: VecDeque<Arc<Block>>,
}

impl Default for ChainView {
    fn default() -> Self {
        Self {
            latest: AtomicU64::new(NONE),
            safe: AtomicU64::new(NONE),
            finalized: AtomicU64::new(NONE),
            journal: Mutex::default(),
            changed: watch::Sender::new(0),
            tips: watch::Sender::new(None),
            unsettled: AtomicBool::new(false),
        }
    }
}

impl ChainView {
    /// None before the first block is known.
    pub(crate) fn tags(&self) -> Option<Tags> {
        let some = |of: &AtomicU64| Some(of.load(Ordering::Acquire)).filter(|n| *n != NONE);
        Some(Tags {
            latest: some(&self.latest)?,
            safe: some(&self.safe),
            finalized: some(&self.finalized),
        })
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// From now on, until that is dropped, nobody knows what the newest block is.
    pub(crate) fn unsettle(&self) -> Unsettled<'_> {
        self.unsettled.store(true, Ordering::Release);
        Unsettled(self)
    }

    /// Waits until it is known what the newest block is, a few seconds at most.
    pub(crate) async fn settled(&self) {
        let is_known = || !self.unsettled.load(Ordering::Acquire);
        if is_known() {
            return;
        }
        // Rare, so no part of what every question takes in memory.
        Box::pin(async {
            let mut changed = self.changed();
            let known = async {
                // The sender lives as long as we do.
                while !is_known() && changed.changed().await.is_ok() {}
            };
            let _ = tokio::time::timeout(SETTLES_WITHIN, known).await;
        })
        .await;
    }

    /// The block the journal stands on.
    pub(crate) fn tip(&self) -> Option<Arc<Block>> {
        self.journal().canonical.back().cloned()
    }

    /// The canonical block at a height, where the journal reaches.
    pub(crate) fn block_at(&self, number: u64) -> Option<Arc<Block>> {
        let journal = self.journal();
        let lowest = journal.canonical.front()?.head.number;
        let at = usize::try_from(number.checked_sub(lowest)?).ok()?;
        journal.canonical.get(at).cloned()
    }

    /// Its hash.
    pub(crate) fn hash_at(&self, number: u64) -> Option<B256> {
        let journal = self.journal();
        let lowest = journal.canonical.front()?.head.number;
        let at = usize::try_from(number.checked_sub(lowest)?).ok()?;
        journal.canonical.get(at).map(|block| block.head.hash)
    }

    /// The height of a canonical block, where the journal reaches.
    pub(crate) fn number_of(&self, hash: B256) -> Option<u64> {
        let journal = self.journal();
        // Mostly one of the newest is meant.
        let mut newest_first = journal.canonical.iter().rev();
        newest_first
            .find(|block| block.head.hash == hash)
            .map(|block| block.head.number)
    }

    /// The newest block, each time it is another one.
    pub(crate) fn tips(&self) -> watch::Receiver<Option<Head>> {
        self.tips.subscribe()
    }

    /// Begins anew at a block; whoever was following has a gap.
    pub(crate) fn begin(&self, block: Arc<Block>) {
        let head = block.head.clone();
        {
            let mut journal = self.journal();
            journal.epoch += 1;
            journal.first = 0;
            journal.changes.clear();
            journal.canonical.clear();
            journal.canonical.push_back(block);
        }
        self.latest.store(head.number, Ordering::Release);
        self.tips.send_replace(Some(head));
        self.poke();
    }

    /// Whether a block left the chain lately and did not come back.
    pub(crate) fn was_removed(&self, hash: B256) -> bool {
        let journal = self.journal();
        let last = journal
            .changes
            .iter()
            .rev()
            .find_map(|change| match change {
                Change::Add(block) if block.head.hash == hash => Some(false),
                Change::Remove(block) if block.head.hash == hash => Some(true),
                _ => None,
            });
        last.unwrap_or(false)
    }

    /// The lowest block the journal knows.
    pub(crate) fn front(&self) -> Option<Arc<Block>> {
        self.journal().canonical.front().cloned()
    }

    /// Puts the parent of the lowest block below it. Nobody is told: it was always there.
    pub(crate) fn prepend(&self, block: Arc<Block>) {
        let mut journal = self.journal();
        let fits = journal
            .canonical
            .front()
            .is_some_and(|front| front.head.parent_hash == block.head.hash);
        if fits && journal.canonical.len() < JOURNAL {
            journal.canonical.push_front(block);
        }
    }

    /// Replaces what is above `fork` by these blocks, lowest first. True if anything left the chain.
    pub(crate) fn advance(&self, fork: u64, blocks: Vec<Arc<Block>>) -> usize {
        let mut removed = 0;
        let tip = {
            let mut journal = self.journal();
            while let Some(last) = journal.canonical.back()
                && last.head.number > fork
            {
                let Some(gone) = journal.canonical.pop_back() else {
                    break;
                };
                journal.changes.push_back(Change::Remove(gone));
                removed += 1;
            }
            for block in blocks.into_iter().map(Block::anew) {
                journal.changes.push_back(Change::Add(Arc::clone(&block)));
                journal.canonical.push_back(block);
            }
            while journal.changes.len() > JOURNAL {
                journal.changes.pop_front();
                journal.first += 1;
            }
            while journal.canonical.len() > JOURNAL {
                journal.canonical.pop_front();
            }
            let old = journal.canonical.len().saturating_sub(LOGS_KEPT);
            for block in journal.canonical.range(old.saturating_sub(JOURNAL)..old) {
                block.logs.forget();
            }
            journal.canonical.back().map(|block| block.head.clone())
        };
        if let Some(tip) = tip {
            self.latest.store(tip.number, Ordering::Release);
            self.tips.send_replace(Some(tip));
        }
        self.poke();
        removed
    }

    /// Nobody who is left has the tip for too long: speak about a lower block until they catch up.
    pub(crate) fn lower_to(&self, number: u64) {
        self.latest.store(number, Ordering::Release);
        self.poke();
    }

    /// The chain ends below what was called safe or final, which was put back on purpose.
    pub(crate) fn lower_finality(&self, number: u64) {
        for of in [&self.safe, &self.finalized] {
            if of.load(Ordering::Acquire) != NONE {
                of.fetch_min(number, Ordering::AcqRel);
            }
        }
    }

    /// The tags of finality, which only rise.
    pub(crate) fn finality(&self, safe: Option<u64>, finalized: Option<u64>) {
        let raise = |of: &AtomicU64, to: Option<u64>| {
            let Some(to) = to else { return };
            let before = of.load(Ordering::Acquire);
            if before == NONE || to > before {
                of.store(to, Ordering::Release);
            }
        };
        raise(&self.safe, safe);
        raise(&self.finalized, finalized);
    }

    fn poke(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// The end of the journal: what comes from now on.
    pub(crate) fn now(&self) -> Cursor {
        let journal = self.journal();
        Cursor {
            epoch: journal.epoch,
            next: journal.first + journal.changes.len() as u64,
        }
    }

    /// What came since, at most `most`, and the cursor behind it.
    pub(crate) fn since(&self, cursor: Cursor, most: usize) -> Result<(Vec<Change>, Cursor), Gap> {
        let journal = self.journal();
        if cursor.epoch != journal.epoch || cursor.next < journal.first {
            return Err(Gap);
        }
        let skip = usize::try_from(cursor.next - journal.first).map_err(|_| Gap)?;
        let changes: Vec<Change> = journal
            .changes
            .iter()
            .skip(skip)
            .take(most)
            .cloned()
            .collect();
        let next = cursor.next + changes.len() as u64;
        Ok((
            changes,
            Cursor {
                epoch: cursor.epoch,
                next,
            },
        ))
    }

    /// Whether a block is on the chain the journal stands for.
    pub(crate) fn is_canonical(&self, block: &Block) -> bool {
        self.hash_at(block.head.number) == Some(block.head.hash)
    }

    /// Done when a block is not on the chain any more.
    pub(crate) async fn left(&self, block: &Block) {
        let mut changed = self.changed();
        while !self.has_left(block) {
            // The sender lives as long as we do.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// What is further back than the journal reaches has not left.
    fn has_left(&self, block: &Block) -> bool {
        let journal = self.journal();
        let (Some(lowest), Some(tip)) = (journal.canonical.front(), journal.canonical.back())
        else {
            return false;
        };
        let number = block.head.number;
        if number < lowest.head.number {
            return false;
        }
        let at = usize::try_from(number - lowest.head.number).ok();
        let there = at.and_then(|at| journal.canonical.get(at));
        number > tip.head.number || there.is_some_and(|there| there.head.hash != block.head.hash)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Block `number` on branch `branch`; the parent is on the same branch unless said otherwise.
    pub(in crate::gateway) fn block(number: u64, branch: u8) -> Arc<Block> {
        let hash = |number: u64| {
            let mut hash = B256::from(alloy::primitives::U256::from(number));
            hash.0[0] = branch;
            hash
        };
        let head = Head {
            number,
            hash: hash(number),
            parent_hash: hash(number.saturating_sub(1)),
            timestamp: number,
            base_fee_per_gas: None,
            receipts_root: B256::ZERO,
            transactions_root: B256::ZERO,
            state_root: B256::ZERO,
            logs_bloom: None,
            l1_block_number: None,
            gas_limit: 0,
        };
        Arc::new(Block {
            head,
            header: Bytes::new(),
            logs: Default::default(),
        })
    }

    fn told(changes: &[Change]) -> Vec<(char, u64, u8)> {
        changes
            .iter()
            .map(|change| match change {
                Change::Add(block) => ('+', block.head.number, block.head.hash.0[0]),
                Change::Remove(block) => ('-', block.head.number, block.head.hash.0[0]),
            })
            .collect()
    }

    #[test]
    fn a_reorganisation_is_told_as_removals_downwards_and_additions_upwards() {
        let view = ChainView::default();
        assert_eq!(view.tags(), None);
        view.begin(block(10, 0));
        let cursor = view.now();
        view.advance(10, vec![block(11, 0), block(12, 0)]);
        assert_eq!(view.advance(10, vec![block(11, 1)]), 2);
        let (changes, next) = view.since(cursor, 100).unwrap();
        assert_eq!(
            told(&changes),
            [
                ('+', 11, 0),
                ('+', 12, 0),
                ('-', 12, 0),
                ('-', 11, 0),
                ('+', 11, 1)
            ]
        );
        assert_eq!(view.tags().unwrap().latest, 11);
        assert_eq!(view.hash_at(11), Some(block(11, 1).head.hash));
        assert_eq!(told(&view.since(next, 100).unwrap().0), []);
    }

    #[test]
    fn whoever_fell_too_far_behind_is_told_so_and_never_given_less() {
        let view = ChainView::default();
        view.begin(block(0, 0));
        let cursor = view.now();
        for number in 1..=JOURNAL as u64 {
            view.advance(number - 1, vec![block(number, 0)]);
        }
        assert!(view.since(cursor, 1).is_ok());
        view.advance(JOURNAL as u64, vec![block(JOURNAL as u64 + 1, 0)]);
        assert_eq!(view.since(cursor, 1).unwrap_err(), Gap);
        let cursor = view.now();
        view.begin(block(9_000_000, 0));
        assert_eq!(view.since(cursor, 1).unwrap_err(), Gap);
    }

    #[test]
    fn a_block_has_left_when_another_one_or_none_is_in_its_place_and_not_for_its_age() {
        let view = ChainView::default();
        let (old, young) = (block(11, 0), block(12, 0));
        view.begin(block(10, 0));
        view.advance(10, vec![Arc::clone(&old), Arc::clone(&young)]);
        assert!(!view.has_left(&old) && !view.has_left(&young));
        // Shorter than it was, and then another one.
        view.advance(11, Vec::new());
        assert!(!view.has_left(&old) && view.has_left(&young));
        view.advance(11, vec![block(12, 1), block(13, 1)]);
        assert!(!view.has_left(&old) && view.has_left(&young));
        let more = (14..14 + JOURNAL as u64).map(|number| block(number, 1));
        view.advance(13, more.collect());
        assert!(view.hash_at(11).is_none() && !view.has_left(&old));
    }

    #[tokio::test]
    async fn a_block_nobody_was_told_logs_of_is_as_new_when_it_comes_back() {
        let view = ChainView::default();
        view.begin(block(10, 0));
        let of = block(11, 0);
        view.advance(10, vec![Arc::clone(&of)]);
        *of.logs.lock().await = Kept::Untold;
        view.advance(10, vec![block(11, 1)]);
        view.advance(10, vec![Arc::clone(&of)]);
        let known = view.block_at(11).unwrap().logs.known();
        assert!(matches!(known, Some(Kept::NotYet)));
        // Whoever has not heard yet that it left is not told of its logs.
        assert!(matches!(of.logs.known(), Some(Kept::Untold)));
    }

    #[test]
    fn finality_only_rises() {
        let view = ChainView::default();
        view.begin(block(100, 0));
        view.finality(Some(90), Some(80));
        view.finality(Some(85), None);
        let tags = view.tags().unwrap();
        assert_eq!((tags.safe, tags.finalized), (Some(90), Some(80)));
        // Unless the whole chain is put back.
        view.lower_finality(85);
        let tags = view.tags().unwrap();
        assert_eq!((tags.safe, tags.finalized), (Some(85), Some(80)));
    }
}
