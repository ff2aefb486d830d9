//! Transactions and their attempts.

use serde_json::{Value, json};

use crate::harness::{Node, config, on_both_engines};
use crate::rows;

on_both_engines! {
    a_transaction_is_shown_through_its_newest_attempt_and_then_the_mined_one,
    every_attempt_is_listed_newest_first,
}

fn hash(n: u8) -> String {
    format!("0x{n:064x}")
}

async fn a_transaction_is_shown_through_its_newest_attempt_and_then_the_mined_one(node: Node) {
    let viewer = node.user("view").await;
    let leader = rows::leader(&node.store).await;
    rows::queued_tx(&node.store).await;
    let list = async || viewer.get("/v2/transactions").await.json();
    assert_eq!(list().await["data"], json!([]), "nothing is signed yet");
    let id = rows::queued_tx(&node.store).await;
    rows::sign(&leader, id, 7, 1).await;
    rows::bump(&leader, id, 2).await;
    assert_eq!(list().await["data"][0]["id"], format!("31337/{}", hash(2)));
    assert_eq!(
        list().await["data"][0]["attributes"]["state"],
        "in_progress"
    );
    rows::mine(&leader, id, 1).await;
    let listed = viewer.get("/v2/transactions/evm").await;
    insta::assert_snapshot!("transactions", listed.shown());

    let first = viewer
        .get(&format!("/v2/transactions/{}", hash(1)))
        .await
        .json();
    assert_eq!(first["data"], listed.json()["data"][0]);
    let second = viewer
        .get(&format!("/v2/transactions/evm/{}", hash(2)))
        .await
        .attributes();
    assert_eq!(
        (&second["gasPrice"], &second["gasTipCap"]),
        (&json!("4000000000"), &Value::Null)
    );
}

async fn every_attempt_is_listed_newest_first(node: Node) {
    let viewer = node.user("view").await;
    let leader = rows::leader(&node.store).await;
    let (a, b) = (
        rows::queued_tx(&node.store).await,
        rows::queued_tx(&node.store).await,
    );
    rows::sign(&leader, a, 0, 1).await;
    rows::sign(&leader, b, 1, 2).await;
    rows::bump(&leader, a, 3).await;
    let page = viewer.get("/v2/tx_attempts?size=2").await.json();
    let ids: Vec<_> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tx| tx["id"].clone())
        .collect();
    assert_eq!(
        ids,
        [format!("31337/{}", hash(3)), format!("31337/{}", hash(2))]
    );
    assert_eq!(page["meta"]["count"], 3);
    let rest = viewer.get("/v2/tx_attempts/evm?size=2&page=2").await.json();
    assert_eq!(rest["data"][0]["attributes"]["nonce"], "0");
}

#[tokio::test]
async fn an_unknown_hash_is_not_found() {
    let node = Node::on_sqlite(config()).await;
    let viewer = node.user("view").await;
    let path = format!("/v2/transactions/{}", hash(9));
    viewer
        .get(&path)
        .await
        .refused(404, "there is no transaction");
    viewer
        .get("/v2/transactions/0x12")
        .await
        .refused(422, "is not a transaction hash");
}
