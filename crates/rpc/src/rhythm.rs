//! How often a chain has a new block, as its endpoints show it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Gaps between blocks kept.
const KEPT: usize = 32;
/// Who is so far from the others says nothing about the time between two blocks.
const JUMP: u64 = 64;
/// Fewer say nothing.
const ENOUGH: usize = 4;

/// Slots may be empty and blocks may come in bursts, so it is a median and never a constant.
#[derive(Default)]
pub(crate) struct Rhythm(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    highest: Option<(u64, Instant)>,
    gaps: VecDeque<Duration>,
}

impl Rhythm {
    /// Some endpoint showed a block.
    pub(crate) fn saw(&self, number: u64, now: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((highest, at)) = seen.highest {
            if number <= highest && number + JUMP > highest {
                return;
            }
            match number.checked_sub(highest) {
                Some(blocks) if blocks < JUMP => {
                    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
                    seen.gaps.push_back((now - at) / blocks);
                    if seen.gaps.len() > KEPT {
                        seen.gaps.pop_front();
                    }
                }
                _ => {}
            }
        }
        seen.highest = Some((number, now));
    }

    /// The usual time between two blocks; none before it is known.
    pub(crate) fn block_time(&self) -> Option<Duration> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.gaps.len() < ENOUGH {
            return None;
        }
        let mut gaps: Vec<Duration> = seen.gaps.iter().copied().collect();
        gaps.sort();
        Some(gaps[gaps.len() / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_gap_is_the_median_and_unknown_at_first() {
        let (rhythm, start) = (Rhythm::default(), Instant::now());
        let mut at = 0;
        for (number, seconds) in [(10, 0), (11, 12), (11, 1), (12, 11), (14, 24), (13, 1)] {
            assert_eq!(rhythm.block_time(), None);
            at += seconds;
            rhythm.saw(number, start + Duration::from_secs(at));
        }
        // An empty slot.
        at += 23;
        rhythm.saw(15, start + Duration::from_secs(at));
        at += 12;
        rhythm.saw(16, start + Duration::from_secs(at));
        assert_eq!(rhythm.block_time(), Some(Duration::from_secs(12)));
        // One that is somewhere else altogether, and then is not.
        for number in [5000, 17, 5001, 18] {
            at += 1;
            rhythm.saw(number, start + Duration::from_secs(at));
        }
        assert_eq!(rhythm.block_time(), Some(Duration::from_secs(12)));
        at += 12;
        rhythm.saw(19, start + Duration::from_secs(at));
        assert_eq!(rhythm.block_time(), Some(Duration::from_secs(12)));
    }
}
