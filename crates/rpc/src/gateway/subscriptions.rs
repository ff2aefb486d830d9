//! What one WebSocket client is told: heads and logs, from the journal and so without gaps and
//! without repetition, whatever becomes of endpoints.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Core;
use super::chain::{Block, Change, Cursor, Gap};
use super::envelope::Answer;
use super::filters::{new_id, read_id, too_much};
use super::frames::Kind;
use super::interests::{Interests, LooksFor};
use super::line::{Line, TooSlow};
use super::log::{Criteria, RawLog};
use super::observe;
use super::teller::{News, Teller};
use crate::pending::Wanted;

/// Logs that cannot be had are asked for again after this.
const LOGS_PAUSE: Duration = Duration::from_millis(250);
/// Whoever waits for the logs of a block for so long is told that they cannot be had.
const LOGS_PATIENCE: Duration = Duration::from_secs(600);
/// Waiting transactions told at once before somebody else has a turn.
const PENDING_AT_ONCE: usize = 256;
/// Bytes that the place of an address or a topic in an index takes, about.
const MARK_BYTES: usize = 128;
/// Logs looked at, and clients told of one, before somebody else has a turn.
const LOGS_AT_ONCE: usize = 128;
/// Whether we are syncing is looked at so often for those who want to know.
const SYNCING_EVERY: Duration = Duration::from_secs(1);

/// Said to a client for which no more is kept.
pub(crate) const TOO_SLOW: &str = "too slow: more is waiting than the gateway keeps";

/// One client's outgoing side.
pub(crate) struct Client {
    pub(crate) line: Line,
    /// Who tells those of heads who want nothing else.
    teller: Arc<Teller>,
    /// Why the connection has to end, once it has to.
    end: Mutex<Option<(u16, String)>>,
    has_to_end: AtomicBool,
    pub(crate) ending: Notify,
    wanted: Mutex<AllWanted>,
    /// Who wants which logs.
    interests: Mutex<Interests>,
    /// Something new to look after.
    woken: Notify,
}

/// What a client wants to be told, and who does it.
#[derive(Default)]
struct AllWanted {
    list: Vec<Subscription>,
    /// Granted, and not begun yet.
    promised: usize,
    by: By,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum By {
    #[default]
    Nobody,
    /// Heads and nothing else: together with others like it.
    Teller,
    /// A task of its own.
    Pump,
}

#[derive(Clone)]
struct Subscription {
    id: u128,
    topic: Topic,
    cursor: Cursor,
}

#[derive(Clone)]
enum Topic {
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
    fn is_of_the_chain(&self) -> bool {
        matches!(self, Self::Heads | Self::Logs(_))
    }
}

impl Client {
    pub(crate) fn new(line: Line, teller: Arc<Teller>) -> Arc<Self> {
        Arc::new(Self {
            line,
            teller,
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
        let client = Self::new(Line::heard_by(tell), Arc::default());
        (client, heard)
    }

    /// Says something. A client that does not read is not told less: it is let go. With `more`, more
    /// is said at once.
    pub(crate) fn push(&self, message: Bytes, more: bool) {
        let said = self.line.push(Kind::Text, message, more);
        self.or_too_slow(said);
    }

    /// Something that has happened to a subscription.
    fn notify(&self, id: u128, member: &str, content: &[u8]) {
        let (id, open) = (format!("{id:#x}"), format!("\",\"{member}\":"));
        let pieces = [NOTIFICATION, id.as_bytes(), open.as_bytes(), content, b"}}"];
        let said = match pieces.iter().map(|piece| piece.len()).sum() {
            0..=SMALL => self.line.push_pieces(Kind::Text, &pieces, false),
            _ => self.line.push(Kind::Text, pieces.concat().into(), false),
        };
        self.or_too_slow(said);
    }

    fn or_too_slow(&self, said: Result<(), TooSlow>) {
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
        if self.lock(&self.wanted).by == By::Teller {
            self.teller.one_left();
        }
    }

    /// Nothing has to be told to it any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.has_to_end() || self.line.has_ended()
    }

    fn lock<'a, T>(&self, of: &'a Mutex<T>) -> MutexGuard<'a, T> {
        of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells this client what the journal has for it, until it is gone.
    async fn pump(self: Arc<Self>, mut core: Arc<Core>) {
        let mut changed = core.chain.changed();
        let mut pending = core.pool.0.pending.news();
        while !self.is_gone() {
            core = core.newest();
            let aside = self.tell_aside(&core);
            match self.tell_next(&core).await {
                Ok(true) => {}
                Ok(false) if aside.told => {}
                Ok(false) => {
                    tokio::select! {
                        biased;
                        moved = changed.changed() => if moved.is_err() { return },
                        _ = pending.changed(), if aside.pending => {}
                        () = tokio::time::sleep(SYNCING_EVERY), if aside.syncing => {}
                        () = self.woken.notified() => {}
                    }
                }
                Err(Gap) => return self.fell_behind(&core),
            }
        }
    }

    /// There is a gap in what this client was told, and it is told that.
    fn fell_behind(&self, core: &Core) {
        observe::fatal_gap();
        let from = core.chain.tip().map_or(0, |tip| tip.head.number);
        let why = format!(
            "subscription gap: reconnect and look back with eth_getLogs; the chain is at {from}"
        );
        let subscriptions = self.lock(&self.wanted).list.clone();
        for subscription in subscriptions {
            let error = super::envelope::error_bytes(-32000, &why);
            self.notify(subscription.id, "error", &error);
        }
        self.finish(1012, "subscription gap");
    }

    /// Tells the heads that are news to it; false if that is not the teller's any more.
    pub(crate) fn is_told(&self, core: &Core, news: &mut News) -> bool {
        let told = {
            let mut wanted = self.lock(&self.wanted);
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
    fn tell_heads(
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

    /// Tells what does not come from the chain.
    fn tell_aside(&self, core: &Core) -> Aside {
        let mut aside = Aside::default();
        for subscription in self.lock(&self.wanted).list.iter_mut() {
            match &mut subscription.topic {
                Topic::Heads | Topic::Logs(_) => {}
                Topic::Pending { place, .. } => {
                    aside.pending = true;
                    let (hashes, next) = core.pool.0.pending.since(*place, PENDING_AT_ONCE);
                    *place = next;
                    aside.told |= !hashes.is_empty();
                    for hash in hashes {
                        let hash = format!("\"{hash}\"");
                        self.notify(subscription.id, "result", hash.as_bytes());
                    }
                }
                Topic::Syncing(told) => {
                    aside.syncing = true;
                    let syncing = core.syncing();
                    if syncing.is_some() == *told {
                        continue;
                    }
                    *told = syncing.is_some();
                    aside.told = true;
                    let content = match syncing {
                        None => Bytes::from_static(b"false"),
                        Some(status) => {
                            let status = String::from_utf8_lossy(&status);
                            format!(r#"{{"syncing":true,"status":{status}}}"#).into()
                        }
                    };
                    self.notify(subscription.id, "result", &content);
                }
            }
        }
        aside
    }

    /// Tells all new heads, if nothing but heads is wanted of the chain; true if there may be more.
    fn tell_only_heads(&self, core: &Core) -> Result<Option<bool>, Gap> {
        let mut wanted = self.lock(&self.wanted);
        let wants_logs = |it: &Subscription| matches!(it.topic, Topic::Logs(_));
        if wanted.list.iter().any(wants_logs) {
            return Ok(None);
        }
        let mut news = News::default();
        self.tell_heads(core, &mut wanted.list, &mut news)?;
        Ok(Some(news.is_more()))
    }

    /// Tells the oldest change somebody here has not been told; false if there is none.
    async fn tell_next(&self, core: &Arc<Core>) -> Result<bool, Gap> {
        if let Some(more) = self.tell_only_heads(core)? {
            return Ok(more);
        }
        let mut subscriptions = self.lock(&self.wanted).list.clone();
        subscriptions.retain(|subscription| subscription.topic.is_of_the_chain());
        let mut oldest: Option<(Cursor, Change, Cursor)> = None;
        for subscription in &subscriptions {
            let cursor = subscription.cursor;
            if oldest
                .as_ref()
                .is_some_and(|(oldest, ..)| !cursor.is_before(*oldest))
            {
                continue;
            }
            let (changes, next) = core.chain.since(cursor, 1)?;
            if let Some(change) = changes.into_iter().next() {
                oldest = Some((cursor, change, next));
            }
        }
        let Some((at, change, next)) = oldest else {
            return Ok(false);
        };
        // By their order.
        let due: HashMap<u128, usize> = subscriptions
            .iter()
            .filter(|subscription| subscription.cursor == at)
            .map(|subscription| subscription.id)
            .zip(0..)
            .collect();
        // Heads first, then the logs of the same block.
        for subscription in &subscriptions {
            if let (Topic::Heads, Change::Add(block)) = (&subscription.topic, &change)
                && due.contains_key(&subscription.id)
            {
                self.notify(subscription.id, "result", &block.header);
            }
        }
        let wants_logs =
            |it: &Subscription| matches!(it.topic, Topic::Logs(_)) && due.contains_key(&it.id);
        if subscriptions.iter().any(wants_logs) {
            match &change {
                Change::Add(block) => self.tell_logs(core, block, &due).await?,
                Change::Remove(block) => self.tell_removed(block, &due).await,
            }
        }
        for subscription in self.lock(&self.wanted).list.iter_mut() {
            if due.contains_key(&subscription.id) {
                subscription.cursor = next;
            }
        }
        Ok(true)
    }

    async fn tell_logs(
        &self,
        core: &Arc<Core>,
        block: &Block,
        due: &HashMap<u128, usize>,
    ) -> Result<(), Gap> {
        if let Some(bloom) = block.head.logs_bloom.as_deref()
            && !bloom.is_zero()
            && !self.lock(&self.interests).may_be_in(bloom)
        {
            return Ok(());
        }
        let asked = Instant::now();
        let logs = loop {
            if let Some(logs) = core.newest().logs_of(block).await {
                break logs;
            }
            // Gone from the chain and from all endpoints: told nobody, missed by nobody.
            if !core.chain.is_canonical(block) || self.is_gone() {
                return Ok(());
            }
            if asked.elapsed() > LOGS_PATIENCE {
                return Err(Gap);
            }
            tokio::time::sleep(LOGS_PAUSE).await;
        };
        let logs = logs.list.iter().map(|log| (log, log.raw.clone()));
        self.tell_each(logs, due).await;
        Ok(())
    }

    async fn tell_removed(&self, block: &Block, due: &HashMap<u128, usize>) {
        let Some(logs) = block.logs.lock().await.clone() else {
            return;
        };
        let logs = logs.list.iter().rev().map(|log| (log, log.removed()));
        self.tell_each(logs, due).await;
    }

    /// Tells each log, in these words, to those of the due who want it, in their order.
    async fn tell_each(
        &self,
        logs: impl Iterator<Item = (&RawLog, Bytes)>,
        due: &HashMap<u128, usize>,
    ) {
        let mut at_once = 0;
        for (log, words) in logs {
            let found = self.lock(&self.interests).of(log);
            let mut who: Vec<(usize, u128)> = found
                .into_iter()
                .filter_map(|id| due.get(&id).map(|order| (*order, id)))
                .collect();
            who.sort_unstable();
            at_once += 1 + who.len();
            for (_, id) in who {
                self.notify(id, "result", &words);
            }
            if at_once >= LOGS_AT_ONCE {
                at_once = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// What is wanted beside the chain, and whether any of it was there to tell.
#[derive(Default)]
struct Aside {
    told: bool,
    pending: bool,
    syncing: bool,
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
            let mut wanted = self.client.lock(&self.client.wanted);
            if wanted.list.len() + wanted.promised >= core.config.max_subscriptions {
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
        let kept = |list: &[Subscription]| {
            let logs = list.iter().map(|subscription| match &subscription.topic {
                Topic::Logs(looks_for) => looks_for.keeps.bytes,
                _ => 0,
            });
            logs.sum::<usize>()
        };
        let client = &self.client;
        let has = kept(&client.lock(&client.wanted).list) + kept(&client.lock(&self.fresh));
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
        let mut wanted = self.client.lock(&self.client.wanted);
        let before = wanted.list.len();
        wanted.list.retain(|subscription| subscription.id != id);
        if wanted.list.len() == before {
            return Answer::error(-32601, "subscription not found");
        }
        drop(wanted);
        self.client.lock(&self.client.interests).remove(id);
        Answer::literal("true")
    }

    /// The answer is in line: what was subscribed may speak.
    pub(crate) fn activate(self, core: &Arc<Core>) {
        let fresh = std::mem::take(&mut *self.client.lock(&self.fresh));
        if fresh.is_empty() {
            return;
        }
        let client = &self.client;
        {
            let mut interests = client.lock(&client.interests);
            for subscription in &fresh {
                if let Topic::Logs(looks_for) = &subscription.topic {
                    interests.add(subscription.id, Arc::clone(looks_for));
                }
            }
        }
        let before = {
            let mut wanted = client.lock(&client.wanted);
            wanted.promised = wanted.promised.saturating_sub(fresh.len());
            wanted.list.extend(fresh);
            let only_heads = wanted
                .list
                .iter()
                .all(|it| matches!(it.topic, Topic::Heads));
            let by = match wanted.by {
                By::Nobody | By::Teller if only_heads => By::Teller,
                _ => By::Pump,
            };
            (std::mem::replace(&mut wanted.by, by), by)
        };
        match before {
            (_, By::Nobody) => {}
            (By::Pump, _) => client.woken.notify_one(),
            (before, By::Pump) => {
                if before == By::Teller {
                    client.teller.one_left();
                }
                tokio::spawn(Arc::clone(client).pump(Arc::clone(core)));
            }
            (before, By::Teller) => {
                if before == By::Nobody {
                    client.teller.takes(Arc::clone(client), core);
                }
                // What came while the answer was on its way was told to others.
                let core = core.newest();
                client.is_told(&core, &mut News::default());
            }
        }
    }
}
