//! Which logs start a run, and which do not.

use alloy::primitives::{Address, B256, Bytes};
use dodona_model::request::State;
use dodona_model::{run, tx};
use dodona_runtime::Service;
use dodona_store::{Engine, LeadError, Leader, LeaseConfig, Scope, heads, logs, requests};
use dodona_testkit::contracts::SpecId;
use dodona_testkit::until;

use crate::jobs::{self, Say};
use crate::scene::{Ask, CHAIN, FIRST, NOW, Scene, bare_log};

/// Notes of the logs that were decided, in the order of the chain.
async fn notes(scene: &Scene) -> Vec<String> {
    let sql = "SELECT note FROM logs WHERE state = 'consumed' ORDER BY block_number, log_index";
    match &scene.base.config {
        dodona_store::DatabaseConfig::Sqlite(path) => {
            let url = format!("sqlite://{}", path.display());
            let mut conn = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
                .await
                .unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap()
        }
        dodona_store::DatabaseConfig::Postgres { url, .. } => {
            let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(url)
                .await
                .unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap()
        }
    }
}

#[tokio::test]
async fn a_request_gets_one_row_and_one_run_however_often_it_is_looked_at() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let ask = scene.ask(&job);
        let at = scene.mine(&[ask.log()]).await;
        for _ in 0..3 {
            scene.trigger().await;
        }
        let request = scene.request(&ask).await;
        assert_eq!((request.state, request.life), (State::Open, 1));
        assert_eq!(request.incarnation.block, at);
        let runs = scene.runs().await;
        assert_eq!(runs.len(), 1);
        assert_eq!(
            (runs[0].job_id, runs[0].state),
            (job.id, run::State::Running)
        );
        assert_eq!(request.run_id, Some(runs[0].id));
        assert_eq!(notes(&scene).await, [""]);
    }
}

#[tokio::test]
async fn the_larger_of_global_and_job_confirmations_counts_and_the_own_block_is_the_first() {
    for mut scene in Scene::both().await {
        for (global, own, wanted) in [
            (0, None, 1),
            (1, None, 1),
            (0, Some(0), 1),
            (3, None, 3),
            (3, Some(1), 3),
            (3, Some(5), 5),
            (0, Some(2), 2),
        ] {
            let say = Say {
                min_confirmations: own,
                ..Say::default()
            };
            let dot = jobs::price(&scene.source.url_of("/price"));
            let job = scene.job_that(&dot, &say).await;
            let ask = scene.ask(&job);
            scene.mine(&[ask.log()]).await;
            for confirmations in 1..=wanted {
                assert!(
                    scene.newest(&ask).await.is_none(),
                    "{global} {own:?}: {confirmations}"
                );
                if confirmations > 1 {
                    scene.mine(&[]).await;
                }
                scene.trigger_with(scene.triggers_wanting(global, 0)).await;
            }
            assert!(scene.newest(&ask).await.is_some(), "{global} {own:?}");
        }
    }
}

#[tokio::test]
async fn a_payment_equal_to_the_minimum_is_enough_and_a_job_has_its_own_minimum() {
    for mut scene in Scene::both().await {
        for (own, payment, enough) in [
            (None, 10, true),
            (None, 9, false),
            (Some(200), 200, true),
            (Some(200), 199, false),
            (Some(0), 0, true),
        ] {
            let say = Say {
                min_payment: own,
                ..Say::default()
            };
            let dot = jobs::price(&scene.source.url_of("/price"));
            let job = scene.job_that(&dot, &say).await;
            let ask = Ask {
                payment,
                ..scene.ask(&job)
            };
            scene.mine(&[ask.log()]).await;
            scene.trigger().await;
            let request = scene.request(&ask).await;
            if enough {
                assert_eq!(request.state, State::Open, "{own:?} {payment}");
                continue;
            }
            assert_eq!(request.state, State::Refused, "{own:?} {payment}");
            assert_eq!(request.run_id, None);
            let least = own.unwrap_or(10);
            let said = format!("payment of {payment} juels is below the minimum of {least} juels");
            assert_eq!(request.reason, said);
            assert!(notes(&scene).await.contains(&said));
        }
        assert_eq!(scene.undecided().await, 0);
        assert_eq!(scene.runs().await.len(), 3);
    }
}

#[tokio::test]
async fn what_a_bridge_asks_for_is_asked_of_requests_whose_jobs_use_it() {
    for mut scene in Scene::both().await {
        scene.demanding_bridge("dear", 3, Some(50)).await;
        scene.demanding_bridge("modest", 0, None).await;
        for (bridge, payment, after, state) in [
            ("dear", 50, 3, State::Open),
            ("dear", 49, 3, State::Refused),
            ("modest", 10, 1, State::Open),
        ] {
            let dot = jobs::answering(&jobs::bridge(bridge), "");
            let job = scene.job(&dot).await;
            let ask = Ask {
                payment,
                ..scene.ask(&job)
            };
            scene.mine(&[ask.log()]).await;
            for confirmations in 1..after {
                scene.trigger().await;
                let seen = scene.newest(&ask).await;
                assert!(seen.is_none(), "{bridge} after {confirmations}");
                scene.mine(&[]).await;
            }
            scene.trigger().await;
            assert_eq!(scene.request(&ask).await.state, state, "{bridge} {payment}");
        }
    }
}

#[tokio::test]
async fn only_listed_requesters_get_a_run() {
    for mut scene in Scene::both().await {
        let friend = Address::repeat_byte(0x01);
        let say = Say {
            requesters: vec![Address::repeat_byte(0x02), friend],
            ..Say::default()
        };
        let dot = jobs::price(&scene.source.url_of("/price"));
        let job = scene.job_that(&dot, &say).await;
        let stranger = scene.ask(&job);
        let known = Ask {
            requester: friend,
            ..scene.ask(&job)
        };
        scene.mine(&[stranger.log(), known.log()]).await;
        scene.trigger().await;
        assert_eq!(scene.request(&known).await.state, State::Open);
        let refused = scene.request(&stranger).await;
        assert_eq!(refused.state, State::Refused);
        assert!(
            refused.reason.contains("is not on the job's list"),
            "{}",
            refused.reason
        );
        assert_eq!(scene.runs().await.len(), 1);
    }
}

#[tokio::test]
async fn both_spellings_of_a_jobs_id_start_it_and_an_unknown_id_starts_nothing() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let text = scene.ask(&job);
        let bytes = Ask {
            spec: SpecId::bytes(job.spec.external_job_id).0,
            ..scene.ask(&job)
        };
        let unknown = Ask {
            spec: B256::repeat_byte(0xee),
            ..scene.ask(&job)
        };
        scene.mine(&[text.log(), unknown.log(), bytes.log()]).await;
        scene.trigger().await;
        assert_eq!(scene.request(&text).await.job_id, job.id);
        assert_eq!(scene.request(&bytes).await.job_id, job.id);
        assert!(scene.newest(&unknown).await.is_none());
        assert_eq!(scene.undecided().await, 0);
        assert_eq!(
            notes(&scene).await,
            ["", "no job of this node has that id", ""]
        );
    }
}

#[tokio::test]
async fn a_log_nobody_can_read_is_consumed_with_a_note_and_counted_for_its_job() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let ask = scene.ask(&job);
        let good = scene.ask(&job);
        let mut broken = ask.log();
        broken.data = Bytes::from_static(&[1, 2, 3]);
        let mut bare = ask.log();
        bare.topics.truncate(1);
        scene
            .mine(&[broken.clone(), bare, broken, good.log()])
            .await;
        scene.trigger().await;
        assert_eq!(scene.undecided().await, 0);
        assert_eq!(scene.request(&good).await.state, State::Open);
        let errors = scene.job_errors(job.id).await;
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].0.contains("no readable OracleRequest"),
            "{errors:?}"
        );
        assert_eq!(errors[0].1, 2);
        let notes = notes(&scene).await;
        assert_eq!(notes[0], errors[0].0);
        assert_eq!(notes[1], "the log names no job");
    }
}

#[tokio::test]
async fn numbers_beyond_every_database_column_are_no_reason_to_stop() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let huge = Ask {
            expiration: u64::MAX,
            payment: u64::MAX,
            ..scene.ask(&job)
        };
        scene.mine(&[huge.log()]).await;
        scene.trigger().await;
        assert_eq!(scene.request(&huge).await.state, State::Open);
    }
}

#[tokio::test]
async fn a_cancellation_kills_the_answer_that_nobody_signed_yet() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        scene.run().await;
        assert_eq!(scene.only_tx().await.state, tx::State::Queued);

        scene.mine(&[ask.cancelled()]).await;
        scene.trigger().await;
        let request = scene.request(&ask).await;
        assert_eq!(request.state, State::Cancelled);
        assert_eq!(request.reason, "the requester cancelled it");
        let tx = scene.only_tx().await;
        assert_eq!(
            (tx.state, tx.reason.as_str()),
            (tx::State::Dead, "the requester cancelled it")
        );
        assert!(tx.spec.signal_needed, "the confirmer tells the run");
    }
}

#[tokio::test]
async fn what_is_cancelled_while_its_run_executes_is_not_left_in_the_queue() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        let mut hand = scene.runner();
        assert_eq!(hand.tick().await.claimed, 1);
        hand.woken().await;
        scene.mine(&[ask.cancelled()]).await;
        scene.trigger().await;
        hand.work().await;
        let tx = scene.only_tx().await;
        assert_eq!(tx.state, tx::State::Dead);
        assert!(
            tx.reason.contains("the requester cancelled it"),
            "{}",
            tx.reason
        );
    }
}

#[tokio::test]
async fn what_is_cancelled_while_its_answer_is_being_stored_is_not_left_in_the_queue() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        let mut hand = scene.runner();
        assert_eq!(hand.tick().await.claimed, 1);
        hand.woken().await;
        // The triggers are about to commit a cancellation when the runner begins to store the answer.
        let row = scene.request(&ask).await.id;
        let mut cancel = scene.lead.begin().await.unwrap();
        let event = dodona_model::request::Event::Cancelled;
        let next = requests::apply(&mut cancel, row, event, "taken back", NOW).await;
        assert_eq!(next.unwrap(), Some(State::Cancelled));
        let (did, ()) = tokio::join!(hand.tick(), async {
            if scene.store.engine() == Engine::Postgres {
                until_somebody_waits_for_a_lock(&scene).await;
            }
            cancel.commit().await.unwrap();
        });
        assert_eq!(did.stored, 1);
        let tx = scene.only_tx().await;
        assert_eq!(tx.state, tx::State::Dead);
        assert!(tx.reason.contains("taken back"), "{}", tx.reason);
    }
}

#[tokio::test]
async fn cancelling_what_we_never_ran_changes_nothing() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let foreign = scene.ask(&job);
        let cheap = Ask {
            payment: 1,
            ..scene.ask(&job)
        };
        scene.mine(&[foreign.cancelled(), cheap.log()]).await;
        scene.mine(&[cheap.cancelled()]).await;
        scene.trigger().await;
        assert_eq!(scene.undecided().await, 0);
        assert!(scene.newest(&foreign).await.is_none());
        assert!(scene.runs().await.is_empty());
    }
}

#[tokio::test]
async fn a_closed_request_id_begins_a_second_life() {
    for mut scene in Scene::both().await {
        for last in [State::Fulfilled, State::Cancelled] {
            let job = scene.price_job().await;
            let ask = scene.ask(&job);
            scene.mine(&[ask.log()]).await;
            scene.trigger().await;
            let first = scene.request(&ask).await;
            let mut tx = scene.lead.begin().await.unwrap();
            let event = match last {
                State::Fulfilled => dodona_model::request::Event::AnswerFinal,
                _ => dodona_model::request::Event::Cancelled,
            };
            let next = requests::apply(&mut tx, first.id, event, "", NOW).await;
            assert_eq!(next.unwrap(), Some(last));
            tx.commit().await.unwrap();

            scene.mine(&[ask.later().log()]).await;
            scene.trigger().await;
            let second = scene.request(&ask).await;
            assert_eq!((second.life, second.state), (2, State::Open));
            assert_ne!(second.run_id, first.run_id);
        }
        assert_eq!(scene.runs().await.len(), 4);
    }
}

#[tokio::test]
async fn an_id_that_was_refused_cancelled_and_used_again_stops_nobody() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let cheap = Ask {
            payment: 1,
            ..scene.ask(&job)
        };
        // Anybody can do this to us, for the price of some gas.
        for _ in 0..3 {
            scene.mine(&[cheap.log()]).await;
            scene.mine(&[cheap.cancelled()]).await;
            scene.trigger().await;
        }
        let paid = Ask {
            payment: 100,
            ..cheap.clone()
        };
        let other = scene.ask(&job);
        scene.mine(&[paid.log(), other.log()]).await;
        scene.trigger().await;
        assert_eq!(scene.undecided().await, 0);
        assert_eq!(scene.request(&paid).await.state, State::Open);
        assert_eq!(scene.request(&other).await.state, State::Open);
    }
}

#[tokio::test]
async fn many_requests_that_wait_for_their_confirmations_hold_up_no_other_job() {
    for mut scene in Scene::both().await {
        let patient = Say {
            min_confirmations: Some(50),
            ..Say::default()
        };
        let dot = jobs::price(&scene.source.url_of("/price"));
        let patient = scene.job_that(&dot, &patient).await;
        let quick = scene.price_job().await;
        let waiting: Vec<_> = (0..600u64)
            .map(|n| {
                let ask = Ask {
                    id: B256::left_padding_from(&(n + 1_000).to_be_bytes()),
                    ..scene.ask_again(&patient)
                };
                ask.log()
            })
            .collect();
        scene.mine(&waiting).await;
        let ask = scene.ask(&quick);
        scene.mine(&[ask.log()]).await;
        scene.trigger().await;
        assert_eq!(scene.request(&ask).await.state, State::Open);
        assert_eq!(scene.undecided().await, 600);

        scene.mine_empty(48).await;
        scene.trigger().await;
        assert_eq!(scene.undecided().await, 0);
        assert_eq!(scene.runs().await.len(), 601);
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_stored_holds_up_no_other_one() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let asks: Vec<Ask> = (0..3).map(|_| scene.ask(&job)).collect();
        let logs: Vec<_> = asks.iter().map(Ask::log).collect();
        scene
            .base
            .refuse("INSERT", "requests", "NEW.log_index = 1")
            .await;
        scene.mine(&logs).await;
        let mut triggers = scene.triggers();
        let text = format!("{:#}", triggers.tick(&scene.lead).await.unwrap_err());
        assert!(text.contains("refused by the test"), "{text}");
        assert_eq!(scene.undecided().await, 1);
        assert_eq!(scene.request(&asks[0]).await.state, State::Open);
        assert_eq!(scene.request(&asks[2]).await.state, State::Open);
        assert_eq!(scene.runs().await.len(), 2, "nothing half of the other");

        scene.base.accept("requests").await;
        scene.trigger().await;
        assert_eq!(scene.request(&asks[1]).await.state, State::Open);
        assert_eq!(scene.runs().await.len(), 3);
    }
}

#[tokio::test]
async fn mark_request_and_run_are_stored_together_or_not_at_all() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let ask = scene.ask(&job);
        for (what, table, condition) in [
            ("UPDATE", "logs", "NEW.state = 'consumed'"),
            ("INSERT", "runs", "NEW.job_id > 0"),
            ("INSERT", "requests", "NEW.job_id > 0"),
        ] {
            scene.base.refuse(what, table, condition).await;
            if scene.undecided().await == 0 {
                scene.mine(&[ask.log()]).await;
            }
            scene.triggers().tick(&scene.lead).await.unwrap_err();
            scene.base.accept(table).await;
            assert_eq!(scene.undecided().await, 1, "{table}");
            assert!(scene.newest(&ask).await.is_none(), "{table}");
            assert!(scene.runs().await.is_empty(), "{table}");
        }
    }
}

#[tokio::test]
async fn a_log_that_leaves_the_chain_while_it_is_considered_undoes_the_whole_round() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let (kept, lost) = (scene.ask(&job), scene.ask(&job));
        scene.mine(&[kept.log()]).await;
        scene.mine(&[lost.log()]).await;

        // The scanner holds a rewind of the newest block while the triggers begin.
        let mut rewind = scene.lead.begin().await.unwrap();
        heads::rewind(&mut rewind, CHAIN, FIRST + 1, NOW)
            .await
            .unwrap();
        let mut triggers = scene.triggers();
        let (round, ()) = tokio::join!(triggers.tick(&scene.lead), async {
            if scene.store.engine() == Engine::Postgres {
                until_somebody_waits_for_a_lock(&scene).await;
            }
            rewind.commit().await.unwrap();
        });
        assert!(scene.newest(&lost).await.is_none());
        if scene.store.engine() == Engine::Postgres {
            let text = format!("{:#}", round.unwrap_err());
            assert!(
                text.contains("left the chain while it was considered"),
                "{text}"
            );
        }
        scene.trigger().await;
        assert_eq!(scene.request(&kept).await.state, State::Open);
        assert!(scene.newest(&lost).await.is_none());
        assert_eq!(scene.runs().await.len(), 1);
    }
}

async fn until_somebody_waits_for_a_lock(scene: &Scene) {
    let dodona_store::DatabaseConfig::Postgres { url, .. } = &scene.base.config else {
        panic!("only a server says who waits");
    };
    let conn = <sqlx::PgConnection as sqlx::Connection>::connect(url)
        .await
        .unwrap();
    let conn = tokio::sync::Mutex::new(conn);
    until("somebody waits for a lock", async || {
        let mut conn = conn.lock().await;
        let waiting: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn deposed_triggers_decide_nothing() {
    for mut scene in Scene::both().await {
        let job = scene.price_job().await;
        let ask = scene.ask(&job);
        scene.mine(&[ask.log()]).await;
        scene.lead.release().await.unwrap();
        let config = LeaseConfig::default();
        let scope = Scope::chain(CHAIN);
        let successor = Leader::try_acquire(&scene.store, &scope, "another", &config).await;
        let successor = successor.unwrap().expect("it was given back");
        let cause = scene.triggers().tick(&scene.lead).await.unwrap_err();
        assert!(
            matches!(cause.downcast_ref(), Some(LeadError::Deposed(_))),
            "{cause:#}"
        );
        assert_eq!(scene.undecided().await, 1);

        scene.lead = successor;
        scene.trigger().await;
        assert_eq!(scene.request(&ask).await.state, State::Open);
    }
}

#[tokio::test]
async fn events_that_mean_nothing_to_us_are_consumed() {
    for mut scene in Scene::both().await {
        let other = bare_log(vec![B256::repeat_byte(0x99)], Bytes::new());
        let none = bare_log(Vec::new(), Bytes::new());
        scene.mine(&[other, none]).await;
        scene.trigger().await;
        assert_eq!(scene.undecided().await, 0);
        assert_eq!(logs_of(&scene).await, 0);
    }
}

async fn logs_of(scene: &Scene) -> usize {
    let mut conn = scene.read().await;
    logs::pending(&mut conn, CHAIN, u64::MAX >> 1, 10)
        .await
        .unwrap()
        .len()
}
