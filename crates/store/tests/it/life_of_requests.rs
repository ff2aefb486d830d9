//! Blocks, the logs in them and the requests they carry, when the chain changes its mind.

use dodona_model::BlockRef;
use dodona_model::request::{Event, State};
use dodona_store::requests::{self, Incarnation, NewRequest};
use dodona_store::{StoreError, heads, jobs, logs};
use dodona_testkit::until;

use crate::world::{Base, CHAIN, NOW, World, after, block, hash, head, incarnation, job, log};
use crate::world::{address, request};

async fn with_blocks(world: &World, numbers: std::ops::RangeInclusive<u64>) {
    let mut tx = world.lead().await;
    for number in numbers {
        heads::insert(&mut tx, CHAIN, &head(number, 1))
            .await
            .unwrap();
        logs::insert(&mut tx, CHAIN, &log(block(number, 1), 0))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

async fn canonical(world: &World, at: BlockRef) -> bool {
    let mut conn = world.read().await;
    let head = heads::by_hash(&mut conn, CHAIN, at.hash).await.unwrap();
    head.expect("it was seen").canonical
}

async fn pending(world: &World) -> Vec<u64> {
    let mut conn = world.read().await;
    let logs = logs::pending(&mut conn, CHAIN, u64::MAX, 99).await.unwrap();
    logs.iter().map(|log| log.block.number).collect()
}

#[tokio::test]
async fn a_rewind_orphans_heads_logs_and_requests_in_one_transaction() {
    for world in World::both().await {
        with_blocks(&world, 8..=11).await;
        let (_, _, row) = world.open_request(1).await;

        let mut tx = world.lead().await;
        let gone = heads::rewind(&mut tx, CHAIN, 9, after(1)).await.unwrap();
        assert_eq!(gone, 2);
        drop(tx);
        assert!(canonical(&world, block(10, 1)).await);
        assert_eq!(pending(&world).await, [8, 9, 10, 11]);
        assert_eq!(world.request(row).await.state, State::Open);

        let mut tx = world.lead().await;
        heads::rewind(&mut tx, CHAIN, 9, after(1)).await.unwrap();
        tx.commit().await.unwrap();
        assert!(canonical(&world, block(9, 1)).await);
        assert!(!canonical(&world, block(10, 1)).await);
        assert_eq!(pending(&world).await, [8, 9]);
        let orphan = world.request(row).await;
        assert_eq!(orphan.state, State::Orphaned);
        assert_eq!(orphan.reason, "its block left the canonical chain");
    }
}

#[tokio::test]
async fn a_log_that_comes_back_with_its_block_is_pending_again() {
    for world in World::both().await {
        with_blocks(&world, 9..=10).await;
        let mut tx = world.lead().await;
        for log in logs::pending(&mut tx, CHAIN, 10, 9).await.unwrap() {
            assert!(logs::consume(&mut tx, log.id, "").await.unwrap());
        }
        heads::rewind(&mut tx, CHAIN, 9, after(1)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(pending(&world).await, [0u64; 0]);

        let mut tx = world.lead().await;
        for (number, back) in [(9, false), (10, true)] {
            heads::insert(&mut tx, CHAIN, &head(number, 1))
                .await
                .unwrap();
            let news = logs::insert(&mut tx, CHAIN, &log(block(number, 1), 0)).await;
            assert_eq!(news.unwrap(), back, "{number}");
        }
        tx.commit().await.unwrap();
        assert!(canonical(&world, block(10, 1)).await);
        assert_eq!(pending(&world).await, [10]);
    }
}

#[tokio::test]
async fn only_one_block_is_believed_at_a_height() {
    for world in World::both().await {
        with_blocks(&world, 9..=10).await;
        let mut tx = world.lead().await;
        let rival = heads::insert(&mut tx, CHAIN, &head(10, 2)).await;
        assert!(rival.unwrap_err().is_duplicate());
        drop(tx);

        let mut tx = world.lead().await;
        heads::rewind(&mut tx, CHAIN, 9, after(1)).await.unwrap();
        heads::insert(&mut tx, CHAIN, &head(10, 2)).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = world.read().await;
        let now = heads::canonical_at(&mut conn, CHAIN, 10).await.unwrap();
        assert_eq!(now.unwrap().block, block(10, 2));
    }
}

#[tokio::test]
async fn a_request_that_is_mined_again_stays_the_same_row_with_its_run() {
    for world in World::both().await {
        let (_, run, row) = world.open_request(1).await;
        let before = world.request(row).await;
        let mut tx = world.lead().await;
        heads::rewind(&mut tx, CHAIN, 9, after(1)).await.unwrap();
        let at = Incarnation {
            expires_at_seconds: 1_700_000_999,
            ..incarnation(block(12, 2))
        };
        let (from, to) = (State::Orphaned, State::Open);
        let done = requests::reincarnate(&mut tx, row, from, to, &at, after(2)).await;
        assert!(done.unwrap());
        tx.commit().await.unwrap();

        let mut conn = world.read().await;
        let newest = requests::newest_life(&mut conn, CHAIN, address(0x0a), hash(1)).await;
        let newest = newest.unwrap().unwrap();
        assert_eq!((newest.id, newest.life), (row, 1));
        assert_eq!((newest.state, newest.run_id), (State::Open, Some(run)));
        assert_eq!(newest.incarnation, at);
        assert_eq!(newest.created_at, before.created_at);
    }
}

/// Every state of a request that has a run, how it gets there, and whether its answer may still come.
fn ways() -> [(State, &'static [Event], bool); 6] {
    [
        (State::Open, &[], true),
        (State::Orphaned, &[Event::Orphaned], true),
        (State::Answered, &[Event::Answered], true),
        (State::Failed, &[Event::Failed], false),
        (State::Cancelled, &[Event::Cancelled], false),
        (
            State::Fulfilled,
            &[Event::Answered, Event::AnswerFinal],
            false,
        ),
    ]
}

#[tokio::test]
async fn a_request_id_begins_a_second_life_only_when_the_first_can_no_longer_be_answered() {
    for world in World::both().await {
        for (n, (state, way, alive)) in (1..).zip(ways()) {
            let (job, _, row) = world.open_request(n).await;
            let mut tx = world.lead().await;
            for event in way {
                let next = requests::apply(&mut tx, row, *event, "", after(1)).await;
                assert!(next.unwrap().is_some());
            }
            let second = NewRequest {
                life: 2,
                ..request(job, n)
            };
            let begun = requests::insert(&mut tx, &second, after(2)).await;
            tx.commit().await.unwrap();
            assert_eq!(world.request(row).await.state, state);
            match begun {
                Err(error) => {
                    assert!(matches!(error, StoreError::StillAlive { .. }), "{error}");
                    assert!(alive, "{state:?}");
                }
                Ok(second) => {
                    assert!(!alive, "{state:?}");
                    let second = world.request(second).await;
                    assert_eq!((second.life, second.run_id), (2, None));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_life_is_stored_once() {
    for world in World::both().await {
        let (job, _, row) = world.open_request(1).await;
        let mut tx = world.lead().await;
        let twice = requests::insert(&mut tx, &request(job, 1), after(1)).await;
        assert!(twice.unwrap_err().is_duplicate());
        drop(tx);
        assert_eq!(world.request(row).await.created_at, NOW);
    }
}

#[tokio::test]
async fn a_refused_request_leaves_its_id_to_the_next_one() {
    for world in World::both().await {
        let mut tx = world.lead().await;
        let job = jobs::insert(&mut tx, &job(1), NOW).await.unwrap();
        for life in 1..=3 {
            let refused = NewRequest {
                life,
                state: State::Refused,
                reason: "paid too little".to_owned(),
                ..request(job, 1)
            };
            requests::insert(&mut tx, &refused, NOW).await.unwrap();
            // Its block leaving the chain changes nothing about that.
            heads::rewind(&mut tx, CHAIN, 9, after(1)).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn an_event_waits_for_another_replicas_change_and_is_not_lost() {
    let world = World::on(Base::postgres().await).await;
    let (_, _, row) = world.open_request(1).await;
    let replica = world.base.open().await;
    let mut theirs = replica.begin().await.unwrap();
    let failed = requests::apply(&mut theirs, row, Event::Failed, "no data", after(1)).await;
    assert_eq!(failed.unwrap(), Some(State::Failed));

    let mut raw = world.base.raw_postgres().await;
    let mut ours = world.lead().await;
    let rewind = tokio::spawn(async move {
        heads::rewind(&mut ours, CHAIN, 9, after(2)).await.unwrap();
        ours.commit().await.unwrap();
    });
    until_somebody_waits_for_a_lock(&mut raw).await;
    theirs.commit().await.unwrap();
    rewind.await.unwrap();
    assert_eq!(world.request(row).await.state, State::Orphaned);
}

pub(crate) async fn until_somebody_waits_for_a_lock(raw: &mut sqlx::PgConnection) {
    const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let raw = tokio::sync::Mutex::new(raw);
    until("somebody waits for a lock", async || {
        let mut conn = raw.lock().await;
        let waiting: i64 = sqlx::query_scalar(WAITING)
            .fetch_one(&mut **conn)
            .await
            .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
}
