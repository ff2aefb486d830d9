//! Effects outside happen at least once, and what they brought is not lost.

use std::time::Duration;

use dodona_jobs::RunnerConfig;
use dodona_model::run;
use dodona_store::bridges::{self, Bridge};
use dodona_testkit::source::{Behaviour, Gate};
use dodona_testkit::until;
use serde_json::json;

use crate::jobs;
use crate::scene::{NOW, Scene};

async fn add_bridge(scene: &Scene, name: &str, url: &str) {
    let bridge = Bridge {
        name: name.to_owned(),
        url: url.to_owned(),
        confirmations: 0,
        incoming_token_hash: String::new(),
        salt: String::new(),
        outgoing_token: String::new(),
        min_payment_juels: None,
        created_at: NOW,
    };
    let mut tx = scene.store.begin().await.unwrap();
    bridges::insert(&mut tx, &bridge).await.unwrap();
    tx.commit().await.unwrap();
}

/// Asks an adapter, then a source that may hang, then answers.
fn adapter_then_source(scene: &Scene) -> String {
    let fetch = jobs::bridge("adapter");
    let slow = jobs::get(&scene.source.url_of("/slow")).replacen("fetch", "slow", 1);
    jobs::answering(&fetch, "minConfirmations=1")
        .replace("number [", &format!("{slow}\n  number ["))
        .replace("fetch -> number", "fetch -> slow -> number")
}

#[tokio::test]
async fn a_crash_after_an_adapter_was_asked_does_not_ask_it_again() {
    for mut scene in Scene::both().await {
        let gate = Gate::closed();
        scene
            .source
            .on("/adapter", Behaviour::Answer(json!({ "value": 7 })));
        let held = Behaviour::Behind(gate.clone(), json!({}));
        scene.source.on("/slow", held);
        add_bridge(&scene, "adapter", &scene.source.url_of("/adapter")).await;
        let job = scene.job(&adapter_then_source(&scene)).await;
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        let run = scene.run_of(&ask).await.id;

        let mut killed = scene.runner_that("killed", |config| RunnerConfig {
            claim: Duration::from_millis(100),
            ..config
        });
        assert_eq!(killed.tick().await.claimed, 1);
        until("the source behind the adapter was asked", async || {
            (scene.source.hits_of("/slow") == 1).then_some(())
        })
        .await;
        let stored = scene.task(run, "fetch").await;
        assert!(stored.finished_at.is_some() && stored.value.is_some());
        drop(killed);

        let other = tokio::sync::Mutex::new(scene.runner());
        until("another one takes it up", async || {
            (other.lock().await.tick().await.claimed == 1).then_some(())
        })
        .await;
        gate.open();
        other.lock().await.work().await;
        assert_eq!(scene.run_of(&ask).await.state, run::State::Suspended);
        assert_eq!(
            scene.source.hits_of("/adapter"),
            1,
            "it may charge for each call"
        );
        assert_eq!(scene.txs().await.len(), 1);
    }
}

#[tokio::test]
async fn an_adapter_that_is_asked_again_is_given_the_same_key() {
    for mut scene in Scene::both().await {
        let gate = Gate::closed();
        let held = Behaviour::Behind(gate.clone(), json!({ "value": 7 }));
        scene.source.on("/adapter", held);
        add_bridge(&scene, "adapter", &scene.source.url_of("/adapter")).await;
        let dot = jobs::answering(&jobs::bridge("adapter"), "minConfirmations=1");
        let job = scene.job(&dot).await;
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        for n in 1..=2 {
            let hand = scene.runner_that(&format!("number {n}"), |config| RunnerConfig {
                claim: Duration::from_millis(100),
                ..config
            });
            let hand = tokio::sync::Mutex::new(hand);
            until("it is asked", async || {
                hand.lock().await.tick().await;
                (scene.source.hits() == n).then_some(())
            })
            .await;
        }
        let keys: Vec<_> = scene
            .source
            .received()
            .iter()
            .map(|it| it.headers["idempotency-key"].clone())
            .collect();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0], keys[1]);
        gate.open();
    }
}

#[tokio::test]
async fn a_bridge_that_does_not_exist_is_said_with_the_remedy() {
    for mut scene in Scene::both().await {
        let dot = jobs::answering(&jobs::bridge("nobody"), "minConfirmations=1");
        let job = scene.job(&dot).await;
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        scene.run().await;
        let run = scene.run_of(&ask).await;
        let error = scene.task(run.id, "fetch").await.error.unwrap();
        assert!(
            error.contains("could not find bridge with name 'nobody'"),
            "{error}"
        );
        assert!(error.contains("dodona bridges create"), "{error}");
    }
}
