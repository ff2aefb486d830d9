//! How upstreams did over the last half hour, for the drawing on the status page.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Core;
use crate::status::NodeState;

/// A sample is taken so often.
pub(crate) const EVERY: Duration = Duration::from_secs(5);
/// Half an hour of them is kept.
pub(crate) const KEPT: usize = 360;

/// One look at one upstream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) state: NodeState,
    /// Blocks behind what the gateway speaks about.
    pub(crate) lag: Option<u64>,
    pub(crate) latency: Option<Duration>,
    /// Since the sample before.
    pub(crate) calls: u64,
    pub(crate) failures: u64,
}

#[derive(Default)]
struct Of {
    samples: VecDeque<Sample>,
    calls: u64,
    failures: u64,
}

/// Samples by upstream. One that is removed is forgotten; one that keeps its name goes on.
#[derive(Default)]
pub(crate) struct History(Mutex<BTreeMap<Arc<str>, Of>>);

impl History {
    pub(crate) fn take(&self, core: &Core) {
        let latest = core.chain.tags().map(|tags| tags.latest);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = core.nodes();
        all.retain(|name, _| nodes.iter().any(|node| node.name == *name));
        for (status, node) in nodes.into_iter().zip(&core.pool.0.nodes) {
            let at = node.condition().head.map(|head| head.number);
            let of = all.entry(status.name).or_default();
            let sample = Sample {
                state: status.state,
                lag: latest.zip(at).map(|(tip, at)| tip.saturating_sub(at)),
                latency: status.latency,
                // After a change of the settings they begin again at nothing.
                calls: status.calls.checked_sub(of.calls).unwrap_or(status.calls),
                failures: status
                    .failures
                    .checked_sub(of.failures)
                    .unwrap_or(status.failures),
            };
            (of.calls, of.failures) = (status.calls, status.failures);
            if of.samples.len() >= KEPT {
                of.samples.pop_front();
            }
            of.samples.push_back(sample);
        }
    }

    /// The oldest first.
    pub(crate) fn of(&self, name: &str) -> Vec<Sample> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name)
            .map(|of| of.samples.iter().copied().collect())
            .unwrap_or_default()
    }
}
