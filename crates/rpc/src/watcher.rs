//! Watching endpoints: who is there, whose chain it is, how far it is, and when it says so.
//!
//! Per endpoint one loop keeps it verified and polled, and another one keeps its WebSocket
//! connected and subscribed. Without a subscription heads are polled; a subscription that goes
//! silent is noticed by comparing it with a poll.

mod pending;
mod socket;

use std::future::{Future, pending};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::pending::poll_pending;
use self::socket::keep_connected;
use crate::dice::Dice;
use crate::endpoints::Shared;
use crate::error::RpcError;
use crate::gateway::said_wait;
use crate::head::{BlockTag, Head};
use crate::node::{LAST_PATIENCE, Node};
use crate::observe;
use crate::quantity::Small;
use crate::status::{NodeReport, NodeState, Verified};
use crate::sync::{Progress, SyncLimits, judged};
use crate::ws::{Connection, Link, WsEndpoint};

/// Heads are polled so often where no subscription brings them.
const HEAD_POLL: Duration = Duration::from_secs(1);
/// Every so many health polls the endpoint is asked for its chain again.
const CHAIN_CHECK_POLLS: u32 = 6;
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
const STATES_EVERY: Duration = Duration::from_millis(6500);
/// So many polls in a row that were answered with "too many", and its head is not known any more.
const THROTTLED_POLLS: u32 = 2;
/// Whoever wants to be left alone for longer is not known at once.
const LONG_WAIT: Duration = Duration::from_secs(5);
const SYNCING: &str = "it says itself that it is still syncing";

/// Runs until `stop` is done.
pub(crate) async fn watch(pool: &Shared, stop: impl Future<Output = ()>) {
    let nodes = join_all(pool.nodes.iter().map(|node| async move {
        if node.send_only {
            return watch_send_only(&pool.dice, node).await;
        }
        match &node.ws {
            Some(ws) if needs_ws(pool, node) => {
                tokio::join!(watch_primary(pool, node), keep_connected(pool, node, ws));
            }
            _ => {
                tokio::join!(watch_primary(pool, node), poll_pending(pool, node));
            }
        }
    }));
    tokio::select! {
        () = stop => {}
        _ = nodes => {}
        () = report_states(pool) => {}
    }
    for node in &pool.nodes {
        if let Some(ws) = &node.ws {
            ws.set(Link::Down(Some("the pool is shut down".to_owned())));
        }
        node.turn(NodeState::Closed, Some("the pool is shut down".to_owned()));
    }
    observe::states(pool.config.chain_id, state_counts(pool));
}

/// For head subscriptions, unless polling is asked for; and for calls without an HTTP URL.
fn needs_ws(pool: &Shared, node: &Node) -> bool {
    pool.config.new_heads_poll_interval.is_zero() || node.http.is_none()
}

/// What an endpoint says at start, over each of its URLs.
pub(crate) async fn report(node: &Node) -> NodeReport {
    let over_ws = async {
        match &node.ws {
            Some(ws) => Some(probe(node, ws).await),
            None => None,
        }
    };
    let over_http = async {
        match node.http.is_some() {
            true => Some(node.identify().await),
            false => None,
        }
    };
    let (http, ws) = tokio::join!(over_http, over_ws);
    let (verdict, ws_problem) = match (http, ws) {
        (Some(verdict), ws) => (verdict, ws.and_then(Result::err)),
        (None, Some(verdict)) => (verdict, None),
        (None, None) => (Err(node.no_url()), None),
    };
    if let (None, Some(ws)) = (&node.http, &node.ws) {
        match &verdict {
            Err(error @ RpcError::WrongChain { .. }) => {
                node.turn(NodeState::InvalidChainId, Some(error.to_string()))
            }
            Err(error) => {
                node.turn(NodeState::Unreachable, Some(error.to_string()));
                ws.not_up_because(error.cause());
            }
            // Alive once `run` has a connection that lasts.
            Ok(_) => {}
        }
    }
    NodeReport {
        name: node.name.clone(),
        url: node.shown_url().to_owned(),
        send_only: node.send_only,
        verdict,
        ws_problem,
    }
}

/// The newest block as a connection shows it.
async fn newest(node: &Node, ws: &WsEndpoint, connection: &Connection) -> Result<Head, RpcError> {
    let params = (BlockTag::Latest, false);
    node.ask_on(ws, connection, "eth_getBlockByNumber", params)
        .await
}

/// Connects, asks who is there, hangs up.
async fn probe(node: &Node, ws: &WsEndpoint) -> Result<Verified, RpcError> {
    let (connection, driver) = ws.connect().await?;
    let ask = async {
        let Small(chain_id) = node.ask_on(ws, &connection, "eth_chainId", [(); 0]).await?;
        node.same_chain_at(ws.shown(), chain_id)?;
        let client_version = node
            .ask_on::<String>(ws, &connection, "web3_clientVersion", [(); 0])
            .await
            .ok()
            .map(|version| node.mask.hide_in(version));
        let head = newest(node, ws, &connection).await?;
        Ok(Verified {
            chain_id,
            client_version,
            head: Some(head),
        })
    };
    tokio::select! {
        verdict = ask => verdict,
        cause = driver.run(|_| {}) => Err(ws.unreachable(cause)),
    }
}

/// Verified once, usable from then on.
async fn watch_send_only(dice: &Dice, node: &Node) {
    let mut pause = Pause::default();
    while node.identify().await.is_err() {
        pause.wait(dice).await;
        sleep(node.wants_to_be_left()).await;
    }
    pending().await
}

async fn watch_primary(pool: &Shared, node: &Node) {
    let mut pause = Pause::default();
    loop {
        match node.identify().await {
            Ok(verified) => {
                pause = Pause::default();
                if let Some(head) = verified.head {
                    pool.head_seen(node, &head);
                }
                follow(pool, node).await;
            }
            // Its chain may be right, but then it cannot show its newest block.
            Err(error) => node.lost(&error),
        }
        // A caller's question may find it back before our pause is over, but never so often that one
        // which is there and fails us is asked all the time.
        sleep(SHORTEST_PAUSE).await;
        let pausing = async {
            pause.wait(&pool.dice).await;
            sleep(node.wants_to_be_left()).await;
        };
        tokio::select! {
            biased;
            () = pausing => {}
            () = node.revived() => {}
        }
    }
}

/// Polls and judges a verified endpoint until it is no longer usable.
async fn follow(pool: &Shared, node: &Node) {
    let config = &pool.config;
    let asked_to_poll = !config.new_heads_poll_interval.is_zero();
    let mut heads = interval(if asked_to_poll {
        config.new_heads_poll_interval
    } else {
        HEAD_POLL
    });
    let mut polls = interval(if config.poll_interval.is_zero() {
        LONGEST_PAUSE
    } else {
        config.poll_interval
    });
    heads.set_missed_tick_behavior(MissedTickBehavior::Delay);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heads.reset();
    polls.reset();
    let (mut failed_polls, mut throttled) = (0, 0);
    let mut quiet_until = None;
    let mut polls_done = 0;
    let mut polled_before = None;
    let mut began = Instant::now();

    while node.state().answers() {
        let subscribed =
            || !asked_to_poll && node.ws.as_ref().is_some_and(WsEndpoint::is_subscribed);
        let polled = tokio::select! {
            // In this order, so that quick ticks for heads never starve it.
            biased;
            () = node.doubted() => {
                if matches!(node.check_chain().await, Err(RpcError::WrongChain { .. })) {
                    return;
                }
                None
            }
            _ = polls.tick(), if !config.poll_interval.is_zero() && !is_quiet(quiet_until) => {
                polls_done += 1;
                if polls_done % CHAIN_CHECK_POLLS == 0 && matches!(node.check_chain().await, Err(RpcError::WrongChain { .. })) {
                    return;
                }
                node.look_at_syncing().await;
                began = Instant::now();
                let polled = node.latest().await;
                if let (true, Ok(head), Some(ws)) = (subscribed(), &polled, &node.ws) {
                    ws.compare(polled_before.replace(head.number));
                }
                Some(polled)
            }
            _ = heads.tick() => if subscribed() || is_quiet(quiet_until) { None } else {
                began = Instant::now();
                Some(node.latest().await)
            },
        };
        match polled {
            None => {}
            Some(Ok(head)) => {
                node.meters.polled(true);
                failed_polls = u32::saturating_sub(failed_polls, 1);
                throttled = 0;
                pool.head_seen(node, &head);
            }
            // It is there, and wants to be asked less.
            Some(Err(RpcError::RateLimited { message, .. })) => {
                node.meters.polled(false);
                throttled += 1;
                let wait = said_wait(&message);
                quiet_until = wait.map(|wait| Instant::now() + wait);
                let for_long =
                    throttled >= THROTTLED_POLLS || wait.is_some_and(|wait| wait > LONG_WAIT);
                if for_long && !subscribed() {
                    node.condition().throttled = Some(message);
                }
            }
            // The only one that is left is taken out for being dead, not for being slow.
            Some(Err(RpcError::Timeout { .. }))
                if node.is_last() && began.elapsed() < LAST_PATIENCE =>
            {
                node.meters.polled(false);
            }
            Some(Err(error)) => {
                node.meters.polled(false);
                failed_polls += 1;
                if node.is_last() && matches!(error, RpcError::Timeout { .. }) {
                    let why = format!("{error}; nobody else is left, so it was waited for");
                    node.turn(NodeState::Unreachable, Some(why));
                }
                if config.poll_failure_threshold > 0
                    && failed_polls >= config.poll_failure_threshold
                {
                    node.turn(NodeState::Unreachable, Some(format!("{failed_polls} more polls failed than succeeded, the last one so: {error}")));
                }
            }
        }
        judge_sync(pool, node);
    }
}

/// Whether it asked for a pause that is not over.
fn is_quiet(until: Option<Instant>) -> bool {
    until.is_some_and(|until| until > Instant::now())
}

/// Alive, out of sync or syncing, by what is known now.
fn judge_sync(pool: &Shared, node: &Node) {
    let limits = SyncLimits {
        no_new_heads: pool.config.no_new_heads_threshold,
        no_new_finalized: pool.config.no_new_finalized_heads_threshold,
        behind: pool.config.sync_threshold,
    };
    let best = pool.best();
    let verdict = {
        let mut condition = node.condition();
        let progress = Progress {
            highest: condition.highest,
            since_risen: condition.risen.elapsed(),
            finalized: condition
                .finalized
                .map(|at| (at.number, condition.finalized_risen.elapsed())),
            syncing: condition.syncing.as_ref().map(|_| SYNCING.to_owned()),
            throttled: condition.throttled.clone(),
            best,
            block_time: pool.rhythm.block_time(),
        };
        let state = condition.state;
        judged(state, &progress, limits, &mut condition.good_looks)
    };
    if let Some((state, reason)) = verdict {
        node.turn(state, reason);
    }
}

async fn report_states(pool: &Shared) {
    let mut every = interval(STATES_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every.reset();
    let mut troubled = false;
    loop {
        every.tick().await;
        observe::states(pool.config.chain_id, state_counts(pool));
        let primaries: Vec<_> = pool.primaries().collect();
        let alive = primaries
            .iter()
            .filter(|node| node.state() == NodeState::Alive)
            .count();
        // Said once per trouble; the metric says it all the time.
        if alive < primaries.len() && !troubled {
            observe::not_all_alive(pool.config.chain_id, alive, primaries.len());
        }
        troubled = alive < primaries.len();
    }
}

fn state_counts(pool: &Shared) -> impl Iterator<Item = (NodeState, u32)> {
    NodeState::ALL.into_iter().map(|state| {
        let count = pool
            .nodes
            .iter()
            .filter(|node| node.state() == state)
            .count();
        (state, u32::try_from(count).unwrap_or(u32::MAX))
    })
}

/// Pauses between attempts: doubling, up to a limit, jittered so that replicas spread.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    async fn wait(&mut self, dice: &Dice) {
        sleep(self.0.mul_f64(dice.half_to_whole())).await;
        self.0 = (2 * self.0).min(LONGEST_PAUSE);
    }
}
