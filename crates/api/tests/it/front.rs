//! What stands in front of every handler: headers, sizes, origins, limits.

use std::time::Duration;

use dodona_api::AllowOrigins;
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{EMAIL, Node, PASSWORD, config};

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    for path in [
        "/v2/jobs",
        "/health",
        "/metrics",
        "/login",
        "/nothing",
        "/v2/nothing",
        "/assets/dodona.css",
    ] {
        let answer = admin.get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-dns-prefetch-control", "off"),
            ("x-frame-options", "DENY"),
            (
                "strict-transport-security",
                "max-age=5184000; includeSubDomains",
            ),
            ("x-download-options", "noopen"),
            ("x-xss-protection", "1; mode=block"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_on_every_route() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    let large = "x".repeat(32_769);
    for path in ["/v2/jobs", "/sessions", "/login", "/nothing"] {
        let answer = admin.send("POST", path, large.clone()).await;
        answer.refused(413, "larger than 32768 bytes");
        assert_eq!(answer.header("connection"), "close");
    }
    let just_fits = admin.send("POST", "/v2/jobs", "x".repeat(32_768)).await;
    just_fits.refused(422, "JSON");
}

#[tokio::test]
async fn a_body_that_does_not_say_its_size_is_cut_off_all_the_same() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1024]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    admin
        .send("POST", "/v2/jobs", body)
        .await
        .refused(413, "larger than 32768 bytes");
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_before_anything_else() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    let evil = admin.clone().with("origin", "http://evil.example");
    for (method, path) in [
        ("GET", "/v2/jobs"),
        ("POST", "/sessions"),
        ("POST", "/login"),
        ("GET", "/"),
        ("GET", "/health"),
    ] {
        evil.send(method, path, "")
            .await
            .refused(403, "this origin may not call the node");
    }
    let own = admin.clone().with("origin", &node.url);
    assert_eq!(own.get("/v2/jobs").await.status, StatusCode::OK);
    // as through a tunnel from another port
    let tunnel = admin
        .with("host", "localhost:9999")
        .with("origin", "http://localhost:9999");
    assert_eq!(tunnel.get("/v2/jobs").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_listed_origin_may_call_and_is_told_so() {
    let mut config = config();
    config.allow_origins = AllowOrigins::These(vec!["https://ops.example.com".to_owned()]);
    let node = Node::on_sqlite(config).await;
    let page = node.admin().await.with("origin", "https://ops.example.com");
    let answer = page.get("/v2/ping").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://ops.example.com"
    );
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    assert_eq!(
        answer.header("access-control-expose-headers"),
        "Content-Length"
    );
    let asked = page
        .with("access-control-request-method", "DELETE")
        .send("OPTIONS", "/v2/jobs/1", "")
        .await;
    assert_eq!(asked.status, StatusCode::NO_CONTENT);
    assert_eq!(
        asked.header("access-control-allow-methods"),
        "GET,POST,PATCH,DELETE"
    );
    assert_eq!(
        asked.header("access-control-allow-headers"),
        "Origin,Content-Type,Accept"
    );
    assert_eq!(asked.header("access-control-max-age"), "2");
}

#[tokio::test]
async fn any_origin_may_call_where_the_operator_says_so() {
    let mut config = config();
    config.allow_origins = AllowOrigins::Any;
    let node = Node::on_sqlite(config).await;
    let page = node
        .admin()
        .await
        .with("origin", "https://anywhere.example");
    assert_eq!(
        page.get("/v2/ping")
            .await
            .header("access-control-allow-origin"),
        "*"
    );
}

fn log_in() -> serde_json::Value {
    json!({ "email": EMAIL, "password": PASSWORD })
}

#[tokio::test]
async fn log_ins_are_limited_for_each_address() {
    let mut config = config();
    config.rate_limits.disabled = false;
    let node = Node::on_sqlite(config).await;
    for left in (0..5).rev() {
        let answer = node.anybody().post("/sessions", &log_in()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("x-ratelimit-limit"), "5");
        assert_eq!(answer.header("x-ratelimit-remaining"), left.to_string());
    }
    let sixth = node.anybody().post("/sessions", &log_in()).await;
    assert_eq!(
        (sixth.status, sixth.text.as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "Limit exceeded")
    );
    assert!(sixth.header("x-ratelimit-reset").parse::<i64>().unwrap() > 1_700_000_000);
    let form = node
        .anybody()
        .send("POST", "/login", "email=a&password=b")
        .await;
    assert_eq!(
        form.status,
        StatusCode::TOO_MANY_REQUESTS,
        "the page's form counts too"
    );
    let forwarded = node
        .anybody()
        .with("x-forwarded-for", "10.1.1.1")
        .post("/sessions", &log_in())
        .await;
    assert_eq!(
        forwarded.status,
        StatusCode::TOO_MANY_REQUESTS,
        "a header is no other address"
    );
}

#[tokio::test]
async fn all_api_routes_share_one_limit_and_metrics_has_none() {
    let mut config = config();
    config.rate_limits.disabled = false;
    config.rate_limits.authenticated = (3, Duration::from_secs(60));
    let node = Node::on_sqlite(config).await;
    let caller = node.anybody();
    for path in ["/health", "/v2/jobs", "/readyz"] {
        assert_ne!(
            caller.get(path).await.status,
            StatusCode::TOO_MANY_REQUESTS,
            "{path}"
        );
    }
    assert_eq!(
        caller.get("/health").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(caller.get("/metrics").await.status, StatusCode::OK);
    for _ in 0..20 {
        assert_eq!(caller.get("/login").await.status, StatusCode::OK);
    }
    assert_eq!(
        caller.get("/login").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    for _ in 0..100 {
        assert_eq!(
            caller.get("/assets/dodona.css").await.status,
            StatusCode::OK
        );
    }
    assert_eq!(
        caller.get("/assets/dodona.css").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let mut config = config();
    config.write_timeout = Duration::from_millis(50);
    let node = Node::on_sqlite(config).await;
    // The one writer of the file is busy, so a log-in cannot finish.
    let _busy = node.store.begin().await.unwrap();
    let answer = node.anybody().post("/sessions", &log_in()).await;
    answer.refused(503, "took longer than 50ms");
}

#[tokio::test]
async fn an_unknown_route_is_not_found_in_the_callers_language() {
    let node = Node::on_sqlite(config()).await;
    node.anybody()
        .get("/v2/specs")
        .await
        .refused(404, "there is no route /v2/specs");
    let page = node.anybody().get("/favicon.ico").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.header("content-type").starts_with("text/html"));
    node.anybody()
        .send("PUT", "/v2/jobs", "")
        .await
        .refused(405, "does not understand this method");
}

#[tokio::test]
async fn a_slash_at_the_end_is_forgiven() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    assert_eq!(admin.get("/v2/jobs/?size=1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_database_that_is_gone_is_a_500_with_the_reason() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    node.store.close().await;
    admin
        .get("/v2/jobs")
        .await
        .refused(500, "the database could not give a connection");
    let page = admin.get("/").await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(page.text.contains("The node cannot read its database"));
}
