//! The main job: asked on chain, answered on chain, with the specs that ship with the project.

use alloy::primitives::U256;
use dodona_testkit::{contracts::SpecId, source::Behaviour, until};
use serde_json::json;

use crate::{
    scene::{Db, Scene, price, some_cents, task},
    specs::Spec,
};

async fn a_number_is_answered_as_the_source_served_it(db: Db) {
    let scene = Scene::on(db).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);

    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    assert_eq!(scene.world.answers_count(request.id).await, 1);

    // The run ends when the answer has its one confirmation.
    scene.anvil.mine(1).await;
    let runs = scene.api().finished_runs(&job, 1).await;
    assert_eq!(runs[0]["state"], "completed", "{}", runs[0]);
    assert!(task(&runs[0], "send")["output"].is_string());
    scene.assert_sent(1).await;
}

#[tokio::test]
async fn a_number_is_answered_as_the_source_served_it_on_sqlite() {
    a_number_is_answered_as_the_source_served_it(Db::Sqlite).await;
}

#[tokio::test]
async fn a_number_is_answered_as_the_source_served_it_on_postgresql() {
    a_number_is_answered_as_the_source_served_it(Db::Postgres).await;
}

#[tokio::test]
async fn a_job_is_found_under_both_spellings_of_its_id() {
    let scene = Scene::on(Db::Sqlite).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let url = scene.source.url_of("/price");
    for spelling in [
        SpecId::text(job.external_id),
        SpecId::bytes(job.external_id),
    ] {
        let request = scene
            .world
            .request_uint256(spelling, &url, "value", 100)
            .await;
        assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    }
    scene.assert_sent(2).await;
}

#[tokio::test]
async fn two_numbers_are_answered_in_one_transaction() {
    let scene = Scene::on(Db::Sqlite).await;
    let job = scene.create(&Spec::multiword(scene.world.operator)).await;
    let (bid, ask) = (some_cents(), some_cents());
    scene.source.on("/bid", Behaviour::Answer(price(bid)));
    scene
        .source
        .on("/ask", Behaviour::Answer(json!({ "deep": [price(ask)] })));

    let (bid_url, ask_url) = (scene.source.url_of("/bid"), scene.source.url_of("/ask"));
    let request = scene
        .world
        .request_bid_ask(
            job.external_id,
            (&bid_url, "value"),
            (&ask_url, "deep,0,value"),
        )
        .await;
    let answer = until("the consumer holds both numbers", || {
        scene.world.bid_ask(request.id)
    })
    .await;
    assert_eq!(answer, (U256::from(bid), U256::from(ask)));
    scene.assert_sent(1).await;
}

#[tokio::test]
async fn an_adapter_is_asked_with_the_jobs_id_and_its_text_is_answered() {
    let scene = Scene::on(Db::Sqlite).await;
    let report = format!("{} °C, a light wind from the lake", some_cents() % 40);
    scene.source.on(
        "/weather",
        Behaviour::Answer(json!({ "data": { "result": report } })),
    );
    scene
        .api()
        .create_bridge("weather", &scene.source.url_of("/weather"))
        .await;
    let job = scene.create(&Spec::bridge(scene.world.operator)).await;

    let request = scene
        .world
        .request_report(job.external_id, "Ioannina")
        .await;
    let answer = until("the consumer holds the report", || {
        scene.world.report(request.id)
    })
    .await;
    assert_eq!(answer, report);
    scene.assert_sent(1).await;

    let asked = scene.source.received();
    assert_eq!(asked.len(), 1, "an adapter may charge for each call");
    let body = asked[0].json();
    assert_eq!(body["id"], job.external_id.to_string());
    assert_eq!(
        body["data"],
        json!({ "city": "Ioannina", "unit": "celsius" })
    );
    assert_eq!(
        body["meta"]["oracleRequest"]["requestId"],
        request.id.to_string()
    );
}

#[tokio::test]
async fn oracle_contracts_of_all_ages_are_answered_by_one_node() {
    let scene = Scene::on(Db::Sqlite).await;
    let world = &scene.world;
    for oracle in [
        world.oracle_v04().await,
        world.oracle_v06().await,
        world.operator,
    ] {
        if oracle != world.operator {
            world.permit(oracle, scene.key).await;
        }
        let job = scene
            .create(&Spec::get_uint256(oracle).under_a_new_id())
            .await;
        let cents = some_cents();
        scene.serve_price(cents);
        world.ask_oracle(oracle).await;
        let request = scene.ask(&job, "/price").await;
        assert_eq!(request.oracle, oracle);
        assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    }
    scene.assert_sent(3).await;
}
