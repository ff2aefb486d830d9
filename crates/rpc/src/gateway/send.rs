//! `eth_sendRawTransaction`: to everybody, with one answer that does not depend on who knew the
//! transaction already.

use std::sync::Arc;

use alloy::consensus::transaction::PooledTransaction;
use alloy::eips::Decodable2718;
use alloy::primitives::{B256, Bytes, keccak256};

use super::Core;
use super::envelope::Answer;
use super::observe;
use crate::send::SendOutcome;

impl Core {
    pub(crate) async fn send(self: &Arc<Self>, params: &str) -> Answer {
        let Ok((raw,)) = serde_json::from_str::<(Bytes,)>(params) else {
            return Answer::error(
                -32602,
                "invalid params: eth_sendRawTransaction takes one signed transaction as hex",
            );
        };
        if raw.is_empty() {
            return Answer::error(-32602, "invalid params: the transaction is empty");
        }
        let hash = hash(&raw);
        let report = self.pool.send_raw(&raw).await;
        observe::sent(&report.outcome);
        match report.outcome {
            SendOutcome::Accepted | SendOutcome::AlreadyKnown => return of_hash(hash),
            // The nonce may be used by this very transaction; then the client has what it wants.
            SendOutcome::NonceTooLow if self.is_known(hash).await => return of_hash(hash),
            _ => {}
        }
        match (report.refusal, report.outcome) {
            (Some(refusal), _) => {
                let mut error =
                    serde_json::json!({ "code": refusal.code, "message": refusal.message });
                if let Some(data) = refusal.data {
                    error["data"] = data.into();
                }
                Answer::Error(error.to_string().into())
            }
            // The reason names endpoints; those are the operator's business.
            (None, SendOutcome::Retryable(_)) => Answer::error(
                -32603,
                "no upstream took the transaction; sending the same bytes again is safe",
            ),
            (None, other) => {
                Answer::error(-32603, &format!("the transaction was refused: {other:?}"))
            }
        }
    }

    async fn is_known(&self, hash: B256) -> bool {
        let found = self
            .pool
            .ask_until::<serde_json::Value>("eth_getTransactionByHash", [hash], |found, _| {
                !found.is_null()
            })
            .await;
        found.is_ok_and(|(found, _)| !found.is_null())
    }
}

fn of_hash(hash: B256) -> Answer {
    Answer::text(&hash.to_string())
}

/// The transaction's hash. That of a blob transaction does not cover its sidecar.
fn hash(raw: &[u8]) -> B256 {
    if raw.first() == Some(&3)
        && let Ok(transaction) = PooledTransaction::decode_2718(&mut &raw[..])
    {
        return *transaction.hash();
    }
    keccak256(raw)
}
