use std::time::{Duration, Instant};

use dodona_testkit::{
    http,
    source::{Behaviour, Source},
};
use serde_json::json;

#[tokio::test]
async fn a_source_answers_as_told_and_remembers_who_asked() {
    let source = Source::answering(json!({ "USD": 1.5 })).await;
    source.on("/in-turn", Behaviour::Sequence(vec![json!(1), json!(2)]));
    source.on("/broken", Behaviour::Status(503, "closed".to_owned()));
    source.on("/garbage", Behaviour::Garbage);
    source.on("/large", Behaviour::Megabytes(3));
    source.on(
        "/slow",
        Behaviour::Slow(Duration::from_millis(120), json!("late")),
    );
    source.on("/hang", Behaviour::Hang);
    let client = http();
    let get = async |path: &str| client.get(source.url_of(path)).send().await.unwrap();

    assert_eq!(
        get("/?at=noon").await.text().await.unwrap(),
        r#"{"USD":1.5}"#
    );
    let mut in_turn = Vec::new();
    for _ in 0..3 {
        in_turn.push(get("/in-turn").await.text().await.unwrap());
    }
    assert_eq!(in_turn, ["1", "2", "2"]);
    assert_eq!(get("/broken").await.status(), 503);
    assert_eq!(get("/unknown").await.status(), 404);
    assert!(String::from_utf8(get("/garbage").await.bytes().await.unwrap().to_vec()).is_err());
    assert!(get("/large").await.bytes().await.unwrap().len() > 3 << 20);
    let asked = Instant::now();
    assert_eq!(get("/slow").await.text().await.unwrap(), r#""late""#);
    assert!(asked.elapsed() >= Duration::from_millis(120));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), get("/hang"))
            .await
            .is_err()
    );

    assert_eq!(
        (
            source.hits(),
            source.hits_of("/in-turn"),
            source.hits_of("/hang")
        ),
        (10, 3, 1)
    );
    assert_eq!(source.received()[0].target, "/?at=noon");
}

#[tokio::test]
async fn a_bridge_adapter_sees_headers_and_body() {
    let source = Source::start().await;
    source.on(
        "/adapter",
        Behaviour::Answer(json!({ "data": { "result": "sunny" } })),
    );
    let asked = http().post(source.url_of("/adapter")).bearer_auth("token");
    asked
        .json(&json!({ "id": "1", "data": { "city": "Ioannina" } }))
        .send()
        .await
        .unwrap();

    let received = source.received();
    assert_eq!(received[0].method, "POST");
    assert_eq!(received[0].headers["authorization"], "Bearer token");
    assert_eq!(received[0].json()["data"]["city"], "Ioannina");
}
