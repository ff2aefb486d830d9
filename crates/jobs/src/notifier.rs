use std::sync::Arc;
use std::time::Duration;

use dodona_pipeline::{CallOrigin, HttpCall, Reach};
use dodona_runtime::{Service, clock};
use dodona_store::notices::{self, Notice};
use dodona_store::{Leader, Store};
use futures_util::future::join_all;
use serde::Serialize;

use crate::{Outside, observe};

/// Messages sent at once, at most.
const AT_ONCE: u32 = 16;
/// Longest time for one message.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody has more to say to us than this, bytes.
const MAX_REPLY: usize = 64 * 1024;
/// Pauses before a message is tried again; after the last one it is given up.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
];

/// What one round did.
#[derive(Debug, Default, Serialize)]
pub struct Round {
    told: usize,
    failed: usize,
    more: bool,
}

/// Tells external initiators which jobs they may start, as rows ask for. At least once and in order for
/// each job; what cannot be told after a few times is given up, and the job works all the same.
pub struct Notifier(Arc<Outside>);

impl Notifier {
    /// Sends through the node's way out. Initiators are the operator's own services: they may be on
    /// private addresses.
    pub fn new(outside: Arc<Outside>) -> Self {
        Self(outside)
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    async fn tell(&self, notice: &Notice) -> Result<(), String> {
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let call = HttpCall {
            reach: Reach::Unrestricted,
            method: notice.spec.method.clone(),
            url: notice
                .spec
                .url
                .parse()
                .map_err(|error| format!("its URL cannot be read: {error}"))?,
            headers: vec![
                text("Content-Type", "application/json"),
                text("X-Chainlink-EA-AccessKey", &notice.outgoing_token),
                text("X-Chainlink-EA-Secret", &notice.outgoing_secret),
            ],
            body: notice.spec.body.clone().map(String::into_bytes),
            timeout: Some(TIMEOUT),
            max_response_bytes: MAX_REPLY,
            idempotency_key: None,
            origin: CallOrigin {
                external_job_id: notice.spec.external_job_id.to_string(),
                ..CallOrigin::default()
            },
        };
        let reply = self.0.egress.send(call).await;
        match reply.map_err(|error| error.to_string())?.status {
            200..=299 => Ok(()),
            status => Err(format!("it answered with status {status}")),
        }
    }
}

impl Service<Leader> for Notifier {
    type Report = Round;

    /// Waits for those it talks to, each for a bounded time: nothing else is done here.
    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Round> {
        let due = notices::due(&mut self.store().read().await?, clock::now(), AT_ONCE).await?;
        let mut round = Round {
            more: due.len() == AT_ONCE as usize,
            ..Round::default()
        };
        let this = &*self;
        let told = join_all(due.iter().map(|notice| this.tell(notice))).await;
        for (notice, told) in due.iter().zip(told) {
            let pause = PAUSES.get(notice.attempts as usize);
            let mut tx = lead.begin().await?;
            match (&told, pause) {
                (Err(_), Some(pause)) => {
                    notices::postpone(&mut tx, notice.id, clock::now().plus(*pause)).await?;
                }
                _ => notices::delete(&mut tx, notice.id).await?,
            }
            tx.commit().await?;
            match told {
                Ok(()) => {
                    round.told += 1;
                    // The next message about the same job may go now.
                    round.more = true;
                    observe::told(notice);
                }
                Err(why) => {
                    round.failed += 1;
                    observe::not_told(notice, &why, pause.is_some());
                }
            }
        }
        Ok(round)
    }

    fn worked(_: &Round) -> bool {
        false
    }

    fn again(round: &Round) -> bool {
        round.more
    }
}
