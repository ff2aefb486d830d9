//! Before the first signature the chain is asked whether the request is still open: a restored or
//! promoted database may have forgotten an answer, and a stale one costs gas and reverts.

use std::time::Duration;

use anyhow::Context;
use dodona_model::oracle::is_fulfilment;
use dodona_model::request::Event as RequestEvent;
use dodona_model::tx::Event as TxEvent;
use dodona_rpc::{BlockTag, CallError, CallRequest, Pool};
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
/// What the oracle contracts say about a request they do not have (any more, or yet).
const NOT_OPEN: &str = "Must have a valid requestId";

/// What the chain would say to an answer.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    NotOpen,
    Refused(String),
}

/// Sorts out what may be signed now; postpones or gives up the rest, each with its reason.
pub(crate) async fn sift(pool: &Pool, lead: &Leader, queued: Vec<Tx>) -> anyhow::Result<Vec<Tx>> {
    let (to_ask, mut open): (Vec<Tx>, Vec<Tx>) = queued
        .into_iter()
        .partition(|tx| tx.spec.request_row.is_some() && is_fulfilment(&tx.spec.payload));
    if to_ask.is_empty() {
        return Ok(open);
    }
    let calls = to_ask.iter().map(call).collect();
    let answers = pool
        .call_many(calls, BlockTag::Latest)
        .await
        .context("asking whether requests are open")?;
    let mut held = Vec::new();
    for (tx, answer) in to_ask.into_iter().zip(answers) {
        match verdict(answer)? {
            Verdict::Open => open.push(tx),
            other => held.push((tx, other)),
        }
    }
    if !held.is_empty() {
        hold(lead, held).await?;
    }
    open.sort_by_key(|tx| (tx.spec.value_wei, tx.created_at, tx.id));
    Ok(open)
}

fn call(tx: &Tx) -> CallRequest {
    CallRequest {
        from: Some(tx.spec.from),
        gas: Some(tx.spec.gas_limit),
        ..CallRequest::to(tx.spec.to, tx.spec.payload.clone())
    }
}

fn verdict(answer: Result<alloy::primitives::Bytes, CallError>) -> anyhow::Result<Verdict> {
    match answer {
        Ok(_) => Ok(Verdict::Open),
        Err(CallError::Reverted {
            reason, message, ..
        }) => {
            let text = reason.unwrap_or(message);
            Ok(if text.contains(NOT_OPEN) {
                Verdict::NotOpen
            } else {
                Verdict::Refused(text)
            })
        }
        Err(CallError::Rpc(cause)) => Err(cause).context("asking whether a request is open"),
    }
}

async fn hold(lead: &Leader, held: Vec<(Tx, Verdict)>) -> anyhow::Result<()> {
    let now = clock::now();
    let mut leader_tx = lead.begin().await?;
    for (tx, verdict) in held {
        let (text, patience, pause) = match verdict {
            Verdict::Open => continue,
            Verdict::NotOpen => (
                "the contract does not have this request: answered elsewhere, cancelled, or not yet seen by the endpoint".to_owned(),
                LOOKS,
                Duration::from_secs(2),
            ),
            Verdict::Refused(text) => (
                format!("the contract would refuse the answer: {text}"),
                PATIENCE,
                Duration::from_secs(60).min(Duration::from_secs(5) * (1 << tx.checks_failed.min(6))),
            ),
        };
        observe::held(tx.spec.chain_id, tx.id, &text);
        if tx.checks_failed + 1 < patience {
            txs::postpone(&mut leader_tx, tx.id, &text, now.plus(pause), true).await?;
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
            verdict(reverted("Must have a valid requestId")).unwrap(),
            Verdict::NotOpen
        );
        assert_eq!(
            verdict(reverted("Not authorized sender")).unwrap(),
            Verdict::Refused("Not authorized sender".to_owned())
        );
        assert_eq!(verdict(Ok(Default::default())).unwrap(), Verdict::Open);
    }
}
