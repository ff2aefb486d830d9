//! Sending signed transactions: to all usable endpoints at once, detached from the caller.

use std::pin::pin;
use std::slice;
use std::time::Duration;

use alloy::primitives::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::error::RpcError;
use crate::http::HttpEndpoint;
use crate::node::Node;
use crate::observe;
use crate::pool::{Pool, Shared};
use crate::send::{SendOutcome, SendRefusal, SendReport, combine};
use crate::send_errors;
use crate::status::NodeState;

const METHOD: &str = "eth_sendRawTransaction";
/// After the first answer the others get so long to be counted.
const OTHERS_GET: Duration = Duration::from_secs(5);

impl Pool {
    /// Sends a signed transaction to all usable endpoints at once. Returns as soon as one primary
    /// took it, or most have answered, or 5 s after the first answer; the sending itself goes on
    /// even when the caller stops waiting.
    pub async fn send_raw(&self, raw: &Bytes) -> SendReport {
        let mut reports = self.send_raw_many(slice::from_ref(raw)).await;
        reports.pop().unwrap_or_else(|| nobody("nothing was sent"))
    }

    /// Several signed transactions, in order, as one batch per endpoint. One report each, in the
    /// same order.
    pub async fn send_raw_many(&self, raws: &[Bytes]) -> Vec<SendReport> {
        if raws.is_empty() {
            return Vec::new();
        }
        let (answer, answered) = oneshot::channel();
        let pool = self.clone();
        let raws = raws.to_vec();
        let count = raws.len();
        tokio::spawn(async move {
            // Held until the last endpoint has answered, so that a burst has a bound.
            let _permit = pool.0.sends.acquire().await;
            broadcast(&pool.0, &raws, answer).await;
        });
        answered
            .await
            .unwrap_or_else(|_| vec![nobody("the sending was interrupted"); count])
    }
}

fn nobody(why: &str) -> SendReport {
    SendReport {
        outcome: SendOutcome::Retryable(why.to_owned()),
        per_node: Vec::new(),
        refusal: None,
    }
}

/// An endpoint's verdict and, if it refused, its words.
pub(crate) struct Said {
    pub(crate) outcome: SendOutcome,
    pub(crate) refusal: Option<SendRefusal>,
}

impl From<SendOutcome> for Said {
    fn from(outcome: SendOutcome) -> Self {
        Self {
            outcome,
            refusal: None,
        }
    }
}

/// One endpoint's answers, one per transaction.
struct Answers<'a> {
    node: &'a Node,
    said: Vec<Said>,
}

async fn broadcast(pool: &Shared, raws: &[Bytes], caller: oneshot::Sender<Vec<SendReport>>) {
    let targets = targets(pool);
    let primaries = targets.iter().filter(|node| !node.send_only).count();
    let mut sending: FuturesUnordered<_> = targets
        .iter()
        .map(|node| answers_of(pool, node, raws))
        .collect();
    let mut caller = Some(caller);
    let mut came: Vec<Answers<'_>> = Vec::with_capacity(targets.len());
    let mut late = pin!(sleep(OTHERS_GET));

    loop {
        tokio::select! {
            next = sending.next() => match next {
                Some(answers) => {
                    if came.is_empty() {
                        late.as_mut().reset(tokio::time::Instant::now() + OTHERS_GET);
                    }
                    came.push(answers);
                }
                None => break,
            },
            () = &mut late, if caller.is_some() && !came.is_empty() => tell(pool, &mut caller, &came, raws.len()),
        }
        if is_decided(&came, primaries, raws.len()) {
            tell(pool, &mut caller, &came, raws.len());
        }
    }
    tell(pool, &mut caller, &came, raws.len());
    report_contradictions(pool, &came);
}

async fn answers_of<'a>(pool: &Shared, node: &'a Node, raws: &[Bytes]) -> Answers<'a> {
    Answers {
        node,
        said: send_to(pool, node, raws).await,
    }
}

/// Primaries that can be read from, well or not so well, or whatever primaries there are when none
/// can; and the send-only endpoints.
pub(crate) fn targets(pool: &Shared) -> Vec<&Node> {
    let usable =
        |node: &&Node| !matches!(node.state(), NodeState::InvalidChainId | NodeState::Forked);
    let primaries: Vec<&Node> = pool
        .nodes
        .iter()
        .filter(|node| !node.send_only)
        .filter(usable)
        .collect();
    let readable: Vec<&Node> = primaries
        .iter()
        .copied()
        .filter(|node| node.state().is_readable())
        .collect();
    let mut targets = if readable.is_empty() {
        primaries
    } else {
        readable
    };
    targets.extend(
        pool.nodes
            .iter()
            .filter(|node| node.send_only)
            .filter(usable),
    );
    targets
}

/// Whether waiting for more answers could not be worth it.
fn is_decided(came: &[Answers<'_>], primaries: usize, transactions: usize) -> bool {
    let of_primaries = || came.iter().filter(|answers| !answers.node.send_only);
    let enough = (7 * primaries).div_ceil(10).max(1);
    of_primaries().count() >= enough
        || (0..transactions)
            .all(|at| of_primaries().any(|answers| answers.said[at].outcome.is_success()))
}

fn tell(
    pool: &Shared,
    caller: &mut Option<oneshot::Sender<Vec<SendReport>>>,
    came: &[Answers<'_>],
    transactions: usize,
) {
    let Some(caller) = caller.take() else { return };
    let reports = (0..transactions).map(|at| {
        let of_primaries = || {
            came.iter()
                .filter(|answers| !answers.node.send_only)
                .map(|answers| &answers.said[at])
        };
        let outcome = combine(of_primaries().map(|said| &said.outcome))
            .unwrap_or_else(|| SendOutcome::Retryable(pool.no_answer(Vec::new(), 0).to_string()));
        let per_node = came
            .iter()
            .map(|answers| (answers.node.name.clone(), answers.said[at].outcome.clone()))
            .collect();
        let refusal = of_primaries()
            .filter(|said| said.outcome == outcome)
            .find_map(|said| said.refusal.clone());
        SendReport {
            outcome,
            per_node,
            refusal,
        }
    });
    // The caller may have gone; the transactions are out all the same.
    let _ = caller.send(reports.collect());
}

fn report_contradictions(pool: &Shared, came: &[Answers<'_>]) {
    let primaries: Vec<_> = came
        .iter()
        .filter(|answers| !answers.node.send_only)
        .collect();
    let transactions = primaries.first().map_or(0, |answers| answers.said.len());
    for at in 0..transactions {
        let took = primaries
            .iter()
            .find(|answers| answers.said[at].outcome == SendOutcome::Accepted);
        let refused = primaries
            .iter()
            .find(|answers| answers.said[at].outcome.is_severe());
        if let (Some(took), Some(refused)) = (took, refused) {
            observe::contradiction(
                pool.config.chain_id,
                &took.node.name,
                &refused.node.name,
                &refused.said[at].outcome,
            );
        }
    }
}

/// One endpoint's answers, over both of its URLs where it has a second one for sending.
pub(crate) async fn send_to(pool: &Shared, node: &Node, raws: &[Bytes]) -> Vec<Said> {
    if let Err(error) = node.ensure_verified().await {
        let lost = || Said::from(SendOutcome::Retryable(error.to_string()));
        return std::iter::repeat_with(lost).take(raws.len()).collect();
    }
    let Some(extra) = &node.extra_write else {
        return send_over(pool, node, node.http.as_ref(), raws).await;
    };
    let (first, second) = tokio::join!(
        send_over(pool, node, node.http.as_ref(), raws),
        send_over(pool, node, Some(extra), raws)
    );
    first
        .into_iter()
        .zip(second)
        .map(|(first, second)| {
            if second.outcome.outweighs(&first.outcome) {
                second
            } else {
                first
            }
        })
        .collect()
}

async fn send_over(
    pool: &Shared,
    node: &Node,
    http: Option<&HttpEndpoint>,
    raws: &[Bytes],
) -> Vec<Said> {
    // The hash that comes back is ours to know; whatever it is, the transaction was taken.
    type Taken = serde::de::IgnoredAny;
    let answers: Result<Vec<Result<Taken, RpcError>>, RpcError> = match (raws, http) {
        ([raw], Some(http)) => Ok(vec![node.ask_at(http, METHOD, [raw]).await]),
        ([raw], None) => Ok(vec![node.ask(METHOD, [raw]).await]),
        (raws, Some(http)) => node.ask_many_at(http, METHOD, &params(raws)).await,
        (raws, None) => node.ask_many(METHOD, &params(raws)).await,
    };
    match answers {
        Ok(answers) => answers
            .into_iter()
            .map(|answer| understand(pool, node, answer))
            .collect(),
        Err(error) => raws
            .iter()
            .map(|_| understand(pool, node, Err::<Taken, _>(error.clone())))
            .collect(),
    }
}

fn params(raws: &[Bytes]) -> Vec<[&Bytes; 1]> {
    raws.iter().map(|raw| [raw]).collect()
}

fn understand<T>(pool: &Shared, node: &Node, answer: Result<T, RpcError>) -> Said {
    let error = match answer {
        Ok(_) => return SendOutcome::Accepted.into(),
        Err(error) => error,
    };
    let RpcError::Refused {
        code,
        message,
        data,
        ..
    } = &error
    else {
        return SendOutcome::Retryable(error.to_string()).into();
    };
    let classify =
        |text: &str| send_errors::outcome(text, &pool.config.chain_type, &pool.overrides);
    let outcome = match (classify(message), data) {
        // Some clients put the telling words beside the message.
        (SendOutcome::Unknown(_), Some(data)) => match classify(data) {
            SendOutcome::Unknown(_) => SendOutcome::Unknown(message.clone()),
            known => known,
        },
        (outcome, _) => outcome,
    };
    if let SendOutcome::Unknown(text) = &outcome
        && pool.unknown_texts.count(&node.name, text)
    {
        node.meters.unknown_send_error(text);
    }
    Said {
        outcome,
        refusal: Some(SendRefusal {
            code: *code,
            message: message.clone(),
            data: data.clone(),
        }),
    }
}
