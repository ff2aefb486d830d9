use std::sync::{Arc, Mutex, PoisonError};

use dodona_model::Timestamp;
use dodona_rpc::{Head, Pool};
use dodona_runtime::{Poke, clock};

/// The newest head any endpoint announced, and when it reached us.
#[derive(Debug, Clone, Default)]
pub struct HeadWatch(Arc<Mutex<Option<(Head, Timestamp)>>>);

impl HeadWatch {
    /// Notes announcements of `pool` and pokes whoever should look. Ends with the pool.
    pub async fn run(self, pool: Pool, poke: Poke) {
        let mut heads = pool.new_heads();
        while heads.changed().await.is_ok() {
            let Some(head) = heads.borrow_and_update().clone() else {
                continue;
            };
            crate::observe::head_received(pool.chain_id());
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((head, clock::now()));
            poke.poke();
        }
    }

    /// Takes the announcement that nobody looked at yet.
    pub(crate) fn take(&self) -> Option<(Head, Timestamp)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
