//! What becomes of runs, and what they leave behind.

use dodona_model::{request, run, tx};
use dodona_testkit::source::{Behaviour, Gate};
use serde_json::{Value, json};

use crate::jobs;
use crate::scene::{Ask, Scene};

/// One more request for a new job with this pipeline, triggered and not executed.
async fn triggered(scene: &mut Scene, dot: &str) -> Ask {
    let job = scene.job(dot).await;
    let ask = scene.ask(&job);
    scene.mine(&[ask.log()]).await;
    scene.trigger().await;
    ask
}

/// The only fatal error of a run.
async fn fatal(scene: &Scene, ask: &Ask) -> String {
    let run = scene.run_of(ask).await;
    assert_eq!(run.state, run::State::Errored);
    let errors: Vec<Option<String>> = serde_json::from_str(&run.fatal_errors).unwrap();
    errors.into_iter().flatten().next().expect("there is one")
}

#[tokio::test]
async fn a_run_that_waits_goes_on_with_the_receipt_and_completes() {
    for mut scene in Scene::both().await {
        let dot = jobs::price(&scene.source.url_of("/price"));
        let ask = triggered(&mut scene, &dot).await;
        scene.run().await;
        let run = scene.run_of(&ask).await;
        assert_eq!((run.state, run.attempts), (run::State::Suspended, 0));
        assert!(scene.task(run.id, "send").await.finished_at.is_none());

        let receipt = json!({ "status": "0x1", "transactionHash": "0xab" });
        scene.tell(&scene.only_tx().await, &receipt).await;
        scene.run().await;
        let run = scene.run_of(&ask).await;
        assert_eq!(run.state, run::State::Completed);
        let outputs: Value = serde_json::from_str(&run.outputs).unwrap();
        assert!(outputs[0].to_string().contains("0xab"), "{outputs}");
        assert_eq!(scene.source.hits(), 1);
        assert_eq!(scene.txs().await.len(), 1);
    }
}

#[tokio::test]
async fn a_run_whose_transaction_died_ends_with_the_reason() {
    for mut scene in Scene::both().await {
        let dot = jobs::price(&scene.source.url_of("/price"));
        let ask = triggered(&mut scene, &dot).await;
        scene.run().await;
        let waiting = scene.only_tx().await;
        let mut lead = scene.lead.begin().await.unwrap();
        let task = waiting.spec.task_run_id.unwrap();
        let why = "task run failed: the contract does not have this request";
        let told = dodona_store::runs::finish_task(
            &mut lead,
            task,
            None,
            None,
            Some(why),
            crate::scene::NOW,
        );
        let run = told.await.unwrap().unwrap();
        dodona_store::runs::resume(&mut lead, run).await.unwrap();
        lead.commit().await.unwrap();
        scene.run().await;
        assert_eq!(fatal(&scene, &ask).await, why);
    }
}

#[tokio::test]
async fn without_confirmations_to_wait_for_a_run_completes_at_once() {
    for mut scene in Scene::both().await {
        let fetch = jobs::get(&scene.source.url_of("/price"));
        let ask = triggered(&mut scene, &jobs::answering(&fetch, "minConfirmations=0")).await;
        scene.run().await;
        assert_eq!(scene.run_of(&ask).await.state, run::State::Completed);
        let tx = scene.only_tx().await;
        assert_eq!(tx.state, tx::State::Queued);
        assert!(!tx.spec.signal_needed);
        assert_eq!(scene.request(&ask).await.state, request::State::Open);
    }
}

#[tokio::test]
async fn a_failed_run_names_task_and_reason_and_fails_its_request() {
    for mut scene in Scene::both().await {
        let dot = jobs::price(&scene.source.url_of("/price"));
        let ask = triggered(&mut scene, &dot).await;
        scene
            .source
            .on("/price", Behaviour::Answer(json!({ "other": 1 })));
        scene.run().await;
        fatal(&scene, &ask).await;
        let request = scene.request(&ask).await;
        assert_eq!(request.state, request::State::Failed);
        assert!(
            request.reason.starts_with("task number (jsonparse): "),
            "{}",
            request.reason
        );
        assert!(scene.txs().await.is_empty());
        let run = scene.run_of(&ask).await;
        assert!(scene.task(run.id, "number").await.error.is_some());
        assert!(run.finished_at.is_some());
    }
}

#[tokio::test]
async fn a_run_that_fails_early_is_dropped_and_its_log_stays_consumed() {
    for mut scene in Scene::both().await {
        let url = scene.source.url_of("/price");
        let fetch = jobs::get(&url).replace("retries=0", "failEarly=true");
        let ask = triggered(&mut scene, &jobs::answering(&fetch, "minConfirmations=1")).await;
        let run = scene.run_of(&ask).await;
        scene
            .source
            .on("/price", Behaviour::Status(500, "out of order".into()));
        scene.run().await;
        assert!(scene.runs().await.is_empty());
        assert!(scene.tasks(run.id).await.is_empty());
        let request = scene.request(&ask).await;
        assert_eq!(request.state, request::State::Failed);
        assert!(
            request.reason.contains("dropped by failEarly"),
            "{}",
            request.reason
        );
        scene.trigger().await;
        assert!(scene.runs().await.is_empty(), "its trigger stays consumed");
    }
}

#[tokio::test]
async fn one_hanging_source_delays_nobody_else() {
    for mut scene in Scene::both().await {
        let gate = Gate::closed();
        let hangs = Behaviour::Behind(gate.clone(), json!({ "value": 1 }));
        scene.source.on("/hangs", hangs);
        let slow = jobs::price(&scene.source.url_of("/hangs"));
        let hanging = triggered(&mut scene, &slow).await;
        let job = scene.price_job().await;
        let asks: Vec<Ask> = (0..20).map(|_| scene.ask(&job)).collect();
        let logs: Vec<_> = asks.iter().map(Ask::log).collect();
        scene.mine(&logs).await;
        scene.trigger().await;

        let mut hand = scene.runner_that("me", |config| dodona_jobs::RunnerConfig {
            max_in_flight: 3,
            ..config
        });
        hand.work_until_in_flight(1).await;
        for ask in &asks {
            assert_eq!(scene.run_of(ask).await.state, run::State::Suspended);
        }
        assert_eq!(scene.run_of(&hanging).await.state, run::State::Running);
        assert_eq!(scene.txs().await.len(), 20);
        gate.open();
        hand.work().await;
        assert_eq!(scene.run_of(&hanging).await.state, run::State::Suspended);
    }
}

#[tokio::test]
async fn no_more_runs_are_at_work_than_there_are_slots_and_one_job_leaves_some_to_others() {
    let mut scene = Scene::on(crate::base::Base::sqlite()).await;
    let gate = Gate::closed();
    let held = Behaviour::Behind(gate.clone(), json!({ "value": 1 }));
    scene.source.on("/price", held);
    let job = scene.price_job().await;
    let asks: Vec<Ask> = (0..9).map(|_| scene.ask(&job)).collect();
    let logs: Vec<_> = asks.iter().map(Ask::log).collect();
    scene.mine(&logs).await;
    scene.trigger().await;
    let mut hand = scene.runner_that("me", |config| dodona_jobs::RunnerConfig {
        max_in_flight: 4,
        patience: std::time::Duration::from_secs(600),
        ..config
    });
    for _ in 0..3 {
        assert_eq!(hand.tick().await.in_flight, 3);
    }
    gate.open();
    hand.work().await;
    assert_eq!(scene.txs().await.len(), 9);
}

#[tokio::test]
async fn a_task_that_panics_is_its_own_error_and_nobody_elses() {
    for mut scene in Scene::both().await {
        let dot = jobs::answering(
            r#"fetch [type=panic msg="on purpose"]"#,
            "minConfirmations=1",
        );
        let bad = triggered(&mut scene, &dot).await;
        let good = jobs::price(&scene.source.url_of("/price"));
        let good = triggered(&mut scene, &good).await;
        scene.run().await;
        let run = scene.run_of(&bad).await;
        assert_eq!(run.state, run::State::Errored);
        let error = scene.task(run.id, "fetch").await.error.unwrap();
        assert!(error.contains("on purpose"), "{error}");
        assert_eq!(scene.run_of(&good).await.state, run::State::Suspended);
    }
}

#[tokio::test]
async fn a_job_that_this_version_cannot_read_ends_its_runs_with_a_sentence() {
    for mut scene in Scene::both().await {
        let dot = jobs::price(&scene.source.url_of("/price"));
        let ask = triggered(&mut scene, &dot).await;
        scene
            .base
            .execute("UPDATE jobs SET dot = 'a [type=from_the_future]'")
            .await;
        scene.run().await;
        let text = fatal(&scene, &ask).await;
        assert!(text.contains("cannot be read by this version"), "{text}");
        assert_eq!(scene.request(&ask).await.state, request::State::Failed);
    }
}

#[tokio::test]
async fn the_runs_of_a_deleted_job_come_to_their_end() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let (before, after) = (scene.ask(&job), scene.ask(&job));
        scene.mine(&[before.log()]).await;
        scene.trigger().await;
        let mut tx = scene.store.begin().await.unwrap();
        dodona_store::jobs::delete(&mut tx, job.id, crate::scene::NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        scene.mine(&[after.log()]).await;
        scene.trigger().await;
        scene.run().await;
        assert_eq!(scene.run_of(&before).await.state, run::State::Suspended);
        assert!(scene.newest(&after).await.is_none());
    }
}

/// Two transactions of one run need not have their confirmations at the same time.
#[tokio::test]
async fn a_run_that_waits_for_two_transactions_never_misses_the_second() {
    let dot = r#"
      first  [type=ethtx to="0x0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" data="0x01" minConfirmations=1 index=0]
      second [type=ethtx to="0x0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" data="0x02" minConfirmations=1 index=1]
    "#;
    for mut scene in Scene::both().await {
        let ask = triggered(&mut scene, dot).await;
        scene.run().await;
        let txs = scene.txs().await;
        assert_eq!(txs.len(), 2);
        scene.tell(&txs[0], &json!({ "status": "0x1" })).await;
        // It goes on and is over in a moment; the second receipt comes before that is stored.
        let mut hand = scene.runner();
        assert_eq!(hand.tick().await.claimed, 1);
        hand.woken().await;
        scene.tell(&txs[1], &json!({ "status": "0x1" })).await;
        hand.work().await;
        assert_eq!(scene.run_of(&ask).await.state, run::State::Completed);
        assert_eq!(scene.txs().await.len(), 2);
    }
}
