//! A batch as one view of the chain, and to an endpoint as a batch again.
//!
//! All questions of a batch mean the same newest block. Those that only read are put to endpoints
//! together, as many at a time as the endpoint takes; what does not come back well is asked
//! singly afterwards, with everything that is done for a single question.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Core;
use super::block::Tags;
use super::cache::Key;
use super::class::{self, Class};
use super::envelope::{Answer, Request};
use super::method::{self, Kind};
use super::observe;
use super::question::Asked;
use super::reading::Plan;
use crate::node::{Forwarded, Node};

/// Reorganisations during a batch after which it is answered as it is.
const VIEWS: usize = 3;
/// How long an endpoint gets for one part of a batch.
const WITHIN: Duration = Duration::from_secs(10);

/// What a batch stands on, and what is known for it already.
#[derive(Default)]
pub(crate) struct View {
    tags: Option<Tags>,
    answers: HashMap<Key, Answer>,
}

impl View {
    /// The blocks the tags stand for here; none if the batch does not say.
    pub(crate) fn tags(&self) -> Option<Tags> {
        self.tags
    }

    pub(crate) fn answer(&self, plan: &Plan) -> Option<Answer> {
        self.answers.get(&plan.key?).cloned()
    }
}

impl Core {
    /// Asks what a batch will ask, together. `may` says what its sender may ask.
    pub(crate) async fn look_ahead(
        self: &Arc<Self>,
        requests: &[Result<Request<'_>, Answer>],
        may: impl Fn(&str) -> bool,
    ) -> View {
        let mut reads = Vec::with_capacity(requests.len());
        for request in requests.iter().flatten() {
            let method = method::find(&request.method);
            let is_read = matches!(method.kind, Kind::Light | Kind::Call | Kind::Trace);
            if is_read && may(&request.method) {
                reads.push((method, request));
            }
        }
        if reads.is_empty() {
            return View::default();
        }
        let Some(mut tags) = self.tags().await else {
            return View::default();
        };
        for _ in 0..VIEWS {
            let tip = self.chain.hash_at(tags.latest);
            let mut plans: Vec<Plan> = Vec::with_capacity(reads.len());
            for (method, request) in &reads {
                let plan = self.plan(method, &request.method, request.params, tags);
                let again = plans.iter().any(|other| other.key == plan.key);
                if !again && plan.key.is_some() {
                    plans.push(plan);
                }
            }
            let answers = self.together(&plans).await;
            let view = View {
                tags: Some(tags),
                answers,
            };
            if self.chain.hash_at(tags.latest) == tip {
                return view;
            }
            // The block all of them were about left the chain meanwhile.
            tags = self.chain.tags().unwrap_or(tags);
        }
        View::default()
    }

    /// The answers that came back well.
    async fn together(self: &Arc<Self>, plans: &[Plan]) -> HashMap<Key, Answer> {
        let mut answers = HashMap::new();
        let mut groups: Vec<(&Node, Vec<&Plan>)> = Vec::new();
        for plan in plans {
            if let (Some(answer), Some(key)) = (self.kept(plan), plan.key) {
                answers.insert(key, answer);
                continue;
            }
            // Traces are heavy; one after the other in a batch would take too long.
            if plan.question.method.kind == Kind::Trace {
                continue;
            }
            let known = groups
                .iter_mut()
                .find(|(node, _)| self.is_good(node, &plan.question));
            if let Some((_, group)) = known {
                group.push(plan);
            } else if let Some(node) = self.best_of_good(&plan.question) {
                groups.push((node, vec![plan]));
            }
        }
        let mut asked = Vec::with_capacity(groups.len());
        for (node, group) in groups {
            // One alone is a question like any other.
            if group.len() > 1 {
                asked.push(self.as_a_batch(node, group));
            }
        }
        for came in join_all(asked).await {
            answers.extend(came);
        }
        answers
    }

    async fn as_a_batch(&self, node: &Node, plans: Vec<&Plan>) -> Vec<(Key, Answer)> {
        let bodies: Vec<_> = plans.iter().map(|plan| plan.question.encoded()).collect();
        let started = Instant::now();
        let came = node.forward_many(&bodies, WITHIN).await;
        let took = started.elapsed() / u32::try_from(plans.len()).unwrap_or(u32::MAX);
        observe::batched(plans.len(), came.iter().filter(|it| it.is_some()).count());
        let mut answers = Vec::with_capacity(plans.len());
        for (plan, came) in plans.into_iter().zip(came) {
            let (Some(key), Some(came)) = (plan.key, came) else {
                continue;
            };
            let answer = match came {
                Forwarded::Result(result) => {
                    node.fitness.did_well(plan.question.name(), took);
                    if self.is_doubtful(&plan.question, node, &result) {
                        continue;
                    }
                    Answer::Result(result)
                }
                Forwarded::Refused(refusal, bytes) => {
                    let name = plan.question.name();
                    let class = class::class(name, &refusal, &self.pool.0.overrides);
                    if class != Class::Final {
                        continue;
                    }
                    Answer::Error(bytes)
                }
            };
            let asked = Asked {
                answer,
                by: Some(node.index),
            };
            self.keep(plan, &asked);
            answers.push((key, asked.answer));
        }
        answers
    }
}
