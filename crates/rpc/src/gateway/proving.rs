//! Gets the receipts of a block whose logs somebody needs, and proves with them that its logs are
//! all there are (`receipts` looks, `proofs` remembers).

use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy::consensus::EMPTY_ROOT_HASH;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::Core;
use super::class::{Class, class};
use super::log::BlockLogs;
use super::observe;
use super::proofs::{AGAIN, Circumstances, LogsMode, Way, Why};
use super::receipts::{Proof, Wanted, prove};
use crate::gate::Priority;
use crate::head::Head;
use crate::node::{Forwarded, Node};
use crate::patience::Allowance;
use crate::send_errors::Overrides;
use crate::wire;

const RECEIPTS: &str = "eth_getBlockReceipts";
/// One question; receipts of a large block are megabytes.
const WITHIN: Duration = Duration::from_secs(3);
/// Another endpoint is asked as well after this.
const HEDGE: Duration = Duration::from_millis(250);
/// Between two rounds; doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// Those who gave nothing are asked again for so long.
const AT_ONCE: Duration = Duration::from_millis(150);
/// And for so long if there is a reason to doubt those who gave something, but no longer than half
/// the time between two blocks, so that nobody falls behind.
const DOUBT: Duration = Duration::from_secs(4);
/// Looked at on a thread of its own from so many bytes on: it takes about a millisecond for each of
/// these.
const LARGE: usize = 128 << 10;

/// What came of trying to prove the logs of a block.
pub(super) enum Proving {
    Proven(BlockLogs),
    /// These endpoints gave receipts that do not fit.
    Unproven(Vec<usize>),
}

/// What came of asking one endpoint.
enum Given {
    Fits(BlockLogs),
    Wrong(&'static str),
    /// Nothing now, and perhaps later.
    Nothing,
    /// Nothing, ever.
    Lacks,
}

/// What an endpoint said.
enum Said {
    List(Bytes),
    Null,
    Refused(Class),
    Nothing,
}

impl Core {
    /// Why logs of a block are not proven, if they are not. None: of the newest one.
    pub(crate) fn why_logs_are_not_proven(&self, head: Option<&Head>) -> Option<Why> {
        let tip = self.chain.tip();
        let head = head.or(tip.as_deref().map(|tip| &tip.head));
        self.pool_circumstances(head, |at| self.proofs.why_not(at))
    }

    fn pool_circumstances<T>(
        &self,
        head: Option<&Head>,
        look: impl FnOnce(Circumstances<'_>) -> T,
    ) -> T {
        let nodes = self.primaries();
        look(Circumstances {
            mode: self.config.logs_mode,
            block_time: match self.config.logs_mode {
                LogsMode::ByBlockTime => self.pool.0.rhythm.block_time(),
                LogsMode::Verified | LogsMode::Derive => None,
            },
            has_root: head.is_none_or(|head| !head.receipts_root.is_zero()),
            nodes: &nodes,
            now: Instant::now(),
        })
    }

    fn primaries(&self) -> Vec<usize> {
        self.pool.0.primaries().map(|node| node.index).collect()
    }

    pub(super) async fn prove_logs(&self, head: &Head) -> Proving {
        let why = self.why_logs_are_not_proven(Some(head));
        if self.proofs.is_news(why) {
            observe::logs_are_proven(self.pool.chain_id(), why);
        }
        let only_tries = match why {
            None => false,
            Some(Why::DoNotFit) if head.number.is_multiple_of(AGAIN) => true,
            Some(_) => return Proving::Unproven(Vec::new()),
        };
        if head.receipts_root == EMPTY_ROOT_HASH {
            self.proofs.none_needed();
            observe::logs_proven(true);
            return Proving::Proven(BlockLogs::proven(Vec::new()));
        }
        let doubt = match self.pool.0.rhythm.block_time() {
            _ if only_tries => Duration::ZERO,
            Some(block_time) => DOUBT.min(block_time / 2),
            None => DOUBT,
        };
        let began = Instant::now();
        let mut wrong: Vec<(&Node, &'static str)> = Vec::new();
        for round in 0.. {
            match self.one_round(head, round, &mut wrong).await {
                Round::Proven(logs) => {
                    self.fitted(head, &wrong);
                    return Proving::Proven(logs);
                }
                Round::Over => break,
                Round::Open => {}
            }
            let patience = if wrong.is_empty() { AT_ONCE } else { doubt };
            if began.elapsed() >= patience {
                break;
            }
            sleep(PAUSE * 2_u32.pow(round.min(3))).await;
        }
        let wrong: Vec<usize> = wrong.iter().map(|(node, _)| node.index).collect();
        self.proofs
            .failed(&self.primaries(), &wrong, Instant::now());
        observe::logs_proven(false);
        if !only_tries {
            observe::no_receipts_fit(head.number, wrong.len());
        }
        Proving::Unproven(wrong)
    }

    /// Somebody's receipts fit, so these others are proven wrong.
    fn fitted(&self, head: &Head, wrong: &[(&Node, &'static str)]) {
        self.proofs.fitted();
        observe::logs_proven(true);
        for (node, why) in wrong {
            observe::receipts_wrong(&node.name, head.number, why);
            let what = format!("gave receipts of block {} that {why}", head.number);
            node.fitness.suspect(RECEIPTS, what, Instant::now());
        }
    }

    /// Asks everybody who may have the receipts and has not given wrong ones, one after another: the
    /// next one when one is late or gave none that fit.
    async fn one_round<'a>(
        &'a self,
        head: &Head,
        round: u32,
        wrong: &mut Vec<(&'a Node, &'static str)>,
    ) -> Round {
        let mut nodes = self.givers(head);
        nodes.retain(|node| wrong.iter().all(|(other, _)| other.index != node.index));
        let mut nodes = nodes.into_iter();
        let mut asked = FuturesUnordered::new();
        let ask =
            |node: &'a Node| async move { (node, self.ask_receipts(node, head, round).await) };
        let mut open = false;
        loop {
            if asked.is_empty() {
                match nodes.next() {
                    Some(node) => asked.push(ask(node)),
                    None if open => return Round::Open,
                    None => return Round::Over,
                }
            }
            tokio::select! {
                biased;
                Some((node, given)) = asked.next() => match given {
                    Given::Fits(logs) => return Round::Proven(logs),
                    Given::Wrong(why) => wrong.push((node, why)),
                    Given::Nothing => open = true,
                    Given::Lacks => {}
                },
                () = sleep(HEDGE), if nodes.len() > 0 => asked.extend(nodes.next().map(ask)),
            }
        }
    }

    /// Whom to ask for the receipts of a block, the best first.
    fn givers(&self, head: &Head) -> Vec<&Node> {
        let now = Instant::now();
        let mut nodes: Vec<&Node> = self
            .readable()
            .filter(|node| !matches!(self.proofs.way(node.index, now), Way::Lacks(_)))
            .collect();
        nodes.sort_by_key(|node| {
            let fit = node.fitness.is_fit(RECEIPTS, now) && !node.fitness.strays();
            // Bytes may cost money: whoever is preferred comes first.
            (!has(node, head), !fit, node.order, node.latency_micros())
        });
        nodes
    }

    async fn ask_receipts(&self, node: &Node, head: &Head, round: u32) -> Given {
        let by_number = self.proofs.way(node.index, Instant::now()) == Way::ByNumber;
        if !by_number {
            let params = format!("[\"{}\"]", head.hash);
            match self.receipts(node, &params).await {
                Said::List(list) => {
                    return match looked_at(head, list).await {
                        Proof::Fits(logs) => Given::Fits(logs),
                        Proof::OtherBlock => Given::Wrong("are of another block"),
                        // Its index may only be late at first.
                        Proof::Empty if round == 0 => Given::Nothing,
                        Proof::Empty => Given::Wrong("are none"),
                        Proof::Wrong(why) => Given::Wrong(why),
                    };
                }
                Said::Refused(Class::NoMethod) => return self.lacks_receipts(node),
                // Some take a hash for a number that is too large, or know no block of that name.
                Said::Refused(Class::Params | Class::Internal) => {}
                Said::Null if has(node, head) => {}
                Said::Null | Said::Refused(_) | Said::Nothing => return Given::Nothing,
            }
        }
        let params = format!("[\"{:#x}\"]", head.number);
        match self.receipts(node, &params).await {
            Said::List(list) => {
                let given = match looked_at(head, list).await {
                    Proof::Fits(logs) => Given::Fits(logs),
                    // It may stand on another branch.
                    Proof::OtherBlock | Proof::Empty => return Given::Nothing,
                    Proof::Wrong(why) => Given::Wrong(why),
                };
                self.proofs.takes_numbers(node.index);
                given
            }
            Said::Refused(Class::NoMethod | Class::Params) => self.lacks_receipts(node),
            Said::Null | Said::Refused(_) | Said::Nothing => Given::Nothing,
        }
    }

    fn lacks_receipts(&self, node: &Node) -> Given {
        let now = Instant::now();
        self.proofs.lacks(node.index, now);
        node.fitness.lacks(RECEIPTS, now);
        Given::Lacks
    }

    async fn receipts(&self, node: &Node, params: &str) -> Said {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = wire::encode_raw(id, RECEIPTS, params);
        let asked = node.forward(
            id,
            RECEIPTS,
            body,
            Allowance::from_now(WITHIN),
            Priority::Receipts,
        );
        match asked.await {
            Ok(Forwarded::Result(result)) if &result[..] == b"null" => Said::Null,
            Ok(Forwarded::Result(result)) => Said::List(result),
            Ok(Forwarded::Refused(refusal, _)) => {
                Said::Refused(class(RECEIPTS, &refusal, &Overrides::default()))
            }
            Err(_) => Said::Nothing,
        }
    }
}

/// What one round brought.
enum Round {
    Proven(BlockLogs),
    /// Somebody gave nothing, and may yet.
    Open,
    Over,
}

fn has(node: &Node, head: &Head) -> bool {
    let at = node.condition().head;
    at.is_some_and(|at| at.number >= head.number)
}

async fn looked_at(head: &Head, list: Bytes) -> Proof {
    let wanted = Wanted::from(head);
    let is_small = list.len() < LARGE;
    let look = move || {
        let began = std::time::Instant::now();
        let proof = prove(wanted, &list);
        observe::receipts_looked_at(began.elapsed());
        proof
    };
    if is_small {
        return look();
    }
    match tokio::task::spawn_blocking(look).await {
        Ok(proof) => proof,
        Err(_) => Proof::Wrong("cannot be read"),
    }
}
