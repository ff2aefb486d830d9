//! Which endpoint is asked, and who is asked next when that did not help.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Core;
use super::block::{Needs, Tags};
use super::class::{self, Class};
use super::envelope::Answer;
use super::method::{At, Kind, Method};
use super::observe;
use crate::error::RpcError;
use crate::node::{Forwarded, Node};
use crate::status::NodeState;
use crate::wire;

/// Different endpoints asked before the last answer counts.
const ATTEMPTS: usize = 4;
/// Nobody has the block yet: so long somebody may import it.
const BLOCK_WAIT: Duration = Duration::from_secs(2);
/// An endpoint is given so many times its usual answering time before a second one is asked too.
const HEDGE_AFTER_USUAL: u32 = 6;
const HEDGE_AT_LEAST: Duration = Duration::from_millis(40);
const HEDGE_AT_MOST: Duration = Duration::from_secs(1);

/// One question as it goes to endpoints.
pub(crate) struct Question {
    pub(crate) method: &'static Method,
    pub(crate) needs: Needs,
    id: u64,
    body: Bytes,
}

impl Question {
    pub(crate) fn new(
        core: &Core,
        method: &'static Method,
        name: &str,
        needs: Needs,
        params: &str,
    ) -> Self {
        let id = core.next_id.fetch_add(1, Ordering::Relaxed);
        Self {
            method,
            needs,
            id,
            body: wire::encode_raw(id, name, params),
        }
    }
}

/// How good a choice an endpoint is; the lowest is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Well, has the block, and is fit for the method.
    Good,
    /// Out of sync, but has the block.
    Degraded,
    /// Has the block, and failed the method lately or asked us to hold back.
    Unfit,
    /// Is not known to have the block.
    Behind,
    /// Cannot be reached as far as we know.
    Lost,
}

impl Core {
    /// Asks until there is an answer worth giving, or time and endpoints run out.
    pub(crate) async fn ask(self: &Arc<Self>, question: &Question, repeatable: bool) -> Answer {
        let (total, attempt) = question.method.kind.deadlines();
        let deadline = Instant::now() + total;
        let mut tried: Vec<usize> = Vec::new();
        let mut last: Option<Answer> = None;
        let mut failures: Vec<RpcError> = Vec::new();
        let mut params_doubted = false;
        // Somebody said they do not have a block that is on our chain.
        let mut missing = false;
        let patience = deadline.min(Instant::now() + BLOCK_WAIT);
        let mut news = None;
        let mut first = true;

        self.wait_for_block(question, deadline).await;
        while tried.len() < ATTEMPTS && Instant::now() < deadline {
            let next = self
                .choose(question, &tried)
                // An answer from somebody who may not have the block is only better than none.
                .filter(|(_, rank)| *rank < Rank::Behind || last.is_none());
            let Some((node, rank)) = next else {
                if !missing || !self.should_exist(question) {
                    break;
                }
                // It will be imported any moment, by them or by others.
                let news = news.get_or_insert_with(|| self.pool.0.seen.subscribe());
                if !matches!(timeout_at(patience, news.changed()).await, Ok(Ok(()))) {
                    break;
                }
                tried.clear();
                continue;
            };
            tried.push(node.index);
            if rank == Rank::Lost
                && let Err(error) = node.ensure_verified().await
            {
                failures.push(error);
                continue;
            }
            self.retries.asked();
            if !std::mem::take(&mut first) && !self.retries.may_retry() {
                observe::retry_budget_empty();
                break;
            }
            let within = attempt.min(deadline.saturating_duration_since(Instant::now()));
            let (node, outcome) = self
                .attempt(question, node, within, &mut tried, repeatable)
                .await;
            let now = std::time::Instant::now();
            match outcome {
                Ok(Forwarded::Result(result)) => {
                    node.fitness.did_well(question.method.name);
                    if self.is_doubtful(question, node, &result) {
                        observe::null_doubted();
                        missing = true;
                        last = Some(Answer::Result(result));
                        continue;
                    }
                    return Answer::Result(result);
                }
                Ok(Forwarded::Refused(refusal, bytes)) => {
                    let name = question.method.name;
                    let class = class::class(name, &refusal, &self.pool.0.overrides);
                    observe::refused(&node.name, class);
                    last = Some(Answer::Error(bytes));
                    match class {
                        Class::Final | Class::RangeTooLarge => break,
                        Class::Params if params_doubted => break,
                        Class::Params => params_doubted = true,
                        Class::RateLimited => node.fitness.hold_back(now, None),
                        Class::NoMethod => node.fitness.lacks(name, now),
                        Class::MissingBlock => missing = true,
                        Class::MissingState => {}
                        Class::Internal => {
                            node.fitness.failed(name, now);
                        }
                    }
                    if !repeatable && !matches!(class, Class::NoMethod | Class::RateLimited) {
                        break;
                    }
                }
                Err(error) => {
                    if matches!(error, RpcError::RateLimited { .. }) {
                        node.fitness.hold_back(now, retry_after(&error));
                    } else {
                        node.fitness.failed(question.method.name, now);
                    }
                    let sure_not_done = matches!(error, RpcError::RateLimited { .. });
                    failures.push(error);
                    if !repeatable && !sure_not_done {
                        break;
                    }
                }
            }
        }
        last.unwrap_or_else(|| self.nobody(&failures))
    }

    /// One endpoint, and a second one beside it when the first takes unusually long.
    async fn attempt<'a>(
        self: &'a Arc<Self>,
        question: &Question,
        node: &'a Node,
        within: Duration,
        tried: &mut Vec<usize>,
        repeatable: bool,
    ) -> (&'a Node, Result<Forwarded, RpcError>) {
        let one = |index: usize| {
            let core = Arc::clone(self);
            let (id, name, body) = (question.id, question.method.name, question.body.clone());
            async move {
                core.pool.0.nodes[index]
                    .forward(id, name, body, within)
                    .await
            }
        };
        let hedges = repeatable && matches!(question.method.kind, Kind::Light | Kind::Call);
        if !hedges || self.pool.0.nodes.len() < 2 {
            return (node, one(node.index).await);
        }
        let usual = Duration::from_micros(node.latency_micros());
        let patience = (usual * HEDGE_AFTER_USUAL).clamp(HEDGE_AT_LEAST, HEDGE_AT_MOST);
        let mut first = Box::pin(one(node.index));
        tokio::select! {
            biased;
            outcome = &mut first => return (node, outcome),
            () = sleep_until(Instant::now() + patience) => {}
        }
        let second = self
            .choose(question, tried)
            .filter(|(_, rank)| *rank == Rank::Good)
            .filter(|_| self.retries.may_hedge());
        let Some((other, _)) = second else {
            return (node, first.await);
        };
        tried.push(other.index);
        let mut second = Box::pin(one(other.index));
        // The loser goes on by itself, so that it is judged by what it does. A failure is not a
        // win: then the other one is waited for.
        let (winner, rest, failed) = tokio::select! {
            outcome = &mut first => match outcome {
                Ok(answer) => ((node, Ok(answer)), Some(second), None),
                Err(error) => ((other, second.await), None, Some((node, error))),
            },
            outcome = &mut second => match outcome {
                Ok(answer) => ((other, Ok(answer)), Some(first), None),
                Err(error) => ((node, first.await), None, Some((other, error))),
            },
        };
        observe::hedged(winner.0.index == other.index);
        if let Some(rest) = rest {
            tokio::spawn(rest);
        }
        if let Some((loser, _)) = failed {
            loser
                .fitness
                .failed(question.method.name, std::time::Instant::now());
        }
        winner
    }

    /// The best endpoint not tried yet: best rank, then lowest order, then the better of two drawn
    /// at random by answering time and load.
    fn choose(&self, question: &Question, tried: &[usize]) -> Option<(&Node, Rank)> {
        let now = std::time::Instant::now();
        let tags = self.chain.tags().unwrap_or_default();
        let mut best: Option<(Rank, u32)> = None;
        let mut among: [usize; 16] = [0; 16];
        let mut count = 0;
        for node in &self.pool.0.nodes {
            if node.send_only || tried.contains(&node.index) {
                continue;
            }
            let Some(rank) = self.rank(node, question, tags, now) else {
                continue;
            };
            let key = (rank, node.order);
            if best.is_none_or(|best| key < best) {
                best = Some(key);
                count = 0;
            }
            if best == Some(key) && count < among.len() {
                among[count] = node.index;
                count += 1;
            }
        }
        let (rank, _) = best?;
        let nodes = &self.pool.0.nodes;
        let picked = match (count, rank, question.needs) {
            (1, _, _) => among[0],
            // A block nobody is known to have: whoever is furthest.
            (_, Rank::Behind, _) => {
                let furthest = among[..count].iter().copied().max_by_key(|index| {
                    let condition = nodes[*index].condition();
                    condition.head.map(|head| head.number)
                });
                furthest.unwrap_or(among[0])
            }
            _ => {
                let mut rng = rand::rng();
                let first = rng.random_range(0..count);
                let mut second = rng.random_range(0..count - 1);
                if second >= first {
                    second += 1;
                }
                let cost = |at: usize| {
                    let node = &nodes[among[at]];
                    (node.latency_micros() + 1)
                        .saturating_mul(u64::from(node.fitness.in_flight()) + 1)
                };
                among[if cost(second) < cost(first) {
                    second
                } else {
                    first
                }]
            }
        };
        Some((&nodes[picked], rank))
    }

    fn rank(
        &self,
        node: &Node,
        question: &Question,
        tags: Tags,
        now: std::time::Instant,
    ) -> Option<Rank> {
        let (state, head) = {
            let condition = node.condition();
            (condition.state, condition.head)
        };
        let well = match state {
            NodeState::InvalidChainId => return None,
            NodeState::Alive => true,
            NodeState::OutOfSync => false,
            _ => return Some(Rank::Lost),
        };
        let at = head.map_or(0, |head| head.number);
        let has_block = match question.needs {
            Needs::Nothing => true,
            _ if node.fitness.strays() => false,
            Needs::Number(number) => at >= number && self.is_on_our_branch(head, tags),
            Needs::Tip | Needs::Hash => at >= tags.latest && self.is_on_our_branch(head, tags),
        };
        Some(
            match (
                has_block,
                well,
                node.fitness.is_fit(question.method.name, now),
            ) {
                (false, _, _) => Rank::Behind,
                (true, _, false) => Rank::Unfit,
                (true, false, true) => Rank::Degraded,
                (true, true, true) => Rank::Good,
            },
        )
    }

    /// False only where we know better: the endpoint stands on another block at a height of ours.
    fn is_on_our_branch(&self, head: Option<crate::node::Spot>, tags: Tags) -> bool {
        let Some(head) = head else { return false };
        if head.number != tags.latest {
            return true;
        }
        self.chain
            .hash_at(head.number)
            .is_none_or(|hash| hash == head.hash)
    }

    /// A block at or below the tip that no endpoint has just now may be imported any moment.
    async fn wait_for_block(&self, question: &Question, deadline: Instant) {
        if !self.should_exist(question) {
            return;
        }
        let until = deadline.min(Instant::now() + BLOCK_WAIT);
        let mut seen = None;
        loop {
            match self.choose(question, &[]) {
                Some((_, Rank::Behind)) => {}
                _ => return,
            }
            let seen = seen.get_or_insert_with(|| self.pool.0.seen.subscribe());
            if !matches!(timeout_at(until, seen.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Whether the question is about a block of our chain, so that somebody has to have it.
    fn should_exist(&self, question: &Question) -> bool {
        match question.needs {
            Needs::Number(number) => self.chain.tags().is_none_or(|tags| number <= tags.latest),
            Needs::Tip => true,
            Needs::Nothing | Needs::Hash => false,
        }
    }

    /// `null` from an endpoint that should have had something to say.
    fn is_doubtful(&self, question: &Question, node: &Node, result: &Bytes) -> bool {
        if &result[..] != b"null" {
            return false;
        }
        let Some(tags) = self.chain.tags() else {
            return false;
        };
        match question.method.at {
            At::Hash => true,
            At::Transaction => {
                let head = node.condition().head;
                head.is_none_or(|head| head.number < tags.latest)
            }
            At::Param(0) => {
                matches!(question.needs, Needs::Number(number) if number <= tags.latest)
                    || question.needs == Needs::Hash
            }
            _ => false,
        }
    }

    /// Nobody gave any answer.
    pub(crate) fn nobody(&self, failures: &[RpcError]) -> Answer {
        // Which endpoint and why is for the operator: the status page and the log have it.
        let (code, text) = match failures.last() {
            Some(RpcError::Timeout { .. }) => (-32002, "request timed out at every upstream asked"),
            Some(RpcError::RateLimited { .. }) => (-32005, "every upstream asked is rate limited"),
            Some(RpcError::TooLarge { .. }) => (-32003, "response too large"),
            Some(_) => (-32603, "no upstream answered"),
            None => (-32603, "no upstream is available"),
        };
        observe::unanswered(text, failures);
        Answer::error(code, text)
    }
}

/// "retry after 7 s" of a rate limit, bounded.
fn retry_after(error: &RpcError) -> Option<Duration> {
    let RpcError::RateLimited { message, .. } = error else {
        return None;
    };
    let (_, rest) = message.split_once("retry after ")?;
    let seconds: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(300)))
}
