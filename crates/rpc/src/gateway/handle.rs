//! One request or one batch, from its bytes to the bytes of its answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;

use super::Core;
use super::access::Caller;
use super::batch::View;
use super::block;
use super::depth::is_deeper_than;
use super::envelope::{self, Answer, Body, NoRequest, Pieces, Request, Writer, error_bytes};
use super::horizon::up_to;
use super::method::{self, At, Kind, Own};
use super::observe;
use super::quota::{self, Exhausted};

/// Without any upstream for so long, the newest block is not told any more.
const OUTAGE: Duration = Duration::from_secs(10);

/// Who a request is from, and over what: some things only one kind of connection can do.
pub(crate) struct From<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) socket: Option<&'a super::subscriptions::Subscriber>,
    /// When its turn came: all of it was there, and what the connection asked before was answered.
    pub(crate) arrived: Instant,
}

/// What became of a body.
pub(crate) struct Handled<'b> {
    pub(crate) said: Said<'b>,
    /// Set if nothing was done at all because a quota is spent, the client's or those of all
    /// upstreams: for how long.
    pub(crate) wait: Option<Duration>,
}

/// What is answered.
pub(crate) enum Said<'b> {
    /// There is nothing to answer (notifications).
    Nothing,
    /// To one request, under its id.
    One(&'b str, Answer),
    /// To all of a batch.
    Batch(Pieces),
}

impl Said<'_> {
    /// The bytes of it.
    pub(crate) fn pieces(self) -> Option<Pieces> {
        match self {
            Self::Nothing => None,
            Self::One(id, answer) => {
                let mut writer = Writer::default();
                writer.answer(id, answer);
                Some(writer.done())
            }
            Self::Batch(pieces) => Some(pieces),
        }
    }
}

impl<'b> Handled<'b> {
    fn one(id: Option<&'b str>, answered: Answered) -> Self {
        Self {
            said: match id {
                Some(id) => Said::One(id, answered.answer),
                None => Said::Nothing,
            },
            wait: answered.exhausted,
        }
    }
}

impl Core {
    /// Answers a body.
    pub(crate) async fn handle<'b>(
        self: &Arc<Self>,
        body: &'b [u8],
        from: &From<'_>,
    ) -> Handled<'b> {
        if is_deeper_than(self.config.max_depth, body) {
            let text = format!("nested more than {} deep", self.config.max_depth);
            let answer = Answer::Nameless(error_bytes(-32600, &text));
            return Handled::one(Some("null"), answer.into());
        }
        match envelope::read(body, self.config.max_batch) {
            Err(answer) => Handled::one(Some("null"), answer.into()),
            Ok(Body::One(Err(wrong))) => Handled::one(Some(wrong.id), wrong.answer.into()),
            Ok(Body::One(Ok(request))) => {
                let entry = self.lets_in(&request, from.caller);
                let answered = self
                    .one(&request, entry, from, &View::default(), from.arrived)
                    .await;
                Handled::one(request.id, answered)
            }
            Ok(Body::Batch(requests)) => Box::pin(self.handle_batch(requests, from)).await,
        }
    }

    async fn handle_batch(
        self: &Arc<Self>,
        requests: Vec<Result<Request<'_>, NoRequest<'_>>>,
        from: &From<'_>,
    ) -> Handled<'static> {
        let mut writer = Writer::default();
        // Paid for before anything is asked: what a quota does not cover reaches no upstream.
        let mut entered = Vec::with_capacity(requests.len());
        for request in requests {
            let entry = match &request {
                Ok(request) => self.lets_in(request, from.caller),
                Err(wrong) => Err(wrong.answer.clone().into()),
            };
            entered.push((request, entry));
        }
        // Those behind the first may not have been begun when the client goes away.
        let is_sent = |method: &method::Method| {
            matches!(method.kind, Kind::Send | Kind::Own(Own::SendAndWait))
        };
        let mut methods = entered.iter().filter_map(|(_, entry)| entry.as_ref().ok());
        let _sending = methods
            .any(|method| is_sent(method))
            .then(|| self.kept.sending.begin());
        let paid = entered.iter().filter_map(|(request, entry)| {
            let (request, method) = (request.as_ref().ok()?, *entry.as_ref().ok()?);
            Some((method, request))
        });
        let view = self.look_ahead(paid).await;
        let mut asked = Vec::with_capacity(entered.len());
        for (request, entry) in entered {
            asked.push(self.answer(request, entry, from, &view));
        }
        let mut answers = stream::iter(asked).buffered(self.config.max_concurrent);
        let (mut any, mut done) = (false, false);
        let mut wait = None;
        while let Some((id, answer)) = answers.next().await {
            done |= answer.exhausted.is_none();
            wait = wait.max(answer.exhausted);
            let Some(id) = id else { continue };
            writer.put(if any { b"," } else { b"[" });
            any = true;
            writer.answer(id, answer.answer);
        }
        writer.put(b"]");
        Handled {
            said: match any {
                true => Said::Batch(writer.done()),
                false => Said::Nothing,
            },
            wait: wait.filter(|_| !done),
        }
    }

    async fn answer<'a>(
        self: &Arc<Self>,
        request: Result<Request<'a>, NoRequest<'a>>,
        entry: Result<&'static method::Method, Answered>,
        from: &From<'_>,
        view: &View,
    ) -> (Option<&'a str>, Answered) {
        match request {
            Ok(request) => {
                // What they had to wait for each other is nobody's time.
                let answer = self.one(&request, entry, from, view, Instant::now()).await;
                (request.id, answer)
            }
            Err(wrong) => (Some(wrong.id), wrong.answer.into()),
        }
    }

    async fn one(
        self: &Arc<Self>,
        request: &Request<'_>,
        entry: Result<&'static method::Method, Answered>,
        from: &From<'_>,
        view: &View,
        began: Instant,
    ) -> Answered {
        let method = match &entry {
            Ok(method) => *method,
            Err(_) => method::find(&request.method),
        };
        let answer = match entry {
            Ok(method) => match self.usual_view(method, view) {
                Some(tags) => {
                    let (name, params) = (&request.method, request.params);
                    let purse = from.caller.purse;
                    let asked = self.read_at(method, name, params, tags, purse).await;
                    asked.answer.into()
                }
                // What is rare has a place of its own, so that the usual question stays small: each
                // one under way is moved about, and held in memory, as large as the largest may become.
                None => Box::pin(self.permitted(method, request, from, view))
                    .await
                    .into(),
            },
            Err(refused) => refused,
        };
        observe::answered(method, &answer.answer, began.elapsed());
        answer
    }

    /// The blocks the tags stand for now, if the question is a read of its own.
    fn usual_view(&self, method: &method::Method, view: &View) -> Option<block::Tags> {
        let is_read = matches!(
            method.kind,
            Kind::Light | Kind::Call | Kind::Trace | Kind::Other
        );
        match view.tags() {
            None if is_read => self.chain.tags(),
            _ => None,
        }
    }

    /// Whether a request may be put, and has been paid for; done once for each.
    fn lets_in(
        &self,
        request: &Request<'_>,
        caller: &Caller,
    ) -> Result<&'static method::Method, Answered> {
        let method = method::find(&request.method);
        if !self.may(caller, method, &request.method) {
            let text = format!("the method {} is not allowed here", request.method);
            return Err(Answer::error(-32601, &text).into());
        }
        if self.pool.known_chain_id().is_none() {
            return Err(self.nobody(&[]).into());
        }
        self.spans_no_more_than_it_may(method, request.params)?;
        if let Err(exhausted) = self.pays(caller, method, request.params) {
            observe::over_quota(caller.name.as_deref());
            return Err(exhausted);
        }
        Ok(method)
    }

    /// Refuses a filter over too many blocks where an endpoint answers it as a whole; `eth_getLogs`
    /// sees to that itself.
    fn spans_no_more_than_it_may(
        &self,
        method: &method::Method,
        params: &str,
    ) -> Result<(), Answered> {
        if method.at != At::Filter || method.kind == Kind::Logs {
            return Ok(());
        }
        let Some(tags) = self.chain.tags() else {
            return Ok(());
        };
        if block::spanned(params, tags, begins(method, tags))? >= self.config.max_log_range {
            return Err(too_wide(self.config.max_log_range).into());
        }
        Ok(())
    }

    fn may(&self, caller: &Caller, method: &'static method::Method, name: &str) -> bool {
        let more = caller.methods.as_ref();
        // What a key is given by name is given although it is refused to everybody else.
        let given = more.is_some_and(|rules| rules.gives(name));
        let permits = || match self.permitted.get(method) {
            Some(known) => known,
            None => self.config.methods.permit(name),
        };
        (given || permits()) && more.is_none_or(|rules| rules.permit(name))
    }

    fn pays(
        &self,
        caller: &Caller,
        method: &'static method::Method,
        params: &str,
    ) -> Result<(), Answered> {
        let Some(bucket) = &caller.bucket else {
            return Ok(());
        };
        let tags = || self.chain.tags().unwrap_or_default();
        let (kind, blocks) = match (method.kind, method.at) {
            (Kind::Logs, _) => (method.kind, blocks_of(params, tags())),
            (kind, At::Filter) => {
                let from = begins(method, tags());
                (kind, block::spanned(params, tags(), from).unwrap_or(0))
            }
            // Costs what its question costs.
            (Kind::Own(Own::FilterLogs), _) => match self.filter_asks(params) {
                Some(asks) => (Kind::Logs, blocks_of(&asks, tags())),
                None => (method.kind, 0),
            },
            (kind, _) => (kind, 0),
        };
        bucket
            .take(quota::cost(kind, blocks))
            .map_err(|Exhausted(wait)| {
                let text = format!(
                    "rate limited: {} units per second; retry after {:.1} s",
                    bucket.quota().units_per_second,
                    wait.as_secs_f64()
                );
                Answered {
                    answer: Answer::error(-32005, &text),
                    exhausted: Some(wait),
                }
            })
    }

    async fn permitted(
        self: &Arc<Self>,
        method: &'static method::Method,
        request: &Request<'_>,
        from: &From<'_>,
        view: &View,
    ) -> Answer {
        match method.kind {
            Kind::Own(own) => self.own(own, request, from, view).await,
            Kind::Send => self.send(request.params).await,
            Kind::Logs => {
                let asked = self.logs(request.params, view.tags(), from.caller.purse);
                asked.await.answer
            }
            Kind::Light | Kind::Call | Kind::Trace | Kind::Other => {
                match view.tags() {
                    // All of a batch is about one block, come what may.
                    Some(tags) => {
                        let mut plan = self.plan(method, &request.method, request.params, tags);
                        plan.question.purse = from.caller.purse;
                        let needs = plan.question.needs;
                        let asked = match view.answer(&plan) {
                            Some(answer) => answer.into(),
                            None => self.read(plan).await,
                        };
                        up_to(tags.latest, method, needs, asked).answer
                    }
                    None => match self.tags().await {
                        Some(tags) => {
                            let (name, params) = (&request.method, request.params);
                            let purse = from.caller.purse;
                            let asked = self.read_at(method, name, params, tags, purse);
                            asked.await.answer
                        }
                        None => self.nobody(&[]),
                    },
                }
            }
        }
    }

    async fn own(
        self: &Arc<Self>,
        own: Own,
        request: &Request<'_>,
        from: &From<'_>,
        view: &View,
    ) -> Answer {
        match own {
            Own::ChainId => Answer::text(&format!("{:#x}", self.pool.chain_id())),
            // A chain that seems to stand still would hide the outage.
            Own::BlockNumber if self.pool.0.usable.are_gone_for(OUTAGE) => self.nobody(&[]),
            Own::BlockNumber => match self.tags_of(view).await {
                Some(tags) => Answer::text(&format!("{:#x}", tags.latest)),
                None => self.nobody(&[]),
            },
            Own::Accounts => Answer::literal("[]"),
            Own::NewFilter => self.new_log_filter(request.params, from.caller),
            Own::NewBlockFilter => self.new_block_filter(from.caller),
            Own::FilterChanges => self.filter_changes(request.params).await,
            Own::FilterLogs => self.filter_logs(request.params, from.caller.purse).await,
            Own::UninstallFilter => self.uninstall_filter(request.params),
            Own::Subscribe => match from.socket {
                Some(subscriber) => subscriber.subscribe(self, request.params),
                None => Answer::error(
                    -32601,
                    "notifications not supported: eth_subscribe needs a WebSocket connection",
                ),
            },
            Own::Unsubscribe => match from.socket {
                Some(subscriber) => subscriber.unsubscribe(request.params),
                None => Answer::error(
                    -32601,
                    "notifications not supported: eth_unsubscribe needs a WebSocket connection",
                ),
            },
            Own::SendAndWait => self.send_and_wait(request.params).await,
            Own::NewPendingFilter => self.new_pending_filter(from.caller),
            Own::Syncing => self.whether_syncing(),
        }
    }

    /// The blocks the tags stand for in a batch, or else now.
    async fn tags_of(&self, view: &View) -> Option<block::Tags> {
        match view.tags() {
            Some(tags) => Some(tags),
            None => self.tags().await,
        }
    }

    /// The same while somebody follows the chain; what nobody follows is nothing to stand on.
    pub(crate) async fn view(&self) -> Option<block::Tags> {
        match self.is_followed() {
            true => self.tags().await,
            false => None,
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
}

/// An answer, and for how long to wait if the client's quota or those of the upstreams are spent.
struct Answered {
    answer: Answer,
    exhausted: Option<Duration>,
}

impl std::convert::From<Answer> for Answered {
    fn from(answer: Answer) -> Self {
        let exhausted = match answer {
            Answer::Later(_, wait) => Some(wait),
            _ => None,
        };
        Self { answer, exhausted }
    }
}

/// Where a filter begins that does not say it. Clients differ about traces; more is assumed.
fn begins(method: &method::Method, tags: block::Tags) -> u64 {
    match method.name {
        "trace_filter" | "arbtrace_filter" => 0,
        _ => tags.latest,
    }
}

/// Said of a range that is refused for its width.
pub(super) fn too_wide(most: u64) -> Answer {
    Answer::error(-32005, &format!("exceed maximum block range {most}"))
}

/// Blocks a filter spans; what cannot be read is refused before anybody is asked.
fn blocks_of(params: &str, tags: block::Tags) -> u64 {
    block::LogsQuestion::read(params, tags).map_or(0, |question| question.span())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_of_a_look_at_logs_is_read_from_its_filter() {
        let tags = block::Tags {
            latest: 5000,
            ..block::Tags::default()
        };
        for (params, blocks) in [
            (r#"[{"fromBlock":"0x0","toBlock":"0x3e8"}]"#, 1000),
            (r#"[{"fromBlock":"earliest"}]"#, 5000),
            (r#"[{"from\u0042lock":"earliest"}]"#, 5000),
            (r#"[{"fromBlock":"0x10","toBlock":"latest"}]"#, 4984),
            (r#"[{"fromBlock":"0x10","toBlock":"pending"}]"#, 4984),
            (r#"[{"topics":[]}]"#, 0),
            (r#"[{"fromBlock":4999}]"#, 1),
            ("[]", 0),
        ] {
            assert_eq!(blocks_of(params, tags), blocks, "{params}");
        }
    }
}
