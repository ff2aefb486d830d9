//! A second endpoint beside the first one, when that takes unusually long.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Core;
use super::observe;
use crate::node::Node;

/// An endpoint is given so many times its usual answering time before a second one is asked too.
const AFTER_USUAL: u32 = 6;
const AT_LEAST: Duration = Duration::from_millis(40);
const AT_MOST: Duration = Duration::from_secs(1);

/// So many questions at once take an endpoint unusually long after this.
pub(super) fn hedge_after(node: &Node, questions: u32) -> Duration {
    let usual = Duration::from_micros(node.latency_micros());
    let unusual = usual.saturating_mul(AFTER_USUAL.saturating_mul(questions));
    unusual.clamp(AT_LEAST, AT_MOST)
}

/// A question under way at an endpoint.
pub(super) type UnderWay<'a, F> = (&'a Node, Pin<Box<F>>);

/// Whoever wins, and what they said. A failure is not a win: then the other one is waited for, and the
/// failure counts. The loser goes on by itself, so that it is judged by what it does.
pub(super) async fn race<'a, T, F>(
    core: &Arc<Core>,
    method: &str,
    (one, mut first): UnderWay<'a, F>,
    (other, mut second): UnderWay<'a, F>,
    won: fn(&T) -> bool,
) -> (&'a Node, T)
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let (winner, loser, said, rest) = tokio::select! {
        biased;
        said = &mut first => match won(&said) {
            true => (one, other, said, Some(second)),
            false => (other, one, second.await, None),
        },
        said = &mut second => match won(&said) {
            true => (other, one, said, Some(first)),
            false => (one, other, first.await, None),
        },
    };
    observe::hedged(winner.index == other.index);
    let Some(rest) = rest else {
        loser.fitness.failed(method, Instant::now());
        return (winner, said);
    };
    let (core, method, loser) = (Arc::clone(core), method.to_owned(), loser.index);
    tokio::spawn(async move {
        if !won(&rest.await) {
            let loser = &core.pool.0.nodes[loser];
            loser.fitness.failed(&method, Instant::now());
        }
    });
    (winner, said)
}
