//! One request or one batch, from its bytes to the bytes of its answer.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::Core;
use super::batch::View;
use super::block;
use super::envelope::{self, Answer, Body, Pieces, Request, Writer};
use super::method::{self, At, Kind, Own};
use super::observe;

/// Where a request came from, for what only one kind of connection can do.
pub(crate) enum From<'a> {
    Http,
    Socket(&'a super::subscriptions::Subscriber),
}

impl Core {
    /// Answers a body; none if there is nothing to answer (notifications).
    pub(crate) async fn handle(self: &Arc<Self>, body: &[u8], from: &From<'_>) -> Option<Pieces> {
        let mut writer = Writer::default();
        match envelope::read(body, self.config.max_batch) {
            Err(answer) => writer.answer("null", answer),
            Ok(Body::One(request)) => {
                let (id, answer) = self.answer(request, from, &View::default()).await;
                writer.answer(id?, answer);
            }
            Ok(Body::Batch(requests)) => {
                let view = self
                    .look_ahead(&requests, |method| self.config.permits(method))
                    .await;
                let mut asked = Vec::with_capacity(requests.len());
                for request in requests {
                    asked.push(self.answer(request, from, &view));
                }
                let mut answers = stream::iter(asked).buffered(self.config.max_concurrent);
                let mut any = false;
                while let Some((id, answer)) = answers.next().await {
                    let Some(id) = id else { continue };
                    writer.put(if any { b"," } else { b"[" });
                    any = true;
                    writer.answer(id, answer);
                }
                if !any {
                    return None;
                }
                writer.put(b"]");
            }
        }
        Some(writer.done())
    }

    async fn answer<'a>(
        self: &Arc<Self>,
        request: Result<Request<'a>, Answer>,
        from: &From<'_>,
        view: &View,
    ) -> (Option<&'a str>, Answer) {
        match request {
            Ok(request) => {
                let answer = self.one(&request, from, view).await;
                (request.id, answer)
            }
            Err(answer) => (Some("null"), answer),
        }
    }

    async fn one(self: &Arc<Self>, request: &Request<'_>, from: &From<'_>, view: &View) -> Answer {
        let started = std::time::Instant::now();
        let method = method::find(&request.method);
        let answer = if self.config.permits(&request.method) {
            self.permitted(method, request, from, view).await
        } else {
            let text = format!("the method {} is not allowed here", request.method);
            Answer::error(-32601, &text)
        };
        observe::answered(method, &answer, started.elapsed());
        answer
    }

    async fn permitted(
        self: &Arc<Self>,
        method: &'static method::Method,
        request: &Request<'_>,
        from: &From<'_>,
        view: &View,
    ) -> Answer {
        match method.kind {
            Kind::Own(own) => self.own(own, request, from).await,
            Kind::Send => self.send(request.params).await,
            Kind::Logs => self.logs(request.params).await,
            Kind::Light | Kind::Call | Kind::Trace | Kind::Other => {
                let tags = match view.tags() {
                    Some(tags) => Some(tags),
                    None => self.tags().await,
                };
                let Some(tags) = tags else {
                    return self.nobody(&[]);
                };
                let plan = self.plan(method, &request.method, request.params, tags);
                let answer = match view.answer(&plan) {
                    Some(answer) => answer,
                    None => self.read(plan).await,
                };
                match method.at {
                    At::Transaction | At::Hash => self.not_ahead(answer).await,
                    _ => answer,
                }
            }
        }
    }

    async fn own(self: &Arc<Self>, own: Own, request: &Request<'_>, from: &From<'_>) -> Answer {
        match own {
            Own::ChainId => Answer::text(&format!("{:#x}", self.pool.chain_id())),
            Own::BlockNumber => match self.tags().await {
                Some(tags) => Answer::text(&format!("{:#x}", tags.latest)),
                None => self.nobody(&[]),
            },
            Own::Accounts => Answer::literal("[]"),
            Own::NewFilter => self.new_log_filter(request.params),
            Own::NewBlockFilter => self.new_block_filter(),
            Own::FilterChanges => self.filter_changes(request.params).await,
            Own::FilterLogs => self.filter_logs(request.params).await,
            Own::UninstallFilter => self.uninstall_filter(request.params),
            Own::Subscribe => match from {
                From::Socket(subscriber) => subscriber.subscribe(self, request.params),
                From::Http => Answer::error(
                    -32601,
                    "notifications not supported: eth_subscribe needs a WebSocket connection",
                ),
            },
            Own::Unsubscribe => match from {
                From::Socket(subscriber) => subscriber.unsubscribe(request.params),
                From::Http => Answer::error(
                    -32601,
                    "notifications not supported: eth_unsubscribe needs a WebSocket connection",
                ),
            },
            Own::SendAndWait => self.send_and_wait(request.params).await,
            Own::NewPendingFilter => self.new_pending_filter(),
            Own::Syncing => match self.syncing() {
                Some(status) => Answer::Result(status),
                None => Answer::literal("false"),
            },
        }
    }

    /// The blocks the tags stand for, waiting a moment for the first one to be known.
    pub(crate) async fn tags(&self) -> Option<block::Tags> {
        if let Some(tags) = self.chain.tags() {
            return Some(tags);
        }
        let mut changed = self.chain.changed();
        let known = async {
            loop {
                if let Some(tags) = self.chain.tags() {
                    return Some(tags);
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(3), known)
            .await
            .ok()
            .flatten()
    }

    /// What lies in a block above the tip is given once the tip is there, because the next answer
    /// might otherwise seem to go back. A moment at most: the endpoint that has it has shown it.
    async fn not_ahead(&self, answer: Answer) -> Answer {
        let Answer::Result(result) = &answer else {
            return answer;
        };
        let Some(number) = block_number_of(result) else {
            return answer;
        };
        let mut changed = self.chain.changed();
        let reached = async {
            while self.chain.tags().is_none_or(|tags| tags.latest < number) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), reached).await;
        answer
    }
}

/// The first `blockNumber` (or a block's own `number`) in a result.
fn block_number_of(result: &[u8]) -> Option<u64> {
    // Close to the beginning or not at all; a large answer is not searched to its end.
    let text = std::str::from_utf8(&result[..result.len().min(16 << 10)]).ok()?;
    let at = ["\"blockNumber\"", "\"number\""]
        .iter()
        .find_map(|name| text.find(name).map(|at| at + name.len()))?;
    let value = text[at..].trim_start_matches([':', ' ', '"']);
    let end = value.find('"')?;
    u64::try_from(crate::quantity::parse(&value[..end])?).ok()
}

/// A method we do not know is put twice only if its name does not speak of doing something.
pub(crate) fn is_harmless(method: &str) -> bool {
    const DEEDS: &[&str] = &[
        "send", "submit", "sign", "set", "add", "remove", "start", "stop", "unlock", "import",
        "export", "write", "mine", "reset", "publish",
    ];
    let lower = method.to_lowercase();
    let name = lower.split_once('_').map_or(&*lower, |(_, name)| name);
    !DEEDS.iter().any(|deed| name.starts_with(deed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_of_a_receipt_or_a_header_is_found() {
        assert_eq!(
            block_number_of(br#"{"x":1,"blockNumber":"0x10"}"#),
            Some(16)
        );
        assert_eq!(block_number_of(br#"{"number": "0x5"}"#), Some(5));
        assert_eq!(block_number_of(br#"{"blockNumber":null}"#), None);
        assert_eq!(block_number_of(b"null"), None);
    }

    #[test]
    fn unknown_methods_that_speak_of_doing_something_are_not_repeated() {
        assert!(is_harmless("bor_getAuthor"));
        assert!(is_harmless("ots_getApiLevel"));
        for method in [
            "mev_sendBundle",
            "evm_mine",
            "anvil_setBalance",
            "hardhat_reset",
        ] {
            assert!(!is_harmless(method), "{method}");
        }
    }
}
