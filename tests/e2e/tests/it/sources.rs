//! Data sources on their bad days.

use std::collections::BTreeMap;

use alloy::primitives::{B256, U256};
use dodona_testkit::{
    node::Job,
    source::{Behaviour, Gate},
    until,
};
use serde_json::Value;

use crate::{
    scene::{Db, Scene, price, some_cents, task},
    specs::Spec,
};

/// The runs of a job by the request they are for.
async fn by_request(scene: &Scene, job: &Job) -> BTreeMap<B256, Value> {
    let runs = scene.api().runs(job).await;
    runs.into_iter()
        .map(|run| {
            let id = run["inputs"]["jobRun"]["meta"]["oracleRequest"]["requestId"].as_str();
            let id = id.and_then(|id| id.parse().ok());
            (
                id.unwrap_or_else(|| panic!("a run for no request: {run}")),
                run,
            )
        })
        .collect()
}

async fn errored_run(scene: &Scene, job: &Job, request: B256) -> Value {
    until("the run has ended errored", || async {
        let run = by_request(scene, job).await.remove(&request)?;
        (run["state"] == "errored").then_some(run)
    })
    .await
}

#[tokio::test]
async fn a_source_that_fails_ends_its_own_run_with_task_and_reason() {
    let scene = Scene::on(Db::Sqlite).await;
    let job = scene
        .create(&Spec::impatient(scene.world.operator, 2))
        .await;
    let cases = [
        (
            "/500",
            Behaviour::Status(500, "out of order".into()),
            "fetch",
            "500",
        ),
        ("/garbage", Behaviour::Garbage, "number", "JSON"),
        (
            "/nothing",
            Behaviour::Answer(serde_json::json!({ "other": 1 })),
            "number",
            "value",
        ),
        ("/hangs", Behaviour::Hang, "fetch", "timed out"),
        ("/megabytes", Behaviour::Megabytes(5), "fetch", "large"),
    ];
    for (path, behaviour, _, _) in &cases {
        scene.source.on(path, behaviour.clone());
    }
    for (path, _, at, why) in &cases {
        let request = scene.ask(&job, path).await;
        let run = errored_run(&scene, &job, request.id).await;
        let error = task(&run, at)["error"].as_str().unwrap_or_default();
        assert!(error.contains(why), "{path}: {error}");
        assert!(!run["finishedAt"].is_null());
        let fatal = run["fatalErrors"].to_string();
        assert!(fatal.len() > "[null]".len(), "{path}: {fatal}");
        let log = scene.node.log();
        assert!(
            log.contains(&format!("task {at} (")),
            "{path} is not told in the log"
        );
    }

    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    scene.assert_sent(1).await;
}

#[tokio::test]
async fn twenty_requests_are_answered_while_one_source_hangs() {
    let scene = Scene::on(Db::Sqlite).await;
    let job = scene
        .create(
            &Spec::impatient(scene.world.operator, 60)
                .with("maxTaskDuration = \"30s\"", "maxTaskDuration = \"60s\""),
        )
        .await;
    let (cents, gate) = (some_cents(), Gate::closed());
    scene.serve_price(cents);
    scene
        .source
        .on("/hangs", Behaviour::Behind(gate.clone(), price(cents + 1)));

    let hanging = scene.ask(&job, "/hangs").await;
    until("the first source was asked", || async {
        (scene.source.hits_of("/hangs") == 1).then_some(())
    })
    .await;
    let url = scene.source.url_of("/price");
    let others = scene
        .world
        .request_many(20, job.external_id, &url, "value", 100)
        .await;
    for request in &others {
        assert_eq!(scene.answer_to(request).await, U256::from(cents));
    }
    let first = by_request(&scene, &job).await.remove(&hanging.id);
    assert_eq!(first.expect("it has a run")["state"], "running");

    gate.open();
    assert_eq!(scene.answer_to(&hanging).await, U256::from(cents + 1));
    scene.assert_sent(21).await;
}

#[tokio::test]
async fn a_hundred_runs_that_hang_delay_no_other_job() {
    let scene = Scene::on(Db::Sqlite).await;
    let spec = |timeout| {
        Spec::impatient(scene.world.operator, timeout)
            .under_a_new_id()
            .with("maxTaskDuration = \"30s\"", "maxTaskDuration = \"600s\"")
    };
    let (patient, other) = (
        scene.create(&spec(600)).await,
        scene.create(&spec(600)).await,
    );
    let (cents, gate) = (some_cents(), Gate::closed());
    scene.serve_price(cents);
    let behind = Behaviour::Behind(gate.clone(), price(cents + 1));
    scene.source.on("/hangs", behind);
    let ask = |job: &Job, path: &str, count| {
        let (id, url) = (job.external_id, scene.source.url_of(path));
        let world = &scene.world;
        async move { world.request_many(count, id, &url, "value", 100).await }
    };

    let mut hanging = Vec::new();
    for _ in 0..4 {
        hanging.extend(ask(&patient, "/hangs", 25).await);
    }
    until("all slots that one job may have are taken", || async {
        (scene.source.hits_of("/hangs") >= 48).then_some(())
    })
    .await;
    for request in ask(&other, "/price", 20).await {
        assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    }
    gate.open();
    for request in &hanging {
        assert_eq!(scene.answer_to(request).await, U256::from(cents + 1));
    }
    scene.assert_sent(120).await;
}

#[tokio::test]
async fn a_task_that_panics_is_an_errored_run_of_a_living_node() {
    let mut scene = Scene::on(Db::Sqlite).await;
    let good = scene.price_job().await;
    let spec = Spec::get_uint256(scene.world.operator)
        .under_a_new_id()
        .with(
            "scaled     [type=multiply input=\"$(number)\" times=\"$(parameters.times)\"]",
            "scaled [type=panic msg=\"a defect, for once on purpose\"]",
        );
    let bad = scene.create(&spec).await;
    let cents = some_cents();
    scene.serve_price(cents);

    let request = scene.ask(&bad, "/price").await;
    let run = errored_run(&scene, &bad, request.id).await;
    let error = task(&run, "scaled")["error"].as_str().unwrap_or_default();
    assert!(error.contains("panic"), "{error}");
    assert!(scene.node.is_running());

    let request = scene.ask(&good, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    scene.assert_sent(1).await;
}
