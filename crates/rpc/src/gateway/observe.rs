//! What gateway and pool tell the world: log lines and metrics. A node has a pool for each chain, so
//! what is true of one chain names it.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, gauge, histogram};
use tracing::{debug, error, info, warn};

use super::class::Class;
use super::envelope::Answer;
use super::method::Method;
use super::proofs::Why;
use super::reload::Reloaded;
use crate::by_name::ByName;
use crate::error::RpcError;
use crate::observe::{RECEIPTS_ROOT_SECONDS, REQUEST_SECONDS};

struct OfMethod {
    answered: Counter,
    refused: Counter,
    seconds: Histogram,
}

thread_local! {
    /// By the method's name, which is one of the table or `other`. Each thread has handles of its
    /// own, all to the same metrics: nobody stands in line for them.
    static METHODS: RefCell<ByName<&'static str, OfMethod>> = RefCell::default();
}

/// A client got its answer.
pub(crate) fn answered(method: &'static Method, answer: &Answer, took: Duration) {
    METHODS.with_borrow_mut(|methods| {
        let of = methods.entry(method.name).or_insert_with_key(|name| {
            let requests = |outcome: &'static str| counter!("dodona_gateway_requests_total", "method" => *name, "outcome" => outcome);
            OfMethod {
                answered: requests("result"),
                refused: requests("error"),
                seconds: histogram!(REQUEST_SECONDS.0, "method" => *name),
            }
        });
        match answer {
            Answer::Result(_) => &of.answered,
            Answer::Error(_) | Answer::Later(..) | Answer::Nameless(_) => &of.refused,
        }
        .increment(1);
        of.seconds.record(took.as_secs_f64());
    });
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

/// Somebody asked what somebody else was asking just then.
pub(crate) fn joined() {
    counter!("dodona_gateway_coalesced_total").increment(1);
}

pub(crate) fn looked_up(found: bool) {
    static HITS: OnceLock<Counter> = OnceLock::new();
    static MISSES: OnceLock<Counter> = OnceLock::new();
    let counter = match found {
        true => HITS.get_or_init(|| counter!("dodona_gateway_cache_hits_total")),
        false => MISSES.get_or_init(|| counter!("dodona_gateway_cache_misses_total")),
    };
    counter.increment(1);
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a cache stays far below 2^53 bytes"
)]
pub(crate) fn cached(chain_id: u64, bytes: u64) {
    gauge!("dodona_gateway_cache_bytes", "evmChainID" => chain_id.to_string()).set(bytes as f64);
}

/// Questions under way at an upstream, and how many it may have.
pub(crate) fn load(chain_id: u64, upstream: &str, (under_way, limit): (usize, u32)) {
    let under_way = u32::try_from(under_way).unwrap_or(u32::MAX);
    let of = |name: &'static str| gauge!(name, "evmChainID" => chain_id.to_string(), "upstream" => upstream.to_owned());
    of("dodona_gateway_upstream_in_flight").set(f64::from(under_way));
    of("dodona_gateway_upstream_limit").set(f64::from(limit));
}

/// So many questions of a batch were put together, and so many came back well.
pub(crate) fn batched(asked: usize, well: usize) {
    counter!("dodona_gateway_batched_total").increment(asked as u64);
    counter!("dodona_gateway_batched_again_total").increment((asked - well) as u64);
}

/// A question waited because everybody who could answer it asked for a pause.
pub(crate) fn waited_for_quota() {
    counter!("dodona_gateway_waited_for_quota_total").increment(1);
}

pub(crate) fn sent(taken: bool) {
    let result = if taken { "taken" } else { "refused" };
    counter!("dodona_gateway_transactions_total", "result" => result).increment(1);
}

/// A transaction was sent again to an upstream that came back.
pub(crate) fn resent(upstream: &str) {
    counter!("dodona_gateway_transactions_resent_total", "upstream" => upstream.to_owned())
        .increment(1);
}

pub(crate) fn only_one_upstream(chain_id: u64) {
    warn!(
        chain.id = chain_id,
        "chain {chain_id} has only one upstream to read from: its loss is an outage; add another one"
    );
}

pub(crate) fn only_one_program(chain_id: u64, program: &str) {
    warn!(
        chain.id = chain_id,
        "all upstreams of chain {chain_id} run {program}: a bug of that program is a bug of all of them; add one that runs another"
    );
}

pub(crate) fn following(chain_id: u64, number: u64) {
    info!(
        chain.id = chain_id,
        "chain {chain_id} is followed from block {number}"
    );
}

pub(crate) fn reorganised(chain_id: u64, removed: usize, fork: u64) {
    counter!("dodona_gateway_reorganisations_total").increment(1);
    info!(
        chain.id = chain_id,
        "chain {chain_id} was reorganised: {removed} blocks above {fork} were replaced"
    );
}

/// The outage was too long to be made up for.
pub(crate) fn gap(chain_id: u64, from: u64, to: u64) {
    counter!("dodona_gateway_gaps_total").increment(1);
    error!(
        chain.id = chain_id,
        "chain {chain_id} went from block {from} to {to} while no upstream could be followed: subscriptions are ended, clients have to look back themselves"
    );
}

pub(crate) fn fatal_gap() {
    counter!("dodona_gateway_subscription_gaps_total").increment(1);
}

pub(crate) fn tip_lowered(chain_id: u64, number: u64) {
    warn!(
        chain.id = chain_id,
        "no upstream of chain {chain_id} that is left has the newest block: block {number} is spoken about until one has"
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

/// An upstream's logs of a block are fewer than the block's bloom or their own numbers say.
pub(crate) fn logs_missing(upstream: &str, number: u64) {
    counter!("dodona_gateway_logs_missing_total", "upstream" => upstream.to_owned()).increment(1);
    warn!(
        endpoint.name = upstream,
        "upstream {upstream} gives fewer logs of block {number} than its header or their numbers promise; another one is asked"
    );
}

/// Asked for the logs of one block, an upstream gave fewer than another one.
pub(crate) fn logs_fewer(upstream: &str, number: u64, gives: usize, of: usize) {
    counter!("dodona_gateway_logs_missing_total", "upstream" => upstream.to_owned()).increment(1);
    warn!(
        endpoint.name = upstream,
        "upstream {upstream} gives {gives} of {of} logs of block {number} that others give: it is not asked for logs for a while; look at its database"
    );
}

/// Two upstreams give logs of one block that are not the same, and neither is proven wrong.
pub(crate) fn logs_differ(upstream: &str, number: u64) {
    counter!("dodona_gateway_logs_differ_total", "upstream" => upstream.to_owned()).increment(1);
    warn!(
        endpoint.name = upstream,
        "upstream {upstream} gives other logs of block {number} than another one, and both fit its header: find out which one is right with the receipts of the block"
    );
}

/// Whether logs are proven became another matter than it was.
pub(crate) fn logs_are_proven(chain_id: u64, why_not: Option<Why>) {
    gauge!("dodona_gateway_logs_verified", "evmChainID" => chain_id.to_string())
        .set(if why_not.is_none() { 1.0 } else { 0.0 });
    match why_not {
        None => info!(
            chain.id = chain_id,
            "logs of chain {chain_id} for subscribers and filters are proven by the receipts of their blocks"
        ),
        Some(Why::Settings | Why::TooFast) => info!(
            chain.id = chain_id,
            "logs of chain {chain_id} are not proven by receipts, because {}: they are compared with the blooms in headers",
            why_not.map(|why| why.to_string()).unwrap_or_default()
        ),
        Some(why) => warn!(
            chain.id = chain_id,
            "logs of chain {chain_id} cannot be proven by receipts, because {why}: they are compared with the blooms in headers, which do not show a log that is missing beside one like it"
        ),
    }
}

/// The logs of a block were made sure of for whoever needs them.
pub(crate) fn logs_proven(proven: bool) {
    let by = if proven { "receipts" } else { "bloom" };
    counter!("dodona_gateway_logs_blocks_total", "proof" => by).increment(1);
}

/// Receipts were read, and their root was computed.
pub(crate) fn receipts_looked_at(took: Duration) {
    histogram!(RECEIPTS_ROOT_SECONDS.0).record(took.as_secs_f64());
}

/// An upstream's receipts do not fit the header, and another one's do.
pub(crate) fn receipts_wrong(upstream: &str, number: u64, why: &str) {
    counter!("dodona_gateway_receipts_wrong_total", "upstream" => upstream.to_owned()).increment(1);
    warn!(
        endpoint.name = upstream,
        "upstream {upstream} gives receipts of block {number} that {why}, and another one's fit: it is not asked for receipts for a while; look at its database"
    );
}

/// Nobody's receipts fit, so the logs of this block are as good as its bloom can tell.
pub(crate) fn no_receipts_fit(number: u64, wrong: usize) {
    match wrong {
        0 => debug!("no upstream gives receipts of block {number} now: its logs are not proven"),
        _ => warn!(
            "no upstream gives receipts of block {number} that fit its header ({wrong} gave others): its logs are not proven"
        ),
    }
}

/// An upstream's header does not make the hash of its block, and another one's does.
pub(crate) fn header_wrong(upstream: &str, number: u64) {
    counter!("dodona_gateway_headers_wrong_total", "upstream" => upstream.to_owned()).increment(1);
    warn!(
        endpoint.name = upstream,
        "upstream {upstream} gives a header of block {number} that does not make its hash, and another one's does: look at its database"
    );
}

/// Nobody gives all logs of a block now; whoever wants them waits.
pub(crate) fn logs_awaited(number: u64) {
    counter!("dodona_gateway_logs_awaited_total").increment(1);
    warn!(
        "no upstream gives all logs of block {number} that its header promises: subscribers wait until one does"
    );
}

/// Nobody's logs fit the header's bloom, on a chain where none ever did; the longest list is told.
pub(crate) fn logs_unproven(number: u64) {
    counter!("dodona_gateway_logs_unproven_total").increment(1);
    error!(
        "no upstream gives logs of block {number} that fit its header: the longest list is passed on"
    );
}

/// Endpoints with different lasting blocks at one height appeared, or are gone.
pub(crate) fn finality_conflict(chain_id: u64, is_there: bool, tie: bool) {
    gauge!("dodona_gateway_finality_conflict", "evmChainID" => chain_id.to_string())
        .set(if is_there { 1.0 } else { 0.0 });
    match (is_there, tie) {
        (false, _) => info!("all upstreams have the same lasting blocks again"),
        (true, false) => error!(
            "upstreams have different lasting blocks: those that are fewer are not asked; find out which side is right, and remove the other"
        ),
        (true, true) => error!(
            "upstreams have different lasting blocks, and as many stand on either side: the preferred one is believed; find out which side is right, and remove the other"
        ),
    }
}

pub(crate) fn slow_client() {
    counter!("dodona_gateway_slow_clients_closed_total").increment(1);
}

pub(crate) fn listening(address: SocketAddr, tls: bool) {
    let s = if tls { "s" } else { "" };
    info!("the gateway listens on http{s}://{address} and ws{s}://{address}");
}

/// Clients are answered that nobody is there.
pub(crate) fn chain_not_known(why: &str) {
    warn!(
        "no upstream says which chain it belongs to, so nobody can be answered yet; asking again (with --chain-id, or chain_id in the file, nobody has to be asked): {why}"
    );
}

pub(crate) fn chain_learned(chain_id: u64) {
    info!("the gateway is for chain {chain_id}, as its upstreams say");
}

pub(crate) fn draining(notice: Duration) {
    info!(
        "the gateway stops: it says so on /readyz for {} s, then finishes what it is answering",
        notice.as_secs()
    );
}

/// Somebody was not let in; why is one of a few words.
pub(crate) fn turned_away(why: &'static str) {
    counter!("dodona_gateway_turned_away_total", "why" => why).increment(1);
    debug!("a client was turned away: {why}");
}

/// A client went away before it was answered, and the work for it ended.
pub(crate) fn client_gone() {
    counter!("dodona_gateway_clients_gone_total").increment(1);
}

/// A client and we could not agree on TLS.
pub(crate) fn no_tls(peer: IpAddr, cause: &std::io::Error) {
    counter!("dodona_gateway_turned_away_total", "why" => "tls").increment(1);
    debug!("{peer} was turned away in the TLS handshake: {cause}");
}

pub(crate) fn over_quota(client: Option<&str>) {
    counter!("dodona_gateway_over_quota_total").increment(1);
    debug!(
        "{} has spent its quota",
        client.unwrap_or("a client without a name")
    );
}

pub(crate) fn reloaded(reloaded: &Reloaded) {
    counter!("dodona_gateway_reloads_total", "outcome" => "applied").increment(1);
    let upstreams = if reloaded.upstreams_changed {
        "with other upstreams"
    } else {
        "with the same upstreams"
    };
    info!(
        "the changed settings are in force, {upstreams} (generation {})",
        reloaded.generation
    );
    if !reloaded.not_applied.is_empty() {
        warn!(
            "these settings changed and need a restart to take effect: {}",
            reloaded.not_applied.join(", ")
        );
    }
}

pub(crate) fn reload_failed(why: &dyn std::fmt::Display) {
    counter!("dodona_gateway_reloads_total", "outcome" => "refused").increment(1);
    error!("the changed settings are not right, so nothing changes: {why}");
}

/// A certificate that runs out soon is somebody's work today.
pub(crate) fn certificate(left: Duration) {
    gauge!("dodona_gateway_certificate_expires_seconds").set(left.as_secs_f64());
}

pub(crate) fn certificate_ends_soon(left: Duration) {
    warn!(
        "the certificate expires in {} days: renew it; the new files are noticed by themselves",
        left.as_secs() / 86_400
    );
}

pub(crate) fn accept_failed(cause: &std::io::Error) {
    warn!(
        "a connection could not be accepted: {cause}; if this goes on, raise the limit of open files"
    );
}

/// A thread that would serve clients could not be had; the others serve its part.
pub(crate) fn no_worker(cause: &std::io::Error) {
    warn!("a thread to serve clients with could not be started: {cause}; others do its part");
}

static SOCKETS: AtomicU64 = AtomicU64::new(0);

/// WebSocket clients at present, of all gateways of this process.
pub(crate) fn sockets() -> u64 {
    SOCKETS.load(Ordering::Relaxed)
}

/// Counts a WebSocket client while it is there.
pub(crate) struct SocketOpen;

impl SocketOpen {
    pub(crate) fn new() -> Self {
        SOCKETS.fetch_add(1, Ordering::Relaxed);
        gauge!("dodona_gateway_sockets").increment(1.0);
        Self
    }
}

impl Drop for SocketOpen {
    fn drop(&mut self) {
        SOCKETS.fetch_sub(1, Ordering::Relaxed);
        gauge!("dodona_gateway_sockets").decrement(1.0);
    }
}

/// What is true now, for the scrape.
#[allow(
    clippy::cast_precision_loss,
    reason = "block numbers stay far below 2^53"
)]
pub(crate) fn now(tip: Option<u64>, filters: usize, generation: u64, reload_failed: bool) {
    gauge!("dodona_gateway_config_generation").set(generation as f64);
    gauge!("dodona_gateway_config_refused").set(if reload_failed { 1.0 } else { 0.0 });
    if let Some(tip) = tip {
        gauge!("dodona_gateway_tip").set(tip as f64);
    }
    gauge!("dodona_gateway_filters").set(filters as f64);
}
