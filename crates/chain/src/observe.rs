//! All that following a chain tells the world.

use dodona_model::{BlockRef, ChainId};
use metrics::{counter, gauge};
use tracing::{info, warn};

/// An endpoint announced a head.
pub(crate) fn head_received(chain: ChainId) {
    counter!("head_tracker_heads_received", "ChainID" => chain.to_string()).increment(1);
}

/// The position moved.
pub(crate) fn scanned(chain: ChainId, to: BlockRef, logs: usize) {
    gauge!("head_tracker_current_head", "evmChainID" => chain.to_string()).set(to.number as f64);
    counter!("dodona_chain_logs_total", "evmChainID" => chain.to_string()).increment(logs as u64);
    if logs > 0 {
        tracing::debug!(
            chain.id = chain,
            block.number = to.number,
            logs,
            "read {logs} logs up to block {to}"
        );
    }
}

/// A block's bloom shows more logs than the endpoint gives: its index is late.
pub(crate) fn logs_late(chain: ChainId, block: u64) {
    counter!("dodona_chain_late_logs_total", "evmChainID" => chain.to_string()).increment(1);
    tracing::debug!(
        chain.id = chain,
        block.number = block,
        "the endpoint does not give all logs of block {block} yet; asking again"
    );
}

/// The endpoint still gives fewer logs than the bloom shows.
pub(crate) fn logs_unproven(chain: ChainId, block: u64) {
    counter!("dodona_chain_unproven_blocks_total", "evmChainID" => chain.to_string()).increment(1);
    warn!(
        chain.id = chain,
        block.number = block,
        "block {block} of chain {chain} shows signs of a request that no endpoint gives: going on; it is read again when it is final"
    );
}

/// Final blocks, read again, had logs that were not there before.
pub(crate) fn found_later(chain: ChainId, from: u64, to: u64, logs: u64) {
    counter!("dodona_chain_logs_found_later_total", "evmChainID" => chain.to_string())
        .increment(logs);
    warn!(
        chain.id = chain,
        logs,
        "{logs} logs of blocks {from} to {to} of chain {chain} were missing when these were new, and are there now that they are final: an endpoint is incomplete. They are looked at now"
    );
}

/// A head below what is final: an endpoint behind, or worse.
pub(crate) fn very_old_head(chain: ChainId) {
    counter!("head_tracker_very_old_head", "evmChainID" => chain.to_string()).increment(1);
}

/// The chain left us at `ancestor`.
pub(crate) fn reorganised(chain: ChainId, from: BlockRef, ancestor: u64, logs: u64) {
    let depth = from.number.saturating_sub(ancestor);
    counter!("dodona_chain_reorganisations_total", "evmChainID" => chain.to_string()).increment(1);
    warn!(
        chain.id = chain,
        depth,
        logs,
        "chain {chain} was reorganised: {depth} blocks below {from} are no longer canonical, {logs} logs went with them"
    );
}

/// The first look at a chain.
pub(crate) fn begins(chain: ChainId, at: BlockRef) {
    info!(
        chain.id = chain,
        "chain {chain} is followed from block {at} on"
    );
}

/// The operator asked to give up what was missed.
pub(crate) fn skipped(chain: ChainId, from: u64, to: u64) {
    warn!(
        chain.id = chain,
        "BlockBackfillSkip: blocks {from} to {to} of chain {chain} are not read; requests in them are not answered"
    );
}

/// A contract is watched from now on.
pub(crate) fn watching(chain: ChainId, address: dodona_model::Address, from: u64, logs: usize) {
    info!(chain.id = chain, contract = %address, logs, "watching {address} on chain {chain} from block {from} on");
}
