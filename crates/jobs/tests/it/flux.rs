//! Flux monitors before an aggregator that does as it is told.

use std::time::Duration;

use alloy::primitives::U256;
use dodona_jobs::{FluxConfig, FluxMonitors};
use dodona_model::run::State;
use dodona_model::{JobId, tx};
use dodona_pipeline::{Inputs, JobSpec};
use dodona_runtime::{Service, clock};
use dodona_store::flux::{self, Monitor};
use dodona_store::jobs::NewJob;
use dodona_store::{Leader, LeaseConfig, Scope, jobs as job_rows, txs};
use dodona_testkit::source::Behaviour;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::feed::{FEED, FLAGS, Feed, OTHER, submission};
use crate::scene::{CHAIN, KEY, NOW, Scene};

const QUIET: &str = "threshold = 50\npollTimerDisabled = true\nidleTimerDisabled = true";
const POLLS: &str = "threshold = 1\npollTimerPeriod = \"60s\"\nidleTimerDisabled = true";

/// A monitor of a job, past its first look.
struct Watched {
    scene: Scene,
    feed: Feed,
    job: JobId,
    monitors: FluxMonitors,
}

/// What a round did.
#[derive(Debug, PartialEq, Eq)]
struct Did {
    looks: u64,
    runs: u64,
    unreachable: u64,
}

impl Watched {
    /// A job that submits what `/price` says; it has looked once, and the first look's run is over.
    async fn both(settings: &str) -> Vec<Self> {
        let mut all = Vec::new();
        for scene in Scene::both().await {
            all.push(Self::on(scene, settings).await);
        }
        all
    }

    async fn on(mut scene: Scene, settings: &str) -> Self {
        let feed = Feed::start().await;
        scene.pools.insert(CHAIN, feed.pool.clone());
        let job = job(&scene, settings).await;
        let monitors = monitors(&feed);
        let mut this = Self {
            scene,
            feed,
            job,
            monitors,
        };
        this.serve(100);
        this.tick().await;
        this.scene.run().await;
        this.tick().await;
        assert_eq!(this.submitted().await, [], "100 was submitted before");
        this.feed.looks();
        this
    }

    fn serve(&self, number: u64) {
        let document = json!({ "value": number });
        self.scene.source.on("/price", Behaviour::Answer(document));
    }

    fn source_fails(&self) {
        let down = Behaviour::Status(500, "down".to_owned());
        self.scene.source.on("/price", down);
    }

    async fn tick(&mut self) -> Did {
        let round = self.monitors.tick(&self.scene.lead).await.unwrap();
        let round = serde_json::to_value(round).unwrap();
        let figure = |name: &str| round[name].as_u64().unwrap();
        Did {
            looks: figure("looks"),
            runs: figure("runs"),
            unreachable: figure("unreachable"),
        }
    }

    /// Looks, runs what has to run, and takes note of how it ended.
    async fn round(&mut self) -> Did {
        let did = self.tick().await;
        self.scene.run().await;
        self.tick().await;
        did
    }

    async fn monitor(&self) -> Monitor {
        let mut conn = self.scene.read().await;
        let all = flux::of_chain(&mut conn, CHAIN).await.unwrap();
        all.into_iter().find(|it| it.job_id == self.job).unwrap()
    }

    /// So much time goes by: everything the monitor waits for comes nearer.
    async fn time_passes(&self, seconds: i64) {
        let mut monitor = self.monitor().await;
        let mut standing: Value = serde_json::from_str(&monitor.standing).unwrap();
        let earlier = |moment: &mut Value| {
            if let Some(at) = moment.as_i64() {
                *moment = json!(at - seconds * 1_000_000);
            }
        };
        for name in [
            "poll",
            "idle",
            "retry",
            "drumbeat",
            "timeout",
            "hibernation",
        ] {
            earlier(&mut standing["timers"][name]);
        }
        if standing["again"].is_object() {
            earlier(&mut standing["again"]["at"]);
        }
        monitor.standing = standing.to_string();
        if monitor.due_at != flux::NEVER {
            monitor.due_at = monitor
                .due_at
                .minus(Duration::from_secs(seconds.unsigned_abs()));
        }
        let mut tx = self.scene.lead.begin().await.unwrap();
        assert!(flux::save(&mut tx, &monitor, clock::now()).await.unwrap());
        tx.commit().await.unwrap();
    }

    /// Rounds and answers of all submissions, oldest first.
    async fn submitted(&self) -> Vec<(u64, i64)> {
        let txs = self.scene.txs().await;
        txs.iter().map(|tx| submission(&tx.spec.payload)).collect()
    }

    async fn errors(&self) -> Vec<String> {
        let errors = self.scene.job_errors(self.job).await;
        errors.into_iter().map(|(text, _)| text).collect()
    }
}

fn monitors(feed: &Feed) -> FluxMonitors {
    let config = FluxConfig {
        chain_id: CHAIN,
        min_payment_juels: U256::from(10),
        flags: Some(FLAGS),
    };
    FluxMonitors::new(feed.pool.clone(), config)
}

async fn job(scene: &Scene, settings: &str) -> JobId {
    let (id, url) = (Uuid::new_v4(), scene.source.url_of("/price"));
    let dot = format!(
        "fetch [type=http method=GET url=\"{url}\" allowUnrestrictedNetworkAccess=\"true\" retries=0]\n\
         parse [type=jsonparse path=\"value\"]\nfetch -> parse"
    );
    let toml = format!(
        "type = \"fluxmonitor\"\nschemaVersion = 1\nexternalJobID = \"{id}\"\nevmChainID = \"{CHAIN}\"\n\
         contractAddress = \"{FEED}\"\n{settings}\nobservationSource = '''\n{dot}\n'''\n"
    );
    let spec = JobSpec::parse(&toml).unwrap_or_else(|error| panic!("{error}\n{toml}"));
    let new = NewJob {
        external_job_id: id,
        name: "a feed".to_owned(),
        kind: "fluxmonitor".to_owned(),
        schema_version: 1,
        toml,
        dot: spec.observation_source,
        chain_id: Some(CHAIN),
        contract_address: Some(FEED),
        min_confirmations: None,
        min_payment_juels: None,
        requesters: Vec::new(),
        gas_limit: None,
        forwarding_allowed: false,
        max_task_duration: None,
    };
    let mut tx = scene.store.begin().await.unwrap();
    let job = job_rows::insert(&mut tx, &new, NOW).await.unwrap();
    tx.commit().await.unwrap();
    job
}

#[tokio::test]
async fn a_round_that_another_oracle_begins_gets_one_run_and_one_submission() {
    for mut it in Watched::both(QUIET).await {
        it.serve(101);
        let log = it.feed.begins(6, OTHER);
        it.scene.mine(&[log]).await;
        assert_eq!(it.round().await.runs, 1);
        assert_eq!(
            it.feed.looks(),
            [6, 6],
            "before the run and before the submission"
        );
        assert_eq!(it.submitted().await, [(6, 101)]);
        assert_eq!(it.monitor().await.seen_round, Some(6));
        let run = it.scene.runs().await.pop().unwrap();
        assert_eq!(run.state, State::Completed);
        let vars = Inputs::read(&run.inputs).unwrap().vars.to_string();
        assert!(vars.contains("latestAnswer"), "{vars}");
        // The answer's own event is no reason to answer again.
        let ours = it.feed.begins(7, KEY);
        it.scene.mine(&[ours]).await;
        assert_eq!(it.round().await.runs, 0);
        assert_eq!(it.submitted().await, [(6, 101)]);
        assert_eq!(it.scene.undecided().await, 0);
    }
}

#[tokio::test]
async fn a_round_whose_run_failed_is_tried_again_until_it_is_answered() {
    for mut it in Watched::both(QUIET).await {
        it.source_fails();
        let log = it.feed.begins(6, OTHER);
        it.scene.mine(&[log]).await;
        assert_eq!(it.round().await.runs, 1);
        assert!(it.errors().await[0].contains("Error polling"));
        // Not at once, and later and later.
        for pause in [5, 10, 20] {
            assert_eq!(it.round().await.runs, 0);
            it.time_passes(pause).await;
            assert_eq!(it.round().await.runs, 1, "after {pause} s");
        }
        assert_eq!(it.submitted().await, []);
        it.serve(101);
        it.time_passes(40).await;
        assert_eq!(it.round().await.runs, 1);
        assert_eq!(it.submitted().await, [(6, 101)], "however little it moved");
        it.time_passes(3_600).await;
        assert_eq!(it.round().await.runs, 0, "it is answered");
    }
}

#[tokio::test]
async fn a_round_that_closed_meanwhile_is_not_tried_again() {
    for mut it in Watched::both(QUIET).await {
        it.source_fails();
        let log = it.feed.begins(6, OTHER);
        it.scene.mine(&[log]).await;
        it.round().await;
        it.feed.closes();
        it.time_passes(5).await;
        let did = it.round().await;
        assert_eq!((did.looks, did.runs), (1, 0));
        it.time_passes(3_600).await;
        assert_eq!(it.round().await.looks, 0, "nothing is waited for");
    }
}

#[tokio::test]
async fn a_newer_round_takes_the_place_of_one_that_failed() {
    for mut it in Watched::both(QUIET).await {
        it.source_fails();
        let log = it.feed.begins(6, OTHER);
        it.scene.mine(&[log]).await;
        it.round().await;
        it.serve(103);
        let log = it.feed.begins(7, OTHER);
        it.scene.mine(&[log]).await;
        it.round().await;
        it.time_passes(3_600).await;
        assert_eq!(it.round().await.runs, 0);
        assert_eq!(it.submitted().await, [(7, 103)]);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_away_costs_no_round() {
    for mut it in Watched::both(QUIET).await {
        it.serve(101);
        let log = it.feed.begins(6, OTHER);
        it.scene.mine(&[log]).await;
        it.feed.is_away(true);
        for _ in 0..3 {
            let did = it.tick().await;
            assert_eq!((did.runs, did.unreachable), (0, 1));
        }
        it.feed.is_away(false);
        dodona_testkit::until("the pool believes in its endpoint again", async || {
            it.feed.pool.latest_block().await.ok()
        })
        .await;
        it.round().await;
        assert_eq!(it.submitted().await, [(6, 101)]);
    }
}

#[tokio::test]
async fn a_poll_submits_what_moved_enough_and_leaves_nothing_behind_otherwise() {
    for mut it in Watched::both(POLLS).await {
        let before = it.scene.runs().await.len();
        it.time_passes(60).await;
        assert_eq!(it.round().await.runs, 1);
        assert_eq!(
            it.scene.runs().await.len(),
            before,
            "a look that led to nothing"
        );
        it.serve(101);
        it.time_passes(60).await;
        it.round().await;
        assert_eq!(it.submitted().await, [(6, 101)]);
        // It is on its way: the round is not answered twice, whatever moves.
        it.serve(150);
        it.time_passes(60).await;
        assert_eq!(it.round().await.runs, 0);
        assert_eq!(it.submitted().await, [(6, 101)]);
    }
}

#[tokio::test]
async fn a_submission_that_was_given_up_makes_room_for_another() {
    for mut it in Watched::both(POLLS).await {
        it.serve(120);
        it.time_passes(60).await;
        it.round().await;
        let sent = it.scene.only_tx().await;
        let mut tx = it.scene.store.begin().await.unwrap();
        txs::die(&mut tx, &sent, tx::Event::Refused, "a test")
            .await
            .unwrap();
        tx.commit().await.unwrap();
        it.time_passes(60).await;
        it.round().await;
        let alive: Vec<_> = it.scene.txs().await;
        let alive = alive.iter().filter(|tx| tx.state == tx::State::Queued);
        assert_eq!(alive.count(), 1);
    }
}

#[tokio::test]
async fn a_failed_poll_waits_for_the_next_one() {
    for mut it in Watched::both(POLLS).await {
        it.source_fails();
        it.time_passes(60).await;
        assert_eq!(it.round().await.runs, 1);
        it.time_passes(30).await;
        assert_eq!(it.round().await.runs, 0);
        it.serve(150);
        it.time_passes(30).await;
        it.round().await;
        assert_eq!(it.submitted().await, [(6, 150)]);
    }
}

#[tokio::test]
async fn nobody_is_asked_for_a_round_that_pays_too_little_or_cannot_pay() {
    for mut it in Watched::both(POLLS).await {
        let asked = it.scene.source.hits();
        it.serve(150);
        it.feed.pays(9);
        it.time_passes(60).await;
        assert_eq!(it.round().await.runs, 0);
        it.feed.pays(10);
        it.feed.holds(59);
        it.time_passes(60).await;
        assert_eq!(it.round().await.runs, 0);
        assert_eq!(it.scene.source.hits(), asked);
        let errors = it.errors().await.join("\n");
        assert!(errors.contains("pays 9 juels"), "{errors}");
        assert!(errors.contains("underfunded"), "{errors}");
        it.feed.holds(60);
        it.time_passes(60).await;
        it.round().await;
        assert_eq!(it.submitted().await, [(6, 150)]);
    }
}

#[tokio::test]
async fn a_flagged_feed_answers_rounds_of_others_only_until_its_flag_is_lowered() {
    for mut it in Watched::both(POLLS).await {
        let log = it.feed.flag(true);
        it.scene.mine(&[log]).await;
        it.round().await;
        it.serve(200);
        it.time_passes(60).await;
        assert_eq!(it.round().await.looks, 0, "it hibernates");
        let log = it.feed.begins(6, OTHER);
        it.scene.mine(&[log]).await;
        it.round().await;
        assert_eq!(it.submitted().await, [(6, 200)]);
        it.time_passes(24 * 3_600).await;
        assert_eq!(it.tick().await.looks, 1, "once a day");
        it.scene.run().await;
        it.tick().await;
        // Round 7 is everybody's to begin.
        drop(it.feed.begins(7, OTHER));
        let log = it.feed.flag(false);
        it.scene.mine(&[log]).await;
        it.round().await;
        assert_eq!(it.submitted().await, [(6, 200), (7, 200)]);
        it.time_passes(60).await;
        assert_eq!(it.tick().await.looks, 1, "its poll timer runs again");
    }
}

#[tokio::test]
async fn an_idle_timer_that_finds_no_number_insists() {
    let settings = "threshold = 50\npollTimerDisabled = true\nidleTimerPeriod = \"10m\"";
    for mut it in Watched::both(settings).await {
        it.source_fails();
        it.time_passes(600).await;
        assert_eq!(it.round().await.runs, 1);
        it.time_passes(60).await;
        assert_eq!(it.round().await.runs, 1);
        it.serve(100);
        it.time_passes(120).await;
        assert_eq!(it.round().await.runs, 1);
        assert_eq!(it.submitted().await, [(6, 100)], "nothing moved");
    }
}

#[tokio::test]
async fn a_drumbeat_begins_a_round_and_repeats_it_when_its_run_failed() {
    let settings = "threshold = 50\npollTimerDisabled = true\nidleTimerDisabled = true\n\
                    drumbeatEnabled = true\ndrumbeatSchedule = \"@every 10m\"";
    for mut it in Watched::both(settings).await {
        it.source_fails();
        it.time_passes(600).await;
        assert_eq!(it.round().await.runs, 1);
        it.serve(100);
        it.time_passes(5).await;
        assert_eq!(it.round().await.runs, 1);
        assert_eq!(it.submitted().await, [(6, 100)]);
    }
}

#[tokio::test]
async fn who_was_replaced_starts_nothing_and_the_successor_carries_on() {
    for mut it in Watched::both(QUIET).await {
        it.source_fails();
        let log = it.feed.begins(6, OTHER);
        it.scene.mine(&[log]).await;
        it.round().await;
        it.time_passes(5).await;
        it.serve(104);
        it.scene.lead.release().await.unwrap();
        let config = LeaseConfig::default();
        let scope = Scope::chain(CHAIN);
        let next = Leader::try_acquire(&it.scene.store, &scope, "another", &config).await;
        let next = next.unwrap().expect("nobody leads");
        assert!(it.monitors.tick(&it.scene.lead).await.is_err());
        assert_eq!(it.submitted().await, []);
        // It remembers nothing but the rows.
        it.monitors = monitors(&it.feed);
        it.scene.lead = next;
        assert_eq!(it.round().await.runs, 1);
        assert_eq!(it.submitted().await, [(6, 104)]);
    }
}

#[tokio::test]
async fn a_job_that_is_deleted_while_its_run_is_on_the_way_leaves_no_monitor() {
    for mut it in Watched::both(QUIET).await {
        let log = it.feed.begins(6, OTHER);
        it.scene.mine(&[log]).await;
        it.tick().await;
        let mut tx = it.scene.store.begin().await.unwrap();
        assert!(job_rows::delete(&mut tx, it.job, NOW).await.unwrap());
        tx.commit().await.unwrap();
        it.scene.run().await;
        it.tick().await;
        let mut conn = it.scene.read().await;
        assert_eq!(flux::of_chain(&mut conn, CHAIN).await.unwrap(), []);
    }
}
