//! The threads that serve clients. Each has a runtime of its own and keeps a client's connection
//! from its first byte to its last, and the endpoints' connections its questions go over: a
//! question is read, put and answered on one core, and no other one is woken for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::observe;
use super::teller::Tellers;
use crate::lane;

/// Ends the threads when dropped, with all they serve.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    handle: Handle,
    serves: Arc<AtomicUsize>,
    tellers: Tellers,
    /// The thread waits for the other end; none where it is not ours.
    _life: Option<oneshot::Sender<()>>,
}

/// A connection's place at a worker, until dropped.
pub(crate) struct Place {
    serves: Arc<AtomicUsize>,
    /// Who tell those this worker serves.
    pub(crate) tellers: Tellers,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.serves.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// One for each core. Where the system gives no threads, the runtime we are in serves.
    pub(crate) fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut workers = Vec::new();
        for number in 0..cores.min(lane::WORKERS) {
            match Worker::start(number) {
                Ok(worker) => workers.push(worker),
                Err(cause) => observe::no_worker(&cause),
            }
        }
        if workers.is_empty() {
            workers.push(Worker {
                handle: Handle::current(),
                serves: Arc::default(),
                tellers: Tellers::default(),
                _life: None,
            });
        }
        Self(workers)
    }

    /// Where the next connection is served: by whoever serves the fewest.
    pub(crate) fn place(&self) -> (&Handle, Place) {
        let fewest = self
            .0
            .iter()
            .min_by_key(|worker| worker.serves.load(Ordering::Relaxed))
            .expect("there is always a worker: `start` makes sure of it");
        fewest.serves.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            serves: Arc::clone(&fewest.serves),
            tellers: fewest.tellers.clone(),
        };
        (&fewest.handle, place)
    }
}

impl Worker {
    fn start(number: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (life, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name(format!("gateway-{number}"))
            .spawn(move || {
                lane::enter(number);
                // An error is the other end gone, which is what is waited for.
                let _ = runtime.block_on(ended);
            })?;
        Ok(Self {
            handle,
            serves: Arc::default(),
            tellers: Tellers::default(),
            _life: Some(life),
        })
    }
}
