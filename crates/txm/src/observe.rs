//! All that sending and confirming tells the world. Names that dashboards know keep theirs.

use std::time::Duration;

use alloy::primitives::Address;
use dodona_model::ChainId;
use dodona_store::txs::{Inclusion, Tx};
use metrics::{counter, histogram};
use tracing::{debug, error, info, warn};

fn chain_label(chain: ChainId) -> String {
    chain.to_string()
}

/// Transactions were signed and stored.
pub(crate) fn signed(chain: ChainId, key: Address, first_nonce: u64, count: usize) {
    debug!(chain.id = chain, key = %key, nonce = first_nonce, count, "signed {count} transactions of {key} from nonce {first_nonce} on");
}

/// An endpoint took an attempt.
pub(crate) fn handed_over(chain: ChainId, tx: i64, hash: alloy::primitives::B256) {
    counter!("tx_manager_num_broadcasted", "chainID" => chain_label(chain)).increment(1);
    info!(chain.id = chain, tx.id = tx, tx.hash = %hash, "transaction {tx} handed over as {hash}");
}

/// A transaction left for the first time, so long after it was queued.
pub(crate) fn broadcast(chain: ChainId, after: Duration) {
    histogram!("tx_manager_time_until_tx_broadcast", "chainID" => chain_label(chain))
        .record(after.as_secs_f64() * 1e9);
}

/// No endpoint took an attempt.
pub(crate) fn refused(chain: ChainId, key: Address, tx: i64, why: &str, cause: &'static str) {
    count_refusal(chain, key, cause);
    warn!(chain.id = chain, tx.id = tx, key = %key, "transaction {tx} was not taken: {why}");
}

fn count_refusal(chain: ChainId, key: Address, cause: &'static str) {
    counter!("tx_manager_attempt_error_total", "chainID" => chain_label(chain), "senderAddress" => key.to_string(), "cause" => cause)
        .increment(1);
}

/// The key cannot pay.
pub(crate) fn out_of_funds(chain: ChainId, key: Address, tx: i64, cause: &'static str) {
    count_refusal(chain, key, cause);
    error!(
        crit = true,
        chain.id = chain,
        tx.id = tx,
        key = %key,
        "OUT OF FUNDS: key {key} on chain {chain} cannot pay for transaction {tx}; everything behind it waits. Send native coin to {key}"
    );
}

/// A replacement was signed.
pub(crate) fn bumped(chain: ChainId, tx: i64, why: &str) {
    counter!("tx_manager_num_gas_bumps", "chainID" => chain_label(chain)).increment(1);
    info!(
        chain.id = chain,
        tx.id = tx,
        "transaction {tx} is replaced at its nonce: {why}"
    );
}

/// A replacement would be too dear.
pub(crate) fn bump_refused(chain: ChainId, tx: i64, why: &str) {
    counter!("tx_manager_gas_bump_exceeds_limit", "chainID" => chain_label(chain)).increment(1);
    warn!(
        chain.id = chain,
        tx.id = tx,
        "transaction {tx} stays as it is: {why}"
    );
}

/// The request is not open (yet, or any more).
pub(crate) fn held(chain: ChainId, tx: i64, why: &str) {
    info!(
        chain.id = chain,
        tx.id = tx,
        "transaction {tx} is not sent: {why}"
    );
}

/// Given up.
pub(crate) fn died(chain: ChainId, tx: i64, why: &str) {
    warn!(
        chain.id = chain,
        tx.id = tx,
        "transaction {tx} is given up: {why}"
    );
}

/// In a block.
pub(crate) fn mined(
    tx: &Tx,
    inclusion: &Inclusion,
    remark: &str,
    seconds: f64,
    blocks: Option<u64>,
) {
    let chain = tx.spec.chain_id;
    counter!("tx_manager_num_confirmed_transactions", "chainID" => chain_label(chain)).increment(1);
    histogram!("tx_manager_time_until_tx_confirmed", "chainID" => chain_label(chain))
        .record(seconds * 1e9);
    if let Some(blocks) = blocks {
        histogram!("tx_manager_blocks_until_tx_confirmed", "chainID" => chain_label(chain))
            .record(blocks as f64);
    }
    if inclusion.succeeded {
        counter!("tx_manager_num_successful_transactions", "chainID" => chain_label(chain))
            .increment(1);
        info!(
            chain.id = chain, tx.id = tx.id, tx.hash = %inclusion.hash,
            "transaction {} is in block {}{}{remark}", tx.id, inclusion.block, if remark.is_empty() { "" } else { ": " }
        );
    } else {
        counter!("tx_manager_num_tx_reverted", "chainID" => chain_label(chain)).increment(1);
        warn!(
            chain.id = chain, tx.id = tx.id, tx.hash = %inclusion.hash,
            "transaction {} had no effect in block {}: {remark}", tx.id, inclusion.block
        );
    }
}

/// Its block is gone.
pub(crate) fn reorged(tx: &Tx) {
    warn!(
        chain.id = tx.spec.chain_id,
        tx.id = tx.id,
        "the block of transaction {} left the canonical chain; it is sent again",
        tx.id
    );
}

/// Its nonce went to something else, and the request waits for the answer.
pub(crate) fn said_again(tx: &Tx) {
    warn!(
        chain.id = tx.spec.chain_id,
        tx.id = tx.id,
        "the nonce of transaction {} was used up without its answer, and the request is there: the answer is queued again",
        tx.id
    );
}

/// Deep enough to forget about.
pub(crate) fn finalized(tx: &Tx) {
    counter!("tx_manager_num_finalized_transactions", "chainID" => chain_label(tx.spec.chain_id))
        .increment(1);
    debug!(tx.id = tx.id, "transaction {} is final", tx.id);
}

/// The chain counts more transactions of a key than we know.
pub(crate) fn used_elsewhere(chain: ChainId, key: Address, ours: u64, theirs: u64) {
    warn!(
        chain.id = chain, key = %key,
        "the chain expects nonce {theirs} of key {key}, this database {ours}: the key was used elsewhere or the database was restored. Going on at {theirs}; transactions in between are not watched"
    );
}

/// A nonce of ours was used by a transaction that is not ours.
pub(crate) fn nonce_lost(chain: ChainId, key: Address, tx: i64, nonce: u64) {
    error!(
        crit = true, chain.id = chain, tx.id = tx, key = %key, nonce,
        "nonce {nonce} of key {key} was used by a transaction that is not this node's: is the key used elsewhere? Transaction {tx} is queued again"
    );
}
