//! The blocks all endpoints of a chain have to have in common, and who does not.
//!
//! A chain number alone says little: a test chain restarted from nothing, a fork nobody joined, or
//! a client that finalized something else answer to the same number. So endpoints are compared by
//! their first block and by the highest block that stays and that all of them have.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy::primitives::B256;

use crate::node::Anchor;

/// What most endpoints agree on: the first block, and the last one compared.
#[derive(Default)]
pub(crate) struct Agreed(Mutex<[Option<Anchor>; 2]>);

impl Agreed {
    fn lock(&self) -> MutexGuard<'_, [Option<Anchor>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn blocks(&self) -> Vec<Anchor> {
        self.lock().iter().flatten().copied().collect()
    }

    pub(crate) fn set(&self, anchor: Anchor) {
        let place = usize::from(anchor.number > 0);
        self.lock()[place] = Some(anchor);
    }

    /// What others of the same chain agreed on before these endpoints were there.
    pub(crate) fn take_over(&self, before: &Self) {
        let before = *before.lock();
        *self.lock() = before;
    }

    /// What was above the first block may be another one now, and nobody is to blame.
    pub(crate) fn forget_lasting(&self) {
        self.lock()[1] = None;
    }

    /// The verdict about the first block, unless it comes from one endpoint alone and speaks against
    /// what was agreed on: nobody is their own witness.
    pub(crate) fn first_block(&self, verdict: Verdict, voices: &[Voice]) -> Verdict {
        let [first, _] = *self.lock();
        match (first, voices) {
            (Some(first), [only]) if first.hash != only.hash => Verdict {
                hash: first.hash,
                out: vec![only.node],
                tie: false,
            },
            _ => verdict,
        }
    }
}

/// Says what is wrong with a block an endpoint shows.
pub(crate) fn differs(shown: Anchor, agreed: B256) -> String {
    let (which, or) = match shown.number {
        0 => (
            "its first block".to_owned(),
            " (if the chain was begun anew on purpose, restart what asks it)",
        ),
        number => (
            format!("its block {number}, which cannot change any more,"),
            "",
        ),
    };
    format!(
        "{which} is {} and not {agreed} as agreed on before or at the others: it is on another chain; find out which one is right and remove the wrong one{or}",
        shown.hash
    )
}

/// What one endpoint shows at the height compared.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    pub(crate) node: usize,
    pub(crate) order: u32,
    /// The program it runs, if it says so.
    pub(crate) family: Option<String>,
    pub(crate) hash: B256,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) hash: B256,
    /// Endpoints that show another block.
    pub(crate) out: Vec<usize>,
    /// Both sides weigh the same: the preferred endpoint decided.
    pub(crate) tie: bool,
}

/// The side with more weight is right. Endpoints of one program count for at most half where there
/// are several programs, because they share their bugs. Between equals the preferred endpoint
/// decides. None without voices.
pub(crate) fn verdict(voices: &[Voice]) -> Option<Verdict> {
    let mut families: HashMap<&str, u32> = HashMap::new();
    for voice in voices {
        *families
            .entry(voice.family.as_deref().unwrap_or_default())
            .or_default() += 1;
    }
    let all = u32::try_from(voices.len()).unwrap_or(u32::MAX);
    let weight = |voice: &Voice| {
        let of_family = families[voice.family.as_deref().unwrap_or_default()];
        match families.len() > 1 && 2 * of_family > all {
            true => f64::from(all) / 2.0 / f64::from(of_family),
            false => 1.0,
        }
    };
    let mut sides: Vec<(B256, f64, (u32, usize))> = Vec::new();
    for voice in voices {
        let preference = (voice.order, voice.node);
        match sides.iter_mut().find(|(hash, ..)| *hash == voice.hash) {
            Some((_, sum, first)) => {
                *sum += weight(voice);
                *first = preference.min(*first);
            }
            None => sides.push((voice.hash, weight(voice), preference)),
        }
    }
    let nearly = |one: f64, other: f64| (one - other).abs() < 1e-6;
    sides.sort_by(|one, other| {
        if nearly(one.1, other.1) {
            one.2.cmp(&other.2)
        } else {
            other.1.total_cmp(&one.1)
        }
    });
    let hash = sides.first()?.0;
    Some(Verdict {
        hash,
        out: voices
            .iter()
            .filter(|voice| voice.hash != hash)
            .map(|voice| voice.node)
            .collect(),
        tie: sides.len() > 1 && nearly(sides[0].1, sides[1].1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voices(list: &[(&str, u8)]) -> Vec<Voice> {
        list.iter()
            .enumerate()
            .map(|(node, (family, hash))| Voice {
                node,
                order: 100,
                family: (!family.is_empty()).then(|| (*family).to_owned()),
                hash: B256::repeat_byte(*hash),
            })
            .collect()
    }

    fn out(list: &[(&str, u8)]) -> (Vec<usize>, bool) {
        let verdict = verdict(&voices(list)).unwrap();
        (verdict.out, verdict.tie)
    }

    #[test]
    fn the_minority_is_out() {
        assert_eq!(out(&[("", 1)]), (vec![], false));
        assert_eq!(out(&[("", 1), ("", 1)]), (vec![], false));
        assert_eq!(out(&[("", 2), ("", 1), ("", 1)]), (vec![0], false));
        assert_eq!(verdict(&[]), None);
    }

    #[test]
    fn between_equals_the_preferred_endpoint_decides_and_it_is_said() {
        assert_eq!(out(&[("", 1), ("", 2)]), (vec![1], true));
        let mut preferred = voices(&[("", 1), ("", 2)]);
        preferred[1].order = 1;
        assert_eq!(verdict(&preferred).unwrap().out, [0]);
    }

    #[test]
    fn one_alone_does_not_overrule_what_was_agreed_on_and_several_do() {
        let agreed = Agreed::default();
        let first = |list: &[(&str, u8)]| {
            let voices = voices(list);
            agreed.first_block(verdict(&voices).unwrap(), &voices).hash
        };
        assert_eq!(first(&[("", 1)]), B256::repeat_byte(1));
        agreed.set(Anchor {
            number: 0,
            hash: B256::repeat_byte(1),
        });
        assert_eq!(first(&[("", 2)]), B256::repeat_byte(1));
        assert_eq!(first(&[("", 2), ("", 2)]), B256::repeat_byte(2));
        let later = Agreed::default();
        later.take_over(&agreed);
        assert_eq!(later.blocks(), agreed.blocks());
    }

    #[test]
    fn clients_of_one_program_count_for_at_most_half() {
        let geths = [("geth", 2), ("geth", 2), ("geth", 2)];
        let against = |others: &[(&'static str, u8)]| out(&[others, &geths[..]].concat());
        // Two and a half of five against two.
        assert_eq!(against(&[("reth", 1), ("besu", 1)]), (vec![0, 1], false));
        // Two of four against one and a half of another program is impossible; even is decided
        // by preference.
        assert_eq!(against(&[("reth", 1)]), (vec![0], false));
        let with_besu = [("reth", 1), ("reth", 1), ("besu", 1), ("nethermind", 1)];
        assert_eq!(against(&with_besu), (vec![4, 5, 6], false));
    }
}
