//! Executions that are stored together: what all of them need is read once, and what each of them leaves is
//! written once. A database answers twenty questions in one statement nearly as fast as one.

use std::collections::{BTreeMap, HashMap, HashSet};

use alloy::primitives::Address;
use dodona_model::tx::State;
use dodona_model::{ChainId, RequestRow, RunId, Timestamp};
use dodona_runtime::clock;
use dodona_store::requests::Request;
use dodona_store::runs::{Finish, TaskRun};
use dodona_store::txs::NewTx;
use dodona_store::{Tx, keys, requests, runs, txs};
use uuid::Uuid;

use crate::runner::Executed;

/// One database transaction's worth of executions.
#[derive(Default)]
pub(crate) struct Batch {
    /// Runs, with their generation, whose claims stand; locked.
    pub(crate) mine: HashSet<(RunId, u64)>,
    /// The requests they answer; locked, so that nobody cancels one unseen while we queue its answer.
    pub(crate) requests: HashMap<RunId, Request>,
    /// Task runs that have a transaction already, and where it stands; locked.
    pub(crate) living: HashMap<Uuid, State>,

    /// To be written: task results.
    pub(crate) tasks: Vec<TaskRun>,
    /// To be written: how runs ended or paused.
    pub(crate) ends: Vec<(RunId, u64, Finish)>,
    /// What suspended runs wait for.
    pub(crate) pending: Vec<Uuid>,
    /// To be written: transactions of task runs that have none.
    pub(crate) new: Vec<NewTx>,

    // Something waits to be signed.
    queued: bool,
    answered: HashSet<RequestRow>,
    waiting: HashMap<(ChainId, Address), u64>,
    senders: BTreeMap<ChainId, Vec<Address>>,
    used: BTreeMap<(ChainId, Address), Timestamp>,
}

impl Batch {
    /// Locks the runs whose claims `me` still holds and reads what belongs to them.
    pub(crate) async fn of(tx: &mut Tx, over: &[Executed], me: &str) -> anyhow::Result<Self> {
        let ids: Vec<RunId> = over.iter().map(|executed| executed.run.id).collect();
        let intents = over
            .iter()
            .filter_map(|executed| executed.outcome.as_ref().ok())
            .flat_map(|outcome| &outcome.transactions);
        let intents: Vec<Uuid> = intents.map(|intent| intent.task_run_id).collect();
        // In the order in which the triggers take them.
        let requests = requests::by_runs_locked(tx, &ids).await?;
        let mine = runs::still_mine(tx, &ids, me).await?;
        let rows: Vec<RequestRow> = requests.iter().map(|request| request.id).collect();
        let requests = requests.into_iter();
        Ok(Self {
            mine: mine.into_iter().collect(),
            requests: requests
                .filter_map(|request| Some((request.run_id?, request)))
                .collect(),
            answered: txs::answered(tx, &rows).await?.into_iter().collect(),
            living: txs::living_of_each(tx, &intents)
                .await?
                .into_iter()
                .collect(),
            ..Self::default()
        })
    }

    /// Whether a transaction answers this request, or may still answer it.
    pub(crate) fn is_answered(&self, request: RequestRow) -> bool {
        self.answered.contains(&request)
    }

    /// A transaction was queued; with `request` it answers one.
    pub(crate) fn note_queued(&mut self, request: Option<RequestRow>) {
        self.queued = true;
        self.answered.extend(request);
    }

    /// How many transactions of a key wait to be signed, those of this batch included.
    pub(crate) async fn waiting(
        &mut self,
        tx: &mut Tx,
        chain: ChainId,
        key: Address,
    ) -> anyhow::Result<&mut u64> {
        if !self.waiting.keys().any(|(known, _)| *known == chain) {
            for (address, state, count, _) in txs::count_by_state(tx, chain).await? {
                if state == State::Queued {
                    self.waiting.insert((chain, address), count);
                }
            }
        }
        Ok(self.waiting.entry((chain, key)).or_insert(0))
    }

    /// The enabled key of the chain that was used least recently, among `allowed` unless that is empty;
    /// from now on it is the one used last. `None`: there is no such key.
    pub(crate) async fn next_sender(
        &mut self,
        tx: &mut Tx,
        chain: ChainId,
        allowed: &[Address],
    ) -> anyhow::Result<Option<Address>> {
        let senders = match self.senders.entry(chain) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(unknown) => {
                unknown.insert(keys::senders(tx, chain).await?)
            }
        };
        let chosen = senders
            .iter()
            .position(|address| allowed.is_empty() || allowed.contains(address));
        Ok(chosen.map(|position| {
            let address = senders.remove(position);
            senders.push(address);
            self.used.insert((chain, address), clock::now());
            address
        }))
    }

    /// Writes what was gathered.
    pub(crate) async fn write(self, tx: &mut Tx, me: &str) -> anyhow::Result<()> {
        let now = clock::now();
        txs::queue_each(tx, &self.new, now).await?;
        runs::save_tasks(tx, &self.tasks).await?;
        let ended = runs::finish_each(tx, me, &self.ends, now).await?;
        anyhow::ensure!(
            ended == self.ends.len() as u64,
            "a claim went away although its run is locked; storing again"
        );
        // Answered while the run was still executing: nobody else will wake it.
        for run in runs::answered_among(tx, &self.pending).await? {
            if runs::resume(tx, run).await? {
                tx.poke_on_commit("runs");
            }
        }
        // In one order everywhere: two replicas that store at once must not wait for each other.
        for ((chain, address), at) in self.used {
            keys::used(tx, chain, address, at).await?;
        }
        if self.queued {
            tx.poke_on_commit("txs");
        }
        Ok(())
    }
}
