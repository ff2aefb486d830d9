//! Who of many wants a log: found by what the log has, so that those who want others cost nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy::primitives::{Bloom, keccak256};

use super::log::{Criteria, Mark, RawLog};

/// What all filters and subscriptions together keep of what they look for is one part in so many of
/// the room for requests, and a client has one part in so many of that.
const OF_HELD: usize = 4;
const OF_ALL: usize = 10;
/// A client may keep so many bytes where that is less.
const LEAST: usize = 64 << 10;
/// Addresses and topics that are looked for in a bloom one by one.
const LOOKS: usize = 64;

/// Bytes that all filters and subscriptions keep.
#[derive(Default)]
pub(crate) struct Keeping(Arc<AtomicUsize>);

/// Some of these bytes, until dropped.
#[derive(Debug)]
pub(crate) struct Keeps {
    all: Arc<AtomicUsize>,
    pub(crate) bytes: usize,
}

impl Drop for Keeps {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Keeping {
    /// So many bytes of a client that has some already; none if that is more than it may have, or
    /// more than there is.
    pub(crate) fn take(&self, bytes: usize, has: usize, held: usize) -> Option<Keeps> {
        let most = held / OF_HELD;
        if has + bytes > client_keeps(held) {
            return None;
        }
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
                Some(all + bytes).filter(|all| *all <= most)
            });
        let all = Arc::clone(&self.0);
        taken.ok().map(|_| Keeps { all, bytes })
    }
}

/// Bytes that one client may keep, where so many of requests are held.
pub(crate) fn client_keeps(held: usize) -> usize {
    let most = held / OF_HELD;
    (most / OF_ALL).max(LEAST).min(most)
}

/// What is looked for, and what that takes.
#[derive(Debug)]
pub(crate) struct LooksFor {
    pub(crate) criteria: Criteria,
    pub(crate) keeps: Keeps,
}

/// What many look for.
#[derive(Default)]
pub(crate) struct Interests {
    all: HashMap<u128, Arc<LooksFor>>,
    marks: HashMap<Mark, Marked>,
    /// Those who want no log in particular.
    of_everything: Vec<u128>,
}

struct Marked {
    /// The bits that a bloom has which has it; hashed once.
    bits: Bloom3,
    wanted_by: Vec<u128>,
}

/// Bits of a bloom, by byte and mask.
type Bloom3 = [(u8, u8); 3];

fn bits(mark: &Mark) -> Bloom3 {
    let hash = keccak256(mark.bytes());
    [0, 2, 4].map(|at| {
        let bit = (usize::from(hash[at]) << 8 | usize::from(hash[at + 1])) & 0x7ff;
        (
            u8::try_from(255 - bit / 8).unwrap_or(u8::MAX),
            1 << (bit % 8),
        )
    })
}

fn has(bloom: &Bloom, bits: &Bloom3) -> bool {
    bits.iter()
        .all(|(at, mask)| bloom[usize::from(*at)] & mask != 0)
}

impl Interests {
    pub(crate) fn add(&mut self, id: u128, looks_for: Arc<LooksFor>) {
        let mut marks = looks_for.criteria.marks().peekable();
        if marks.peek().is_none() {
            self.of_everything.push(id);
        }
        for mark in marks {
            let marked = self.marks.entry(mark).or_insert_with(|| Marked {
                bits: bits(&mark),
                wanted_by: Vec::new(),
            });
            marked.wanted_by.push(id);
        }
        self.all.insert(id, looks_for);
    }

    pub(crate) fn get(&self, id: u128) -> Option<&LooksFor> {
        self.all.get(&id).map(|looks_for| &**looks_for)
    }

    pub(crate) fn remove(&mut self, id: u128) {
        let Some(looks_for) = self.all.remove(&id) else {
            return;
        };
        self.of_everything.retain(|other| *other != id);
        for mark in looks_for.criteria.marks() {
            if let Some(marked) = self.marks.get_mut(&mark) {
                marked.wanted_by.retain(|other| *other != id);
                if marked.wanted_by.is_empty() {
                    self.marks.remove(&mark);
                }
            }
        }
    }

    /// Who wants this log. Of those who do not, only they are looked at who want one with a mark of it.
    pub(crate) fn of(&self, log: &RawLog) -> Vec<u128> {
        let marked = log.marks().filter_map(|mark| self.marks.get(&mark));
        let near = marked
            .flat_map(|it| &it.wanted_by)
            .chain(&self.of_everything);
        near.filter(|id| {
            let looks_for = self.all.get(id);
            looks_for.is_some_and(|it| it.criteria.matches(log))
        })
        .copied()
        .collect()
    }

    /// Whether a block with this bloom can have a log for one of them. Who is found in it is looked at
    /// more closely, as long as these are few.
    pub(crate) fn may_be_in(&self, bloom: &Bloom) -> bool {
        if !self.of_everything.is_empty() {
            return true;
        }
        let mut looks = LOOKS;
        let marked = self.marks.values().filter(|it| has(bloom, &it.bits));
        for id in marked.flat_map(|it| &it.wanted_by) {
            let Some(looks_for) = self.all.get(id) else {
                continue;
            };
            match looks.checked_sub(looks_for.criteria.items()) {
                Some(left) => looks = left,
                None => return true,
            }
            if looks_for.criteria.may_be_in(bloom) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::log::BlockLogs;
    use alloy::primitives::{Address, B256, BloomInput};
    use serde_json::json;

    fn of(filter: &serde_json::Value) -> Arc<LooksFor> {
        let criteria = Criteria::read(&filter.to_string()).unwrap();
        let keeps = Keeping::default().take(0, 0, 1 << 20).unwrap();
        Arc::new(LooksFor { criteria, keeps })
    }

    #[test]
    fn a_log_is_found_by_all_who_want_it_and_its_bloom_by_the_same() {
        let (a, b) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let topic = B256::repeat_byte;
        let filters = [
            json!({}),
            json!({"address": [a, b]}),
            json!({"address": a, "topics": [topic(7)]}),
            json!({"topics": [null, [topic(8), topic(9)]]}),
            json!({"topics": [[topic(7), topic(8)]]}),
            json!({"topics": [null, null]}),
            json!({"address": Address::repeat_byte(9)}),
        ];
        let list = json!([
            {"address": a, "topics": [topic(7)]},
            {"address": b, "topics": [topic(1), topic(9)]},
            {"address": Address::repeat_byte(3), "topics": [topic(8)]},
            {"address": Address::repeat_byte(3), "topics": []},
        ]);
        let logs = BlockLogs::read(list.to_string().as_bytes()).unwrap();
        let mut all = Interests::default();
        for (id, filter) in (0..).zip(&filters) {
            all.add(id, of(filter));
        }
        for log in &logs.list {
            let mut found = all.of(log);
            found.sort_unstable();
            let wanted: Vec<u128> = (0..)
                .zip(&filters)
                .filter(|(_, filter)| of(filter).criteria.matches(log))
                .map(|(id, _)| id)
                .collect();
            assert_eq!(found, wanted);
        }
        for (id, filter) in (0..).zip(&filters) {
            let mut one = Interests::default();
            one.add(id, of(filter));
            for log in &logs.list {
                let mut bloom = Bloom::ZERO;
                for mark in log.marks() {
                    bloom.accrue(BloomInput::Raw(mark.bytes()));
                }
                assert_eq!(one.may_be_in(&bloom), of(filter).criteria.may_be_in(&bloom));
            }
            one.remove(id);
            assert!(one.all.is_empty() && one.marks.is_empty() && one.of_everything.is_empty());
        }
    }

    #[test]
    fn whoever_wants_something_else_is_not_looked_at() {
        let mut all = Interests::default();
        for id in 0..10_000_u128 {
            let address = Address::left_padding_from(&id.to_be_bytes());
            all.add(id, of(&json!({ "address": address })));
        }
        let list =
            json!([{"address": Address::left_padding_from(&77_u128.to_be_bytes()), "topics": []}]);
        let logs = BlockLogs::read(list.to_string().as_bytes()).unwrap();
        assert_eq!(all.of(&logs.list[0]), [77]);
        assert_eq!(logs.list[0].marks().count(), 1, "one look for each mark");
        assert!(all.may_be_in(&logs.bloom()));
        assert!(!all.may_be_in(&Bloom::ZERO));
    }

    #[test]
    fn what_is_kept_is_limited_for_one_and_for_all_and_given_back() {
        let keeping = Keeping::default();
        let held = 10 << 20;
        let one = client_keeps(held);
        assert_eq!(one, 256 << 10);
        assert!(keeping.take(one + 1, 0, held).is_none());
        assert!(keeping.take(1, one, held).is_none());
        let mut all: Vec<Keeps> = (0..10)
            .map(|_| keeping.take(one, 0, held).unwrap())
            .collect();
        assert!(keeping.take(1000, 0, held).is_none());
        all.pop();
        assert!(keeping.take(1000, 0, held).is_some());
        assert_eq!(client_keeps(100 << 10), 25 << 10);
    }
}
