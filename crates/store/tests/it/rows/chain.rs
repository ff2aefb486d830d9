use std::collections::BTreeMap;

use dodona_model::request::{Event, State};
use dodona_store::heads::{self, Cursor};
use dodona_store::logs::{self, Log};
use dodona_store::requests::{self, Happened, Incarnation, NewRequest};
use dodona_store::{jobs, runs};

use super::Transcript;
use crate::world::{CHAIN, NOW, address, after, block, hash, head, incarnation, job, log, request};

/// Row numbers may have gaps that differ; nothing depends on them.
fn unnumbered(logs: Vec<Log>) -> Vec<Log> {
    logs.into_iter().map(|log| Log { id: 0, ..log }).collect()
}

pub(crate) async fn play(t: &mut Transcript) {
    heads_and_logs(t).await;
    requests_of_blocks(t).await;
    reorganisation(t).await;
    forgetting(t).await;
}

async fn heads_and_logs(t: &mut Transcript) {
    let mut conn = t.read().await;
    t.say("no cursor", heads::cursor(&mut conn, CHAIN).await.unwrap());
    t.say("no latest", heads::latest(&mut conn, CHAIN).await.unwrap());
    drop(conn);

    let mut tx = t.lead().await;
    for number in 8..=12 {
        heads::insert(&mut tx, CHAIN, &head(number, 1))
            .await
            .unwrap();
    }
    for (at, index) in [(block(11, 1), 0), (block(10, 1), 7), (block(10, 1), 3)] {
        let news = logs::insert(&mut tx, CHAIN, &log(at, index)).await.unwrap();
        t.say("log is news", news);
    }
    let again = logs::insert(&mut tx, CHAIN, &log(block(10, 1), 3)).await;
    t.say("the same log is news", again.unwrap());
    let three = [3, 8, 9].map(|index| log(block(10, 1), index));
    let news = logs::insert_each(&mut tx, CHAIN, &three).await.unwrap();
    t.say("of three logs are news", news);
    t.say(
        "of none",
        logs::insert_each(&mut tx, CHAIN, &[]).await.unwrap(),
    );
    let bare = Log {
        topics: Vec::new(),
        data: Default::default(),
        ..log(block(12, 1), 0)
    };
    logs::insert(&mut tx, CHAIN, &bare).await.unwrap();
    let cursor = Cursor {
        block: block(12, 1),
        finalized: 9,
        updated_at: NOW,
    };
    heads::set_cursor(&mut tx, CHAIN, &cursor).await.unwrap();
    for number in [5, 3] {
        heads::set_reread(&mut tx, CHAIN, number).await.unwrap();
        let reread = heads::reread(&mut tx, CHAIN).await.unwrap();
        t.say("read again", reread);
    }
    t.say("of no chain", heads::reread(&mut tx, 99).await.unwrap());

    heads::add_filter(&mut tx, CHAIN, address(0x0a), 5)
        .await
        .unwrap();
    heads::add_filter(&mut tx, CHAIN, address(0x0a), 6)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let mut conn = t.read().await;
    t.say("cursor", heads::cursor(&mut conn, CHAIN).await.unwrap());
    t.say("latest", heads::latest(&mut conn, CHAIN).await.unwrap());
    t.say(
        "at 10",
        heads::canonical_at(&mut conn, CHAIN, 10).await.unwrap(),
    );
    t.say(
        "at 99",
        heads::canonical_at(&mut conn, CHAIN, 99).await.unwrap(),
    );
    for number in [7, 9, 99] {
        let head = heads::canonical_up_to(&mut conn, CHAIN, number).await;
        t.say("up to", head.unwrap());
    }
    let by_hash = heads::by_hash(&mut conn, CHAIN, block(9, 1).hash)
        .await
        .unwrap();
    t.say("by hash", by_hash);
    t.say("filters", heads::filters(&mut conn, CHAIN).await.unwrap());
    t.say(
        "pending",
        logs::count_pending(&mut conn, CHAIN).await.unwrap(),
    );
    let pending = logs::pending(&mut conn, CHAIN, 11, 2).await.unwrap();
    t.say_each("two pending to 11", unnumbered(pending));
    let pending = logs::pending(&mut conn, CHAIN, u64::MAX, 99).await.unwrap();
    t.say_each("all pending", unnumbered(pending));
    for after in [(10, 3), (10, 7), (12, 0)] {
        let behind = logs::pending_after(&mut conn, CHAIN, 12, after, 2).await;
        t.say_each("pending behind", unnumbered(behind.unwrap()));
    }
}

async fn requests_of_blocks(t: &mut Transcript) {
    let mut tx = t.lead().await;
    let job_id = jobs::insert(&mut tx, &job(1), NOW).await.unwrap();
    let pending = logs::pending(&mut tx, CHAIN, 11, 1).await.unwrap();
    let consumed = logs::consume(&mut tx, pending[0].id, "").await.unwrap();
    let twice = logs::consume(&mut tx, pending[0].id, "").await.unwrap();
    t.say("consumed once", (consumed, twice));
    let row = requests::insert(&mut tx, &request(job_id, 1), NOW)
        .await
        .unwrap();
    let run = runs::insert(&mut tx, job_id, "{}", NOW).await.unwrap();
    requests::set_run(&mut tx, row, run).await.unwrap();
    let refused = NewRequest {
        state: State::Refused,
        reason: "paid too little".to_owned(),
        ..request(job_id, 2)
    };
    requests::insert(&mut tx, &refused, after(1)).await.unwrap();
    tx.commit().await.unwrap();

    let mut conn = t.read().await;
    t.say("request", requests::find(&mut conn, row).await.unwrap());
    t.say(
        "of its run",
        requests::by_run(&mut conn, run).await.unwrap(),
    );
    t.say("of no run", requests::by_run(&mut conn, 999).await.unwrap());
    let mut tx = t.begin().await;
    let locked = requests::by_runs_locked(&mut tx, &[run, 999]).await;
    t.say_each("locked", locked.unwrap());
    drop(tx);
    t.say_each("requests", requests::list(&mut conn, 10).await.unwrap());
    let states = requests::count_by_state(&mut conn, CHAIN).await.unwrap();
    t.say_each("requests by state", states);
}

/// Nothing of it stays but used-up row numbers, which the engines count differently: to be played last.
pub(super) async fn several_requests_at_once(t: &mut Transcript) {
    let mut tx = t.lead().await;
    let job_id = jobs::insert(&mut tx, &job(9), NOW).await.unwrap();
    let inputs = [2, 1].map(|n| (job_id, format!("{{\"n\":{n}}}")));
    let ids = runs::insert_each(&mut tx, &inputs, NOW).await.unwrap();
    for (id, (_, inputs)) in ids.iter().zip(&inputs) {
        let run = runs::find(&mut tx, *id).await.unwrap().unwrap();
        assert_eq!(&run.inputs, inputs);
    }
    let new: Vec<NewRequest> = [31, 32]
        .into_iter()
        .zip(&ids)
        .map(|(n, run)| NewRequest {
            run_id: Some(*run),
            ..request(job_id, n)
        })
        .collect();
    let rows = requests::insert_each(&mut tx, &new, after(1))
        .await
        .unwrap();
    for (row, new) in rows.iter().zip(&new) {
        let request = requests::find(&mut tx, *row).await.unwrap().unwrap();
        assert_eq!(
            (request.request_id, request.run_id),
            (new.request_id, new.run_id)
        );
    }
    let names = [31, 99, 32].map(|n| (address(0x0a), hash(n)));
    let newest = requests::newest_lives(&mut tx, CHAIN, &names).await;
    t.say_each("newest lives", newest.unwrap());
    let second = NewRequest {
        life: 2,
        ..request(job_id, 31)
    };
    let too_soon = requests::insert_each(&mut tx, &[request(job_id, 33), second], NOW).await;
    t.say("still alive", too_soon.unwrap_err().to_string());
    let logs = logs::pending(&mut tx, CHAIN, u64::MAX, 9).await.unwrap();
    let notes: Vec<_> = logs
        .iter()
        .map(|log| (log.id, "a \0 note".to_owned()))
        .collect();
    t.say(
        "consumed",
        logs::consume_each(&mut tx, &notes).await.unwrap(),
    );
    t.say("again", logs::consume_each(&mut tx, &notes).await.unwrap());
}

async fn reorganisation(t: &mut Transcript) {
    let mut tx = t.lead().await;
    let gone = heads::rewind(&mut tx, CHAIN, 9, after(20)).await.unwrap();
    t.say("logs gone", gone);
    tx.commit().await.unwrap();

    let mut conn = t.read().await;
    t.say("latest", heads::latest(&mut conn, CHAIN).await.unwrap());
    let left = heads::by_hash(&mut conn, CHAIN, block(10, 1).hash)
        .await
        .unwrap();
    t.say("left the chain", left);
    t.say_each("requests", requests::list(&mut conn, 10).await.unwrap());
    t.say(
        "pending",
        logs::count_pending(&mut conn, CHAIN).await.unwrap(),
    );
    drop(conn);

    let mut tx = t.lead().await;
    heads::insert(&mut tx, CHAIN, &head(10, 2)).await.unwrap();
    let at = Incarnation {
        expires_at_seconds: 1_700_000_999,
        terms: hash(0x7f),
        ..incarnation(block(10, 2))
    };
    let newest = requests::newest_life(&mut tx, CHAIN, address(0x0a), hash(1)).await;
    let row = newest.unwrap().unwrap().id;
    for _ in 0..2 {
        let done =
            requests::reincarnate(&mut tx, row, State::Orphaned, State::Open, &at, after(21)).await;
        t.say("reincarnated", done.unwrap());
    }
    let events = [
        Event::Answered,
        Event::MinedAgain,
        Event::AnswerFinal,
        Event::Cancelled,
    ];
    for event in events {
        let next = requests::apply(&mut tx, row, event, "so it is", after(22)).await;
        t.say(&format!("{event:?}"), next.unwrap());
    }
    let nobody = requests::apply(&mut tx, 999, Event::Failed, "", NOW).await;
    t.say("nobody fails", nobody.unwrap());
    // One after the other happens to one request; what the arrows do not allow is passed over.
    let happened = |request, event, reason: &str| Happened {
        request,
        event,
        reason: reason.to_owned(),
    };
    let several = [
        happened(row + 1, Event::AnswerFinal, "not open"),
        happened(row + 1, Event::Orphaned, "its block went"),
        happened(999, Event::Failed, "nobody"),
    ];
    for _ in 0..2 {
        let changed = requests::apply_each(&mut tx, &several, after(22)).await;
        t.say_each("changed", changed.unwrap());
    }
    let states = requests::states(&mut tx, &[row, row + 1, 999]).await;
    let states: BTreeMap<_, _> = states.unwrap().into_iter().collect();
    t.say("states", states);
    let none = requests::states(&mut tx, &[]).await.unwrap();
    t.say("of none", none);
    let second = NewRequest {
        life: 2,
        ..request(1, 1)
    };
    requests::insert(&mut tx, &second, after(23)).await.unwrap();
    tx.commit().await.unwrap();

    let mut conn = t.read().await;
    let newest = requests::newest_life(&mut conn, CHAIN, address(0x0a), hash(1)).await;
    t.say("second life", newest.unwrap());
    t.say_each("requests", requests::list(&mut conn, 2).await.unwrap());
}

async fn forgetting(t: &mut Transcript) {
    let mut tx = t.lead().await;
    let logs = logs::prune(&mut tx, CHAIN, 11, after(1)).await.unwrap();
    t.say("logs forgotten", logs);
    let heads = heads::prune(&mut tx, CHAIN, 10).await.unwrap();
    t.say("heads forgotten", heads);
    tx.commit().await.unwrap();
    let mut conn = t.read().await;
    t.say(
        "at 9",
        heads::canonical_at(&mut conn, CHAIN, 9).await.unwrap(),
    );
}
