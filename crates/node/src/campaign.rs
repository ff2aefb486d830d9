//! Leading a chain, or the schedule, whenever nobody else does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dodona_jobs::Outside;
use dodona_model::ChainId;
use dodona_runtime::{CancellationToken, Supervisor};
use dodona_store::{LeadError, Leader, LeaseConfig, Scope, Store};
use tracing::{debug, warn};

use crate::settings;
use crate::vault::NodeVault;
use crate::wire::{self, ChainParts, Pokes};

/// One replica's standing candidacy for one scope.
pub(crate) struct Campaign {
    pub(crate) store: Store,
    pub(crate) scope: Scope,
    /// What others read about us while we lead.
    pub(crate) me: String,
    pub(crate) lease: LeaseConfig,
    pub(crate) owner: Supervisor,
    pub(crate) pokes: Pokes,
    pub(crate) work: Work,
    pub(crate) leads: Leads,
}

/// What the leader of a scope does.
#[derive(Clone)]
pub(crate) enum Work {
    /// Follows a chain and sends to it.
    Chain(Box<ChainParts>, NodeVault),
    /// Keeps the time of cron jobs and tells external initiators.
    Schedule(Arc<Outside>),
}

impl Campaign {
    /// Leads, waits, leads again, until the process stops.
    pub(crate) async fn run(self) {
        let stop = self.owner.stop_token().clone();
        while !stop.is_cancelled() {
            match Leader::try_acquire(&self.store, &self.scope, &self.me, &self.lease).await {
                Ok(Some(leader)) => self.lead(Arc::new(leader), &stop).await,
                Ok(None) => {
                    debug!(scope = %self.scope, "another node leads {}; standing by", self.scope)
                }
                Err(cause) => {
                    warn!(scope = %self.scope, "cannot ask for the lead of {}: {cause}", self.scope)
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.lease.refresh) => {}
            }
        }
    }

    async fn lead(&self, leader: Arc<Leader>, stop: &CancellationToken) {
        let child = self.owner.child();
        self.leads.set(&self.scope, true);
        match &self.work {
            Work::Chain(parts, vault) => {
                wire::leading(&child, &self.pokes, &leader, parts, vault);
            }
            Work::Schedule(outside) => {
                wire::keeping_time(&child, &self.pokes, &leader, outside);
            }
        }
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.lease.refresh) => {}
            }
            match leader.renew().await {
                Ok(()) => renewed = Instant::now(),
                Err(LeadError::Deposed(scope)) => {
                    warn!(scope = %scope, "another node leads {scope} now; this one stands by");
                    break;
                }
                // Every write proves the lead anyway; after the lease's time nothing is ours any more.
                Err(cause) if renewed.elapsed() > self.lease.duration => {
                    warn!(scope = %self.scope, "the lease of {} could not be renewed in time: {cause}", self.scope);
                    break;
                }
                Err(cause) => {
                    debug!(scope = %self.scope, "renewing the lease of {} failed: {cause}", self.scope)
                }
            }
        }
        child.stop(settings::STEP_DOWN).await;
        self.leads.set(&self.scope, false);
        if let Err(cause) = leader.release().await {
            debug!(scope = %self.scope, "the lease of {} runs out by itself: {cause}", self.scope);
        }
    }
}

/// Which scopes this replica leads right now.
#[derive(Debug, Clone)]
pub(crate) struct Leads(Arc<Mutex<BTreeMap<String, bool>>>);

impl Leads {
    /// Leading none of these chains yet, nor the schedule.
    pub(crate) fn of(chains: impl Iterator<Item = ChainId>) -> Self {
        let scopes = chains.map(Scope::chain).chain([Scope::schedule()]);
        let scopes = scopes.map(|scope| (scope.as_str().to_owned(), false));
        Self(Arc::new(Mutex::new(scopes.collect())))
    }

    fn set(&self, scope: &Scope, held: bool) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(scope.as_str().to_owned(), held);
    }

    /// For whoever shows it.
    pub(crate) fn reader(&self) -> Arc<dyn Fn() -> Vec<(String, bool)> + Send + Sync> {
        let shared = self.clone();
        Arc::new(move || {
            let leads = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
            leads
                .iter()
                .map(|(scope, held)| (scope.clone(), *held))
                .collect()
        })
    }
}
