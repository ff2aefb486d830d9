//! The state of the service as rows tell it: read when asked, shown by status, page and metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use dodona_model::{ChainId, JobId, Timestamp, request, run, tx};
use dodona_rpc::NodeStatus;
use dodona_runtime::clock;
use dodona_store::jobs::Job;
use dodona_store::keys::KeyState;
use dodona_store::{Conn, Result, flux, heads, jobs, keys, logs, requests, runs, txs, warnings};

use crate::ChainView;
use crate::server::App;
use crate::written::spoken;

/// Jobs that status, page and metrics show, at most; `/v2/jobs` shows all.
const MAX_JOBS: u32 = 1000;

pub(crate) struct Facts {
    pub(crate) at: Timestamp,
    pub(crate) chains: Vec<ChainFacts>,
    pub(crate) keys: Vec<KeyState>,
    pub(crate) jobs: Vec<JobFacts>,
    /// Runs that are not finished.
    pub(crate) runs_unfinished: u64,
    pub(crate) tasks_unfinished: u64,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) flux: Vec<flux::Figures>,
}

pub(crate) struct ChainFacts {
    pub(crate) chain_id: ChainId,
    pub(crate) head: Option<HeadFacts>,
    /// How many transactions stand where.
    pub(crate) txs: BTreeMap<&'static str, u64>,
    /// Signed or handed over, not mined.
    pub(crate) in_flight: u64,
    pub(crate) queued: u64,
    /// Since the oldest of those in flight was asked for.
    pub(crate) oldest_in_flight: Option<Duration>,
    /// Blocks since the oldest attempt of those in flight was signed.
    pub(crate) blocks_in_flight: Option<u64>,
    pub(crate) requests: Vec<(request::State, u64)>,
    pub(crate) logs_waiting: u64,
    pub(crate) nodes: Vec<NodeStatus>,
}

#[derive(Clone, Copy)]
pub(crate) struct HeadFacts {
    pub(crate) number: u64,
    /// Since we saw it first.
    pub(crate) age: Duration,
}

pub(crate) struct JobFacts {
    pub(crate) job: Job,
    pub(crate) runs: u64,
    pub(crate) errored: u64,
}

pub(crate) struct Warning {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Facts {
    pub(crate) async fn read(app: &App) -> Result<Self> {
        let mut conn = app.store.read().await?;
        let conn = &mut conn;
        let at = clock::now();
        let counts = runs::count_by_job_and_state(conn).await?;
        let mut warnings: Vec<Warning> = warnings::list(conn)
            .await?
            .into_iter()
            .map(|(name, text)| Warning { name, text })
            .collect();
        let mut chains = Vec::with_capacity(app.chains.len());
        for view in &app.chains {
            let facts = ChainFacts::read(conn, view, at).await?;
            warnings.extend(facts.stale(view));
            chains.push(facts);
        }
        Ok(Self {
            at,
            chains,
            keys: keys::list(conn).await?,
            runs_unfinished: counts
                .iter()
                .filter(|(_, state, _)| !state.is_finished())
                .map(|(_, _, n)| n)
                .sum(),
            jobs: job_facts(jobs::list(conn, MAX_JOBS, 0).await?, &counts),
            tasks_unfinished: runs::count_unfinished_tasks(conn).await?,
            warnings,
            flux: flux::figures(conn).await?,
        })
    }
}

fn job_facts(jobs: Vec<Job>, counts: &[(JobId, run::State, u64)]) -> Vec<JobFacts> {
    let mut by_job: BTreeMap<JobId, (u64, u64)> = BTreeMap::new();
    for (job, state, n) in counts {
        let (all, errored) = by_job.entry(*job).or_default();
        *all += n;
        if *state == run::State::Errored {
            *errored += n;
        }
    }
    jobs.into_iter()
        .map(|job| {
            let (runs, errored) = by_job.get(&job.id).copied().unwrap_or_default();
            JobFacts { job, runs, errored }
        })
        .collect()
}

impl ChainFacts {
    async fn read(conn: &mut Conn, view: &ChainView, at: Timestamp) -> Result<Self> {
        let chain = view.chain_id;
        let head = heads::latest(conn, chain).await?.map(|head| HeadFacts {
            number: head.block.number,
            age: at.since(head.seen_at),
        });
        let mut facts = Self {
            chain_id: chain,
            head,
            txs: BTreeMap::new(),
            in_flight: 0,
            queued: 0,
            oldest_in_flight: None,
            blocks_in_flight: None,
            requests: requests::count_by_state(conn, chain).await?,
            logs_waiting: logs::count_pending(conn, chain).await?,
            nodes: view
                .pool
                .as_ref()
                .map(|pool| pool.nodes())
                .unwrap_or_default(),
        };
        for (_, state, n, oldest) in txs::count_by_state(conn, chain).await? {
            *facts.txs.entry(state.as_str()).or_default() += n;
            match state {
                tx::State::Queued => facts.queued += n,
                tx::State::Signed | tx::State::Sent => {
                    facts.in_flight += n;
                    let age = at.since(oldest);
                    facts.oldest_in_flight =
                        Some(facts.oldest_in_flight.map_or(age, |known| known.max(age)));
                }
                tx::State::Mined | tx::State::Final | tx::State::Dead => {}
            }
        }
        if facts.in_flight > 0
            && let Some(first) = txs::oldest_first_block(conn, chain).await?
        {
            facts.blocks_in_flight = head.map(|head| head.number.saturating_sub(first));
        }
        Ok(facts)
    }

    /// What to say when the chain has not moved for longer than the operator finds normal.
    fn stale(&self, view: &ChainView) -> Option<Warning> {
        let head = self.head?;
        let late = !view.head_age_alarm.is_zero() && head.age > view.head_age_alarm;
        late.then(|| Warning {
            name: format!("head-age-{}", self.chain_id),
            text: format!(
                "chain {} has shown no new block for {}: requests are not seen meanwhile; look at its endpoints",
                self.chain_id,
                spoken(head.age)
            ),
        })
    }
}
