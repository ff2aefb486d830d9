//! Dice whose rolls can be repeated.

use std::{env, time::Duration};

/// Names the seed to repeat: what a story printed.
const SEED: &str = "DODONA_TEST_SEED";

/// Whether stories run all their kills and seeds, or a bounded sample.
pub(crate) fn long() -> bool {
    env::var_os("DODONA_TEST_LONG").is_some_and(|value| !value.is_empty())
}

/// SplitMix64: enough for choosing moments.
pub(crate) struct Chance(u64);

impl Chance {
    /// A new seed, or the one of [`SEED`]; printed, so that a failure can be repeated.
    pub(crate) fn new(story: &str) -> Self {
        let given = env::var(SEED).ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u128() as u64);
        eprintln!("{story}: seed {seed} (repeat it with {SEED}={seed})");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn millis(&mut self, from: u64, below: u64) -> Duration {
        Duration::from_millis(from + self.below(below - from))
    }
}
