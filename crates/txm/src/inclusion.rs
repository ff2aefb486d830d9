//! What a receipt means.

use dodona_model::oracle::{CHAINLINK_FULFILLED, is_fulfilment};
use dodona_model::{B256, BlockRef};
use dodona_rpc::Receipt;
use dodona_store::txs::{Attempt, Inclusion, Tx};

/// The inclusion that a receipt shows, and what an operator should know about it.
pub(crate) fn of(tx: &Tx, attempt: &Attempt, receipt: &Receipt) -> (Inclusion, String) {
    let carried = attempt.signed.payload_version != 0;
    let succeeded = receipt.status && carried;
    let remark = if !carried {
        let why = match tx.reason.as_str() {
            "" => "its request had left the chain",
            reason => reason,
        };
        format!("its nonce was used by a transfer of nothing: {why}")
    } else if !receipt.status {
        format!(
            "it reverted, {} gas used of {}",
            receipt.gas_used, attempt.signed.gas_limit
        )
    } else if callback_missing(tx, receipt) {
        "fulfilled, but the consumer's callback failed (or does not use the client library)"
            .to_owned()
    } else {
        String::new()
    };
    let inclusion = Inclusion {
        hash: attempt.signed.hash,
        block: BlockRef {
            number: receipt.block_number,
            hash: receipt.block_hash,
        },
        succeeded,
        receipt: receipt.raw.get().to_owned(),
    };
    (inclusion, remark)
}

/// Whether what is in the block is not what was asked for, but a transfer of nothing in its place.
pub(crate) fn carried_nothing(mined: &Inclusion) -> bool {
    #[derive(serde::Deserialize)]
    struct Outcome {
        status: Option<String>,
    }
    // Chains too old to say whether a transaction reverted have no status.
    let reverted = serde_json::from_str::<Outcome>(&mined.receipt)
        .is_ok_and(|outcome| outcome.status.is_some_and(|status| status == "0x0"));
    !mined.succeeded && !reverted
}

/// A fulfilment succeeds whether or not the consumer's callback does; consumers built on the client
/// library say so in a log of theirs.
fn callback_missing(tx: &Tx, receipt: &Receipt) -> bool {
    let payload = &tx.spec.payload;
    if !is_fulfilment(payload) || payload.len() < 36 {
        return false;
    }
    let request_id = B256::from_slice(&payload[4..36]);
    !receipt.logs.iter().any(|log| {
        log.topics.first() == Some(&CHAINLINK_FULFILLED) && log.topics.get(1) == Some(&request_id)
    })
}
