//! What one WebSocket client is told: heads and logs, from the journal and so without gaps and
//! without repetition, whatever becomes of endpoints.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::Core;
use super::chain::{Cursor, Gap};
use super::envelope::Answer;
use super::filters::{new_id, read_id, too_much};
use super::frames::Kind;
use super::interests::{Interests, LooksFor};
use super::line::{Line, TooSlow};
use super::log::Criteria;
use super::observe;
use super::teller::{News, Tellers};
use crate::pending::Wanted;

/// Bytes that the place of an address or a topic in an index takes, about.
const MARK_BYTES: usize = 128;
/// Said to a client for which no more is kept.
pub(crate) const TOO_SLOW: &str = "too slow: more is waiting than the gateway keeps";

/// One client's outgoing side.
pub(crate) struct Client {
    pub(crate) line: Line,
    pub(super) tellers: Tellers,
    /// Why the connection has to end, once it has to.
    end: Mutex<Option<(u16, String)>>,
    has_to_end: AtomicBool,
    pub(crate) ending: Notify,
    wanted: Mutex<AllWanted>,
    /// Who wants which logs, while a task of its own tells it.
    interests: Mutex<Interests>,
    /// Something new to look after.
    pub(super) woken: Notify,
}

/// What a client wants to be told, and who does it.
#[derive(Default)]
pub(super) struct AllWanted {
    pub(super) list: Vec<Subscription>,
    /// New, for those who tell it together with others.
    pub(super) waiting: Vec<Subscription>,
    /// Granted, and not begun yet.
    promised: usize,
    pub(super) by: By,
}

impl AllWanted {
    fn all(&self) -> impl Iterator<Item = &Subscription> {
        self.list.iter().chain(&self.waiting)
    }
}

#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    #[default]
    Nobody,
    /// Heads and nothing else: together with others like it.
    Teller,
    /// Not taken in yet where heads and logs are told together with others.
    Arriving,
    Together,
    /// A task of its own.
    Pump,
}

#[derive(Clone)]
pub(super) struct Subscription {
    pub(super) id: u128,
    pub(super) topic: Topic,
    pub(super) cursor: Cursor,
}

#[derive(Clone)]
pub(super) enum Topic {
    Heads,
    Logs(Arc<LooksFor>),
    /// Waiting transactions, from a place in what was told of them on.
    Pending {
        place: u64,
        /// Kept for as long as the subscription is there.
        _wanted: Arc<Wanted>,
    },
    /// Whether the client was told that we are syncing.
    Syncing(bool),
}

impl Topic {
    /// Whether the journal feeds it.
    pub(super) fn is_of_the_chain(&self) -> bool {
        matches!(self, Self::Heads | Self::Logs(_))
    }
}

impl Client {
    pub(crate) fn new(line: Line, tellers: Tellers) -> Arc<Self> {
        Arc::new(Self {
            line,
            tellers,
            end: Mutex::new(None),
            has_to_end: AtomicBool::new(false),
            ending: Notify::new(),
            wanted: Mutex::default(),
            interests: Mutex::default(),
            woken: Notify::new(),
        })
    }

    #[cfg(test)]
    pub(crate) fn heard() -> (Arc<Self>, tokio::sync::mpsc::UnboundedReceiver<Bytes>) {
        let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
        let client = Self::new(Line::heard_by(tell), Tellers::default());
        (client, heard)
    }

    /// Says something. A client that does not read is not told less: it is let go. With `more`, more
    /// is said at once.
    pub(crate) fn push(&self, message: Bytes, more: bool) {
        let said = self.line.push(Kind::Text, message, more);
        self.or_too_slow(said);
    }

    /// Something that has happened to a subscription.
    pub(super) fn notify(&self, id: u128, member: &str, content: &[u8]) {
        let (id, open) = (format!("{id:#x}"), format!("\",\"{member}\":"));
        let pieces = [NOTIFICATION, id.as_bytes(), open.as_bytes(), content, b"}}"];
        let said = match pieces.iter().map(|piece| piece.len()).sum() {
            0..=SMALL => self.line.push_pieces(Kind::Text, &pieces, false),
            _ => self.line.push(Kind::Text, pieces.concat().into(), false),
        };
        self.or_too_slow(said);
    }

    pub(super) fn or_too_slow(&self, said: Result<(), TooSlow>) {
        if said.is_err() && !self.has_to_end() {
            observe::slow_client();
            self.finish(1013, TOO_SLOW);
        }
    }

    pub(crate) fn finish(&self, code: u16, why: &str) {
        self.lock(&self.end)
            .get_or_insert_with(|| (code, why.to_owned()));
        self.has_to_end.store(true, Ordering::Release);
        self.ending.notify_one();
        self.woken.notify_one();
    }

    pub(crate) fn end(&self) -> Option<(u16, String)> {
        self.lock(&self.end).clone()
    }

    /// Whether nothing but the gateway's own end ends it.
    pub(crate) fn is_going_away(&self) -> bool {
        matches!(&*self.lock(&self.end), Some((1001, _)))
    }

    fn has_to_end(&self) -> bool {
        self.has_to_end.load(Ordering::Acquire)
    }

    /// It is not there any more.
    pub(crate) fn leave(&self) {
        self.line.end();
        self.woken.notify_one();
        let by = self.wanted().by;
        match by {
            By::Teller => self.tellers.heads.one_left(),
            By::Arriving | By::Together => self.tellers.together.leaves(self),
            By::Nobody | By::Pump => {}
        }
    }

    /// Nothing has to be told to it any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.has_to_end() || self.line.has_ended()
    }

    pub(super) fn wanted(&self) -> MutexGuard<'_, AllWanted> {
        self.lock(&self.wanted)
    }

    pub(super) fn interests(&self) -> MutexGuard<'_, Interests> {
        self.lock(&self.interests)
    }

    fn lock<'a, T>(&self, of: &'a Mutex<T>) -> MutexGuard<'a, T> {
        of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a gap in what this client was told, and it is told that.
    pub(super) fn fell_behind(&self, core: &Core) {
        observe::fatal_gap();
        let from = core.chain.tip().map_or(0, |tip| tip.head.number);
        let why = format!(
            "subscription gap: reconnect and look back with eth_getLogs; the chain is at {from}"
        );
        let subscriptions: Vec<Subscription> = self.wanted().all().cloned().collect();
        for subscription in subscriptions {
            let error = super::envelope::error_bytes(-32000, &why);
            self.notify(subscription.id, "error", &error);
        }
        self.finish(1012, "subscription gap");
    }

    /// Tells the heads that are news to it; false if that is not the teller's any more.
    pub(crate) fn is_told(&self, core: &Core, news: &mut News) -> bool {
        let told = {
            let mut wanted = self.wanted();
            if self.is_gone() || wanted.by != By::Teller {
                return false;
            }
            self.tell_heads(core, &mut wanted.list, news)
        };
        if told.is_err() {
            self.fell_behind(core);
        }
        told.is_ok()
    }

    /// Tells heads to those who want them.
    pub(super) fn tell_heads(
        &self,
        core: &Core,
        list: &mut [Subscription],
        news: &mut News,
    ) -> Result<(), Gap> {
        for subscription in list {
            if !matches!(subscription.topic, Topic::Heads) {
                continue;
            }
            let (heads, next) = news.since(&core.chain, subscription.cursor)?;
            subscription.cursor = next;
            for head in heads {
                let id = format!("{:#x}", subscription.id);
                let pieces = [NOTIFICATION, id.as_bytes(), head];
                let said = match head.len() {
                    0..=SMALL => self.line.push_pieces(Kind::Text, &pieces, false),
                    _ => self.line.push(Kind::Text, pieces.concat().into(), false),
                };
                self.or_too_slow(said);
            }
        }
        Ok(())
    }
}

/// How a notification begins; the id comes next.
const NOTIFICATION: &[u8] =
    br#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":""#;
/// Notifications up to about this size are put together where they are written.
const SMALL: usize = 8 << 10;

/// A client while one of its messages is answered. What the message subscribes to begins when its
/// answer is in line, so that no client is told about an id it does not know yet.
pub(crate) struct Subscriber {
    client: Arc<Client>,
    fresh: Mutex<Vec<Subscription>>,
}

impl Subscriber {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self {
            client,
            fresh: Mutex::default(),
        }
    }

    pub(crate) fn subscribe(&self, core: &Arc<Core>, params: &str) -> Answer {
        let wrong = |what: &str| Answer::error(-32602, what);
        let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(params) else {
            return wrong("invalid params: eth_subscribe takes a topic");
        };
        let name = list
            .first()
            .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let topic = match name.as_deref() {
            Some("newHeads") => Topic::Heads,
            Some("logs") => {
                let filter = list.get(1).map_or("{}", |raw| raw.get());
                let read = Criteria::read(if filter == "null" { "{}" } else { filter });
                let read = read.and_then(|it| it.may_be_kept().map(|()| it));
                match read.map(|criteria| self.looks_for(core, criteria)) {
                    Ok(Some(looks_for)) => Topic::Logs(looks_for),
                    Ok(None) => return too_much(core.config.max_held_bytes),
                    Err(what) => return wrong(&what),
                }
            }
            Some("newPendingTransactions") => {
                if list.get(1).is_some_and(|full| full.get() == "true") {
                    return wrong(
                        "newPendingTransactions gives hashes here; ask eth_getTransactionByHash for the transactions",
                    );
                }
                let pending = &core.pool.0.pending;
                // Wanted first: before that nothing is told.
                let _wanted = Arc::new(pending.want());
                let place = pending.now();
                Topic::Pending { place, _wanted }
            }
            Some("syncing") => Topic::Syncing(false),
            Some(other) => {
                return wrong(&format!(
                    "there is no subscription {other:?}: newHeads, logs, newPendingTransactions and syncing are there"
                ));
            }
            None => return wrong("invalid params: eth_subscribe takes a topic"),
        };
        {
            // Others may be granted at the same time.
            let mut wanted = self.client.wanted();
            if wanted.all().count() + wanted.promised >= core.config.max_subscriptions {
                return Answer::error(-32005, "too many subscriptions on one connection");
            }
            wanted.promised += 1;
        }
        let id = new_id();
        self.client.lock(&self.fresh).push(Subscription {
            id,
            topic,
            cursor: core.chain.now(),
        });
        Answer::text(&format!("{id:#x}"))
    }

    /// What it takes to look for this; none if that is more than a client may have, or than there is.
    fn looks_for(&self, core: &Core, criteria: Criteria) -> Option<Arc<LooksFor>> {
        let keeps = |subscription: &Subscription| match &subscription.topic {
            Topic::Logs(looks_for) => looks_for.keeps.bytes,
            _ => 0,
        };
        let client = &self.client;
        let has = client.wanted().all().map(keeps).sum::<usize>()
            + client.lock(&self.fresh).iter().map(keeps).sum::<usize>();
        // Each mark of it also has a place in the index.
        let bytes = criteria.bytes() + MARK_BYTES * criteria.marks().count();
        let held = core.config.max_held_bytes;
        let keeps = core.filters.keeping.take(bytes, has, held)?;
        Some(Arc::new(LooksFor { criteria, keeps }))
    }

    pub(crate) fn unsubscribe(&self, params: &str) -> Answer {
        let Some(id) = read_id(params) else {
            return Answer::error(
                -32602,
                "invalid params: eth_unsubscribe takes a subscription's id",
            );
        };
        if !self.client.tellers.together.ends(&self.client, id) {
            return Answer::error(-32601, "subscription not found");
        }
        self.client.interests().remove(id);
        Answer::literal("true")
    }

    /// The answer is in line: what was subscribed may speak.
    pub(crate) fn activate(self, core: &Arc<Core>) {
        let fresh = std::mem::take(&mut *self.client.lock(&self.fresh));
        if fresh.is_empty() {
            return;
        }
        let client = &self.client;
        let (before, by) = {
            let mut wanted = client.wanted();
            wanted.promised = wanted.promised.saturating_sub(fresh.len());
            let before = wanted.by;
            wanted.by = after(before, wanted.list.iter().chain(&fresh));
            match (before, wanted.by) {
                (By::Arriving | By::Together, _) => wanted.waiting.extend(fresh),
                (By::Pump, _) => {
                    client.is_interested(&fresh);
                    wanted.list.extend(fresh);
                }
                (_, By::Pump) => client.goes_alone(&mut wanted, fresh, core),
                _ => wanted.list.extend(fresh),
            }
            (before, wanted.by)
        };
        if before == By::Teller && by != By::Teller {
            client.tellers.heads.one_left();
        }
        match by {
            By::Nobody => {}
            By::Pump => client.woken.notify_one(),
            By::Arriving | By::Together => {
                client.tellers.together.arrives(Arc::clone(client), core)
            }
            By::Teller => {
                if before == By::Nobody {
                    client.tellers.heads.takes(Arc::clone(client), core);
                }
                // What came while the answer was on its way was told to others.
                let core = core.newest();
                client.is_told(&core, &mut News::default());
            }
        }
    }
}

/// Who tells a client that wants these, where it has been told by somebody before.
fn after<'a>(before: By, all: impl Iterator<Item = &'a Subscription> + Clone) -> By {
    match before {
        By::Arriving | By::Together | By::Pump => before,
        By::Nobody | By::Teller => {
            if all.clone().all(|it| matches!(it.topic, Topic::Heads)) {
                By::Teller
            } else if all.clone().all(|it| it.topic.is_of_the_chain()) {
                By::Arriving
            } else {
                By::Pump
            }
        }
    }
}
