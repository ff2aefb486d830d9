use std::collections::BTreeMap;

use alloy::primitives::Address;
use dodona_model::run::State;
use dodona_model::{JobId, Timestamp};
use dodona_pipeline::{FluxMonitor, Inputs, JobFacts, Value, read_json};
use dodona_rpc::Pool;
use dodona_runtime::{Service, clock};
use dodona_store::flux::{self, Monitor};
use dodona_store::logs::Log;
use dodona_store::{Leader, LeaderTx, jobs, keys, logs, runs};
use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;
use uuid::Uuid;

use super::contract::{self, Look, LookError};
use super::occasion::Asked;
use super::round::{self, Declined};
use super::standing::{self, Begun, End, Question, Said, Standing};
use super::submission;
use crate::specs::{Ready, Specs};
use crate::{FluxConfig, observe};

use std::sync::Arc;
use std::time::Duration;

/// Logs decided in one database transaction, at most.
const LOGS: u32 = 256;
/// Monitors looked after in one round, at most.
const BATCH: u32 = 256;
/// Aggregators asked at once, at most.
const LOOKS: usize = 16;
/// A job that cannot begin to work is tried again so much later.
const RELUCTANCE: Duration = Duration::from_secs(30);

/// What one round did.
#[derive(Debug, Default, Serialize)]
pub struct Round {
    heard: usize,
    looks: usize,
    runs: usize,
    unreachable: usize,
    more: bool,
}

/// Looks after the flux monitors of one chain: hears what happens on it, minds the timers, asks the
/// aggregators and starts runs.
pub struct FluxMonitors {
    pool: Pool,
    config: FluxConfig,
    specs: Specs,
}

/// A monitor at hand.
struct Minded {
    monitor: Monitor,
    standing: Standing,
    ready: Arc<Ready>,
    spec: FluxMonitor,
}

impl Minded {
    /// Remembers what a log says.
    fn heed(&mut self, log: &Log, keys: &[Address], now: Timestamp) {
        let contract = self.spec.contract_address;
        let Some(said) = standing::read(&log.topics, &log.data, contract, keys) else {
            return;
        };
        if let Said::Round { round, .. } = said {
            self.monitor.seen_round = Some(round);
        }
        self.standing.heed(said, &self.spec, now);
    }
}

impl FluxMonitors {
    /// Monitors of the pool's chain.
    pub fn new(pool: Pool, config: FluxConfig) -> Self {
        Self {
            pool,
            config,
            specs: Specs::default(),
        }
    }

    /// With its job; `None` when that is gone or cannot be read (which is noted with the job).
    async fn mind(&mut self, lead: &Leader, monitor: Monitor) -> anyhow::Result<Option<Minded>> {
        let ready = match self.specs.get(lead.store(), monitor.job_id).await {
            Ok(ready) => ready,
            Err(cause) => {
                observe::flux_unreadable(monitor.job_id, &cause);
                return Ok(None);
            }
        };
        let Some(spec) = ready.flux.clone() else {
            return Ok(None);
        };
        Ok(Some(Minded {
            standing: Standing::read(&monitor)?,
            monitor,
            ready,
            spec,
        }))
    }

    /// Takes down what the chain said since the last round.
    async fn hear(&mut self, lead: &Leader, round: &mut Round) -> anyhow::Result<()> {
        let chain = self.config.chain_id;
        let (said, keys) = {
            let mut conn = lead.store().read().await?;
            let said = logs::pending_rounds(&mut conn, chain, LOGS).await?;
            (said, our_keys(&mut conn, chain).await?)
        };
        if said.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        let mut minded: BTreeMap<JobId, Minded> = BTreeMap::new();
        for log in &said {
            for monitor in self.concerned(lead, log).await? {
                let job = monitor.job_id;
                if !minded.contains_key(&job)
                    && let Some(new) = self.mind(lead, monitor).await?
                {
                    minded.insert(job, new);
                }
                if let Some(known) = minded.get_mut(&job) {
                    known.heed(log, &keys, now);
                }
            }
        }
        let mut tx = lead.begin().await?;
        for log in &said {
            let consumed = logs::consume(&mut tx, log.id, "").await?;
            anyhow::ensure!(
                consumed,
                "log {} left the chain while it was considered; looking again",
                log.id
            );
        }
        for known in minded.values_mut() {
            known.standing.write(&mut known.monitor)?;
            flux::save(&mut tx, &known.monitor, now).await?;
        }
        tx.commit().await?;
        round.heard = said.len();
        round.more |= said.len() == LOGS as usize;
        Ok(())
    }

    /// Whose business a log is: the flags' everybody's, an aggregator's its own monitors'.
    async fn concerned(&self, lead: &Leader, log: &Log) -> anyhow::Result<Vec<Monitor>> {
        let mut conn = lead.store().read().await?;
        let chain = self.config.chain_id;
        Ok(match self.config.flags == Some(log.address) {
            true => flux::of_chain(&mut conn, chain).await?,
            false => flux::of_contract(&mut conn, chain, log.address).await?,
        })
    }

    /// Runs that are over make room for the next one.
    async fn take_back(&mut self, lead: &Leader, round: &mut Round) -> anyhow::Result<()> {
        let chain = self.config.chain_id;
        let returned = {
            let mut conn = lead.store().read().await?;
            flux::returned(&mut conn, chain, BATCH).await?
        };
        if returned.is_empty() {
            return Ok(());
        }
        round.more |= returned.len() == BATCH as usize;
        let mut minded = Vec::new();
        for monitor in returned {
            minded.extend(self.mind(lead, monitor).await?);
        }
        let now = clock::now();
        let mut tx = lead.begin().await?;
        for mut known in minded {
            let answer = flux::answer(&mut tx, known.monitor.job_id).await?;
            let submitted = answer.is_some_and(|it| it.reported_run == known.monitor.run_id);
            let run = match known.monitor.run_id {
                Some(run) => runs::find(&mut tx, run).await?,
                None => None,
            };
            // Runs that nothing came of are gone.
            let end = match run {
                _ if submitted => End::Submitted,
                Some(run) if run.state == State::Errored => End::Failed,
                _ => End::Declined,
            };
            known.standing.ended(end, &known.spec, now);
            known.monitor.run_id = None;
            known.standing.write(&mut known.monitor)?;
            flux::save(&mut tx, &known.monitor, now).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Asks the aggregators of all monitors with a reason to, and acts on what they say.
    async fn look_after(&mut self, lead: &Leader, round: &mut Round) -> anyhow::Result<()> {
        let chain = self.config.chain_id;
        let now = clock::now();
        let (due, keys) = {
            let mut conn = lead.store().read().await?;
            let due = flux::due(&mut conn, chain, now, BATCH).await?;
            (due, our_keys(&mut conn, chain).await?)
        };
        if due.is_empty() {
            return Ok(());
        }
        let full = due.len() == BATCH as usize;
        let mut asking = Vec::new();
        for monitor in due {
            if let Some(mut known) = self.mind(lead, monitor).await? {
                let question = known.standing.ask(&known.spec, now, chance());
                asking.push((known, question));
            }
        }
        let (pool, flags) = (&self.pool, self.config.flags);
        let looks: Vec<_> = stream::iter(asking)
            .map(|(known, question)| {
                let keys = &keys;
                async move {
                    let contract = known.spec.contract_address;
                    let look = contract::look(pool, contract, flags, keys, question.round).await;
                    (known, question, look)
                }
            })
            .buffer_unordered(LOOKS)
            .collect()
            .await;
        round.looks = looks.len();
        let now = clock::now();
        let mut tx = lead.begin().await?;
        for (known, question, look) in looks {
            match look {
                // The row stays as it is: the next round asks again.
                Err(cause @ LookError::Unreachable(_)) => {
                    observe::flux_unreachable(&known.ready.job, &cause);
                    round.unreachable += 1;
                }
                Err(cause) => self.give_up(&mut tx, known, &question, &cause, now).await?,
                Ok(look) => {
                    round.runs += usize::from(self.act(&mut tx, known, &question, look, now).await?)
                }
            }
        }
        if round.runs > 0 {
            tx.poke_on_commit("runs");
        }
        tx.commit().await?;
        round.more |= full && round.unreachable == 0;
        Ok(())
    }

    /// This look came to nothing, and the next one may not either.
    async fn give_up(
        &self,
        tx: &mut LeaderTx,
        mut known: Minded,
        question: &Question,
        cause: &LookError,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let job = known.monitor.job_id;
        observe::flux_strange(&known.ready.job, cause);
        jobs::note_error(tx, job, &cause.to_string(), now).await?;
        known.standing.baffled(question, &known.spec, now);
        known.standing.write(&mut known.monitor)?;
        if !known.standing.started {
            known.monitor.due_at = now.plus(RELUCTANCE);
        }
        flux::save(tx, &known.monitor, now).await?;
        Ok(())
    }

    /// Sets the timers by what the contract says, and starts a run where there is a round to answer.
    async fn act(
        &self,
        tx: &mut LeaderTx,
        mut known: Minded,
        question: &Question,
        look: Look,
        now: Timestamp,
    ) -> anyhow::Result<bool> {
        let begun = known.standing.heard.take();
        let (occasion, turned) =
            known
                .standing
                .settle(question.occasion, &known.spec, &look, now, chance());
        if turned {
            observe::flux_hibernates(&known.ready.job, known.standing.timers.hibernating);
        }
        let mut declined = None;
        let mut accepted = None;
        if let Some(occasion) = occasion {
            match self.judge(tx, &known, begun, &look).await? {
                Ok(()) => {
                    accepted = Some(Asked {
                        occasion,
                        round: look.state.round,
                        oracle: look.oracle,
                    })
                }
                Err(why) => declined = Some((occasion, why)),
            }
        }
        if let Some((occasion, why)) = &declined {
            observe::flux_declined(&known.ready.job, occasion.as_str(), why);
            if matches!(
                why,
                Declined::PaymentTooLow { .. } | Declined::Underfunded { .. }
            ) {
                jobs::note_error(tx, known.monitor.job_id, &why.to_string(), now).await?;
            }
            if occasion.insists() && !matches!(why, Declined::Answered(..)) {
                known.standing.timers.insist(&known.spec, now);
            }
        }
        known.standing.begins(accepted.as_ref());
        known.standing.write(&mut known.monitor)?;
        // Before the run: a job that was deleted meanwhile gets none.
        let alive = flux::save(tx, &known.monitor, now).await?;
        let Some(asked) = accepted.filter(|_| alive) else {
            return Ok(false);
        };
        let inputs = Inputs {
            purpose: serde_json::to_value(asked)?,
            ..Inputs::new(&variables(&known.ready, &look))
        };
        let run = runs::insert(tx, known.monitor.job_id, &inputs.to_text(), now).await?;
        known.monitor.run_id = Some(run);
        flux::save(tx, &known.monitor, now).await?;
        observe::flux_looks(&known.ready.job, run, asked.occasion.as_str(), asked.round);
        Ok(true)
    }

    async fn judge(
        &self,
        tx: &mut LeaderTx,
        known: &Minded,
        begun: Option<Begun>,
        look: &Look,
    ) -> anyhow::Result<Result<(), Declined>> {
        let (state, oracle) = (&look.state, look.oracle);
        if begun.is_some_and(|begun| begun.by == oracle) {
            return Ok(Err(Declined::OurOwn(state.round)));
        }
        let (chain, contract) = (self.config.chain_id, known.spec.contract_address);
        if submission::is_answered(tx, chain, contract, oracle, state.round).await? {
            return Ok(Err(Declined::Answered(state.round, oracle)));
        }
        let least = self.config.min_payment_juels;
        Ok(round::worth_it(state, oracle, &known.spec, least))
    }
}

async fn our_keys(
    conn: &mut dodona_store::Conn,
    chain: dodona_model::ChainId,
) -> dodona_store::Result<Vec<Address>> {
    let states = keys::of_chain(conn, chain).await?;
    Ok(states.into_iter().map(|state| state.address).collect())
}

/// `$(jobSpec…)` and `$(jobRun…)`: bridges are told what the aggregator says now.
fn variables(ready: &Ready, look: &Look) -> Value {
    let spec = &ready.job.spec;
    let facts = JobFacts {
        id: ready.job.id,
        external_job_id: spec.external_job_id,
        name: &spec.name,
        evm_chain_id: spec.chain_id,
    };
    let latest = look.latest.as_ref();
    facts.for_a_round(latest.map(|latest| {
        let answer = read_json(&latest.answer.to_string()).unwrap_or_default();
        (answer, latest.updated_at)
    }))
}

/// From 0 to 1.
fn chance() -> f64 {
    Uuid::new_v4().as_u128() as f64 / u128::MAX as f64
}

impl Service<Leader> for FluxMonitors {
    type Report = Round;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Round> {
        let mut round = Round::default();
        self.hear(lead, &mut round).await?;
        self.take_back(lead, &mut round).await?;
        self.look_after(lead, &mut round).await?;
        Ok(round)
    }

    fn worked(round: &Round) -> bool {
        round.runs > 0
    }

    fn again(round: &Round) -> bool {
        round.more
    }
}
