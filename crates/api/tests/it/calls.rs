//! Runs that begin with a call of the API.

use std::time::Duration;

use dodona_model::{RunId, run};
use dodona_runtime::clock;
use dodona_store::runs::{self, Finish};
use dodona_store::{Engine, Store};
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{CHAIN, Node, chain, config, on_both_engines};

on_both_engines! {
    a_call_is_answered_when_its_run_has_ended,
    a_call_by_the_jobs_number_is_the_same_call,
    a_run_that_waits_is_answered_at_once,
}

pub(crate) const WEBHOOK: &str = r#"
type = "webhook"
schemaVersion = 1
name = "hook"
externalJobID = "0eec7e1d-d0d2-476c-a1a8-72dfb6633f46"
observationSource = "parse [type=jsonparse data=\"$(jobRun.requestBody)\" path=\"n\"]"
"#;
const ID: &str = "0eec7e1d-d0d2-476c-a1a8-72dfb6633f46";

/// Ends the next run there is, as a runner would.
async fn end_next_run(store: &Store, state: run::State) -> RunId {
    let claimed = dodona_testkit::until("there is a run", || async {
        let mut tx = store.begin().await.unwrap();
        let claimed = runs::claim(&mut tx, "test", Duration::from_secs(60), 1).await;
        tx.commit().await.unwrap();
        claimed.unwrap().pop()
    })
    .await;
    let end = Finish {
        state,
        outputs: "[\"42\"]".to_owned(),
        fatal_errors: "[null]".to_owned(),
        all_errors: "[null]".to_owned(),
    };
    let mut tx = store.begin().await.unwrap();
    let now = clock::now();
    assert!(
        runs::finish(&mut tx, claimed.id, "test", 1, &end, now)
            .await
            .unwrap()
    );
    tx.poke_on_commit("ended");
    tx.commit().await.unwrap();
    claimed.id
}

async fn called(node: &Node, id: &str, state: run::State) -> (RunId, crate::harness::Answer) {
    let runner = node.user("run").await;
    let path = format!("/v2/jobs/{id}/runs");
    tokio::join!(
        end_next_run(&node.store, state),
        runner.send("POST", &path, "{\"n\": 42}")
    )
}

async fn create(node: &Node) -> String {
    let created = node
        .admin()
        .await
        .post("/v2/jobs", &json!({ "toml": WEBHOOK }))
        .await;
    assert_eq!(created.status, StatusCode::OK, "{}", created.text);
    assert!(created.attributes()["webhookSpec"].is_object());
    created.id()
}

async fn a_call_is_answered_when_its_run_has_ended(node: Node) {
    create(&node).await;
    let (run, answer) = called(&node, ID, run::State::Completed).await;
    assert_eq!(answer.id(), run.to_string());
    let shown = answer.attributes();
    assert_eq!(shown["outputs"], json!(["42"]));
    assert_eq!(shown["state"], "completed");
    assert_eq!(shown["inputs"]["jobRun"]["requestBody"], "{\"n\": 42}");
    assert_eq!(shown["inputs"]["jobSpec"]["externalJobID"], ID);
}

async fn a_call_by_the_jobs_number_is_the_same_call(node: Node) {
    let id = create(&node).await;
    let (run, answer) = called(&node, &id, run::State::Errored).await;
    assert_eq!(answer.id(), run.to_string());
    assert_eq!(answer.attributes()["state"], "errored");
}

async fn a_run_that_waits_is_answered_at_once(node: Node) {
    create(&node).await;
    let (_, answer) = called(&node, ID, run::State::Suspended).await;
    let shown = answer.attributes();
    assert_eq!(shown["state"], "suspended");
    assert!(shown["finishedAt"].is_null());
}

#[tokio::test]
async fn a_run_that_takes_longer_than_a_request_may_is_answered_as_it_is() {
    let mut config = config();
    config.write_timeout = Duration::from_millis(900);
    let node = Node::with(Engine::Sqlite, config, vec![chain(CHAIN)]).await;
    create(&node).await;
    let answer = node
        .user("run")
        .await
        .send("POST", &format!("/v2/jobs/{ID}/runs"), "not json")
        .await;
    assert_eq!(answer.attributes()["state"], "running");
}

#[tokio::test]
async fn a_viewer_starts_nothing_and_a_cron_job_is_not_called() {
    let node = Node::on_sqlite(config()).await;
    create(&node).await;
    let viewer = node.user("view").await;
    let refused = viewer
        .send("POST", &format!("/v2/jobs/{ID}/runs"), "{}")
        .await;
    refused.refused(401, "Unauthorized");
    let stranger = node.anybody();
    let refused = stranger
        .send("POST", &format!("/v2/jobs/{ID}/runs"), "{}")
        .await;
    refused.refused(401, "login");

    let cron = r#"
type = "cron"
schemaVersion = 1
schedule = "@every 1h"
observationSource = "a [type=memo value=1]"
"#;
    let editor = node.user("edit").await;
    let cron = editor.post("/v2/jobs", &json!({ "toml": cron })).await;
    let refused = editor
        .post(&format!("/v2/jobs/{}/runs", cron.id()), &json!({}))
        .await;
    refused.refused(422, "times of its schedule");
    assert_eq!(
        runs::count(&mut node.store.read().await.unwrap(), None)
            .await
            .unwrap(),
        0
    );
}
