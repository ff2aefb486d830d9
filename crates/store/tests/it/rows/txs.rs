use dodona_model::tx::Event;
use dodona_model::{TxId, U256};
use dodona_store::txs::{self, Fee, Inclusion, NewAttempt, NewTx, Tx};
use uuid::Uuid;

use super::Transcript;
use crate::world::{CHAIN, NOW, address, after, attempt, block, hash, payment};

pub(crate) async fn play(t: &mut Transcript) {
    let [answered, refused, lost] = queue(t).await;
    sign(t, answered, lost).await;
    mine(t, answered).await;
    give_up(t, refused, lost).await;
    lists(t).await;
    forgetting(t).await;
    queue_together(t).await;
}

async fn get(t: &Transcript, id: TxId) -> Tx {
    let mut conn = t.read().await;
    txs::find(&mut conn, id).await.unwrap().unwrap()
}

async fn queue(t: &mut Transcript) -> [TxId; 3] {
    let task_run = Uuid::from_u128(0x7001);
    let answer = NewTx {
        task_run_id: Some(task_run),
        run_id: Some(1),
        job_id: Some(1),
        request_row: Some(1),
        min_confirmations: None,
        signal_needed: true,
        meta: "{\"requestID\":\"0x01\"}".to_owned(),
        ..payment(1)
    };
    // The request of row 1 is closed by now, so this one stays out of the way of `queued`.
    let mut tx = t.begin().await;
    let first = txs::queue(&mut tx, &answer, NOW).await.unwrap();
    let same = txs::queue(&mut tx, &answer, after(1)).await.unwrap();
    t.say("the same answer stays", first == same);
    let told = NewTx {
        signal_needed: false,
        ..answer.clone()
    };
    txs::queue(&mut tx, &told, after(1)).await.unwrap();
    t.say(
        "nobody waits",
        txs::living_of(&mut tx, task_run).await.unwrap(),
    );
    let anew = NewTx {
        payload: vec![9; 40].into(),
        to: address(0x0f),
        from: address(0xf0),
        ..answer
    };
    txs::queue(&mut tx, &anew, after(2)).await.unwrap();
    let rich = NewTx {
        value_wei: U256::from(1) << 200,
        ..payment(2)
    };
    let rich = txs::queue(&mut tx, &rich, after(1)).await.unwrap();
    let poor = txs::queue(&mut tx, &payment(3), after(3)).await.unwrap();
    let living = txs::living_of_each(&mut tx, &[Uuid::from_u128(1), task_run]).await;
    t.say("living", living.unwrap());
    t.say(
        "living of none",
        txs::living_of_each(&mut tx, &[]).await.unwrap(),
    );
    tx.commit().await.unwrap();

    let mut conn = t.read().await;
    t.say("encoded anew", txs::find(&mut conn, first).await.unwrap());
    t.say("no row", txs::find(&mut conn, 999).await.unwrap());
    let queued = txs::queued(&mut conn, CHAIN, address(0xf0), NOW, 9).await;
    t.say_each("queued", queued.unwrap());
    drop(conn);

    let mut conn = t.read().await;
    // Their request is in block 10.
    for finalized in [9, 10] {
        let stranded = txs::stranded(&mut conn, CHAIN, finalized, 9).await;
        t.say_each("stranded", stranded.unwrap());
    }
    drop(conn);

    let mut tx = t.lead().await;
    txs::postpone(&mut tx, rich, "out of funds", after(60), true)
        .await
        .unwrap();
    txs::postpone(&mut tx, rich, "still", after(60), false)
        .await
        .unwrap();
    for at in [0, 60] {
        let queued = txs::queued(&mut tx, CHAIN, address(0xf0), after(at), 9).await;
        t.say_each("queued later", queued.unwrap());
    }
    tx.commit().await.unwrap();
    [first, rich, poor]
}

async fn queue_together(t: &mut Transcript) {
    let answer = NewTx {
        task_run_id: Some(Uuid::from_u128(0x7003)),
        run_id: Some(1),
        ..payment(1)
    };
    let mut tx = t.begin().await;
    txs::queue(&mut tx, &answer, NOW).await.unwrap();
    tx.commit().await.unwrap();
    let second = NewTx {
        task_run_id: Some(Uuid::from_u128(0x7004)),
        value_wei: U256::MAX,
        fail_on_revert: true,
        simulate: false,
        min_confirmations: Some(3),
        meta: "{\"note\":\"\0 \\u0000\"}".to_owned(),
        ..answer.clone()
    };
    let bare = NewTx {
        payload: Default::default(),
        ..payment(4)
    };
    let mut tx = t.begin().await;
    txs::queue_each(&mut tx, &[], NOW).await.unwrap();
    txs::queue_each(&mut tx, &[second.clone(), bare], after(1))
        .await
        .unwrap();
    let together: Vec<Tx> = txs::list(&mut tx, false, 2, 0).await.unwrap();
    let together = together.into_iter().map(|tx| Tx { id: 0, ..tx });
    t.say_each("queued together", together.collect());
    drop(tx);

    let mut tx = t.begin().await;
    let twice = txs::queue_each(&mut tx, &[second, answer], after(1)).await;
    t.say("one is there", twice.unwrap_err().is_duplicate());
}

async fn sign(t: &mut Transcript, answered: TxId, lost: TxId) {
    let (answer, poor) = (get(t, answered).await, get(t, lost).await);
    let mut tx = t.lead().await;
    for _ in 0..2 {
        let signed = txs::sign(&mut tx, &answer, 5, &attempt(&answer, 0x11), after(4)).await;
        t.say("signed", signed.unwrap());
    }
    let legacy = NewAttempt {
        fee: Fee::Legacy {
            gas_price: U256::from(30_000_000_000u64),
        },
        first_block: None,
        ..attempt(&poor, 0x21)
    };
    t.say(
        "signed",
        txs::sign(&mut tx, &poor, 6, &legacy, after(4))
            .await
            .unwrap(),
    );
    txs::insert_attempt(&mut tx, &attempt(&answer, 0x12), after(5))
        .await
        .unwrap();
    let bumped = txs::attempts(&mut tx, answered).await.unwrap();
    let bumped = bumped.last().unwrap().id;
    txs::note_attempt(&mut tx, bumped, false, "too low \0")
        .await
        .unwrap();
    let signed = txs::newest_attempts_signed(&mut tx, CHAIN, address(0xf0)).await;
    t.say_each("newest attempts", signed.unwrap());
    t.say(
        "handed over",
        txs::handed_over(&mut tx, answered, after(6)).await.unwrap(),
    );
    let sent = txs::all_handed_over(&mut tx, &[(bumped, answered)], after(6)).await;
    t.say("sent", sent.unwrap());
    txs::note(&mut tx, lost, "nobody takes it", after(7))
        .await
        .unwrap();
    let why = "nobody ever will";
    t.say(
        "nothing more to send",
        txs::give_up(&mut tx, lost, why).await.unwrap(),
    );
    t.say("too late", txs::give_up(&mut tx, 999, why).await.unwrap());
    let in_flight = txs::in_flight(&mut tx, CHAIN, address(0xf0)).await.unwrap();
    t.say("in flight", in_flight);
    tx.commit().await.unwrap();

    let mut conn = t.read().await;
    t.say_each(
        "unfinished",
        txs::unfinished(&mut conn, CHAIN).await.unwrap(),
    );
    t.say_each(
        "attempts",
        txs::attempts(&mut conn, answered).await.unwrap(),
    );
    let of = txs::attempts_of(&mut conn, &[answered, lost])
        .await
        .unwrap();
    t.say_each("attempts of two", of);
    t.say_each("of none", txs::attempts_of(&mut conn, &[]).await.unwrap());
    let all = txs::attempts_unfinished(&mut conn, CHAIN).await.unwrap();
    t.say_each("attempts unfinished", all);
    let oldest = txs::oldest_first_block(&mut conn, CHAIN).await.unwrap();
    t.say("oldest first block", oldest);
    let none = txs::oldest_first_block(&mut conn, 99).await.unwrap();
    t.say("none", none);
    let highest = txs::highest_nonce(&mut conn, CHAIN, address(0xf0)).await;
    t.say("highest nonce", highest.unwrap());
    let none = txs::highest_nonce(&mut conn, CHAIN, address(0xf1)).await;
    t.say("no nonce", none.unwrap());
    let states = txs::count_by_state(&mut conn, CHAIN).await.unwrap();
    t.say_each("by state", states);
}

async fn mine(t: &mut Transcript, id: TxId) {
    let inclusion = Inclusion {
        hash: hash(0x12),
        block: block(20, 1),
        succeeded: true,
        receipt: "{\"status\":\"0x1\"}".to_owned(),
    };
    let sent = get(t, id).await;
    let mut tx = t.lead().await;
    let done = txs::include(&mut tx, &sent, &inclusion, "an older attempt", after(8)).await;
    t.say("included", done.unwrap());
    tx.commit().await.unwrap();
    let mined = get(t, id).await;
    t.say("mined", &mined);

    let mut tx = t.lead().await;
    // Its block is 20: nothing to do for it below that, everything from there on.
    for (what, finalized, head) in [("final", 20, 20), ("not yet", 19, 20), ("told", 1, 99)] {
        let due = txs::mined_due(&mut tx, CHAIN, finalized, head)
            .await
            .unwrap();
        t.say_each(what, due.iter().map(|tx| tx.id).collect());
    }
    t.say_each(
        "by state",
        txs::count_by_state(&mut tx, CHAIN).await.unwrap(),
    );
    t.say("reorged", txs::reorged(&mut tx, &mined).await.unwrap());
    tx.commit().await.unwrap();
    let back = get(t, id).await;
    t.say("back", &back);

    let mut tx = t.lead().await;
    txs::include(&mut tx, &back, &inclusion, "", after(9))
        .await
        .unwrap();
    for _ in 0..2 {
        let done = txs::finalize_each(&mut tx, &[&mined]).await.unwrap();
        t.say_each("final", done);
    }
    t.say_each(
        "awaited",
        txs::awaited_dead(&mut tx, CHAIN, 9).await.unwrap(),
    );
    for _ in 0..2 {
        t.say("told", txs::signalled(&mut tx, id).await.unwrap());
    }
    t.say_each(
        "awaited",
        txs::awaited_dead(&mut tx, CHAIN, 9).await.unwrap(),
    );
    tx.commit().await.unwrap();
}

async fn give_up(t: &mut Transcript, refused: TxId, lost: TxId) {
    let (queued, signed) = (get(t, refused).await, get(t, lost).await);
    let mut tx = t.begin().await;
    for _ in 0..2 {
        let died = txs::die(&mut tx, &queued, Event::Refused, "the budget of the day").await;
        t.say("refused", died.unwrap());
    }
    let died = txs::die(&mut tx, &signed, Event::NonceLost, "used elsewhere").await;
    t.say("lost", died.unwrap());
    let task_run = Uuid::from_u128(0x7002);
    let mut again = NewTx {
        task_run_id: Some(task_run),
        ..payment(4)
    };
    let dead = txs::queue(&mut tx, &again, after(10)).await.unwrap();
    let row = txs::find(&mut tx, dead).await.unwrap().unwrap();
    txs::die(&mut tx, &row, Event::Refused, "no").await.unwrap();
    again.request_row = Some(1);
    let fresh = txs::queue(&mut tx, &again, after(11)).await.unwrap();
    t.say("a fresh one", fresh != dead);
    t.say("superseded", txs::find(&mut tx, dead).await.unwrap());
    tx.commit().await.unwrap();
}

async fn lists(t: &mut Transcript) {
    let mut conn = t.read().await;
    t.say_each("all", txs::list(&mut conn, false, 9, 0).await.unwrap());
    t.say_each("attempted", txs::list(&mut conn, true, 1, 1).await.unwrap());
    t.say("how many", txs::count_attempted(&mut conn).await.unwrap());
    t.say(
        "by hash",
        txs::by_hash(&mut conn, hash(0x11)).await.unwrap(),
    );
    t.say(
        "no hash",
        txs::by_hash(&mut conn, hash(0x77)).await.unwrap(),
    );
    t.say_each("of request", txs::of_request(&mut conn, 1).await.unwrap());
    let answered = txs::answered(&mut conn, &[999, 1]).await;
    t.say("answered", answered.unwrap());
    t.say("of none", txs::answered(&mut conn, &[]).await.unwrap());
    t.say_each("by ids", txs::by_ids(&mut conn, &[2, 1, 99]).await.unwrap());
    t.say_each("by no ids", txs::by_ids(&mut conn, &[]).await.unwrap());
    t.say_each(
        "attempts",
        txs::list_attempts(&mut conn, 2, 1).await.unwrap(),
    );
    t.say(
        "attempts in all",
        txs::count_attempts(&mut conn).await.unwrap(),
    );
}

async fn forgetting(t: &mut Transcript) {
    let mut tx = t.begin().await;
    t.say("forgotten", txs::prune(&mut tx, after(1), 9).await.unwrap());
    t.say("one more", txs::prune(&mut tx, after(99), 1).await.unwrap());
    t.say("attempts left", txs::count_attempts(&mut tx).await.unwrap());
    tx.commit().await.unwrap();
}
