//! How many blocks of logs an endpoint takes at once: learned from its words and from what it takes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Blocks asked for at once before anything is learned.
pub(crate) const FIRST: u64 = 10_000;
const MOST: u64 = 100_000;
/// Ranges near the limit that went well before more is tried.
const GOOD_ONES: u32 = 16;

pub(super) struct LogRange {
    blocks: AtomicU64,
    good_ones: AtomicU32,
}

impl Default for LogRange {
    fn default() -> Self {
        Self {
            blocks: AtomicU64::new(FIRST),
            good_ones: AtomicU32::new(0),
        }
    }
}

impl LogRange {
    pub(super) fn get(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    pub(super) fn went_well(&self, blocks: u64) {
        let limit = self.get();
        if blocks * 2 < limit || limit >= MOST {
            return;
        }
        if self.good_ones.fetch_add(1, Ordering::Relaxed) + 1 >= GOOD_ONES {
            self.good_ones.store(0, Ordering::Relaxed);
            let more = (limit + (limit / 4).max(1)).min(MOST);
            self.blocks.store(more, Ordering::Relaxed);
        }
    }

    pub(super) fn was_too_large(&self, blocks: u64, words: &str) {
        if blocks == 0 {
            return;
        }
        self.good_ones.store(0, Ordering::Relaxed);
        let half = (blocks / 2).max(1);
        let said = suggested(words).filter(|said| (1..blocks).contains(said));
        self.blocks
            .fetch_min(said.unwrap_or(half), Ordering::Relaxed);
    }
}

/// The number of blocks a refusal suggests, in any of the words in use.
fn suggested(words: &str) -> Option<u64> {
    const LIMITS: &[&str] = &[
        "maximum block range ",
        "max block range ",
        "maximum is set to ",
        "the limit is ",
        "limited to a ",
        "up to a ",
    ];
    let lower = words.to_lowercase();
    if let Some((_, range)) = lower.split_once("retry with the range ") {
        let (first, rest) = number(range)?;
        let (last, _) = number(rest.strip_prefix('-')?)?;
        return Some(last.checked_sub(first)? + 1);
    }
    LIMITS
        .iter()
        .find_map(|limit| number(lower.split_once(limit)?.1))
        .map(|(blocks, _)| blocks)
}

/// A number as people write it, `10,000` and `2k` too, and what follows.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != ',')
        .unwrap_or(text.len());
    let digits: String = text[..end].chars().filter(|c| *c != ',').collect();
    let number: u64 = digits.parse().ok()?;
    match text[end..].strip_prefix('k') {
        Some(rest) => Some((number * 1000, rest)),
        None => Some((number, &text[end..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_how_much_would_be_taken() {
        for (words, blocks) in [
            (
                "query exceeds max results 20000, retry with the range 100-149",
                Some(50),
            ),
            ("exceed maximum block range 1000", Some(1000)),
            ("query exceeds max block range 100000", Some(100_000)),
            ("eth_getLogs is limited to a 10,000 range", Some(10_000)),
            (
                "You can make eth_getLogs requests with up to a 2K block range",
                Some(2000),
            ),
            (
                "requested too many blocks from 1 to 90000, maximum is set to 2048",
                Some(2048),
            ),
            ("too wide blocks range, the limit is 100", Some(100)),
            ("query returned more than 10000 results", None),
            ("retry with the range 9-1", None),
        ] {
            assert_eq!(suggested(words), blocks, "{words}");
        }
    }

    #[test]
    fn the_limit_falls_to_what_is_said_or_half_and_grows_with_what_is_taken() {
        let range = LogRange::default();
        range.was_too_large(10_000, "too much");
        assert_eq!(range.get(), 5000);
        range.was_too_large(5000, "exceed maximum block range 800");
        assert_eq!(range.get(), 800);
        // A suggestion that is no help.
        range.was_too_large(800, "exceed maximum block range 9000");
        assert_eq!(range.get(), 400);
        for _ in 0..GOOD_ONES {
            range.went_well(10);
        }
        assert_eq!(range.get(), 400);
        for _ in 0..GOOD_ONES {
            range.went_well(400);
        }
        assert_eq!(range.get(), 500);
    }
}
