use dodona_model::{Address, ChainId};

/// How one chain is followed.
#[derive(Debug, Clone)]
pub struct Config {
    /// The chain.
    pub chain_id: ChainId,
    /// Which block is final.
    pub finality: Finality,
    /// How far below the head the first scan begins, and how far back a new job's contract is read, blocks.
    pub backfill_depth: u64,
    /// At start, give up what was missed beyond `backfill_depth` instead of reading it.
    pub backfill_skip: bool,
    /// Blocks asked for in one range of logs; halved when an endpoint finds it too much.
    pub batch_size: u64,
    /// Contracts whose logs are read besides those of the jobs: the chain's flags.
    pub also: Vec<Address>,
    /// Headers kept below the finalized block.
    pub history_depth: u64,
}

/// Which block of a chain can no longer be reorganised away.
#[derive(Debug, Clone, Copy)]
pub struct Finality {
    /// Ask the endpoint for its `finalized` block; otherwise count `depth` blocks.
    pub by_tag: bool,
    /// Blocks below the head, where the tag is not used.
    pub depth: u64,
    /// Blocks below what would be final otherwise.
    pub offset: u64,
}

impl Finality {
    /// How many of the newest blocks may still change, `at_most` so many.
    pub(crate) fn unsettled(self, at_most: u64) -> u64 {
        match self.by_tag {
            // The depth means nothing here; only the chain knows.
            true => at_most,
            false => at_most.min(self.depth.saturating_add(self.offset).max(1)),
        }
    }

    /// The final height under `head`, by counting.
    pub fn by_depth(self, head: u64) -> u64 {
        head.saturating_sub(self.depth).saturating_sub(self.offset)
    }
}
