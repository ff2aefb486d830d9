//! Which transaction a run queues, and why it sometimes cannot.

use std::collections::BTreeMap;

use alloy::primitives::Address;
use dodona_jobs::{ChainRules, RunnerConfig};
use dodona_model::{request, run};
use dodona_store::keys;
use serde_json::{Value, json};

use crate::jobs::{self, Say};
use crate::scene::{Ask, CHAIN, KEY, NOW, ORACLE, Scene};

const OTHER_KEY: Address = Address::repeat_byte(0xf1);

async fn asked(scene: &mut Scene, send: &str) -> Ask {
    let fetch = jobs::get(&scene.source.url_of("/price"));
    asked_by(scene, &jobs::answering(&fetch, send)).await
}

/// A request for a job with this pipeline, which has started its run.
async fn asked_by(scene: &mut Scene, dot: &str) -> Ask {
    let job = scene.job(dot).await;
    let ask = scene.ask(&job);
    scene.mine(&[ask.log()]).await;
    scene.trigger().await;
    ask
}

/// The error of the task that should have queued a transaction.
async fn refusal(scene: &Scene, ask: &Ask) -> String {
    let run = scene.run_of(ask).await;
    assert_eq!(run.state, run::State::Errored);
    let error = scene.task(run.id, "send").await.error.expect("it failed");
    let request = scene.request(ask).await;
    assert_eq!(request.state, request::State::Failed);
    assert!(request.reason.contains(&error), "{}", request.reason);
    error
}

#[tokio::test]
async fn results_suspended_run_and_transaction_commit_together() {
    for mut scene in Scene::both().await {
        let ask = asked(&mut scene, "minConfirmations=1").await;
        for (what, table) in [
            ("INSERT", "txs"),
            ("INSERT", "task_runs"),
            ("UPDATE", "runs"),
        ] {
            let condition = match table {
                "runs" => "NEW.state = 'suspended'",
                _ => "NEW.run_id > 0",
            };
            scene.base.refuse(what, table, condition).await;
            let mut hand = scene.runner_that(table, |config| RunnerConfig {
                // Long enough for a loaded machine: a run that is begun too often is given up.
                claim: std::time::Duration::from_secs(1),
                ..config
            });
            let hand = tokio::sync::Mutex::new(&mut hand);
            let text = dodona_testkit::until("it cannot be stored", async || {
                hand.lock().await.try_tick().await.err()
            })
            .await;
            assert!(format!("{text:#}").contains("refused by the test"));
            assert!(scene.txs().await.is_empty(), "{table}");
            let run = scene.run_of(&ask).await;
            assert_eq!(run.state, run::State::Running, "{table}");
            assert!(scene.tasks(run.id).await.is_empty(), "{table}");
            scene.base.accept(table).await;
        }
        let hand = tokio::sync::Mutex::new(scene.runner());
        dodona_testkit::until("it is done at last", async || {
            hand.lock().await.tick().await;
            (scene.txs().await.len() == 1).then_some(())
        })
        .await;
        assert_eq!(scene.run_of(&ask).await.state, run::State::Suspended);
    }
}

#[tokio::test]
async fn an_answer_knows_its_request_its_run_and_its_receiver() {
    for mut scene in Scene::both().await {
        let ask = asked(&mut scene, "minConfirmations=3 failOnRevert=true").await;
        scene.run().await;
        let (tx, request) = (scene.only_tx().await, scene.request(&ask).await);
        assert_eq!(tx.spec.request_row, Some(request.id));
        assert_eq!(tx.spec.run_id, request.run_id);
        assert_eq!((tx.spec.from, tx.spec.to), (KEY, ORACLE));
        assert_eq!(tx.spec.min_confirmations, Some(3));
        assert!(tx.spec.fail_on_revert && tx.spec.signal_needed);
        assert_eq!(tx.spec.gas_limit, 500_000);
        assert_eq!(&tx.spec.payload[4..36], ask.id.as_slice());
    }
}

#[tokio::test]
async fn without_a_key_the_task_says_so_and_how_to_see_them() {
    for mut scene in Scene::both().await {
        let mut tx = scene.store.begin().await.unwrap();
        assert!(keys::disable(&mut tx, CHAIN, KEY, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let ask = asked(&mut scene, "minConfirmations=1").await;
        scene.run().await;
        let text = refusal(&scene, &ask).await;
        assert!(
            text.contains("no sending keys available for chain 1337"),
            "{text}"
        );
        assert!(text.contains("dodona keys eth list"), "{text}");
    }
}

#[tokio::test]
async fn a_task_that_names_other_keys_than_we_have_is_told_so() {
    for mut scene in Scene::both().await {
        let from = format!(r#"minConfirmations=1 from=<["{OTHER_KEY}"]>"#);
        let ask = asked(&mut scene, &from).await;
        scene.run().await;
        let text = refusal(&scene, &ask).await;
        assert!(text.contains("match the task's 'from' list"), "{text}");

        scene.enable(OTHER_KEY).await;
        let ask = asked(&mut scene, &from).await;
        scene.run().await;
        assert_eq!(scene.only_tx().await.spec.from, OTHER_KEY);
        assert_eq!(scene.run_of(&ask).await.state, run::State::Suspended);
    }
}

#[tokio::test]
async fn a_refused_transaction_does_not_end_a_run_that_waits_for_another_one() {
    for mut scene in Scene::both().await {
        let fetch = jobs::get(&scene.source.url_of("/price"));
        let dot = format!(
            r#"{}
  other [type=ethtx to="{ORACLE}" data="0x01" from=<["{OTHER_KEY}"]> minConfirmations=1 index=7]"#,
            jobs::answering(&fetch, "minConfirmations=1")
        );
        let ask = asked_by(&mut scene, &dot).await;
        scene.run().await;
        let run = scene.run_of(&ask).await;
        assert_eq!(run.state, run::State::Suspended);
        let why = scene.task(run.id, "other").await.error.expect("no key");
        assert_eq!(scene.request(&ask).await.state, request::State::Open);

        let receipt = json!({ "status": "0x1", "transactionHash": "0xab" });
        scene.tell(&scene.only_tx().await, &receipt).await;
        scene.run().await;
        let run = scene.run_of(&ask).await;
        assert_eq!(run.state, run::State::Errored, "a terminal task failed");
        let outputs: Value = serde_json::from_str(&run.outputs).unwrap();
        assert!(outputs[0].to_string().contains("0xab"), "{outputs}");
        let errors: Value = serde_json::from_str(&run.fatal_errors).unwrap();
        assert_eq!((&outputs[1], &errors), (&Value::Null, &json!([null, why])));
        assert_eq!(scene.txs().await.len(), 1);
    }
}

#[tokio::test]
async fn the_key_that_rested_longest_sends_next() {
    for mut scene in Scene::both().await {
        scene.enable(OTHER_KEY).await;
        for _ in 0..4 {
            asked(&mut scene, "minConfirmations=1").await;
            scene.run().await;
        }
        let senders: Vec<_> = scene.txs().await.iter().map(|tx| tx.spec.from).collect();
        assert_eq!(senders, [KEY, OTHER_KEY, KEY, OTHER_KEY]);
    }
}

#[tokio::test]
async fn a_chain_this_node_does_not_work_on_is_named() {
    for mut scene in Scene::both().await {
        let ask = asked(&mut scene, "minConfirmations=1 evmChainID=99").await;
        scene.run().await;
        let text = refusal(&scene, &ask).await;
        assert!(text.contains("not configured for chain 99"), "{text}");
    }
}

#[tokio::test]
async fn a_full_queue_is_said_and_does_not_stop_what_is_queued_already() {
    let few = |config| RunnerConfig {
        chains: BTreeMap::from([(
            CHAIN,
            ChainRules {
                gas_limit: 500_000,
                flux_gas_limit: 500_000,
                min_payment_juels: Default::default(),
                gas_limit_default: 500_000,
                gas_limit_multiplier: 1.0,
                max_queued: 2,
            },
        )]),
        ..config
    };
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let asks: Vec<Ask> = (0..3).map(|_| scene.ask(&job)).collect();
        let logs: Vec<_> = asks.iter().map(Ask::log).collect();
        scene.mine(&logs).await;
        scene.trigger().await;
        scene.runner_that("me", few).work().await;
        assert_eq!(scene.txs().await.len(), 2);
        let mut refused = Vec::new();
        for ask in &asks {
            if scene.run_of(ask).await.state == run::State::Errored {
                refused.push(ask);
            }
        }
        assert_eq!(refused.len(), 1);
        let text = refusal(&scene, refused[0]).await;
        assert!(
            text.contains("too many unstarted transactions in the queue (2/2)"),
            "{text}"
        );
        assert!(text.contains("EVM.Transactions.MaxQueued"), "{text}");

        // The queued ones are mined again on other terms: they change their place, and need no other.
        scene.rewind(1).await;
        let later: Vec<_> = asks.iter().map(|ask| ask.later().log()).collect();
        scene.mine(&later).await;
        scene.trigger().await;
        scene.runner_that("again", few).work().await;
        let txs = scene.txs().await;
        assert_eq!(txs.len(), 2);
        for tx in txs {
            assert_eq!(tx.payload_version, 2, "{}", tx.id);
        }
    }
}

#[tokio::test]
async fn the_gas_limit_is_the_tasks_or_the_jobs_or_the_chains() {
    for mut scene in Scene::both().await {
        let fetch = jobs::get(&scene.source.url_of("/price"));
        let say = |gas_limit| Say {
            gas_limit,
            ..Say::default()
        };
        for (send, own) in [
            ("minConfirmations=1 gasLimit=700000", Some(600_000)),
            ("minConfirmations=1", Some(600_000)),
            ("minConfirmations=1", None),
        ] {
            let job = scene
                .job_that(&jobs::answering(&fetch, send), &say(own))
                .await;
            let ask = scene.ask(&job);
            scene.mine(&[ask.log()]).await;
            scene.trigger().await;
            scene.run().await;
        }
        let limits: Vec<_> = scene
            .txs()
            .await
            .iter()
            .map(|tx| tx.spec.gas_limit)
            .collect();
        assert_eq!(limits, [700_000, 600_000, 500_000]);
    }
}

#[tokio::test]
async fn a_transaction_to_another_contract_is_no_answer() {
    for mut scene in Scene::both().await {
        let elsewhere = Address::repeat_byte(0x77);
        let fetch = jobs::get(&scene.source.url_of("/price"));
        let dot = jobs::answering(&fetch, "minConfirmations=1")
            .replace(&ORACLE.to_string(), &elsewhere.to_string());
        asked_by(&mut scene, &dot).await;
        scene.run().await;
        let tx = scene.only_tx().await;
        assert_eq!((tx.spec.to, tx.spec.request_row), (elsewhere, None));
    }
}
