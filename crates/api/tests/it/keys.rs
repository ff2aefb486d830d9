//! Sending keys.

use dodona_model::U256;
use dodona_store::keys;
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{CHAIN, Node, config, on_both_engines};
use crate::rows;

on_both_engines! {
    a_key_is_created_shown_with_its_balance_and_deleted,
    a_key_is_disabled_and_enabled_on_a_chain,
    a_key_whose_transactions_are_not_mined_is_not_deleted,
}

const ADDRESS: &str = "0x00000000000000000000000000000000000000A1";

async fn a_key_is_created_shown_with_its_balance_and_deleted(node: Node) {
    let admin = node.admin().await;
    let made = admin
        .send("POST", &format!("/v2/keys/evm?evmChainID={CHAIN}"), "")
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    insta::assert_snapshot!("key_created", made.shown());

    let leader = rows::leader(&node.store).await;
    let mut tx = leader.begin().await.unwrap();
    let address = ADDRESS.parse().unwrap();
    let wei = U256::from(1_250_000_000_000_000_001u64);
    keys::set_balance(&mut tx, CHAIN, address, wei, Some(U256::from(5)))
        .await
        .unwrap();
    keys::set_reason(&mut tx, CHAIN, address, "out of funds")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let list = admin.get("/v2/keys/eth").await;
    insta::assert_snapshot!("key_listed", list.shown());
    assert_eq!(
        admin.get("/v2/keys/evm").await.text,
        list.text,
        "two names, one list"
    );

    let gone = admin.delete(&format!("/v2/keys/eth/{ADDRESS}")).await;
    assert_eq!(gone.attributes()["address"], ADDRESS);
    assert_eq!(admin.get("/v2/keys/evm").await.json()["data"], json!([]));
    admin
        .delete(&format!("/v2/keys/evm/{ADDRESS}"))
        .await
        .refused(404, "there is no key");
}

async fn a_key_is_disabled_and_enabled_on_a_chain(node: Node) {
    let admin = node.admin().await;
    admin
        .send("POST", &format!("/v2/keys/evm?evmChainID={CHAIN}"), "")
        .await;
    let set = async |query: &str| {
        admin
            .send("POST", &format!("/v2/keys/evm/chain?{query}"), "")
            .await
    };
    let here = format!("address={ADDRESS}&evmChainID={CHAIN}");
    assert_eq!(
        set(&format!("{here}&enabled=false")).await.attributes()["disabled"],
        true
    );
    assert_eq!(
        set(&format!("{here}&enabled=true")).await.attributes()["disabled"],
        false
    );
    let elsewhere = set(&format!("address={ADDRESS}&evmChainID=1&enabled=true")).await;
    assert_eq!(elsewhere.attributes()["evmChainID"], "1");
    assert_eq!(
        admin.get("/v2/keys/evm").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    set(&here)
        .await
        .refused(422, "enabled must be true or false");
    set(&format!("{here}&abandon=true"))
        .await
        .refused(501, "not supported by this version");
    set("evmChainID=1&enabled=true")
        .await
        .refused(422, "address is missing");
    let stranger = format!("address={}&evmChainID=1&enabled=true", rows::KEY);
    set(&stranger).await.refused(404, "there is no key");
}

async fn a_key_whose_transactions_are_not_mined_is_not_deleted(node: Node) {
    let admin = node.admin().await;
    let file = json!({ "address": rows::KEY, "password": "file password" });
    let path = format!("/v2/keys/evm/import?oldpassword=file+password&evmChainID={CHAIN}");
    assert_eq!(admin.post(&path, &file).await.status, StatusCode::CREATED);
    rows::queued_tx(&node.store).await;
    let answer = admin.delete(&format!("/v2/keys/evm/{}", rows::KEY)).await;
    answer.refused(409, "has 1 transactions on chain 31337 that are not mined");
    assert_eq!(
        admin.get("/v2/keys/evm").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_key_file_goes_out_and_comes_in() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    admin.send("POST", "/v2/keys/eth", "").await;
    let file = admin
        .send(
            "POST",
            &format!("/v2/keys/eth/export/{ADDRESS}?newpassword=a%20new%20one"),
            "",
        )
        .await;
    assert_eq!(file.status, StatusCode::OK);
    assert_eq!(file.json()["password"], "a new one");
    admin.delete(&format!("/v2/keys/eth/{ADDRESS}")).await;
    let back = admin
        .post(
            "/v2/keys/eth/import?oldpassword=a%20new%20one",
            &file.json(),
        )
        .await;
    assert_eq!(back.status, StatusCode::CREATED);
    assert_eq!(back.attributes()["address"], ADDRESS);
}

#[tokio::test]
async fn what_the_vault_refuses_is_told() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    let post = async |path: &str, body: &str| {
        admin
            .send("POST", &format!("/v2/keys/evm{path}"), body.to_owned())
            .await
    };
    post("/import?oldpassword=x", "no key file")
        .await
        .refused(400, "this is not a key file");
    post("/import?oldpassword=x", r#"{"password":"y"}"#)
        .await
        .refused(400, "the password is wrong");
    post("/import", "{}")
        .await
        .refused(400, "oldpassword is missing");
    post(&format!("/export/{ADDRESS}"), "")
        .await
        .refused(400, "newpassword is missing");
    post(&format!("/export/{ADDRESS}?newpassword=x"), "")
        .await
        .refused(404, "there is no key");
    post("/export/0x12?newpassword=x", "")
        .await
        .refused(422, "is not an address");
    admin
        .delete("/v2/keys/evm/nonsense")
        .await
        .refused(422, "is not an address");
}

#[tokio::test]
async fn a_chain_must_be_named_where_there_are_several() {
    let several = Node::start(dodona_store::Engine::Sqlite).await;
    let admin = several.admin().await;
    let post = async |query: &str| {
        admin
            .send("POST", &format!("/v2/keys/evm{query}"), "")
            .await
    };
    post("").await.refused(
        400,
        "several chains are configured; say which one with evmChainID",
    );
    post("?evmChainID=x").await.refused(422, "not a chain id");
    post("?evmChainID=5")
        .await
        .refused(404, "chain 5 is not configured");
    let none = Node::with(dodona_store::Engine::Sqlite, config(), vec![]).await;
    let answer = none.admin().await.send("POST", "/v2/keys/evm", "").await;
    answer.refused(400, "no chain is configured");
}
