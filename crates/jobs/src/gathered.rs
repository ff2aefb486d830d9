//! Logs that are decided together: what all of them need is read once, and what each of them leads to is written
//! once. A block's twenty requests cost little more than one.

use std::collections::HashMap;
use std::sync::Arc;

use dodona_model::oracle::{CANCEL_ORACLE_REQUEST, ORACLE_REQUEST};
use dodona_model::{Address, B256, ChainId, JobId, Timestamp};
use dodona_store::heads::Head;
use dodona_store::jobs::Job;
use dodona_store::logs::Log;
use dodona_store::requests::{NewRequest, Request};
use dodona_store::{LeaderTx, heads, jobs, logs, requests, runs};

use crate::log::Asked;
use crate::observe;

/// A request as its contract knows it.
type Name = (Address, B256);

/// One database transaction's worth of logs.
#[derive(Default)]
pub(crate) struct Gathered {
    // By contract and the topic that names a job.
    jobs: HashMap<Name, Arc<Job>>,
    heads: HashMap<B256, Option<Head>>,
    // Read ahead. Good for one look: after that the row may be another.
    newest: HashMap<Name, Option<Request>>,

    // To be written: requests that begin a life.
    fresh: Vec<Fresh>,
    // To be written: what became of logs.
    consumed: Vec<(i64, String)>,
}

/// A request that begins a life.
struct Fresh {
    request: NewRequest,
    /// Its job and the inputs of its run; a refused request has none.
    run: Option<(Arc<Job>, String)>,
}

impl Gathered {
    /// Reads ahead what is known about the requests of these logs, and their jobs.
    pub(crate) async fn of(
        tx: &mut LeaderTx,
        chain: ChainId,
        logs: &[Log],
    ) -> anyhow::Result<Self> {
        let asked = names(logs);
        let mut newest: HashMap<Name, Option<Request>> =
            asked.iter().map(|name| (*name, None)).collect();
        for request in requests::newest_lives(tx, chain, &asked).await? {
            newest.insert((request.oracle, request.request_id), Some(request));
        }
        let jobs = jobs::find_by_topics(tx, chain, &named_jobs(logs)).await?;
        let jobs = jobs.into_iter().map(|(name, job)| (name, Arc::new(job)));
        Ok(Self {
            newest,
            jobs: jobs.collect(),
            ..Self::default()
        })
    }

    /// The job that a contract's log names.
    pub(crate) fn job(&self, name: Name) -> Option<Arc<Job>> {
        self.jobs.get(&name).cloned()
    }

    /// The header of a log's block.
    pub(crate) async fn head(
        &mut self,
        tx: &mut LeaderTx,
        chain: ChainId,
        hash: B256,
    ) -> anyhow::Result<Option<&Head>> {
        use std::collections::hash_map::Entry;
        let head = match self.heads.entry(hash) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(heads::by_hash(tx, chain, hash).await?),
        };
        Ok(head.as_ref())
    }

    /// The newest life of a request, what is gathered here included.
    pub(crate) async fn newest_life(
        &mut self,
        tx: &mut LeaderTx,
        chain: ChainId,
        name: Name,
        now: Timestamp,
    ) -> anyhow::Result<Option<Request>> {
        if self.is_fresh(name) {
            self.write_fresh(tx, now).await?;
        } else if let Some(known) = self.newest.remove(&name) {
            return Ok(known);
        }
        Ok(requests::newest_life(tx, chain, name.0, name.1).await?)
    }

    fn is_fresh(&self, name: Name) -> bool {
        let mut fresh = self.fresh.iter().map(|fresh| &fresh.request);
        fresh.any(|new| (new.oracle, new.request_id) == name)
    }

    /// A request that begins a life; with the inputs of a run unless it is refused.
    pub(crate) fn begin(&mut self, request: NewRequest, run: Option<(Arc<Job>, String)>) {
        self.fresh.push(Fresh { request, run });
    }

    /// A log is decided.
    pub(crate) fn consume(&mut self, log: &Log, note: String) {
        self.consumed.push((log.id, note));
    }

    async fn write_fresh(&mut self, tx: &mut LeaderTx, now: Timestamp) -> anyhow::Result<()> {
        let fresh = std::mem::take(&mut self.fresh);
        let inputs: Vec<(JobId, String)> = fresh
            .iter()
            .filter_map(|fresh| fresh.run.as_ref())
            .map(|(job, inputs)| (job.id, inputs.clone()))
            .collect();
        let mut runs = runs::insert_each(tx, &inputs, now).await?.into_iter();
        let mut new = Vec::with_capacity(fresh.len());
        for Fresh { request, run } in fresh {
            let run_id = match run {
                Some((job, _)) => {
                    let run = runs.next();
                    if let Some(run) = run {
                        let block = request.incarnation.block;
                        observe::triggered(&job, run, request.request_id, block);
                    }
                    run
                }
                None => None,
            };
            new.push(NewRequest { run_id, ..request });
        }
        requests::insert_each(tx, &new, now).await?;
        Ok(())
    }

    /// Writes what was gathered, together or not at all: a log that left the chain meanwhile undoes it.
    pub(crate) async fn write(mut self, tx: &mut LeaderTx, now: Timestamp) -> anyhow::Result<()> {
        self.write_fresh(tx, now).await?;
        let consumed = logs::consume_each(tx, &self.consumed).await?;
        anyhow::ensure!(
            consumed == self.consumed.len() as u64,
            "a log left the chain while it was considered; looking again"
        );
        Ok(())
    }
}

/// The jobs that requests among these logs name, by contract and topic.
fn named_jobs(logs: &[Log]) -> Vec<Name> {
    let requests = logs
        .iter()
        .filter(|log| log.topics.first() == Some(&ORACLE_REQUEST));
    let mut named: Vec<Name> = requests
        .filter_map(|log| Some((log.address, *log.topics.get(1)?)))
        .collect();
    named.sort_unstable();
    named.dedup();
    named
}

/// The requests that these logs are about, each once.
fn names(logs: &[Log]) -> Vec<Name> {
    let mut names: Vec<Name> = logs
        .iter()
        .filter_map(|log| Some((log.address, subject(log)?)))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn subject(log: &Log) -> Option<B256> {
    match log.topics.first() {
        Some(&ORACLE_REQUEST) => crate::log::asked(log)
            .ok()
            .map(|asked: Asked| asked.request_id),
        Some(&CANCEL_ORACLE_REQUEST) => log.topics.get(1).copied(),
        _ => None,
    }
}
