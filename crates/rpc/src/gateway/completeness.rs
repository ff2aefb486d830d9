//! Whether endpoints give all the logs there are. The receipts of a block prove it (`proving`). Where
//! they cannot be had or prove nothing, a header's bloom tells of logs that are missing, whoever
//! leaves them out, unless another log of the block is like them: then their numbers have a gap, or
//! another endpoint gives more. So all endpoints are asked for the logs of the same block often enough
//! that it is noticed within a minute, and measured by what is proven of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use alloy::primitives::B256;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::Core;
use super::chain::{Block, Change, Cursor, Kept};
use super::log::BlockLogs;
use super::observe;
use super::proving::Proving;
use crate::head::Head;
use crate::node::Node;

/// Rounds over all endpoints before logs that do not fit the bloom are taken all the same.
const LOG_ROUNDS: usize = 4;
const LOG_PAUSE: Duration = Duration::from_millis(50);
/// Blocks below the tip a sample is drawn from; the newest are left out, since indexes may be late.
const SAMPLE_DEPTH: u64 = 64;
const SAMPLE_AT_LEAST: u64 = 2;
/// Blocks whose logs are fetched at the same time for those who are behind.
pub(super) const AHEAD: usize = 8;
const LOGS: &str = "eth_getLogs";
/// So many blocks whose logs fit at no endpoint, and blooms are not relied on.
const MISFITS: u32 = 5;
const PROOF_PAUSE: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(30);
/// All endpoints are asked for one block at least so often.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// Blocks that need not be compared again.
const COMPARED: usize = 2 * SAMPLE_DEPTH as usize;

/// Whether headers' blooms fit the logs of their blocks here, or logs are numbered from 0 on in each
/// block: there are chains where that is never so, and nothing can be learned from it.
#[derive(Default)]
pub(crate) struct Blooms(AtomicU8);

impl Blooms {
    const TELL: u8 = 1;
    const TELL_NOTHING: u8 = 2;

    /// What was proven stays so.
    fn set(&self, to: u8) {
        let _ = self
            .0
            .compare_exchange(0, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn are(&self, what: u8) -> bool {
        self.0.load(Ordering::Relaxed) == what
    }
}

impl Core {
    /// All logs of a block; fetched once for whoever needs them, and found not to be there once for
    /// all who wait. Those of a block that leaves the chain meanwhile are not waited for.
    pub(crate) async fn logs_of(&self, block: &Block) -> Kept {
        let failures = block.logs.failures();
        let mut kept = block.logs.lock().await;
        if !matches!(*kept, Kept::NotYet) || block.logs.failures() != failures {
            return kept.clone();
        }
        let asking = async {
            match self.prove_logs(&block.head).await {
                Proving::Proven(logs) => Some(logs),
                Proving::Unproven(doubted) => self.fetch_logs(&block.head, &doubted).await,
            }
        };
        tokio::select! {
            biased;
            () = self.chain.left(block) => *kept = Kept::Untold,
            logs = asking => match logs {
                Some(logs) => *kept = Kept::All(Arc::new(logs)),
                None => block.logs.were_not_to_be_had(),
            },
        }
        kept.clone()
    }

    /// Begins to fetch the logs of the blocks behind this place which somebody may want: where that takes
    /// longer than blocks take to come, one after the other would never catch up.
    pub(super) fn fetch_ahead(self: &Arc<Self>, from: Cursor, wanted: impl Fn(&Block) -> bool) {
        let Ok((changes, _)) = self.chain.since(from, AHEAD) else {
            return;
        };
        for change in changes {
            let Change::Add(block) = change else { continue };
            // Somebody is at it, or was and there are none yet.
            let is_new =
                matches!(block.logs.known(), Some(Kept::NotYet)) && block.logs.failures() == 0;
            if is_new && wanted(&block) {
                let core = Arc::clone(self);
                tokio::spawn(async move {
                    core.logs_of(&block).await;
                });
            }
        }
    }

    /// The proven logs of a block, if somebody needed them already.
    pub(super) fn proven_logs(&self, block: &Block) -> Option<Arc<BlockLogs>> {
        match block.logs.known()? {
            Kept::All(logs) if logs.are_proven => Some(logs),
            _ => None,
        }
    }

    /// `doubted`: endpoints whose receipts do not fit, asked last.
    async fn fetch_logs(&self, head: &Head, doubted: &[usize]) -> Option<BlockLogs> {
        // Some L2s leave the bloom empty; then there is nothing to compare with.
        let bloom = head.logs_bloom.as_deref().filter(|bloom| !bloom.is_zero());
        let mut best: Option<BlockLogs> = None;
        // The longest list that fits the bloom and has a gap all the same.
        let mut with_gap: Option<BlockLogs> = None;
        for round in 0..LOG_ROUNDS {
            let mut nodes: Vec<&Node> = self.readable().collect();
            let now = Instant::now();
            nodes.sort_by_key(|node| {
                let has_it = node
                    .condition()
                    .head
                    .is_some_and(|at| at.number >= head.number);
                let fit = node.fitness.is_fit(LOGS, now);
                let doubted = doubted.contains(&node.index);
                (doubted, !has_it, !fit, node.latency_micros())
            });
            for node in nodes {
                let Some(logs) = self.ask_logs(node, head).await else {
                    continue;
                };
                match bloom {
                    Some(bloom) if logs.bloom() != *bloom => {
                        observe::logs_missing(&node.name, head.number);
                        // The index may only be late at first.
                        if round > 0 {
                            node.fitness.failed(LOGS, Instant::now());
                        }
                        if best
                            .as_ref()
                            .is_none_or(|best| best.list.len() < logs.list.len())
                        {
                            best = Some(logs);
                        }
                    }
                    bloom => {
                        if bloom.is_some() {
                            self.blooms.set(Blooms::TELL);
                        }
                        if logs.is_without_gap() || self.numbers.are(Blooms::TELL_NOTHING) {
                            if logs.list.len() > 1 {
                                self.numbers.set(Blooms::TELL);
                            }
                            return Some(logs);
                        }
                        observe::logs_missing(&node.name, head.number);
                        if round > 0 && self.numbers.are(Blooms::TELL) {
                            node.fitness.failed(LOGS, Instant::now());
                        }
                        if with_gap
                            .as_ref()
                            .is_none_or(|it| it.list.len() < logs.list.len())
                        {
                            with_gap = Some(logs);
                        }
                    }
                }
            }
            sleep(LOG_PAUSE * 2_u32.pow(u32::try_from(round).unwrap_or(0))).await;
        }
        if let Some(logs) = with_gap {
            // There may be chains that number logs in another way; nobody waits for ever.
            self.numbers.set(Blooms::TELL_NOTHING);
            if self.numbers.are(Blooms::TELL) {
                observe::logs_unproven(head.number);
            }
            return Some(logs);
        }
        // A header that speaks the truth about other blocks does so about this one: somebody will
        // have its logs, and nobody is told less until then.
        if !self.blooms.are(Blooms::TELL_NOTHING) {
            observe::logs_awaited(head.number);
            return None;
        }
        if best.is_some() {
            observe::logs_unproven(head.number);
        }
        best
    }

    async fn ask_logs(&self, node: &Node, head: &Head) -> Option<BlockLogs> {
        let params = format!("[{{\"blockHash\":\"{}\"}}]", head.hash);
        BlockLogs::read(&self.forward(node, LOGS, &params).await?)
    }

    /// Finds out once, from blocks at and below the tip, whether blooms can be relied on. One
    /// endpoint alone does not prove that they cannot, where there are several.
    async fn prove_blooms(&self) {
        let primaries = self.pool.0.nodes.iter().filter(|node| !node.send_only);
        let witnesses = primaries.count().min(2);
        let mut misfits = 0;
        let mut below: Option<B256> = None;
        while misfits < MISFITS {
            let block = match below.take() {
                None => self.chain.tip(),
                Some(hash) => self.fetch(hash).await,
            };
            let Some(block) = block else {
                sleep(PROOF_PAUSE).await;
                continue;
            };
            let head = &block.head;
            if let Some(bloom) = head.logs_bloom.as_deref().filter(|it| !it.is_zero()) {
                let nodes: Vec<&Node> = self.readable().collect();
                let given = join_all(nodes.iter().map(|node| self.ask_logs(node, head))).await;
                let given: Vec<BlockLogs> = given.into_iter().flatten().collect();
                if given.iter().any(|logs| logs.bloom() == *bloom) {
                    return self.blooms.set(Blooms::TELL);
                }
                misfits += u32::from(given.len() >= witnesses);
            }
            let tip = self.chain.tip().map_or(0, |tip| tip.head.number);
            if head.number > 0 && head.number + SAMPLE_DEPTH > tip {
                below = Some(head.parent_hash);
            } else {
                // Nothing to see that far down: perhaps in later blocks.
                sleep(if misfits > 0 { PROOF_PAUSE } else { LATER }).await;
            }
        }
        self.blooms.set(Blooms::TELL_NOTHING);
    }

    /// Asks all endpoints for the logs of one block again and again, and compares.
    pub(super) async fn sample_logs(&self) {
        let every = match self.pool.0.config.poll_interval {
            Duration::ZERO => SAMPLE_EVERY,
            every => every.min(SAMPLE_EVERY),
        };
        let samples = async {
            let mut compared = VecDeque::with_capacity(COMPARED);
            loop {
                sleep(every).await;
                if let Some(block) = self.sample(&compared)
                    && self.compare_logs(&block).await
                    && !compared.contains(&block.head.hash)
                {
                    compared.truncate(COMPARED - 1);
                    compared.push_front(block.head.hash);
                }
            }
        };
        tokio::join!(self.prove_blooms(), samples);
    }

    /// A block that has been there for a moment: the newest that was not compared yet, or any.
    fn sample(&self, compared: &VecDeque<B256>) -> Option<Arc<Block>> {
        let tip = self.chain.tip()?.head.number;
        let deepest = tip.saturating_sub(SAMPLE_DEPTH);
        let shallowest = tip.checked_sub(SAMPLE_AT_LEAST)?;
        let fresh = (deepest..=shallowest).rev().find(|number| {
            let hash = self.chain.hash_at(*number);
            hash.is_some_and(|hash| !compared.contains(&hash))
        });
        let number = fresh.unwrap_or_else(|| self.pool.0.dice.block(deepest..=shallowest));
        self.chain.block_at(number)
    }

    /// True if all that could be learned from this block was.
    async fn compare_logs(&self, block: &Block) -> bool {
        let head = &block.head;
        let has_it = |node: &&Node| {
            let at = node.condition().head;
            at.is_some_and(|at| at.number >= head.number) && !node.fitness.strays()
        };
        let nodes: Vec<&Node> = self.readable().filter(has_it).collect();
        if nodes.is_empty() {
            return false;
        }
        let given = join_all(nodes.iter().map(|node| self.ask_logs(node, head))).await;
        let all_gave = given.iter().all(Option::is_some);
        let bloom = head.logs_bloom.as_deref().filter(|bloom| !bloom.is_zero());
        let given: Vec<(&Node, BlockLogs)> = nodes
            .into_iter()
            .zip(given)
            .filter_map(|(node, logs)| Some((node, logs?)))
            .collect();
        let fits = |logs: &BlockLogs| bloom.is_none_or(|bloom| logs.bloom() == *bloom);
        let mut proven = self.proven_logs(block);
        let differ = given
            .windows(2)
            .any(|two| !two[0].1.are_those_of(&two[1].1));
        if proven.is_none()
            && differ
            && let Proving::Proven(logs) = self.prove_logs(head).await
        {
            proven = Some(Arc::new(logs));
        }
        let lists: Vec<&BlockLogs> = given.iter().map(|(_, logs)| logs).collect();
        let fitting: Vec<&BlockLogs> = lists.into_iter().filter(|logs| fits(logs)).collect();
        let believed = proven.as_deref().or_else(|| most_given(&fitting));
        // A chain whose blooms are made in another way proves nothing against anybody.
        let Some(believed) = believed.filter(|_| self.chain.is_canonical(block)) else {
            return false;
        };
        for (node, logs) in &given {
            if logs.are_those_of(believed) {
                node.fitness.checked_well(LOGS);
                continue;
            }
            let is_fewer = logs.are_part_of(believed);
            if !believed.are_proven && fits(logs) && !is_fewer {
                // Others, and they fit the bloom as well: nothing here proves who is right.
                observe::logs_differ(&node.name, head.number);
                if !is_outvoted(logs, believed, &fitting) {
                    continue;
                }
            } else {
                let (gives, of) = (logs.list.len(), believed.list.len());
                observe::logs_fewer(&node.name, head.number, gives, of);
            }
            let what = match is_fewer || !fits(logs) {
                true => format!("left out logs of block {}", head.number),
                false => format!("gave other logs of block {} than there are", head.number),
            };
            node.fitness.suspect(LOGS, what, Instant::now());
        }
        all_gave
    }
}

fn votes(of: &BlockLogs, lists: &[&BlockLogs]) -> usize {
    lists.iter().filter(|logs| logs.are_those_of(of)).count()
}

/// The list most endpoints give; of those that as many give the longest, because leaving out is what
/// clients do by mistake.
fn most_given<'a>(lists: &[&'a BlockLogs]) -> Option<&'a BlockLogs> {
    lists
        .iter()
        .copied()
        .max_by_key(|logs| (votes(logs, lists), logs.list.len(), logs.is_without_gap()))
}

/// Whether more endpoints give the other list.
fn is_outvoted(logs: &BlockLogs, other: &BlockLogs, lists: &[&BlockLogs]) -> bool {
    votes(logs, lists) < votes(other, lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block's logs of one transaction with these numbers, all alike.
    fn logs(numbers: &[u64]) -> BlockLogs {
        let list: Vec<_> = numbers
            .iter()
            .map(|number| {
                serde_json::json!({
                    "address": alloy::primitives::Address::repeat_byte(1),
                    "topics": [],
                    "transactionHash": B256::repeat_byte(9),
                    "logIndex": format!("{number:#x}"),
                })
            })
            .collect();
        BlockLogs::read(serde_json::Value::from(list).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_most_endpoints_give_is_believed_and_the_longest_only_where_as_many_give_less() {
        let (one, twice) = (logs(&[0]), logs(&[0, 1]));
        let (also_one, also_twice) = (logs(&[0]), logs(&[0, 1]));
        for (lists, believed) in [
            (vec![&one, &also_one, &twice], 1),
            (vec![&twice, &one, &also_twice], 2),
            (vec![&one, &twice], 2),
            (vec![&one], 1),
        ] {
            assert_eq!(most_given(&lists).unwrap().list.len(), believed);
        }
        assert!(most_given(&[]).is_none());
        let lists = [&one, &also_one, &twice];
        assert!(is_outvoted(&twice, &one, &lists) && !is_outvoted(&one, &twice, &lists));
    }
}
