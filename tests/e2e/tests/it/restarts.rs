//! A node that comes back to what it left.

use alloy::primitives::U256;
use serde_json::Value;

use crate::scene::{Db, Scene, some_cents};

async fn everything_is_kept_and_what_was_missed_is_answered(db: Db) {
    let mut scene = Scene::on(db).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    scene.anvil.mine(1).await;
    let before: Value = scene.api().finished_runs(&job, 1).await[0].clone();

    let status = scene.node.stop().await;
    assert!(status.success(), "a clean stop is a success: {status}");
    let mut missed = Vec::new();
    for _ in 0..3 {
        missed.push(scene.ask(&job, "/price").await);
        scene.anvil.mine(17).await;
    }
    scene.node.start_again().await;

    assert_eq!(scene.api().keys().await, [scene.key]);
    for request in &missed {
        assert_eq!(scene.answer_to(request).await, U256::from(cents));
        assert_eq!(scene.world.answers_count(request.id).await, 1);
    }
    scene.assert_sent(4).await;
    let runs = scene.api().runs(&job).await;
    assert_eq!(runs.len(), 4);
    assert_eq!(runs[3], before, "newest first; the old one as it was");
}

#[tokio::test]
async fn everything_is_kept_and_what_was_missed_is_answered_on_sqlite() {
    everything_is_kept_and_what_was_missed_is_answered(Db::Sqlite).await;
}

#[tokio::test]
async fn everything_is_kept_and_what_was_missed_is_answered_on_postgresql() {
    everything_is_kept_and_what_was_missed_is_answered(Db::Postgres).await;
}
