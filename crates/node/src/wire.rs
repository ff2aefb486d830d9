//! What runs, on one screen: every arrow between the stages is a row, and a poke only says "look".

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use dodona_chain::{self as chain, HeadWatch};
use dodona_jobs as jobs;
use dodona_model::{Address, ChainId};
use dodona_ops::OracleOwner;
use dodona_rpc::Pool;
use dodona_runtime::{Poke, Supervisor, Waiter, every};
use dodona_store::{Leader, Store, keys};
use dodona_txm as txm;

use crate::pulse::Pulse;
use crate::settings;
use crate::vault::NodeVault;

/// A new block's requests have so long before what it confirmed is looked at: the one wants an answer at once, the
/// other only a note, and both write to one database.
const REQUESTS_FIRST: Duration = Duration::from_millis(100);

/// The pokes of this process. Commits announce them by name; on PostgreSQL every replica hears them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pokes {
    /// A head may be new.
    pub(crate) head_seen: Poke,
    /// Headers or the position moved.
    pub(crate) heads: Poke,
    /// Logs wait to be decided.
    pub(crate) logs: Poke,
    /// Runs wait for a slot.
    pub(crate) runs: Poke,
    /// Transactions wait to be signed.
    pub(crate) txs: Poke,
    /// Keys were created, enabled or disabled.
    pub(crate) keys: Poke,
    /// Jobs were created or deleted.
    pub(crate) jobs: Poke,
    /// Runs that somebody may be waiting for ended or wait themselves.
    pub(crate) ended: Poke,
}

impl Pokes {
    /// By the names commits use.
    pub(crate) fn by_name(&self) -> BTreeMap<&'static str, Poke> {
        BTreeMap::from([
            ("heads", self.heads.clone()),
            ("logs", self.logs.clone()),
            ("runs", self.runs.clone()),
            ("txs", self.txs.clone()),
            ("keys", self.keys.clone()),
            ("jobs", self.jobs.clone()),
            ("ended", self.ended.clone()),
        ])
    }
}

/// One chain this node works on.
#[derive(Clone)]
pub(crate) struct ChainParts {
    pub(crate) pool: Pool,
    pub(crate) follow: chain::Config,
    pub(crate) triggers: jobs::TriggerConfig,
    pub(crate) flux: jobs::FluxConfig,
    pub(crate) txs: txm::Config,
    pub(crate) watch_balances: bool,
    /// A chain without a new head for so long stands still; zero: it may.
    pub(crate) heads_within: Duration,
    pub(crate) heads: HeadWatch,
    pub(crate) estimator: Arc<txm::Estimator>,
}

/// What every replica does, leading or not.
pub(crate) fn everywhere(
    owner: &Supervisor,
    pokes: &Pokes,
    outside: &Arc<jobs::Outside>,
    runner: jobs::RunnerConfig,
    pruner: jobs::Pruner,
    prune_every: Duration,
    chains: &BTreeMap<ChainId, ChainParts>,
) {
    let all = Arc::new(());
    let run = jobs::Runner::new(Arc::clone(outside), runner, pokes.runs.clone());
    owner.add(
        "PipelineRunner",
        run,
        Arc::clone(&all),
        every(secs(5)).on(&pokes.runs).pokes(&pokes.txs),
    );
    if !prune_every.is_zero() {
        owner.add("PipelineORM", pruner, all, every(prune_every));
    }
    for (id, parts) in chains {
        let (pool, stop) = (parts.pool.clone(), owner.stop_token().clone());
        owner.spawn(&format!("EVM.{id}.Pool"), pool.run(stop.cancelled_owned()));
        owner.add(
            &format!("EVM.{id}.HeadTracker.HeadListener"),
            Pulse::new(parts.pool.clone(), parts.heads_within),
            Arc::new(()),
            every(secs(2)),
        );
        let announced = parts
            .heads
            .clone()
            .run(parts.pool.clone(), pokes.head_seen.clone());
        owner.spawn(&format!("EVM.{id}.HeadListener"), until(announced, owner));
    }
    owner.spawn(
        "Database.Listener",
        until(listen(outside.store.clone()), owner),
    );
}

/// What the leader of the schedule does.
pub(crate) fn keeping_time(
    owner: &Supervisor,
    pokes: &Pokes,
    lead: &Arc<Leader>,
    outside: &Arc<jobs::Outside>,
) {
    let alarm = Poke::new();
    owner.add(
        "Scheduler",
        jobs::Scheduler::new(alarm.clone()),
        Arc::clone(lead),
        every(secs(5)).on(&alarm).on(&pokes.jobs).pokes(&pokes.runs),
    );
    owner.add(
        "ExternalInitiators",
        jobs::Notifier::new(Arc::clone(outside)),
        Arc::clone(lead),
        every(secs(5)).on(&pokes.jobs),
    );
}

/// What the leader of a chain does.
pub(crate) fn leading(
    owner: &Supervisor,
    pokes: &Pokes,
    lead: &Arc<Leader>,
    parts: &ChainParts,
    vault: &NodeVault,
) {
    let id = parts.follow.chain_id;
    let name = |service: &str| format!("EVM.{id}.{service}");
    let (pool, signer) = (&parts.pool, Arc::new(vault.clone()));
    let scanner = chain::Scanner::new(pool.clone(), parts.follow.clone(), parts.heads.clone());
    let triggers = jobs::Triggers::new(parts.triggers.clone());
    let rounds = jobs::FluxMonitors::new(pool.clone(), parts.flux.clone());
    let confirmer = txm::Confirmer::new(
        pool.clone(),
        parts.txs.clone(),
        Arc::clone(&parts.estimator),
        signer,
    );
    owner.add(
        &name("HeadTracker"),
        scanner,
        Arc::clone(lead),
        every(secs(1)).on(&pokes.head_seen).on(&pokes.jobs),
    );
    owner.add(
        &name("LogBroadcaster"),
        triggers,
        Arc::clone(lead),
        every(secs(5)).on(&pokes.logs).on(&pokes.heads),
    );
    owner.add(
        &name("FluxMonitor"),
        rounds,
        Arc::clone(lead),
        every(secs(1))
            .on(&pokes.logs)
            .on(&pokes.jobs)
            .pokes(&pokes.runs),
    );
    let settled = Poke::new();
    let relay = after_a_moment(pokes.heads.subscribe(), settled.clone());
    owner.spawn(&name("Txm.Patience"), until(relay, owner));
    owner.add(
        &name("Txm.Confirmer"),
        confirmer,
        Arc::clone(lead),
        every(secs(5)).on(&settled).pokes(&pokes.txs),
    );
    owner.add(
        &name("LogRereader"),
        chain::Rereader::new(pool.clone(), parts.follow.clone()),
        Arc::clone(lead),
        every(secs(15)),
    );
    owner.add(
        &name("Pruner"),
        chain::Pruner::new(parts.follow.clone()),
        Arc::clone(lead),
        every(secs(600)),
    );
    owner.add(
        &name("OracleOwner"),
        OracleOwner::new(pool.clone()),
        Arc::clone(lead),
        every(secs(300)).on(&pokes.jobs).on(&pokes.keys),
    );
    if parts.watch_balances {
        let monitor = txm::BalanceMonitor::new(pool.clone(), parts.txs.clone());
        owner.add(
            &name("BalanceMonitor"),
            monitor,
            Arc::clone(lead),
            every(secs(10)).on(&pokes.keys),
        );
    }
    let keys = one_broadcaster_per_key(
        owner.clone(),
        pokes.clone(),
        Arc::clone(lead),
        parts.clone(),
        vault.clone(),
    );
    owner.spawn(&name("Txm"), until(keys, owner));
}

/// Pokes `later` some time after each poke heard: the requests of a block go before what it confirmed.
async fn after_a_moment(mut heard: Waiter, later: Poke) {
    loop {
        heard.wait().await;
        tokio::time::sleep(REQUESTS_FIRST).await;
        later.poke();
    }
}

/// Keeps one broadcaster for each key that sends, so that no key waits for another.
async fn one_broadcaster_per_key(
    owner: Supervisor,
    pokes: Pokes,
    lead: Arc<Leader>,
    parts: ChainParts,
    vault: NodeVault,
) {
    let id = parts.follow.chain_id;
    let mut running: HashMap<Address, Supervisor> = HashMap::new();
    let mut changed = pokes.keys.subscribe();
    loop {
        // A failed look is repeated; the services report the database's state themselves.
        if let Ok(at_work) = keys_at_work(lead.store(), id).await {
            let gone: Vec<Address> = running
                .keys()
                .filter(|key| !at_work.contains(key))
                .copied()
                .collect();
            for key in gone {
                if let Some(child) = running.remove(&key) {
                    child.stop(settings::STEP_DOWN).await;
                    owner
                        .health()
                        .forget(&format!("EVM.{id}.Txm.Broadcaster.{key}"));
                }
            }
            for key in at_work {
                running.entry(key).or_insert_with(|| {
                    let child = owner.child();
                    let broadcaster = txm::Broadcaster::new(
                        parts.pool.clone(),
                        parts.txs.clone(),
                        Arc::clone(&parts.estimator),
                        Arc::new(vault.clone()),
                        key,
                    );
                    let name = format!("EVM.{id}.Txm.Broadcaster.{key}");
                    child.add(
                        &name,
                        broadcaster,
                        Arc::clone(&lead),
                        every(secs(5)).on(&pokes.txs),
                    );
                    child
                });
            }
        }
        tokio::select! {
            () = changed.wait() => {}
            () = tokio::time::sleep(secs(30)) => {}
        }
    }
}

async fn keys_at_work(store: &Store, id: ChainId) -> dodona_store::Result<Vec<Address>> {
    keys::at_work(&mut store.read().await?, id).await
}

/// Hears other replicas' commits; a lost connection only costs promptness, so it is made anew.
async fn listen(store: Store) {
    loop {
        if let Err(cause) = dodona_store::listen(&store).await {
            tracing::debug!("not listening for other replicas' pokes for a moment: {cause}");
        }
        tokio::time::sleep(secs(1)).await;
    }
}

/// A loop without rounds of its own ends when its owner stops.
fn until<T>(task: T, owner: &Supervisor) -> impl Future<Output = ()> + Send + use<T>
where
    T: Future<Output = ()> + Send + 'static,
{
    let stop = owner.stop_token().clone();
    async move {
        tokio::select! {
            () = task => {}
            () = stop.cancelled() => {}
        }
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
