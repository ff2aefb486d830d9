//! What is not asked twice: answers kept while they are true, questions joined, batches, budgets.

use std::time::Duration;

use dodona_rpc::gateway::GatewayConfig;
use dodona_testkit::until;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::upstream::{Fault, Upstream, hash_of};
use super::{Door, number, upstreams};

fn asked(clients: &[Upstream], method: &str) -> usize {
    clients.iter().map(|client| client.asked(method)).sum()
}

#[tokio::test]
async fn an_answer_about_a_block_is_kept_until_the_chain_says_something_else() {
    let clients = upstreams(2).await;
    let door = Door::that_keeps_answers(&clients).await;
    let latest = || door.result("eth_call", json!([{}, "latest"]));
    for _ in 0..5 {
        assert_eq!(number(&latest().await), 100);
    }
    assert_eq!(asked(&clients, "eth_call"), 1);
    clients.iter().for_each(|client| {
        client.is_at(101);
    });
    door.reaches(101).await;
    assert_eq!(number(&latest().await), 101);
    // The block before is still what it was.
    assert_eq!(
        number(&door.result("eth_call", json!([{}, "0x64"])).await),
        100
    );
    assert_eq!(asked(&clients, "eth_call"), 2);
    // The same height on another branch is another question.
    let at = json!(["0x65", false]);
    let block = door.result("eth_getBlockByNumber", at.clone()).await;
    assert_eq!(block["hash"], json!(hash_of(101, 0)));
    clients.iter().for_each(|client| {
        client.reorganises(100, 102);
    });
    door.reaches(102).await;
    let block = door.result("eth_getBlockByNumber", at).await;
    assert_eq!(block["hash"], json!(hash_of(101, 1)));
    let before = asked(&clients, "eth_call");
    assert_eq!(
        number(&door.result("eth_call", json!([{}, "0x65"])).await),
        101
    );
    assert_eq!(asked(&clients, "eth_call"), before + 1);
}

#[tokio::test]
async fn what_may_change_without_a_new_block_is_asked_each_time() {
    let clients = upstreams(1).await;
    let door = Door::that_keeps_answers(&clients).await;
    for _ in 0..3 {
        door.result("eth_call", json!([{}, "pending"])).await;
        let none = door
            .result("eth_getTransactionReceipt", json!([hash_of(1, 3)]))
            .await;
        assert_eq!(none, Value::Null);
    }
    assert_eq!(clients[0].asked("eth_call"), 3);
    assert_eq!(clients[0].asked("eth_getTransactionReceipt"), 3);
}

#[tokio::test]
async fn the_same_question_of_many_callers_is_put_once() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    clients[0].suffers(Fault::SlowAt("eth_call", Duration::from_millis(300)));
    let asks = (0..20).map(|n| {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"eth_call","params":[{{}},"latest"]}}"#);
        let door = &door;
        async move { (n, door.post(body).await) }
    });
    for (n, answer) in join_all(asks).await {
        assert_eq!(
            answer,
            format!(r#"{{"jsonrpc":"2.0","id":{n},"result":"0x64"}}"#)
        );
    }
    assert!(clients[0].asked("eth_call") <= 3);
}

fn batch(count: u64) -> String {
    let requests: Vec<Value> = (0..count)
        .map(|n| json!({ "jsonrpc": "2.0", "id": format!("n{n}"), "method": "eth_call", "params": [{ "data": format!("{n:#x}") }, "latest"] }))
        .collect();
    json!(requests).to_string()
}

/// Every answer is there, in order, about this block.
fn complete(answer: &str, count: u64, block: u64) {
    let answers: Vec<Value> = serde_json::from_str(answer).unwrap();
    assert_eq!(answers.len() as u64, count);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], format!("n{n}"));
        assert_eq!(number(&answer["result"]), block, "{answer}");
    }
}

#[tokio::test]
async fn a_batch_goes_to_an_upstream_as_a_batch() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    complete(&door.post(batch(50)).await, 50, 100);
    let batches = [clients[0].batches(), clients[1].batches()].concat();
    assert_eq!(batches, [50]);
    assert_eq!(asked(&clients, "eth_call"), 50);
}

#[tokio::test]
async fn a_batch_too_large_for_an_upstream_is_split_and_the_limit_is_learned() {
    let clients = upstreams(1).await;
    clients[0].takes_batches_of(10);
    let door = Door::before(&clients).await;
    complete(&door.post(batch(60)).await, 60, 100);
    let first = clients[0].batches();
    assert!(first.iter().any(|size| *size > 10), "{first:?}");
    complete(&door.post(batch(60)).await, 60, 100);
    let then = &clients[0].batches()[first.len()..];
    assert!(
        then.iter().filter(|size| **size > 10).count() <= 2,
        "{then:?}"
    );
}

#[tokio::test]
async fn an_element_that_fails_in_a_batch_is_asked_again_elsewhere() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    for fault in [
        Fault::Fails("eth_call", -32603, "internal error"),
        Fault::Truncates,
        Fault::Page(502),
        Fault::WrongId,
        Fault::BreaksAfter(200),
    ] {
        clients[0].suffers(fault);
        complete(&door.post(batch(10)).await, 10, 100);
    }
    clients.iter().for_each(|client| {
        client.suffers(Fault::Fails("eth_call", 3, "execution reverted"));
    });
    let answers: Vec<Value> = serde_json::from_str(&door.post(batch(4)).await).unwrap();
    for answer in answers {
        assert_eq!(answer["error"]["code"], 3);
    }
}

#[tokio::test]
async fn all_of_a_batch_is_about_one_block() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let mixed = |n: u64| {
        json!([
            { "id": 1, "method": "eth_call", "params": [{ "data": format!("{n:#x}") }, "latest"] },
            { "id": 2, "method": "eth_getBlockByNumber", "params": ["latest", false] },
            { "id": 3, "method": "eth_getBalance", "params": [format!("{n:#x}"), "latest"] },
        ])
        .to_string()
    };
    for n in 0..40 {
        // A block comes while the batch is on its way.
        let (answer, ()) = tokio::join!(door.post(mixed(n)), async {
            clients.iter().for_each(|client| {
                client.is_at(101 + n);
            });
        });
        let answers: Vec<Value> = serde_json::from_str(&answer).unwrap();
        let block = number(&answers[1]["result"]["number"]);
        assert_eq!(number(&answers[0]["result"]), block);
        assert_eq!(number(&answers[2]["result"]), block);
    }
}

#[tokio::test]
async fn a_pause_an_upstream_asks_for_is_kept_and_waited_for_when_nobody_else_is_there() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    clients[0].suffers(Fault::Limits(1));
    let first = tokio::spawn({
        let body = r#"{"id":1,"method":"eth_call","params":[{},"latest"]}"#;
        let post = door
            .client
            .post(format!("http://{}/", door.address))
            .body(body);
        async move { post.send().await.unwrap().text().await.unwrap() }
    });
    until("it is limited", || async {
        let status = door.status_of("a").await;
        status["notAsked"]
            .to_string()
            .contains("hold back")
            .then_some(())
    })
    .await;
    clients[0].suffers(Fault::Well);
    let asked = clients[0].asked("eth_call");
    // The next one waits for the end of the pause too, and gets its answer.
    assert_eq!(
        number(&door.result("eth_call", json!([{}, "0x63"])).await),
        99
    );
    assert!(first.await.unwrap().contains(r#""result":"0x64""#));
    assert_eq!(clients[0].asked("eth_call"), asked + 2);
}

#[tokio::test]
async fn a_quota_spent_everywhere_is_said_and_makes_no_storm() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients.iter().for_each(|client| {
        client.suffers(Fault::Limits(30));
    });
    for _ in 0..20 {
        let answer = door.ask("eth_call", json!([{}, "latest"])).await;
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
    }
    // Each was asked until it said so, and no more.
    assert!(
        asked(&clients, "eth_call") <= 4,
        "{}",
        asked(&clients, "eth_call")
    );
}

#[tokio::test]
async fn an_upstream_is_asked_no_more_than_its_budget_allows() {
    let clients = upstreams(2).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.nodes[0].rate_per_second = Some(20.0);
        // Asked first, as far as it goes.
        pool.nodes[0].order = 1;
    })
    .await;
    let before = clients[0].asked("eth_call");
    let started = std::time::Instant::now();
    for n in 0..300_u64 {
        door.result("eth_call", json!([{ "data": format!("{n:#x}") }, "latest"]))
            .await;
    }
    let got = clients[0].asked("eth_call") - before;
    let most = 20.0 + 20.0 * started.elapsed().as_secs_f64();
    assert!(
        got > 0 && got as f64 <= most + 1.0,
        "{got} of at most {most}"
    );
    // The other one has the rest, and what was asked twice for being late.
    assert!(clients[1].asked("eth_call") + got >= 300);
}

#[tokio::test]
async fn beyond_the_budgets_of_all_upstreams_callers_are_told_at_once_when_to_come_back() {
    let clients = upstreams(1).await;
    let door = Door::with(&clients, GatewayConfig::default(), |pool| {
        pool.nodes[0].rate_per_second = Some(5.0);
    })
    .await;
    let started = std::time::Instant::now();
    let asked = (0..100_u64).map(|n| {
        let call = json!([{ "data": format!("{n:#x}") }, "latest"]);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": call});
        let request = door.client.post(&door.url).body(body.to_string());
        async move {
            let response = request.send().await.unwrap();
            let wait = response.headers().get("retry-after").cloned();
            let status = response.status().as_u16();
            let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
            (status, wait, answer, started.elapsed())
        }
    });
    let (mut answered, mut refused) = (0, 0);
    for (status, wait, answer, after) in futures_util::future::join_all(asked).await {
        if answer["error"].is_null() {
            answered += 1;
            continue;
        }
        refused += 1;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (429, &json!(-32005)),
            "{answer}"
        );
        let wait: u64 = wait.unwrap().to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        // Not after the time a call may take, which is what they waited in vain for before.
        assert!(after < Duration::from_secs(4), "{after:?}");
    }
    assert!(answered >= 5 && refused >= 50, "{answered} and {refused}");
}

#[tokio::test]
async fn the_range_of_logs_an_upstream_takes_is_learned_for_each() {
    let clients = upstreams(2).await;
    clients.iter().for_each(|client| {
        client.is_at(2000);
    });
    clients[0].takes_ranges_of(50);
    let door = Door::before(&clients).await;
    let logs = || async {
        let filter = json!([{"fromBlock": "0x1", "toBlock": "0x7d0"}]);
        let logs = door.result("eth_getLogs", filter).await;
        assert_eq!(logs.as_array().unwrap().len(), 2000);
    };
    for _ in 0..4 {
        logs().await;
    }
    // One takes everything at once, so the other is not asked for parts any more.
    let before = clients[0].asked("eth_getLogs");
    let at_once = clients[1].asked_with("eth_getLogs").len();
    logs().await;
    let ranges = |from: usize, client: &Upstream| {
        let asked = client.asked_with("eth_getLogs");
        let ranges = asked[from..]
            .iter()
            .filter(|it| !it[0]["fromBlock"].is_null());
        ranges.count()
    };
    assert_eq!(ranges(before, &clients[0]), 0);
    assert_eq!(ranges(at_once, &clients[1]), 1);
}

#[tokio::test]
async fn an_empty_list_where_the_header_speaks_of_logs_is_not_believed() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    for block in 101..=105 {
        clients.iter().for_each(|client| {
            client.is_at(block);
        });
        door.reaches(block).await;
    }
    clients[0].hides_logs(true);
    for _ in 0..20 {
        let filter = json!([{"fromBlock": "0x66", "toBlock": "0x66", "topics": [hash_of(102, 0)]}]);
        let logs = door.result("eth_getLogs", filter).await;
        assert_eq!(logs.as_array().unwrap().len(), 1);
    }
    // Truly none is none.
    let filter = json!([{"fromBlock": "0x66", "toBlock": "0x66", "topics": [hash_of(1, 77)]}]);
    assert_eq!(door.result("eth_getLogs", filter).await, json!([]));
}
