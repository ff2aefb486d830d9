//! Telling heads to the many: all clients of one worker that want nothing but heads are told by one
//! task, one after another, and a head is put into words once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Notify;

use super::Core;
use super::chain::{ChainView, Change, Cursor, Gap};
use super::subscriptions::Client;
use super::together::Together;

/// Clients told before others of the worker have a turn.
const AT_ONCE: usize = 32;
/// Heads told at once before somebody else has a turn.
const HEADS_AT_ONCE: usize = 64;
/// Clients among which those that are gone are not looked for.
const FEW: usize = 64;

/// Who tells the clients of one worker.
#[derive(Default, Clone)]
pub(crate) struct Tellers {
    /// Those who want heads and nothing else.
    pub(crate) heads: Arc<Teller>,
    /// Those who want logs, too.
    pub(crate) together: Arc<Together>,
}

#[derive(Default)]
pub(crate) struct Teller {
    clients: Mutex<Clients>,
    /// Those of them that are still there.
    there: AtomicUsize,
    all_left: Notify,
}

#[derive(Default)]
struct Clients {
    list: Vec<Arc<Client>>,
    /// A task tells them.
    at_work: bool,
    /// Once there are so many, those that are gone are let go.
    look_at: usize,
}

impl Teller {
    /// From now on this client is told of heads.
    pub(crate) fn takes(self: &Arc<Self>, client: Arc<Client>, core: &Arc<Core>) {
        self.there.fetch_add(1, Ordering::Relaxed);
        let mut clients = self.clients();
        if clients.list.len() >= clients.look_at.max(FEW) {
            clients.list.retain(|client| !client.is_gone());
            clients.look_at = 2 * clients.list.len();
        }
        clients.list.push(client);
        if !std::mem::replace(&mut clients.at_work, true) {
            tokio::spawn(Arc::clone(self).work(Arc::clone(core)));
        }
    }

    /// One of the clients left.
    pub(crate) fn one_left(&self) {
        if self.there.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.all_left.notify_one();
        }
    }

    async fn work(self: Arc<Self>, mut core: Arc<Core>) {
        let mut changed = core.chain.changed();
        loop {
            core = core.newest();
            changed.mark_unchanged();
            self.tell_all(&core).await;
            {
                let mut clients = self.clients();
                if clients.list.is_empty() {
                    clients.list = Vec::new();
                    clients.at_work = false;
                    return;
                }
            }
            tokio::select! {
                moved = changed.changed() => if moved.is_err() { return },
                () = self.all_left.notified() => {}
            }
        }
    }

    async fn tell_all(&self, core: &Core) {
        let mut more = true;
        while std::mem::take(&mut more) {
            let (mut at, mut news) = (0, News::default());
            loop {
                {
                    let mut clients = self.clients();
                    let until = at + AT_ONCE;
                    while at < until
                        && let Some(client) = clients.list.get(at)
                    {
                        if client.is_told(core, &mut news) {
                            at += 1;
                        } else {
                            clients.list.swap_remove(at);
                        }
                    }
                    if at >= clients.list.len() {
                        break;
                    }
                }
                more |= news.is_more();
                tokio::task::yield_now().await;
            }
            more |= news.is_more();
        }
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is news from a place in the journal on, in the words it is told with. Most who are told
/// stand at the same place.
#[derive(Default)]
pub(crate) struct News {
    from: Option<Cursor>,
    next: Option<Cursor>,
    heads: Vec<Bytes>,
    more: bool,
}

impl News {
    /// The rest of each notification, behind its id; and the place behind them.
    pub(crate) fn since(
        &mut self,
        chain: &ChainView,
        cursor: Cursor,
    ) -> Result<(&[Bytes], Cursor), Gap> {
        if let (Some(from), Some(next)) = (self.from, self.next)
            && from == cursor
        {
            return Ok((&self.heads, next));
        }
        let (changes, next) = chain.since(cursor, HEADS_AT_ONCE)?;
        self.more |= changes.len() == HEADS_AT_ONCE;
        self.heads.clear();
        for change in changes {
            if let Change::Add(block) = change {
                let mut rest = BytesMut::with_capacity(13 + block.header.len());
                rest.put_slice(b"\",\"result\":");
                rest.put_slice(&block.header);
                rest.put_slice(b"}}");
                self.heads.push(rest.freeze());
            }
        }
        (self.from, self.next) = (Some(cursor), Some(next));
        Ok((&self.heads, next))
    }

    /// Whether there may be more than was told.
    pub(crate) fn is_more(&self) -> bool {
        self.more
    }
}
