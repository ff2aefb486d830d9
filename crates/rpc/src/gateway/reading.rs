//! Reads: from what is kept, together with somebody who asks the same just now, or from an endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::Core;
use super::block::{self, Needs, Tags};
use super::cache::{self, Anchor, Key};
use super::envelope::Answer;
use super::method::{Kind, Method};
use super::observe;
use super::question::{Asked, Question};
use crate::harmless::is_harmless;

/// Questions under way that others may join.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<Key, WeakShared<BoxFuture<'static, Asked>>>>);

impl Flights {
    fn map(&self) -> MutexGuard<'_, HashMap<Key, WeakShared<BoxFuture<'static, Asked>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those whose askers all went away.
    pub(crate) fn sweep(&self) {
        self.map().retain(|_, flight| flight.upgrade().is_some());
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

    pub(crate) async fn read(self: &Arc<Self>, plan: Plan) -> Asked {
        let Some(key) = plan.key else {
            return self.ask(&plan.question, plan.repeatable).await;
        };
        if let Some(answer) = self.kept(&plan) {
            return answer.into();
        }
        let flight = {
            let mut flights = self.flights.map();
            match flights.get(&key).and_then(WeakShared::upgrade) {
                Some(flight) => {
                    observe::joined();
                    flight
                }
                None => {
                    let flight = self.take_off(plan, key);
                    if let Some(weak) = flight.downgrade() {
                        flights.insert(key, weak);
                    }
                    flight
                }
            }
        };
        flight.await
    }

    /// Whoever waits for it moves it on; it ends with the last of them.
    fn take_off(self: &Arc<Self>, plan: Plan, key: Key) -> Shared<BoxFuture<'static, Asked>> {
        let core = Arc::clone(self);
        async move {
            let asked = core.ask(&plan.question, plan.repeatable).await;
            core.keep(&plan, &asked);
            core.flights.map().remove(&key);
            asked
        }
        .boxed()
        .shared()
    }

    /// What is kept of it.
    pub(crate) fn kept(&self, plan: &Plan) -> Option<Answer> {
        plan.anchor?;
        let kept = self.cache.get(plan.key?, &self.chain);
        observe::looked_up(kept.is_some());
        kept.map(Answer::Result)
    }

    /// Keeps an answer from somebody who stands where the answer does.
    pub(crate) fn keep(&self, plan: &Plan, asked: &Asked) {
        let (Some(key), Some(anchor), Some(by)) = (plan.key, plan.anchor, asked.by) else {
            return;
        };
        if self.pool.0.nodes[by].fitness.strays() {
            return;
        }
        if let Answer::Result(result) = &asked.answer {
            self.cache.keep(key, anchor, result, by, &self.chain);
        }
    }
}
