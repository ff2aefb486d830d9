//! Transactions: one living one per task run, only along the arrows, one nonce once.

use dodona_model::request::State as Request;
use dodona_model::tx::{EVENTS, Event, STATES, State};
use dodona_model::{TxId, U256};
use dodona_store::requests;
use dodona_store::txs::{self, Inclusion, NewTx, Tx};
use dodona_store::{Result, StoreError, heads, keys};
use uuid::Uuid;

use crate::world::{CHAIN, NOW, World, address, after, attempt, block, hash, incarnation, payment};

fn answer(n: u8) -> NewTx {
    NewTx {
        task_run_id: Some(Uuid::from_u128(7)),
        signal_needed: true,
        ..payment(n)
    }
}

fn inclusion(succeeded: bool) -> Inclusion {
    Inclusion {
        hash: hash(0x11),
        block: block(20, 1),
        succeeded,
        receipt: "{}".to_owned(),
    }
}

/// Lets `event` happen to `old`, as the stages do.
async fn happens(world: &World, old: &Tx, event: Event, succeeded: bool) -> Result<bool> {
    let mut tx = world.lead().await;
    let mark = u8::try_from(old.id).expect("tests count to 255");
    let done = match event {
        Event::Signed => {
            txs::sign(
                &mut tx,
                old,
                1000 + u64::from(mark),
                &attempt(old, mark),
                NOW,
            )
            .await
        }
        Event::HandedOver => txs::handed_over(&mut tx, old.id, NOW).await,
        Event::Included => txs::include(&mut tx, old, &inclusion(succeeded), "", NOW).await,
        Event::Reorged => txs::reorged(&mut tx, old).await,
        Event::Finalized => {
            let done = txs::finalize_each(&mut tx, &[old]).await;
            done.map(|done| done == [old.id])
        }
        Event::Refused | Event::NonceLost => txs::die(&mut tx, old, event, "given up").await,
    };
    tx.commit().await?;
    done
}

/// Moves a transaction along `events`.
async fn moved(world: &World, mut tx: Tx, events: &[Event], succeeded: bool) -> Tx {
    for event in events {
        assert!(happens(world, &tx, *event, succeeded).await.unwrap());
        tx = world.tx(tx.id).await;
    }
    tx
}

fn way_to(state: State) -> &'static [Event] {
    use Event::{Finalized, HandedOver, Included, Refused, Signed};
    match state {
        State::Queued => &[],
        State::Signed => &[Signed],
        State::Sent => &[Signed, HandedOver],
        State::Mined => &[Signed, HandedOver, Included],
        State::Final => &[Signed, HandedOver, Included, Finalized],
        State::Dead => &[Refused],
    }
}

async fn queue_again(world: &World, new: &NewTx) -> TxId {
    world.queue(new).await.id
}

#[tokio::test]
async fn an_equal_answer_of_a_task_run_stays_as_it_is() {
    for world in World::both().await {
        for state in [
            State::Queued,
            State::Signed,
            State::Sent,
            State::Mined,
            State::Final,
        ] {
            let new = NewTx {
                task_run_id: Some(Uuid::from_u128(state as u128)),
                ..answer(1)
            };
            let first = moved(&world, world.queue(&new).await, way_to(state), true).await;
            assert_eq!(queue_again(&world, &new).await, first.id, "{state:?}");
            let now = world.tx(first.id).await;
            assert_eq!((now.state, now.payload_version), (state, 1));
            assert_eq!(now.nonce, first.nonce);
        }
    }
}

#[tokio::test]
async fn another_answer_of_a_task_run_replaces_it_at_the_same_nonce_and_by_the_same_key() {
    for world in World::both().await {
        for state in [State::Queued, State::Signed, State::Sent, State::Mined] {
            let task_run_id = Some(Uuid::from_u128(state as u128));
            let new = NewTx {
                task_run_id,
                ..answer(1)
            };
            let first = moved(&world, world.queue(&new).await, way_to(state), true).await;
            let anew = NewTx {
                task_run_id,
                to: address(0x0f),
                from: address(0xf1),
                gas_limit: 700_000,
                ..answer(2)
            };
            assert_eq!(queue_again(&world, &anew).await, first.id, "{state:?}");
            let now = world.tx(first.id).await;
            assert_eq!((now.state, now.nonce), (state, first.nonce));
            assert_eq!(now.payload_version, 2);
            assert_eq!(now.spec.payload, anew.payload);
            // A forwarder's call data with the oracle's address would pay for a revert.
            assert_eq!((now.spec.to, now.spec.gas_limit), (anew.to, 700_000));
            let key = if state == State::Queued {
                anew.from
            } else {
                new.from
            };
            assert_eq!(now.spec.from, key, "{state:?}");
        }
    }
}

#[tokio::test]
async fn a_lost_answer_of_a_task_run_is_superseded_by_a_fresh_one() {
    for world in World::both().await {
        let mut lost = Vec::new();
        for state in [State::Dead, State::Mined, State::Final] {
            let old = moved(&world, world.queue(&answer(1)).await, way_to(state), false).await;
            assert_eq!(old.state, state);
            lost.push(old.id);
        }
        let living = world.queue(&answer(1)).await;
        assert_eq!((living.state, living.nonce), (State::Queued, None));
        for id in lost {
            let old = world.tx(id).await;
            assert!(old.superseded && !old.spec.signal_needed);
        }
        let mut tx = world.begin().await;
        let found = txs::living_of(&mut tx, Uuid::from_u128(7)).await.unwrap();
        assert_eq!(found.unwrap().id, living.id);
    }
}

#[tokio::test]
async fn what_is_said_again_is_never_older_than_what_its_task_says_by_now() {
    for world in World::both().await {
        let reverted = moved(
            &world,
            world.queue(&answer(1)).await,
            way_to(State::Mined),
            false,
        )
        .await;
        let newer = world.queue(&answer(2)).await;
        assert_ne!(newer.id, reverted.id);
        let mut tx = world.lead().await;
        assert!(!txs::queue_again(&mut tx, &reverted, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let now = world.tx(newer.id).await;
        assert_eq!(
            (&now.spec.payload, now.payload_version, now.state),
            (&answer(2).payload, 1, State::Queued)
        );

        // Its nonce is lost while its task encodes another answer: that one is what is queued.
        let before = moved(&world, now, &[Event::Signed], true).await;
        queue_again(&world, &answer(3)).await;
        let mut tx = world.lead().await;
        assert!(
            txs::die(&mut tx, &before, Event::NonceLost, "lost")
                .await
                .unwrap()
        );
        assert!(txs::queue_again(&mut tx, &before, NOW).await.unwrap());
        tx.commit().await.unwrap();
        let again = queue_again(&world, &answer(3)).await;
        assert_ne!(again, before.id);
        assert_eq!(world.tx(again).await.spec.payload, answer(3).payload);
        assert!(world.tx(before.id).await.superseded);
    }
}

#[tokio::test]
async fn a_task_that_waits_again_for_an_equal_answer_is_told_again() {
    for world in World::both().await {
        let mined = moved(
            &world,
            world.queue(&answer(1)).await,
            way_to(State::Final),
            true,
        )
        .await;
        let mut tx = world.lead().await;
        assert!(txs::signalled(&mut tx, mined.id).await.unwrap());
        tx.commit().await.unwrap();
        queue_again(&world, &answer(1)).await;
        let mut conn = world.read().await;
        let awaited = txs::awaited_dead(&mut conn, CHAIN, 9).await.unwrap();
        assert_eq!(
            awaited.iter().map(|tx| tx.id).collect::<Vec<_>>(),
            [mined.id]
        );
    }
}

#[tokio::test]
async fn an_answer_that_was_given_up_is_revived_under_a_version_no_attempt_carries() {
    for world in World::both().await {
        for (n, anew) in [(1, answer(1)), (2, answer(9))] {
            let task_run_id = Some(Uuid::from_u128(n));
            let new = NewTx {
                task_run_id,
                ..answer(1)
            };
            let first = moved(&world, world.queue(&new).await, way_to(State::Sent), true).await;
            let mut tx = world.lead().await;
            assert!(txs::give_up(&mut tx, first.id, "hopeless").await.unwrap());
            tx.commit().await.unwrap();
            assert_eq!(world.tx(first.id).await.payload_version, 0);

            let anew = NewTx {
                task_run_id,
                ..anew
            };
            assert_eq!(queue_again(&world, &anew).await, first.id);
            let now = world.tx(first.id).await;
            assert_eq!((now.payload_version, now.reason.as_str()), (2, ""));
            assert_eq!((now.state, now.nonce), (State::Sent, first.nonce));
        }
    }
}

async fn queued(world: &World) -> Vec<TxId> {
    let mut conn = world.read().await;
    let txs = txs::queued(&mut conn, CHAIN, address(0xf0), after(9), 99).await;
    txs.unwrap().iter().map(|tx| tx.id).collect()
}

#[tokio::test]
async fn an_answer_waits_while_its_request_is_off_the_chain() {
    for world in World::both().await {
        let (_, _, row) = world.open_request(1).await;
        let other = world.queue(&payment(9)).await.id;
        let new = NewTx {
            request_row: Some(row),
            ..payment(1)
        };
        let answer = world.queue(&new).await.id;
        assert_eq!(queued(&world).await, [other, answer]);

        let mut tx = world.lead().await;
        heads::rewind(&mut tx, CHAIN, 9, after(1)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(queued(&world).await, [other]);

        let mut tx = world.lead().await;
        let (from, to) = (Request::Orphaned, Request::Open);
        let at = incarnation(block(11, 2));
        requests::reincarnate(&mut tx, row, from, to, &at, after(2))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(queued(&world).await, [other, answer]);
    }
}

#[tokio::test]
async fn money_moves_only_along_the_arrows() {
    for world in World::both().await {
        for state in STATES {
            for event in EVENTS {
                let old = moved(&world, world.queue(&payment(1)).await, way_to(state), true).await;
                let done = happens(&world, &old, event, true).await;
                let now = world.tx(old.id).await;
                match (state.on(event), done) {
                    (Ok(next), Ok(true)) => assert_eq!(now.state, next, "{state:?} {event:?}"),
                    (Err(_), Err(StoreError::Illegal(refused))) => {
                        assert_eq!((refused.state, refused.event), (state, event));
                        assert_eq!(now.state, state);
                    }
                    // Its caller holds no old state that could be wrong.
                    (Err(_), Ok(false)) if event == Event::HandedOver => {
                        assert_eq!(now.state, state);
                    }
                    (allowed, done) => panic!("{state:?} {event:?}: {allowed:?}, yet {done:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn what_was_read_before_somebody_moved_it_changes_nothing() {
    for world in World::both().await {
        for event in [Event::Signed, Event::Refused] {
            let read = world.queue(&payment(1)).await;
            let moved = moved(&world, read.clone(), way_to(State::Sent), true).await;
            assert!(!happens(&world, &read, event, true).await.unwrap());
            assert_eq!(world.tx(read.id).await.state, moved.state);
        }
        let read = world.queue(&answer(1)).await;
        queue_again(&world, &answer(2)).await;
        assert!(!happens(&world, &read, Event::Signed, true).await.unwrap());
        let now = world.tx(read.id).await;
        assert_eq!((now.state, now.nonce), (State::Queued, None));
        let mut conn = world.read().await;
        assert!(txs::attempts(&mut conn, read.id).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_nonce_is_taken_once() {
    for world in World::both().await {
        let (one, two) = (
            world.queue(&payment(1)).await,
            world.queue(&payment(2)).await,
        );
        let mut tx = world.lead().await;
        assert!(
            txs::sign(&mut tx, &one, 5, &attempt(&one, 1), NOW)
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
        let mut tx = world.lead().await;
        let twice = txs::sign(&mut tx, &two, 5, &attempt(&two, 2), NOW).await;
        assert!(twice.unwrap_err().is_duplicate());
        drop(tx);
        // Not even after the first was given up: it may still be mined.
        let one = world.tx(one.id).await;
        assert!(happens(&world, &one, Event::NonceLost, true).await.unwrap());
        let mut tx = world.lead().await;
        let twice = txs::sign(&mut tx, &two, 5, &attempt(&two, 2), NOW).await;
        assert!(twice.unwrap_err().is_duplicate());
        drop(tx);

        let mut tx = world.lead().await;
        keys::enable(&mut tx, CHAIN, address(0xf0), NOW)
            .await
            .unwrap();
        for (from, to, taken) in [(0, 3, true), (0, 5, false), (3, 4, true)] {
            let done = keys::take_nonces(&mut tx, CHAIN, address(0xf0), from, to).await;
            assert_eq!(done.unwrap(), taken);
        }
    }
}

#[tokio::test]
async fn amounts_sort_by_value_and_come_back_whole() {
    let values = [
        U256::ZERO,
        U256::from(9),
        U256::from(10),
        U256::from(255),
        U256::from(256),
        U256::from(u64::MAX),
        U256::from(u64::MAX) + U256::from(1),
        U256::from(1) << 255,
        U256::MAX,
    ];
    for world in World::both().await {
        for value_wei in values.iter().rev() {
            let new = NewTx {
                value_wei: *value_wei,
                ..payment(1)
            };
            world.queue(&new).await;
        }
        let mut conn = world.read().await;
        let sorted = txs::queued(&mut conn, CHAIN, address(0xf0), NOW, 99).await;
        let sorted: Vec<_> = sorted.unwrap().iter().map(|tx| tx.spec.value_wei).collect();
        assert_eq!(sorted, values);
    }
}
