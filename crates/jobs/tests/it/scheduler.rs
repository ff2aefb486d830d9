//! Ticks of cron jobs: one run each, whoever keeps the time.

use std::time::Duration;

use dodona_jobs::Scheduler;
use dodona_model::{JobId, Timestamp};
use dodona_pipeline::{Inputs, Value};
use dodona_runtime::{Poke, Service, clock};
use dodona_store::{jobs, schedules};

use crate::world::World;

const DOT: &str = "a [type=memo value=1]";

async fn scheduled(world: &World, schedule: &str, next: Timestamp) -> JobId {
    let job = world.job("cron", DOT).await;
    let mut tx = world.store.begin().await.unwrap();
    schedules::insert(&mut tx, job, schedule, next)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    job
}

async fn next(world: &World) -> Option<Timestamp> {
    let mut conn = world.store.read().await.unwrap();
    schedules::next(&mut conn).await.unwrap()
}

#[tokio::test]
async fn a_tick_starts_one_run_and_the_time_of_the_next_is_kept_with_it() {
    for world in World::both().await {
        let due = clock::now().minus(Duration::from_secs(1));
        let job = scheduled(&world, "@every 1h", due).await;
        let lead = world.lead().await;
        // Two that both believe they keep the time, as in the moment of a takeover.
        for _ in 0..2 {
            Scheduler::new(Poke::new()).tick(&lead).await.unwrap();
        }
        let runs = world.runs_of(job).await;
        assert_eq!(runs.len(), 1);
        let inputs = Inputs::read(&runs[0].inputs).unwrap();
        let vars = Value::from_stored(&inputs.vars).unwrap().to_output_json();
        assert!(vars.contains(r#""jobRun":{"meta":{}}"#), "{vars}");
        assert!(vars.contains(&format!(r#""databaseID":{job}"#)), "{vars}");
        let wait = next(&world).await.unwrap().since(due).as_secs();
        assert!((3_598..=3_600).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn who_was_replaced_takes_no_tick() {
    for world in World::both().await {
        let due = clock::now().minus(Duration::from_secs(1));
        let job = scheduled(&world, "@every 1h", due).await;
        let before = world.lead().await;
        before.release().await.unwrap();
        let after = world.lead().await;
        assert!(Scheduler::new(Poke::new()).tick(&before).await.is_err());
        assert_eq!(world.runs_of(job).await.len(), 0);
        Scheduler::new(Poke::new()).tick(&after).await.unwrap();
        assert_eq!(world.runs_of(job).await.len(), 1);
    }
}

#[tokio::test]
async fn what_was_missed_while_nobody_kept_the_time_is_not_made_up_for() {
    for world in World::both().await {
        let long_ago = clock::now().minus(Duration::from_secs(7_200));
        let job = scheduled(&world, "CRON_TZ=UTC 0 0 * * * *", long_ago).await;
        let lead = world.lead().await;
        Scheduler::new(Poke::new()).tick(&lead).await.unwrap();
        assert_eq!(world.runs_of(job).await.len(), 0);
        assert!(next(&world).await.unwrap() > clock::now());
    }
}

#[tokio::test]
async fn a_deleted_job_and_a_schedule_that_cannot_be_read_start_nothing() {
    for world in World::both().await {
        let due = clock::now().minus(Duration::from_secs(1));
        let deleted = scheduled(&world, "@every 1h", due).await;
        let odd = scheduled(&world, "@sometimes", due).await;
        let good = scheduled(&world, "@every 1h", due).await;
        let mut tx = world.store.begin().await.unwrap();
        jobs::delete(&mut tx, deleted, clock::now()).await.unwrap();
        tx.commit().await.unwrap();
        let lead = world.lead().await;
        Scheduler::new(Poke::new()).tick(&lead).await.unwrap();
        let mut counts = Vec::new();
        for job in [deleted, odd, good] {
            counts.push(world.runs_of(job).await.len());
        }
        assert_eq!(counts, [0, 0, 1]);
        let mut conn = world.store.read().await.unwrap();
        let errors = jobs::errors(&mut conn, odd).await.unwrap();
        assert!(errors[0].description.contains("@sometimes"), "{errors:?}");
        let left = schedules::of_jobs(&mut conn, &[deleted, odd, good]).await;
        assert_eq!(left.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn the_alarm_rings_when_the_next_tick_is_due() {
    for world in World::both().await {
        let soon = clock::now().plus(Duration::from_millis(300));
        let job = scheduled(&world, "@every 1h", soon).await;
        let lead = world.lead().await;
        let alarm = Poke::new();
        let mut rings = alarm.subscribe();
        let mut scheduler = Scheduler::new(alarm);
        scheduler.tick(&lead).await.unwrap();
        assert_eq!(world.runs_of(job).await.len(), 0);
        let rang = tokio::time::timeout(Duration::from_secs(20), rings.wait()).await;
        assert!(rang.is_ok(), "the alarm is set");
        scheduler.tick(&lead).await.unwrap();
        assert_eq!(world.runs_of(job).await.len(), 1);
    }
}
