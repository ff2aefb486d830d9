//! Transactions: to everybody, with one answer.

use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::Encodable2718;
use alloy::primitives::{B256, Bytes, TxKind, U256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use dodona_rpc::NodeConfig;
use dodona_rpc::gateway::GatewayConfig;
use dodona_testkit::until;
use serde_json::{Value, json};

use super::upstream::{CHAIN, Fault, Upstream, own_hash};
use super::{Door, upstreams};

const SEND: &str = "eth_sendRawTransaction";
const RAW: &str = "0x02f86b01";

fn hash() -> Value {
    json!(keccak256([0x02, 0xf8, 0x6b, 0x01]))
}

fn signed_for(chain_id: u64) -> (Bytes, B256) {
    let transaction = TxEip1559 {
        chain_id,
        gas_limit: 21_000,
        max_fee_per_gas: 1,
        to: TxKind::Call(Default::default()),
        value: U256::ONE,
        ..TxEip1559::default()
    };
    let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap();
    let signature = signer
        .sign_hash_sync(&transaction.signature_hash())
        .unwrap();
    let envelope: TxEnvelope = transaction.into_signed(signature).into();
    (envelope.encoded_2718().into(), *envelope.tx_hash())
}

async fn message(door: &Door, raw: &str) -> String {
    let answer = door.ask(SEND, json!([raw])).await;
    answer["error"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

fn all_say(clients: &[Upstream], words: &[&'static str]) {
    for (client, words) in clients.iter().zip(words) {
        client.suffers(Fault::Fails(SEND, -32000, words));
    }
}

#[tokio::test]
async fn a_transaction_goes_to_a_send_only_upstream_which_decides_nothing() {
    let clients = upstreams(3).await;
    let door = Door::with(&clients[..2], GatewayConfig::default(), |pool| {
        pool.nodes.push(NodeConfig {
            send_only: true,
            ..NodeConfig::primary("s", clients[2].url())
        });
    })
    .await;
    all_say(&clients[..2], &["insufficient funds", "insufficient funds"]);
    assert_eq!(message(&door, RAW).await, "insufficient funds");
    assert_eq!(clients[2].asked(SEND), 1);
}

#[tokio::test]
async fn an_upstream_that_swallows_transactions_does_not_keep_them_from_the_others() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].suffers(Fault::SlowAt(SEND, Duration::from_secs(60)));
    assert_eq!(door.result(SEND, json!([RAW])).await, hash());
    assert_eq!(clients[1].asked(SEND), 1);
}

#[tokio::test]
async fn a_used_nonce_is_success_if_it_was_used_by_this_very_transaction() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    all_say(&clients, &["nonce too low: next nonce 5, tx nonce 4"; 2]);
    assert_eq!(
        message(&door, RAW).await,
        "nonce too low: next nonce 5, tx nonce 4"
    );
    clients[1].has_mined(serde_json::from_value(hash()).unwrap(), 99);
    assert_eq!(door.result(SEND, json!([RAW])).await, hash());
}

#[tokio::test]
async fn the_answer_is_what_most_say_and_else_the_least_final_whoever_is_first() {
    let clients = upstreams(3).await;
    let door = Door::before(&clients).await;
    let (funds, nonce, full) = ("insufficient funds", "nonce too low", "txpool is full");
    for (words, expected) in [
        ([funds, nonce, funds], funds),
        ([nonce, funds, nonce], nonce),
        ([funds, nonce, full], full),
    ] {
        for turn in 0..3 {
            let mut words = words;
            words.rotate_left(turn);
            all_say(&clients, &words);
            assert_eq!(message(&door, RAW).await, expected, "{words:?}");
        }
    }
}

#[tokio::test]
async fn a_transaction_of_another_chain_is_refused_before_anybody_is_asked() {
    let clients = upstreams(1).await;
    let door = Door::before(&clients).await;
    let (raw, _) = signed_for(1);
    assert_eq!(
        message(&door, &raw.to_string()).await,
        format!("invalid chain id for signer: have 1 want {CHAIN}")
    );
    assert_eq!(clients[0].asked(SEND), 0);
    let (raw, hash) = signed_for(CHAIN);
    assert_eq!(door.result(SEND, json!([raw])).await, json!(hash));
}

#[tokio::test]
async fn the_same_transaction_sent_by_many_at_once_is_sent_once() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients.iter().for_each(|client| {
        client.suffers(Fault::SlowAt(SEND, Duration::from_millis(200)));
    });
    let sends = (0..10).map(|_| door.result(SEND, json!([RAW])));
    for answer in futures_util::future::join_all(sends).await {
        assert_eq!(answer, hash());
    }
    assert_eq!(clients[0].asked(SEND), 1);
    assert_eq!(clients[1].asked(SEND), 1);
}

#[tokio::test]
async fn who_was_away_gets_the_transaction_when_it_comes_back() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    clients[0].dies();
    until("it is unreachable", || async {
        (door.status_of("a").await["state"] == "Unreachable").then_some(())
    })
    .await;
    assert_eq!(door.result(SEND, json!([RAW])).await, hash());
    assert_eq!(clients[0].asked(SEND), 0);
    clients[0].rises().await;
    until("it has the transaction", || async {
        (clients[0].asked(SEND) == 1).then_some(())
    })
    .await;
    // The other may be given it once more meanwhile: to whoever knows it that is nothing.
    assert!((1..=2).contains(&clients[1].asked(SEND)));
}

#[tokio::test]
async fn who_wants_to_wait_gets_the_receipt_or_the_hash_in_words() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    const SYNC: &str = "eth_sendRawTransactionSync";
    let late = door.ask(SYNC, json!([RAW, 300])).await;
    assert_eq!(late["error"]["code"], 4);
    assert_eq!(late["error"]["data"], hash());
    let (receipt, ()) = tokio::join!(door.result(SYNC, json!([RAW, 10_000])), async {
        until("it was sent again", || async {
            (clients[0].asked(SEND) == 2).then_some(())
        })
        .await;
        for client in &clients {
            client.has_mined(serde_json::from_value(hash()).unwrap(), 101);
            client.is_at(101);
        }
    });
    assert_eq!(receipt["transactionHash"], hash());
    assert_eq!(receipt["blockNumber"], "0x65");
    all_say(&clients, &["insufficient funds"; 2]);
    let refused = door.ask(SYNC, json!(["0x02aa"])).await;
    assert_eq!(refused["error"]["message"], "insufficient funds");
}

#[tokio::test]
async fn a_transaction_is_called_what_the_upstream_that_took_it_calls_it() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    for client in &clients {
        client.has_hashes_of_its_own();
    }
    // Of a kind nobody here can read, as zkSync has them.
    let raw: Bytes = "0x71f8a1b2".parse().unwrap();
    let hash = own_hash(&raw);
    assert_eq!(door.result(SEND, json!([raw])).await, json!(hash));
    until("both have it", || async {
        let all = clients.iter().all(|client| client.asked(SEND) == 1);
        all.then_some(())
    })
    .await;
    // Being known is told without its name, which is remembered.
    assert_eq!(door.result(SEND, json!([raw])).await, json!(hash));
    // Whoever waits for the receipt waits for that of this hash.
    clients.iter().for_each(|client| {
        client.has_mined(hash, 100);
    });
    let receipt = door
        .result("eth_sendRawTransactionSync", json!([raw, 2000]))
        .await;
    assert_eq!(receipt["transactionHash"], json!(hash));
}

#[tokio::test]
async fn a_transaction_nobody_takes_because_of_rate_limits_may_be_sent_again_after_a_while() {
    let clients = upstreams(2).await;
    let door = Door::before(&clients).await;
    let words = "too many requests, retry in 9s";
    for [one, other] in [
        [Fault::Limits(7), Fault::Limits(9)],
        [Fault::Limits(7), Fault::Fails(SEND, -32005, words)],
    ] {
        clients[0].suffers(one);
        clients[1].suffers(other);
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": SEND, "params": [RAW] });
        let response = dodona_testkit::http()
            .post(&door.url)
            .body(body.to_string())
            .send();
        let response = response.await.unwrap();
        let wait = response.headers().get("retry-after").cloned();
        let (status, answer) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 429, "{answer}");
        assert_eq!(wait.unwrap(), "7", "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.contains("retry after 7.0 s"), "{answer}");
    }
}
