//! Which block the gateway speaks about: a decision over what endpoints show. Touches nothing.

use std::collections::HashMap;

use alloy::primitives::B256;

use crate::node::{Anchor, Spot};

/// The blocks seen lately, by hash, so that one can be found among another's ancestors.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    spots: HashMap<B256, Spot>,
    /// What endpoints say lies below a head, at one height, where the links between are not known.
    below: HashMap<B256, Anchor>,
}

/// Kept below the highest.
const DEPTH: u64 = 512;
const MOST: usize = 8192;
/// Heads with something known below them. There are as many as endpoints, and they move.
const MOST_BELOW: usize = 64;

impl Seen {
    pub(crate) fn add(&mut self, spot: Spot) {
        self.spots.insert(spot.hash, spot);
        if self.spots.len() > MOST {
            let highest = self.spots.values().map(|spot| spot.number).max();
            let highest = highest.unwrap_or(0);
            self.spots.retain(|_, spot| spot.number + DEPTH > highest);
        }
    }

    /// This block lies below a head.
    pub(crate) fn lies_below(&mut self, head: B256, block: Anchor) {
        if self.below.len() >= MOST_BELOW {
            self.below.clear();
        }
        self.below.insert(head, block);
    }

    /// The block below a head at a height, if it was asked for.
    pub(crate) fn below(&self, head: B256, number: u64) -> Option<B256> {
        let known = self.below.get(&head)?;
        (known.number == number).then_some(known.hash)
    }

    pub(crate) fn get(&self, hash: B256) -> Option<Spot> {
        self.spots.get(&hash).copied()
    }

    /// The block of a branch at a height, or its head if that is lower; none if links are missing.
    pub(crate) fn ancestor(&self, head: Spot, number: u64) -> Option<Spot> {
        let mut at = head;
        while at.number > number {
            at = self.get(at.parent)?;
        }
        Some(at)
    }

    /// Whether `head` is `block` or builds on it, as far as can be known: none if links are missing.
    pub(crate) fn includes(&self, head: Spot, block: Spot) -> Option<bool> {
        let mut at = head;
        loop {
            if at.hash == block.hash {
                return Some(true);
            }
            if at.number <= block.number {
                return Some(false);
            }
            if at.number == block.number + 1 {
                return Some(at.parent == block.hash);
            }
            at = match self.get(at.parent) {
                Some(parent) => parent,
                None => return Some(self.below(head.hash, block.number)? == block.hash),
            };
        }
    }
}

/// What to do about the tip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// It is where it should be.
    Stay,
    /// Go to this block, forwards or over to another branch.
    To(Spot),
    /// Nobody who is left has the tip, and nobody contradicts it: they are behind. The best of
    /// them is here.
    Behind(Spot),
}

/// Chooses among the heads of usable endpoints, given in order of preference. With three or more
/// endpoints a block counts once two have it, so that none of them alone can lead everybody.
pub(crate) fn choose(
    heads: &[Spot],
    tip: Option<Spot>,
    canonical: impl Fn(u64) -> Option<B256>,
    seen: &Seen,
) -> Move {
    let wanted = if heads.len() >= 3 { 2 } else { 1 };
    let surely = |block: Spot| {
        heads
            .iter()
            .filter(|head| seen.includes(**head, block) == Some(true))
            .count()
    };
    let maybe = |block: Spot| {
        heads
            .iter()
            .filter(|head| {
                head.number >= block.number && seen.includes(**head, block) != Some(false)
            })
            .count()
    };
    // The highest with enough support; among equals the first, who is preferred.
    let best = heads
        .iter()
        .copied()
        .filter(|head| maybe(*head) >= wanted)
        .reduce(|best, head| {
            if head.number > best.number {
                head
            } else {
                best
            }
        })
        // All of them stand alone: the second highest, so that one endpoint cannot run ahead.
        .or_else(|| {
            let mut sorted = heads.to_vec();
            sorted.sort_by_key(|head| std::cmp::Reverse(head.number));
            sorted.get(wanted - 1).copied()
        });
    let (Some(best), Some(tip)) = (best, tip) else {
        return best.map_or(Move::Stay, Move::To);
    };
    if best.hash == tip.hash {
        return Move::Stay;
    }
    let builds_on_tip = seen.includes(best, tip);
    if best.number > tip.number {
        // Another branch has to be carried by as many as ours was before we go over to it. Whether
        // it is another one is found out before.
        let leaves = builds_on_tip != Some(true);
        if !leaves || surely(tip) < wanted || surely(best) > surely(tip) {
            return Move::To(best);
        }
        // Those who stay may have gone on meanwhile.
        return heads
            .iter()
            .copied()
            .filter(|head| head.number > tip.number && seen.includes(*head, tip) == Some(true))
            .filter(|head| surely(*head) >= wanted)
            .max_by_key(|head| head.number)
            .map_or(Move::Stay, Move::To);
    }
    if surely(tip) >= wanted.min(heads.len()) || heads.is_empty() {
        return Move::Stay;
    }
    // So far below that it is no reorganisation: one of them is somewhere else altogether.
    let elsewhere = seen.below(tip.hash, best.number);
    if elsewhere.is_some_and(|hash| hash != best.hash) && surely(best) > surely(tip) {
        return Move::To(best);
    }
    match canonical(best.number) {
        Some(hash) if hash != best.hash => {
            if surely(tip) > 0 && best.number <= tip.number {
                Move::Stay
            } else {
                Move::To(best)
            }
        }
        _ if surely(tip) > 0 => Move::Stay,
        _ => Move::Behind(best),
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::tests::block;
    use super::*;

    fn spot(number: u64, branch: u8) -> Spot {
        let block = block(number, branch);
        Spot {
            number,
            hash: block.head.hash,
            parent: block.head.parent_hash,
        }
    }

    /// All blocks of both branches from 90 to 120; branch 1 leaves branch 0 at 100.
    fn seen() -> Seen {
        let mut seen = Seen::default();
        for number in 90..=120 {
            seen.add(spot(number, 0));
            let parent = if number == 101 {
                spot(100, 0)
            } else {
                spot(number - 1, 1)
            };
            seen.add(Spot {
                parent: parent.hash,
                ..spot(number, 1)
            });
        }
        seen
    }

    fn chosen(heads: &[(u64, u8)], tip: (u64, u8)) -> Move {
        let seen = seen();
        let heads: Vec<_> = heads
            .iter()
            .map(|(n, b)| seen.get(spot(*n, *b).hash).unwrap())
            .collect();
        let canonical = |number: u64| {
            (number <= tip.0).then(|| spot(number, if number > 100 { tip.1 } else { 0 }).hash)
        };
        choose(&heads, Some(spot(tip.0, tip.1)), canonical, &seen)
    }

    fn to(number: u64, branch: u8) -> Move {
        Move::To(seen().get(spot(number, branch).hash).unwrap())
    }

    #[test]
    fn the_highest_head_leads_unless_three_endpoints_can_outvote_it() {
        assert_eq!(chosen(&[(103, 0)], (102, 0)), to(103, 0));
        assert_eq!(chosen(&[(102, 0), (103, 0)], (102, 0)), to(103, 0));
        assert_eq!(
            chosen(&[(102, 0), (110, 0), (103, 0)], (102, 0)),
            to(103, 0)
        );
        assert_eq!(
            chosen(&[(102, 0), (103, 0), (102, 0)], (102, 0)),
            Move::Stay
        );
    }

    #[test]
    fn endpoints_that_are_behind_do_not_pull_the_tip_back() {
        assert_eq!(
            chosen(&[(99, 0)], (102, 0)),
            Move::Behind(seen().get(spot(99, 0).hash).unwrap())
        );
        assert_eq!(chosen(&[(99, 0), (102, 0)], (102, 0)), Move::Stay);
        assert_eq!(chosen(&[(99, 0), (99, 0), (102, 0)], (102, 0)), Move::Stay);
        assert_eq!(chosen(&[], (102, 0)), Move::Stay);
    }

    #[test]
    fn a_reorganisation_is_followed_also_downwards() {
        assert_eq!(chosen(&[(101, 1)], (102, 0)), to(101, 1));
        assert_eq!(chosen(&[(102, 1), (102, 1)], (102, 0)), to(102, 1));
        assert_eq!(
            chosen(&[(103, 1), (103, 1), (102, 0)], (102, 0)),
            to(103, 1)
        );
    }

    /// Where only heads are known, and what an endpoint said lies below one.
    fn far(heads: &[(u64, u8)], tip: (u64, u8), above: (u64, u8), below: (u64, u8)) -> Move {
        let mut seen = Seen::default();
        let heads: Vec<_> = heads.iter().map(|(n, b)| spot(*n, *b)).collect();
        heads.iter().for_each(|head| seen.add(*head));
        let below = spot(below.0, below.1);
        seen.lies_below(
            spot(above.0, above.1).hash,
            Anchor {
                number: below.number,
                hash: below.hash,
            },
        );
        let canonical = |number| (number == tip.0).then(|| spot(tip.0, tip.1).hash);
        choose(&heads, Some(spot(tip.0, tip.1)), canonical, &seen)
    }

    #[test]
    fn one_that_is_far_ahead_leads_only_if_it_says_to_have_our_tip() {
        let other = [(102, 0), (5000, 1)];
        assert_eq!(far(&other, (102, 0), (5000, 1), (102, 1)), Move::Stay);
        assert_eq!(
            far(&other, (102, 0), (5000, 1), (102, 0)),
            Move::To(spot(5000, 1))
        );
        // The one who stays goes on.
        assert_eq!(
            far(&[(103, 0), (5000, 1)], (102, 0), (5000, 1), (102, 1)),
            Move::To(spot(103, 0))
        );
        // Two against one that led while it was alone.
        assert_eq!(
            far(
                &[(103, 0), (103, 0), (5000, 1)],
                (5000, 1),
                (5000, 1),
                (103, 1)
            ),
            Move::To(spot(103, 0))
        );
    }

    #[test]
    fn a_minority_on_another_branch_is_not_followed() {
        assert_eq!(
            chosen(&[(103, 1), (102, 0), (102, 0)], (102, 0)),
            Move::Stay
        );
        assert_eq!(chosen(&[(102, 1), (102, 0)], (102, 0)), Move::Stay);
        assert_eq!(
            chosen(&[(104, 1), (103, 0), (103, 0)], (102, 0)),
            to(103, 0)
        );
        assert_eq!(chosen(&[(101, 1), (102, 0)], (102, 0)), Move::Stay);
    }
}
