//! Metrics that come from rows.

use std::time::Duration;

use dodona_model::{U256, request};
use dodona_runtime::clock;
use dodona_store::{keys, warnings};
use reqwest::StatusCode;
use secrecy::SecretString;

use crate::harness::{CHAIN, Node, config, on_both_engines};
use crate::rows;

on_both_engines! {
    metrics_tell_what_rows_say_when_asked,
}

/// The samples, without those that depend on the time.
fn samples(text: &str) -> String {
    let varies = [
        "uptime_seconds",
        "max_unconfirmed_tx_age{",
        "dodona_head_age_seconds{",
    ];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| match line.rsplit_once(' ') {
            Some((name, _)) if varies.iter().any(|start| name.starts_with(start)) => {
                format!("{name} <varies>")
            }
            _ => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

async fn metrics_tell_what_rows_say_when_asked(node: Node) {
    let leader = rows::leader(&node.store).await;
    let job = rows::job(&node.store, "the \"prices\"", "").await;
    rows::finished_run(&node.store, job, None).await;
    rows::finished_run(&node.store, job, Some("timeout")).await;
    rows::running_run(&node.store, job).await;
    rows::head(&node.store, &leader, 17, Duration::from_secs(2)).await;
    rows::request(&leader, job, 1, request::State::Open).await;
    rows::request(&leader, job, 2, request::State::Refused).await;
    rows::queued_tx(&node.store).await;
    let sent = rows::queued_tx(&node.store).await;
    rows::sign(&leader, sent, 0, 1).await;
    let mut tx = leader.begin().await.unwrap();
    keys::enable(&mut tx, CHAIN, rows::KEY, clock::now())
        .await
        .unwrap();
    keys::set_balance(
        &mut tx,
        CHAIN,
        rows::KEY,
        U256::from(1_500_000_000_000_000_000u64),
        None,
    )
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

    let answer = node.anybody().get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    insta::assert_snapshot!("metrics", samples(&answer.text));

    // what is gone is gone from the answer
    let mut tx = leader.begin().await.unwrap();
    keys::forget(&mut tx, rows::KEY).await.unwrap();
    tx.commit().await.unwrap();
    assert!(
        !node
            .anybody()
            .get("/metrics")
            .await
            .text
            .contains("eth_balance{")
    );
}

#[tokio::test]
async fn metrics_are_there_without_a_database() {
    let node = Node::on_sqlite(config()).await;
    node.store.close().await;
    let answer = node.anybody().get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text.contains("recorded_total 7"));
    assert!(answer.text.contains("dodona_database_up 0"));
    assert!(!answer.text.contains("pipeline_runs_queued"));
}

#[tokio::test]
async fn metrics_ask_for_the_token_where_one_is_set() {
    let mut config = config();
    config.metrics_token = Some(SecretString::from("scrape me"));
    let node = Node::on_sqlite(config).await;
    for wrong in ["", "Bearer", "Bearer scrape you", "Basic scrape me"] {
        let answer = node
            .anybody()
            .with("authorization", wrong)
            .get("/metrics")
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}");
        assert!(answer.text.contains("bearer token"));
    }
    let right = node.anybody().with("authorization", "Bearer scrape me");
    assert_eq!(right.get("/metrics").await.status, StatusCode::OK);
}
