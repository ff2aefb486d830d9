//! Answers of bridges that come later.

use std::time::Duration;

use dodona_model::run::State;
use dodona_model::{JobId, RunId};
use dodona_store::runs::{self, Finish, TaskRun};
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::harness::{Node, on_both_engines};
use crate::rows::{self, THEN};

on_both_engines! {
    a_later_answer_wakes_the_run_that_waits_for_it,
    an_answer_before_the_run_waits_is_kept_for_it,
    what_is_no_answer_changes_nothing,
}

const DOT: &str = "ask [type=bridge name=slow async=true]";

/// A run whose bridge was asked, and the id that the bridge was told.
async fn asked(node: &Node, job: JobId) -> (RunId, Uuid) {
    let mut tx = node.store.begin().await.unwrap();
    let run = runs::insert(&mut tx, job, "{}", THEN).await.unwrap();
    runs::claim(&mut tx, "test", Duration::from_secs(60), 9)
        .await
        .unwrap();
    let task = TaskRun {
        id: Uuid::new_v4(),
        run_id: run,
        dot_id: "ask".to_owned(),
        kind: "bridge".to_owned(),
        task_index: 0,
        source: true,
        value: None,
        output: None,
        error: None,
        attempts: 1,
        created_at: THEN,
        finished_at: None,
    };
    runs::save_tasks(&mut tx, std::slice::from_ref(&task))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    (run, task.id)
}

async fn stored_as(node: &Node, run: RunId, state: State) {
    let end = Finish {
        state,
        outputs: "[null]".to_owned(),
        fatal_errors: "[null]".to_owned(),
        all_errors: "[null]".to_owned(),
    };
    let mut tx = node.store.begin().await.unwrap();
    let stored = runs::finish(&mut tx, run, "test", 1, &end, THEN).await;
    assert!(stored.unwrap());
    tx.commit().await.unwrap();
}

async fn state(node: &Node, run: RunId) -> State {
    let mut conn = node.store.read().await.unwrap();
    runs::find(&mut conn, run).await.unwrap().unwrap().state
}

async fn task(node: &Node, run: RunId) -> TaskRun {
    let mut conn = node.store.read().await.unwrap();
    runs::tasks(&mut conn, run).await.unwrap().remove(0)
}

async fn a_later_answer_wakes_the_run_that_waits_for_it(mut node: Node) {
    let job = rows::job(&node.store, "x", DOT).await;
    let (run, id) = asked(&node, job).await;
    stored_as(&node, run, State::Suspended).await;
    let path = format!("/v2/resume/{id}");
    // Nobody logs in.
    let answer = node
        .anybody()
        .send("PATCH", &path, "{\"value\": {\"result\": 1.50}}")
        .await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(state(&node, run).await, State::Running);
    let row = task(&node, run).await;
    assert_eq!(
        row.value.unwrap(),
        format!("\"~b:{}\"", hex("{\"result\": 1.50}"))
    );
    node.run_pokes.wait().await;
    let again = node.anybody().patch(&path, &json!({ "value": 2 })).await;
    again.refused(409, "nothing was changed");
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

async fn an_answer_before_the_run_waits_is_kept_for_it(node: Node) {
    let job = rows::job(&node.store, "x", DOT).await;
    let (run, id) = asked(&node, job).await;
    let answer = node
        .anybody()
        .patch(
            &format!("/v2/resume/{id}"),
            &json!({ "error": "no such city" }),
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(state(&node, run).await, State::Running);
    let row = task(&node, run).await;
    assert_eq!(row.error.as_deref(), Some("no such city"));
    assert!(row.finished_at.is_some());
}

async fn what_is_no_answer_changes_nothing(node: Node) {
    let job = rows::job(&node.store, "x", DOT).await;
    let (run, id) = asked(&node, job).await;
    let anybody = node.anybody();
    for body in ["", "{}", "{\"value\":1,\"error\":\"x\"}", "{\"error\":{}}"] {
        let refused = anybody
            .send("PATCH", &format!("/v2/resume/{id}"), body)
            .await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    let value = json!({ "value": 1 });
    let unknown = format!("/v2/resume/{}", Uuid::new_v4());
    anybody.patch(&unknown, &value).await.refused(404, "waits");
    anybody
        .patch("/v2/resume/7", &value)
        .await
        .refused(422, "responseURL");
    assert!(task(&node, run).await.finished_at.is_none());

    stored_as(&node, run, State::Errored).await;
    anybody
        .patch(&format!("/v2/resume/{id}"), &value)
        .await
        .refused(409, "its run has ended");
}
