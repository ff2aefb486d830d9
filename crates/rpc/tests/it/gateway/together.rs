//! Many subscribers who are told by one task: each is told its own, whatever the others want.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::upstream::{Fault, Receipts, hash_of};
use super::{Door, Socket, asked_of, number, upstreams};

/// More than there are workers, so that some are served by the same one.
const MANY: usize = 17;
const NOBODYS: &str = "0x9999999999999999999999999999999999999999";

async fn sockets(door: &Door, count: usize) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(door.socket().await);
    }
    sockets
}

#[tokio::test]
async fn who_wants_other_logs_does_not_wait_for_those_that_cannot_be_had() {
    let clients = upstreams(2).await;
    for client in &clients {
        client.has_receipts(Receipts::Lacks).suffers(Fault::Fails(
            "eth_getLogs",
            -32000,
            "no logs today",
        ));
    }
    let door = Door::before(&clients).await;
    let mut waiting = sockets(&door, MANY).await;
    for socket in &mut waiting {
        socket.subscribe(json!(["logs", {}])).await;
    }
    let mut others = sockets(&door, MANY).await;
    for socket in &mut others {
        socket
            .subscribe(json!(["logs", {"address": NOBODYS}]))
            .await;
        socket.subscribe(json!(["newHeads"])).await;
    }
    let at = |block| {
        clients.iter().for_each(|client| {
            client.is_at(block);
        })
    };
    at(102);
    for socket in &mut others {
        for block in [101, 102] {
            assert_eq!(socket.told().await.1["hash"], json!(hash_of(block, 0)));
        }
    }
    // They can be had again: nothing is missing, and the next block is told as ever.
    for client in &clients {
        client.suffers(Fault::Well);
    }
    for socket in &mut waiting {
        for block in [101, 102] {
            assert_eq!(socket.told().await.1["blockHash"], json!(hash_of(block, 0)));
        }
    }
    at(103);
    for socket in &mut waiting {
        assert_eq!(socket.told().await.1["blockHash"], json!(hash_of(103, 0)));
    }
    for socket in &mut others {
        assert_eq!(socket.told().await.1["hash"], json!(hash_of(103, 0)));
    }
}

#[tokio::test]
async fn logs_of_a_block_that_left_are_not_waited_for() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let mut sockets = sockets(&door, 3 * MANY).await;
    for socket in &mut sockets {
        socket.subscribe(json!(["newHeads"])).await;
        socket.subscribe(json!(["logs", {}])).await;
    }
    for client in &clients {
        let slow = Fault::SlowAt("eth_getLogs", Duration::from_secs(5));
        client.has_receipts(Receipts::Lacks).suffers(slow);
    }
    clients.iter().for_each(|client| {
        client.is_at(101);
    });
    for socket in &mut sockets {
        assert_eq!(socket.told().await.1["hash"], json!(hash_of(101, 0)));
    }
    clients.iter().for_each(|client| {
        client.reorganises(100, 102);
    });
    // Each of them: the heads of the branch, and no word of logs that were never told.
    for socket in &mut sockets {
        assert_eq!(socket.told().await.1["hash"], json!(hash_of(101, 1)));
    }
    // None of them asked for itself alone.
    let asked = asked_of(&clients, "eth_getLogs");
    assert!(asked < sockets.len(), "{asked} questions");
    for client in &clients {
        client.suffers(Fault::Well);
    }
    for socket in &mut sockets {
        let (_, log) = socket.told().await;
        assert_eq!(
            (&log["blockHash"], &log["removed"]),
            (&json!(hash_of(101, 1)), &json!(false))
        );
        assert_eq!(socket.told().await.1["hash"], json!(hash_of(102, 1)));
        assert_eq!(socket.told().await.1["blockHash"], json!(hash_of(102, 1)));
    }
}

#[tokio::test]
async fn what_is_granted_while_logs_are_waited_for_is_told_like_the_rest() {
    let clients = upstreams(2).await;
    for client in &clients {
        let fails = Fault::Fails("eth_getLogs", -32000, "no logs today");
        client.has_receipts(Receipts::Lacks).suffers(fails);
    }
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    let first = socket.subscribe(json!(["newHeads"])).await;
    let logs = socket.subscribe(json!(["logs", {}])).await;
    let at = |block| {
        clients.iter().for_each(|client| {
            client.is_at(block);
        });
    };
    at(101);
    assert_eq!(socket.told().await.0, first);
    // Its place among others is being left, or is left already.
    let second = socket.subscribe(json!(["newHeads"])).await;
    socket.subscribe(json!(["syncing"])).await;
    at(102);
    door.reaches(102).await;
    for client in &clients {
        client.suffers(Fault::Well);
    }
    assert_eq!(socket.told().await.0, logs);
    at(103);
    let mut due = Vec::new();
    for block in [102, 103] {
        due.push((&first, "hash", block));
        due.push((&second, "hash", block));
        due.push((&logs, "blockHash", block));
    }
    for (id, member, block) in due {
        let (of, what) = socket.told().await;
        assert_eq!((&of, &what[member]), (id, &json!(hash_of(block, 0))));
    }
}

#[tokio::test]
async fn who_is_behind_catches_up_also_where_logs_take_longer_than_blocks() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let mut socket = door.socket().await;
    socket.subscribe(json!(["logs", {}])).await;
    for client in &clients {
        let slow = Fault::SlowAt("eth_getLogs", Duration::from_secs(1));
        client.has_receipts(Receipts::Lacks).suffers(slow);
        client.is_at(124);
    }
    for block in 101..=124 {
        assert_eq!(socket.told().await.1["blockHash"], json!(hash_of(block, 0)));
        // One after another, one had been asked about by now.
        let asked = asked_of(&clients, "eth_getLogs");
        assert!(block > 101 || asked >= 6, "{asked} questions");
    }
}

/// A subscription, the first block it is told of, and whether it is to heads.
struct Held {
    id: String,
    from: u64,
    to: Option<u64>,
    is_heads: bool,
}

impl Held {
    /// Where its notifications have the block's number.
    fn member(&self) -> &'static str {
        if self.is_heads {
            "number"
        } else {
            "blockNumber"
        }
    }
}

#[tokio::test]
async fn each_subscription_is_told_every_block_once_while_others_come_and_go() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let mut sockets = sockets(&door, MANY).await;
    let mut held: Vec<Vec<Held>> = (0..MANY).map(|_| Vec::new()).collect();
    let mut block = 100;
    for round in 0..40_usize {
        let who = round * 5 % MANY;
        let is_heads = round % 3 == 0;
        let topic = match round % 3 {
            0 => json!(["newHeads"]),
            1 => json!(["logs", {}]),
            _ => json!(["logs", {"address": format!("0x{}", "11".repeat(20))}]),
        };
        // Some want what nobody is told together with others, and then no more.
        if round % 7 == 0 {
            let id = sockets[who].subscribe(json!(["syncing"])).await;
            let gone = sockets[who].ask("eth_unsubscribe", json!([id])).await;
            assert_eq!(gone["result"], true);
        }
        let id = sockets[who].subscribe(topic).await;
        held[who].push(Held {
            id,
            from: block + 1,
            to: None,
            is_heads,
        });
        let other = (round * 3 + 1) % MANY;
        if round % 4 == 3
            && let Some(ends) = held[other].iter_mut().find(|it| it.to.is_none())
        {
            // All it is owed has come before.
            let is_last = |message: &Value| {
                let params = &message["params"];
                params["subscription"] == ends.id
                    && params["result"][ends.member()] == json!(format!("{block:#x}"))
            };
            if ends.from <= block {
                sockets[other].keeps_until(is_last).await;
            }
            let gone = sockets[other]
                .ask("eth_unsubscribe", json!([ends.id]))
                .await;
            assert_eq!(gone["result"], true);
            ends.to = Some(block);
        }
        if round % 6 == 5 {
            // One leaves without a word.
            sockets[who] = door.socket().await;
            held[who].clear();
        }
        block += 1 + (round as u64 & 1);
        clients.iter().for_each(|client| {
            client.is_at(block);
        });
        door.reaches(block).await;
    }
    for (socket, held) in sockets.iter_mut().zip(&held) {
        let mut told: HashMap<String, Vec<u64>> = HashMap::new();
        let last = |it: &Held| it.to.unwrap_or(block);
        let due: u64 = held
            .iter()
            .map(|it| (last(it) + 1).saturating_sub(it.from))
            .sum();
        for _ in 0..due {
            let (id, what) = socket.told().await;
            let one = held.iter().find(|it| it.id == id).unwrap();
            told.entry(id)
                .or_default()
                .push(number(&what[one.member()]));
        }
        for one in held {
            let blocks: Vec<u64> = (one.from..=last(one)).collect();
            let told = told.remove(&one.id).unwrap_or_default();
            assert_eq!(told, blocks, "{}", one.id);
        }
        // And nothing beyond that.
        assert!(socket.ask("eth_chainId", json!([])).await["result"].is_string());
        assert!(socket.kept().is_empty(), "{:?}", socket.kept());
    }
}
