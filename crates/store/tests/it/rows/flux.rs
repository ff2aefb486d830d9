use dodona_model::flux::NEW_ROUND;
use dodona_model::{JobId, Timestamp};
use dodona_store::flux::{self, Monitor};
use dodona_store::jobs::{self, NewJob};
use dodona_store::logs::{self, Log};
use dodona_store::{runs, txs};

use super::Transcript;
use crate::world::{CHAIN, NOW, address, after, block, end, job, log, payment};

pub(crate) async fn play(t: &mut Transcript) {
    let job = monitored(t).await;
    looking(t, job).await;
    answering(t, job).await;
    rounds(t).await;
    superseded_queue(t, job).await;
    deleted(t, job).await;
}

async fn monitored(t: &mut Transcript) -> JobId {
    let flux = NewJob {
        kind: "fluxmonitor".to_owned(),
        contract_address: Some(address(0x0f)),
        ..job(70)
    };
    let mut tx = t.begin().await;
    let id = jobs::insert(&mut tx, &flux, NOW).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// Without the numbers that differ from engine to engine.
fn plain(monitors: Vec<Monitor>) -> Vec<Monitor> {
    let unnumbered = |monitor| Monitor {
        job_id: 0,
        run_id: None,
        ..monitor
    };
    monitors.into_iter().map(unnumbered).collect()
}

async fn looking(t: &mut Transcript, job: JobId) {
    let mut tx = t.lead().await;
    let due = flux::due(&mut tx, CHAIN, NOW, 5).await.unwrap();
    let run = runs::insert(&mut tx, job, "{}", NOW).await.unwrap();
    let busy = Monitor {
        due_at: after(60),
        run_id: Some(run),
        seen_round: Some(u32::MAX),
        standing: "{\"a\":1}".to_owned(),
        ..due[0].clone()
    };
    t.say_each("due", plain(due));
    let saved = flux::save(&mut tx, &busy, after(1)).await.unwrap();
    let nobody = Monitor {
        job_id: 999,
        ..busy
    };
    let unsaved = flux::save(&mut tx, &nobody, after(1)).await.unwrap();
    t.say("saved", (saved, unsaved));
    for (contract, now) in [(0x0f, 61), (0x0e, 59)] {
        let due = flux::due(&mut tx, CHAIN, after(now), 5).await.unwrap();
        t.say_each("due while a run is on its way", plain(due));
        let of = flux::of_contract(&mut tx, CHAIN, address(contract)).await;
        t.say_each("of a contract", plain(of.unwrap()));
    }
    let of_chain = flux::of_chain(&mut tx, CHAIN).await.unwrap();
    t.say_each("of the chain", plain(of_chain));
    let returned = flux::returned(&mut tx, CHAIN, 5).await.unwrap();
    t.say_each("returned too early", plain(returned));
    tx.commit().await.unwrap();

    let mut tx = t.begin().await;
    let long = std::time::Duration::from_secs(600);
    let claimed = runs::claim(&mut tx, "flux", long, 100).await.unwrap();
    let over = end(dodona_model::run::State::Completed);
    for run in &claimed {
        let ended = runs::finish(&mut tx, run.id, "flux", run.generation, &over, after(2));
        assert!(ended.await.unwrap());
    }
    t.say("claimed", claimed.iter().any(|claimed| claimed.id == run));
    let returned = flux::returned(&mut tx, CHAIN, 5).await.unwrap();
    t.say_each("returned", plain(returned));
    tx.commit().await.unwrap();
}

async fn answering(t: &mut Transcript, job: JobId) {
    let mut tx = t.begin().await;
    t.say("no answer", flux::answer(&mut tx, job).await.unwrap());
    for (n, value) in [(1, "-1.5"), (2, "12345678901234567890123")] {
        flux::note_seen(&mut tx, job, value, after(n))
            .await
            .unwrap();
        t.say("seen", flux::answer(&mut tx, job).await.unwrap());
    }
    flux::note_reported(&mut tx, job, 7, 42, "-12", after(3))
        .await
        .unwrap();
    t.say("reported", flux::answer(&mut tx, job).await.unwrap());
    let figures = flux::figures(&mut tx).await.unwrap();
    let figures = figures
        .into_iter()
        .map(|one| flux::Figures { job_id: 0, ..one });
    t.say_each("figures", figures.collect());
    tx.commit().await.unwrap();
}

/// Logs of rounds are read by flux monitors, and by nobody else.
async fn rounds(t: &mut Transcript) {
    let mut tx = t.lead().await;
    let round = Log {
        topics: vec![NEW_ROUND],
        ..log(block(90, 1), 5)
    };
    logs::insert(&mut tx, CHAIN, &round).await.unwrap();
    let requests = logs::pending(&mut tx, CHAIN, u64::MAX, 99).await.unwrap();
    t.say(
        "not a request",
        requests.iter().any(|log| log.topics == round.topics),
    );
    let rounds = logs::pending_rounds(&mut tx, CHAIN, 9).await.unwrap();
    let id = rounds[0].id;
    t.say_each(
        "rounds",
        rounds.into_iter().map(|log| Log { id: 0, ..log }).collect(),
    );
    t.say("consumed", logs::consume(&mut tx, id, "").await.unwrap());
    tx.commit().await.unwrap();
}

async fn superseded_queue(t: &mut Transcript, job: JobId) {
    let mut tx = t.begin().await;
    let new = txs::NewTx {
        job_id: Some(job),
        task_run_id: None,
        ..payment(77)
    };
    txs::queue(&mut tx, &new, NOW).await.unwrap();
    for from in [new.from, address(0x99)] {
        let queued = txs::queued_of_job(&mut tx, CHAIN, from, job).await.unwrap();
        t.say(
            "queued of the job",
            queued
                .iter()
                .map(|tx| tx.spec.payload.clone())
                .collect::<Vec<_>>(),
        );
    }
    tx.commit().await.unwrap();
}

async fn deleted(t: &mut Transcript, job: JobId) {
    let mut tx = t.begin().await;
    jobs::delete(&mut tx, job, after(9)).await.unwrap();
    let gone = flux::of_chain(&mut tx, CHAIN).await.unwrap();
    t.say_each("monitors left", gone);
    t.say("answer left", flux::answer(&mut tx, job).await.unwrap());
    t.say("never", flux::NEVER == Timestamp(i64::MAX));
    tx.commit().await.unwrap();
}
