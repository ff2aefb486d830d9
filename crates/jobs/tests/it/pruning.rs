//! What may be forgotten, and what may not.

use std::time::Duration;

use dodona_jobs::Pruner;
use dodona_model::run::State;
use dodona_model::tx;
use dodona_runtime::Service;
use dodona_store::runs::Finish;
use dodona_store::{runs, txs};

use crate::scene::{KEY, NOW, ORACLE, Scene, ago};

const DAY: Duration = Duration::from_secs(86_400);

fn pruner(scene: &Scene, keep_successful: u32) -> Pruner {
    Pruner::new(scene.store.clone(), DAY, keep_successful, Some(DAY), DAY)
}

/// A run of job 1 that ended so many seconds ago; `None`: it has not ended.
async fn run(scene: &Scene, state: State, ended: Option<u64>) -> i64 {
    let mut tx = scene.store.begin().await.unwrap();
    let id = runs::insert(&mut tx, 1, "{}", NOW).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = scene.store.begin().await.unwrap();
    let claimed = runs::claim(&mut tx, "me", DAY, 99).await.unwrap();
    let generation = claimed.iter().find(|run| run.id == id).unwrap().generation;
    if state != State::Running {
        let end = Finish {
            state,
            outputs: "[]".to_owned(),
            fatal_errors: "[]".to_owned(),
            all_errors: "[]".to_owned(),
        };
        let at = ago(ended.unwrap_or_default());
        assert!(
            runs::finish(&mut tx, id, "me", generation, &end, at)
                .await
                .unwrap()
        );
    }
    tx.commit().await.unwrap();
    id
}

async fn left(scene: &Scene) -> Vec<i64> {
    scene.runs().await.iter().map(|run| run.id).collect()
}

#[tokio::test]
async fn old_ended_runs_go_and_whatever_still_works_or_waits_stays() {
    for scene in Scene::both().await {
        scene.price_job().await;
        let old = run(&scene, State::Errored, Some(2 * 86_400)).await;
        let older = run(&scene, State::Completed, Some(3 * 86_400)).await;
        let recent = run(&scene, State::Errored, Some(3_600)).await;
        let waits = run(&scene, State::Suspended, None).await;
        let works = run(&scene, State::Running, None).await;
        pruner(&scene, 100).tick(&()).await.unwrap();
        assert_eq!(left(&scene).await, [recent, waits, works]);
        for gone in [old, older] {
            assert!(scene.tasks(gone).await.is_empty());
        }
    }
}

#[tokio::test]
async fn of_each_job_the_newest_completed_runs_stay() {
    for scene in Scene::both().await {
        scene.price_job().await;
        let mut completed = Vec::new();
        for n in 0..6 {
            completed.push(run(&scene, State::Completed, Some(60 - n)).await);
        }
        let errored = run(&scene, State::Errored, Some(1_000)).await;
        pruner(&scene, 2).tick(&()).await.unwrap();
        assert_eq!(left(&scene).await, [completed[4], completed[5], errored]);
    }
}

#[tokio::test]
async fn transactions_that_are_not_final_or_that_somebody_waits_for_stay_however_old() {
    for scene in Scene::both().await {
        let new = |wanted: bool| txs::NewTx {
            chain_id: crate::scene::CHAIN,
            from: KEY,
            to: ORACLE,
            payload: vec![1].into(),
            value_wei: Default::default(),
            gas_limit: 1,
            task_run_id: None,
            run_id: None,
            job_id: None,
            request_row: None,
            min_confirmations: Some(1),
            fail_on_revert: false,
            simulate: false,
            signal_needed: wanted,
            meta: "{}".to_owned(),
        };
        let mut tx = scene.lead.begin().await.unwrap();
        let mut ids = Vec::new();
        for (wanted, dies) in [(false, true), (true, true), (false, false)] {
            let id = txs::queue(&mut tx, &new(wanted), NOW).await.unwrap();
            if dies {
                let row = txs::find(&mut tx, id).await.unwrap().unwrap();
                txs::die(&mut tx, &row, tx::Event::Refused, "")
                    .await
                    .unwrap();
            }
            ids.push(id);
        }
        tx.commit().await.unwrap();
        let round = pruner(&scene, 2).tick(&()).await.unwrap();
        assert_eq!(serde_json::to_value(&round).unwrap()["txs"], 1);
        let kept: Vec<_> = scene.txs().await.iter().map(|tx| tx.id).collect();
        assert_eq!(kept, ids[1..]);
    }
}
