//! Flux monitors on a real chain, with the real FluxAggregator.

use std::time::Duration;

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolValue;
use dodona_testkit::{
    contracts::{Feed, Flags, code},
    node::{Job, Node},
    source::{Behaviour, Gate},
    until, until_within,
};
use serde_json::{Value, json};

use crate::replicas::leads;
use crate::scene::{Db, Scene, price};

/// A node, and a feed whose only oracle it is, or one of two.
struct Rounds {
    scene: Scene,
    feed: Feed,
    /// Another oracle, an account that the chain signs for.
    other: Address,
}

const NO_POLL: &str = "pollTimerDisabled = true";
const NO_IDLE: &str = "idleTimerDisabled = true";

impl Rounds {
    async fn alone(db: Db) -> Self {
        let this = Self::without_oracles(Scene::on(db).await).await;
        let (world, key) = (&this.scene.world, this.scene.key);
        this.feed.set_oracles(world, &[key], 1).await;
        this
    }

    /// Two submissions make an answer.
    async fn of_two(db: Db) -> Self {
        let this = Self::without_oracles(Scene::on(db).await).await;
        let (world, key) = (&this.scene.world, this.scene.key);
        this.feed.set_oracles(world, &[key, this.other], 2).await;
        this
    }

    async fn without_oracles(scene: Scene) -> Self {
        let feed = Feed::deploy(&scene.world, 0).await;
        let other = scene.anvil.accounts()[5];
        Self { scene, feed, other }
    }

    /// A job that submits the source's price in hundredths.
    async fn job(&self, settings: &str) -> Job {
        let text = format!(
            r#"
type = "fluxmonitor"
schemaVersion = 1
name = "a feed"
evmChainID = "31337"
contractAddress = "{feed}"
{settings}
observationSource = """
fetch [type="http" method=GET url="{url}" allowUnrestrictedNetworkAccess="true"]
parse [type="jsonparse" path="value"]
times [type="multiply" times=100]
fetch -> parse -> times
"""
"#,
            feed = self.feed.address,
            url = self.scene.source.url_of("/price"),
        );
        self.scene.api().create_job(&text).await
    }

    fn serve(&self, cents: u64) {
        self.scene.serve_price(cents);
    }

    /// Waits until this round has an answer; longer than a dead replica's claim on a run lasts.
    async fn answer(&self, round: u64) -> i64 {
        let patience = Duration::from_secs(60);
        until_within(patience, &format!("round {round} is answered"), || async {
            let answer = self.feed.answer(&self.scene.world, round).await;
            (answer != 0).then_some(answer)
        })
        .await
    }

    /// What the node has submitted.
    async fn ours(&self) -> Vec<(u32, i64)> {
        let (world, key) = (&self.scene.world, self.scene.key);
        self.feed.submissions_of(world, key).await
    }

    async fn submitted(&self, count: usize) -> Vec<(u32, i64)> {
        until(&format!("{count} submissions"), || async {
            let ours = self.ours().await;
            (ours.len() >= count).then_some(ours)
        })
        .await
    }

    async fn other_submits(&self, round: u64, answer: i64) {
        let world = &self.scene.world;
        self.feed
            .submit_from(world, self.other, round, answer)
            .await;
    }

    /// Waits until the node has looked at the source so often since now.
    async fn looks(&self, count: usize) {
        let before = self.scene.source.hits_of("/price");
        until(&format!("{count} more looks"), || async {
            (self.scene.source.hits_of("/price") >= before + count).then_some(())
        })
        .await;
    }

    /// Nothing is on its way: no run, no transaction.
    async fn quiet(&self, job: &Job) {
        until("every run has ended", || async {
            let runs = self.scene.api().runs(job).await;
            let all = runs.iter().all(|run| !run["finishedAt"].is_null());
            (all && self.scene.anvil.pending_transactions().await == 0).then_some(())
        })
        .await;
    }

    async fn errors_of(&self, job: &Job) -> Vec<Value> {
        let job = self.scene.api().get(&format!("/v2/jobs/{}", job.id)).await;
        let errors = job["attributes"]["errors"].as_array();
        errors.cloned().unwrap_or_default()
    }

    async fn figure(&self, job: &Job, name: &str) -> Option<f64> {
        let starts = format!("flux_monitor_{name}{{job_spec_id=\"{}\"}}", job.id);
        self.scene.api().metric(&starts).await
    }
}

async fn a_new_job_submits_at_once_and_then_what_has_moved_enough(db: Db) {
    let rounds = Rounds::alone(db).await;
    rounds.serve(10_000);
    let job = rounds
        .job(&format!(
            "threshold = 1.0\nabsoluteThreshold = 50\npollTimerPeriod = \"1s\"\n{NO_IDLE}"
        ))
        .await;
    assert_eq!(rounds.answer(1).await, 10_000);

    // 1 % and 100 hundredths; neither threshold alone is enough.
    rounds.serve(10_099);
    rounds.looks(2).await;
    rounds.quiet(&job).await;
    assert_eq!(rounds.ours().await, [(1, 10_000)]);
    rounds.serve(10_100);
    assert_eq!(rounds.answer(2).await, 10_100);

    // 100 % of next to nothing is not 50 hundredths.
    rounds.serve(20);
    assert_eq!(rounds.answer(3).await, 20);
    rounds.serve(40);
    rounds.looks(2).await;
    rounds.quiet(&job).await;
    assert_eq!(rounds.ours().await, [(1, 10_000), (2, 10_100), (3, 20)]);

    assert_eq!(rounds.figure(&job, "seen_round").await, Some(3.0));
    assert_eq!(rounds.figure(&job, "seen_value").await, Some(40.0));
    assert_eq!(rounds.figure(&job, "reported_round").await, Some(3.0));
    assert_eq!(rounds.figure(&job, "reported_value").await, Some(20.0));
    // Looks that led to nothing leave no runs behind; one may be going on right now.
    until("the runs of the three rounds are left", || async {
        (rounds.scene.api().runs(&job).await.len() == 3).then_some(())
    })
    .await;
    rounds.scene.assert_sent(3).await;
}

#[tokio::test]
async fn a_new_job_submits_at_once_and_then_what_has_moved_enough_on_sqlite() {
    a_new_job_submits_at_once_and_then_what_has_moved_enough(Db::Sqlite).await;
}

#[tokio::test]
async fn a_new_job_submits_at_once_and_then_what_has_moved_enough_on_postgresql() {
    a_new_job_submits_at_once_and_then_what_has_moved_enough(Db::Postgres).await;
}

#[tokio::test]
async fn an_idle_feed_gets_a_round_although_nothing_moved() {
    let rounds = Rounds::alone(Db::Sqlite).await;
    rounds.serve(500);
    rounds
        .job(&format!(
            "threshold = 5.0\n{NO_POLL}\nidleTimerPeriod = \"2s\""
        ))
        .await;
    let ours = rounds.submitted(3).await;
    assert_eq!(ours[..3], [(1, 500), (2, 500), (3, 500)]);
    let began = rounds_began(&rounds).await;
    for pair in began.windows(2) {
        assert!(pair[1] - pair[0] >= 2, "rounds began at {began:?}");
    }
}

/// When the rounds of the node's own submissions began, seconds on the chain's clock.
async fn rounds_began(rounds: &Rounds) -> Vec<u64> {
    let chain = &rounds.scene.anvil;
    let mut began = Vec::new();
    for receipt in chain.transactions_from(rounds.scene.key).await {
        let number = receipt.block_number.expect("it was mined");
        let block = chain.block(number).await.expect("its block is there");
        began.push(block.header.timestamp);
    }
    began
}

#[tokio::test]
async fn a_drumbeat_begins_rounds_by_its_schedule() {
    let rounds = Rounds::alone(Db::Sqlite).await;
    rounds.serve(700);
    rounds
        .job(&format!(
            "threshold = 5.0\n{NO_POLL}\n{NO_IDLE}\ndrumbeatEnabled = true\ndrumbeatSchedule = \"CRON_TZ=UTC */3 * * * * *\"\ndrumbeatRandomDelay = \"500ms\""
        ))
        .await;
    let ours = rounds.submitted(2).await;
    assert_eq!(ours[..2], [(1, 700), (2, 700)]);
    for second in rounds_began(&rounds).await {
        assert!(second % 3 < 2, "a round began at {second}");
    }
}

#[tokio::test]
async fn rounds_that_another_oracle_begins_are_answered_and_our_own_only_once() {
    let rounds = Rounds::of_two(Db::Sqlite).await;
    rounds.serve(1_000);
    let job = rounds
        .job(&format!(
            "threshold = 50.0\npollTimerPeriod = \"1h\"\n{NO_IDLE}"
        ))
        .await;
    // The first look begins round 1, which waits for the other.
    assert_eq!(rounds.submitted(1).await, [(1, 1_000)]);
    rounds.other_submits(1, 1_010).await;
    assert_eq!(rounds.answer(1).await, 1_005);

    for round in 2..5 {
        rounds.serve(1_000 + round);
        rounds.other_submits(round, 1_010).await;
        rounds.answer(round).await;
    }
    rounds.quiet(&job).await;
    assert_eq!(
        rounds.ours().await,
        [(1, 1_000), (2, 1_002), (3, 1_003), (4, 1_004)]
    );
    rounds.scene.assert_sent(4).await;
    let paid = rounds.feed.payment_juels * U256::from(4);
    let call = dodona_testkit::contracts::FluxAggregator::withdrawablePaymentCall {
        oracle: rounds.scene.key,
    };
    assert_eq!(
        rounds.scene.world.view(rounds.feed.address, call).await,
        paid
    );
}

#[tokio::test]
async fn a_round_that_pays_too_little_is_not_answered() {
    let rounds = Rounds::alone(Db::Sqlite).await;
    rounds.serve(300);
    let payment = rounds.feed.payment_juels;
    let job = rounds
        .job(&format!(
            "pollTimerPeriod = \"1s\"\n{NO_IDLE}\nminPayment = \"{}\"",
            payment + U256::ONE
        ))
        .await;
    let errors = until("the payment is found too low", || async {
        let errors = rounds.errors_of(&job).await;
        (!errors.is_empty()).then_some(errors)
    })
    .await;
    let text = errors[0]["description"].as_str().unwrap();
    assert!(
        text.contains(&format!("pays {payment} juels, below the minimum")),
        "{text}"
    );
    assert_eq!(rounds.scene.source.hits(), 0, "nobody was asked in vain");
    rounds.scene.assert_sent(0).await;

    let better = payment + U256::ONE;
    rounds.feed.pay(&rounds.scene.world, better, 1, 1, 0).await;
    assert_eq!(rounds.answer(1).await, 300);
}

async fn a_node_killed_in_the_middle_of_a_round_submits_to_it_once(db: Db) {
    let mut rounds = Rounds::of_two(db).await;
    let gate = Gate::closed();
    rounds.serve(2_000);
    let job = rounds
        .job(&format!(
            "threshold = 50.0\npollTimerPeriod = \"1s\"\n{NO_IDLE}"
        ))
        .await;
    assert_eq!(rounds.submitted(1).await, [(1, 2_000)]);
    let held = Behaviour::Behind(gate.clone(), price(2_100));
    rounds.scene.source.on("/price", held);
    rounds.other_submits(1, 2_000).await;
    rounds.other_submits(2, 2_000).await;
    // The node looks for the answer to round 2, and hangs.
    rounds.looks(1).await;
    rounds.scene.node.kill();
    gate.open();
    rounds.scene.node.start_again().await;
    assert_eq!(rounds.answer(2).await, 2_050);

    // And once more, between the submission and what the chain says about it.
    rounds.other_submits(3, 2_000).await;
    rounds.scene.node.kill();
    rounds.scene.node.start_again().await;
    rounds.answer(3).await;
    rounds.quiet(&job).await;
    assert_eq!(rounds.ours().await, [(1, 2_000), (2, 2_100), (3, 2_100)]);
    rounds.scene.assert_sent(3).await;
}

#[tokio::test]
async fn a_node_killed_in_the_middle_of_a_round_submits_to_it_once_on_sqlite() {
    a_node_killed_in_the_middle_of_a_round_submits_to_it_once(Db::Sqlite).await;
}

#[tokio::test]
async fn a_node_killed_in_the_middle_of_a_round_submits_to_it_once_on_postgresql() {
    a_node_killed_in_the_middle_of_a_round_submits_to_it_once(Db::Postgres).await;
}

#[tokio::test]
async fn when_a_leader_is_killed_the_other_replica_answers_each_round_once() {
    let mut rounds = Rounds::of_two(Db::Postgres).await;
    leads(&rounds.scene.node).await;
    let mut standby = Node::start(&rounds.scene.options).await;
    rounds.serve(2_000);
    rounds
        .job(&format!(
            "threshold = 50.0\npollTimerPeriod = \"1h\"\n{NO_IDLE}"
        ))
        .await;
    assert_eq!(rounds.submitted(1).await, [(1, 2_000)]);
    rounds.other_submits(1, 2_000).await;
    rounds.answer(1).await;

    // The leader has heard of round 2 and begun a run, which hangs: on whichever replica it is, both know of it.
    let gate = Gate::closed();
    let held = Behaviour::Behind(gate.clone(), price(2_100));
    rounds.scene.source.on("/price", held);
    rounds.other_submits(2, 2_000).await;
    rounds.looks(1).await;
    rounds.scene.node.kill();
    gate.open();
    leads(&standby).await;
    assert_eq!(rounds.answer(2).await, 2_050);
    rounds.other_submits(3, 2_000).await;
    assert_eq!(rounds.answer(3).await, 2_050);

    // And back: killed right after somebody began a round.
    rounds.scene.node.start_again().await;
    rounds.other_submits(4, 2_000).await;
    standby.kill();
    leads(&rounds.scene.node).await;
    assert_eq!(rounds.answer(4).await, 2_050);
    let each_once = [(1, 2_000), (2, 2_100), (3, 2_100), (4, 2_100)];
    assert_eq!(rounds.ours().await, each_once);
    rounds.scene.assert_sent(4).await;
}

#[tokio::test]
async fn a_round_whose_source_failed_is_answered_once_the_source_is_back() {
    let rounds = Rounds::of_two(Db::Sqlite).await;
    rounds.serve(1_000);
    let job = rounds
        .job(&format!(
            "threshold = 50.0\npollTimerPeriod = \"1h\"\n{NO_IDLE}"
        ))
        .await;
    assert_eq!(rounds.submitted(1).await, [(1, 1_000)]);
    rounds.other_submits(1, 1_000).await;
    rounds.answer(1).await;
    let down = Behaviour::Status(500, "down".to_owned());
    rounds.scene.source.on("/price", down);
    rounds.other_submits(2, 1_010).await;
    rounds.scene.run_in_state(&job, "errored").await;
    rounds.serve(1_001);
    // Nothing moved by half, and the next poll is an hour away.
    assert_eq!(rounds.answer(2).await, 1_005);
    assert_eq!(rounds.ours().await, [(1, 1_000), (2, 1_001)]);
}

#[tokio::test]
async fn an_answer_outside_the_aggregators_range_is_an_error_and_costs_nothing() {
    let rounds = Rounds::alone(Db::Sqlite).await;
    rounds.serve(0);
    let job = rounds
        .job(&format!("pollTimerPeriod = \"1s\"\n{NO_IDLE}"))
        .await;
    let run = rounds.scene.run_in_state(&job, "errored").await;
    let errors = run["fatalErrors"].to_string() + &run["errors"].to_string();
    assert!(errors.contains("outside acceptable range"), "{run}");
    rounds.scene.assert_sent(0).await;
    rounds.serve(400);
    assert_eq!(rounds.answer(1).await, 400);
}

#[tokio::test]
async fn a_flagged_feed_hibernates_until_its_flag_is_lowered() {
    let mut scene = Scene::on(Db::Sqlite).await;
    let owner = scene.world.owner;
    let flags = scene
        .anvil
        .deploy(owner, &code("Flags"), &Address::ZERO.abi_encode())
        .await;
    scene.node.stop().await;
    let known = format!("[[EVM]]\nChainID = '31337'\nFlagsContractAddress = '{flags}'\n");
    scene.node.rewrite("more.toml", &known);
    scene.node.start_again().await;
    let rounds = Rounds::without_oracles(scene).await;
    let (world, key) = (&rounds.scene.world, rounds.scene.key);
    rounds
        .feed
        .set_oracles(world, &[key, rounds.other], 1)
        .await;
    let subjects = vec![Address::ZERO, rounds.feed.address];
    let raise = Flags::raiseFlagsCall {
        subjects: subjects.clone(),
    };
    world.execute(flags, raise).await;
    rounds.serve(800);
    let job = rounds
        .job(&format!("pollTimerPeriod = \"1s\"\n{NO_IDLE}"))
        .await;
    // It is awake for others' rounds only.
    rounds.other_submits(1, 800).await;
    assert_eq!(rounds.submitted(1).await, [(1, 800)]);
    rounds.quiet(&job).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rounds.scene.source.hits_of("/price"), 1);

    let lower = Flags::lowerFlagsCall {
        subjects: vec![rounds.feed.address],
    };
    world.execute(flags, lower).await;
    assert_eq!(rounds.answer(2).await, 800);
    rounds.looks(1).await;
}

#[tokio::test]
async fn the_api_shows_a_flux_monitor_as_clients_expect_it() {
    let rounds = Rounds::alone(Db::Sqlite).await;
    rounds.serve(100);
    let job = rounds
        .job("threshold = 0.5\npollTimerPeriod = \"1m\"\nidleTimerPeriod = \"1h\"\nminPayment = \"5\"")
        .await;
    let shown = rounds
        .scene
        .api()
        .get(&format!("/v2/jobs/{}", job.id))
        .await;
    let attributes = &shown["attributes"];
    assert_eq!(attributes["type"], "fluxmonitor");
    assert_eq!(attributes["directRequestSpec"], Value::Null);
    let spec = &attributes["fluxMonitorSpec"];
    for (key, value) in [
        ("contractAddress", json!(rounds.feed.address.to_string())),
        ("threshold", json!(0.5)),
        ("absoluteThreshold", json!(0.0)),
        ("pollTimerPeriod", json!("1m0s")),
        ("pollTimerDisabled", json!(false)),
        ("idleTimerPeriod", json!("1h0m0s")),
        ("idleTimerDisabled", json!(false)),
        ("drumbeatEnabled", json!(false)),
        ("minPayment", json!("5")),
        ("evmChainID", json!("31337")),
    ] {
        assert_eq!(spec[key], value, "{key}");
    }
}
