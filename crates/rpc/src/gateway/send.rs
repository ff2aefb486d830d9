//! `eth_sendRawTransaction`: to everybody, with one answer that does not depend on who knew the
//! transaction already, or on who answered first.

mod decide;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy::consensus::Transaction as _;
use alloy::consensus::transaction::PooledTransaction;
use alloy::eips::Decodable2718;
use alloy::primitives::{B256, Bytes, keccak256};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared, join_all};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, interval, timeout_at};

use super::Core;
use super::block::Needs;
use super::envelope::Answer;
use super::method;
use super::observe;
use super::question::Question;
use super::route::later;
use crate::broadcast;
use crate::node::Node;
use crate::send::{SendOutcome, SendReport};
use decide::{Decision, decide};

/// A transaction is sent to whoever comes back for so long, so often, and so many are kept.
const KEPT_FOR: Duration = Duration::from_secs(60);
const RESENDS: u32 = 3;
const KEPT: usize = 4096;
/// So many upstreams are asked whether they know a transaction whose nonce is used.
const WITNESSES: usize = 3;
const LOOK: Duration = Duration::from_millis(250);
/// How long a client that waits for the receipt waits unless it says otherwise, and at most.
const SYNC_WAIT: Duration = Duration::from_secs(20);
const LONGEST_SYNC_WAIT: Duration = Duration::from_secs(60);

/// Transactions on their way.
#[derive(Default)]
pub(crate) struct Sends {
    flights: Mutex<HashMap<B256, WeakShared<BoxFuture<'static, Answer>>>>,
    kept: Mutex<Vec<Sent>>,
}

struct Sent {
    /// Of its bytes.
    hash: B256,
    /// What upstreams call it, if that is something else.
    named: Option<B256>,
    raw: Bytes,
    at: Instant,
    resent: u32,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(crate) async fn send(self: &Arc<Self>, params: &str) -> Answer {
        let raw = match serde_json::from_str::<(Bytes,)>(params) {
            Ok((raw,)) => raw,
            Err(_) => {
                return Answer::error(
                    -32602,
                    "invalid params: eth_sendRawTransaction takes one signed transaction as hex",
                );
            }
        };
        match self.understand(&raw) {
            Ok(hash) => self.send_raw(hash, raw).await,
            Err(refused) => refused,
        }
    }

    /// Sends, and answers with the receipt once there is one.
    pub(crate) async fn send_and_wait(self: &Arc<Self>, params: &str) -> Answer {
        let read = || -> Option<(Bytes, Option<u64>)> {
            let list: Vec<&RawValue> = serde_json::from_str(params).ok()?;
            let (raw, wait) = match list.as_slice() {
                [raw] => (raw, None),
                [raw, wait] => (raw, Some(serde_json::from_str(wait.get()).ok()?)),
                _ => return None,
            };
            Some((serde_json::from_str(raw.get()).ok()?, wait))
        };
        let Some((raw, millis)) = read() else {
            return Answer::error(
                -32602,
                "invalid params: eth_sendRawTransactionSync takes a signed transaction as hex and, if wanted, the milliseconds to wait",
            );
        };
        let hash = match self.understand(&raw) {
            Ok(hash) => hash,
            Err(refused) => return refused,
        };
        let wait = millis.map_or(SYNC_WAIT, Duration::from_millis);
        let deadline = Instant::now() + wait.min(LONGEST_SYNC_WAIT);
        let mut changed = self.chain.changed();
        let hash = match self.send_raw(hash, raw).await {
            Answer::Result(named) => serde_json::from_slice(&named).unwrap_or(hash),
            refused @ (Answer::Error(_) | Answer::Later(..) | Answer::Nameless(_)) => {
                return refused;
            }
        };
        loop {
            changed.mark_unchanged();
            let receipt = self.ask_about("eth_getTransactionReceipt", hash).await;
            if let Some(receipt) = receipt {
                return receipt;
            }
            if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                let error = json!({
                    "code": 4,
                    "message": format!("the transaction is not mined after {} ms", wait.as_millis()),
                    "data": hash,
                });
                return Answer::Error(error.to_string().into());
            }
        }
    }

    /// The hash of a transaction that may be sent here; the error is what its sender gets.
    fn understand(&self, raw: &[u8]) -> Result<B256, Answer> {
        if raw.is_empty() {
            return Err(Answer::error(
                -32602,
                "invalid params: the transaction is empty",
            ));
        }
        // Kinds of transactions of other chains we cannot read are theirs to judge.
        let Ok(transaction) = PooledTransaction::decode_2718(&mut &raw[..]) else {
            return Ok(keccak256(raw));
        };
        let ours = self.pool.chain_id();
        match transaction.chain_id() {
            Some(chain_id) if chain_id != ours => Err(Answer::error(
                -32000,
                &format!("invalid chain id for signer: have {chain_id} want {ours}"),
            )),
            // That of a blob transaction does not cover its sidecar.
            _ => Ok(*transaction.hash()),
        }
    }

    /// Whoever sends the same transaction meanwhile gets the same answer.
    async fn send_raw(self: &Arc<Self>, hash: B256, raw: Bytes) -> Answer {
        let flight = {
            let mut flights = lock(&self.sends.flights);
            match flights.get(&hash).and_then(WeakShared::upgrade) {
                Some(flight) => flight,
                None => {
                    let flight = self.take_off_with(hash, raw);
                    flights.retain(|_, flight| flight.upgrade().is_some());
                    if let Some(weak) = flight.downgrade() {
                        flights.insert(hash, weak);
                    }
                    flight
                }
            }
        };
        flight.await
    }

    fn take_off_with(
        self: &Arc<Self>,
        hash: B256,
        raw: Bytes,
    ) -> Shared<BoxFuture<'static, Answer>> {
        // The sending goes on whatever becomes of who asked for it.
        let came = self.pool.broadcast(vec![raw.clone()]);
        let core = Arc::clone(self);
        let flight = async move {
            let came = came.await.unwrap_or_default();
            let decision = decide(came.of_primaries(0).cloned(), came.primaries);
            observe::sent(decision.is_taken());
            if decision.is_worth_keeping() {
                let named = match decision {
                    Decision::Taken { hash } => hash,
                    Decision::Refused { .. } | Decision::Nobody { .. } => None,
                };
                core.keep_sent(hash, named, raw);
            }
            let answer = core.answer_for(hash, decision).await;
            lock(&core.sends.flights).remove(&hash);
            answer
        };
        let flight = flight.boxed().shared();
        // So does what is found out about it: upstreams that were away get it when they come back.
        tokio::spawn(flight.clone());
        flight
    }

    /// Sends several transactions, in order, as one batch per endpoint. One report each, in the same
    /// order, with all that was said about it.
    pub(crate) async fn send_many(&self, raws: &[Bytes]) -> Vec<SendReport> {
        if raws.is_empty() {
            return Vec::new();
        }
        let came = self.pool.broadcast(raws.to_vec()).await.unwrap_or_default();
        let reports = raws.iter().enumerate().map(|(at, raw)| {
            let report = broadcast::report(&self.pool.0, &came, at);
            observe::sent(report.outcome.is_success());
            if report.outcome.is_success() || matches!(report.outcome, SendOutcome::Retryable(_)) {
                self.keep_sent(keccak256(raw), came.hash_of(at), raw.clone());
            }
            report
        });
        reports.collect()
    }

    async fn answer_for(self: &Arc<Self>, hash: B256, decision: Decision) -> Answer {
        match decision {
            Decision::Taken { hash: named } => of_hash(named.unwrap_or_else(|| self.name_of(hash))),
            // The nonce may be used by this very transaction; then the client has what it wants.
            Decision::Refused {
                nonce_used: true, ..
            } if self.is_known(self.name_of(hash)).await => of_hash(self.name_of(hash)),
            Decision::Refused { refusal, .. } => {
                let mut error = json!({ "code": refusal.code, "message": refusal.message });
                if let Some(data) = refusal.data {
                    error["data"] = data.into();
                }
                Answer::Error(error.to_string().into())
            }
            // The reason names endpoints; those are the operator's business.
            Decision::Nobody { wait: Some(wait) } => later(
                "no upstream took the transaction because of rate limits; sending the same bytes again is safe",
                wait,
                &[],
            ),
            Decision::Nobody { wait: None } => Answer::error(
                -32603,
                "no upstream took the transaction; sending the same bytes again is safe",
            ),
        }
    }

    /// Whether any of some upstreams has the transaction, mined or waiting. One alone may not have
    /// heard of it.
    async fn is_known(&self, hash: B256) -> bool {
        let params = format!("[\"{hash}\"]");
        let mut nodes: Vec<&Node> = self.readable().collect();
        nodes.sort_by_key(|node| node.condition().head.map(|head| Reverse(head.number)));
        let mut asked = Vec::new();
        for node in nodes.into_iter().take(WITNESSES) {
            asked.push(self.forward(node, "eth_getTransactionByHash", &params));
        }
        let found = join_all(asked).await;
        found.iter().flatten().any(|result| &result[..] != b"null")
    }

    /// What upstreams at the tip say about a transaction; none for null and for no answer.
    async fn ask_about(self: &Arc<Self>, method: &'static str, hash: B256) -> Option<Answer> {
        let params = format!("[\"{hash}\"]");
        let question = Question::new(self, method::find(method), method, Needs::Tip, &params);
        let asked = self.ask(&question, true).await;
        // Whoever is told a receipt may ask for its block the next moment.
        let asked = self.up_to_the_tip(question.method, Needs::Tip, asked).await;
        let answer = asked.answer;
        matches!(&answer, Answer::Result(result) if &result[..] != b"null").then_some(answer)
    }

    /// What upstreams call a transaction: the hash of its bytes unless one said otherwise.
    fn name_of(&self, hash: B256) -> B256 {
        let kept = lock(&self.sends.kept);
        let sent = kept.iter().find(|sent| sent.hash == hash);
        sent.and_then(|sent| sent.named).unwrap_or(hash)
    }

    fn keep_sent(&self, hash: B256, named: Option<B256>, raw: Bytes) {
        let mut kept = lock(&self.sends.kept);
        let before = kept.iter().find(|sent| sent.hash == hash);
        let named = named.or(before.and_then(|sent| sent.named));
        kept.retain(|sent| sent.hash != hash && sent.at.elapsed() < KEPT_FOR);
        if kept.len() < KEPT {
            kept.push(Sent {
                hash,
                named,
                raw,
                at: Instant::now(),
                resent: 0,
            });
        }
    }

    /// Sends what was sent lately to whoever was away meanwhile.
    pub(super) async fn resend(self: &Arc<Self>) {
        let there = |core: &Self| -> Vec<bool> {
            let nodes = core.pool.0.nodes.iter();
            nodes.map(|node| node.state().is_readable()).collect()
        };
        let mut before = there(self);
        let mut every = interval(LOOK);
        loop {
            every.tick().await;
            let now = there(self);
            for (index, node) in self.pool.0.nodes.iter().enumerate() {
                if now[index] && !before[index] {
                    for (hash, raw) in self.due() {
                        // Mined, it is everybody's already.
                        if self
                            .ask_about("eth_getTransactionReceipt", self.name_of(hash))
                            .await
                            .is_some()
                        {
                            lock(&self.sends.kept).retain(|sent| sent.hash != hash);
                            continue;
                        }
                        observe::resent(&node.name);
                        broadcast::send_to(&self.pool.0, node, &[raw]).await;
                    }
                }
            }
            before = now;
        }
    }

    fn due(&self) -> Vec<(B256, Bytes)> {
        let mut kept = lock(&self.sends.kept);
        kept.retain(|sent| sent.at.elapsed() < KEPT_FOR && sent.resent < RESENDS);
        kept.iter_mut()
            .map(|sent| {
                sent.resent += 1;
                (sent.hash, sent.raw.clone())
            })
            .collect()
    }
}

fn of_hash(hash: B256) -> Answer {
    Answer::text(&hash.to_string())
}
