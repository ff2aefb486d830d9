//! Text from strangers: any character, any length, the same on both engines.

use dodona_model::run::State;
use dodona_store::runs::{self, Finish, TaskRun};
use dodona_store::{jobs, txs, users};

use crate::world::{Base, NOW, World, after, ended, job, payment, task};

const STRANGE: &str = "a\0b \\u0000 \u{1F980} \u{7f}\u{1}'\"%_ \u{fffd}";
const KEPT: &str = "a\u{fffd}b \\u0000 \u{1F980} \u{7f}\u{1}'\"%_ \u{fffd}";

#[tokio::test]
async fn characters_that_postgresql_refuses_survive_in_what_tasks_say() {
    for world in World::both().await {
        let mut tx = world.begin().await;
        let job = jobs::insert(&mut tx, &job(1), NOW).await.unwrap();
        let run = runs::insert(&mut tx, job, "{\"a\":\"\\u0000\"}", NOW)
            .await
            .unwrap();
        runs::claim(&mut tx, "me", std::time::Duration::from_secs(9), 1)
            .await
            .unwrap();
        let strange = TaskRun {
            error: Some(STRANGE.to_owned()),
            ..ended(task(run, 1), STRANGE)
        };
        runs::save_tasks(&mut tx, &[strange, task(run, 2)])
            .await
            .unwrap();
        let said = Some(STRANGE);
        runs::finish_task(&mut tx, task(run, 2).id, said, said, said, after(1))
            .await
            .unwrap();
        let end = Finish {
            state: State::Errored,
            outputs: "[null]".to_owned(),
            fatal_errors: STRANGE.to_owned(),
            all_errors: STRANGE.to_owned(),
        };
        assert!(
            runs::finish(&mut tx, run, "me", 1, &end, after(1))
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();

        let mut conn = world.read().await;
        for task in runs::tasks(&mut conn, run).await.unwrap() {
            for text in [task.value, task.output, task.error] {
                assert_eq!(text.as_deref(), Some(KEPT), "{}", task.dot_id);
            }
        }
        drop(conn);
        let run = world.run(run).await;
        assert_eq!(
            (run.fatal_errors.as_str(), run.all_errors.as_str()),
            (KEPT, KEPT)
        );
        assert_eq!(run.inputs, "{\"a\":\"\\u0000\"}");
    }
}

#[tokio::test]
async fn what_endpoints_and_visitors_say_may_hold_any_character() {
    for world in World::both().await {
        let queued = world.queue(&payment(1)).await;
        let mut tx = world.lead().await;
        txs::postpone(&mut tx, queued.id, STRANGE, NOW, false)
            .await
            .unwrap();
        assert!(users::find(&mut tx, STRANGE).await.unwrap().is_none());
        tx.commit().await.unwrap();
        assert_eq!(world.tx(queued.id).await.reason, KEPT);
    }
}

#[tokio::test]
async fn a_large_answer_comes_back_whole() {
    let large = format!("\"{}\"", "é".repeat(1 << 20));
    for world in World::both().await {
        let mut tx = world.begin().await;
        runs::save_tasks(&mut tx, &[ended(task(1, 1), &large)])
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut conn = world.read().await;
        let tasks = runs::tasks(&mut conn, 1).await.unwrap();
        assert!(tasks[0].value.as_deref() == Some(large.as_str()));
    }
}

#[tokio::test]
async fn text_is_compared_by_bytes_whatever_language_the_server_speaks() {
    const OTHERS: &str = "SELECT CAST(table_name || '.' || column_name AS TEXT) FROM information_schema.columns
        WHERE table_schema = current_schema() AND data_type = 'text' AND table_name <> '_sqlx_migrations'
            AND collation_name IS DISTINCT FROM 'C'";
    let base = Base::postgres().await;
    base.open().await;
    let mut raw = base.raw_postgres().await;
    let others: Vec<String> = sqlx::query_scalar(OTHERS)
        .fetch_all(&mut raw)
        .await
        .unwrap();
    assert_eq!(others, [""; 0]);
}
