//! Clients that go away while they are being answered: nobody is worked for who is not there.
//!
//! A connection that was reset ends what was asked over it at once. One that merely says nothing any
//! more (its sending side is shut down) may be all closed or half: there is no way to tell before
//! something is written to it. Programs that give up a question close all of it, and most servers
//! take it for that; some old tools close one half behind their question and wait for the answer.
//! They get what is there within [`HALF_CLOSED`] of asking.
//!
//! What goes on all the same: a transaction that was taken goes to every upstream (`send`); all of a
//! batch with a transaction in it; a question somebody else waits for as well (`reading`); and what
//! an upstream was asked already, which is judged by what it says (`hedge`), unless it is heavy.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task;
use tokio::time::{Instant, sleep};

use super::Core;
use super::observe;

/// So long after asking somebody may get an answer whose sending side is closed.
pub(crate) const HALF_CLOSED: Duration = Duration::from_secs(2);
/// A connection that has become readable is looked at so often; what is readable stays where it is.
const LOOK: Duration = Duration::from_millis(100);

/// Done when who asked at this time is gone. The bytes of a next request are not read for it.
pub(crate) async fn is_gone(stream: &TcpStream, asked: Instant) {
    loop {
        // What the system told already: nothing is waited for here, and it is not called.
        let ready = stream.ready(Interest::READABLE | Interest::WRITABLE).await;
        let Ok(ready) = ready else { return };
        let is_reset = ready.is_write_closed() || ready.is_error();
        if is_reset || (ready.is_read_closed() && asked.elapsed() >= HALF_CLOSED) {
            return;
        }
        sleep(LOOK).await;
    }
}

impl Core {
    /// Whether anybody needs what this task asks, beside whoever it asks for.
    fn is_needed(&self, task: Option<task::Id>) -> bool {
        self.kept.sending.is_sent_by(task) || self.flights.others_wait_for(task)
    }

    /// Done when nobody does. Whoever the task asks for is gone.
    pub(crate) async fn is_left(&self, task: Option<task::Id>) {
        while self.is_needed(task) {
            sleep(LOOK).await;
        }
        observe::client_gone();
    }
}

/// Tasks that are about to send all transactions of a batch.
#[derive(Default)]
pub(crate) struct Sending(Mutex<Vec<Option<task::Id>>>);

/// This task is, until dropped.
pub(crate) struct Sends<'a>(&'a Sending, Option<task::Id>);

impl Sending {
    fn tasks(&self) -> MutexGuard<'_, Vec<Option<task::Id>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) -> Sends<'_> {
        let task = task::try_id();
        self.tasks().push(task);
        Sends(self, task)
    }

    fn is_sent_by(&self, task: Option<task::Id>) -> bool {
        self.tasks().contains(&task)
    }
}

impl Drop for Sends<'_> {
    fn drop(&mut self) {
        let mut tasks = self.0.tasks();
        if let Some(at) = tasks.iter().position(|task| *task == self.1) {
            tasks.swap_remove(at);
        }
    }
}

/// An answer on its way, where a server drops what its client is not there for any more: it goes on by
/// itself as long as others need it.
pub(crate) struct Answering<T: 'static> {
    core: Arc<Core>,
    task: Option<task::Id>,
    /// None once it is there.
    work: Option<BoxFuture<'static, T>>,
}

impl<T: 'static> Answering<T> {
    pub(crate) fn new(core: &Arc<Core>, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            core: Arc::clone(core),
            task: task::try_id(),
            work: Some(Box::pin(work)),
        }
    }
}

impl<T: 'static> Future for Answering<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let work = self.work.as_mut();
        let work = work.expect("nobody asks for an answer again that they were given");
        let done = ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(done)
    }
}

impl<T: 'static> Drop for Answering<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        if !self.core.is_needed(self.task) {
            return observe::client_gone();
        }
        let (core, task) = (Arc::clone(&self.core), self.task);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::select! {
                    _ = work => {}
                    () = core.is_left(task) => {}
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_sends_until_the_last_of_its_batches_is_done() {
        let sending = Sending::default();
        tokio::spawn(async move {
            let task = task::try_id();
            assert!(task.is_some() && !sending.is_sent_by(task));
            let (one, other) = (sending.begin(), sending.begin());
            drop(one);
            assert!(sending.is_sent_by(task) && !sending.is_sent_by(None));
            drop(other);
            assert!(!sending.is_sent_by(task));
        })
        .await
        .unwrap();
    }
}
