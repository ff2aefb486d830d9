//! The next nonce of an account, transactions that wait included.
//!
//! Which of them an endpoint knows is its own affair, so one endpoint may know fewer than another;
//! and a nonce that is too low replaces a transaction. The highest is the one nobody has used.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::Core;
use super::question::{Asked, Question};
use super::rank::{Now, Rank};
use crate::node::Forwarded;
use crate::patience::Allowance;
use crate::quantity;

/// After the first answer the others have so long.
const OTHERS_WITHIN: Duration = Duration::from_millis(300);

impl Core {
    /// Asks everybody who is well; the highest. None if nobody of them says.
    pub(super) async fn highest_nonce(&self, question: &Question) -> Option<Asked> {
        let tags = self.chain.tags()?;
        let (began, now) = (Instant::now(), Now::new(Instant::now));
        let mut asked: FuturesUnordered<_> = self
            .readable()
            .filter(|node| {
                let rank = self.rank(node, question, tags, &now);
                rank.is_some_and(|rank| rank <= Rank::Degraded)
            })
            .map(|node| async move {
                let (id, body) = question.encoded();
                let priority = question.priority(tags.latest);
                let (_, within) = question.method.kind.deadlines();
                let said = node.forward(
                    id,
                    question.name(),
                    body,
                    Allowance::from_now(within),
                    priority,
                );
                (node, said.await)
            })
            .collect();
        let mut until = began + question.method.kind.deadlines().0;
        let mut highest: Option<(u128, Asked)> = None;
        while let Ok(Some((node, said))) = timeout_at(until, asked.next()).await {
            let Ok(Forwarded::Result(result)) = said else {
                continue;
            };
            let Some(nonce) = read(&result) else { continue };
            node.fitness
                .did_well(question.name(), began.elapsed(), Instant::now());
            if highest.is_none() {
                until = until.min(Instant::now() + OTHERS_WITHIN);
            }
            if highest.as_ref().is_none_or(|(before, _)| nonce > *before) {
                let answer = super::envelope::Answer::Result(result);
                let asked = Asked {
                    from: Some(node.index),
                    ..answer.into()
                };
                highest = Some((nonce, asked));
            }
        }
        highest.map(|(_, asked)| asked)
    }
}

fn read(result: &[u8]) -> Option<u128> {
    let raw: &RawValue = serde_json::from_slice(result).ok()?;
    quantity::parse(serde_json::from_str::<&str>(raw.get()).ok()?)
}
