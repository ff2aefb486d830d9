use dodona_model::U256;
use dodona_store::bridges::{self, Bridge};
use dodona_store::initiators::{self, NewInitiator};
use dodona_store::notices::{self, NewNotice};
use dodona_store::{bridge_answers, keys, users, warnings};
use uuid::Uuid;

use super::Transcript;
use crate::world::{CHAIN, NOW, address, after, hash};

pub(crate) async fn play(t: &mut Transcript) {
    key_states(t).await;
    accounts(t).await;
    sessions(t).await;
    adapters(t).await;
    kept_answers(t).await;
    outsiders(t).await;
    messages(t).await;
    findings(t).await;
}

async fn kept_answers(t: &mut Transcript) {
    let mut tx = t.begin().await;
    for (task, value, at) in [
        ("a", "1", 1),
        ("b", "2", 2),
        ("a", "\"3 \0\"", 3),
        ("c", "4", 4),
    ] {
        bridge_answers::set(&mut tx, hash(1), task, value, after(at))
            .await
            .unwrap();
    }
    for (task, since) in [("a", 3), ("a", 4), ("x", 0)] {
        let found = bridge_answers::find(&mut tx, hash(1), task, after(since)).await;
        t.say("kept answer", found.unwrap());
    }
    for (before, keep) in [(0, 9), (3, 9), (0, 0), (99, 9)] {
        let pruned = bridge_answers::prune(&mut tx, after(before), keep).await;
        t.say("answers pruned", pruned.unwrap());
    }
    tx.commit().await.unwrap();
}

fn outsider(name: &str) -> NewInitiator {
    NewInitiator {
        name: name.to_owned(),
        url: (name != "quiet").then(|| "http://outside:1/".to_owned()),
        access_key: format!("key of {name}"),
        salt: "salt".to_owned(),
        secret_hash: "00ff".to_owned(),
        outgoing_token: "token".to_owned(),
        outgoing_secret: "secret".to_owned(),
    }
}

async fn outsiders(t: &mut Transcript) {
    let mut tx = t.begin().await;
    for name in ["Substrate", "quiet", "gone"] {
        initiators::insert(&mut tx, &outsider(name), NOW)
            .await
            .unwrap();
    }
    t.say(
        "by name",
        initiators::find(&mut tx, "sUBSTRATE").await.unwrap(),
    );
    t.say(
        "no name",
        initiators::find(&mut tx, "nobody").await.unwrap(),
    );
    t.say(
        "by key",
        initiators::by_key(&mut tx, "key of quiet").await.unwrap(),
    );
    t.say("no key", initiators::by_key(&mut tx, "key").await.unwrap());
    for _ in 0..2 {
        t.say("gone", initiators::delete(&mut tx, 3).await.unwrap());
    }
    t.say("how many", initiators::count(&mut tx).await.unwrap());
    t.say_each("initiators", initiators::list(&mut tx, 9, 1).await.unwrap());
    for (job, initiator) in [(1, 1), (1, 2), (2, 1)] {
        initiators::attach(&mut tx, job, initiator, "{\"a\":1}")
            .await
            .unwrap();
    }
    for (job, initiator) in [(1, 2), (2, 2)] {
        let listed = initiators::is_listed(&mut tx, job, initiator).await;
        t.say("listed", listed.unwrap());
    }
    t.say_each("of job", initiators::of_job(&mut tx, 1).await.unwrap());
    t.say("jobs", initiators::jobs_of(&mut tx, 1).await.unwrap());
    initiators::detach(&mut tx, 1).await.unwrap();
    t.say("jobs left", initiators::jobs_of(&mut tx, 1).await.unwrap());
    tx.commit().await.unwrap();

    let mut tx = t.begin().await;
    let again = initiators::insert(&mut tx, &outsider("SUBSTRATE"), NOW).await;
    t.say("a name twice", again.unwrap_err().is_duplicate());
}

async fn messages(t: &mut Transcript) {
    let mut tx = t.lead().await;
    for (initiator, job, method) in [
        (1, 7, "POST"),
        (1, 7, "DELETE"),
        (1, 8, "POST"),
        (2, 7, "POST"),
    ] {
        let new = NewNotice {
            initiator_id: initiator,
            external_job_id: Uuid::from_u128(job),
            method: method.to_owned(),
            url: "http://outside:1/".to_owned(),
            body: (method == "POST").then(|| "{\"jobId\":\"7\"}".to_owned()),
        };
        notices::insert(&mut tx, &new, NOW).await.unwrap();
    }
    t.say_each("messages", notices::due(&mut tx, NOW, 9).await.unwrap());
    notices::postpone(&mut tx, 1, after(5)).await.unwrap();
    t.say_each("one waits", notices::due(&mut tx, NOW, 9).await.unwrap());
    t.say_each("later", notices::due(&mut tx, after(5), 1).await.unwrap());
    notices::delete(&mut tx, 1).await.unwrap();
    t.say_each("its end", notices::due(&mut tx, NOW, 1).await.unwrap());
    notices::delete_of(&mut tx, 1).await.unwrap();
    t.say_each("left", notices::due(&mut tx, after(9), 9).await.unwrap());
    tx.commit().await.unwrap();
}

async fn key_states(t: &mut Transcript) {
    let mut tx = t.lead().await;
    t.say("no ring", keys::ring(&mut tx).await.unwrap());
    for ring in [[1, 0, 2], [9, 0, 9]] {
        let first = keys::first_ring(&mut tx, &ring, NOW).await.unwrap();
        t.say("the first ring", first);
    }
    keys::save_ring(&mut tx, &[3, 0, 4], after(1))
        .await
        .unwrap();
    t.say("ring", keys::ring(&mut tx).await.unwrap());
    t.say("ring", keys::ring_for_update(&mut tx).await.unwrap());
    for n in [0x20, 0x10, 0xff] {
        keys::enable(&mut tx, CHAIN, address(n), NOW).await.unwrap();
    }
    keys::enable(&mut tx, 5, address(0x10), NOW).await.unwrap();
    t.say(
        "disabled",
        keys::disable(&mut tx, CHAIN, address(0xff), after(1))
            .await
            .unwrap(),
    );
    t.say(
        "unknown",
        keys::disable(&mut tx, CHAIN, address(0xee), after(1))
            .await
            .unwrap(),
    );
    for at in 2..5 {
        let senders = keys::senders(&mut tx, CHAIN).await.unwrap();
        t.say("senders", &senders);
        keys::used(&mut tx, CHAIN, senders[0], after(at))
            .await
            .unwrap();
    }
    for from in [0, 0] {
        let taken = keys::take_nonces(&mut tx, CHAIN, address(0x10), from, 9).await;
        t.say("nonces taken", taken.unwrap());
    }
    let rich = U256::MAX;
    keys::set_balance(&mut tx, CHAIN, address(0x10), rich, None)
        .await
        .unwrap();
    keys::set_balance(
        &mut tx,
        CHAIN,
        address(0x20),
        U256::ZERO,
        Some(U256::from(1)),
    )
    .await
    .unwrap();
    for reason in ["gap", "gap", ""] {
        let news = keys::set_reason(&mut tx, CHAIN, address(0x20), reason).await;
        t.say("news", news.unwrap());
    }
    t.say_each("keys", keys::list(&mut tx).await.unwrap());
    t.say_each("of chain", keys::of_chain(&mut tx, CHAIN).await.unwrap());
    t.say_each("at work", keys::at_work(&mut tx, CHAIN).await.unwrap());
    for key in [address(0x20), address(0x99)] {
        t.say("key", keys::find(&mut tx, CHAIN, key).await.unwrap());
    }
    keys::forget(&mut tx, address(0x10)).await.unwrap();
    t.say("left", keys::list(&mut tx).await.unwrap().len());
    tx.commit().await.unwrap();
}

async fn accounts(t: &mut Transcript) {
    let mut tx = t.begin().await;
    for email in ["b@x", "B@x", "a_b@x", "a-b@x", "ä@x"] {
        users::insert(&mut tx, email, "$argon2id$", "admin", NOW)
            .await
            .unwrap();
    }
    t.say(
        "password",
        users::set_password(&mut tx, "b@x", "new", after(1))
            .await
            .unwrap(),
    );
    t.say(
        "nobody",
        users::set_password(&mut tx, "c@x", "new", after(1))
            .await
            .unwrap(),
    );
    let token = Some(("key", "salt", "hash"));
    t.say(
        "token",
        users::set_token(&mut tx, "b@x", token, after(2))
            .await
            .unwrap(),
    );
    t.say("by token", users::by_token(&mut tx, "key").await.unwrap());
    t.say("find", users::find(&mut tx, "b@x").await.unwrap());
    t.say("find nobody", users::find(&mut tx, "b@x\0").await.unwrap());
    t.say_each("users", users::list(&mut tx).await.unwrap());
    t.say(
        "no token",
        users::set_token(&mut tx, "b@x", None, after(3))
            .await
            .unwrap(),
    );
    t.say("by token", users::by_token(&mut tx, "key").await.unwrap());
    tx.commit().await.unwrap();
}

async fn sessions(t: &mut Transcript) {
    let mut tx = t.begin().await;
    for (id, email) in [
        ("1", "b@x"),
        ("2", "b@x"),
        ("3", "b@x"),
        ("4", "B@x"),
        ("5", "B@x"),
    ] {
        users::open_session(&mut tx, id, email, NOW).await.unwrap();
    }
    let alive = users::use_session(
        &mut tx,
        "1",
        after(9),
        after(0).minus(std::time::Duration::from_secs(1)),
    );
    t.say("used", alive.await.unwrap());
    t.say(
        "too old",
        users::use_session(&mut tx, "2", after(9), NOW)
            .await
            .unwrap(),
    );
    t.say("session", users::session(&mut tx, "1").await.unwrap());
    users::close_session(&mut tx, "5").await.unwrap();
    t.say("session", users::session(&mut tx, "5").await.unwrap());
    t.say(
        "others",
        users::close_other_sessions(&mut tx, "b@x", "1")
            .await
            .unwrap(),
    );
    t.say("all", users::close_sessions(&mut tx, "b@x").await.unwrap());
    t.say(
        "pruned",
        users::prune_sessions(&mut tx, after(1)).await.unwrap(),
    );
    tx.commit().await.unwrap();
}

async fn adapters(t: &mut Transcript) {
    let mut tx = t.begin().await;
    for name in ["b-ridge", "b_ridge", "Bridge", "bridge2"] {
        let new = Bridge {
            name: name.to_owned(),
            url: "http://adapter:8080/?a=b".to_owned(),
            confirmations: 2,
            incoming_token_hash: "00ff".to_owned(),
            salt: "salt".to_owned(),
            outgoing_token: "token".to_owned(),
            min_payment_juels: (name == "Bridge").then(|| U256::from(5)),
            created_at: NOW,
        };
        bridges::insert(&mut tx, &new).await.unwrap();
    }
    for name in ["Bridge", "none"] {
        let new = Some(U256::from(6));
        let done = bridges::update(&mut tx, name, "http://other", 3, new, after(1)).await;
        t.say("updated", done.unwrap());
        t.say("bridge", bridges::find(&mut tx, name).await.unwrap());
        t.say("deleted", bridges::delete(&mut tx, name).await.unwrap());
    }
    t.say_each("bridges", bridges::list(&mut tx, 2, 1).await.unwrap());
    t.say_each("demanding", bridges::demanding(&mut tx).await.unwrap());
    t.say("how many", bridges::count(&mut tx).await.unwrap());
    tx.commit().await.unwrap();
}

async fn findings(t: &mut Transcript) {
    let mut tx = t.begin().await;
    for (name, text) in [("z", "one"), ("z", "one"), ("z", "two"), ("a", "three")] {
        let news = warnings::set(&mut tx, name, text, NOW).await;
        t.say("news", news.unwrap());
    }
    t.say("findings", warnings::list(&mut tx).await.unwrap());
    for (prefix, keep) in [("z", "z"), ("z", "a"), ("z", "a"), ("", "a")] {
        let gone = warnings::clear_others(&mut tx, prefix, &[keep.to_owned()]).await;
        t.say("cleared", gone.unwrap());
    }
    t.say("left", warnings::list(&mut tx).await.unwrap());
    tx.commit().await.unwrap();
}
