//! A batch as one view of the chain, and to an endpoint as a batch again.
//!
//! All questions of a batch mean the same newest block. Those that only read are put to endpoints
//! together, as many at a time as the endpoint takes; what does not come back well is asked
//! singly afterwards, with everything that is done for a single question.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::time::{Instant, timeout};

use super::Core;
use super::block::Tags;
use super::cache::Key;
use super::class::Class;
use super::envelope::{Answer, Request};
use super::hedge::{UnderWay, hedge_after, race};
use super::method::{Kind, Method};
use super::observe;
use super::question::{Asked, Question};
use super::quoted;
use super::rank::Rank;
use super::reading::{Plan, VIEWS};
use crate::error::RpcError;
use crate::gate::Priority;
use crate::node::{Forwarded, Node};

/// Questions of one batch asked singly at the same time.
const SINGLY: usize = 32;
/// Answers up to this size are copied while they wait for others.
const COPIED: usize = 2 << 10;

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
    /// Asks what a batch will ask, together: of what its sender may ask and has paid for.
    pub(crate) async fn look_ahead<'a, 'b: 'a>(
        self: &Arc<Self>,
        paid: impl Iterator<Item = (&'static Method, &'a Request<'b>)>,
    ) -> View {
        let is_read = |kind| matches!(kind, Kind::Light | Kind::Call | Kind::Trace);
        let reads: Vec<_> = paid.filter(|(method, _)| is_read(method.kind)).collect();
        let Some(mut tags) = self.tags().await else {
            return View::default();
        };
        if reads.is_empty() {
            return View {
                tags: Some(tags),
                ..View::default()
            };
        }
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
            let came = self.together(&plans).await;
            let keys = plans.iter().map(|plan| plan.key);
            let answers = keys
                .zip(came)
                .filter_map(|(key, asked)| Some((key?, asked?.answer)))
                .collect();
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

    /// Puts reads, together where that is possible; what came of each, in their order.
    pub(crate) async fn read_many(self: &Arc<Self>, plans: Vec<Plan>) -> Vec<Asked> {
        let mut came = self.together(&plans).await;
        let mut singly = Vec::new();
        for (at, plan) in plans.into_iter().enumerate() {
            if came[at].is_none() {
                singly.push(async move { (at, self.read(plan).await) });
            }
        }
        let mut singly = stream::iter(singly).buffered(SINGLY);
        while let Some((at, asked)) = singly.next().await {
            came[at] = Some(asked);
        }
        came.into_iter().flatten().collect()
    }

    /// What came back well.
    async fn together(self: &Arc<Self>, plans: &[Plan]) -> Vec<Option<Asked>> {
        let mut came: Vec<Option<Asked>> = Vec::with_capacity(plans.len());
        let mut groups: Vec<(&Node, Vec<usize>)> = Vec::new();
        for (at, plan) in plans.iter().enumerate() {
            came.push(self.kept(plan).map(Asked::from));
            // Traces are heavy; one after the other in a batch would take too long.
            if came[at].is_some() || plan.question.method.kind == Kind::Trace {
                continue;
            }
            let known = groups
                .iter_mut()
                .find(|(node, _)| self.is_good(node, &plan.question));
            if let Some((_, group)) = known {
                group.push(at);
            } else if let Some(node) = self.best_of_good(&plan.question) {
                groups.push((node, vec![at]));
            }
        }
        // One alone is a question like any other.
        let mut asked = Vec::with_capacity(groups.len());
        for (node, group) in &groups {
            if group.len() > 1 {
                asked.push(self.as_a_batch(node, plans, group));
            }
        }
        for (at, asked) in join_all(asked).await.into_iter().flatten() {
            came[at] = Some(asked);
        }
        came
    }

    /// Puts a batch to an endpoint, and to a second one beside it when the first takes unusually
    /// long; who answered, and what.
    async fn put_together<'a>(
        self: &'a Arc<Self>,
        node: &'a Node,
        like: &Question,
        name: &'a str,
        bodies: &[(u64, Bytes)],
        within: Duration,
    ) -> (&'a Node, Vec<Result<Forwarded, RpcError>>) {
        let one = |index: usize| {
            let (core, bodies, name) = (Arc::clone(self), bodies.to_vec(), name.to_owned());
            async move {
                core.pool.0.nodes[index]
                    .forward_many(&name, &bodies, within, Priority::Reads)
                    .await
            }
        };
        let under_way = |node: &'a Node| UnderWay::new(self, (node, name), one(node.index));
        let mut first = under_way(node);
        let patience = hedge_after(node, u32::try_from(bodies.len()).unwrap_or(u32::MAX));
        if let Ok(came) = timeout(patience, &mut first).await {
            return (node, came);
        }
        let second = self
            .choose(like, &[node.index])
            .filter(|(_, rank)| *rank == Rank::Good)
            .filter(|_| self.retries.may_hedge());
        let Some((other, _)) = second else {
            return (node, first.await);
        };
        // Rare, so no part of what every question takes in memory.
        Box::pin(race(first, under_way(other))).await
    }

    async fn as_a_batch(
        self: &Arc<Self>,
        node: &Node,
        plans: &[Plan],
        group: &[usize],
    ) -> Vec<(usize, Asked)> {
        let of = |at: &usize| &plans[*at].question;
        let bodies: Vec<_> = group.iter().map(|at| of(at).encoded()).collect();
        // What is asked alike is told apart by its name, a mixture is not.
        let name = of(&group[0]).name();
        let name = match group.iter().all(|at| of(at).name() == name) {
            true => name,
            false => crate::observe::MIXED,
        };
        // What each of them would get alone; the slowest of them may take as long.
        let attempts = group.iter().map(|at| of(at).method.kind.deadlines().1);
        let within = self.patience.or(attempts.max()).unwrap_or_default();
        let started = Instant::now();
        let (node, came) = self
            .put_together(node, of(&group[0]), name, &bodies, within)
            .await;
        let took = started.elapsed() / u32::try_from(group.len()).unwrap_or(u32::MAX);
        observe::batched(group.len(), came.iter().filter(|it| it.is_ok()).count());
        let mut answers = Vec::with_capacity(group.len());
        let mut failed = false;
        for (at, came) in group.iter().zip(came) {
            let plan = &plans[*at];
            let name = plan.question.name();
            let answer = match came {
                Ok(Forwarded::Result(result)) => {
                    node.fitness.did_well(name, took, Instant::now());
                    if self.is_doubtful(&plan.question, node, &result)
                        || plan.question.may_be_known_to_others(&result)
                    {
                        continue;
                    }
                    Answer::Result(in_memory_of_its_own(result))
                }
                Ok(Forwarded::Refused(refusal, bytes)) => {
                    let (class, _) =
                        quoted::class(&plan.question, &refusal, &self.pool.0.overrides);
                    if class != Class::Final {
                        continue;
                    }
                    Answer::Error(bytes)
                }
                // Not done, or too large; neither is held against anybody.
                Err(
                    RpcError::Busy { .. }
                    | RpcError::RateLimited { .. }
                    | RpcError::TooLarge { .. }
                    | RpcError::RequestTooLarge { .. },
                ) => continue,
                Err(_) => {
                    // All of them failed together, so it counts once.
                    if !std::mem::replace(&mut failed, true) {
                        node.fitness.failed(name, Instant::now());
                    }
                    continue;
                }
            };
            let asked = Asked {
                by: Some(node.index),
                from: Some(node.index),
                ..answer.into()
            };
            self.keep(plan, &asked);
            answers.push((*at, asked));
        }
        answers
    }
}

/// An answer that waits for others of its batch: a small one does not keep the buffer it came in, which
/// is larger.
fn in_memory_of_its_own(result: Bytes) -> Bytes {
    match result.len() {
        ..=COPIED => Bytes::copy_from_slice(&result),
        _ => result,
    }
}
