//! Waiting is for a state, with a deadline, never for a while.

use std::time::{Duration, Instant};

/// Generous, because a busy machine is no reason to fail.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(15);

/// Looks until there is something to see, at most 30 seconds; panics with `what` if there never is.
pub async fn until<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    until_within(DEADLINE, what, look).await
}

/// [`until`] with another deadline.
pub async fn until_within<T, F>(deadline: Duration, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(
            started.elapsed() < deadline,
            "waited {deadline:?} in vain until {what}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}
