//! A request leaves the chain with its block, and comes back or does not.

use alloy::primitives::{B256, U256};
use dodona_model::request::{Event, State};
use dodona_model::{run, tx};
use dodona_store::txs::{Fee, Inclusion, NewAttempt};
use dodona_store::{requests, txs};
use dodona_testkit::source::{Behaviour, Gate};
use serde_json::json;

use crate::scene::{Ask, CHAIN, KEY, NOW, Scene};

/// A request that was answered as far as this crate goes: its run waits for its transaction.
async fn queued(scene: &mut Scene) -> Ask {
    let job = scene.price_job().await;
    let ask = scene.ask(&job);
    scene.mine(&[ask.log()]).await;
    scene.trigger().await;
    scene.run().await;
    assert_eq!(scene.run_of(&ask).await.state, run::State::Suspended);
    ask
}

/// Signs and sends the only transaction, as the broadcaster does.
async fn sent(scene: &Scene) -> tx::State {
    let old = scene.txs().await.pop().expect("there is one");
    let attempt = NewAttempt {
        tx_id: old.id,
        hash: B256::repeat_byte(u8::try_from(old.id).unwrap()),
        raw: vec![2].into(),
        payload_version: old.payload_version,
        fee: Fee::Legacy {
            gas_price: U256::from(1),
        },
        gas_limit: 1,
        first_block: None,
    };
    let mut tx = scene.lead.begin().await.unwrap();
    let nonce = u64::try_from(old.id).unwrap();
    assert!(
        txs::sign(&mut tx, &old, nonce, &attempt, NOW)
            .await
            .unwrap()
    );
    assert!(txs::handed_over(&mut tx, old.id, NOW).await.unwrap());
    tx.commit().await.unwrap();
    scene.txs().await.pop().expect("there is one").state
}

/// The newest transaction is in the newest block, as the confirmer writes it.
async fn mined(scene: &mut Scene, ask: &Ask, succeeded: bool) {
    let block = scene.mine(&[]).await;
    let old = scene.txs().await.pop().expect("there is one");
    let inclusion = Inclusion {
        hash: B256::repeat_byte(u8::try_from(old.id).unwrap()),
        block,
        succeeded,
        receipt: "{}".to_owned(),
    };
    let row = scene.request(ask).await.id;
    let mut tx = scene.lead.begin().await.unwrap();
    assert!(
        txs::include(&mut tx, &old, &inclusion, "", NOW)
            .await
            .unwrap()
    );
    if succeeded {
        requests::apply(&mut tx, row, Event::Answered, "", NOW)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

async fn happens(scene: &Scene, ask: &Ask, event: Event) -> Option<State> {
    let row = scene.request(ask).await.id;
    let mut tx = scene.lead.begin().await.unwrap();
    let next = requests::apply(&mut tx, row, event, "", NOW).await.unwrap();
    tx.commit().await.unwrap();
    next
}

#[tokio::test]
async fn mined_again_on_the_same_terms_nothing_is_computed_again() {
    for mut scene in Scene::both().await {
        let ask = queued(&mut scene).await;
        let before = (scene.run_of(&ask).await, scene.only_tx().await);
        scene.rewind(1).await;
        assert_eq!(scene.request(&ask).await.state, State::Orphaned);
        scene.mine(&[]).await;
        let there = scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        scene.run().await;

        let request = scene.request(&ask).await;
        assert_eq!((request.state, request.life), (State::Open, 1));
        assert_eq!(request.incarnation.block, there);
        let (run, tx) = (scene.run_of(&ask).await, scene.only_tx().await);
        assert_eq!(
            (run.id, run.generation, run.state),
            (before.0.id, 1, run::State::Suspended)
        );
        assert_eq!(tx.payload_version, 1);
        assert_eq!(tx.spec.payload, before.1.spec.payload);
        assert_eq!(scene.source.hits(), 1);
    }
}

#[tokio::test]
async fn mined_again_on_other_terms_it_is_encoded_anew_from_what_was_fetched() {
    for state in [tx::State::Queued, tx::State::Sent] {
        for mut scene in Scene::both().await {
            let ask = queued(&mut scene).await;
            if state == tx::State::Sent {
                assert_eq!(sent(&scene).await, state);
            }
            let (run, tasks, old) = {
                let run = scene.run_of(&ask).await;
                let tasks = scene.tasks(run.id).await;
                (run, tasks, scene.only_tx().await)
            };
            scene.rewind(1).await;
            scene.mine(&[ask.later().log()]).await;
            scene.trigger().await;
            scene.run().await;

            let again = scene.run_of(&ask).await;
            assert_eq!((again.id, again.generation), (run.id, 2));
            assert_eq!(again.state, run::State::Suspended);
            assert_eq!(scene.runs().await.len(), 1);
            assert_eq!(scene.source.hits(), 1, "what was fetched is kept");
            let now = scene.tasks(run.id).await;
            let ids = |tasks: &[dodona_store::runs::TaskRun]| -> Vec<_> {
                tasks
                    .iter()
                    .map(|task| (task.dot_id.clone(), task.id))
                    .collect()
            };
            assert_eq!(ids(&now), ids(&tasks));
            let tx = scene.only_tx().await;
            assert_eq!((tx.id, tx.state, tx.payload_version), (old.id, state, 2));
            assert_ne!(tx.spec.payload, old.spec.payload);
            assert!(tx.spec.signal_needed);
        }
    }
}

#[tokio::test]
async fn a_request_that_leaves_before_it_was_confirmed_never_was() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger_with(scene.triggers_wanting(3, 0)).await;
        scene.rewind(1).await;
        scene.mine_empty(5).await;
        scene.trigger_with(scene.triggers_wanting(3, 0)).await;
        assert!(scene.newest(&ask).await.is_none());
        assert_eq!(scene.undecided().await, 0);
    }
}

#[tokio::test]
async fn a_run_on_its_way_is_begun_anew_and_its_old_results_are_dropped() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let gate = Gate::closed();
        scene.source.on(
            "/price",
            Behaviour::Behind(gate.clone(), json!({ "value": 7 })),
        );
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        let mut hand = scene.runner();
        assert_eq!(hand.tick().await.claimed, 1);

        scene.rewind(1).await;
        scene.mine(&[ask.later().log()]).await;
        scene.trigger().await;
        gate.open();
        hand.woken().await;
        hand.work().await;
        let run = scene.run_of(&ask).await;
        assert_eq!((run.generation, run.state), (2, run::State::Suspended));
        let tx = scene.only_tx().await;
        assert_eq!(tx.payload_version, 1, "the old answer was never queued");
        let expiration = U256::from(ask.later().expiration).to_be_bytes_vec();
        assert!(tx.spec.payload.windows(32).any(|word| word == expiration));
    }
}

#[tokio::test]
async fn a_run_that_failed_gets_a_second_chance_when_its_request_comes_back() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        scene
            .source
            .on("/price", Behaviour::Status(500, "out of order".into()));
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        scene.run().await;
        assert_eq!(scene.request(&ask).await.state, State::Failed);

        scene.rewind(1).await;
        assert_eq!(scene.request(&ask).await.state, State::Orphaned);
        scene
            .source
            .on("/price", Behaviour::Answer(json!({ "value": 7 })));
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        scene.run().await;
        let request = scene.request(&ask).await;
        assert_eq!((request.state, request.life), (State::Open, 1));
        assert_eq!(scene.run_of(&ask).await.state, run::State::Suspended);
        assert_eq!(scene.only_tx().await.state, tx::State::Queued);
    }
}

#[tokio::test]
async fn a_run_that_fails_while_its_request_is_off_the_chain_gets_its_second_chance_too() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        scene
            .source
            .on("/price", Behaviour::Status(500, "out of order".into()));
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        let first = scene.run_of(&ask).await;
        scene.rewind(1).await;
        scene.run().await;
        assert_eq!(scene.run_of(&ask).await.state, run::State::Errored);

        scene
            .source
            .on("/price", Behaviour::Answer(json!({ "value": 7 })));
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        scene.run().await;
        let request = scene.request(&ask).await;
        assert_eq!((request.state, request.life), (State::Open, 1));
        assert_eq!(
            request.run_id,
            Some(first.id),
            "the same request, the same run"
        );
        assert_eq!(scene.only_tx().await.state, tx::State::Queued);
    }
}

#[tokio::test]
async fn a_refused_request_that_is_mined_again_stays_refused() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let cheap = Ask {
            payment: 1,
            ..scene.ask(&job)
        };
        scene.mine(&[cheap.log()]).await;
        scene.trigger().await;
        for _ in 0..2 {
            scene.rewind(1).await;
            scene.mine(&[cheap.later().log()]).await;
            scene.trigger().await;
            assert_eq!(scene.request(&cheap).await.state, State::Refused);
        }
        assert_eq!(scene.undecided().await, 0);
        assert!(scene.runs().await.is_empty());
    }
}

#[tokio::test]
async fn a_refused_request_that_comes_back_in_its_own_block_stays_refused() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let cheap = Ask {
            payment: 1,
            ..scene.ask(&job)
        };
        scene.mine(&[cheap.log()]).await;
        scene.trigger().await;
        scene.rewind(1).await;
        scene.returns_to_the_first_branch();
        scene.mine(&[cheap.log()]).await;
        scene.trigger().await;
        assert_eq!(scene.request(&cheap).await.state, State::Refused);
        assert_eq!(scene.undecided().await, 0);
    }
}

#[tokio::test]
async fn a_chain_that_changes_its_mind_back_finds_everything_as_it_was() {
    for mut scene in Scene::both().await {
        let ask = queued(&mut scene).await;
        let before = scene.request(&ask).await;
        scene.rewind(1).await;
        scene.mine_empty(1).await;
        scene.trigger().await;
        scene.rewind(1).await;
        scene.returns_to_the_first_branch();
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        scene.run().await;
        let after = scene.request(&ask).await;
        assert_eq!((after.id, after.state), (before.id, State::Open));
        assert_eq!(after.incarnation, before.incarnation);
        assert_eq!(scene.only_tx().await.payload_version, 1);
        assert_eq!(scene.source.hits(), 1);
    }
}

/// The confirmer may see the answer mined again before the triggers consider the request's new log.
#[tokio::test]
async fn a_request_whose_answer_is_mined_again_first_is_still_the_same_request() {
    for mut scene in Scene::both().await {
        let ask = queued(&mut scene).await;
        sent(&scene).await;
        mined(&mut scene, &ask, true).await;
        assert_eq!(scene.request(&ask).await.state, State::Answered);

        scene.rewind(2).await;
        let mined_tx = scene.only_tx().await;
        let mut tx = scene.lead.begin().await.unwrap();
        assert!(txs::reorged(&mut tx, &mined_tx).await.unwrap());
        tx.commit().await.unwrap();
        let there = scene.mine(&[ask.log()]).await;
        mined(&mut scene, &ask, true).await;
        assert_eq!(scene.request(&ask).await.state, State::Answered);
        scene.trigger().await;

        assert_eq!(scene.undecided().await, 0, "not only once it is final");
        let request = scene.request(&ask).await;
        assert_eq!((request.life, request.state), (1, State::Answered));
        assert_eq!(request.incarnation.block, there);

        assert_eq!(
            happens(&scene, &ask, Event::AnswerFinal).await,
            Some(State::Fulfilled)
        );
        scene.mine_empty(60).await;
        scene.trigger().await;
        scene.run().await;
        assert_eq!(scene.runs().await.len(), 1, "nobody asked twice");
        assert_eq!(scene.source.hits(), 1);
    }
}

#[tokio::test]
async fn a_request_whose_answer_came_and_went_before_its_new_place_was_seen_is_not_forgotten() {
    for mut scene in Scene::both().await {
        let ask = queued(&mut scene).await;
        sent(&scene).await;
        scene.rewind(1).await;
        scene.mine(&[ask.log()]).await;
        mined(&mut scene, &ask, true).await;
        // Only the answer's block goes again.
        scene.rewind(1).await;
        let mined_tx = scene.only_tx().await;
        let mut tx = scene.lead.begin().await.unwrap();
        assert!(txs::reorged(&mut tx, &mined_tx).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(
            happens(&scene, &ask, Event::AnswerOrphaned).await,
            Some(State::Open)
        );
        scene.trigger().await;
        let request = scene.request(&ask).await;
        assert_eq!((request.life, request.state), (1, State::Open));
        assert_eq!(scene.undecided().await, 0);
        assert_eq!(scene.runs().await.len(), 1);
    }
}

#[tokio::test]
async fn a_request_whose_nonce_was_used_up_by_nothing_is_answered_when_it_comes_back() {
    for mut scene in Scene::both().await {
        let ask = queued(&mut scene).await;
        sent(&scene).await;
        scene.rewind(1).await;
        // A transfer of nothing took the nonce, and the waiting task was told what became of it.
        mined(&mut scene, &ask, false).await;
        let lost = scene.only_tx().await;
        scene.tell(&lost, &json!({ "status": "0x1" })).await;
        scene.run().await;
        assert!(scene.run_of(&ask).await.state.is_finished());

        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        scene.run().await;
        let request = scene.request(&ask).await;
        assert_eq!((request.life, request.state), (1, State::Open));
        let txs = scene.txs().await;
        assert_eq!(txs.len(), 2);
        assert!(txs[0].superseded);
        assert_eq!((txs[1].state, txs[1].spec.from), (tx::State::Queued, KEY));
        assert_eq!(txs[1].spec.chain_id, CHAIN);
        assert_eq!(scene.source.hits(), 1, "what was fetched is kept");
    }
}
