//! The loop that keeps the journal where the endpoints are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy::primitives::B256;
use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Core;
use super::chain::Block;
use super::observe;
use super::retreat::Held;
use super::seal;
use super::tip::{self, Move, Seen};
use crate::gate::Priority;
use crate::head::Head;
use crate::node::{Forwarded, Node, Spot};
use crate::patience::Allowance;
use crate::status::NodeState;
use crate::wire;

/// Blocks an outage may last and still be made up for without anybody noticing.
pub(crate) const BACKFILL: u64 = 1024;
/// Blocks below the first one that are looked at before anything else.
const DEEPER: usize = 8;
/// The loop looks at least so often, whatever endpoints tell.
const LOOK: Duration = Duration::from_millis(500);
const BY_HASH: &str = "eth_getBlockByHash";
/// One question of the loop.
const WITHIN: Duration = Duration::from_secs(3);
/// The first block is looked for only once endpoints were compared, or after this.
const COMPARED_WITHIN: Duration = Duration::from_secs(2);

/// How a block is reached from the journal.
pub(super) struct Way {
    /// What lies between, lowest first.
    blocks: Vec<Arc<Block>>,
    /// The height of the newest block of the journal it builds on; none if there is none.
    pub(super) fork: Option<u64>,
}

/// What came of looking for a block.
enum Fetched {
    Block(Arc<Block>),
    /// Somebody says there is none.
    Unknown,
    /// Nobody says anything.
    Unanswered,
}

impl Core {
    /// Runs until dropped.
    pub(crate) async fn follow(self: Arc<Self>) {
        let _followed = self.is_followed_until_dropped();
        tokio::join!(
            self.follow_tip(),
            self.follow_finality(),
            self.compare_endpoints(),
            self.sample_logs(),
            self.resend(),
            self.each_second()
        );
    }

    async fn each_second(&self) {
        let mut every = interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.retries.second_passed();
            let chain_id = self.pool.chain_id();
            observe::cached(chain_id, self.cache.bytes());
            for node in &self.pool.0.nodes {
                observe::load(chain_id, &node.name, node.gate.load());
            }
            self.compare_slowness();
            let now = Instant::now();
            for node in &self.pool.0.nodes {
                node.fitness.look_at_probation(now);
            }
        }
    }

    /// Finds out who is much slower at a method than is usual. Less than half of the endpoints are
    /// ever found slow, so that whoever is left can carry the load.
    fn compare_slowness(&self) {
        let now = Instant::now();
        let nodes: Vec<&Node> = self.readable().collect();
        if nodes.len() < 2 {
            return;
        }
        let shown: Vec<_> = nodes.iter().map(|node| node.fitness.methods(now)).collect();
        let mut medians: HashMap<&str, Vec<Duration>> = HashMap::new();
        for (method, shown) in shown.iter().flatten().filter(|(_, shown)| shown.timed > 0) {
            medians.entry(method).or_default().push(shown.median);
        }
        for (method, mut medians) in medians {
            medians.sort();
            let usual = medians[(medians.len() - 1) / 2];
            let most = (nodes.len() - 1) / 2;
            let slow = nodes
                .iter()
                .filter(|node| node.fitness.is_slow_at(method))
                .count();
            for node in &nodes {
                if slow < most || node.fitness.is_slow_at(method) {
                    node.fitness.compare_slowness(method, usual, now);
                }
            }
        }
    }

    async fn follow_tip(&self) {
        // Endpoints of different chains with one number must not lead anybody.
        let mut compared = self.compared.subscribe();
        let _ = timeout(COMPARED_WITHIN, compared.wait_for(|compared| *compared)).await;
        let mut seen = Seen::default();
        let mut news = self.pool.0.seen.subscribe();
        let mut held = None;
        loop {
            let moved = self.step(&mut seen, &mut held).await;
            // At once: until then nobody knows better than to measure all by the highest head.
            if let Some(tip) = self.chain.tip() {
                self.pool.0.stands_on(tip.head.number);
            }
            if !moved {
                let _ = timeout(LOOK, news.changed()).await;
            }
        }
    }

    /// Heads of usable endpoints, the preferred first: alive ones, or whoever shows any.
    pub(super) fn heads(&self) -> Vec<Spot> {
        let shown = self.shown_heads();
        shown.into_iter().map(|(_, head)| head).collect()
    }

    /// The same with whose they are.
    fn shown_heads(&self) -> Vec<(&Node, Spot)> {
        let of = |wanted: NodeState| {
            let mut shown: Vec<(&Node, Spot)> = self
                .pool
                .0
                .primaries()
                .filter_map(|node| {
                    let condition = node.condition();
                    let head = condition.head.filter(|_| condition.state == wanted)?;
                    Some((node, head))
                })
                .collect();
            shown.sort_by_key(|(node, _)| node.order);
            shown
        };
        [NodeState::Alive, NodeState::OutOfSync, NodeState::Syncing]
            .into_iter()
            .map(of)
            .find(|heads| !heads.is_empty())
            .unwrap_or_default()
    }

    /// One look; true if the tip moved.
    async fn step(&self, seen: &mut Seen, held: &mut Option<Held>) -> bool {
        let shown = self.shown_heads();
        for (_, head) in &shown {
            seen.add(*head);
        }
        let tip = self.chain.tip();
        self.fill(seen, &shown, tip.as_deref()).await;
        let heads: Vec<Spot> = shown.into_iter().map(|(_, head)| head).collect();
        let standing = tip.as_ref().map(|tip| spot(&tip.head));
        self.mark_strays(seen, standing);
        let chosen = tip::choose(&heads, standing, |n| self.chain.hash_at(n), seen);
        let chosen = match (chosen, &tip) {
            (Move::To(target), Some(tip)) if self.is_held(seen, target, spot(&tip.head)) => {
                Move::Behind(target)
            }
            (chosen, _) => chosen,
        };
        match chosen {
            Move::Stay => {
                *held = None;
                // They may have caught up with a tip that was given up on.
                if let (Some(tip), Some(tags)) = (&tip, self.chain.tags())
                    && tags.latest < tip.head.number
                    && !heads.is_empty()
                {
                    self.chain.lower_to(tip.head.number);
                    return true;
                }
                false
            }
            Move::Behind(best) => self.hold(seen, held, best).await,
            Move::To(target) => {
                *held = None;
                match &tip {
                    Some(tip) if target.number < tip.head.number => {
                        self.go_down(seen, heads, target, spot(&tip.head)).await
                    }
                    _ => self.go_to(seen, target).await,
                }
            }
        }
    }

    /// Remembers who stands on another branch, so that nobody is answered from there.
    fn mark_strays(&self, seen: &Seen, tip: Option<Spot>) {
        let Some(tip) = tip else { return };
        for node in &self.pool.0.nodes {
            let Some(head) = node.condition().head else {
                continue;
            };
            let strays = if head.number >= tip.number {
                seen.includes(head, tip) == Some(false)
            } else {
                self.chain
                    .hash_at(head.number)
                    .is_some_and(|hash| hash != head.hash)
            };
            if strays && !node.fitness.strays() {
                observe::strays(&node.name, head.number);
                // It may have been there for a while already, or of another chain.
                self.cache.forget(node.index);
                node.doubt();
            }
            node.fitness.set_strays(strays);
        }
    }

    /// Looks up the links between heads and the tip that nobody has shown, so that the choice is
    /// made on what is known.
    async fn fill(&self, seen: &mut Seen, shown: &[(&Node, Spot)], tip: Option<&Block>) {
        let Some(tip) = tip.map(|tip| spot(&tip.head)) else {
            return;
        };
        for (node, head) in shown {
            self.link(seen, *head, tip).await;
            // Too far for a walk: it is asked what it has where the tip is.
            if head.number > tip.number && seen.includes(*head, tip).is_none() {
                self.look_below(seen, node, head.hash, tip.number).await;
            }
            // And whoever has the tip what they have where one stands who is that far below.
            let front = self.chain.front().map_or(0, |front| front.head.number);
            if head.number + BACKFILL < front {
                let at_tip = shown.iter().find(|(_, other)| other.hash == tip.hash);
                if let Some((other, _)) = at_tip {
                    self.look_below(seen, other, tip.hash, head.number).await;
                }
            }
        }
    }

    async fn link(&self, seen: &mut Seen, head: Spot, tip: Spot) {
        let mut at = head;
        // Longer gaps are walked when the head is chosen.
        for _ in 0..DEEPER {
            if at.number <= tip.number {
                break;
            }
            if self.chain.hash_at(at.number - 1) == Some(at.parent) {
                break;
            }
            at = match seen.get(at.parent) {
                Some(parent) => parent,
                None => {
                    let Some(block) = self.fetch(at.parent).await else {
                        break;
                    };
                    let parent = spot(&block.head);
                    seen.add(parent);
                    parent
                }
            };
        }
    }

    async fn look_below(&self, seen: &mut Seen, node: &Node, head: B256, number: u64) {
        if seen.below(head, number).is_some() {
            return;
        }
        if let Some(block) = node.block_at(number).await {
            seen.lies_below(head, block);
        }
    }

    /// Walks from a block down to the journal. None if something on the way cannot be had.
    pub(super) async fn way_to(&self, seen: &mut Seen, target: Spot) -> Option<Way> {
        let first = self.fetch(target.hash).await?;
        let tip = self.chain.tip().map_or(0, |tip| tip.head.number);
        let lowest = tip.saturating_sub(BACKFILL);
        let far = target.number > tip + BACKFILL;
        let mut blocks = vec![first];
        let fork = loop {
            let last = &blocks[blocks.len() - 1].head;
            let (number, parent) = (last.number, last.parent_hash);
            if number == 0 {
                break None;
            }
            if self.chain.hash_at(number - 1) == Some(parent) {
                break Some(number - 1);
            }
            if far || number <= lowest {
                break None;
            }
            // Deeper than what we began with: what lies below is found out now.
            if let Some(front) = self.chain.front()
                && number - 1 < front.head.number
            {
                match self.fetch_or_not(front.head.parent_hash).await {
                    Fetched::Block(older) => self.chain.prepend(older),
                    Fetched::Unknown => break None,
                    Fetched::Unanswered => return None,
                }
                continue;
            }
            let block = self.fetch(parent).await?;
            seen.add(spot(&block.head));
            blocks.push(block);
        };
        blocks.reverse();
        Some(Way { blocks, fork })
    }

    /// Appends what lies between the journal and the target.
    pub(super) async fn go_to(&self, seen: &mut Seen, target: Spot) -> bool {
        let Some(tip) = self.chain.tip() else {
            let Some(first) = self.fetch(target.hash).await else {
                return false;
            };
            observe::following(self.pool.chain_id(), target.number);
            self.chain.begin(first);
            self.pool.0.stands_on(target.number);
            self.deepen().await;
            return true;
        };
        let Some(Way { mut blocks, fork }) = self.way_to(seen, target).await else {
            return false;
        };
        let Some(fork) = fork else {
            observe::gap(self.pool.chain_id(), tip.head.number, target.number);
            if let Some(block) = blocks.pop() {
                self.chain.begin(block);
            }
            return true;
        };
        // While a lower branch was fetched it may have grown to where we stand, and somebody been answered from there
        // by number: it is lower only if nobody shows more of it.
        let grown = |head: &Spot| {
            head.number > target.number && self.chain.hash_at(head.number) != Some(head.hash)
        };
        if target.number < tip.head.number && self.heads().iter().any(grown) {
            return false;
        }
        let removed = self.chain.advance(fork, blocks);
        if removed > 0 {
            observe::reorganised(self.pool.chain_id(), removed, fork);
        }
        true
    }

    /// Finds out what lies right below the first block, so that a reorganisation of just then is
    /// known as one, and not as somebody being behind.
    async fn deepen(&self) {
        for _ in 0..DEEPER {
            let Some(front) = self.chain.front().filter(|front| front.head.number > 0) else {
                return;
            };
            let Some(older) = self.fetch(front.head.parent_hash).await else {
                return;
            };
            self.chain.prepend(older);
        }
    }

    /// The block with this hash, from whoever shows it first.
    pub(super) async fn fetch(&self, hash: B256) -> Option<Arc<Block>> {
        match self.fetch_or_not(hash).await {
            Fetched::Block(block) => Some(block),
            Fetched::Unknown | Fetched::Unanswered => None,
        }
    }

    async fn fetch_or_not(&self, hash: B256) -> Fetched {
        if let Some(block) = self.shown(hash) {
            return Fetched::Block(Arc::new(block));
        }
        let params = format!("[\"{hash}\",false]");
        let mut nodes: Vec<&Node> = self.readable().collect();
        nodes.sort_by_key(|node| {
            let shows = node.condition().head.is_some_and(|head| head.hash == hash);
            (!shows, node.latency_micros())
        });
        let mut answered = false;
        let mut unsealed: Option<(Block, &Node)> = None;
        for node in nodes {
            let Some(result) = self.forward(node, BY_HASH, &params).await else {
                continue;
            };
            answered |= &result[..] == b"null";
            let Some(block) = block(&result) else {
                continue;
            };
            if block.head.hash != hash {
                continue;
            }
            // Where nobody subscribes nothing is proven by headers.
            if self.patience.is_some() {
                return Fetched::Block(Arc::new(block));
            }
            if seal::makes(&block.header, hash) {
                self.seals.were_seen(true);
                if let Some((block, liar)) = unsealed {
                    observe::header_wrong(&liar.name, block.head.number);
                    let what = format!(
                        "gave a header of block {} that does not make its hash",
                        block.head.number
                    );
                    liar.fitness.suspect(BY_HASH, what, Instant::now());
                }
                return Fetched::Block(Arc::new(block));
            }
            if self.seals.fit() != Some(true) {
                self.seals.were_seen(false);
                return Fetched::Block(Arc::new(block));
            }
            // Others' headers do make their hashes: somebody else may show the true one.
            unsealed.get_or_insert((block, node));
        }
        if let Some((block, _)) = unsealed {
            self.seals.were_seen(false);
            return Fetched::Block(Arc::new(block));
        }
        match answered {
            true => Fetched::Unknown,
            false => Fetched::Unanswered,
        }
    }

    /// The block as an endpoint showed it by itself. Subscribers are told all that there is of a
    /// header, so where there may be some it is asked for.
    fn shown(&self, hash: B256) -> Option<Block> {
        self.patience?;
        let headers = self
            .readable()
            .filter_map(|node| node.condition().header.clone());
        let header = { headers }.find(|header| header.hash == hash)?;
        Some(Block {
            head: Head::clone(&header),
            header: Bytes::new(),
            logs: Default::default(),
        })
    }

    /// Endpoints that may be asked, whatever they are good for.
    pub(crate) fn readable(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.pool.0.nodes.iter();
        nodes.filter(|node| !node.send_only && node.state().is_readable())
    }

    pub(super) async fn forward(&self, node: &Node, method: &str, params: &str) -> Option<Bytes> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = wire::encode_raw(id, method, params);
        match node
            .forward(
                id,
                method,
                body,
                Allowance::from_now(WITHIN),
                Priority::Heads,
            )
            .await
        {
            Ok(Forwarded::Result(result)) => Some(result),
            _ => None,
        }
    }
}

pub(super) fn spot(head: &Head) -> Spot {
    Spot {
        number: head.number,
        hash: head.hash,
        parent: head.parent_hash,
    }
}

/// Members of a block that are not members of a header notification.
const NOT_IN_A_HEADER: &[&str] = &[
    "transactions",
    "uncles",
    "withdrawals",
    "size",
    "totalDifficulty",
];

pub(super) fn block(result: &Bytes) -> Option<Block> {
    let text = std::str::from_utf8(result).ok()?;
    let head: Head = serde_json::from_str(text).ok()?;
    let mut header = String::with_capacity(text.len());
    for (name, value) in super::block::members(text)? {
        if NOT_IN_A_HEADER.contains(&&*name) {
            continue;
        }
        header.push(if header.is_empty() { '{' } else { ',' });
        super::block::push_member(&mut header, &name, value);
    }
    header.push('}');
    Some(Block {
        head,
        header: header.into(),
        logs: Default::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_keeps_every_member_that_belongs_there_to_the_byte() {
        let result = format!(
            r#"{{"number":"0x5","hash":"{h}","parentHash":"{h}","timestamp":"0x1","size":"0x9","x":{{"of": [1.50]}},"transactions":["0x1"],"uncles":[],"gasLimit":"0x2"}}"#,
            h = B256::ZERO
        );
        let block = block(&result.into()).unwrap();
        assert_eq!(
            std::str::from_utf8(&block.header).unwrap(),
            format!(
                r#"{{"number":"0x5","hash":"{h}","parentHash":"{h}","timestamp":"0x1","x":{{"of": [1.50]}},"gasLimit":"0x2"}}"#,
                h = B256::ZERO
            )
        );
        assert_eq!(block.head.number, 5);
    }
}
