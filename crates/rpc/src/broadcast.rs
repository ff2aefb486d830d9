//! Sending signed transactions: to all usable endpoints at once, detached from the caller.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{B256, Bytes};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::endpoints::{Endpoints, Shared};
use crate::error::RpcError;
use crate::http::HttpEndpoint;
use crate::node::Node;
use crate::observe;
use crate::send::{SendOutcome, SendRefusal, SendReport, combine};
use crate::send_errors;
use crate::status::NodeState;

const METHOD: &str = "eth_sendRawTransaction";
/// After the first answer the others get so long to be counted.
const OTHERS_GET: Duration = Duration::from_secs(2);
/// Nobody answers for so long: then there is no answer. Each endpoint has all of it: all are asked at
/// once, and who is told that nobody took a transaction signs another one.
const TOTAL: Duration = Duration::from_secs(10);

/// An endpoint's verdict and, if it refused, its words.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) outcome: SendOutcome,
    pub(crate) refusal: Option<SendRefusal>,
    /// How long it wants not to be asked: then it said nothing about the transaction.
    pub(crate) wait: Option<Duration>,
    /// What it calls the transaction it took: of kinds we cannot read it knows better.
    pub(crate) hash: Option<B256>,
}

impl From<SendOutcome> for Said {
    fn from(outcome: SendOutcome) -> Self {
        Self {
            outcome,
            refusal: None,
            wait: None,
            hash: None,
        }
    }
}

impl Said {
    /// Nothing about the transaction.
    fn lost(error: &RpcError) -> Self {
        Self {
            wait: error.wait(),
            ..SendOutcome::Retryable(error.to_string()).into()
        }
    }
}

/// One endpoint's answers, one per transaction.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    pub(crate) node: usize,
    send_only: bool,
    pub(crate) said: Vec<Said>,
}

/// What was said about some transactions until it could be told what becomes of them.
#[derive(Debug, Default)]
pub(crate) struct Came {
    /// In the order of the configuration, whoever answered first.
    answers: Vec<Answers>,
    /// Primaries the transactions were sent to.
    pub(crate) primaries: usize,
}

impl Came {
    /// What primaries say about the transaction at this place. Whoever was asked only to pass it on
    /// decides nothing.
    pub(crate) fn of_primaries(&self, at: usize) -> impl Iterator<Item = &Said> {
        let primaries = self.answers.iter().filter(|answers| !answers.send_only);
        primaries.filter_map(move |answers| answers.said.get(at))
    }

    /// What the first primary that took the transaction at this place calls it.
    pub(crate) fn hash_of(&self, at: usize) -> Option<B256> {
        self.of_primaries(at).find_map(|said| said.hash)
    }
}

impl Endpoints {
    /// Sends signed transactions to all usable endpoints at once, in order, as one batch each. What
    /// comes back is told as soon as a primary took each of them, or all have answered, or 2 s after
    /// the first answer; the sending itself goes on whatever becomes of who asked for it.
    pub(crate) fn broadcast(&self, raws: Vec<Bytes>) -> oneshot::Receiver<Came> {
        let (caller, came) = oneshot::channel();
        let pool = self.clone();
        tokio::spawn(async move {
            // Held until the last endpoint has answered, so that a burst has a bound.
            let _permit = pool.0.sends.acquire().await;
            broadcast(&pool.0, &raws, caller).await;
        });
        came
    }
}

async fn broadcast(pool: &Shared, raws: &[Bytes], caller: oneshot::Sender<Came>) {
    let targets = targets(pool);
    let primaries = targets.iter().filter(|node| !node.send_only).count();
    let mut sending = FuturesUnordered::new();
    for node in &targets {
        sending.push(answers_of(pool, node, raws));
    }
    let mut caller = Some(caller);
    let mut came: Vec<Answers> = Vec::with_capacity(targets.len());
    let mut late = pin!(sleep(TOTAL));

    loop {
        tokio::select! {
            next = sending.next() => match next {
                Some(answers) => {
                    // An endpoint that could not be reached is not an answer to wait after.
                    let until = Instant::now() + OTHERS_GET;
                    if answers.is_about_the_transactions() && until < late.deadline() {
                        late.as_mut().reset(until);
                    }
                    came.push(answers);
                }
                None => break,
            },
            () = &mut late, if caller.is_some() => tell(&mut caller, &came, primaries),
        }
        if is_decided(&came, primaries, raws.len()) {
            tell(&mut caller, &came, primaries);
        }
    }
    tell(&mut caller, &came, primaries);
    report_contradictions(pool, &came);
}

async fn answers_of(pool: &Shared, node: &Node, raws: &[Bytes]) -> Answers {
    Answers {
        node: node.index,
        send_only: node.send_only,
        said: send_to(pool, node, raws).await,
    }
}

impl Answers {
    fn is_about_the_transactions(&self) -> bool {
        let lost = |said: &Said| matches!(said.outcome, SendOutcome::Retryable(_));
        !self.send_only && !self.said.iter().all(lost)
    }
}

/// Primaries that can be read from, well or not so well, or whatever primaries there are when none
/// can; and the send-only endpoints.
fn targets(pool: &Shared) -> Vec<&Node> {
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
fn is_decided(came: &[Answers], primaries: usize, transactions: usize) -> bool {
    let of_primaries = || came.iter().filter(|answers| !answers.send_only);
    of_primaries().count() >= primaries.max(1)
        || (0..transactions)
            .all(|at| of_primaries().any(|answers| answers.said[at].outcome.is_success()))
}

fn tell(caller: &mut Option<oneshot::Sender<Came>>, came: &[Answers], primaries: usize) {
    let Some(caller) = caller.take() else { return };
    let mut answers = came.to_vec();
    answers.sort_by_key(|answers| answers.node);
    // The caller may have gone; the transactions are out all the same.
    let _ = caller.send(Came { answers, primaries });
}

/// What the pool makes of what was said about the transaction at this place.
pub(crate) fn report(pool: &Shared, came: &Came, at: usize) -> SendReport {
    let outcome = combine(came.of_primaries(at).map(|said| &said.outcome))
        .unwrap_or_else(|| SendOutcome::Retryable(pool.no_answer(Vec::new(), 0).to_string()));
    let per_node = came.answers.iter().map(|answers| {
        let name = Arc::clone(&pool.nodes[answers.node].name);
        (name, answers.said[at].outcome.clone())
    });
    let refusal = came
        .of_primaries(at)
        .filter(|said| said.outcome == outcome)
        .find_map(|said| said.refusal.clone());
    SendReport {
        per_node: per_node.collect(),
        outcome,
        refusal,
    }
}

fn report_contradictions(pool: &Shared, came: &[Answers]) {
    let primaries: Vec<_> = came.iter().filter(|answers| !answers.send_only).collect();
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
                &pool.nodes[took.node].name,
                &pool.nodes[refused.node].name,
                &refused.said[at].outcome,
            );
        }
    }
}

/// One endpoint's answers, over both of its URLs where it has a second one for sending.
pub(crate) async fn send_to(pool: &Shared, node: &Node, raws: &[Bytes]) -> Vec<Said> {
    if let Err(error) = node.ensure_verified().await {
        return std::iter::repeat_with(|| Said::lost(&error))
            .take(raws.len())
            .collect();
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
    if let [raw] = raws {
        // Whatever comes back, the transaction was taken.
        let answer: Result<Value, RpcError> = node.ask_at(http, METHOD, [raw], TOTAL).await;
        let hash = answer.map(|answer| serde_json::from_value(answer).ok());
        return vec![understand(pool, node, hash)];
    }
    let params: Vec<String> = raws.iter().map(|raw| format!("[\"{raw}\"]")).collect();
    let answers = node.send_many(http, METHOD, &params, TOTAL).await;
    let said = answers
        .into_iter()
        .map(|answer| understand(pool, node, answer));
    said.collect()
}

fn understand(pool: &Shared, node: &Node, answer: Result<Option<B256>, RpcError>) -> Said {
    let error = match answer {
        Ok(hash) => {
            return Said {
                hash,
                ..SendOutcome::Accepted.into()
            };
        }
        Err(error) => error,
    };
    let RpcError::Refused {
        code,
        message,
        data,
        ..
    } = &error
    else {
        return Said::lost(&error);
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
        wait: None,
        hash: None,
    }
}
