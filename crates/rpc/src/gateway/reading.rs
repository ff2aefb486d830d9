//! Reads: from what is kept, together with somebody who asks the same just now, or from an endpoint.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::task;

use super::Core;
use super::block::{self, Needs, Tags};
use super::budget::Purse;
use super::cache::{self, Anchor, Key};
use super::envelope::Answer;
use super::method::{Kind, Method};
use super::observe;
use super::question::{Asked, Question};
use crate::harmless::is_harmless;

/// Reorganisations during a question after which its answer is given as it is.
pub(super) const VIEWS: usize = 3;

/// Questions under way, and who else waits for their answers. Whoever came first puts the question,
/// and goes on with it for the others when its client is gone (`gone`); where it ends all the same
/// before there is an answer, the next of those who wait begins anew.
///
/// In parts, by their keys, so that workers seldom stand in each other's way.
#[derive(Default)]
pub(crate) struct Flights([Part; PARTS]);

/// Alone on its line of a processor's cache.
#[derive(Default)]
#[repr(align(64))]
struct Part(Mutex<Open>);

type Open = HashMap<Key, UnderWay, AsItIs>;

const PARTS: usize = 16;

struct UnderWay {
    /// Whose task puts the question.
    of: Option<task::Id>,
    others: Vec<(Option<task::Id>, oneshot::Sender<Asked>)>,
}

/// How a question under way is taken part in.
enum Seat<'a> {
    First(Flight<'a>),
    Joins(oneshot::Receiver<Asked>),
}

/// A question under way, until it is answered or dropped.
struct Flight<'a> {
    flights: &'a Flights,
    /// None once it has landed.
    key: Option<Key>,
}

impl Part {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flights {
    /// Where a question is if it is under way.
    fn part(&self, key: Key) -> MutexGuard<'_, Open> {
        // The map goes by the other half.
        self.0[(key >> 64) as usize % PARTS].open()
    }

    fn board(&self, key: Key) -> Seat<'_> {
        match self.part(key).entry(key) {
            Entry::Occupied(mut others) => {
                let (tell, told) = oneshot::channel();
                others.get_mut().others.push((task::try_id(), tell));
                Seat::Joins(told)
            }
            Entry::Vacant(place) => {
                place.insert(UnderWay {
                    of: task::try_id(),
                    others: Vec::new(),
                });
                Seat::First(Flight {
                    flights: self,
                    key: Some(key),
                })
            }
        }
    }
}

impl Flights {
    /// Whether another task waits for an answer to a question that this one puts.
    pub(super) fn others_wait_for(&self, task: Option<task::Id>) -> bool {
        let waits = |(of, tell): &(_, oneshot::Sender<_>)| *of != task && !tell.is_closed();
        self.0.iter().any(|part| {
            let open = part.open();
            let mut ours = open.values().filter(|flight| flight.of == task);
            ours.any(|flight| flight.others.iter().any(waits))
        })
    }
}

impl Flight<'_> {
    fn lands(mut self, asked: &Asked) {
        let others = self.take_off_the_list();
        for (_, other) in others.into_iter().flatten() {
            let _ = other.send(asked.clone());
        }
    }

    fn take_off_the_list(&mut self) -> Option<Vec<(Option<task::Id>, oneshot::Sender<Asked>)>> {
        let key = self.key.take()?;
        let flight = self.flights.part(key).remove(&key)?;
        Some(flight.others)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        // Those who wait find out by the end of their channels.
        self.take_off_the_list();
    }
}

/// A key is a hash already.
#[derive(Default, Clone)]
struct AsItIs;

impl BuildHasher for AsItIs {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(0)
    }
}

struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// A read as it will be put.
pub(crate) struct Plan {
    pub(crate) question: Question,
    /// What it is called among questions under way; none if nobody may join.
    pub(crate) key: Option<Key>,
    /// What its answer hangs on, if it may be kept.
    anchor: Option<Anchor>,
    pub(crate) repeatable: bool,
}

impl Core {
    /// Decides how a read is put.
    pub(crate) fn plan(
        &self,
        method: &'static Method,
        name: &str,
        params: &str,
        tags: Tags,
    ) -> Plan {
        let pinned = block::pin(method.at, params, tags);
        let repeatable = method.kind.is_repeatable() || is_harmless(name);
        let anchored = cache::anchor(
            method,
            name,
            &pinned.params,
            pinned.needs,
            tags,
            &self.chain,
        );
        let of = match anchored {
            Some((_, hash)) => hash,
            // Joined only by those who stand on the same tip.
            None => self.chain.hash_at(tags.latest),
        };
        // Of a method nobody knows it is not sure that once is as good as twice.
        let may_join = repeatable && method.kind != Kind::Other;
        Plan {
            key: may_join.then(|| self.cache.key(name, &pinned.params, of)),
            anchor: anchored.map(|(anchor, _)| anchor),
            question: Question::new(self, method, name, pinned.needs, &pinned.params),
            repeatable,
        }
    }

    /// A read about whatever the endpoint that answers stands on: while nobody follows the chain, or
    /// knows it.
    pub(crate) fn plan_loosely(&self, method: &'static Method, name: &str, params: &str) -> Plan {
        Plan {
            key: None,
            anchor: None,
            question: Question::new(self, method, name, Needs::Nothing, params),
            repeatable: method.kind.is_repeatable() || is_harmless(name),
        }
    }

    /// A read of its own. What is about the newest block is asked anew when that block left the chain
    /// meanwhile: by its number it may have been answered from the branch that replaced it, higher
    /// than where callers are told that the chain ends.
    pub(crate) async fn read_at(
        self: &Arc<Self>,
        method: &'static Method,
        name: &str,
        params: &str,
        mut tags: Tags,
        purse: Purse,
    ) -> Asked {
        let mut views = 0;
        loop {
            let mut plan = self.plan(method, name, params, tags);
            plan.question.purse = purse;
            let newest = match plan.anchor {
                Some(Anchor::Block(number, hash)) if number == tags.latest => Some(hash),
                _ => None,
            };
            let needs = plan.question.needs;
            if needs == Needs::Pending
                && name == "eth_getTransactionCount"
                && let Some(asked) = Box::pin(self.highest_nonce(&plan.question)).await
            {
                return asked;
            }
            let asked = self.read(plan).await;
            if views == VIEWS {
                return asked;
            }
            views += 1;
            // A tag stands for nothing above the tip, so that is looked at only where it may be.
            let above = match needs {
                Needs::Number(number) => number > tags.latest,
                _ => true,
            };
            if above && self.is_followed() {
                return self.up_to_the_tip(method, needs, asked).await;
            }
            if newest.is_some() {
                self.chain.settled().await;
            }
            if newest.is_none_or(|hash| self.chain.hash_at(tags.latest) == Some(hash)) {
                return asked;
            }
            tags = self.chain.tags().unwrap_or(tags);
        }
    }

    pub(crate) async fn read(self: &Arc<Self>, plan: Plan) -> Asked {
        let mut flight = None;
        if let Some(key) = plan.key {
            if let Some(answer) = self.kept(&plan) {
                return answer.into();
            }
            while flight.is_none() {
                match self.flights.board(key) {
                    Seat::First(first) => flight = Some(first),
                    Seat::Joins(told) => {
                        observe::joined();
                        if let Ok(asked) = told.await {
                            return asked;
                        }
                    }
                }
            }
        }
        let asked = self.ask(&plan.question, plan.repeatable).await;
        if let Some(flight) = flight {
            self.keep(&plan, &asked);
            flight.lands(&asked);
        }
        asked
    }

    /// What is kept of it.
    pub(crate) fn kept(&self, plan: &Plan) -> Option<Answer> {
        plan.anchor?;
        let convictions = |node: usize| self.pool.0.nodes[node].convictions();
        let kept = self.cache.get(plan.key?, &self.chain, convictions);
        observe::looked_up(kept.is_some());
        kept.map(Answer::Result)
    }

    /// Keeps an answer from somebody who stands where the answer does.
    pub(crate) fn keep(&self, plan: &Plan, asked: &Asked) {
        let (Some(key), Some(anchor), Some(by)) = (plan.key, plan.anchor, asked.by) else {
            return;
        };
        let node = &self.pool.0.nodes[by];
        // Found to be elsewhere while it answered: then it is not known of which chain that was.
        if node.fitness.strays() || !node.state().is_readable() {
            return;
        }
        if let Answer::Result(result) = &asked.answer {
            let by = (by, node.convictions());
            self.cache.keep(key, anchor, result, by, &self.chain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(flights: &Flights) -> Seat<'_> {
        flights.board(7)
    }

    #[tokio::test]
    async fn who_comes_while_a_question_is_under_way_gets_its_answer() {
        let flights = Flights::default();
        let Seat::First(flight) = board(&flights) else {
            panic!("nobody was there before");
        };
        let Seat::Joins(told) = board(&flights) else {
            panic!("one is under way");
        };
        flight.lands(&Answer::literal("true").into());
        let Ok(Asked { answer, .. }) = told.await else {
            panic!("it was answered");
        };
        assert!(matches!(answer, Answer::Result(bytes) if &bytes[..] == b"true"));
        assert!(matches!(board(&flights), Seat::First(_)));
    }

    #[tokio::test]
    async fn when_the_first_goes_away_those_who_wait_begin_anew() {
        let flights = Flights::default();
        let first = board(&flights);
        let Seat::Joins(told) = board(&flights) else {
            panic!("one is under way");
        };
        drop(first);
        assert!(told.await.is_err());
        let second = board(&flights);
        assert!(matches!(second, Seat::First(_)));
        assert!(matches!(board(&flights), Seat::Joins(_)));
    }
}
