//! A commit wakes whoever looks at its rows, here and in the other replicas.

use std::time::Duration;

use dodona_store::{listen, warnings};

use crate::world::{Base, NOW};

const CHANNEL: &str = "run_ready";
const OTHER: &str = "tx_queued";

async fn came(waiter: &mut dodona_runtime::Waiter) {
    tokio::time::timeout(Duration::from_secs(30), waiter.wait())
        .await
        .expect("the poke comes");
}

async fn is_quiet(waiter: &mut dodona_runtime::Waiter) -> bool {
    tokio::time::timeout(Duration::ZERO, waiter.wait())
        .await
        .is_err()
}

#[tokio::test]
async fn a_commit_pokes_its_own_process_once_it_is_true() {
    for base in Base::both().await {
        let (store, poke) = base.open_listening(CHANNEL).await;
        let mut waiter = poke.subscribe();
        let mut tx = store.begin().await.unwrap();
        tx.poke_on_commit(CHANNEL);
        tx.poke_on_commit("nobody's");
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        tx.poke_on_commit(CHANNEL);
        assert!(is_quiet(&mut waiter).await, "not before the commit");
        tx.commit().await.unwrap();
        came(&mut waiter).await;
    }
}

#[tokio::test]
async fn a_commit_in_one_replica_pokes_another() {
    let base = Base::postgres().await;
    let (one, one_hears) = base.open_listening(CHANNEL).await;
    let (two, two_hears) = base.open_listening(CHANNEL).await;
    let (mut at_one, mut at_two) = (one_hears.subscribe(), two_hears.subscribe());
    let listener = tokio::spawn(async move { listen(&two).await });
    // Whoever begins to listen looks once: what came before was told to nobody.
    came(&mut at_two).await;

    let mut tx = one.begin().await.unwrap();
    warnings::set(&mut tx, "a", "row", NOW).await.unwrap();
    tx.poke_on_commit(CHANNEL);
    tx.poke_on_commit(OTHER);
    tx.commit().await.unwrap();
    came(&mut at_two).await;
    came(&mut at_one).await;

    let mut tx = one.begin().await.unwrap();
    tx.poke_on_commit(CHANNEL);
    drop(tx);
    let mut tx = one.begin().await.unwrap();
    tx.poke_on_commit(OTHER);
    tx.commit().await.unwrap();
    assert!(is_quiet(&mut at_one).await);
    assert!(!listener.is_finished());
    listener.abort();
}

#[tokio::test]
async fn a_listener_whose_connection_was_cut_hears_again_or_says_so() {
    let base = Base::postgres().await;
    let (store, poke) = base.open_listening(CHANNEL).await;
    let mut waiter = poke.subscribe();
    let hears = store.clone();
    let mut listener = tokio::spawn(async move { listen(&hears).await });
    came(&mut waiter).await;
    let mut raw = base.raw_postgres().await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let cut: Vec<bool> = sqlx::query_scalar(cut).fetch_all(&mut raw).await.unwrap();
    assert_eq!(cut, [true]);
    tokio::select! {
        () = came(&mut waiter) => {}
        ended = &mut listener => assert!(ended.unwrap().is_err()),
    }
    listener.abort();
}

#[tokio::test]
async fn on_sqlite_there_is_nobody_else_to_hear() {
    let base = Base::sqlite();
    let (store, poke) = base.open_listening(CHANNEL).await;
    let mut waiter = poke.subscribe();
    let listener = tokio::spawn({
        let store = store.clone();
        async move { listen(&store).await }
    });
    let mut tx = store.begin().await.unwrap();
    tx.poke_on_commit(CHANNEL);
    tx.commit().await.unwrap();
    came(&mut waiter).await;
    assert!(!listener.is_finished());
    listener.abort();
}
