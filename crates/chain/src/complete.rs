//! Whether an endpoint gave all logs of a block. A log index may trail its own head: then the list is empty, and
//! empty is not the truth. The header's bloom tells, mostly.

use std::time::Duration;

use alloy::primitives::{Bloom, BloomInput};
use dodona_model::oracle::ORACLE_REQUEST;
use dodona_model::{Address, ChainId};
use dodona_rpc::{Blocks, Head, Log, LogFilter, Pool, RpcError};

use crate::fetch::{ask, is_watched};
use crate::observe;

/// Pauses before asking again; an index is rarely later than this.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];
/// A bloom that says "perhaps" to something that is not there more often than this proves nothing: on busy chains
/// each is full of others' bits.
const MOST_CHANCE: f64 = 0.05;

/// The chance that a bloom says "perhaps" to a contract and an event that are not in the block. Each sets three
/// of its 2,048 bits.
fn chance(bloom: &Bloom) -> f64 {
    let set: u32 = bloom.iter().map(|byte| byte.count_ones()).sum();
    (f64::from(set) / 2_048.0).powi(6)
}

/// Whether the bloom of a block says that a watched contract announced a request which is not in the list.
fn is_doubtful(head: &Head, contracts: &[Address], logs: &[Log]) -> bool {
    // Some chains leave it empty; then there is nothing to compare with.
    let Some(bloom) = head.logs_bloom.as_deref().filter(|bloom| !bloom.is_zero()) else {
        return false;
    };
    let has = |bytes: &[u8]| bloom.contains_input(BloomInput::Raw(bytes));
    if chance(bloom) > MOST_CHANCE || !has(ORACLE_REQUEST.as_slice()) {
        return false;
    }
    contracts.iter().any(|contract| {
        let listed =
            |log: &Log| log.address == *contract && log.topics.first() == Some(&ORACLE_REQUEST);
        has(contract.as_slice()) && !logs.iter().any(listed)
    })
}

fn bloom_of(logs: &[Log]) -> Bloom {
    let mut bloom = Bloom::default();
    for log in logs {
        bloom.accrue(BloomInput::Raw(log.address.as_slice()));
        for topic in &log.topics {
            bloom.accrue(BloomInput::Raw(topic.as_slice()));
        }
    }
    bloom
}

/// What the watched contracts said in a block. Where the block's bloom doubts the list, all logs of the block are
/// asked for until they are what the bloom says, for a moment; after that what there is counts, and the block is
/// read again once it is final.
pub(crate) async fn logs_of(
    pool: &Pool,
    chain: ChainId,
    head: &Head,
    contracts: &[Address],
) -> Result<Vec<Log>, RpcError> {
    let block = Blocks::Hash(head.hash);
    let mut logs = ask(pool, contracts, block).await?;
    let mut pauses = PAUSES.iter();
    while is_doubtful(head, contracts, &logs) {
        let everything = LogFilter {
            addresses: Vec::new(),
            topics0: Vec::new(),
            blocks: block,
        };
        // Too many for one answer, say: then nothing is proven, and nothing is lost.
        let all = pool.logs(&everything).await.unwrap_or_default();
        if head.logs_bloom.as_deref() == Some(&bloom_of(&all)) {
            return Ok(all
                .into_iter()
                .filter(|log| is_watched(log, contracts))
                .collect());
        }
        let Some(pause) = pauses.next() else {
            observe::logs_unproven(chain, head.number);
            return Ok(logs);
        };
        observe::logs_late(chain, head.number);
        tokio::time::sleep(*pause).await;
        logs = ask(pool, contracts, block).await?;
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;

    #[test]
    fn a_full_bloom_proves_nothing_and_a_sparse_one_much() {
        assert_eq!(chance(&Bloom::default()), 0.0);
        assert!(chance(&Bloom::repeat_byte(0x11)) < MOST_CHANCE);
        assert!(chance(&Bloom::repeat_byte(0x7f)) > MOST_CHANCE);
    }

    #[test]
    fn a_bloom_is_that_of_all_addresses_and_topics() {
        let log = |address: u8| Log {
            address: Address::repeat_byte(address),
            topics: vec![ORACLE_REQUEST, B256::repeat_byte(9)],
            ..Log::default()
        };
        let bloom = bloom_of(&[log(1), log(2)]);
        for bytes in [&[1; 20][..], &[2; 20], ORACLE_REQUEST.as_slice(), &[9; 32]] {
            assert!(bloom.contains_input(BloomInput::Raw(bytes)));
        }
        assert!(!bloom.contains_input(BloomInput::Raw(&[3; 20])));
    }
}
