//! What is kept of runs, and for how long.

use dodona_model::run::State;
use dodona_testkit::until;

use crate::world::World;

#[tokio::test]
async fn a_webhook_runs_body_is_text_and_its_tasks_are_kept() {
    for world in World::both().await {
        let _runner = world.runner(100);
        let dot = r#"parse [type=jsonparse data="$(jobRun.requestBody)" path="a,0"]"#;
        let job = world.job("webhook", dot).await;
        let run = world.begin(job, "{\"a\": [\"x\"]}").await;
        let ended = world.run_in(run, State::Completed).await;
        assert_eq!(ended.outputs, "[\"x\"]");
        assert_eq!(world.tasks(run).await.len(), 1);
    }
}

#[tokio::test]
async fn of_a_cron_run_without_errors_only_the_outcome_is_kept() {
    for world in World::both().await {
        let _runner = world.runner(100);
        let good = world
            .job("cron", "a [type=memo value=1]; b [type=memo]; a -> b")
            .await;
        let run = world.begin(good, "").await;
        let ended = world.run_in(run, State::Completed).await;
        assert_eq!(ended.outputs, "[\"1\"]");
        assert_eq!(world.tasks(run).await.len(), 0);

        let bad = world
            .job("cron", "a [type=fail msg=no]; b [type=memo]; a -> b")
            .await;
        let run = world.begin(bad, "").await;
        world.run_in(run, State::Errored).await;
        assert_eq!(world.tasks(run).await.len(), 2);
    }
}

#[tokio::test]
async fn completed_runs_beyond_those_that_are_kept_go_without_waiting_for_the_reaper() {
    for world in World::both().await {
        let _runner = world.runner(2);
        let job = world.job("webhook", "a [type=memo value=1]").await;
        let failing = world.job("webhook", "a [type=fail msg=no]").await;
        let mut newest = 0;
        for _ in 0..5 {
            newest = world.begin(job, "").await;
            let failed = world.begin(failing, "").await;
            world.run_in(failed, State::Errored).await;
        }
        let kept = until("two runs are left", || async {
            let runs = world.runs_of(job).await;
            let done = runs.iter().all(|run| run.state == State::Completed);
            (done && runs.len() == 2).then_some(runs)
        })
        .await;
        assert_eq!(kept[0].id, newest);
        assert_eq!(world.runs_of(failing).await.len(), 5);
    }
}
