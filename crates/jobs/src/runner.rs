use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use dodona_model::request::Event;
use dodona_model::run::State;
use dodona_model::{JobId, RunId, tx};
use dodona_pipeline::{
    GasLimits, Inputs, Limits, Outcome, RunInput, RunState, StoredResult, TxIntent, Value, execute,
    read_json,
};
use dodona_runtime::{Poke, Service, clock};
use dodona_store::runs::{Run, TaskRun};
use dodona_store::txs::NewTx;
use dodona_store::{Store, StoreError, Tx, jobs, requests, runs, txs};
use futures_util::FutureExt;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::ports::{Outside, RunPorts};
use crate::slots::Slots;
use crate::specs::{Ready, Specs};
use crate::surplus::Surplus;
use crate::{RunnerConfig, flux, observe, outcome, request};

/// A run that was begun this often and never got anywhere is poisonous: it ends errored.
const MAX_ATTEMPTS: u32 = 5;
/// How long what is done waits for others that are about to be.
const TOGETHER: Duration = Duration::from_millis(2);

/// What one round did.
#[derive(Debug, Default, Serialize)]
pub struct Round {
    claimed: usize,
    stored: usize,
    in_flight: usize,
    // Something was queued or ended, so others may look.
    effects: bool,
    full: bool,
}

/// Executes runs, at most so many at once. A round never waits for one: it stores what is done and
/// fills free slots.
pub struct Runner {
    outside: Arc<Outside>,
    config: RunnerConfig,
    specs: Specs,
    done: (
        mpsc::UnboundedSender<Executed>,
        mpsc::UnboundedReceiver<Executed>,
    ),
    wake: Poke,
    slots: Slots,
    // Somebody will wake us when a slot is given back.
    alarmed: Option<Instant>,
    renewed: Instant,
    surplus: Surplus,
}

/// An execution that is over and waits to be stored.
pub(crate) struct Executed {
    pub(crate) run: Run,
    ready: Arc<Ready>,
    pub(crate) outcome: Result<Outcome, String>,
    /// What a flux monitor's run came back with.
    closing: Option<flux::Closing>,
}

/// What was stored of an execution, for those who watch.
enum Stored {
    Ended {
        run: RunId,
        ready: Arc<Ready>,
        outcome: Result<Outcome, String>,
        took: Duration,
        flux: Option<Box<flux::Concluded>>,
    },
    ClaimLost(RunId),
}

impl Runner {
    /// A runner of this process. `wake` must be one of the pokes it is scheduled on: it is poked
    /// whenever an execution is over.
    pub fn new(outside: Arc<Outside>, config: RunnerConfig, wake: Poke) -> Self {
        Self {
            surplus: Surplus::keeping(config.keep_successful),
            slots: Slots::new(config.max_in_flight, config.patience),
            alarmed: None,
            outside,
            config,
            specs: Specs::default(),
            done: mpsc::unbounded_channel(),
            wake,
            renewed: Instant::now(),
        }
    }

    fn store(&self) -> &Store {
        &self.outside.store
    }

    /// Claims what fits and begins to execute it. Half of what is free at a time, so that a job that takes its
    /// share in one go leaves something to others.
    async fn fill(&mut self) -> anyhow::Result<usize> {
        let mut count = 0;
        loop {
            let now = Instant::now();
            let limit = self.slots.free(now).div_ceil(2);
            if limit == 0 {
                break;
            }
            let claimed = self.claim(limit, &self.slots.crowding(now)).await?;
            count += claimed;
            if claimed < limit {
                break;
            }
        }
        self.set_alarm();
        Ok(count)
    }

    /// Whoever waits for a slot must hear when one is given back, although nobody finishes.
    fn set_alarm(&mut self) {
        let now = Instant::now();
        if self.alarmed.is_some_and(|at| at > now) {
            return;
        }
        let Some(after) = self.slots.next_free(now) else {
            return;
        };
        self.alarmed = Some(now + after);
        let wake = self.wake.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            wake.poke();
        });
    }

    async fn claim(&mut self, limit: usize, crowding: &[JobId]) -> anyhow::Result<usize> {
        let mut tx = self.store().begin().await?;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let (me, claim) = (&self.config.me, self.config.claim);
        let claimed = runs::claim_except(&mut tx, me, claim, limit, crowding).await?;
        let begun = claimed.iter().filter(|run| was_begun(run));
        let begun: Vec<RunId> = begun.map(|run| run.id).collect();
        let mut tasks: HashMap<RunId, Vec<TaskRun>> = HashMap::new();
        for task in runs::tasks_of(&mut tx, &begun).await? {
            tasks.entry(task.run_id).or_default().push(task);
        }
        tx.commit().await?;
        let count = claimed.len();
        let mut failed = Ok(());
        for run in claimed {
            let tasks = was_begun(&run).then(|| tasks.remove(&run.id).unwrap_or_default());
            let begun = match self.begin(&run, tasks).await {
                // The database stumbled, which says nothing about the run: its claim runs out.
                Err(cause) if cause.chain().any(|cause| cause.is::<StoreError>()) => Err(cause),
                Err(cause) => self.refuse(&run, &format!("{cause:#}")).await,
                Ok(()) => Ok(()),
            };
            failed = failed.and(begun);
        }
        failed.map(|()| count)
    }

    async fn begin(&mut self, run: &Run, tasks: Option<Vec<TaskRun>>) -> anyhow::Result<()> {
        anyhow::ensure!(
            run.attempts <= MAX_ATTEMPTS,
            "it was begun {MAX_ATTEMPTS} times and the process ended each time before it was done; it is not tried again"
        );
        let store = self.outside.store.clone();
        let ready = self.specs.get(&store, run.job_id).await?;
        let inputs = Inputs::read(&run.inputs)?;
        let may_wait = outcome::may_wait(run.id, &inputs, &ready.pipeline);
        let tasks = match tasks {
            None if !may_wait.is_empty() => runs::tasks(&mut store.read().await?, run.id).await?,
            known => known.unwrap_or_default(),
        };
        let input = self.input(run, &ready, &inputs, finished(&tasks)?)?;
        let ports = Arc::new(RunPorts {
            outside: Arc::clone(&self.outside),
            run: run.id,
            sources: outcome::sources(&ready.pipeline),
            may_wait,
        });
        let (sender, wake, run) = (self.done.0.clone(), self.wake.clone(), run.clone());
        let (outside, asked) = (
            Arc::clone(&self.outside),
            flux::Asked::read(&inputs.purpose)?,
        );
        self.slots.take(run.id, run.job_id, Instant::now());
        // Bounded by max_in_flight; a panic is caught and is that run's error.
        tokio::spawn(async move {
            let executed = AssertUnwindSafe(execute(&ready.pipeline, input, ports))
                .catch_unwind()
                .await;
            let outcome = executed
                .map_err(|_| "the execution panicked; this is a defect of the node".to_owned());
            let closing = match (&outcome, asked) {
                (Ok(outcome), Some(asked)) => flux::close(&outside, &ready, asked, outcome).await,
                _ => None,
            };
            // The receiver lives as long as the runner; without one nobody is left to tell.
            let _ = sender.send(Executed {
                run,
                ready,
                outcome,
                closing,
            });
            wake.poke();
        });
        Ok(())
    }

    fn input(
        &self,
        run: &Run,
        ready: &Ready,
        inputs: &Inputs,
        finished: BTreeMap<String, StoredResult>,
    ) -> anyhow::Result<RunInput> {
        let vars =
            match Value::from_stored(&inputs.vars).context("the run's variables cannot be read")? {
                Value::Map(vars) => vars,
                other => anyhow::bail!("the run's variables are {} and not a map", other.kind()),
            };
        let task_run_ids = ready
            .pipeline
            .tasks()
            .map(|task| (task.dot_id.clone(), inputs.task_run_id(&task.dot_id)))
            .collect();
        let spec = &ready.job.spec;
        let chains = self.config.chains.iter();
        let of_chains = chains.map(|(chain, rules)| (*chain, rules.gas_limit_of(&spec.kind)));
        Ok(RunInput {
            run_id: run.id,
            vars,
            finished,
            task_run_ids,
            limits: Limits {
                max_run_duration: self.config.max_run_duration,
                max_task_duration: spec.max_task_duration,
                default_http_timeout: self.config.http_timeout,
                max_response_bytes: self.config.http_max_bytes,
                gas: GasLimits {
                    of_job: spec.gas_limit.map(u64::from),
                    of_chains: of_chains.collect(),
                },
                bridge_cache_ttl: self.config.bridge_cache_ttl,
                bridge_response_url: self.config.bridge_response_url.clone(),
            },
        })
    }

    /// Ends a claimed run that cannot be executed.
    async fn refuse(&mut self, run: &Run, what: &str) -> anyhow::Result<()> {
        let now = clock::now();
        let mut tx = self.store().begin().await?;
        if runs::finish(
            &mut tx,
            run.id,
            &self.config.me,
            run.generation,
            &outcome::failed(what),
            now,
        )
        .await?
        {
            if let Some(request) = requests::by_run(&mut tx, run.id).await? {
                requests::apply(&mut tx, request.id, Event::Failed, what, now).await?;
            }
            tx.commit().await?;
        }
        if let Ok(ready) = self.specs.get(&self.outside.store, run.job_id).await {
            observe::run_refused(&ready.job, run.id, what);
        }
        Ok(())
    }

    /// Stores everything that is over, in one database transaction where possible.
    async fn store_finished(&mut self, round: &mut Round) -> anyhow::Result<()> {
        let mut over = self.take_finished();
        // A block's requests come together and are done together, nearly: one database transaction for a few of
        // them costs little more than for one.
        if !over.is_empty() && self.slots.busy(Instant::now()) > 0 {
            tokio::time::sleep(TOGETHER).await;
            over.extend(self.take_finished());
        }
        if over.is_empty() {
            return Ok(());
        }
        let stored = match self.store_together(&over).await {
            Ok(stored) => stored,
            Err(_) if over.len() > 1 => self.store_one_by_one(&over).await,
            Err(cause) => {
                observe::not_stored(over[0].run.id, &format!("{cause:#}"));
                return Err(cause);
            }
        };
        round.stored = stored.len();
        round.effects = true;
        for one in &stored {
            if let Stored::Ended {
                ready,
                outcome: Ok(outcome),
                ..
            } = one
                && outcome.state == RunState::Completed
            {
                self.surplus.completed(ready.job.id);
            }
        }
        stored.into_iter().for_each(tell);
        Ok(())
    }

    fn take_finished(&mut self) -> Vec<Executed> {
        let mut over = Vec::new();
        while let Ok(executed) = self.done.1.try_recv() {
            self.slots.leave(executed.run.id);
            over.push(executed);
        }
        over
    }

    async fn store_together(&self, over: &[Executed]) -> anyhow::Result<Vec<Stored>> {
        let mut tx = self.store().begin().await?;
        let mut batch = Batch::of(&mut tx, over, &self.config.me).await?;
        let mut stored = Vec::with_capacity(over.len());
        for executed in over {
            stored.push(self.store_one(&mut tx, executed, &mut batch).await?);
        }
        batch.write(&mut tx, &self.config.me).await?;
        if over.iter().any(is_awaited) {
            tx.poke_on_commit("ended");
        }
        tx.commit().await?;
        Ok(stored)
    }

    /// One of them cannot be stored: the others must not suffer. Its claim runs out and it is tried again.
    async fn store_one_by_one(&self, over: &[Executed]) -> Vec<Stored> {
        let mut stored = Vec::new();
        for executed in over {
            match self.store_together(std::slice::from_ref(executed)).await {
                Ok(one) => stored.extend(one),
                Err(cause) => observe::not_stored(executed.run.id, &format!("{cause:#}")),
            }
        }
        stored
    }

    async fn store_one(
        &self,
        tx: &mut Tx,
        executed: &Executed,
        batch: &mut Batch,
    ) -> anyhow::Result<Stored> {
        let (run, ready, now) = (&executed.run, &executed.ready, clock::now());
        let me = &self.config.me;
        // Once: of two executions of one run only the first may store anything.
        if !batch.mine.remove(&(run.id, run.generation)) {
            return Ok(Stored::ClaimLost(run.id));
        }
        let took = now.since(run.created_at);
        let request = batch.requests.remove(&run.id);
        let ended = |outcome| Stored::Ended {
            run: run.id,
            ready: Arc::clone(ready),
            outcome,
            took,
            flux: None,
        };
        let outcome = match &executed.outcome {
            Ok(outcome) => outcome,
            Err(what) => {
                runs::finish(tx, run.id, me, run.generation, &outcome::failed(what), now).await?;
                if let Some(request) = &request {
                    requests::apply(tx, request.id, Event::Failed, what, now).await?;
                }
                return Ok(ended(Err(what.clone())));
            }
        };
        if outcome.state == RunState::Dropped {
            runs::drop_run(tx, run.id, me).await?;
            if let Some(request) = &request {
                let what = format!("dropped by failEarly: {}", outcome::first_error(outcome));
                requests::apply(tx, request.id, Event::Failed, &what, now).await?;
            }
            return Ok(ended(Ok(outcome.clone())));
        }
        let mut outcome = outcome.clone();
        let mut concluded = None;
        if let Some(closing) = &executed.closing {
            let rules = ready.job.spec.chain_id;
            let rules = rules.and_then(|chain| self.config.chains.get(&chain));
            let what = flux::conclude(tx, run, ready, closing, rules, now).await?;
            match &what {
                flux::Concluded::Submitted { .. } => batch.note_queued(None),
                // A number that is not submitted leaves no run behind.
                flux::Concluded::Declined(_) => drop(runs::drop_run(tx, run.id, me).await?),
                flux::Concluded::Failed(why) => outcome::fail_run(&mut outcome, why),
            }
            concluded = Some(Box::new(what));
        }
        for intent in outcome.transactions.clone() {
            if let Err(why) = self
                .queue_tx(tx, run, ready, request.as_ref(), &intent, batch)
                .await?
            {
                outcome::fail_task(&mut outcome, &ready.pipeline, &intent.dot_id, why);
            }
        }
        if matches!(concluded.as_deref(), Some(flux::Concluded::Declined(_))) {
            return Ok(Stored::Ended {
                run: run.id,
                ready: Arc::clone(ready),
                outcome: Ok(outcome),
                took,
                flux: concluded,
            });
        }
        if outcome::keeps_tasks(&ready.job.spec.kind, &outcome, &ready.pipeline) {
            let rows = outcome::task_rows(run.id, &outcome, &ready.pipeline, now);
            batch.tasks.extend(rows);
        } else {
            runs::forget_tasks(tx, run.id).await?;
        }
        let finish = outcome::finish(&outcome);
        if ready.flux.is_some() && finish.state == State::Errored {
            let what = format!("Error polling: {}", outcome::first_error(&outcome));
            jobs::note_error(tx, run.job_id, &what, now).await?;
        }
        if let Some(request) = &request
            && finish.state.is_finished()
            && !batch.is_answered(request.id)
        {
            let what = match finish.state {
                State::Errored => outcome::first_error(&outcome),
                _ => "its run ended without queueing an answer".to_owned(),
            };
            requests::apply(tx, request.id, Event::Failed, &what, now).await?;
        }
        if finish.state == State::Suspended {
            batch
                .pending
                .extend(outcome.pending.iter().map(|(_, id)| *id));
        }
        batch.ends.push((run.id, run.generation, finish));
        Ok(Stored::Ended {
            run: run.id,
            ready: Arc::clone(ready),
            outcome: Ok(outcome),
            took,
            flux: concluded,
        })
    }

    /// Queues a transaction. The inner error is the task's.
    async fn queue_tx(
        &self,
        tx: &mut Tx,
        run: &Run,
        ready: &Ready,
        request: Option<&requests::Request>,
        intent: &TxIntent,
        batch: &mut Batch,
    ) -> anyhow::Result<Result<(), String>> {
        let chain = intent.evm_chain_id;
        let Some(rules) = self.config.chains.get(&chain) else {
            return Ok(Err(format!(
                "invalid EVM chain ID: this node is not configured for chain {chain}"
            )));
        };
        let now = clock::now();
        let Some(from) = batch.next_sender(tx, chain, &intent.from).await? else {
            let which = if intent.from.is_empty() {
                ""
            } else {
                " that match the task's 'from' list"
            };
            return Ok(Err(format!(
                "task run failed: no sending keys available for chain {chain}{which}; see: dodona keys eth list"
            )));
        };
        // What has its place already needs no other one.
        let living = batch.living.get(&intent.task_run_id).copied();
        let placed = living.is_some_and(|state| state != tx::State::Dead);
        let waiting = batch.waiting(tx, chain, from).await?;
        if !placed && rules.max_queued > 0 && *waiting >= rules.max_queued {
            return Ok(Err(format!(
                "cannot create transaction; too many unstarted transactions in the queue ({waiting}/{}). Why the key does not move: dodona status. If it only is too slow, raise EVM.Transactions.MaxQueued",
                rules.max_queued
            )));
        }
        *waiting += u64::from(!placed);
        let answering = request.filter(|request| {
            request.chain_id == chain
                && request.oracle == intent.to
                && request::answers(&intent.data, request.request_id)
        });
        let new = NewTx {
            chain_id: chain,
            from,
            to: intent.to,
            payload: intent.data.clone(),
            value_wei: Default::default(),
            gas_limit: rules.gas_limit_of_tx(intent.gas_limit, &ready.job.spec.kind),
            task_run_id: Some(intent.task_run_id),
            run_id: Some(run.id),
            job_id: Some(ready.job.id),
            request_row: answering.map(|request| request.id),
            min_confirmations: intent.min_confirmations,
            fail_on_revert: intent.fail_on_revert,
            simulate: intent.simulate,
            signal_needed: intent.min_confirmations != Some(0),
            meta: intent.tx_meta.to_string(),
        };
        let closed = answering.filter(|request| request.state.is_closed());
        if closed.is_none() {
            batch.note_queued(new.request_row);
        }
        if closed.is_none() && living.is_none() {
            batch.new.push(new);
            return Ok(Ok(()));
        }
        let id = txs::queue(tx, &new, now).await?;
        // Cancelled while the run was executing: nothing may be sent any more.
        if let Some(request) = closed
            && let Some(queued) = txs::find(tx, id).await?
            && queued.state == tx::State::Queued
        {
            let why = format!(
                "the request is {}: {}",
                request.state.as_str(),
                request.reason
            );
            txs::die(tx, &queued, tx::Event::Refused, &why).await?;
        }
        Ok(Ok(()))
    }
}

/// Somebody may be waiting for this run at the API.
fn is_awaited(executed: &Executed) -> bool {
    executed.ready.job.spec.kind == "webhook"
}

/// Whether an earlier execution may have left results.
fn was_begun(run: &Run) -> bool {
    run.attempts > 1 || run.generation > 1 || run.outputs != "[]"
}

/// Results that stand, from rows.
fn finished(tasks: &[TaskRun]) -> anyhow::Result<BTreeMap<String, StoredResult>> {
    let mut results = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.finished_at.is_some()) {
        let output = match (&task.error, &task.value, &task.output) {
            (Some(error), _, _) => Err(error.clone()),
            (None, Some(value), _) => {
                let stored =
                    serde_json::from_str(value).context("a stored task value cannot be read")?;
                Ok(Value::from_stored(&stored).context("a stored task value cannot be read")?)
            }
            // A receipt, written by whoever confirmed the transaction.
            (None, None, Some(json)) => {
                Ok(read_json(json).context("a stored receipt cannot be read")?)
            }
            (None, None, None) => Ok(Value::Null),
        };
        results.insert(task.dot_id.clone(), StoredResult { output });
    }
    Ok(results)
}

fn tell(stored: Stored) {
    if let Stored::Ended {
        run,
        ready,
        flux: Some(concluded),
        ..
    } = &stored
    {
        match concluded.as_ref() {
            flux::Concluded::Submitted { round, answer } => {
                observe::flux_submitted(&ready.job, *run, *round, answer);
            }
            flux::Concluded::Declined(why) => observe::flux_not_submitted(&ready.job, *run, why),
            // Told as the run's error.
            flux::Concluded::Failed(_) => {}
        }
    }
    match stored {
        Stored::ClaimLost(run) => observe::claim_lost(run),
        Stored::Ended {
            run,
            ready,
            outcome,
            took,
            flux,
        } => match outcome {
            _ if matches!(flux.as_deref(), Some(flux::Concluded::Declined(_))) => {}
            Ok(outcome) => match outcome.state {
                RunState::Errored | RunState::Dropped => {
                    observe::run_errored(&ready.job, run, &outcome::first_error(&outcome));
                }
                RunState::Completed => observe::run_ended(&ready.job, run, "completed", took),
                RunState::Suspended => observe::run_ended(&ready.job, run, "suspended", took),
            },
            Err(what) => observe::run_refused(&ready.job, run, &what),
        },
    }
}

impl Service<()> for Runner {
    type Report = Round;

    async fn tick(&mut self, (): &()) -> anyhow::Result<Round> {
        let mut round = Round::default();
        self.store_finished(&mut round).await?;
        if self.slots.len() > 0 && self.renewed.elapsed() > self.config.claim / 3 {
            let mut tx = self.store().begin().await?;
            let (me, claim) = (&self.config.me, self.config.claim);
            runs::renew_claims(&mut tx, me, &self.slots.runs(), claim).await?;
            tx.commit().await?;
            self.renewed = Instant::now();
        }
        self.surplus.prune(&self.outside.store).await?;
        if self.slots.len() == 0 {
            self.renewed = Instant::now();
        }
        round.claimed = self.fill().await?;
        round.in_flight = self.slots.len();
        round.full = self.slots.free(Instant::now()) == 0;
        Ok(round)
    }

    fn worked(round: &Round) -> bool {
        round.effects
    }
}
