//! What this crate tells the world: log lines and metrics.
//!
//! Metric names and labels are those existing dashboards know.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tracing::{debug, error, info, warn};

use crate::by_name::ByName;
use crate::config::CHAIN_NOT_KNOWN;
use crate::gateway::method;
use crate::send::SendOutcome;
use crate::status::NodeState;

const NETWORK: &str = "EVM";
/// A batch of questions that are not all alike.
pub(crate) const MIXED: &str = "batch";
/// Call times, and the histogram's upper bounds in nanoseconds: those dashboards know.
const CALL_TIME: (&str, &[f64]) = (
    "evm_pool_rpc_node_rpc_call_time",
    &[50e6, 100e6, 200e6, 500e6, 1e9, 2e9, 4e9, 8e9],
);
/// The time from a request's turn to its answer, each of a batch by itself, and the histogram's upper bounds in seconds. Histograms of
/// several gateways can be added up, which quantiles cannot.
pub(crate) const REQUEST_SECONDS: (&str, &[f64]) = (
    "dodona_gateway_request_seconds",
    &[
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        120.0,
    ],
);
/// The time it takes to prove a block's receipts, likewise.
pub(crate) const RECEIPTS_ROOT_SECONDS: (&str, &[f64]) = (
    "dodona_gateway_receipts_root_seconds",
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05],
);
/// This crate's histograms and their upper bounds, for the metrics exporter.
pub const HISTOGRAMS: [(&str, &[f64]); 3] = [CALL_TIME, REQUEST_SECONDS, RECEIPTS_ROOT_SECONDS];

/// One endpoint's metrics. Handles are made at first use, so that a recorder installed after the
/// pool was built still gets them.
pub(crate) struct Meters {
    chain_id: u64,
    chain: String,
    node: Arc<str>,
    host: String,
    send_only: bool,
    handles: OnceLock<Handles>,
    /// By method; failed calls first, successful ones second.
    call_times: [RwLock<ByName<&'static str, Histogram>>; 2],
}

struct Handles {
    calls: Counter,
    calls_failed: Counter,
    calls_succeeded: Counter,
    dials: Counter,
    dials_failed: Counter,
    dials_succeeded: Counter,
    polls: Counter,
    polls_failed: Counter,
    polls_succeeded: Counter,
    verifies: Counter,
    verifies_failed: Counter,
    verifies_succeeded: Counter,
    seen_blocks: Counter,
    highest_block: Gauge,
}

impl Meters {
    pub(crate) fn new(chain_id: u64, node: Arc<str>, host: String, send_only: bool) -> Self {
        Self {
            chain_id,
            chain: chain_id.to_string(),
            node,
            host,
            send_only,
            handles: OnceLock::new(),
            call_times: Default::default(),
        }
    }

    /// Questions put before the chain is known belong to no chain's figures.
    fn is_counted(&self) -> bool {
        self.chain_id != CHAIN_NOT_KNOWN
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| {
            let is_counted = self.is_counted();
            let evm = |name: &'static str| {
                if !is_counted {
                    return Counter::noop();
                }
                counter!(name, "evmChainID" => self.chain.clone(), "nodeName" => self.node.to_string())
            };
            let pool = |name: &'static str| {
                if !is_counted {
                    return Counter::noop();
                }
                counter!(name, "network" => NETWORK, "chainID" => self.chain.clone(), "nodeName" => self.node.to_string())
            };
            Handles {
                calls: evm("evm_pool_rpc_node_calls_total"),
                calls_failed: evm("evm_pool_rpc_node_calls_failed"),
                calls_succeeded: evm("evm_pool_rpc_node_calls_success"),
                dials: evm("evm_pool_rpc_node_dials_total"),
                dials_failed: evm("evm_pool_rpc_node_dials_failed"),
                dials_succeeded: evm("evm_pool_rpc_node_dials_success"),
                polls: pool("pool_rpc_node_polls_total"),
                polls_failed: pool("pool_rpc_node_polls_failed"),
                polls_succeeded: pool("pool_rpc_node_polls_success"),
                verifies: pool("pool_rpc_node_verifies"),
                verifies_failed: pool("pool_rpc_node_verifies_failed"),
                verifies_succeeded: pool("pool_rpc_node_verifies_success"),
                seen_blocks: pool("pool_rpc_node_num_seen_blocks"),
                highest_block: match is_counted {
                    true => gauge!(
                        "pool_rpc_node_highest_seen_block",
                        "network" => NETWORK, "chainID" => self.chain.clone(), "nodeName" => self.node.to_string()
                    ),
                    false => Gauge::noop(),
                },
            }
        })
    }

    pub(crate) fn called(&self, method: &str, took: Duration, succeeded: bool) {
        let handles = self.handles();
        handles.calls.increment(1);
        if succeeded {
            &handles.calls_succeeded
        } else {
            &handles.calls_failed
        }
        .increment(1);
        if !self.is_counted() {
            return;
        }
        let nanos = took.as_secs_f64() * 1e9;
        // What a raw request may name is without end.
        let method = match method {
            MIXED => MIXED,
            named => method::find(named).name,
        };
        let times = &self.call_times[usize::from(succeeded)];
        let read = times.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(method) {
            return known.record(nanos);
        }
        drop(read);
        let fresh = histogram!(
            CALL_TIME.0,
            "evmChainID" => self.chain.clone(),
            "nodeName" => self.node.to_string(),
            "rpcHost" => self.host.clone(),
            "isSendOnly" => self.send_only.to_string(),
            "success" => succeeded.to_string(),
            "rpcCallName" => method
        );
        fresh.record(nanos);
        times
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(method, fresh);
    }

    pub(crate) fn dialed(&self, succeeded: bool) {
        let handles = self.handles();
        handles.dials.increment(1);
        if succeeded {
            &handles.dials_succeeded
        } else {
            &handles.dials_failed
        }
        .increment(1);
    }

    pub(crate) fn polled(&self, succeeded: bool) {
        let handles = self.handles();
        handles.polls.increment(1);
        if succeeded {
            &handles.polls_succeeded
        } else {
            &handles.polls_failed
        }
        .increment(1);
    }

    pub(crate) fn verified(&self, succeeded: bool) {
        let handles = self.handles();
        handles.verifies.increment(1);
        if succeeded {
            &handles.verifies_succeeded
        } else {
            &handles.verifies_failed
        }
        .increment(1);
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "block numbers stay far below 2^53"
    )]
    pub(crate) fn saw_block(&self, highest: u64) {
        let handles = self.handles();
        handles.seen_blocks.increment(1);
        handles.highest_block.set(highest as f64);
    }

    pub(crate) fn client_version(&self, version: &str) {
        gauge!(
            "pool_rpc_node_client_version",
            "network" => NETWORK, "chainID" => self.chain.clone(), "nodeName" => self.node.to_string(),
            "rpcClientVersion" => version.to_owned()
        )
        .set(1.0);
    }

    /// An endpoint changed its state.
    pub(crate) fn turned(&self, from: NodeState, to: NodeState, reason: Option<&str>) {
        let name = match to {
            NodeState::Alive if from == NodeState::OutOfSync => {
                "pool_rpc_node_num_transitions_to_in_sync"
            }
            NodeState::Alive => "pool_rpc_node_num_transitions_to_alive",
            NodeState::OutOfSync => "pool_rpc_node_num_transitions_to_out_of_sync",
            NodeState::Unreachable => "pool_rpc_node_num_transitions_to_unreachable",
            NodeState::InvalidChainId => "pool_rpc_node_num_transitions_to_invalid_chain_id",
            NodeState::Syncing => "pool_rpc_node_num_transitions_to_syncing",
            NodeState::Forked => "dodona_rpc_endpoints_forked_total",
            NodeState::Undialed | NodeState::Dialed | NodeState::Closed => "",
        };
        if !name.is_empty() {
            counter!(name, "network" => NETWORK, "chainID" => self.chain.clone(), "nodeName" => self.node.to_string()).increment(1);
        }
        let (chain, node) = (&self.chain, &self.node);
        match (to, reason) {
            (NodeState::Alive, _) => {
                info!(chain.id = %chain, endpoint.name = %node, "endpoint {node} of chain {chain} is alive")
            }
            (NodeState::InvalidChainId | NodeState::Forked, Some(reason)) => {
                error!(chain.id = %chain, endpoint.name = %node, "endpoint {node} of chain {chain} is not used: {reason}");
            }
            (NodeState::Undialed | NodeState::Dialed | NodeState::Closed, _) => {}
            (state, reason) => {
                let reason = reason.unwrap_or("no reason known");
                warn!(chain.id = %chain, endpoint.name = %node, "endpoint {node} of chain {chain} is {}: {reason}", state.word());
            }
        }
    }

    /// The head subscription of an endpoint ended, or could not be made. The log has it once for
    /// each cause, the metric each time.
    pub(crate) fn subscription_lost(&self, cause: &str, is_news: bool) {
        let (chain, node) = (&self.chain, &self.node);
        counter!("head_tracker_connection_errors", "ChainID" => chain.clone()).increment(1);
        if !is_news {
            debug!(chain.id = %chain, endpoint.name = %node, "still no head subscription at endpoint {node} of chain {chain}: {cause}");
            return;
        }
        warn!(chain.id = %chain, endpoint.name = %node, "no head subscription at endpoint {node} of chain {chain}: {cause}; trying again");
    }

    /// A notification that is no head. The connection stays.
    pub(crate) fn unreadable_head(&self, cause: &str) {
        debug!(chain.id = %self.chain, endpoint.name = %self.node, "a head from {} cannot be read: {cause}", self.node);
    }

    /// An endpoint refused a transaction in words we have no meaning for.
    pub(crate) fn unknown_send_error(&self, text: &str) {
        counter!("dodona_rpc_unknown_send_errors_total", "evmChainID" => self.chain.clone(), "nodeName" => self.node.to_string()).increment(1);
        warn!(
            chain.id = %self.chain, endpoint.name = %self.node,
            "endpoint {} refused a transaction in unknown words: {text:?}; add a pattern under NodePool.Errors if you know what they mean",
            self.node
        );
    }
}

/// How many endpoints of a chain are in each state.
pub(crate) fn states(chain_id: u64, counts: impl Iterator<Item = (NodeState, u32)>) {
    for (state, count) in counts {
        gauge!("multi_node_states", "network" => NETWORK, "chainId" => chain_id.to_string(), "state" => state.word()).set(f64::from(count));
    }
}

/// Some or all primaries are not alive.
pub(crate) fn not_all_alive(chain_id: u64, alive: usize, of: usize) {
    if alive == 0 {
        error!(
            chain.id = chain_id,
            "no primary nodes available for chain {chain_id}: 0/{of} nodes are alive"
        );
    } else {
        warn!(
            chain.id = chain_id,
            "at least one primary endpoint of chain {chain_id} is not alive: {alive}/{of} nodes are alive"
        );
    }
}

/// One endpoint took a transaction and another one refused it for good.
pub(crate) fn contradiction(chain_id: u64, took: &str, refused: &str, refusal: &SendOutcome) {
    counter!(
        "multi_node_invariant_violations",
        "network" => NETWORK, "chainId" => chain_id.to_string(), "invariant" => "success_and_severe_error"
    )
    .increment(1);
    error!(
        chain.id = chain_id,
        "endpoints of chain {chain_id} contradict each other about a transaction: {took} took it, {refused} says {refusal:?}"
    );
}
