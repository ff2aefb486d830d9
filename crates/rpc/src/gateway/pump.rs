//! Telling one client on a task of its own: whoever wants more than heads and logs, and whoever is
//! not where the others are (`together`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Core;
use super::chain::{Block, Change, Cursor, Gap, Kept};
use super::interests::Interests;
use super::log::RawLog;
use super::subscriptions::{AllWanted, By, Client, Subscription, Topic};
use super::teller::News;

/// Logs that cannot be had are asked for again after this.
pub(super) const LOGS_PAUSE: Duration = Duration::from_millis(250);
/// Whoever waits for the logs of a block for so long is told that they cannot be had.
const LOGS_PATIENCE: Duration = Duration::from_secs(600);
/// Waiting transactions told at once before somebody else has a turn.
const PENDING_AT_ONCE: usize = 256;
/// Logs looked at, and clients told of one, before somebody else has a turn.
pub(super) const LOGS_AT_ONCE: usize = 128;
/// Whether we are syncing is looked at so often for those who want to know.
const SYNCING_EVERY: Duration = Duration::from_secs(1);

impl Client {
    /// Tells this client what the journal has for it, until it is gone.
    pub(super) async fn pump(self: Arc<Self>, mut core: Arc<Core>) {
        let mut changed = core.chain.changed();
        let mut pending = core.pool.0.pending.news();
        while !self.is_gone() {
            core = core.newest();
            let aside = self.tell_aside(&core);
            match self.tell_next(&core).await {
                Ok(true) => {}
                Ok(false) if aside.told => {}
                // It is where the others are.
                Ok(false) if self.joins_the_others(&core) => return,
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

    /// Goes where it is told together with others, if it wants what they are told there.
    fn joins_the_others(self: &Arc<Self>, core: &Arc<Core>) -> bool {
        {
            let mut wanted = self.wanted();
            if !wanted.list.iter().all(|it| it.topic.is_of_the_chain()) {
                return false;
            }
            wanted.by = By::Arriving;
            *self.interests() = Interests::default();
        }
        self.tellers.together.arrives(Arc::clone(self), core);
        true
    }

    /// Is told on a task of its own from now on, of what waits as well.
    pub(super) fn goes_alone(
        self: &Arc<Self>,
        wanted: &mut AllWanted,
        waiting: Vec<Subscription>,
        core: &Arc<Core>,
    ) {
        self.is_interested(&waiting);
        wanted.list.extend(waiting);
        wanted.by = By::Pump;
        tokio::spawn(Arc::clone(self).pump(Arc::clone(core)));
    }

    /// Notes which logs are wanted, for a task of its own.
    pub(super) fn is_interested(&self, list: &[Subscription]) {
        let mut interests = self.interests();
        for subscription in list {
            if let Topic::Logs(looks_for) = &subscription.topic {
                interests.add(subscription.id, Arc::clone(looks_for));
            }
        }
    }

    /// Tells what does not come from the chain.
    fn tell_aside(&self, core: &Core) -> Aside {
        let mut aside = Aside::default();
        for subscription in self.wanted().list.iter_mut() {
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
        let mut wanted = self.wanted();
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
        let mut subscriptions = self.wanted().list.clone();
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
                Change::Add(block) if self.may_want(block) => {
                    core.fetch_ahead(next, |block| self.may_want(block));
                    self.tell_logs(core, block, &due).await?;
                }
                Change::Add(_) => {}
                Change::Remove(block) => self.tell_removed(block, &due).await,
            }
        }
        for subscription in self.wanted().list.iter_mut() {
            if due.contains_key(&subscription.id) {
                subscription.cursor = next;
            }
        }
        Ok(true)
    }

    fn may_want(&self, block: &Block) -> bool {
        let bloom = block.head.logs_bloom.as_deref();
        bloom.is_none_or(|bloom| bloom.is_zero() || self.interests().may_be_in(bloom))
    }

    async fn tell_logs(
        &self,
        core: &Arc<Core>,
        block: &Block,
        due: &HashMap<u128, usize>,
    ) -> Result<(), Gap> {
        let asked = Instant::now();
        let logs = loop {
            match core.newest().logs_of(block).await {
                Kept::All(logs) => break logs,
                Kept::Untold => return Ok(()),
                Kept::NotYet if self.is_gone() => return Ok(()),
                Kept::NotYet => {}
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
        let Kept::All(logs) = block.logs.lock().await.clone() else {
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
            let found = self.interests().of(log);
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
