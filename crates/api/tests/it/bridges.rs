//! Bridges.

use dodona_store::bridges;
use reqwest::StatusCode;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{Node, config, on_both_engines};
use crate::jobs::{create, spec};

on_both_engines! {
    a_bridge_is_created_changed_listed_and_deleted,
    the_incoming_token_is_shown_once_and_kept_as_a_hash,
    a_bridge_that_jobs_use_is_not_deleted,
}

async fn a_bridge_is_created_changed_listed_and_deleted(node: Node) {
    let editor = node.user("edit").await;
    let body = json!({
        "name": "CoinPrices", "url": "http://localhost:8080/v1", "confirmations": 2,
        "minimumContractPayment": "100000000000000000000"
    });
    let made = editor.post("/v2/bridge_types", &body).await;
    assert_eq!(made.status, StatusCode::OK);
    insta::assert_snapshot!("bridge_created", made.shown());
    let change = json!({ "name": "coinprices", "url": "https://prices.example.com", "minimumContractPayment": 7 });
    let changed = editor.patch("/v2/bridge_types/coinprices", &change).await;
    insta::assert_snapshot!("bridge_changed", changed.shown());
    assert_eq!(
        editor.get("/v2/bridge_types/COINPRICES").await.text,
        changed.text
    );
    let list = editor.get("/v2/bridge_types?size=10").await.json();
    assert_eq!(list["data"], json!([changed.json()["data"]]));
    let gone = editor.delete("/v2/bridge_types/coinprices").await;
    assert_eq!(gone.text, changed.text, "the answer says what was there");
    editor
        .get("/v2/bridge_types/coinprices")
        .await
        .refused(404, "there is no bridge coinprices");
    editor
        .delete("/v2/bridge_types/coinprices")
        .await
        .refused(404, "there is no bridge");
    editor
        .patch("/v2/bridge_types/coinprices", &change)
        .await
        .refused(404, "there is no bridge");
}

async fn the_incoming_token_is_shown_once_and_kept_as_a_hash(node: Node) {
    let editor = node.user("edit").await;
    let body = json!({ "name": "prices", "url": "http://localhost:8080" });
    let made = editor.post("/v2/bridge_types", &body).await.attributes();
    let token = made["incomingToken"].as_str().unwrap();
    assert_eq!(token.len(), 32);
    let stored = bridges::find(&mut node.store.read().await.unwrap(), "prices")
        .await
        .unwrap()
        .unwrap();
    let expected = hex::encode(Sha256::digest(format!("{token}-{}", stored.salt)));
    assert_eq!(stored.incoming_token_hash, expected);
    assert_eq!(made["outgoingToken"], stored.outgoing_token.as_str());
    assert_eq!(
        editor
            .get("/v2/bridge_types/prices")
            .await
            .attributes()
            .get("incomingToken"),
        None
    );
}

async fn a_bridge_that_jobs_use_is_not_deleted(node: Node) {
    let editor = node.user("edit").await;
    for name in ["prices", "price"] {
        let body = json!({ "name": name, "url": "http://localhost:8080" });
        editor.post("/v2/bridge_types", &body).await;
    }
    let toml = spec("").replace("type=\"http\"", "type=\"bridge\" name=\"Prices\"");
    let job = create(&editor, &toml).await.id();
    let answer = editor.delete("/v2/bridge_types/prices").await;
    answer.refused(
        409,
        &format!("the bridge prices is used by the jobs {job}; delete them first"),
    );
    let similar = editor.delete("/v2/bridge_types/price").await;
    assert_eq!(
        similar.status,
        StatusCode::OK,
        "a similar name is another bridge"
    );
    editor.delete(&format!("/v2/jobs/{job}")).await;
    assert_eq!(
        editor.delete("/v2/bridge_types/prices").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn all_faults_of_a_bridge_are_told_together() {
    let node = Node::on_sqlite(config()).await;
    let editor = node.user("edit").await;
    let body = json!({ "name": "a b", "url": "ftp://x", "minimumContractPayment": "1.5" });
    let answer = editor.post("/v2/bridge_types", &body).await;
    insta::assert_snapshot!("bridge_refused", answer.shown());
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    editor
        .send("POST", "/v2/bridge_types", "{")
        .await
        .refused(422, "JSON");
    editor
        .get("/v2/bridge_types/a%20b")
        .await
        .refused(422, "is not a bridge name");
    let good = json!({ "name": "prices", "url": "http://localhost:8080" });
    editor.post("/v2/bridge_types", &good).await;
    editor
        .post("/v2/bridge_types", &good)
        .await
        .refused(400, "there is a bridge prices already");
    let renamed = json!({ "name": "other", "url": "http://localhost:8080" });
    editor
        .patch("/v2/bridge_types/prices", &renamed)
        .await
        .refused(400, "a bridge keeps its name");
}
