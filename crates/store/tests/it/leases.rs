//! Leading is something one holds, and loses as a value.

use std::time::Duration;

use dodona_store::{DatabaseConfig, LeadError, Leader, LeaseConfig, Scope, Store};
use dodona_store::{heads, warnings};
use dodona_testkit::until;

use crate::life_of_requests::until_somebody_waits_for_a_lock;
use crate::world::{Base, CHAIN, NOW, World, lead, lead_for};

/// Far longer than any test: whoever takes over sooner was not waiting for the clock.
const HOUR: Duration = Duration::from_secs(3600);

fn is_deposed<T: std::fmt::Debug>(done: Result<T, LeadError>) -> bool {
    matches!(done, Err(LeadError::Deposed(scope)) if scope == Scope::chain(CHAIN))
}

/// Ends the session that holds the lease, as when its process is killed.
async fn cut_session(raw: &mut sqlx::PgConnection) {
    const CUT: &str = "SELECT pg_terminate_backend(CAST(SPLIT_PART(session, ' ', 1) AS INT)) FROM lease_heartbeats";
    let cut: Vec<bool> = sqlx::query_scalar(CUT).fetch_all(&mut *raw).await.unwrap();
    assert_eq!(cut, [true]);
}

async fn takes_over(store: &Store) -> Leader {
    until("the standby leads", async || lead_for(store, HOUR).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_replicas_leads_a_scope() {
    let base = Base::postgres().await;
    let mut racers = Vec::new();
    for _ in 0..8 {
        let store = base.open().await;
        racers.push(tokio::spawn(async move { lead_for(&store, HOUR).await }));
    }
    let mut leaders = Vec::new();
    for racer in racers {
        leaders.extend(racer.await.unwrap());
    }
    assert_eq!(leaders.len(), 1);
    assert_eq!(leaders[0].epoch(), 1);

    let store = base.open().await;
    let config = LeaseConfig::default();
    let other = Leader::try_acquire(&store, &Scope::schedule(), "me", &config).await;
    assert!(other.unwrap().is_some(), "another scope is another lease");
}

#[tokio::test]
async fn a_deposed_leader_is_told_so_and_writes_nothing() {
    let world = World::on(Base::postgres().await).await;
    let standby = world.base.open().await;
    assert!(lead_for(&standby, HOUR).await.is_none());
    cut_session(&mut world.base.raw_postgres().await).await;
    let successor = takes_over(&standby).await;

    assert!(successor.epoch() > world.leader.epoch());
    assert!(is_deposed(world.leader.begin().await));
    assert!(is_deposed(world.leader.prove().await));
    successor.prove().await.unwrap();
    until("the old leader hears of it", async || {
        is_deposed(world.leader.renew().await).then_some(())
    })
    .await;
    let mut tx = successor.begin().await.unwrap();
    heads::add_filter(&mut tx, CHAIN, crate::world::address(1), 0)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    world.leader.release().await.unwrap();
    successor.renew().await.unwrap();
}

#[tokio::test]
async fn a_challenger_waits_for_a_write_under_way() {
    let world = World::on(Base::postgres().await).await;
    let standby = world.base.open().await;
    let mut raw = world.base.raw_postgres().await;
    let mut tx = world.lead().await;
    warnings::set(&mut tx, "written", "by the old leader", NOW)
        .await
        .unwrap();
    cut_session(&mut raw).await;
    let challenger = tokio::spawn(async move { takes_over(&standby).await });
    until_somebody_waits_for_a_lock(&mut raw).await;
    assert!(!challenger.is_finished());

    tx.commit().await.unwrap();
    let successor = challenger.await.unwrap();
    assert!(is_deposed(world.leader.begin().await));
    let mut tx = successor.begin().await.unwrap();
    assert_eq!(warnings::list(&mut tx).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_killed_holder_is_succeeded_at_once() {
    let base = Base::postgres().await;
    let (first, standby) = (base.open().await, base.open().await);
    let leader = lead_for(&first, HOUR).await.unwrap();
    assert!(lead_for(&standby, HOUR).await.is_none());
    // What the kernel does for a killed process: its connections close.
    drop(leader);
    takes_over(&standby).await;
}

#[tokio::test]
async fn a_frozen_holder_is_succeeded_when_its_time_is_over() {
    let base = Base::postgres().await;
    let (first, standby) = (base.open().await, base.open().await);
    let frozen = lead_for(&first, Duration::from_secs(5)).await.unwrap();
    assert!(lead_for(&standby, HOUR).await.is_none());
    let successor = takes_over(&standby).await;
    assert!(successor.epoch() > frozen.epoch());
    assert!(is_deposed(frozen.begin().await));
    assert!(is_deposed(frozen.renew().await));
}

#[tokio::test]
async fn a_write_whose_leader_froze_is_ended_by_the_server() {
    let world = World::on(Base::postgres().await).await;
    let standby = world.base.open().await;
    let mut frozen = world.lead().await;
    warnings::set(&mut frozen, "half", "a write", NOW)
        .await
        .unwrap();
    cut_session(&mut world.base.raw_postgres().await).await;
    let mut tx = takes_over(&standby).await.begin().await.unwrap();
    assert!(frozen.commit().await.is_err());
    assert!(warnings::list(&mut tx).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_renewal_puts_the_end_of_the_lease_off() {
    const ENDS: &str = "SELECT expires_at FROM lease_heartbeats";
    let world = World::on(Base::postgres().await).await;
    let mut raw = world.base.raw_postgres().await;
    let before: i64 = sqlx::query_scalar(ENDS).fetch_one(&mut raw).await.unwrap();
    world.leader.renew().await.unwrap();
    let after: i64 = sqlx::query_scalar(ENDS).fetch_one(&mut raw).await.unwrap();
    assert!(after > before);
}

#[tokio::test]
async fn a_leader_that_lost_only_its_session_opens_another() {
    let world = World::on(Base::postgres().await).await;
    cut_session(&mut world.base.raw_postgres().await).await;
    assert!(world.leader.renew().await.is_err(), "the cut is noticed");
    world.leader.renew().await.unwrap();
    world.leader.renew().await.unwrap();
    let standby = world.base.open().await;
    assert!(lead_for(&standby, HOUR).await.is_none());
    world.lead().await.commit().await.unwrap();
}

#[tokio::test]
async fn a_released_lease_is_free_at_once_and_its_holder_deposed() {
    for base in Base::both().await {
        let store = base.open().await;
        let mut epochs = Vec::new();
        for _ in 0..3 {
            let leader = lead_for(&store, HOUR).await.unwrap();
            leader.renew().await.unwrap();
            epochs.push(leader.epoch());
            leader.release().await.unwrap();
            assert!(is_deposed(leader.begin().await));
            assert!(is_deposed(leader.prove().await));
            assert!(is_deposed(leader.renew().await));
        }
        assert_eq!(epochs, [1, 2, 3], "epochs only grow");
    }
}

#[tokio::test]
async fn an_sqlite_lease_is_taken_at_once_by_the_next_process() {
    let base = Base::sqlite();
    let store = base.open().await;
    let first = lead_for(&store, HOUR).await.unwrap();
    let epoch = first.epoch();
    store.close().await;
    drop((first, store)); // killed: it gave nothing back
    let store = base.open().await;
    assert!(lead(&store).await.unwrap().epoch() > epoch);
}

#[tokio::test]
async fn an_sqlite_leader_whose_scope_was_taken_again_is_deposed() {
    let base = Base::sqlite();
    let store = base.open().await;
    let (first, second) = (lead(&store).await.unwrap(), lead(&store).await.unwrap());
    assert!(is_deposed(first.begin().await));
    assert!(is_deposed(first.renew().await));
    second.renew().await.unwrap();
    second.begin().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn many_led_scopes_leave_connections_for_everybody_else() {
    let [file, server] = Base::both().await;
    let DatabaseConfig::Postgres { url, .. } = &server.config else {
        unreachable!("it is a server")
    };
    let narrow = DatabaseConfig::Postgres {
        url: url.clone(),
        max_connections: 2,
    };
    for config in [&file.config, &narrow] {
        let store = Store::open(config, Default::default()).await.unwrap();
        let mut leaders = Vec::new();
        for chain in 1..=9 {
            let (scope, config) = (Scope::chain(chain), LeaseConfig::default());
            let leader = Leader::try_acquire(&store, &scope, "me", &config).await;
            leaders.push(leader.unwrap().unwrap());
        }
        let mut conn = store.read().await.unwrap();
        assert!(warnings::list(&mut conn).await.unwrap().is_empty());
        for leader in &leaders {
            leader.renew().await.unwrap();
            leader.begin().await.unwrap().commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_replica_with_a_database_user_of_its_own_sees_that_the_other_is_alive() {
    let world = World::on(Base::postgres().await).await;
    let mut raw = world.base.raw_postgres().await;
    let role = format!("dodona_test_{}", uuid::Uuid::new_v4().simple());
    let make = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'other'; GRANT ALL ON SCHEMA public TO {role};
         GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role};"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(make))
        .execute(&mut raw)
        .await
        .unwrap();
    let DatabaseConfig::Postgres { url, .. } = &world.base.config else {
        unreachable!("it is a server")
    };
    let (_, place) = url.split_once('@').unwrap();
    let config = DatabaseConfig::Postgres {
        url: format!("postgres://{role}:other@{place}"),
        max_connections: 2,
    };
    let standby = Store::open(&config, Default::default()).await.unwrap();
    assert!(lead_for(&standby, HOUR).await.is_none());
    cut_session(&mut raw).await;
    drop(takes_over(&standby).await);

    standby.close().await;
    let unmake = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(unmake))
        .execute(&mut raw)
        .await
        .unwrap();
}
