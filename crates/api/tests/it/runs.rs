//! Runs and their tasks.

use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Node, config, on_both_engines};
use crate::rows;

on_both_engines! {
    runs_are_shown_with_what_each_task_gave,
    runs_of_one_job_and_of_all_come_newest_first,
    runs_of_a_deleted_job_stay_readable,
}

const DOT: &str = "fetch [type=http]; times [type=multiply]; fetch -> times";

async fn runs_are_shown_with_what_each_task_gave(node: Node) {
    let viewer = node.user("view").await;
    let job = rows::job(&node.store, "x", DOT).await;
    let good = rows::finished_run(&node.store, job, None).await;
    let bad = rows::finished_run(&node.store, job, Some("overflow: task run failed")).await;
    let shown = viewer.get(&format!("/v2/jobs/{job}/runs/{good}")).await;
    insta::assert_snapshot!("run_completed", shown.shown());
    let shown = viewer.get(&format!("/v2/pipeline/runs/{bad}")).await;
    insta::assert_snapshot!("run_errored", shown.shown());
}

async fn runs_of_one_job_and_of_all_come_newest_first(node: Node) {
    let viewer = node.user("view").await;
    let (one, other) = (
        rows::job(&node.store, "a", DOT).await,
        rows::job(&node.store, "b", DOT).await,
    );
    let mut ids = Vec::new();
    for job in [one, other, one] {
        ids.push(rows::finished_run(&node.store, job, None).await.to_string());
    }
    let listed = async |path: &str| -> Vec<String> {
        let json = viewer.get(path).await.json();
        let items = json["data"].as_array().unwrap().iter();
        items
            .map(|run| run["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let newest_first = [ids[2].clone(), ids[1].clone(), ids[0].clone()];
    assert_eq!(listed("/v2/pipeline/runs").await, newest_first);
    assert_eq!(
        listed("/v2/pipeline/runs?size=1&page=2").await,
        [ids[1].clone()]
    );
    assert_eq!(
        listed(&format!("/v2/jobs/{one}/runs")).await,
        [ids[2].clone(), ids[0].clone()]
    );
    let page = viewer.get("/v2/pipeline/runs").await.json();
    assert_eq!(page["meta"]["count"], 3);
    for run in page["data"].as_array().unwrap() {
        assert_eq!(
            run["attributes"]["taskRuns"].as_array().unwrap().len(),
            2,
            "{run}"
        );
    }
}

async fn runs_of_a_deleted_job_stay_readable(node: Node) {
    let editor = node.user("edit").await;
    let job = rows::job(&node.store, "x", DOT).await;
    let run = rows::finished_run(&node.store, job, None).await;
    assert_eq!(
        editor.delete(&format!("/v2/jobs/{job}")).await.status,
        StatusCode::NO_CONTENT
    );
    let shown = editor
        .get(&format!("/v2/jobs/{job}/runs/{run}"))
        .await
        .attributes();
    assert_eq!(shown["pipelineSpec"]["dotDagSource"], DOT);
    assert_eq!(
        editor.get("/v2/pipeline/runs").await.json()["meta"]["count"],
        1
    );
    editor
        .get(&format!("/v2/jobs/{job}/runs"))
        .await
        .refused(404, "there is no job");
}

#[tokio::test]
async fn a_direct_request_job_cannot_be_run_by_hand_and_says_why() {
    let node = Node::on_sqlite(config()).await;
    let runner = node.user("run").await;
    let job = rows::job(&node.store, "x", DOT).await;
    let answer = runner
        .post(&format!("/v2/jobs/{job}/runs"), &json!({}))
        .await;
    answer.refused(422, "its runs begin with a request on chain");
    assert_eq!(
        runner.get("/v2/pipeline/runs").await.json()["data"],
        json!([])
    );
    runner
        .post("/v2/jobs/99/runs", &json!({}))
        .await
        .refused(404, "there is no job 99");
}

#[tokio::test]
async fn an_unknown_run_is_not_found() {
    let node = Node::on_sqlite(config()).await;
    let viewer = node.user("view").await;
    viewer
        .get("/v2/jobs/1/runs/7")
        .await
        .refused(404, "there is no run 7");
    viewer
        .get("/v2/pipeline/runs/x")
        .await
        .refused(422, "not a run's number");
}
