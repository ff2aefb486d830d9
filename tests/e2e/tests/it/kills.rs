//! The power goes at any moment, again and again, and nobody notices.

use std::time::Duration;

use alloy::primitives::U256;
use dodona_testkit::{
    anvil::{self, Call},
    contracts::{Requested, requests_in},
    source::Behaviour,
    until_within,
};

use crate::{
    chance::{Chance, long},
    scene::{Db, Scene, price, some_cents},
};

const REQUESTS: u64 = 50;
/// Asked before the first kill; the others come while the node dies and comes back.
const AT_ONCE: u64 = 20;
/// So that all of them fit into one block.
const GAS: u64 = 500_000;

struct Burst<'a> {
    scene: &'a Scene,
    job: dodona_testkit::node::Job,
    cents: u64,
    sent: Vec<alloy::primitives::B256>,
}

impl Burst<'_> {
    /// Asks until `count` requests were made; each has its own right answer.
    async fn ask_up_to(&mut self, count: u64) {
        let url = self.scene.source.url_of("/slow");
        while (self.sent.len() as u64) < count {
            let times = 100 * (self.sent.len() as i64 + 1);
            let world = &self.scene.world;
            let call = world.uint256_call(self.job.external_id, &url, "value", times);
            let call = Call { gas: GAS, ..call };
            let hash = self.scene.anvil.send(world.owner, &call).await;
            self.sent.push(hash.expect("the consumer may be asked"));
        }
    }

    async fn requests(&self) -> Vec<Requested> {
        let mut requests = Vec::new();
        for hash in &self.sent {
            let receipt = self.scene.anvil.mined(*hash).await;
            requests.extend(requests_in(&receipt));
        }
        requests
    }

    fn right_answer(&self, position: usize) -> U256 {
        U256::from(self.cents * (position as u64 + 1))
    }
}

async fn every_request_of_a_burst_is_answered_once(db: Db, kills: u64) {
    let mut chance = Chance::new("kills during a burst");
    let half_a_second = Duration::from_millis(500);
    let chain = anvil::Options::blocks_every(half_a_second);
    let mut scene = Scene::build(db, chain, |options| options).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    let answer = Behaviour::Slow(Duration::from_millis(150), price(cents));
    scene.source.on("/slow", answer);
    let before = scene.anvil.nonce(scene.key).await;

    let mut sent = Vec::new();
    for kill in 0..=kills {
        let mut burst = Burst {
            scene: &scene,
            job: job.clone(),
            cents,
            sent,
        };
        burst
            .ask_up_to(AT_ONCE + (REQUESTS - AT_ONCE) * kill / kills)
            .await;
        sent = burst.sent;
        if kill < kills {
            // The moment is what is random here: in the middle of a start, of a run, of a commit, of a send.
            tokio::time::sleep(chance.millis(50, 1200)).await;
            scene.node.kill();
            let answered = scene.world.answers_total().await;
            eprintln!("kill {}: {answered} answered", kill + 1);
            scene.node.spawn();
        }
    }
    scene.node.wait_ready().await;

    let burst = Burst {
        scene: &scene,
        job,
        cents,
        sent,
    };
    let requests = burst.requests().await;
    assert_eq!(requests.len() as u64, REQUESTS);
    for (position, request) in requests.iter().enumerate() {
        let patience = Duration::from_secs(90);
        let what = format!("request {position} ({}) is answered", request.id);
        let answer = until_within(patience, &what, || scene.world.answer(request.id)).await;
        assert_eq!(answer, burst.right_answer(position));
    }
    for request in &requests {
        assert_eq!(scene.world.answers_count(request.id).await, 1);
    }
    let after = scene.anvil.nonce(scene.key).await;
    assert_eq!(after - before, REQUESTS, "one nonce for each request");
    scene.assert_sent(REQUESTS).await;
}

#[tokio::test]
async fn at_least_twenty_kills_during_a_burst_of_fifty_requests_cost_nothing_on_sqlite() {
    let kills = if long() { 100 } else { 20 };
    every_request_of_a_burst_is_answered_once(Db::Sqlite, kills).await;
}

#[tokio::test]
async fn kills_during_a_burst_of_fifty_requests_cost_nothing_on_postgresql() {
    let kills = if long() { 100 } else { 6 };
    every_request_of_a_burst_is_answered_once(Db::Postgres, kills).await;
}

#[tokio::test]
async fn a_node_that_is_stopped_and_started_again_during_a_burst_answers_all_of_it() {
    let chain = anvil::Options::blocks_every(Duration::from_millis(500));
    let mut scene = Scene::build(Db::Sqlite, chain, |options| options).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    let answer = Behaviour::Slow(Duration::from_millis(300), price(cents));
    scene.source.on("/slow", answer);
    let url = scene.source.url_of("/slow");

    let mut requests = Vec::new();
    for _ in 0..3 {
        let world = &scene.world;
        requests.extend(
            world
                .request_many(10, job.external_id, &url, "value", 100)
                .await,
        );
        assert!(scene.node.stop().await.success());
        scene.node.start_again().await;
    }
    for request in &requests {
        let answer = scene.answer_to(request).await;
        assert_eq!(answer, U256::from(cents));
        assert_eq!(scene.world.answers_count(request.id).await, 1);
    }
    scene.assert_sent(30).await;
}
