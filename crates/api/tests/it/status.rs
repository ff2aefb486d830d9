//! The node on one screen, for programs.

use std::time::Duration;

use dodona_model::{U256, request};
use dodona_rpc::{NodeConfig, Pool, PoolConfig};
use dodona_runtime::clock;
use dodona_store::{keys, warnings};

use crate::harness::{CHAIN, Node, chain, config, on_both_engines};
use crate::rows;

on_both_engines! {
    status_tells_what_rows_and_endpoints_say,
}

async fn status_tells_what_rows_and_endpoints_say(node: Node) {
    let viewer = node.user("view").await;
    let leader = rows::leader(&node.store).await;
    let job = rows::job(&node.store, "prices", "").await;
    rows::finished_run(&node.store, job, None).await;
    rows::finished_run(&node.store, job, Some("timeout")).await;
    rows::head(&node.store, &leader, 17, Duration::from_secs(3600)).await;
    rows::request(&leader, job, 1, request::State::Open).await;
    rows::queued_tx(&node.store).await;
    let sent = rows::queued_tx(&node.store).await;
    rows::sign(&leader, sent, 0, 1).await;
    let mut tx = leader.begin().await.unwrap();
    keys::enable(&mut tx, CHAIN, rows::KEY, clock::now())
        .await
        .unwrap();
    keys::set_balance(&mut tx, CHAIN, rows::KEY, U256::MAX, None)
        .await
        .unwrap();
    keys::set_reason(&mut tx, CHAIN, rows::KEY, "underpriced")
        .await
        .unwrap();
    warnings::set(
        &mut tx,
        "owner",
        "the oracle's owner is a sending key",
        clock::now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();

    let answer = viewer.get("/v2/status").await;
    let engine = answer.json()["database"]["engine"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = answer
        .shown()
        .replace(&format!("\"{engine}\""), "\"<engine>\"");
    assert!(["sqlite", "postgres"].contains(&engine.as_str()));
    let age = answer.json()["chains"][0]["headAgeSeconds"]
        .as_u64()
        .unwrap();
    assert!((3600..3660).contains(&age), "{age}");
    insta::assert_snapshot!("status", shown.replace(&age.to_string(), "<age>"));
}

#[tokio::test]
async fn a_new_node_has_a_status_too() {
    let node = Node::on_sqlite(config()).await;
    insta::assert_snapshot!(node.admin().await.get("/v2/status").await.shown());
}

#[tokio::test]
async fn chains_and_build_are_told() {
    let node = Node::start(dodona_store::Engine::Sqlite).await;
    let viewer = node.user("view").await;
    insta::assert_snapshot!("chains", viewer.get("/v2/chains").await.shown());
    let one = viewer.get("/v2/chains/evm/31337").await;
    assert_eq!(one.attributes()["config"], "ChainID = '31337'\n");
    assert_eq!(
        viewer.get("/v2/chains/evm?size=1&page=2").await.json()["data"][0]["id"],
        "1"
    );
    viewer
        .get("/v2/chains/evm/5")
        .await
        .refused(404, "chain 5 is not configured");
    viewer
        .get("/v2/chains/evm/x")
        .await
        .refused(422, "not a chain id");
    viewer
        .get("/v2/chains/solana")
        .await
        .refused(400, "there is no network \"solana\"");
    for path in ["/v2/nodes", "/v2/nodes/evm", "/v2/chains/evm/31337/nodes"] {
        assert_eq!(
            viewer.get(path).await.json()["data"],
            serde_json::json!([]),
            "{path}"
        );
    }
    insta::assert_snapshot!("build_info", viewer.get("/v2/build_info").await.shown());
    insta::assert_snapshot!("features", viewer.get("/v2/features").await.shown());
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_shown_with_the_reason() {
    dodona_testkit::http(); // installs the crypto provider
    let dead = NodeConfig::primary(
        "frankfurt",
        "http://127.0.0.1:9/v3/0123456789abcdef".parse().unwrap(),
    );
    let pool = Pool::new(PoolConfig::new(CHAIN, vec![dead])).unwrap();
    tokio::spawn(pool.clone().run(std::future::pending()));
    let mut view = chain(CHAIN);
    view.pool = Some(pool);
    let node = Node::with(dodona_store::Engine::Sqlite, config(), vec![view]).await;
    let admin = node.admin().await;
    let shown = dodona_testkit::until("the endpoint is given up", async || {
        let endpoint = admin.get("/v2/status").await.json()["chains"][0]["nodes"][0].clone();
        (endpoint["state"] == "Unreachable").then_some(endpoint)
    })
    .await;
    assert_eq!(shown["name"], "frankfurt");
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("cannot be reached"), "{reason}");

    let resource = admin.get("/v2/nodes").await.json()["data"][0].clone();
    assert_eq!(resource["id"], "31337/frankfurt");
    assert_eq!(resource["attributes"]["state"], "Unreachable");
    let page = admin.get("/").await.text;
    assert!(
        page.contains("frankfurt") && page.contains("Unreachable"),
        "{page}"
    );
    for text in [resource.to_string(), page] {
        assert!(
            !text.contains("0123456789abcdef"),
            "the token in the URL is shown: {text}"
        );
    }
}
