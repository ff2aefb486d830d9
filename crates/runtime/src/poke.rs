use std::sync::Arc;

use tokio::sync::watch;

/// An empty "look again": it wakes whoever listens and carries nothing.
///
/// Pokes coalesce: ten pokes while a service is busy are one more round.
#[derive(Debug, Clone)]
pub struct Poke(Arc<watch::Sender<u64>>);

impl Default for Poke {
    fn default() -> Self {
        Self::new()
    }
}

impl Poke {
    /// A poke nobody listens to yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Wakes every listener, now or as soon as it waits.
    pub fn poke(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> Waiter {
        Waiter(self.0.subscribe())
    }
}

/// One listener of a [`Poke`].
#[derive(Debug)]
pub struct Waiter(watch::Receiver<u64>);

impl Waiter {
    /// Returns after the next poke, at once if one came since the last call. Never returns once
    /// every [`Poke`] of this channel is gone.
    pub async fn wait(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poke_given_while_nobody_waited_is_not_lost() {
        let poke = Poke::new();
        let mut waiter = poke.subscribe();
        poke.poke();
        poke.poke();
        waiter.wait().await;
        let second = tokio::time::timeout(std::time::Duration::ZERO, waiter.wait()).await;
        assert!(second.is_err(), "two pokes are one round");
    }
}
