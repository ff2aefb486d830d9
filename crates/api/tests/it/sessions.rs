//! Log-in, log-out, and what keeps a session alive.

use std::time::Duration;

use dodona_runtime::clock;
use dodona_store::users;
use reqwest::StatusCode;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{EMAIL, Node, PASSWORD, config, on_both_engines};

on_both_engines! {
    logging_in_opens_a_session_that_logging_out_ends,
    only_the_hash_of_a_session_is_in_the_database,
    an_unused_session_ends_and_is_forgotten_later,
    a_used_session_lives_on,
}

async fn logging_in_opens_a_session_that_logging_out_ends(node: Node) {
    let body = json!({ "email": EMAIL, "password": PASSWORD });
    let answer = node.anybody().post("/sessions", &body).await;
    insta::assert_snapshot!("logged_in", answer.shown());
    assert_eq!(answer.header("content-type"), "application/vnd.api+json");
    let cookie = answer.header("set-cookie");
    for part in [
        "clsession=",
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
        "Max-Age=2592000",
    ] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Secure"), "switched off here: {cookie}");

    let session = format!("clsession={}", answer.cookie().unwrap());
    let caller = node.anybody().with("cookie", &session);
    assert_eq!(
        caller.get("/v2/ping").await.json(),
        json!({ "message": "pong" })
    );

    let out = caller.delete("/sessions").await;
    assert_eq!(out.attributes(), json!({ "authenticated": false }));
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    caller
        .get("/v2/ping")
        .await
        .refused(401, "session missing or expired, please login again");
    caller
        .delete("/sessions")
        .await
        .refused(401, "session missing");
}

async fn only_the_hash_of_a_session_is_in_the_database(node: Node) {
    let body = json!({ "email": EMAIL, "password": PASSWORD });
    let answer = node.anybody().post("/sessions", &body).await;
    let id = answer.cookie().unwrap();
    let mut conn = node.store.read().await.unwrap();
    assert_eq!(users::session(&mut conn, id).await.unwrap(), None);
    let hash = hex::encode(Sha256::digest(id));
    let (email, _) = users::session(&mut conn, &hash).await.unwrap().unwrap();
    assert_eq!(email, EMAIL);
    // and the hash itself opens nothing
    let thief = node.anybody().with("cookie", &format!("clsession={hash}"));
    assert_eq!(thief.get("/v2/ping").await.status, StatusCode::UNAUTHORIZED);
}

async fn open(node: &Node, id: &str, idle: Duration) {
    let mut tx = node.store.begin().await.unwrap();
    let hash = hex::encode(Sha256::digest(id));
    users::open_session(&mut tx, &hash, EMAIL, clock::now().minus(idle))
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn last_used(node: &Node, id: &str) -> Option<Duration> {
    let mut conn = node.store.read().await.unwrap();
    let hash = hex::encode(Sha256::digest(id));
    let found = users::session(&mut conn, &hash).await.unwrap();
    found.map(|(_, at)| clock::now().since(at))
}

const MINUTE: Duration = Duration::from_secs(60);

async fn an_unused_session_ends_and_is_forgotten_later(node: Node) {
    open(&node, "old", 16 * MINUTE).await;
    open(&node, "ancient", 241 * 60 * MINUTE).await;
    let caller = node.anybody().with("cookie", "clsession=old");
    caller
        .get("/v2/ping")
        .await
        .refused(401, "session missing or expired");
    assert!(last_used(&node, "ancient").await.is_some());
    node.admin().await;
    assert!(
        last_used(&node, "old").await.is_some(),
        "kept for the record"
    );
    assert_eq!(last_used(&node, "ancient").await, None, "log-in reaps");
}

async fn a_used_session_lives_on(node: Node) {
    open(&node, "mine", 14 * MINUTE).await;
    let caller = node.anybody().with("cookie", "clsession=mine");
    assert_eq!(caller.get("/v2/ping").await.status, StatusCode::OK);
    assert!(last_used(&node, "mine").await.unwrap() < MINUTE);
    // a busy page does not write with every request
    open(&node, "busy", Duration::from_secs(30)).await;
    let caller = node.anybody().with("cookie", "clsession=busy");
    assert_eq!(caller.get("/v2/ping").await.status, StatusCode::OK);
    assert!(last_used(&node, "busy").await.unwrap() >= Duration::from_secs(30));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let node = Node::on_sqlite(config()).await;
    let ask = async |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        node.anybody().post("/sessions", &body).await
    };
    let wrong = ask(EMAIL, "not the password at all").await;
    let unknown = ask("nobody@example.com", PASSWORD).await;
    wrong.refused(401, "Invalid email or password");
    assert_eq!(wrong.text, unknown.text);
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.cookie(), None);
}

#[tokio::test]
async fn an_address_is_the_same_in_any_letter_case() {
    let node = Node::on_sqlite(config()).await;
    node.log_in("OPS@Example.com", PASSWORD).await;
}

#[tokio::test]
async fn a_log_in_that_is_no_json_is_refused() {
    let node = Node::on_sqlite(config()).await;
    for body in [
        "",
        "email=x",
        r#"{"email":"x"}"#,
        r#"{"email":1,"password":2}"#,
    ] {
        let answer = node.anybody().send("POST", "/sessions", body).await;
        answer.refused(400, "the body is not the JSON expected here");
    }
}

#[tokio::test]
async fn secure_cookies_travel_over_tls_only() {
    let mut config = config();
    config.secure_cookies = true;
    let node = Node::on_sqlite(config).await;
    let body = json!({ "email": EMAIL, "password": PASSWORD });
    let answer = node.anybody().post("/sessions", &body).await;
    assert!(answer.header("set-cookie").ends_with("; Secure"));
}
