//! Jobs of the 0.x line, converted and created here: old consumers are answered without a change.

use alloy::primitives::U256;
use dodona_testkit::{contracts::SpecId, until};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::scene::{Db, Scene, some_cents};

/// As the old node exported it: 32 digits without dashes.
const ID: Uuid = Uuid::from_u128(0x4c7b_7ffb_66b3_44fb_aa64_995a_f81e_3fd4);

fn old(scene: &Scene) -> Value {
    json!({
        "id": ID.simple().to_string(),
        "name": "Get > Uint256",
        "initiators": [{ "type": "RunLog", "params": { "address": scene.world.operator } }],
        "tasks": [
            { "type": "HttpGetWithUnrestrictedNetworkAccess" },
            { "type": "JsonParse" },
            { "type": "Multiply" },
            { "type": "EthUint256" },
            { "type": "EthTx", "confirmations": 1 },
        ],
        "minPayment": "1",
    })
}

fn import(scene: &Scene, arguments: &[&str]) -> std::process::Output {
    let fixed = ["jobs", "import", "old.json", "--evm-chain-id", "31337"];
    scene.node.cli(&[&fixed, arguments].concat())
}

async fn an_old_consumer_is_answered_under_both_spellings_of_the_old_jobs_id(db: Db) {
    let scene = Scene::on(db).await;
    scene.node.rewrite("old.json", &old(&scene).to_string());

    // It is shown first, and nothing happens.
    let shown = import(&scene, &[]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        text.contains(&format!("externalJobID = \"{ID}\"")),
        "{text}"
    );
    assert_eq!(scene.api().get("/v2/jobs").await, json!([]));

    let created = import(&scene, &["--create"]);
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );
    let cents = some_cents();
    scene.serve_price(cents);
    let url = scene.source.url_of("/price");
    for spelling in [SpecId::text(ID), SpecId::bytes(ID)] {
        let request = scene
            .world
            .request_uint256(spelling, &url, "value", 100)
            .await;
        assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    }
    scene.assert_sent(2).await;

    // Twice under one id there is no such job.
    let again = import(&scene, &["--create"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && said.contains("belongs to job 1"),
        "{said}"
    );
}

#[tokio::test]
async fn an_old_consumer_is_answered_under_both_spellings_of_the_old_jobs_id_on_sqlite() {
    an_old_consumer_is_answered_under_both_spellings_of_the_old_jobs_id(Db::Sqlite).await;
}

#[tokio::test]
async fn an_old_consumer_is_answered_under_both_spellings_of_the_old_jobs_id_on_postgresql() {
    an_old_consumer_is_answered_under_both_spellings_of_the_old_jobs_id(Db::Postgres).await;
}

#[tokio::test]
async fn an_old_bridge_job_asks_for_what_its_bridge_asks_for() {
    let scene = Scene::on(Db::Sqlite).await;
    let answer = json!({ "data": { "result": 21 } });
    scene
        .source
        .on("/double", dodona_testkit::source::Behaviour::Answer(answer));
    let more = scene.world.payment_juels + U256::ONE;
    let bridge = |payment: &U256| json!({ "name": "doubler", "url": scene.source.url_of("/double"), "minimumContractPayment": payment.to_string() });
    scene.api().post("/v2/bridge_types", bridge(&more)).await;
    let spec = json!({
        "id": ID.simple().to_string(),
        "initiators": [{ "type": "runlog", "params": { "address": scene.world.operator } }],
        "tasks": [{ "type": "doubler" }, { "type": "ethuint256" }, { "type": "ethtx" }],
    });
    scene.node.rewrite("old.json", &spec.to_string());
    let created = import(&scene, &["--create"]);
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );
    let refused = scene.world.request_uint256(ID, "", "", 1).await;
    until("the request is refused", || async {
        scene.node.log().contains("below the minimum").then_some(())
    })
    .await;
    assert_eq!(scene.world.answers_count(refused.id).await, 0);
    scene.assert_sent(0).await;
}
