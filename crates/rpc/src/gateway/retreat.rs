//! Where the chain would end lower than callers were told.
//!
//! An endpoint that is late and one that follows a reorganisation look alike from outside, so a
//! lower block is not gone to lightly: somebody who is away may have the higher one still, and
//! somebody who was asked by number may have answered from the branch that replaces it already.

use std::time::Duration;

use alloy::primitives::B256;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::Core;
use super::follow::{BACKFILL, block, spot};
use super::observe;
use super::probe::family;
use super::tip::Seen;
use crate::node::Spot;

/// A tip nobody who is left has is kept for so long.
const HOLD: Duration = Duration::from_secs(30);
/// The same where the only endpoint is a development chain: nobody else has another word, and it is
/// put back on purpose (`evm_revert`).
const HOLD_DEVELOPMENT: Duration = Duration::from_millis(700);
/// If all endpoints are there and say the same for so long, the tip was nothing that stayed.
const HOLD_AGAINST_ALL: Duration = Duration::from_secs(300);
/// Programs that make blocks by themselves and follow no network.
const DEVELOPMENT: &[&str] = &["anvil", "hardhatnetwork", "ganache", "ethereumjs testrpc"];

/// Endpoints that are left have less than what callers were told.
pub(super) struct Held {
    since: Instant,
    /// The best of theirs that was given way to.
    lowered_for: Option<B256>,
}

impl Core {
    /// Whether a chain that ends no higher than ours is not believed at once, though nobody
    /// contradicts it.
    pub(super) fn is_held(&self, seen: &Seen, target: Spot, tip: Spot) -> bool {
        // A branch that was left already is shown by somebody who has not heard of it yet, when
        // those who have are gone: not a reorganisation.
        let left_already = || target.number <= tip.number && self.chain.was_removed(target.hash);
        // Where some are away, those who are left may be late, and be so on a branch that nobody
        // saw in time.
        (target.number < tip.number && !self.all_show(seen, target)) || left_already()
    }

    /// Whether every endpoint there is shows a block or builds on it.
    fn all_show(&self, seen: &Seen, block: Spot) -> bool {
        self.pool.0.primaries().all(|node| {
            let condition = node.condition();
            let head = condition.head.filter(|_| condition.state.is_readable());
            head.is_some_and(|head| seen.includes(head, block) == Some(true))
        })
    }

    /// Waits for those who have the tip to come back, and gives way when they do not. True if the
    /// tip moved.
    pub(super) async fn hold(&self, seen: &mut Seen, held: &mut Option<Held>, best: Spot) -> bool {
        let held = held.get_or_insert_with(|| Held {
            since: Instant::now(),
            lowered_for: None,
        });
        let since = held.since.elapsed();
        if since > HOLD_DEVELOPMENT && self.is_put_back_on_purpose()
            || since > HOLD_AGAINST_ALL && self.all_show(seen, best)
        {
            return self.put_back(seen, best).await;
        }
        if since > HOLD && held.lowered_for != Some(best.hash) {
            let gave_way = self.give_way(seen, best).await;
            held.lowered_for = gave_way.then_some(best.hash);
        }
        false
    }

    /// Speaks about the newest block of ours that is in the chain of those who are left. False if
    /// that cannot be found out yet.
    async fn give_way(&self, seen: &mut Seen, best: Spot) -> bool {
        let tip = self.chain.tip().map_or(0, |tip| tip.head.number);
        if best.number + BACKFILL < tip {
            // They have nothing to do with what we stand on, so nobody can be led from there to here.
            return self.put_back(seen, best).await;
        }
        let number = match self.chain.hash_at(best.number) {
            Some(hash) if hash != best.hash => match self.way_to(seen, best).await {
                Some(way) => way.fork.unwrap_or(best.number),
                None => return false,
            },
            _ => best.number,
        };
        if self.chain.tags().is_some_and(|tags| tags.latest != number) {
            observe::tip_lowered(self.pool.chain_id(), number);
            self.chain.lower_to(number);
        }
        true
    }

    /// Follows a reorganisation to a lower block. What callers are told about the newest block
    /// meanwhile waits, and everybody is asked where they stand: whoever was asked by number may
    /// have answered from further up the new branch, which is where we have to go then.
    pub(super) async fn go_down(
        &self,
        seen: &mut Seen,
        mut heads: Vec<Spot>,
        target: Spot,
        tip: Spot,
    ) -> bool {
        let _unsettled = self.chain.unsettle();
        for head in self.newest_of_all().await {
            seen.add(head);
            heads.push(head);
        }
        // What was shown by itself meanwhile.
        heads.extend(self.heads());
        let mut highest = target;
        for head in heads {
            if let Some(at) = seen.ancestor(head, tip.number)
                && at.number > highest.number
                && seen.includes(at, target) == Some(true)
            {
                highest = at;
            }
        }
        self.go_to(seen, highest).await
    }

    /// The newest block of everybody who says so now.
    async fn newest_of_all(&self) -> Vec<Spot> {
        let asked = self.readable().map(|node| async {
            let params = r#"["latest",false]"#;
            let result = self.forward(node, "eth_getBlockByNumber", params).await?;
            Some(spot(&block(&result)?.head))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Whether a shorter chain is no delay: there is one endpoint, and it is a development chain.
    fn is_put_back_on_purpose(&self) -> bool {
        let mut primaries = self.pool.0.primaries();
        let (Some(only), None) = (primaries.next(), primaries.next()) else {
            return false;
        };
        let condition = only.condition();
        let client = condition.client_version.as_deref().map(family);
        client.is_some_and(|client| DEVELOPMENT.contains(&&*client))
    }

    /// The chain ends here now: what was above has left it.
    async fn put_back(&self, seen: &mut Seen, best: Spot) -> bool {
        self.chain.lower_finality(best.number);
        self.pool.0.agreed.forget_lasting();
        // Also what was final: another block may have its number now.
        self.cache.forget_all();
        if self.chain.hash_at(best.number) != Some(best.hash) {
            return self.go_to(seen, best).await;
        }
        let removed = self.chain.advance(best.number, Vec::new());
        observe::reorganised(self.pool.chain_id(), removed, best.number);
        removed > 0
    }
}
