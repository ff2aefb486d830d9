//! A database of one's own with a runner at work on it, and small rows to put into it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dodona_jobs::{Outside, Runner, RunnerConfig};
use dodona_model::{JobId, RunId, run};
use dodona_pipeline::egress::EgressClient;
use dodona_pipeline::{Inputs, JobFacts};
use dodona_runtime::{CancellationToken, Health, Poke, Supervisor, clock, every};
use dodona_store::jobs::NewJob;
use dodona_store::runs::{Run, TaskRun};
use dodona_store::{
    DatabaseConfig, Leader, LeaseConfig, Scope, Store, bridges, initiators, jobs, runs,
};
use dodona_testkit::postgres::{self, FreshDatabase};
use dodona_testkit::until;
use tempfile::TempDir;
use uuid::Uuid;

/// A database, and what lives on it until the test ends.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) runs: Poke,
    _folder: Option<TempDir>,
    _server: Option<FreshDatabase>,
}

impl World {
    async fn on(config: DatabaseConfig) -> Self {
        // The egress client needs a crypto provider.
        drop(dodona_testkit::http());
        let runs = Poke::new();
        let pokes = BTreeMap::from([("runs", runs.clone())]);
        Self {
            store: Store::open(&config, pokes).await.unwrap(),
            runs,
            _folder: None,
            _server: None,
        }
    }

    /// One on each engine.
    pub(crate) async fn both() -> [Self; 2] {
        let folder = tempfile::tempdir().unwrap();
        let file = DatabaseConfig::Sqlite(folder.path().join("dodona.sqlite"));
        let mut sqlite = Self::on(file).await;
        sqlite._folder = Some(folder);
        let server = postgres::fresh().await;
        let mut postgres = Self::on(DatabaseConfig::Postgres {
            url: server.url.clone(),
            max_connections: 6,
        })
        .await;
        postgres._server = Some(server);
        [sqlite, postgres]
    }

    pub(crate) fn outside(&self) -> Arc<Outside> {
        Arc::new(Outside {
            store: self.store.clone(),
            pools: BTreeMap::new(),
            egress: EgressClient::new().unwrap(),
        })
    }

    /// A runner, until the supervisor is dropped or stopped.
    pub(crate) fn runner(&self, keep_successful: u32) -> Supervisor {
        let config = RunnerConfig {
            me: Uuid::new_v4().to_string(),
            max_in_flight: 8,
            patience: std::time::Duration::from_secs(1),
            claim: Duration::from_secs(60),
            max_run_duration: None,
            http_timeout: Some(Duration::from_secs(20)),
            http_max_bytes: 32_768,
            bridge_cache_ttl: Duration::ZERO,
            keep_successful,
            bridge_response_url: Some("http://node.example:6688/".to_owned()),
            chains: BTreeMap::new(),
        };
        let owner = Supervisor::new(Health::default(), CancellationToken::new());
        let runner = Runner::new(self.outside(), config, self.runs.clone());
        let schedule = every(Duration::from_secs(1)).on(&self.runs);
        owner.add("PipelineRunner", runner, Arc::new(()), schedule);
        owner
    }

    pub(crate) async fn lead(&self) -> Leader {
        let config = LeaseConfig::default();
        Leader::try_acquire(&self.store, &Scope::schedule(), "the test", &config)
            .await
            .unwrap()
            .expect("nobody else leads")
    }

    pub(crate) async fn job(&self, kind: &str, dot: &str) -> JobId {
        let mut tx = self.store.begin().await.unwrap();
        let id = jobs::insert(&mut tx, &job(kind, dot), clock::now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// A run as a call of the API begins it.
    pub(crate) async fn begin(&self, job: JobId, body: &str) -> RunId {
        let facts = JobFacts {
            id: job,
            external_job_id: Uuid::from_u128(7),
            name: "a job",
            evm_chain_id: None,
        };
        let inputs = Inputs::new(&facts.at_a_call(body)).to_text();
        let mut tx = self.store.begin().await.unwrap();
        let run = runs::insert(&mut tx, job, &inputs, clock::now())
            .await
            .unwrap();
        tx.poke_on_commit("runs");
        tx.commit().await.unwrap();
        run
    }

    pub(crate) async fn bridge(&self, name: &str, url: &str) {
        let new = bridges::Bridge {
            name: name.to_owned(),
            url: url.to_owned(),
            confirmations: 0,
            incoming_token_hash: String::new(),
            salt: String::new(),
            outgoing_token: String::new(),
            min_payment_juels: None,
            created_at: clock::now(),
        };
        let mut tx = self.store.begin().await.unwrap();
        bridges::insert(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn initiator(&self, url: &str) -> i64 {
        let new = initiators::NewInitiator {
            name: "outside".to_owned(),
            url: Some(url.to_owned()),
            access_key: "in".to_owned(),
            salt: String::new(),
            secret_hash: String::new(),
            outgoing_token: "our token".to_owned(),
            outgoing_secret: "our secret".to_owned(),
        };
        let mut tx = self.store.begin().await.unwrap();
        let id = initiators::insert(&mut tx, &new, clock::now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// The run, once it is in this state.
    pub(crate) async fn run_in(&self, id: RunId, state: run::State) -> Run {
        until(&format!("run {id} is {}", state.as_str()), || async {
            let mut conn = self.store.read().await.unwrap();
            let found = runs::find(&mut conn, id).await.unwrap();
            found.filter(|run| run.state == state)
        })
        .await
    }

    pub(crate) async fn tasks(&self, run: RunId) -> Vec<TaskRun> {
        let mut conn = self.store.read().await.unwrap();
        runs::tasks(&mut conn, run).await.unwrap()
    }

    pub(crate) async fn runs_of(&self, job: JobId) -> Vec<Run> {
        let mut conn = self.store.read().await.unwrap();
        runs::list(&mut conn, Some(job), 100, 0).await.unwrap()
    }
}

fn job(kind: &str, dot: &str) -> NewJob {
    NewJob {
        external_job_id: Uuid::new_v4(),
        name: "a job".to_owned(),
        kind: kind.to_owned(),
        schema_version: 1,
        toml: String::new(),
        dot: dot.to_owned(),
        chain_id: None,
        contract_address: None,
        min_confirmations: None,
        min_payment_juels: None,
        requesters: Vec::new(),
        gas_limit: None,
        forwarding_allowed: false,
        max_task_duration: None,
    }
}
