//! Which thread this is, for what each thread keeps for itself.
//!
//! The gateway's workers have a runtime each. A connection is woken by the runtime it was opened
//! in, so whoever goes on with it on another thread pays for waking that thread each time. What is
//! kept by lane is used where it was opened.

use std::cell::Cell;

/// Lanes there are: of each worker, and one of everybody else.
pub(crate) const LANES: usize = 1 + WORKERS;
/// Workers of one gateway, at most.
pub(crate) const WORKERS: usize = 8;
/// The lane of all threads that are no workers.
pub(crate) const SHARED: usize = 0;

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(SHARED) };
}

/// The lane of this thread.
pub(crate) fn current() -> usize {
    LANE.get()
}

/// This thread is the worker of this number, from now to its end.
pub(crate) fn enter(worker: usize) {
    LANE.set(1 + worker % WORKERS);
}
