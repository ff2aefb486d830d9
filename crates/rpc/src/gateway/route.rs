//! Which endpoint is asked, and who is asked next when that did not help.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::{Instant, sleep, timeout_at};

use super::Core;
use super::block::Needs;
use super::class::Class;
use super::envelope::{Answer, error_bytes};
use super::hedge::{UnderWay, hedge_after, race};
use super::method::Kind;
use super::observe;
use super::question::{Asked, Question};
use super::quoted;
use super::rank::Rank;
use crate::error::RpcError;
use crate::node::{Forwarded, Node};
use crate::patience::{Allowance, Patience};
use crate::refusal::is_about_width;

/// Different endpoints asked before the last answer counts.
const ATTEMPTS: usize = 4;
/// Endpoints asked about a question, by their index.
type Tried = SmallVec<[usize; ATTEMPTS]>;
/// Nobody has the block yet: so long somebody may import it.
const BLOCK_WAIT: Duration = Duration::from_secs(2);
/// However long an endpoint wants to be left alone, it is tried again after so many seconds.
const LONGEST_WAIT: f64 = 60.0;
impl Core {
    /// Asks until there is an answer worth giving, or time and endpoints run out.
    pub(crate) fn ask<'a>(
        self: &'a Arc<Self>,
        question: &'a Question,
        repeatable: bool,
    ) -> impl Future<Output = Asked> + use<'a> {
        self.ask_others(question, repeatable, None)
    }

    /// The same of anybody but this one.
    pub(crate) async fn ask_others(
        self: &Arc<Self>,
        question: &Question,
        repeatable: bool,
        but: Option<usize>,
    ) -> Asked {
        let (total, attempt) = self.deadlines(question.method.kind);
        let began = Instant::now();
        let deadline = began + total;
        // As long as nothing was waited for, it is now.
        let mut fresh = Some(began);
        let mut asked = 0;
        let mut tried = Tried::from_iter(but);
        let mut last: Option<Asked> = None;
        let mut failures: Vec<RpcError> = Vec::new();
        let mut params_doubted = false;
        // The last one said that the request itself is wrong, or means nothing to them.
        let mut wrong = false;
        // Somebody said they do not have a block that is on our chain.
        let mut missing = false;
        // Somebody said that fewer blocks would do.
        let mut too_large = false;
        // Whose answers were not believed.
        let mut doubted: Vec<usize> = Vec::new();
        let patience = deadline.min(began + BLOCK_WAIT);
        let mut news = None;
        let (mut first, mut free) = (true, false);
        let name = question.name();

        let mut chosen = self.choose(question, &tried);
        if matches!(chosen, Some((_, Rank::Behind))) && self.should_exist(question) {
            chosen = Box::pin(self.wait_for_block(question, &tried, deadline)).await;
            fresh = None;
        }
        while tried.len() < ATTEMPTS && (first || Instant::now() < deadline) {
            let next = chosen
                .take()
                .or_else(|| self.choose(question, &tried))
                // An answer from somebody who may not have the block is only better than none.
                .filter(|(_, rank)| *rank < Rank::Behind || last.is_none());
            let Some((node, rank)) = next else {
                if last.is_none()
                    && let Some(wait) = self.all_hold_back(question, &[])
                    && Instant::now() + wait < deadline
                {
                    observe::waited_for_quota();
                    Box::pin(sleep(wait)).await;
                    fresh = None;
                    tried.clear();
                    continue;
                }
                if !missing || !self.should_exist(question) {
                    break;
                }
                // It will be imported any moment, by them or by others.
                let news = news.get_or_insert_with(|| self.pool.0.seen.subscribe());
                if !matches!(
                    Box::pin(timeout_at(patience, news.changed())).await,
                    Ok(Ok(()))
                ) {
                    break;
                }
                tried.clear();
                continue;
            };
            if rank == Rank::Unfit
                && let Some(wait) = self.all_hold_back(question, &tried)
            {
                // Asking all the same would only make it worse.
                if Instant::now() + wait < deadline {
                    observe::waited_for_quota();
                    Box::pin(sleep(wait)).await;
                    fresh = None;
                    continue;
                }
                failures.push(RpcError::RateLimited {
                    node: node.name.to_string(),
                    message: format!("retry after {} s", wait.as_secs_f64().ceil()),
                });
                break;
            }
            tried.push(node.index);
            if rank == Rank::Lost {
                fresh = None;
                if let Err(error) = Box::pin(node.ensure_verified()).await {
                    failures.push(error);
                    continue;
                }
            }
            asked += 1;
            self.retries.asked(question.purse);
            let paid_for = std::mem::take(&mut first) | std::mem::take(&mut free);
            if !paid_for {
                // What is wrong with the request takes nothing from what failures may cost.
                let may = match std::mem::take(&mut wrong) {
                    true => self.retries.may_ask_for_an_opinion(question.purse),
                    false => self.retries.may_retry(question.purse),
                };
                if !may {
                    observe::retry_budget_empty();
                    break;
                }
            }
            let started = fresh.take().unwrap_or_else(Instant::now);
            let left = deadline.saturating_duration_since(started);
            let time = Allowance {
                since: started,
                within: match self.has_nobody_else(node) {
                    true => left,
                    false => attempt.min(left),
                },
            };
            let (node, outcome) = self
                .attempt(question, node, time, &mut tried, repeatable)
                .await;
            let now = Instant::now();
            let from = Some(node.index);
            let by = from.filter(|_| rank < Rank::Behind);
            match outcome {
                Ok(Forwarded::Result(result)) => {
                    node.fitness.did_well(name, now - started, now);
                    if question.span > 0 {
                        node.range_went_well(question.span);
                    }
                    let doubtful = self.is_doubtful(question, node, &result);
                    let elsewhere = !doubtful && question.may_be_known_to_others(&result);
                    let answer = Answer::Result(result);
                    // What was doubted is not kept.
                    let came = Asked {
                        from,
                        by: by.filter(|_| !doubtful),
                        ..answer.into()
                    };
                    if elsewhere {
                        // No failure, so others are asked at nobody's expense.
                        free = true;
                        last = Some(came);
                        continue;
                    }
                    if !doubtful {
                        self.found_out(question, &doubted, &came.answer);
                        return came;
                    }
                    observe::null_doubted();
                    doubted.push(node.index);
                    missing |= question.waits();
                    last = Some(came);
                }
                Ok(Forwarded::Refused(refusal, bytes)) => {
                    let (class, own) = quoted::class(question, &refusal, &self.pool.0.overrides);
                    observe::refused(&node.name, class);
                    wrong = matches!(class, Class::Params | Class::NoMethod);
                    // That less would do is more than somebody else's trouble.
                    too_large |= class == Class::RangeTooLarge;
                    if !too_large || class == Class::RangeTooLarge || class == Class::Final {
                        last = Some(Asked {
                            from,
                            ..Answer::Error(bytes).into()
                        });
                    }
                    match class {
                        Class::Final => break,
                        Class::RangeTooLarge => {
                            if is_about_width(&own.message) {
                                node.range_was_too_large(question.span, &own.message);
                            }
                            // Somebody may be known to take more; else it has to be split.
                            if !self.takes_more(question, &tried) {
                                break;
                            }
                        }
                        Class::Params if params_doubted => break,
                        Class::Params => params_doubted = true,
                        Class::RateLimited => {
                            node.gate.had_trouble(now);
                            node.fitness.hold_back(now, said_wait(&own.message));
                        }
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
                    let not_done =
                        matches!(error, RpcError::RateLimited { .. } | RpcError::Busy { .. });
                    match &error {
                        RpcError::RateLimited { message, .. } => {
                            node.fitness.hold_back(now, said_wait(message));
                        }
                        RpcError::Busy { .. } => {}
                        // What was asked is large, and that is not its fault; nor is it of others who ask.
                        RpcError::TooLarge { .. } | RpcError::RequestTooLarge { .. } => {}
                        _ => {
                            node.fitness.failed(name, now);
                        }
                    }
                    failures.push(error);
                    if !repeatable && !not_done {
                        break;
                    }
                }
            }
        }
        last.unwrap_or_else(|| Asked {
            lost: Some(Box::new(self.pool.0.no_answer(failures.clone(), asked))),
            ..self.nobody(&failures).into()
        })
    }

    /// Somebody has the logs that others said there are none of.
    fn found_out(&self, question: &Question, doubted: &[usize], answer: &Answer) {
        let Some(wanted) = &question.looks_for else {
            return;
        };
        if matches!(answer, Answer::Result(result) if &result[..] == b"[]") {
            return;
        }
        for index in doubted {
            let node = &self.pool.0.nodes[*index];
            observe::logs_missing(&node.name, wanted.last);
            // An index that is only late does not do it three times in a row.
            node.fitness.failed(question.name(), Instant::now());
        }
    }

    /// Whether nobody else would be asked in the time that is left. The node's own questions keep to
    /// the time its operator gave them.
    fn has_nobody_else(&self, node: &Node) -> bool {
        match (self.patience, self.pool.0.usable.count()) {
            (Some(_), _) => false,
            // All are away: whoever comes back first should be found.
            (None, 0) => self.pool.0.primaries().count() == 1,
            (None, 1) => node.state().is_readable(),
            (None, _) => false,
        }
    }

    /// All attempts together, and each of them.
    fn deadlines(&self, kind: Kind) -> (Duration, Duration) {
        let (total, attempt) = kind.deadlines();
        match self.patience {
            // Where an endpoint may take so long, another one has to have time after it.
            Some(patience) => (total.max(2 * patience), patience),
            None => (total, attempt),
        }
    }

    /// One endpoint, and a second one beside it when the first takes unusually long.
    async fn attempt<'a>(
        self: &'a Arc<Self>,
        question: &'a Question,
        node: &'a Node,
        time: Allowance,
        tried: &mut Tried,
        repeatable: bool,
    ) -> (&'a Node, Result<Forwarded, RpcError>) {
        let one = |index: usize, time: Allowance| {
            let core = Arc::clone(self);
            let (id, body) = question.encoded();
            let name: std::borrow::Cow<'static, str> = match &question.unknown {
                Some(name) => name.to_string().into(),
                None => question.method.name.into(),
            };
            let priority = question.priority(core.chain.tags().map_or(0, |tags| tags.latest));
            async move {
                core.pool.0.nodes[index]
                    .forward(id, &name, body, time, priority)
                    .await
            }
        };
        let hedges = repeatable && matches!(question.method.kind, Kind::Light | Kind::Call);
        let under_way = |node: &'a Node, time| {
            let of = (node, question.name());
            UnderWay::new(self, of, one(node.index, time))
        };
        let mut first = under_way(node, time);
        if matches!(question.method.kind, Kind::Logs | Kind::Trace) {
            // Heavy, so the endpoint is told by the end of its connection that nobody waits.
            return (node, first.left_alone().await);
        }
        if !hedges || self.pool.0.nodes.len() < 2 {
            return (node, first.await);
        }
        let patience = hedge_after(node, 1);
        tokio::select! {
            biased;
            outcome = &mut first => return (node, outcome),
            () = Patience::until(time.since + patience) => {}
        }
        let second = self
            .choose(question, tried)
            .filter(|(_, rank)| *rank == Rank::Good)
            .filter(|_| self.retries.may_hedge());
        let Some((other, _)) = second else {
            return (node, first.await);
        };
        tried.push(other.index);
        // Rare, so no part of what every question takes in memory.
        let second = under_way(other, Allowance::from_now(time.within));
        Box::pin(race(first, second)).await
    }

    /// Who is asked, once somebody has the block or nobody gets it in time: one at or below the tip
    /// that no endpoint has just now may be imported any moment.
    async fn wait_for_block(
        &self,
        question: &Question,
        tried: &[usize],
        deadline: Instant,
    ) -> Option<(&Node, Rank)> {
        let until = deadline.min(Instant::now() + BLOCK_WAIT);
        let mut seen = self.pool.0.seen.subscribe();
        loop {
            // Looked at once more: it may have come before there was somebody to be told.
            let chosen = self.choose(question, tried);
            if !matches!(chosen, Some((_, Rank::Behind)))
                || !matches!(timeout_at(until, seen.changed()).await, Ok(Ok(())))
            {
                return chosen;
            }
        }
    }

    /// Whether the question is about a block of our chain, so that somebody has to have it.
    pub(super) fn should_exist(&self, question: &Question) -> bool {
        match question.needs {
            Needs::Number(number) => self.chain.tags().is_none_or(|tags| number <= tags.latest),
            Needs::Tip | Needs::Pending => true,
            Needs::Nothing | Needs::Hash => false,
        }
    }

    /// Nobody gave any answer.
    pub(crate) fn nobody(&self, failures: &[RpcError]) -> Answer {
        // Which endpoint and why is for the operator: the status page and the log have it.
        let last = failures.last();
        // That one is away says less than that another one may be asked soon.
        let waits = failures
            .iter()
            .rev()
            .find(|failure| failure.wait().is_some());
        let (code, text) = match waits
            .filter(|_| last.is_some_and(RpcError::is_transport))
            .or(last)
        {
            Some(RpcError::Timeout { .. }) => (-32002, "request timed out at every upstream asked"),
            Some(limited @ RpcError::RateLimited { .. }) => {
                let wait = limited.wait().unwrap_or_default();
                return later("every upstream asked is rate limited", wait, failures);
            }
            Some(RpcError::Busy { retry_after, .. }) => {
                let text = "every upstream asked is asked as much as it may be";
                return later(text, *retry_after, failures);
            }
            Some(RpcError::TooLarge { .. }) => (-32003, "response too large"),
            Some(RpcError::RequestTooLarge { .. }) => (
                -32600,
                "request too large for the upstreams, or for what stands before them (HTTP 413)",
            ),
            Some(_) => (-32603, "no upstream answered"),
            None => (-32603, "no upstream is available"),
        };
        observe::unanswered(text, failures);
        Answer::error(code, text)
    }
}

/// Nobody can be asked now, and somebody can be soon.
pub(super) fn later(text: &'static str, wait: Duration, failures: &[RpcError]) -> Answer {
    observe::unanswered(text, failures);
    let wait = wait.min(Duration::from_secs_f64(LONGEST_WAIT));
    let words = format!("{text}; retry after {:.1} s", wait.as_secs_f64());
    Answer::Later(error_bytes(-32005, &words), wait)
}

/// What stands before the time a rate limit lasts.
pub(super) const WAIT_WORDS: &[&str] = &["retry after ", "try again in ", "retry in ", "backoff "];

/// How long a rate limit says to wait, in any of the words in use; bounded.
pub(crate) fn said_wait(message: &str) -> Option<Duration> {
    let lower = message.to_lowercase();
    let rest = WAIT_WORDS
        .iter()
        .find_map(|words| lower.split_once(words).map(|(_, rest)| rest))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = rest.split_at(digits.unwrap_or(rest.len()));
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim_start() {
        unit if unit.starts_with("ms") || unit.starts_with("milli") => number / 1000.0,
        unit if unit.starts_with('m') => number * 60.0,
        _ => number,
    };
    Some(Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_WAIT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limits_say_how_long_in_many_words() {
        let millis = |text: &str| said_wait(text).map(|wait| wait.as_millis());
        assert_eq!(millis("HTTP 429, retry after 7 s"), Some(7000));
        assert_eq!(millis("Too many requests, try again in 250ms"), Some(250));
        assert_eq!(millis("retry in 1.5s please"), Some(1500));
        assert_eq!(millis("retry after 99999999"), Some(60_000));
        assert_eq!(millis("Retry after 2 minutes"), Some(60_000));
        assert_eq!(millis("daily request count exceeded"), None);
        assert_eq!(millis("retry after Fri, 27 Nov 2026"), None);
    }
}
