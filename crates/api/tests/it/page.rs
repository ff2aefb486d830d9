//! The first page and the way to it.

use std::time::Duration;

use dodona_model::request;
use dodona_runtime::clock;
use dodona_store::{keys, warnings};
use reqwest::StatusCode;

use crate::harness::{CHAIN, Node, config, on_both_engines};
use crate::rows;

on_both_engines! {
    the_first_page_shows_what_an_operator_must_see,
}

async fn the_first_page_shows_what_an_operator_must_see(node: Node) {
    let viewer = node.user("view").await;
    let leader = rows::leader(&node.store).await;
    let job = rows::job(&node.store, "<b>prices</b>", "").await;
    rows::finished_run(&node.store, job, None).await;
    rows::finished_run(&node.store, job, Some("timeout: <script>alert(1)</script>")).await;
    rows::head(&node.store, &leader, 1_234_567, Duration::from_secs(4000)).await;
    rows::request(&leader, job, 1, request::State::Fulfilled).await;
    rows::request(&leader, job, 2, request::State::Open).await;
    let mut tx = leader.begin().await.unwrap();
    keys::enable(&mut tx, CHAIN, rows::KEY, clock::now())
        .await
        .unwrap();
    keys::set_reason(&mut tx, CHAIN, rows::KEY, "out of funds")
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
    node.health.fail("EVM.31337.HeadTracker", "no new heads");

    let page = viewer.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
    for shown in [
        "<title>(3) Dodona</title>",
        "leading chain:31337",
        "standby for schedule",
        "1\u{202f}234\u{202f}567",
        "out of funds",
        "the oracle's owner is a sending key",
        "chain 31337 has shown no new block for 1 h 6 min",
        "no new heads",
        "&lt;b&gt;prices&lt;/b&gt;",
        "timeout: &lt;script&gt;alert(1)&lt;/script&gt;",
        "http-equiv=\"refresh\"",
        "1.2.3",
    ] {
        assert!(page.text.contains(shown), "{shown} in {}", page.text);
    }
    assert!(
        !page.text.contains("<script"),
        "no scripts, neither ours nor theirs"
    );
}

#[tokio::test]
async fn the_first_page_asks_for_a_log_in_and_opens_after_it() {
    let node = Node::on_sqlite(config()).await;
    let browser = node.anybody();
    let sent_away = browser.get("/").await;
    assert_eq!(
        (sent_away.status, sent_away.header("location")),
        (StatusCode::SEE_OTHER, "/login")
    );
    assert!(
        browser
            .get("/login")
            .await
            .text
            .contains("name=\"password\"")
    );

    let wrong = browser
        .send("POST", "/login", "email=ops%40example.com&password=wrong")
        .await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text.contains("Invalid email or password"));
    let right = browser
        .send(
            "POST",
            "/login",
            "email=ops%40example.com&password=correct+horse+battery",
        )
        .await;
    assert_eq!(
        (right.status, right.header("location")),
        (StatusCode::SEE_OTHER, "/entered")
    );
    let lost = browser.get("/entered").await;
    assert!(
        lost.text.contains("did not keep the session"),
        "{}",
        lost.text
    );
    let cookie = format!("clsession={}", right.cookie().unwrap());
    let inside = node.anybody().with("cookie", &cookie);
    assert_eq!(inside.get("/entered").await.header("location"), "/");
    let page = inside.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    for hint in [
        "dodona keys eth create",
        "dodona jobs create job.toml",
        "no block seen yet",
    ] {
        assert!(
            page.text.contains(hint),
            "a new node says what to do: {hint}"
        );
    }
    assert_eq!(inside.get("/login").await.header("location"), "/");

    let out = inside.send("POST", "/logout", "").await;
    assert_eq!(out.header("location"), "/login");
    assert_eq!(inside.get("/").await.header("location"), "/login");
}

#[tokio::test]
async fn another_site_cannot_log_anybody_in_or_out() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    for path in ["/login", "/logout"] {
        let foreign = admin.clone().with("origin", "https://evil.example");
        assert_eq!(
            foreign.send("POST", path, "").await.status,
            StatusCode::FORBIDDEN
        );
        let quiet = admin.clone().with("sec-fetch-site", "cross-site");
        assert_eq!(
            quiet.send("POST", path, "").await.status,
            StatusCode::FORBIDDEN
        );
    }
    assert_eq!(admin.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_style_sheet_is_served_and_nothing_else() {
    let node = Node::on_sqlite(config()).await;
    let style = node.anybody().get("/assets/dodona.css").await;
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert!(style.text.contains("prefers-color-scheme: dark"));
    assert_eq!(
        node.anybody().get("/assets/other.js").await.status,
        StatusCode::NOT_FOUND
    );
}
