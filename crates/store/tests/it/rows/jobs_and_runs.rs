use std::collections::BTreeMap;
use std::time::Duration;

use dodona_model::oracle::spec_ids;
use dodona_model::run::State;
use dodona_model::{JobId, U256};
use dodona_store::jobs::{self, JobError, NewJob};
use dodona_store::runs::{self, Finish, TaskRun};
use dodona_store::schedules;
use uuid::Uuid;

use super::Transcript;
use crate::world::{CHAIN, NOW, address, after, end, ended, hash, job, task};

const LONG: Duration = Duration::from_secs(600);

pub(crate) async fn play(t: &mut Transcript) {
    let job = stored_jobs(t).await;
    errors_of_jobs(t, job).await;
    claims(t, job).await;
    tasks(t, job).await;
    later_answers(t, job).await;
    again(t, job).await;
    lists(t, job).await;
    forgetting(t, job).await;
    deleted(t, job).await;
    ticks(t).await;
}

async fn ticks(t: &mut Transcript) {
    let mut tx = t.begin().await;
    for (job, at) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
        schedules::insert(&mut tx, job, "@every 1m", after(at))
            .await
            .unwrap();
    }
    schedules::delete(&mut tx, 4).await.unwrap();
    t.say("next tick", schedules::next(&mut tx).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = t.lead().await;
    t.say_each("due", schedules::due(&mut tx, after(20), 9).await.unwrap());
    t.say_each(
        "first",
        schedules::due(&mut tx, after(20), 1).await.unwrap(),
    );
    for (job, tick) in [(2, 10), (2, 10), (9, 10)] {
        let taken = schedules::advance(&mut tx, job, after(tick), after(tick + 60)).await;
        t.say("tick taken", taken.unwrap());
    }
    t.say_each(
        "of jobs",
        schedules::of_jobs(&mut tx, &[3, 2, 9]).await.unwrap(),
    );
    t.say_each("of none", schedules::of_jobs(&mut tx, &[]).await.unwrap());
    tx.commit().await.unwrap();
}

/// Answers of bridges that come while their run executes, while it waits, and when it is over.
async fn later_answers(t: &mut Transcript, job: JobId) {
    let bridge = |run, n| TaskRun {
        kind: "bridge".to_owned(),
        ..task(run, n)
    };
    let mut tx = t.begin().await;
    let run = runs::insert(&mut tx, job, "{}", after(3)).await.unwrap();
    runs::claim(&mut tx, "bridges", LONG, 9).await.unwrap();
    runs::save_tasks(
        &mut tx,
        &[bridge(run, 0x51), bridge(run, 0x52), task(run, 0x53)],
    )
    .await
    .unwrap();
    let answer = async |t: &mut Transcript, tx: &mut dodona_store::Tx, n: u128| {
        let id = Uuid::from_u128(0x1000 + n);
        let done = runs::answer_task(tx, id, Some("\"~b:31\""), Some("\"0x31\""), None, after(4));
        t.say("answer", done.await.unwrap());
    };
    for n in [0x51, 0x51, 0x53, 0x99] {
        answer(t, &mut tx, n).await;
    }
    runs::finish(&mut tx, run, "bridges", 1, &end(State::Suspended), after(5))
        .await
        .unwrap();
    answer(t, &mut tx, 0x52).await;
    t.say(
        "goes on",
        runs::find(&mut tx, run).await.unwrap().map(|run| run.state),
    );
    t.say_each("its tasks", runs::tasks(&mut tx, run).await.unwrap());
    runs::forget_tasks(&mut tx, run).await.unwrap();
    t.say_each("forgotten", runs::tasks(&mut tx, run).await.unwrap());
    runs::claim(&mut tx, "bridges", LONG, 9).await.unwrap();
    runs::save_tasks(&mut tx, &[bridge(run, 0x54)])
        .await
        .unwrap();
    runs::finish(&mut tx, run, "bridges", 1, &end(State::Completed), after(6))
        .await
        .unwrap();
    answer(t, &mut tx, 0x54).await;
    runs::release_claims(&mut tx, "bridges").await.unwrap();
    tx.commit().await.unwrap();
}

fn rich() -> NewJob {
    NewJob {
        name: "Zürich, 東京 and \u{fffd}".to_owned(),
        min_confirmations: Some(3),
        min_payment_juels: Some(U256::from(7)),
        requesters: vec![address(1), address(2)],
        gas_limit: Some(400_000),
        forwarding_allowed: true,
        max_task_duration: Some(Duration::from_micros(1_500_001)),
        ..job(7)
    }
}

async fn stored_jobs(t: &mut Transcript) -> JobId {
    let mut tx = t.begin().await;
    let id = jobs::insert(&mut tx, &rich(), NOW).await.unwrap();
    let other = NewJob {
        chain_id: None,
        contract_address: None,
        dot: "a [type=BRIDGE name=\"price-feed\"]".to_owned(),
        ..job(8)
    };
    jobs::insert(&mut tx, &other, after(1)).await.unwrap();
    tx.commit().await.unwrap();

    let mut conn = t.read().await;
    t.say("job", jobs::find(&mut conn, id).await.unwrap());
    t.say("no job", jobs::find(&mut conn, 999).await.unwrap());
    t.say_each("jobs", jobs::list(&mut conn, 2, 1).await.unwrap());
    t.say("how many jobs", jobs::count(&mut conn).await.unwrap());
    let external = jobs::find_external(&mut conn, Uuid::from_u128(7)).await;
    t.say("by external id", external.unwrap().map(|job| job.id));
    // Under both spellings of its id; another contract's request and another id name nothing.
    let mut names = spec_ids(Uuid::from_u128(7))
        .map(|topic| (address(0x0a), topic))
        .to_vec();
    names.push((address(0x0b), names[0].1));
    names.push((address(0x0a), hash(0x77)));
    let found = jobs::find_by_topics(&mut conn, CHAIN, &names).await;
    let found = found.unwrap().into_iter().map(|(name, job)| (name, job.id));
    let found: BTreeMap<_, _> = found.collect();
    assert_eq!(found.len(), 2, "{found:?}");
    t.say("by topic", found);
    let none = jobs::find_by_topics(&mut conn, CHAIN, &[]).await.unwrap();
    t.say("of none", none.len());
    t.say_each(
        "contracts",
        jobs::contracts(&mut conn, CHAIN).await.unwrap(),
    );
    let fewest = jobs::fewest_confirmations(&mut conn, CHAIN).await;
    t.say("fewest confirmations", fewest.unwrap());
    for word in ["price_feed", "PRICE-feed", "price%feed", "!"] {
        t.say(word, jobs::mentioning(&mut conn, word).await.unwrap());
    }
    id
}

/// Row numbers may have gaps that differ; nothing depends on them.
fn unnumbered(errors: Vec<JobError>) -> Vec<JobError> {
    errors
        .into_iter()
        .map(|error| JobError { id: 0, ..error })
        .collect()
}

async fn errors_of_jobs(t: &mut Transcript, job: JobId) {
    let mut tx = t.begin().await;
    for (text, at) in [("no \0 key", 1), ("no gas", 2), ("no gas", 3)] {
        jobs::note_error(&mut tx, job, text, after(at))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = t.begin().await;
    let errors = jobs::errors(&mut tx, job).await.unwrap();
    let first = errors[0].id;
    t.say_each("errors", unnumbered(errors));
    let all = jobs::all_errors(&mut tx, 10).await.unwrap();
    t.say(
        "jobs with errors",
        all.iter().map(|(job, _)| *job).collect::<Vec<_>>(),
    );
    for _ in 0..2 {
        t.say(
            "dismissed",
            jobs::dismiss_error(&mut tx, first).await.unwrap(),
        );
    }
    tx.commit().await.unwrap();
}

async fn claims(t: &mut Transcript, job: JobId) {
    let mut tx = t.begin().await;
    for at in 0..3 {
        runs::insert(&mut tx, job, "{\"n\":1}", after(at))
            .await
            .unwrap();
    }
    let mine = runs::claim(&mut tx, "me", LONG, 2).await.unwrap();
    t.say_each("claimed", mine);
    t.say_each(
        "theirs",
        runs::claim(&mut tx, "they", LONG, 9).await.unwrap(),
    );
    t.say(
        "renewed",
        runs::renew_claims(&mut tx, "me", &Vec::from_iter(1..99), LONG)
            .await
            .unwrap(),
    );
    t.say(
        "given back",
        runs::release_claims(&mut tx, "they").await.unwrap(),
    );
    tx.commit().await.unwrap();
    // Looked at and not kept: what follows needs the claims.
    let mut undone = t.begin().await;
    t.say(
        "left behind",
        runs::release_left_claims(&mut undone).await.unwrap(),
    );
}

async fn tasks(t: &mut Transcript, job: JobId) {
    let mut tx = t.begin().await;
    let run = mine(t, &mut tx, job).await;
    let first = ended(task(run, 1), "\"fetched \\u0000\"");
    let second = TaskRun {
        error: Some("it said \0".to_owned()),
        ..ended(task(run, 2), "null")
    };
    runs::save_tasks(&mut tx, &[first, second, task(run, 3)])
        .await
        .unwrap();
    runs::save_tasks(&mut tx, &[]).await.unwrap();
    let late = ended(task(run, 1), "\"something else\"");
    runs::save_tasks(&mut tx, &[late]).await.unwrap();
    t.say_each("tasks", runs::tasks(&mut tx, run).await.unwrap());
    t.say(
        "begun",
        runs::count_unfinished_tasks(&mut tx).await.unwrap(),
    );
    let held = runs::still_mine(&mut tx, &[999, run], "me").await;
    t.say("mine of two", held.unwrap());
    let held = runs::still_mine(&mut tx, &[run], "they").await;
    t.say("theirs of one", held.unwrap());
    let done = runs::finish(&mut tx, run, "me", 1, &end(State::Suspended), after(5)).await;
    t.say("suspended", done.unwrap());
    let id = Uuid::from_u128(0x1003);
    for _ in 0..2 {
        let of = runs::finish_task(&mut tx, id, Some("1"), Some("1"), None, after(6)).await;
        t.say("task answered", of.unwrap());
    }
    let others = [id, Uuid::from_u128(0x9999)];
    for tasks in [&others[..], &others[1..], &[]] {
        let answered = runs::answered_among(&mut tx, tasks).await;
        t.say("answered among", answered.unwrap());
    }
    for _ in 0..2 {
        t.say("resumed", runs::resume(&mut tx, run).await.unwrap());
    }
    t.say("run", runs::find(&mut tx, run).await.unwrap());
    tx.commit().await.unwrap();
}

/// The oldest run that `me` executes.
async fn mine(t: &mut Transcript, tx: &mut dodona_store::Tx, job: JobId) -> i64 {
    let runs = runs::list(tx, Some(job), 9, 0).await.unwrap();
    let mine = runs
        .iter()
        .filter(|run| run.claimed_by.as_deref() == Some("me"));
    let id = mine.map(|run| run.id).min().expect("me has claims");
    t.say("my run", id);
    id
}

async fn again(t: &mut Transcript, job: JobId) {
    let mut tx = t.begin().await;
    runs::claim(&mut tx, "me", LONG, 9).await.unwrap();
    let run = mine(t, &mut tx, job).await;
    let done = runs::finish(&mut tx, run, "me", 1, &end(State::Completed), after(7)).await;
    t.say("completed", done.unwrap());
    t.say("run", runs::find(&mut tx, run).await.unwrap());
    runs::run_again(&mut tx, run, "{\"n\":2}").await.unwrap();
    t.say("run", runs::find(&mut tx, run).await.unwrap());
    t.say_each("tasks", runs::tasks(&mut tx, run).await.unwrap());
    runs::claim(&mut tx, "me", LONG, 9).await.unwrap();
    let stale = runs::finish(&mut tx, run, "me", 1, &end(State::Completed), after(8)).await;
    t.say("the old generation ends", stale.unwrap());
    let strange = Finish {
        all_errors: "[\"a \0 \\u0000\"]".to_owned(),
        ..end(State::Errored)
    };
    for (who, generation) in [("they", 2), ("me", 1), ("me", 2)] {
        let ends = [
            (run, generation, strange.clone()),
            (999, 1, end(State::Completed)),
        ];
        let done = runs::finish_each(&mut tx, who, &ends, after(9)).await;
        t.say("the new generation ends", done.unwrap());
    }
    t.say(
        "nothing ends",
        runs::finish_each(&mut tx, "me", &[], NOW).await.unwrap(),
    );
    t.say("run", runs::find(&mut tx, run).await.unwrap());
    let dropped = mine(t, &mut tx, job).await;
    runs::save_tasks(&mut tx, &[task(dropped, 4)])
        .await
        .unwrap();
    for who in ["they", "me", "me"] {
        t.say(
            "dropped",
            runs::drop_run(&mut tx, dropped, who).await.unwrap(),
        );
    }
    t.say_each("its tasks", runs::tasks(&mut tx, dropped).await.unwrap());
    tx.commit().await.unwrap();
}

async fn lists(t: &mut Transcript, job: JobId) {
    let mut conn = t.read().await;
    t.say_each("runs", runs::list(&mut conn, None, 9, 0).await.unwrap());
    t.say_each(
        "runs of job",
        runs::list(&mut conn, Some(job), 1, 1).await.unwrap(),
    );
    t.say("how many", runs::count(&mut conn, None).await.unwrap());
    t.say(
        "of the job",
        runs::count(&mut conn, Some(job)).await.unwrap(),
    );
    let states = runs::count_by_job_and_state(&mut conn).await.unwrap();
    t.say_each("runs by state", states);
    let ids: Vec<_> = runs::list(&mut conn, None, 9, 0).await.unwrap();
    let ids: Vec<_> = ids.iter().map(|run| run.id).collect();
    t.say_each(
        "tasks of all",
        runs::tasks_of(&mut conn, &ids).await.unwrap(),
    );
    t.say_each(
        "tasks of none",
        runs::tasks_of(&mut conn, &[]).await.unwrap(),
    );
}

async fn forgetting(t: &mut Transcript, job: JobId) {
    let mut tx = t.begin().await;
    t.say(
        "old",
        runs::prune_old(&mut tx, after(100), 1).await.unwrap(),
    );
    runs::claim(&mut tx, "me", LONG, 9).await.unwrap();
    for run in runs::list(&mut tx, Some(job), 9, 0).await.unwrap() {
        let end = end(State::Completed);
        runs::finish(&mut tx, run.id, "me", run.generation, &end, after(10))
            .await
            .unwrap();
    }
    t.say(
        "surplus",
        runs::prune_surplus(&mut tx, job, 0, 1).await.unwrap(),
    );
    t.say("left", runs::count(&mut tx, None).await.unwrap());
    tx.commit().await.unwrap();
}

async fn deleted(t: &mut Transcript, job: JobId) {
    let mut tx = t.begin().await;
    for _ in 0..2 {
        t.say(
            "deleted",
            jobs::delete(&mut tx, job, after(50)).await.unwrap(),
        );
    }
    t.say("its row", jobs::find(&mut tx, job).await.unwrap());
    let gone = jobs::find_external(&mut tx, Uuid::from_u128(7)).await;
    t.say("its name", gone.unwrap().map(|job| job.id));
    jobs::insert(&mut tx, &job_again(), after(51))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut conn = t.read().await;
    let name = (address(0x0a), spec_ids(Uuid::from_u128(7))[0]);
    let found = jobs::find_by_topics(&mut conn, CHAIN, &[name]).await;
    t.say("its successor", found.unwrap());
}

fn job_again() -> NewJob {
    job(7)
}
