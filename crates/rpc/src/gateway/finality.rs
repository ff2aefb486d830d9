//! What endpoints call safe and finalized, and whether they mean the same chain.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::Core;
use super::observe;
use super::probe::family;
use crate::agreed::{Verdict, Voice, differs, verdict};
use crate::head::{BlockTag, Head};
use crate::node::{Anchor, Node};
use crate::status::NodeState;

/// The finalized block is looked for at most so often.
const FINALITY_EVERY: Duration = Duration::from_millis(1500);
/// Endpoints are compared so often once all of them were.
const COMPARE_EVERY: Duration = Duration::from_secs(2);
/// And so often at first.
const COMPARE_SOON: Duration = Duration::from_millis(50);
/// Looks in a row at which an outsider agreed, before it belongs again.
const AGREED_LOOKS: u32 = 3;
/// Where nobody knows a finalized block, heights compared are multiples of this.
const STEP: u64 = 8;

impl Core {
    pub(super) async fn follow_finality(&self) {
        let mut changed = self.chain.changed();
        let mut silent: HashMap<usize, u32> = HashMap::new();
        loop {
            let _ = timeout(4 * FINALITY_EVERY, changed.changed()).await;
            let nodes: Vec<&Node> = self
                .watched()
                // Asked less and less where the tags are not known.
                .filter(|node| {
                    let silent = silent.entry(node.index).or_default();
                    *silent = silent.saturating_sub(1);
                    *silent == 0 || silent.is_multiple_of(32)
                })
                .collect();
            let said = join_all(nodes.iter().map(|node| async move {
                let of = |tag: BlockTag| async move {
                    let params = format!("[\"{tag}\",false]");
                    let result = self.forward(node, "eth_getBlockByNumber", &params).await?;
                    serde_json::from_slice::<Head>(&result).ok()
                };
                let safe = of(BlockTag::Safe).await.map(|head| head.number);
                let finalized = of(BlockTag::Finalized).await.map(|head| Anchor {
                    number: head.number,
                    hash: head.hash,
                });
                (safe, finalized)
            }))
            .await;
            for (node, (safe, finalized)) in nodes.iter().zip(said) {
                if finalized.is_none() {
                    silent.insert(node.index, 128);
                }
                node.saw_finality(safe, finalized);
            }
            self.raise_finality();
            sleep(FINALITY_EVERY).await;
        }
    }

    /// What the gateway calls safe and finalized: the highest blocks that endpoints of our chain do; with
    /// three or more of them two have to.
    fn raise_finality(&self) {
        let latest = self.chain.tags().map_or(0, |tags| tags.latest);
        let ours: Vec<&Node> = self
            .readable()
            .filter(|node| !node.fitness.strays())
            .collect();
        let highest = |of: &dyn Fn(&Node) -> Option<u64>| {
            let mut numbers: Vec<u64> = ours.iter().filter_map(|node| of(node)).collect();
            numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
            let wanted = if numbers.len() >= 3 { 2 } else { 1 };
            numbers
                .get(wanted - 1)
                .copied()
                .filter(|number| *number <= latest)
        };
        let finalized = |node: &Node| {
            let at = node.condition().finalized?;
            let hash = self.chain.hash_at(at.number);
            hash.is_none_or(|hash| hash == at.hash).then_some(at.number)
        };
        self.chain
            .finality(highest(&|node| node.condition().safe), highest(&finalized));
    }

    /// Endpoints that answer for our chain's number.
    fn watched(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.pool.0.nodes.iter();
        nodes.filter(|node| !node.send_only && node.state().answers())
    }

    /// Compares the first and the last lasting block of all endpoints, again and again.
    pub(super) async fn compare_endpoints(&self) {
        let mut conflict = false;
        loop {
            let number = self.lasting_height();
            let first = self.compare_at(0, number.is_none()).await;
            let lasting = match number {
                Some(number) => self.compare_at(number, true).await,
                None => None,
            };
            let verdicts = [first, lasting];
            let tie = verdicts.iter().flatten().any(|verdict| verdict.tie);
            let now = verdicts.iter().flatten().any(|it| !it.out.is_empty());
            if now != conflict {
                observe::finality_conflict(self.pool.chain_id(), now, tie);
                conflict = now;
            }
            let all_tried = self
                .pool
                .0
                .primaries()
                .all(|node| node.state() != NodeState::Undialed);
            if all_tried && !*self.compared.borrow() {
                self.compared.send_replace(true);
            }
            sleep(if all_tried {
                COMPARE_EVERY
            } else {
                COMPARE_SOON
            })
            .await;
        }
    }

    /// The highest block that stays and that every endpoint should have.
    fn lasting_height(&self) -> Option<u64> {
        let lowest = |of: fn(&Node) -> Option<u64>| self.watched().filter_map(of).min();
        let finalized = lowest(|node| node.condition().finalized.map(|at| at.number));
        let number = match finalized {
            Some(number) => number,
            None => {
                let head = lowest(|node| node.condition().head.map(|head| head.number))?;
                let number = head.checked_sub(self.pool.0.config.finality_depth)?;
                number - number % STEP
            }
        };
        (number > 0).then_some(number)
    }

    /// `last`: it is the last height of this look, so that who agrees here agrees everywhere.
    async fn compare_at(&self, number: u64, last: bool) -> Option<Verdict> {
        let nodes: Vec<&Node> = self.watched().collect();
        let shown = join_all(nodes.iter().map(|node| self.shown_at(node, number))).await;
        let mut voices: Vec<Voice> = nodes
            .iter()
            .zip(&shown)
            .filter_map(|(node, shown)| {
                Some(Voice {
                    node: node.index,
                    order: node.order,
                    family: node.condition().client_version.as_deref().map(family),
                    hash: (*shown)?.hash,
                })
            })
            .collect();
        // Somebody's address may belong to another chain by now, and then it has no voice.
        if voices.iter().any(|voice| voice.hash != voices[0].hash) {
            let nodes = &self.pool.0.nodes;
            join_all(voices.iter().map(|voice| nodes[voice.node].check_chain())).await;
            voices.retain(|voice| nodes[voice.node].state() != NodeState::InvalidChainId);
        }
        let mut verdict = verdict(&voices)?;
        if number == 0 {
            verdict = self.pool.0.agreed.first_block(verdict, &voices);
        }
        let agreed = Anchor {
            number,
            hash: verdict.hash,
        };
        self.pool.0.agreed.set(agreed);
        for voice in &voices {
            let node = &self.pool.0.nodes[voice.node];
            if voice.hash != agreed.hash {
                let shown = Anchor {
                    number,
                    hash: voice.hash,
                };
                node.condition().agreed_looks = 0;
                node.turn(NodeState::Forked, Some(differs(shown, agreed.hash)));
            } else if node.state() == NodeState::Forked && last {
                let looks = {
                    let mut condition = node.condition();
                    condition.agreed_looks += 1;
                    condition.agreed_looks
                };
                if looks >= AGREED_LOOKS {
                    node.turn(NodeState::Alive, None);
                }
            }
        }
        Some(verdict)
    }

    /// The block an endpoint has at a height; asked once for each height.
    async fn shown_at(&self, node: &Node, number: u64) -> Option<Anchor> {
        let known = {
            let condition = node.condition();
            [condition.first, condition.shows_at]
                .into_iter()
                .flatten()
                .find(|known| known.number == number)
                // An outsider is asked anew, or it would stay one for ever.
                .filter(|_| condition.state != NodeState::Forked)
        };
        if known.is_some() {
            return known;
        }
        let shown = node.block_at(number).await?;
        let mut condition = node.condition();
        match number {
            0 => condition.first = Some(shown),
            _ => condition.shows_at = Some(shown),
        }
        Some(shown)
    }
}
