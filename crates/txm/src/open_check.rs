//! Before the first signature the chain is asked whether the request is still open: a restored or
//! promoted database may have forgotten an answer, and a stale one costs gas and reverts.

use std::time::Duration;

use anyhow::Context;
use dodona_model::oracle::is_fulfilment;
use dodona_model::request::Event as RequestEvent;
use dodona_model::tx::Event as TxEvent;
use dodona_rpc::{BlockTag, CallError, CallRequest, Pool, RpcError};
use dodona_runtime::clock;
use dodona_store::txs::Tx;
use dodona_store::{Leader, requests, txs};

use crate::observe;

/// Looks, some seconds apart, that must all find the request gone before we believe it: one endpoint
/// may be a block behind.
const LOOKS: u32 = 3;
/// Refusals for other reasons (the key is not authorised, say) that are waited out before giving up:
/// with the pauses below about a quarter of an hour, time for an operator to mend it.
const PATIENCE: u32 = 20;
/// Between two looks that may find something else.
const PAUSE: Duration = Duration::from_secs(2);
/// What the oracle contracts say about a request they do not have (any more, or yet).
const NOT_OPEN: &str = "Must have a valid requestId";

/// What the chain would say to an answer.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    NotOpen,
    /// The contract says no for another reason.
    Refused(String),
    /// The endpoint says something about this call that is no verdict of the contract.
    Unclear(String),
    /// The endpoint does not answer for now.
    Later(String),
}

/// Sorts out what may be signed now; postpones or gives up the rest, each with its reason. `head` is the
/// block up to which this node has read the chain.
pub(crate) async fn sift(
    pool: &Pool,
    lead: &Leader,
    queued: Vec<Tx>,
    head: Option<u64>,
) -> anyhow::Result<Vec<Tx>> {
    let (to_ask, mut open): (Vec<Tx>, Vec<Tx>) = queued
        .into_iter()
        .partition(|tx| is_answer(tx) || tx.spec.simulate);
    if to_ask.is_empty() {
        return Ok(open);
    }
    let verdicts = ask(pool, &to_ask, BlockTag::Latest).await?;
    let mut held = Vec::new();
    let mut doomed = Vec::new();
    let mut failed = Vec::new();
    for (tx, verdict) in to_ask.into_iter().zip(verdicts) {
        match verdict {
            // A trial the task asked for: what would revert is not sent. Anything else says nothing against it.
            Verdict::Refused(text) if !is_answer(&tx) => failed.push((tx, text)),
            Verdict::NotOpen if !is_answer(&tx) => failed.push((tx, NOT_OPEN.to_owned())),
            _ if !is_answer(&tx) => open.push(tx),
            Verdict::Open => open.push(tx),
            // An endpoint that never can say does not decide about an answer: the chain will.
            Verdict::Unclear(_) if tx.checks_failed + 1 >= LOOKS => open.push(tx),
            Verdict::NotOpen if tx.checks_failed + 1 >= LOOKS => doomed.push(tx),
            other => held.push((tx, other)),
        }
    }
    if !doomed.is_empty() {
        let verdicts = where_it_was_seen(pool, &doomed, head).await;
        held.extend(doomed.into_iter().zip(verdicts));
    }
    if !held.is_empty() {
        hold(lead, held).await?;
    }
    if !failed.is_empty() {
        give_up(lead, failed).await?;
    }
    open.sort_by_key(|tx| (tx.spec.value_wei, tx.created_at, tx.id));
    Ok(open)
}

fn is_answer(tx: &Tx) -> bool {
    tx.spec.request_row.is_some() && is_fulfilment(&tx.spec.payload)
}

/// Transactions that would revert, with the contract's reason, are never signed.
async fn give_up(lead: &Leader, failed: Vec<(Tx, String)>) -> anyhow::Result<()> {
    let mut leader_tx = lead.begin().await?;
    for (tx, reason) in failed {
        let text = format!("transaction reverted during simulation: {reason}");
        observe::died(tx.spec.chain_id, tx.id, &text);
        txs::die(&mut leader_tx, &tx, TxEvent::Refused, &text).await?;
        if let Some(request) = tx.spec.request_row {
            let now = clock::now();
            requests::apply(&mut leader_tx, request, RequestEvent::Failed, &text, now).await?;
        }
    }
    leader_tx.commit().await?;
    Ok(())
}

async fn ask(pool: &Pool, txs: &[Tx], block: BlockTag) -> anyhow::Result<Vec<Verdict>> {
    let answers = pool
        .call_many(txs.iter().map(call).collect(), block)
        .await
        .context("asking whether requests are open")?;
    Ok(answers.into_iter().map(verdict).collect())
}

/// What is about to be given up is asked for once more, at the block up to which we have read: there the
/// request was. An endpoint that is behind it cannot say then that it is gone.
async fn where_it_was_seen(pool: &Pool, doomed: &[Tx], head: Option<u64>) -> Vec<Verdict> {
    let unsure = "the endpoint finds the request gone at its newest block and not at the one this node has read";
    let verdicts = match head {
        Some(head) => ask(pool, doomed, BlockTag::Number(head)).await,
        None => Err(anyhow::anyhow!("this node has read no block yet")),
    };
    let verdicts = match verdicts {
        Ok(verdicts) => verdicts,
        Err(cause) => doomed
            .iter()
            .map(|_| Verdict::Later(format!("{cause:#}")))
            .collect(),
    };
    verdicts
        .into_iter()
        .map(|verdict| match verdict {
            Verdict::NotOpen => Verdict::NotOpen,
            Verdict::Unclear(text) | Verdict::Later(text) => Verdict::Later(text),
            Verdict::Open | Verdict::Refused(_) => Verdict::Later(unsure.to_owned()),
        })
        .collect()
}

fn call(tx: &Tx) -> CallRequest {
    CallRequest {
        from: Some(tx.spec.from),
        gas: Some(tx.spec.gas_limit),
        ..CallRequest::to(tx.spec.to, tx.spec.payload.clone())
    }
}

fn verdict(answer: Result<alloy::primitives::Bytes, CallError>) -> Verdict {
    match answer {
        Ok(_) => Verdict::Open,
        Err(CallError::Reverted {
            reason, message, ..
        }) => {
            let text = reason.unwrap_or(message);
            if text.contains(NOT_OPEN) {
                Verdict::NotOpen
            } else {
                Verdict::Refused(text)
            }
        }
        Err(CallError::Rpc(RpcError::Refused { message, .. })) => Verdict::Unclear(message),
        Err(CallError::Rpc(cause)) => Verdict::Later(cause.to_string()),
    }
}

/// What holds an answer back: in words, how often it may before the answer is given up (`None`: for ever),
/// and how long until the next look.
fn hold_back(verdict: &Verdict, failed_before: u32) -> Option<(String, Option<u32>, Duration)> {
    Some(match verdict {
        Verdict::Open => return None,
        Verdict::NotOpen => (
            "the contract does not have this request: answered elsewhere, cancelled, or not yet seen by the endpoint".to_owned(),
            Some(LOOKS),
            PAUSE,
        ),
        Verdict::Refused(text) => (
            format!("the contract would refuse the answer: {text}"),
            Some(PATIENCE),
            Duration::from_secs(60).min(Duration::from_secs(5) * (1 << failed_before.min(6))),
        ),
        Verdict::Unclear(text) => (
            format!("the endpoint cannot say whether the request is open: {text}"),
            Some(u32::MAX),
            PAUSE,
        ),
        Verdict::Later(text) => (
            format!("whether the request is open is not known yet: {text}"),
            None,
            PAUSE,
        ),
    })
}

async fn hold(lead: &Leader, held: Vec<(Tx, Verdict)>) -> anyhow::Result<()> {
    let now = clock::now();
    let mut leader_tx = lead.begin().await?;
    for (tx, verdict) in held {
        let Some((text, patience, pause)) = hold_back(&verdict, tx.checks_failed) else {
            continue;
        };
        observe::held(tx.spec.chain_id, tx.id, &text);
        if patience.is_none_or(|patience| tx.checks_failed + 1 < patience) {
            let counts = patience.is_some();
            txs::postpone(&mut leader_tx, tx.id, &text, now.plus(pause), counts).await?;
            continue;
        }
        observe::died(tx.spec.chain_id, tx.id, &text);
        txs::die(&mut leader_tx, &tx, TxEvent::Refused, &text).await?;
        if let Some(request) = tx.spec.request_row {
            requests::apply(&mut leader_tx, request, RequestEvent::Failed, &text, now).await?;
        }
    }
    leader_tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reverted(reason: &str) -> Result<alloy::primitives::Bytes, CallError> {
        Err(CallError::Reverted {
            reason: Some(reason.to_owned()),
            data: Default::default(),
            code: 3,
            message: String::new(),
        })
    }

    #[test]
    fn a_request_the_contract_forgot_is_told_apart_from_a_missing_permission() {
        assert_eq!(
            verdict(reverted("Must have a valid requestId")),
            Verdict::NotOpen
        );
        assert_eq!(
            verdict(reverted("Not authorized sender")),
            Verdict::Refused("Not authorized sender".to_owned())
        );
        assert_eq!(verdict(Ok(Default::default())), Verdict::Open);
    }
}
