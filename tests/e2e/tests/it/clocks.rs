//! Cron jobs: they run by the clock and write to the chain, one run for each tick, whichever replica keeps the time.

use std::collections::BTreeSet;

use dodona_testkit::{contracts::Consumer, node::Node, source::Behaviour, until};
use serde_json::{Value, json};

use crate::scene::{Db, Scene};

/// Every second: what the source says becomes what the consumer does with answers.
fn every_second(scene: &Scene) -> String {
    format!(
        r#"
type = "cron"
schemaVersion = 1
name = "clock"
schedule = "@every 1s"
evmChainID = "31337"
observationSource = """
  fetch [type=http method=GET url="{source}" allowUnrestrictedNetworkAccess="true"]
  kind  [type=jsonparse data="$(fetch)" path="callback"]
  call  [type=ethabiencode abi="setCallback(uint8 to)" data=<{{"to": $(kind)}}>]
  send  [type=ethtx to="{consumer}" data="$(call)" minConfirmations=0]
  fetch -> kind -> call -> send
"""
"#,
        source = scene.source.url_of("/kind"),
        consumer = scene.world.consumer,
    )
}

/// The second in which each run began.
fn seconds(runs: &[Value]) -> Vec<String> {
    let began = runs
        .iter()
        .map(|run| run["createdAt"].as_str().unwrap_or_default());
    began.map(|time| time.chars().take(19).collect()).collect()
}

async fn a_cron_job_writes_to_the_chain_at_each_tick(db: Db) {
    let scene = Scene::on(db).await;
    // On PostgreSQL a second replica looks at the same clock.
    let _second = match db {
        Db::Postgres => Some(Node::start(&scene.options).await),
        Db::Sqlite => None,
    };
    scene
        .source
        .on("/kind", Behaviour::Answer(json!({ "callback": 1 })));
    let job = scene.api().create_job(&every_second(&scene)).await;
    until("the consumer was told", || async {
        let callback = scene
            .world
            .view(scene.world.consumer, Consumer::callbackCall {})
            .await;
        matches!(callback, Consumer::Callback::Revert).then_some(())
    })
    .await;
    let runs = scene.api().finished_runs(&job, 4).await;
    scene.api().delete(&format!("/v2/jobs/{}", job.id)).await;
    assert!(
        runs.iter().all(|run| run["state"] == "completed"),
        "{runs:?}"
    );
    let seconds = seconds(&runs);
    let distinct: BTreeSet<_> = seconds.iter().collect();
    // Late by a moment two ticks may begin in one second of the clock, never the same tick twice.
    assert!(distinct.len() + 1 >= seconds.len(), "{seconds:?}");
    // It sends, so what each task did is kept.
    assert_eq!(runs[0]["taskRuns"].as_array().map(Vec::len), Some(4));
    assert_ne!(scene.anvil.nonce(scene.key).await, 0);
}

#[tokio::test]
async fn a_cron_job_writes_to_the_chain_at_each_tick_on_sqlite() {
    a_cron_job_writes_to_the_chain_at_each_tick(Db::Sqlite).await;
}

#[tokio::test]
async fn two_replicas_keep_one_clock_on_postgresql() {
    a_cron_job_writes_to_the_chain_at_each_tick(Db::Postgres).await;
}
