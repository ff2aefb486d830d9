//! A second endpoint beside the first one, when that takes unusually long.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::Core;
use super::observe;
use crate::error::RpcError;
use crate::node::{Forwarded, Node};

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

/// What an endpoint said.
pub(super) trait Said: Send + 'static {
    /// Whether there is something in it for whoever asked.
    fn is_answer(&self) -> bool;
    /// Whether there is nothing, and the endpoint is to blame.
    fn is_failure(&self) -> bool;
}

impl Said for Result<Forwarded, RpcError> {
    fn is_answer(&self) -> bool {
        self.is_ok()
    }

    fn is_failure(&self) -> bool {
        // The others are about how much is asked, or how large it is.
        !matches!(
            self,
            Ok(_)
                | Err(RpcError::RateLimited { .. }
                    | RpcError::Busy { .. }
                    | RpcError::TooLarge { .. }
                    | RpcError::RequestTooLarge { .. })
        )
    }
}

impl Said for Vec<Result<Forwarded, RpcError>> {
    fn is_answer(&self) -> bool {
        self.iter().any(Result::is_ok)
    }

    fn is_failure(&self) -> bool {
        !self.is_answer() && self.iter().any(Said::is_failure)
    }
}

/// A question under way at an endpoint. When nobody waits for it any more it goes on by itself, so
/// that the endpoint is judged by what it does: else whoever is impatient hides one that hangs.
pub(super) struct UnderWay<'a, F: Future<Output: Said> + Send + 'static> {
    core: &'a Arc<Core>,
    node: &'a Node,
    method: &'a str,
    /// None once there is an answer.
    work: Option<Pin<Box<F>>>,
}

impl<'a, F: Future<Output: Said> + Send + 'static> UnderWay<'a, F> {
    pub(super) fn new(core: &'a Arc<Core>, (node, method): (&'a Node, &'a str), work: F) -> Self {
        Self {
            core,
            node,
            method,
            work: Some(Box::pin(work)),
        }
    }

    /// The same of something that is given up with whoever waits for it.
    pub(super) fn left_alone(mut self) -> Pin<Box<F>> {
        let work = self.work.take();
        work.expect("it was not polled: that takes it by reference")
    }
}

impl<F: Future<Output: Said> + Send + 'static> Future for UnderWay<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let work = self.work.as_mut();
        let work = work.expect("nobody asks for an answer again that they were given");
        let said = ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(said)
    }
}

impl<F: Future<Output: Said> + Send + 'static> Drop for UnderWay<'_, F> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (core, method) = (Arc::clone(self.core), self.method.to_owned());
        let node = self.node.index;
        runtime.spawn(async move {
            if work.await.is_failure() {
                let node = &core.pool.0.nodes[node];
                node.fitness.failed(&method, Instant::now());
            }
        });
    }
}

/// Whoever wins, and what they said. A failure is not a win: then the other one is waited for, and the
/// failure counts. The loser goes on by itself.
pub(super) async fn race<'a, F: Future<Output: Said> + Send + 'static>(
    mut first: UnderWay<'a, F>,
    mut second: UnderWay<'a, F>,
) -> (&'a Node, F::Output) {
    let (one, other, method) = (first.node, second.node, first.method);
    let (said, by, waits) = tokio::select! {
        biased;
        said = &mut first => (said, one, second),
        said = &mut second => (said, other, first),
    };
    let (winner, said) = if said.is_answer() {
        (by, said)
    } else {
        if said.is_failure() {
            by.fitness.failed(method, Instant::now());
        }
        (waits.node, waits.await)
    };
    observe::hedged(winner.index == other.index);
    (winner, said)
}
