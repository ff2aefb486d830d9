//! Telling heads and logs to the many: all clients of one worker that want nothing but these, and
//! stand at the same place, are told by one task. A log finds those who want it, so a client that
//! wants others costs nothing.
//!
//! A client arrives here when a task of its own (`pump`) has brought it to the end of the journal. It
//! is given one again when it has to be told what the others were told already, or waits for logs
//! that are not to be had now, which those who want others need not wait for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Core;
use super::chain::{Block, Change, Cursor, Gap, Kept};
use super::interests::{Interests, LooksFor};
use super::log::{BlockLogs, RawLog};
use super::pump::{LOGS_AT_ONCE, LOGS_PAUSE};
use super::subscriptions::{AllWanted, By, Client, Subscription, Topic};

/// Whoever wants logs of a block that cannot be had within this time waits for them alone.
const TOGETHER_FOR: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Together {
    members: Mutex<Members>,
    woken: Notify,
}

/// To be locked before what a client wants.
#[derive(Default)]
struct Members {
    /// A task tells them.
    at_work: bool,
    /// Up to here all have been told; none before there is anybody.
    at: Option<Cursor>,
    /// Who wants which logs, by the subscription's id.
    interests: Interests,
    logs: BTreeMap<u128, Member>,
    heads: BTreeMap<u128, Member>,
    /// Subscriptions taken so far: a client's are told in their order.
    taken: u64,
    /// Clients with something new.
    arrivals: Vec<Arc<Client>>,
}

#[derive(Clone)]
struct Member {
    client: Arc<Client>,
    order: u64,
    /// What it is to be told begins here.
    from: Cursor,
}

/// What has to be told next.
struct Due {
    at: Cursor,
    change: Change,
    next: Cursor,
}

enum Next {
    /// There is nobody left to tell.
    Nobody,
    Nothing,
    Told(Due),
}

impl Together {
    /// There is something new about this client.
    pub(super) fn arrives(self: &Arc<Self>, client: Arc<Client>, core: &Arc<Core>) {
        let mut members = self.members();
        members.arrivals.push(client);
        if std::mem::replace(&mut members.at_work, true) {
            self.woken.notify_one();
        } else {
            tokio::spawn(Arc::clone(self).work(Arc::clone(core)));
        }
    }

    /// It is not there any more.
    pub(super) fn leaves(&self, client: &Client) {
        let mut members = self.members();
        members
            .arrivals
            .retain(|other| !std::ptr::eq(&**other, client));
        let wanted = client.wanted();
        if wanted.by == By::Together {
            members.remove(wanted.list.iter().map(|subscription| subscription.id));
            self.woken.notify_one();
        }
    }

    /// Ends a subscription of a client; false if it has no such one.
    pub(super) fn ends(&self, client: &Client, id: u128) -> bool {
        let mut members = self.members();
        let mut wanted = client.wanted();
        let before = wanted.list.len() + wanted.waiting.len();
        let AllWanted { list, waiting, .. } = &mut *wanted;
        for of in [list, waiting] {
            of.retain(|subscription| subscription.id != id);
        }
        if wanted.by == By::Together {
            members.remove([id]);
        }
        before > wanted.list.len() + wanted.waiting.len()
    }

    async fn work(self: Arc<Self>, mut core: Arc<Core>) {
        let mut changed = core.chain.changed();
        loop {
            core = core.newest();
            changed.mark_unchanged();
            match self.next(&core) {
                Next::Nobody => return,
                Next::Nothing => {
                    tokio::select! {
                        moved = changed.changed() => if moved.is_err() { return },
                        () = self.woken.notified() => {}
                    }
                }
                Next::Told(due) => {
                    self.tell(&core, &due).await;
                    self.members().at = Some(due.next);
                }
            }
        }
    }

    /// Takes those in who arrived, and finds what all have to be told next.
    fn next(&self, core: &Arc<Core>) -> Next {
        let mut members = self.members();
        members.settle(core);
        let at = match members.at {
            Some(at) if !members.is_empty() => at,
            _ => {
                members.at_work = false;
                return Next::Nobody;
            }
        };
        match core.chain.since(at, 1) {
            Ok((mut changes, next)) => match changes.pop() {
                Some(change) => Next::Told(Due { at, change, next }),
                None => Next::Nothing,
            },
            Err(Gap) => {
                for client in members.let_all_go() {
                    client.fell_behind(core);
                }
                members.at_work = false;
                Next::Nobody
            }
        }
    }

    async fn tell(&self, core: &Arc<Core>, due: &Due) {
        let logs = match &due.change {
            Change::Add(block) => {
                // Heads first, then the logs of the same block.
                self.tell_head(block, due.at).await;
                if !self.may_want(block) {
                    return;
                }
                core.fetch_ahead(due.next, |block| self.may_want(block));
                timeout(TOGETHER_FOR, added(core, block)).await
            }
            Change::Remove(block) => timeout(TOGETHER_FOR, removed(block)).await,
        };
        match logs {
            Ok(Some(logs)) => {
                let words = |log: &RawLog| match &due.change {
                    Change::Add(_) => log.raw.clone(),
                    Change::Remove(_) => log.removed(),
                };
                match &due.change {
                    Change::Add(_) => self.tell_logs(logs.list.iter(), words, due.at).await,
                    Change::Remove(_) => {
                        self.tell_logs(logs.list.iter().rev(), words, due.at).await
                    }
                }
            }
            Ok(None) => {}
            Err(_) => self.members().let_wait(core, due),
        }
    }

    async fn tell_head(&self, block: &Block, at: Cursor) {
        let heads: Vec<(u128, Member)> = {
            let members = self.members();
            let heads = members.heads.iter().filter(|(_, it)| it.is_due(at));
            heads.map(|(id, it)| (*id, it.clone())).collect()
        };
        for some in heads.chunks(LOGS_AT_ONCE) {
            for (id, member) in some {
                member.client.notify(*id, "result", &block.header);
            }
            tokio::task::yield_now().await;
        }
    }

    fn may_want(&self, block: &Block) -> bool {
        let bloom = block.head.logs_bloom.as_deref();
        let members = self.members();
        if members.logs.is_empty() {
            return false;
        }
        bloom.is_none_or(|bloom| bloom.is_zero() || members.interests.may_be_in(bloom))
    }

    /// Tells each log, in these words, to those who want it.
    async fn tell_logs(
        &self,
        logs: impl Iterator<Item = &RawLog>,
        words: impl Fn(&RawLog) -> Bytes,
        at: Cursor,
    ) {
        let mut at_once = 0;
        for log in logs {
            let mut who: Vec<(u128, Member)> = {
                let members = self.members();
                let found = members.interests.of(log).into_iter();
                let found = found.filter_map(|id| Some((id, members.logs.get(&id)?)));
                let due = found.filter(|(_, member)| member.is_due(at));
                due.map(|(id, member)| (id, member.clone())).collect()
            };
            who.sort_unstable_by_key(|(_, member)| member.order);
            at_once += 1 + who.len();
            if !who.is_empty() {
                let words = words(log);
                for (id, member) in who {
                    member.client.notify(id, "result", &words);
                }
            }
            if at_once >= LOGS_AT_ONCE {
                at_once = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The logs of a block that was added; none if it left the chain before anybody was told of them.
async fn added(core: &Arc<Core>, block: &Block) -> Option<Arc<BlockLogs>> {
    loop {
        match core.newest().logs_of(block).await {
            Kept::All(logs) => return Some(logs),
            Kept::Untold => return None,
            Kept::NotYet => tokio::time::sleep(LOGS_PAUSE).await,
        }
    }
}

/// The logs of a block that left; none if nobody was told of any.
async fn removed(block: &Block) -> Option<Arc<BlockLogs>> {
    match &*block.logs.lock().await {
        Kept::All(logs) => Some(Arc::clone(logs)),
        Kept::NotYet | Kept::Untold => None,
    }
}

impl Member {
    fn is_due(&self, at: Cursor) -> bool {
        !at.is_before(self.from) && !self.client.is_gone()
    }
}

impl Members {
    fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.heads.is_empty()
    }

    /// Takes in who arrived, where the others stand; whoever has to be told something before that is
    /// told it alone.
    fn settle(&mut self, core: &Arc<Core>) {
        let arrivals = std::mem::take(&mut self.arrivals);
        if self.is_empty() {
            let places = arrivals.iter().filter_map(|client| {
                let wanted = client.wanted();
                wanted
                    .list
                    .iter()
                    .chain(&wanted.waiting)
                    .map(|it| it.cursor)
                    .reduce(Cursor::earlier)
            });
            self.at = places.reduce(Cursor::earlier);
        }
        let Some(at) = self.at else { return };
        for client in arrivals {
            let mut wanted = client.wanted();
            if client.is_gone() || !matches!(wanted.by, By::Arriving | By::Together) {
                continue;
            }
            let waiting = std::mem::take(&mut wanted.waiting);
            let is_new = wanted.by == By::Arriving;
            let others = wanted.list.iter().filter(|_| is_new);
            let together = others
                .chain(&waiting)
                .all(|it| it.topic.is_of_the_chain() && !it.cursor.is_before(at));
            if !together {
                match is_new {
                    true => client.is_interested(&wanted.list),
                    false => self.let_go(&client, &mut wanted, at, at),
                }
                client.goes_alone(&mut wanted, waiting, core);
                continue;
            }
            let fresh = match is_new {
                true => std::mem::take(&mut wanted.list),
                false => Vec::new(),
            };
            wanted.by = By::Together;
            for subscription in fresh.into_iter().chain(waiting) {
                self.take(&client, &subscription);
                wanted.list.push(subscription);
            }
        }
    }

    fn take(&mut self, client: &Arc<Client>, subscription: &Subscription) {
        self.taken += 1;
        let member = Member {
            client: Arc::clone(client),
            order: self.taken,
            from: subscription.cursor,
        };
        match &subscription.topic {
            Topic::Heads => {
                self.heads.insert(subscription.id, member);
            }
            Topic::Logs(looks_for) => {
                self.interests.add(subscription.id, Arc::clone(looks_for));
                self.logs.insert(subscription.id, member);
            }
            Topic::Pending { .. } | Topic::Syncing(_) => {}
        }
    }

    fn remove(&mut self, ids: impl IntoIterator<Item = u128>) {
        for id in ids {
            self.heads.remove(&id);
            if self.logs.remove(&id).is_some() {
                self.interests.remove(id);
            }
        }
    }

    /// Of this client's subscriptions, those to heads stand at one place now, those to logs at another.
    fn let_go(&mut self, client: &Client, wanted: &mut AllWanted, heads: Cursor, logs: Cursor) {
        self.remove(wanted.list.iter().map(|subscription| subscription.id));
        for subscription in &mut wanted.list {
            let at = match subscription.topic {
                Topic::Heads => heads,
                _ => logs,
            };
            subscription.cursor = subscription.cursor.later(at);
        }
        client.is_interested(&wanted.list);
    }

    /// Those for whom there may be logs in a block wait for them alone, and the others go on.
    fn let_wait(&mut self, core: &Arc<Core>, due: &Due) {
        let (Change::Add(block) | Change::Remove(block)) = &due.change;
        let bloom = block.head.logs_bloom.as_deref();
        let bloom = bloom.filter(|bloom| !bloom.is_zero());
        let may_want =
            |looks_for: &LooksFor| bloom.is_none_or(|bloom| looks_for.criteria.may_be_in(bloom));
        let mut clients: Vec<Arc<Client>> = Vec::new();
        for (id, member) in &self.logs {
            let seen = clients.iter().any(|it| Arc::ptr_eq(it, &member.client));
            if !seen && self.interests.get(*id).is_some_and(may_want) {
                clients.push(Arc::clone(&member.client));
            }
        }
        for client in clients {
            let mut wanted = client.wanted();
            if wanted.by == By::Together {
                self.let_go(&client, &mut wanted, due.next, due.at);
                let waiting = std::mem::take(&mut wanted.waiting);
                client.goes_alone(&mut wanted, waiting, core);
            }
        }
    }

    /// Empties the place.
    fn let_all_go(&mut self) -> Vec<Arc<Client>> {
        let mut clients: Vec<Arc<Client>> = Vec::new();
        let heads = std::mem::take(&mut self.heads).into_values();
        for member in heads.chain(std::mem::take(&mut self.logs).into_values()) {
            clients.push(member.client);
        }
        self.interests = Interests::default();
        clients.sort_unstable_by_key(Arc::as_ptr);
        clients.dedup_by(|one, other| Arc::ptr_eq(one, other));
        clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeConfig, PoolConfig};
    use crate::endpoints::Endpoints;
    use crate::gateway::chain::tests::block;
    use crate::gateway::line::Line;
    use crate::gateway::subscriptions::Subscriber;
    use crate::gateway::teller::Tellers;
    use crate::head::Head;
    use alloy::primitives::Bloom;
    use serde_json::json;
    use tokio::sync::mpsc::UnboundedReceiver;

    /// A block whose bloom has nothing anybody looks for, and which says its number.
    fn quiet(number: u64) -> Arc<Block> {
        let mut bloom = Bloom::ZERO;
        bloom.0[0] = 1;
        let of = block(number, 0);
        Arc::new(Block {
            head: Head {
                logs_bloom: Some(bloom.into()),
                ..of.head.clone()
            },
            header: json!({ "number": number }).to_string().into(),
            logs: Default::default(),
        })
    }

    async fn told(queue: &mut UnboundedReceiver<Bytes>) -> u64 {
        let message = timeout(Duration::from_secs(20), queue.recv()).await;
        let message = message.expect("nobody said anything").unwrap();
        let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
        message["params"]["result"]["number"].as_u64().unwrap()
    }

    #[tokio::test]
    async fn whoever_is_behind_the_others_is_told_that_alone_and_then_all_with_them() {
        let node = NodeConfig::primary("a", "http://127.0.0.1:1".parse().unwrap());
        let pool = Endpoints::new(PoolConfig::new(1, vec![node])).unwrap();
        let core = Arc::new(Core::library(pool));
        core.chain.begin(quiet(10));
        let tellers = Tellers::default();
        let client = || {
            let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
            let client = Client::new(Line::heard_by(tell), tellers.clone());
            let subscriber = Subscriber::new(Arc::clone(&client));
            let looks_for = json!(["logs", {"address": format!("0x{}", "22".repeat(20))}]);
            subscriber.subscribe(&core, &looks_for.to_string());
            subscriber.subscribe(&core, r#"["newHeads"]"#);
            (client, subscriber, heard)
        };
        let (one, subscriber, mut of_one) = client();
        subscriber.activate(&core);
        core.chain.advance(10, vec![quiet(11)]);
        assert_eq!(told(&mut of_one).await, 11);
        assert_eq!(one.wanted().by, By::Together);

        // The other one's answer is on its way while the next block is told.
        let (other, subscriber, mut of_other) = client();
        core.chain.advance(11, vec![quiet(12)]);
        assert_eq!(told(&mut of_one).await, 12);
        subscriber.activate(&core);
        assert_eq!(told(&mut of_other).await, 12);
        while other.wanted().by != By::Together {
            tokio::task::yield_now().await;
        }
        core.chain.advance(12, vec![quiet(13)]);
        for queue in [&mut of_one, &mut of_other] {
            assert_eq!(told(queue).await, 13);
            assert!(queue.try_recv().is_err());
        }

        // Who left costs nothing any more, and the last one ends the task.
        for client in [one, other] {
            client.leave();
        }
        while tellers.together.members().at_work {
            tokio::task::yield_now().await;
        }
        assert!(tellers.together.members().is_empty());
    }
}
