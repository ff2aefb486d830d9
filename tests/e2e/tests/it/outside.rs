//! Runs that begin outside the chain: webhook jobs, external initiators, and bridges that answer later.

use dodona_testkit::{anvil, contracts::Consumer, source::Behaviour, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    scene::{Db, Scene, task},
    specs::Spec,
};

const ID: &str = "0eec7e1d-d0d2-476c-a1a8-72dfb6633f46";
const HOOK: &str = r#"
type = "webhook"
schemaVersion = 1
name = "hook"
externalJobID = "0eec7e1d-d0d2-476c-a1a8-72dfb6633f46"
externalInitiators = [{ name = "Substrate", spec = '{"account": 0.10}' }]
observationSource = """
  parse  [type=jsonparse data="$(jobRun.requestBody)" path="n"]
  double [type=multiply input="$(parse)" times=2]
  parse -> double
"""
"#;

fn said(output: &std::process::Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn json_of(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

/// What an initiator gets for asking: status and document.
async fn call(scene: &Scene, key: &Value, secret: &Value, body: &str) -> (u16, Value) {
    let answer = dodona_testkit::http()
        .post(format!("{}/v2/jobs/{ID}/runs", scene.node.url()))
        .header("X-Chainlink-EA-AccessKey", key.as_str().unwrap())
        .header("X-Chainlink-EA-Secret", secret.as_str().unwrap())
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn an_external_initiator_is_told_of_its_job_starts_it_and_is_told_of_its_end() {
    let enabled = "[JobPipeline]\nExternalInitiatorsEnabled = true";
    let scene = Scene::build(Db::Sqlite, anvil::Options::default(), |options| {
        options.with_config(enabled)
    })
    .await;
    scene.source.on("/jobs", Behaviour::Answer(json!({})));
    scene
        .source
        .on(&format!("/jobs/{ID}"), Behaviour::Answer(json!({})));
    let create = |name: &str| {
        let url = scene.source.url_of("/jobs");
        json_of(
            &scene
                .node
                .cli(&["--json", "initiators", "create", name, &url]),
        )
    };
    let listed = create("Substrate");
    let other = create("other");

    scene.node.rewrite("hook.toml", HOOK);
    let created = scene.node.cli(&["jobs", "create", "hook.toml"]);
    assert!(created.status.success(), "{}", said(&created));
    until("the initiator was told", || async {
        (scene.source.hits() == 1).then_some(())
    })
    .await;
    let told = scene.source.received().remove(0);
    let expected = json!({ "jobId": ID, "type": "Substrate", "params": { "account": 0.10 } });
    assert_eq!((told.method.clone(), told.json()), (Method::POST, expected));
    assert_eq!(
        told.headers["x-chainlink-ea-accesskey"],
        listed["outgoingToken"].as_str().unwrap()
    );
    assert_eq!(
        told.headers["x-chainlink-ea-secret"],
        listed["outgoingSecret"].as_str().unwrap()
    );

    let (key, secret) = (&listed["incomingAccessKey"], &listed["incomingSecret"]);
    let (status, run) = call(&scene, key, secret, "{\"n\": 21}").await;
    assert_eq!(status, 200, "{run}");
    assert_eq!(run["data"]["attributes"]["outputs"], json!(["42"]));
    let (key, secret) = (&other["incomingAccessKey"], &other["incomingSecret"]);
    let (status, refused) = call(&scene, key, secret, "{\"n\": 21}").await;
    assert_eq!(status, 401, "{refused}");

    // A person may too, by the job's number.
    let ran = scene
        .node
        .cli(&["--json", "jobs", "run", "1", "{\"n\": 1.5}"]);
    assert_eq!(json_of(&ran)["outputs"], json!(["3"]));

    let deleted = scene.node.cli(&["jobs", "delete", "1"]);
    assert!(deleted.status.success(), "{}", said(&deleted));
    until("the initiator was told of the end", || async {
        (scene.source.hits() == 2).then_some(())
    })
    .await;
    assert_eq!(scene.source.received()[1].method, Method::DELETE);
    let gone = scene.node.cli(&["initiators", "destroy", "substrate"]);
    assert!(gone.status.success(), "{}", said(&gone));
    let left = json_of(&scene.node.cli(&["--json", "initiators", "list"]));
    assert_eq!(left[0]["name"], "other", "{left}");
}

async fn what_an_external_initiator_asks_for_is_written_to_the_chain_once(db: Db) {
    let enabled = "[JobPipeline]\nExternalInitiatorsEnabled = true";
    let mut scene = Scene::build(db, anvil::Options::default(), |options| {
        options.with_config(enabled)
    })
    .await;
    let listed = json_of(
        &scene
            .node
            .cli(&["--json", "initiators", "create", "Substrate"]),
    );
    let hook = format!(
        r#"
type = "webhook"
schemaVersion = 1
externalJobID = "{ID}"
externalInitiators = [{{ name = "substrate", spec = "{{}}" }}]
observationSource = '''
  kind [type=jsonparse data="$(jobRun.requestBody)" path="to"]
  call [type=ethabiencode abi="setCallback(uint8 to)" data=<{{"to": $(kind)}}>]
  send [type=ethtx to="{consumer}" data="$(call)" evmChainID="31337" minConfirmations=1 failOnRevert=true]
  kind -> call -> send
'''
"#,
        consumer = scene.world.consumer,
    );
    let job = scene.api().create_job(&hook).await;
    let (key, secret) = (&listed["incomingAccessKey"], &listed["incomingSecret"]);
    let wrong = json!("not the secret");
    assert_eq!(call(&scene, key, &wrong, "{\"to\": 1}").await.0, 401);
    let (status, run) = call(&scene, key, secret, "{\"to\": 1}").await;
    assert_eq!(status, 200, "{run}");
    until("the consumer was told", || async {
        let consumer = scene.world.consumer;
        let callback = scene.world.view(consumer, Consumer::callbackCall {}).await;
        matches!(callback, Consumer::Callback::Revert).then_some(())
    })
    .await;
    // Whatever happens to the node, once.
    scene.node.kill();
    scene.node.start_again().await;
    scene.anvil.mine(1).await;
    scene.run_in_state(&job, "completed").await;
    scene.assert_sent(1).await;
}

#[tokio::test]
async fn what_an_external_initiator_asks_for_is_written_to_the_chain_once_on_sqlite() {
    what_an_external_initiator_asks_for_is_written_to_the_chain_once(Db::Sqlite).await;
}

#[tokio::test]
async fn what_an_external_initiator_asks_for_is_written_to_the_chain_once_on_postgresql() {
    what_an_external_initiator_asks_for_is_written_to_the_chain_once(Db::Postgres).await;
}

async fn a_bridge_that_answers_after_the_node_was_killed_is_heard(db: Db) {
    let url = "[WebServer]\nBridgeResponseURL = 'http://node.example:6688'";
    let mut scene = Scene::build(db, anvil::Options::default(), |options| {
        options.with_config(url)
    })
    .await;
    scene
        .source
        .on("/weather", Behaviour::Answer(json!({ "pending": true })));
    scene
        .api()
        .create_bridge("weather", &scene.source.url_of("/weather"))
        .await;
    let spec = Spec::bridge(scene.world.operator).with("name=weather", "name=weather async=true");
    let job = scene.create(&spec).await;
    let request = scene
        .world
        .request_report(job.external_id, "Ioannina")
        .await;
    scene.run_in_state(&job, "suspended").await;
    let asked = scene.source.received().remove(0).json();
    let back = asked["responseURL"].as_str().unwrap().to_owned();
    let path = back.strip_prefix("http://node.example:6688").unwrap();

    scene.node.kill();
    scene.node.start_again().await;
    // Nobody logs in: the address is the secret.
    let answer = dodona_testkit::http()
        .patch(format!("{}{path}", scene.node.url()))
        .body(json!({ "value": { "data": { "result": "clear sky" } } }).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let report = until("the consumer holds the report", || {
        scene.world.report(request.id)
    })
    .await;
    assert_eq!(report, "clear sky");
    scene.assert_sent(1).await;
    assert_eq!(scene.source.hits(), 1, "it was asked once");
}

#[tokio::test]
async fn a_bridge_that_answers_after_the_node_was_killed_is_heard_on_sqlite() {
    a_bridge_that_answers_after_the_node_was_killed_is_heard(Db::Sqlite).await;
}

#[tokio::test]
async fn a_bridge_that_answers_after_the_node_was_killed_is_heard_on_postgresql() {
    a_bridge_that_answers_after_the_node_was_killed_is_heard(Db::Postgres).await;
}

#[tokio::test]
async fn a_transaction_that_would_revert_is_not_sent_where_its_task_asks_for_a_trial() {
    let scene = Scene::on(Db::Sqlite).await;
    let hook = |data: &str| {
        format!(
            r#"
type = "webhook"
schemaVersion = 1
observationSource = '''
  send [type=ethtx to="{operator}" data="{data}" evmChainID="31337" minConfirmations=1
        transmitChecker=<{{"CheckerType": "simulate"}}>]
'''
"#,
            operator = scene.world.operator,
        )
    };
    // acceptOwnership(), which nobody offered.
    let job = scene.api().create_job(&hook("0x79ba5097")).await;
    json_of(&scene.node.cli(&["--json", "jobs", "run", &job.id]));
    let run = scene.run_in_state(&job, "errored").await;
    let error = task(&run, "send")["error"].to_string();
    assert!(error.contains("reverted during simulation: "), "{error}");
    scene.assert_sent(0).await;

    // owner(), which anybody may call.
    let job = scene.api().create_job(&hook("0x8da5cb5b")).await;
    json_of(&scene.node.cli(&["--json", "jobs", "run", &job.id]));
    until("its transaction is mined", || async {
        (scene.anvil.nonce(scene.key).await == 1).then_some(())
    })
    .await;
    scene.anvil.mine(2).await;
    scene.run_in_state(&job, "completed").await;
    scene.assert_sent(1).await;
}
