//! Health for probes and people.

use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Node, config};

async fn node() -> Node {
    let node = Node::on_sqlite(config()).await;
    node.health.pass("JobSpawner", None);
    node
}

#[tokio::test]
async fn health_is_200_while_all_checks_pass_and_207_when_one_fails() {
    let node = node().await;
    let probe = node.anybody();
    assert_eq!(probe.get("/health").await.status, StatusCode::OK);
    node.health.fail(
        "EVM.1.HeadTracker",
        "no head for 200 s\nlook at the endpoints",
    );
    let answer = probe.get("/health").await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS);
    insta::assert_snapshot!("health", answer.shown());
    let failing = probe.get("/health?failing").await.json();
    assert_eq!(failing["data"].as_array().unwrap().len(), 1);
    assert_eq!(failing["data"][0]["id"], "EVM.1.HeadTracker");
}

#[tokio::test]
async fn health_comes_as_text_and_as_a_page_too() {
    let node = node().await;
    node.health.fail(
        "EVM.1.HeadTracker",
        "no head for 200 s\n<look> at the endpoints",
    );
    let text =
        "!  EVM.1.HeadTracker\n\tno head for 200 s\n\t<look> at the endpoints\nok JobSpawner\n";
    let plain = node
        .anybody()
        .with("accept", "text/plain")
        .get("/health")
        .await;
    assert_eq!(plain.text, text);
    let file = node.anybody().get("/health.txt").await;
    assert_eq!(
        (file.status, file.text.as_str()),
        (StatusCode::MULTI_STATUS, text)
    );
    let page = node
        .anybody()
        .with("accept", "text/html,*/*")
        .get("/health")
        .await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(
        page.text.contains("<details class=\"check\" open>"),
        "{}",
        page.text
    );
    assert!(
        page.text.contains("&lt;look&gt; at the endpoints"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn readyz_says_yes_or_no_without_words() {
    let node = node().await;
    let probe = node.anybody();
    let yes = probe.get("/readyz").await;
    assert_eq!((yes.status, yes.text.as_str()), (StatusCode::OK, ""));
    node.health.fail("EVM.1.HeadTracker", "no head");
    let no = probe.get("/readyz").await;
    assert_eq!(
        (no.status, no.text.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "")
    );
    let full = probe.get("/readyz?full=1").await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        full.json()["data"][0]["attributes"]["output"],
        json!("no head")
    );
}
