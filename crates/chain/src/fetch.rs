//! Questions to the endpoints whose answers fit together, or are no answers.

use anyhow::{Context, bail, ensure};
use dodona_model::flux::{ANSWER_UPDATED, FLAG_LOWERED, FLAG_RAISED, NEW_ROUND};
use dodona_model::oracle::{CANCEL_ORACLE_REQUEST, ORACLE_REQUEST, ORACLE_RESPONSE};
use dodona_model::{Address, B256, BlockRef, Timestamp, U256};
use dodona_rpc::{Blocks, Head, Log, LogFilter, Pool, RpcError};
use dodona_store::{heads, logs};
use futures_util::future::try_join_all;

use crate::complete;

/// Addresses in one filter; providers refuse longer lists.
const ADDRESSES_PER_FILTER: usize = 1_000;

/// What jobs of any type look at. One list for all contracts: none emits another's events, and one
/// question to the endpoint is cheaper than two.
const EVENTS: [B256; 7] = [
    ORACLE_REQUEST,
    CANCEL_ORACLE_REQUEST,
    ORACLE_RESPONSE,
    NEW_ROUND,
    ANSWER_UPDATED,
    FLAG_RAISED,
    FLAG_LOWERED,
];

/// A block and what the watched contracts said in it.
pub(crate) struct Block {
    pub(crate) head: Head,
    pub(crate) logs: Vec<Log>,
}

fn filters(contracts: &[Address], blocks: Blocks) -> Vec<LogFilter> {
    contracts
        .chunks(ADDRESSES_PER_FILTER)
        .map(|addresses| LogFilter {
            addresses: addresses.to_vec(),
            topics0: EVENTS.to_vec(),
            blocks,
        })
        .collect()
}

/// Whether jobs look at a log.
pub(crate) fn is_watched(log: &Log, contracts: &[Address]) -> bool {
    let event = log.topics.first();
    contracts.contains(&log.address) && event.is_some_and(|event| EVENTS.contains(event))
}

pub(crate) async fn ask(
    pool: &Pool,
    contracts: &[Address],
    blocks: Blocks,
) -> Result<Vec<Log>, RpcError> {
    let filters = filters(contracts, blocks);
    let parts = try_join_all(filters.iter().map(|filter| pool.logs(filter))).await?;
    let mut logs: Vec<Log> = parts
        .into_iter()
        .flatten()
        .filter(|log| !log.removed)
        .collect();
    logs.sort_by_key(|log| (log.block_number, log.log_index));
    // Said twice, it is one log all the same.
    logs.dedup_by_key(|log| (log.block_hash, log.log_index));
    Ok(logs)
}

/// The blocks `from..=head`, linked by their hashes down to `below`; `None` when they do not build on it.
pub(crate) async fn linked(
    pool: &Pool,
    below: BlockRef,
    head: Head,
    contracts: &[Address],
) -> anyhow::Result<Option<Vec<Block>>> {
    let mut heads = Vec::new();
    if head.number > below.number + 1 {
        let wanted = below.number + 1..=head.number - 1;
        heads = pool
            .blocks_by_number(wanted.clone())
            .await
            .context("reading headers")?;
        let expected = wanted.count();
        ensure!(
            heads.len() == expected,
            "got {} of {expected} headers: the endpoint is behind",
            heads.len()
        );
    }
    heads.push(head);
    let mut parent = below.hash;
    for (position, head) in heads.iter().enumerate() {
        if head.parent_hash != parent {
            if position == 0 {
                return Ok(None);
            }
            bail!(
                "block {} does not build on the one below it: the endpoint changed its view while we read",
                head.number
            );
        }
        parent = head.hash;
    }
    let logs = try_join_all(heads.iter().map(|head| async {
        if contracts.is_empty() {
            Ok(Vec::new())
        } else {
            complete::logs_of(pool, pool.chain_id(), head, contracts).await
        }
    }))
    .await
    .context("reading the logs of a block")?;
    Ok(Some(
        heads
            .into_iter()
            .zip(logs)
            .map(|(head, logs)| Block { head, logs })
            .collect(),
    ))
}

/// The logs of a range of settled blocks, with the header of each block that has some.
pub(crate) async fn range(
    pool: &Pool,
    from: u64,
    to: u64,
    contracts: &[Address],
) -> Result<Vec<Block>, RangeError> {
    if contracts.is_empty() || from > to {
        return Ok(Vec::new());
    }
    let found = ask(pool, contracts, Blocks::Range(from, to))
        .await
        .map_err(|error| match error {
            RpcError::TooManyResults { .. } => RangeError::TooMuch(error),
            other => RangeError::Other(other.into()),
        })?;
    let mut blocks: Vec<Block> = Vec::new();
    for log in found {
        if blocks
            .last()
            .is_none_or(|block| block.head.hash != log.block_hash)
        {
            let head = pool
                .block_by_hash(log.block_hash)
                .await
                .map_err(|error| RangeError::Other(error.into()))?
                .ok_or_else(|| {
                    let gone = format!(
                        "block {} of a log is unknown to the endpoint",
                        log.block_hash
                    );
                    RangeError::Other(anyhow::Error::msg(gone))
                })?;
            blocks.push(Block {
                head,
                logs: Vec::new(),
            });
        }
        if let Some(block) = blocks.last_mut() {
            block.logs.push(log);
        }
    }
    Ok(blocks)
}

/// Why a range was not read.
pub(crate) enum RangeError {
    /// The endpoint wants a smaller range.
    TooMuch(RpcError),
    /// Anything else.
    Other(anyhow::Error),
}

/// A header as a row.
pub(crate) fn head_row(head: &Head, seen_at: Timestamp) -> heads::Head {
    heads::Head {
        block: BlockRef {
            number: head.number,
            hash: head.hash,
        },
        parent_hash: head.parent_hash,
        block_time: head.timestamp,
        base_fee_wei: head.base_fee_per_gas.map(U256::from),
        receipts_root: head.receipts_root,
        transactions_root: head.transactions_root,
        state_root: head.state_root,
        canonical: true,
        seen_at,
    }
}

/// A log as a row.
pub(crate) fn log_row(log: &Log, seen_at: Timestamp) -> logs::Log {
    logs::Log {
        id: 0,
        block: BlockRef {
            number: log.block_number,
            hash: log.block_hash,
        },
        log_index: log.log_index,
        address: log.address,
        topics: log.topics.clone(),
        data: log.data.clone(),
        tx_hash: log.tx_hash,
        seen_at,
    }
}
