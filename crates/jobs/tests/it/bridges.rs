//! Bridges that answer later, and bridges that fail after having answered.

use dodona_model::run::State;
use dodona_pipeline::Value;
use dodona_runtime::clock;
use dodona_store::runs::{self, Answered};
use dodona_testkit::source::{Behaviour, Gate, Source};
use dodona_testkit::until;
use serde_json::json;
use uuid::Uuid;

use crate::world::World;

const LATER: &str = r#"
    ask    [type=bridge name=slow async=true requestData=<{"city": "Ioannina"}>]
    parse  [type=jsonparse data="$(ask)" path="result"]
    double [type=multiply input="$(parse)" times=2]
    ask -> parse -> double
"#;

/// The id of the task run that the bridge was told, as the last part of its `responseURL`.
fn told(source: &Source) -> Uuid {
    let body = source.received()[0].json();
    assert_eq!(body["city"], "Ioannina");
    let url = body["responseURL"].as_str().unwrap().to_owned();
    let id = url.strip_prefix("http://node.example:6688/v2/resume/");
    id.unwrap_or_else(|| panic!("{url}")).parse().unwrap()
}

async fn answer(world: &World, id: Uuid, json: &str) -> Answered {
    let value = Value::Bytes(json.as_bytes().to_vec().into());
    let (stored, shown) = (value.to_stored().to_string(), value.to_output_json());
    let mut tx = world.store.begin().await.unwrap();
    let answered = runs::answer_task(&mut tx, id, Some(&stored), Some(&shown), None, clock::now());
    let answered = answered.await.unwrap();
    tx.poke_on_commit("runs");
    tx.commit().await.unwrap();
    answered
}

#[tokio::test]
async fn an_answer_that_comes_before_the_run_waits_is_not_lost() {
    for world in World::both().await {
        let source = Source::start().await;
        let gate = Gate::closed();
        let pending = json!({ "pending": true });
        source.on("/", Behaviour::Behind(gate.clone(), pending));
        world.bridge("slow", &source.url_of("/")).await;
        let _runner = world.runner(100);
        let job = world.job("webhook", LATER).await;
        let run = world.begin(job, "").await;
        until("the bridge was asked", || async {
            (source.hits() == 1).then_some(())
        })
        .await;
        // It answers before it says that it will.
        let answered = answer(&world, told(&source), "{\"result\": 21}").await;
        assert_eq!(answered, Answered::Noted(run));
        gate.open();
        let ended = world.run_in(run, State::Completed).await;
        assert_eq!(ended.outputs, "[\"42\"]");
        assert_eq!(source.hits(), 1, "it was asked once");
    }
}

#[tokio::test]
async fn a_run_that_waits_goes_on_in_another_process() {
    for world in World::both().await {
        let source = Source::start().await;
        source.on("/", Behaviour::Answer(json!({ "pending": true })));
        world.bridge("slow", &source.url_of("/")).await;
        let first = world.runner(100);
        let job = world.job("webhook", LATER).await;
        let run = world.begin(job, "").await;
        world.run_in(run, State::Suspended).await;
        assert!(first.stop(std::time::Duration::from_secs(10)).await);

        let _second = world.runner(100);
        let answered = answer(&world, told(&source), "{\"result\": 1.5}").await;
        assert_eq!(answered, Answered::Resumed(run));
        let ended = world.run_in(run, State::Completed).await;
        assert_eq!(ended.outputs, "[\"3\"]");
        assert_eq!(source.hits(), 1);
        let tasks = world.tasks(run).await;
        assert_eq!(tasks.len(), 3);
        assert!(tasks.iter().all(|task| task.finished_at.is_some()));
    }
}

#[tokio::test]
async fn a_bridge_that_answers_at_once_need_not_wait() {
    for world in World::both().await {
        let source = Source::start().await;
        source.on("/", Behaviour::Answer(json!({ "result": 4 })));
        world.bridge("slow", &source.url_of("/")).await;
        let _runner = world.runner(100);
        let job = world.job("webhook", LATER).await;
        let run = world.begin(job, "").await;
        let ended = world.run_in(run, State::Completed).await;
        assert_eq!(ended.outputs, "[\"8\"]");
    }
}

#[tokio::test]
async fn a_bridge_that_fails_is_stood_in_for_by_its_last_good_answer() {
    const CACHED: &str = r#"ask [type=bridge name=flaky cacheTTL="1h"]"#;
    const UNCACHED: &str = r#"ask [type=bridge name=flaky]"#;
    for world in World::both().await {
        let source = Source::start().await;
        world.bridge("flaky", &source.url_of("/")).await;
        let _runner = world.runner(100);
        let job = world.job("webhook", CACHED).await;
        // Nothing to fall back on yet.
        let failed = world.begin(job, "").await;
        world.run_in(failed, State::Errored).await;

        source.on("/", Behaviour::Answer(json!({ "price": 7 })));
        let fresh = world.begin(job, "").await;
        world.run_in(fresh, State::Completed).await;
        source.on("/", Behaviour::Status(500, "down".to_owned()));
        let kept = world.begin(job, "").await;
        let kept = world.run_in(kept, State::Completed).await;
        assert_eq!(kept.outputs, "[\"{\\\"price\\\":7}\"]");
        assert_eq!(source.hits(), 3, "the request is always made");

        // Another pipeline has another memory.
        let other = world.job("webhook", UNCACHED).await;
        let other = world.begin(other, "").await;
        world.run_in(other, State::Errored).await;
    }
}
