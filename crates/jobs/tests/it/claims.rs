//! Runs belong to nobody for long: whoever dies, freezes or stumbles is replaced.

use std::time::Duration;

use dodona_jobs::RunnerConfig;
use dodona_model::{request, run};
use dodona_testkit::source::{Behaviour, Gate};
use dodona_testkit::until;
use serde_json::json;

use crate::jobs;
use crate::scene::{Ask, Hand, Scene};

/// Lasts long enough to begin, and not until anything behind a gate is done.
fn short(config: RunnerConfig) -> RunnerConfig {
    RunnerConfig {
        claim: Duration::from_millis(100),
        ..config
    }
}

async fn triggered(scene: &mut Scene) -> Ask {
    let job = scene.price_job().await;
    let ask = scene.ask(&job);
    scene.mine(&[ask.log()]).await;
    scene.trigger().await;
    ask
}

/// Ticks until it has claimed something.
async fn claims(hand: &mut Hand) {
    let hand = tokio::sync::Mutex::new(hand);
    until("the run can be claimed", async || {
        (hand.lock().await.tick().await.claimed > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_runner_finishes_what_a_frozen_one_began_and_nothing_is_queued_twice() {
    for the_frozen_one_is_first in [true, false] {
        for mut scene in Scene::both().await {
            let gate = Gate::closed();
            let held = Behaviour::Behind(gate.clone(), json!({ "value": 7 }));
            scene.source.on("/price", held);
            let ask = triggered(&mut scene).await;
            let mut frozen = scene.runner_that("frozen", short);
            let mut other = scene.runner_that("other", |config| config);
            assert_eq!(frozen.tick().await.claimed, 1);
            claims(&mut other).await;
            gate.open();
            frozen.woken().await;
            other.woken().await;
            if the_frozen_one_is_first {
                // Its claim is gone: what it computed is dropped.
                assert_eq!(frozen.tick().await.in_flight, 0);
                assert_eq!(scene.run_of(&ask).await.state, run::State::Running);
                assert!(scene.txs().await.is_empty());
                other.work().await;
            } else {
                other.work().await;
                assert_eq!(frozen.tick().await.in_flight, 0);
            }
            let run = scene.run_of(&ask).await;
            assert_eq!(run.state, run::State::Suspended);
            assert_eq!(scene.txs().await.len(), 1);
            assert_eq!(scene.source.hits(), 2, "at least once, and said so");
        }
    }
}

#[tokio::test]
async fn a_claim_is_renewed_while_its_run_is_on_its_way() {
    for mut scene in Scene::both().await {
        let gate = Gate::closed();
        let held = Behaviour::Behind(gate.clone(), json!({ "value": 7 }));
        scene.source.on("/price", held);
        let ask = triggered(&mut scene).await;
        let claim = Duration::from_millis(600);
        let mut holder = scene.runner_that("holder", |config| RunnerConfig { claim, ..config });
        let mut other = scene.runner_that("other", |config| config);
        assert_eq!(holder.tick().await.claimed, 1);
        let began = std::time::Instant::now();
        while began.elapsed() < 2 * claim {
            holder.tick().await;
            assert_eq!(other.tick().await.claimed, 0);
            tokio::time::sleep(claim / 12).await;
        }
        gate.open();
        holder.work().await;
        assert_eq!(scene.run_of(&ask).await.state, run::State::Suspended);
        assert_eq!(scene.source.hits(), 1);
    }
}

#[tokio::test]
async fn a_run_that_ends_its_process_five_times_ends_errored() {
    for mut scene in Scene::both().await {
        let ask = triggered(&mut scene).await;
        scene.source.on("/price", Behaviour::Hang);
        for n in 1..=5 {
            // Begun, and never heard of again.
            let mut doomed = scene.runner_that(&format!("doomed {n}"), |config| RunnerConfig {
                claim: Duration::from_millis(1),
                ..config
            });
            claims(&mut doomed).await;
            assert_eq!(scene.run_of(&ask).await.attempts, n);
        }
        let mut last = scene.runner();
        claims(&mut last).await;
        let run = scene.run_of(&ask).await;
        assert_eq!(run.state, run::State::Errored);
        assert!(
            run.fatal_errors.contains("begun 5 times"),
            "{}",
            run.fatal_errors
        );
        let request = scene.request(&ask).await;
        assert_eq!(request.state, request::State::Failed);
        assert!(
            request.reason.contains("not tried again"),
            "{}",
            request.reason
        );
        assert_eq!(last.tick().await.in_flight, 0);
    }
}

#[tokio::test]
async fn results_that_cannot_be_stored_cost_one_run_a_repetition_and_the_others_nothing() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let asks: Vec<Ask> = (0..3).map(|_| scene.ask(&job)).collect();
        let logs: Vec<_> = asks.iter().map(Ask::log).collect();
        scene.mine(&logs).await;
        scene.trigger().await;
        let unlucky = scene.run_of(&asks[1]).await.id;
        let condition = format!("NEW.run_id = {unlucky}");
        scene.base.refuse("INSERT", "txs", &condition).await;
        let mut hand = scene.runner_that("first", short);
        assert_eq!(hand.tick().await.claimed, 3);
        until("all three were fetched", async || {
            (scene.source.hits() == 3).then_some(())
        })
        .await;
        let mut stored = 0;
        while stored < 2 {
            hand.woken().await;
            // Alone, the unlucky one is this round's error.
            stored += hand.try_tick().await.map_or(0, |did| did.stored);
        }
        assert_eq!(scene.txs().await.len(), 2);
        let run = scene.find_run(unlucky).await;
        assert_eq!(run.state, run::State::Running);
        assert!(scene.tasks(unlucky).await.is_empty(), "nothing half");

        scene.base.accept("txs").await;
        let mut other = scene.runner_that("second", |config| config);
        claims(&mut other).await;
        other.work().await;
        assert_eq!(scene.run_of(&asks[1]).await.state, run::State::Suspended);
        assert_eq!(scene.txs().await.len(), 3);
    }
}

/// A runner that has something on its way all the time must not hold on to what it dropped.
#[tokio::test]
async fn a_run_whose_results_were_lost_is_taken_up_again_however_busy_its_runner_is() {
    for mut scene in Scene::both().await {
        let gate = Gate::closed();
        let held = Behaviour::Behind(gate.clone(), json!({ "value": 7 }));
        scene.source.on("/held", held);
        let busy = scene.job(&jobs::price(&scene.source.url_of("/held"))).await;
        let busy = scene.ask(&busy);
        let job = scene.price_job().await;
        let lost = scene.ask(&job);
        scene.mine(&[busy.log(), lost.log()]).await;
        scene.trigger().await;
        let run = scene.run_of(&lost).await.id;
        let condition = format!("NEW.run_id = {run}");
        scene.base.refuse("INSERT", "txs", &condition).await;

        let claim = Duration::from_millis(300);
        let hand = scene.runner_that("me", |config| RunnerConfig { claim, ..config });
        let hand = tokio::sync::Mutex::new(hand);
        assert_eq!(hand.lock().await.tick().await.claimed, 2);
        hand.lock().await.woken().await;
        hand.lock().await.try_tick().await.unwrap_err();
        scene.base.accept("txs").await;
        until("it was executed again", async || {
            let _ = hand.lock().await.tick().await;
            (scene.txs().await.len() == 1).then_some(())
        })
        .await;
        gate.open();
        hand.lock().await.work().await;
        assert_eq!(scene.txs().await.len(), 2);
    }
}

#[tokio::test]
async fn a_database_that_stumbles_ends_no_run() {
    for mut scene in Scene::both().await {
        let first = triggered(&mut scene).await;
        let second = triggered(&mut scene).await;
        let mut doomed = scene.runner_that("doomed", |config| RunnerConfig {
            max_in_flight: 1,
            ..short(config)
        });
        assert_eq!(doomed.tick().await.claimed, 1);
        drop(doomed);
        // What it had done is looked up before it is begun again, and that fails.
        let rename = |from: &str, to: &str| format!("ALTER TABLE {from} RENAME TO {to}");
        scene.base.execute(&rename("task_runs", "gone")).await;
        let hand = scene.runner_that("me", short);
        let hand = tokio::sync::Mutex::new(hand);
        until("the database failed it", async || {
            let cause = hand.lock().await.try_tick().await.err()?;
            format!("{cause:#}")
                .contains("'runs.tasks_of'")
                .then_some(())
        })
        .await;
        scene.base.execute(&rename("gone", "task_runs")).await;
        assert_eq!(scene.run_of(&first).await.state, run::State::Running);
        until("both came to their end", async || {
            let _ = hand.lock().await.try_tick().await;
            (scene.txs().await.len() == 2).then_some(())
        })
        .await;
        for ask in [first, second] {
            assert_eq!(scene.run_of(&ask).await.state, run::State::Suspended);
            assert_eq!(scene.request(&ask).await.state, request::State::Open);
        }
    }
}
