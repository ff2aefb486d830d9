//! What must hold, whatever happens: G1 for whoever asks, G2 for whoever subscribes.

use std::collections::HashMap;

use alloy::primitives::B256;
use serde_json::Value;

use super::world::Truth;

/// One who asks for the newest block again and again.
#[derive(Default)]
pub(super) struct Asker {
    last: Option<(u64, B256)>,
}

impl Asker {
    /// Was given this block as the newest. `lowered`: nobody who is left has the newest one, and
    /// the gateway says so.
    pub(super) fn was_given(
        &mut self,
        number: u64,
        hash: B256,
        truth: &Truth,
        lowered: bool,
    ) -> Result<(), String> {
        let block = truth
            .find(hash)
            .ok_or_else(|| format!("block {hash} was never made"))?;
        if block.number != number {
            return Err(format!("{hash} is block {} and not {number}", block.number));
        }
        if let Some((last, before)) = self.last
            && number < last
            && truth.is_canonical(before)
            && !lowered
        {
            return Err(format!(
                "the chain went back from {last} to {number}, and {before} is still canonical"
            ));
        }
        self.last = Some((number, hash));
        Ok(())
    }
}

/// Of which blocks it can be proven what their logs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Provable {
    Nothing,
    /// Whoever takes numbers only cannot be asked about a block that has left the chain.
    OfTheChain,
    All,
}

/// One who follows the chain by notifications.
pub(super) struct Follower {
    heads: String,
    /// What it believes the chain is; begins with the block before its first.
    chain: Vec<B256>,
    /// Logs told of each block of its chain.
    logs: HashMap<B256, u64>,
    /// What somebody proves who is there, and has been for a while.
    pub(super) provable: Provable,
    /// Whether somebody leaves out logs.
    pub(super) is_tempted: bool,
    /// Whether it was provable when the last log of a block was told.
    was_provable: HashMap<B256, bool>,
    pub(super) events: u64,
    /// Blocks whose logs could be proven by somebody and somebody left one out.
    pub(super) proven: u64,
}

impl Follower {
    pub(super) fn new(heads: String) -> Self {
        Self {
            heads,
            chain: Vec::new(),
            logs: HashMap::new(),
            provable: Provable::Nothing,
            is_tempted: false,
            was_provable: HashMap::new(),
            events: 0,
            proven: 0,
        }
    }

    pub(super) fn tip(&self) -> Option<B256> {
        self.chain.last().copied()
    }

    /// A notification came.
    pub(super) fn was_told(&mut self, message: &Value, truth: &Truth) -> Result<(), String> {
        let params = &message["params"];
        if let Some(error) = params.get("error") {
            return Err(format!("the subscription was ended: {error}"));
        }
        self.events += 1;
        let result = &params["result"];
        if params["subscription"] == self.heads.as_str() {
            self.head(result, truth)
        } else {
            self.log(result, truth)
        }
    }

    fn head(&mut self, head: &Value, truth: &Truth) -> Result<(), String> {
        let hash = hash(&head["hash"])?;
        let block = truth
            .find(hash)
            .ok_or_else(|| format!("head {hash} was never made"))?;
        if self.chain.contains(&hash) {
            return Err(format!("head {} {hash} was told twice", block.number));
        }
        if self.chain.is_empty() {
            self.chain.push(block.parent);
        }
        self.settled(truth)?;
        let kept = match self.chain.iter().rposition(|it| *it == block.parent) {
            Some(at) => at + 1,
            // Replaced from below where it began: then it continues what it was not told of.
            None => {
                let below = truth.ancestor(self.chain[0], block.number - 1);
                if below.is_none_or(|below| below.hash != block.parent) {
                    return Err(format!(
                        "head {} {hash} does not follow anything told before",
                        block.number
                    ));
                }
                0
            }
        };
        let gone: Vec<B256> = self.chain.drain(kept..).collect();
        if kept == 0 {
            self.chain.push(block.parent);
        }
        for gone in gone {
            // Its logs have to be taken back before the head that replaces it is told.
            if let Some(left) = self.logs.remove(&gone).filter(|left| *left > 0) {
                return Err(format!("{left} logs of {gone} were never taken back"));
            }
        }
        self.chain.push(hash);
        Ok(())
    }

    /// All logs of the newest block are there before anything else happens.
    fn settled(&self, truth: &Truth) -> Result<(), String> {
        let Some(newest) = self.chain.last().filter(|_| self.chain.len() > 1) else {
            return Ok(());
        };
        let told = self.logs.get(newest).copied().unwrap_or(0);
        let block = truth.block(*newest);
        // Taken back already, or all there.
        if told == block.logs || told == 0 || self.may_lack(*newest, told, truth) {
            return Ok(());
        }
        Err(format!(
            "{told} of {} logs of block {} were told",
            block.logs, block.number
        ))
    }

    fn log(&mut self, log: &Value, truth: &Truth) -> Result<(), String> {
        let hash = hash(&log["blockHash"])?;
        let index = log["logIndex"]
            .as_str()
            .and_then(|text| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok())
            .ok_or("a log without an index")?;
        let block = truth
            .find(hash)
            .ok_or_else(|| format!("a log of {hash}, which was never made"))?;
        let told = self.logs.entry(hash).or_default();
        match log["removed"].as_bool() {
            Some(true) => {
                if *told == 0 || index != *told - 1 {
                    return Err(format!(
                        "log {index} of block {} is taken back, {told} were told",
                        block.number
                    ));
                }
                *told -= 1;
            }
            _ => {
                if self.chain.last() != Some(&hash) {
                    return Err(format!(
                        "a log of block {}, whose head was not the last told",
                        block.number
                    ));
                }
                if index != *told {
                    return Err(format!(
                        "log {index} of block {} came when {told} were told",
                        block.number
                    ));
                }
                *told += 1;
                let is_provable = match self.provable {
                    Provable::Nothing => false,
                    Provable::OfTheChain => truth.is_canonical(hash),
                    Provable::All => true,
                };
                self.was_provable.insert(hash, is_provable);
                let all = *told == block.logs;
                let counts = all && block.has_twins() && self.is_tempted && is_provable;
                self.proven += u64::from(counts);
            }
        }
        Ok(())
    }

    /// Whether the last log of a block may be missing: nothing tells of it, and nobody was there for
    /// long enough who could prove it.
    fn may_lack(&self, hash: B256, told: u64, truth: &Truth) -> bool {
        let block = truth.block(hash);
        let was_provable = self.was_provable.get(&hash).copied().unwrap_or(true);
        block.has_twins() && told + 1 == block.logs && !was_provable
    }

    /// At the end, everything settled: it has the chain as it is, and all logs of it.
    pub(super) fn has_the_truth(&self, truth: &Truth) -> Result<(), String> {
        let tip = truth.tip();
        if self.tip() != Some(tip.hash) {
            return Err(format!("it stands at {:?} and not at {tip:?}", self.tip()));
        }
        let mut at = tip;
        for told in self.chain.iter().rev() {
            if *told != at.hash {
                return Err(format!("it has {told} where {} is", at.hash));
            }
            // The first is the block before it began.
            if *told != self.chain[0] {
                let logs = self.logs.get(told).copied().unwrap_or(0);
                if logs != at.logs && !self.may_lack(*told, logs, truth) {
                    return Err(format!(
                        "it was told {logs} of {} logs of block {}",
                        at.logs, at.number
                    ));
                }
            }
            match truth.find(at.parent) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        Ok(())
    }
}

fn hash(value: &Value) -> Result<B256, String> {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{value} is no hash"))
}
