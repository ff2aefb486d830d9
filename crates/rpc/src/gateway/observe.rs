//! What the gateway tells the world: log lines and metrics.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, gauge, histogram};
use tracing::{debug, error, info, warn};

use super::class::Class;
use super::envelope::Answer;
use super::method::Method;
use crate::error::RpcError;
use crate::send::SendOutcome;

struct OfMethod {
    answered: Counter,
    refused: Counter,
    seconds: Histogram,
}

/// By the method's name, which is one of the table or `other`.
static METHODS: OnceLock<RwLock<HashMap<&'static str, OfMethod>>> = OnceLock::new();

/// A client got its answer.
pub(crate) fn answered(method: &'static Method, answer: &Answer, took: Duration) {
    let methods = METHODS.get_or_init(RwLock::default);
    let record = |of: &OfMethod| {
        match answer {
            Answer::Result(_) => &of.answered,
            Answer::Error(_) | Answer::Nameless(_) => &of.refused,
        }
        .increment(1);
        of.seconds.record(took.as_secs_f64());
    };
    if let Some(of) = methods
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(method.name)
    {
        return record(of);
    }
    let name = method.name;
    let requests = |outcome: &'static str| counter!("dodona_gateway_requests_total", "method" => name, "outcome" => outcome);
    let fresh = OfMethod {
        answered: requests("result"),
        refused: requests("error"),
        seconds: histogram!("dodona_gateway_request_seconds", "method" => name),
    };
    record(&fresh);
    methods
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(name, fresh);
}

/// An upstream answered with an error.
pub(crate) fn refused(upstream: &str, class: Class) {
    let class = match class {
        Class::Final => "final",
        Class::Params => "params",
        Class::RateLimited => "rate_limited",
        Class::MissingBlock => "missing_block",
        Class::MissingState => "missing_state",
        Class::NoMethod => "no_method",
        Class::RangeTooLarge => "range_too_large",
        Class::Internal => "internal",
    };
    counter!("dodona_gateway_upstream_errors_total", "upstream" => upstream.to_owned(), "class" => class).increment(1);
}

/// No upstream gave any answer. What each of them did is for the operator alone.
pub(crate) fn unanswered(text: &str, failures: &[RpcError]) {
    counter!("dodona_gateway_unanswered_total").increment(1);
    let reasons: Vec<String> = failures.iter().map(ToString::to_string).collect();
    debug!("a request got no answer ({text}): {}", reasons.join("; "));
}

pub(crate) fn hedged(won: bool) {
    counter!("dodona_gateway_hedges_total", "won" => if won { "yes" } else { "no" }).increment(1);
}

pub(crate) fn retry_budget_empty() {
    counter!("dodona_gateway_retry_budget_empty_total").increment(1);
}

/// `null` was not believed and somebody else was asked.
pub(crate) fn null_doubted() {
    counter!("dodona_gateway_nulls_doubted_total").increment(1);
}

pub(crate) fn sent(outcome: &SendOutcome) {
    let result = if outcome.is_success() {
        "taken"
    } else {
        "refused"
    };
    counter!("dodona_gateway_transactions_total", "result" => result).increment(1);
}

pub(crate) fn following(number: u64) {
    info!("the gateway follows the chain from block {number}");
}

pub(crate) fn reorganised(removed: usize, fork: u64) {
    counter!("dodona_gateway_reorganisations_total").increment(1);
    info!("the chain was reorganised: {removed} blocks above {fork} were replaced");
}

/// The outage was too long to be made up for.
pub(crate) fn gap(from: u64, to: u64) {
    counter!("dodona_gateway_gaps_total").increment(1);
    error!(
        "the chain went from block {from} to {to} while no upstream could be followed: subscriptions are ended, clients have to look back themselves"
    );
}

pub(crate) fn fatal_gap() {
    counter!("dodona_gateway_subscription_gaps_total").increment(1);
}

pub(crate) fn tip_lowered(number: u64) {
    warn!(
        "no upstream that is left has the newest block: the gateway speaks about block {number} until one has"
    );
}

/// An upstream stands on another branch than the one the gateway speaks about.
pub(crate) fn strays(upstream: &str, number: u64) {
    counter!("dodona_gateway_strays_total", "upstream" => upstream.to_owned()).increment(1);
    info!(
        endpoint.name = upstream,
        "upstream {upstream} shows a block {number} of another branch and is not asked until it is back on ours"
    );
}

/// An upstream's logs of a block are fewer than the block's bloom says.
pub(crate) fn logs_missing(upstream: &str, number: u64) {
    counter!("dodona_gateway_logs_missing_total", "upstream" => upstream.to_owned()).increment(1);
    warn!(
        endpoint.name = upstream,
        "upstream {upstream} gives fewer logs of block {number} than its header promises; another one is asked"
    );
}

/// Nobody's logs fit the header's bloom; the longest list is told.
pub(crate) fn logs_unproven(number: u64) {
    counter!("dodona_gateway_logs_unproven_total").increment(1);
    error!(
        "no upstream gives logs of block {number} that fit its header: the longest list is passed on"
    );
}

pub(crate) fn finality_conflict(one: &str, other: &str, number: u64) {
    gauge!("dodona_gateway_finality_conflict").set(1.0);
    error!(
        "upstreams {one} and {other} have different finalized blocks {number}: one of them is on another chain; find out which and remove it"
    );
}

pub(crate) fn slow_client() {
    counter!("dodona_gateway_slow_clients_closed_total").increment(1);
}

pub(crate) fn listening(address: SocketAddr) {
    info!("the gateway listens on http://{address} and ws://{address}");
}

pub(crate) fn draining(connections: usize) {
    info!("the gateway stops: {connections} connections are finished first");
}

pub(crate) fn accept_failed(cause: &std::io::Error) {
    warn!(
        "a connection could not be accepted: {cause}; if this goes on, raise the limit of open files"
    );
}

/// Counts a WebSocket client while it is there.
pub(crate) struct SocketOpen;

impl SocketOpen {
    pub(crate) fn new() -> Self {
        gauge!("dodona_gateway_sockets").increment(1.0);
        Self
    }
}

impl Drop for SocketOpen {
    fn drop(&mut self) {
        gauge!("dodona_gateway_sockets").decrement(1.0);
    }
}

/// What is true now, for the scrape.
#[allow(
    clippy::cast_precision_loss,
    reason = "block numbers stay far below 2^53"
)]
pub(crate) fn now(tip: Option<u64>, filters: usize) {
    if let Some(tip) = tip {
        gauge!("dodona_gateway_tip").set(tip as f64);
    }
    gauge!("dodona_gateway_filters").set(filters as f64);
}
