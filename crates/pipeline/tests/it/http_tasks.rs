//! `http` and `bridge`: what is sent, and what is made of the answer.

use std::time::Duration;

use dodona_pipeline::egress::HttpError;
use dodona_pipeline::{HttpCall, HttpReply, Limits, Outcome, Reach, RunInput, RunState, Value};
use uuid::uuid;

use crate::fake::{World, error, input, output, reply, result, run_in};

const ID: uuid::Uuid = uuid!("0f3a61c4-92d0-4f0e-8f0b-3c2f7c0d5e11");

async fn http(attributes: &str) -> (Outcome, HttpCall) {
    let given = RunInput {
        task_run_ids: [("a".to_owned(), ID)].into(),
        ..input([
            ("url", Value::from("http://h/")),
            ("list", Value::List(vec![Value::Int(1)])),
            ("raw", Value::from(vec![1u8, 2])),
        ])
    };
    let source = format!("a [type=http url=\"$(url)\" {attributes}]");
    let (outcome, world) = run_in(
        &source,
        World::default().answers("http://h/", 200, "ok"),
        given,
    )
    .await;
    let call = world.the_call();
    (outcome, call)
}

fn body(call: &HttpCall) -> Option<&str> {
    call.body
        .as_deref()
        .map(|b| std::str::from_utf8(b).unwrap())
}

fn header<'a>(call: &'a HttpCall, name: &str) -> Option<&'a str> {
    call.headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.as_str())
}

#[tokio::test]
async fn a_plain_request_is_a_restricted_get_without_a_body() {
    let (outcome, call) = http("").await;
    assert_eq!(output(&outcome, "a"), &Value::from("ok"));
    assert_eq!(
        (call.method.as_str(), call.reach, body(&call)),
        ("GET", Reach::Restricted, None)
    );
    assert_eq!(header(&call, "content-type"), Some("application/json"));
    assert_eq!(
        (call.timeout, call.max_response_bytes),
        (Some(Duration::from_secs(15)), 32_768)
    );
    assert_eq!(call.idempotency_key, None);
    assert_eq!((call.origin.run_id, call.origin.dot_id.as_str()), (1, "a"));
}

#[tokio::test]
async fn private_addresses_are_reached_only_where_the_task_says_so() {
    for (attributes, reach) in [
        ("url=\"http://h/\"", Reach::Restricted),
        (
            "allowUnrestrictedNetworkAccess=\"true\"",
            Reach::Unrestricted,
        ),
        (
            "ALLOWUNRESTRICTEDNETWORKACCESS=true url=\"http://h/\"",
            Reach::Unrestricted,
        ),
        (
            "allowUnrestrictedNetworkAccess=false url=\"http://h/\"",
            Reach::Restricted,
        ),
    ] {
        assert_eq!(http(attributes).await.1.reach, reach, "{attributes}");
    }
}

#[tokio::test]
async fn the_body_is_sent_whatever_the_method_and_its_names_are_sorted() {
    let (_, call) = http(r#"requestData=<{"b": $(raw), "a": {"c": $(list)}}>"#).await;
    assert_eq!(body(&call), Some(r#"{"a":{"c":[1]},"b":"AQI="}"#));
    let (_, call) = http(r#"requestData="{}""#).await;
    assert_eq!(body(&call), Some("{}"));
}

#[tokio::test]
async fn what_is_not_a_get_carries_the_task_run_as_its_idempotency_key() {
    let (_, call) = http("method=POST").await;
    assert_eq!(
        (call.method.as_str(), call.idempotency_key),
        ("POST", Some(ID))
    );
    let (_, call) = http("method=get").await;
    assert_eq!((call.method.as_str(), call.idempotency_key), ("get", None));
}

#[tokio::test]
async fn headers_come_in_pairs_and_replace_the_content_type() {
    let (_, call) = http(r#"headers=<["X-Key", "secret", "content-type", "text/plain"]>"#).await;
    assert_eq!(header(&call, "x-key"), Some("secret"));
    assert_eq!(
        call.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case("content-type"))
            .count(),
        1
    );
    assert_eq!(header(&call, "content-type"), Some("text/plain"));
}

#[tokio::test]
async fn parameters_that_cannot_be_used_are_refused_before_anything_is_sent() {
    for (attributes, words) in [
        (
            r#"headers=<["X-Key"]>"#,
            "names and values must come in pairs: bad input for task",
        ),
        (r#"headers="x""#, "headers: malformed JSON"),
        (
            "url=\"ftp://h/\"",
            "is not an http or https URL: bad input for task",
        ),
        ("url=\"/x\"", "is not a URL"),
        ("url=\"\"", "url: parameter is empty"),
        ("url=\"$(list)\"", "expected a string, got a list"),
        (
            r#"requestData="[1]""#,
            "requestData: expected a map, got a list",
        ),
        (r#"requestData="{""#, "requestData: malformed JSON"),
        (
            r#"requestData=<{"a": "$(url)"}>"#,
            "without quotes around it",
        ),
        (
            "allowUnrestrictedNetworkAccess=yes",
            "neither true nor false",
        ),
    ] {
        let given = input([
            ("url", Value::from("http://h/")),
            ("list", Value::List(vec![])),
        ]);
        let url = if attributes.starts_with("url") {
            ""
        } else {
            "url=\"http://h/\""
        };
        let source = format!("a [type=http {url} {attributes}]");
        let (outcome, world) = run_in(&source, World::default(), given).await;
        assert!(
            error(&outcome, "a").contains(words),
            "{attributes}: {}",
            error(&outcome, "a")
        );
        assert!(world.calls.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_status_from_400_on_is_an_error_with_what_the_source_says() {
    for (status, text, expected) in [
        (
            400,
            r#"{"error":"no such pair"}"#,
            "got error from http://h/: (status code 400) no such pair",
        ),
        (503, "<html>", "got error from http://h/: (status code 503)"),
        (
            404,
            r#"{"a":1}"#,
            r#"got error from http://h/: (status code 404) {"a":1}"#,
        ),
    ] {
        let world = World::default().answers("http://h/", status, text);
        let (outcome, _) = run_in("a [type=http url=\"http://h/\"]", world, input([])).await;
        assert_eq!(error(&outcome, "a"), expected);
    }
    let world = World::default().answers("http://h/", 304, "fine");
    let (outcome, _) = run_in("a [type=http url=\"http://h/\"]", world, input([])).await;
    assert_eq!(output(&outcome, "a"), &Value::from("fine"));
}

#[tokio::test]
async fn a_body_that_is_not_text_stays_bytes() {
    let answer = HttpReply {
        status: 200,
        headers: vec![],
        body: vec![0xff, 0xfe].into(),
    };
    let world = World::default().answers_with("http://h/", Duration::ZERO, Ok(answer));
    let (outcome, _) = run_in("a [type=http url=\"http://h/\"]", world, input([])).await;
    assert_eq!(output(&outcome, "a"), &Value::from(vec![0xffu8, 0xfe]));
}

#[tokio::test]
async fn failures_of_the_transport_keep_their_words() {
    let refused = HttpError::TooLarge { max_bytes: 32_768 };
    let world = World::default().answers_with("http://h/", Duration::ZERO, Err(refused));
    let (outcome, _) = run_in("a [type=http url=\"http://h/\"]", world, input([])).await;
    assert_eq!(
        error(&outcome, "a"),
        "HTTP response too large, must be less than 32768 bytes"
    );
}

async fn bridge(
    attributes: &str,
    world: World,
    given: RunInput,
) -> (Outcome, std::sync::Arc<World>) {
    let source =
        format!("in [type=memo value=<\"first\">]; a [type=bridge name=b {attributes}]; in -> a");
    run_in(&source, world.bridge("b", "http://b/path?k=v"), given).await
}

fn good() -> World {
    World::default().answers("http://b/path?k=v", 200, r#"{"data":{"result":"x"}}"#)
}

#[tokio::test]
async fn a_bridge_is_posted_its_data_with_the_meta_of_the_run() {
    let meta = Value::map([(
        "oracleRequest",
        Value::map([("requestId", Value::from("0x01"))]),
    )]);
    let given = RunInput {
        task_run_ids: [("a".to_owned(), ID)].into(),
        ..input([("jobRun", Value::map([("meta", meta)]))])
    };
    let data = r#"requestData=<{"id": 1, "meta": "mine"}> includeInputAtKey=result"#;
    let (outcome, world) = bridge(data, good(), given).await;
    let call = world.the_call();
    assert_eq!(
        body(&call),
        Some(r#"{"id":1,"meta":{"oracleRequest":{"requestId":"0x01"}},"result":"first"}"#)
    );
    assert_eq!(
        (call.method.as_str(), call.reach),
        ("POST", Reach::Unrestricted)
    );
    assert_eq!(call.url.as_str(), "http://b/path?k=v");
    assert_eq!(call.idempotency_key, Some(ID));
    assert_eq!(header(&call, "authorization"), None);
    assert_eq!(
        output(&outcome, "a"),
        &Value::from(r#"{"data":{"result":"x"}}"#)
    );
}

#[tokio::test]
async fn a_bridge_without_data_is_posted_an_empty_object() {
    let (_, world) = bridge("", good(), input([])).await;
    assert_eq!(body(&world.the_call()), Some("{}"));
    // A meta that is no map is left out.
    let (_, world) = bridge(
        "",
        good(),
        input([("jobRun", Value::map([("meta", Value::Null)]))]),
    )
    .await;
    assert_eq!(body(&world.the_call()), Some("{}"));
}

#[tokio::test]
async fn an_unknown_bridge_is_named() {
    let (outcome, _) = run_in("a [type=bridge name=nope]", World::default(), input([])).await;
    assert_eq!(
        error(&outcome, "a"),
        "could not find bridge with name 'nope'"
    );
}

#[tokio::test]
async fn a_bridge_that_admits_failure_inside_a_200_has_failed() {
    let world = World::default().answers(
        "http://b/path?k=v",
        200,
        r#"{"statusCode":500,"error":{"name":"E","message":"m"}}"#,
    );
    let (outcome, _) = bridge("", world, input([])).await;
    assert_eq!(error(&outcome, "a"), "E: m");
}

#[tokio::test]
async fn the_last_good_answer_stands_in_only_after_a_failure_and_only_where_allowed() {
    let broken = || {
        World::default()
            .answers("http://b/path?k=v", 500, "")
            .remembers(Value::from("old"))
    };
    let (outcome, world) = bridge("cacheTTL=\"10s\"", broken(), input([])).await;
    assert_eq!(output(&outcome, "a"), &Value::from("old"));
    assert_eq!(world.calls.lock().unwrap().len(), 1);
    for attributes in ["", "cacheTTL=\"500ms\"", "cacheTTL=\"0s\""] {
        let (outcome, _) = bridge(attributes, broken(), input([])).await;
        assert!(
            error(&outcome, "a").contains("status code 500"),
            "{attributes}"
        );
    }
    let (outcome, world) = bridge(
        "cacheTTL=\"10s\"",
        good().remembers(Value::from("old")),
        input([]),
    )
    .await;
    assert_eq!(output(&outcome, "a"), &world.keeps.lock().unwrap()[0]);
    assert_ne!(output(&outcome, "a"), &Value::from("old"));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_also_stands_in_for_one_that_takes_too_long() {
    let slow = || {
        let later = Ok(reply(200, "too late"));
        World::default().answers_with("http://b/path?k=v", Duration::from_secs(60), later)
    };
    let within = r#"timeout="2s" cacheTTL="10s""#;
    let (outcome, world) = bridge(within, slow().remembers(Value::from("old")), input([])).await;
    assert_eq!(output(&outcome, "a"), &Value::from("old"));
    assert!(world.keeps.lock().unwrap().is_empty());
    // Without one, the error says how long was waited and whose limit it was.
    let (outcome, _) = bridge(within, slow(), input([])).await;
    assert_eq!(
        error(&outcome, "a"),
        "http request timed out or interrupted after 2s (the task's timeout)"
    );
}

#[tokio::test]
async fn a_bridge_may_answer_later() {
    let given = || RunInput {
        task_run_ids: [("a".to_owned(), ID)].into(),
        limits: Limits {
            bridge_response_url: Some("https://node.example/".into()),
            ..Limits::default()
        },
        ..input([])
    };
    let later = World::default().answers("http://b/path?k=v", 202, r#"{"pending":true}"#);
    let (outcome, world) = bridge("async=true", later, given()).await;
    assert_eq!(outcome.state, RunState::Suspended);
    assert_eq!(outcome.pending, [("a".to_owned(), ID)]);
    assert!(world.finished.lock().unwrap().is_empty());
    let sent = format!(r#"{{"responseURL":"https://node.example/v2/resume/{ID}"}}"#);
    assert_eq!(body(&world.the_call()), Some(sent.as_str()));

    let by_header = HttpReply {
        headers: vec![("x-chainlink-pending".into(), "1".into())],
        ..reply(200, "")
    };
    let world = World::default().answers_with("http://b/path?k=v", Duration::ZERO, Ok(by_header));
    assert_eq!(
        bridge("async=true", world, given()).await.0.state,
        RunState::Suspended
    );

    // At once after all; and `async` is only ever the exact word true.
    assert_eq!(
        bridge("async=true", good(), given()).await.0.state,
        RunState::Completed
    );
    let later = World::default().answers("http://b/path?k=v", 200, r#"{"pending":true}"#);
    assert_eq!(
        bridge("async=True", later, given()).await.0.state,
        RunState::Completed
    );
}

/// What a bridge with `checkRequired` made of an answer, with an earlier answer at hand.
async fn checked(bridge_attributes: &str, reader: &str, body: &str) -> Result<Value, String> {
    let world = World::default()
        .bridge("b", "http://bridge/")
        .answers("http://bridge/", 200, body)
        .remembers(Value::from(r#"{"data":{"result":7}}"#));
    let source = format!("t [type=bridge name=b {bridge_attributes}]\np [{reader}]\nt -> p");
    let (outcome, _) = run_in(&source, world, input([])).await;
    let found = result(&outcome, "p");
    found
        .output
        .clone()
        .ok_or(found.error.clone().unwrap_or_default())
}

#[tokio::test]
async fn an_answer_that_lacks_what_the_job_needs_is_replaced_by_an_earlier_one_where_asked() {
    let needs = r#"type=jsonparse path="data,result""#;
    let on = "cacheTTL=\"1m\" checkRequired=true";
    let lacking = r#"{"data":{}}"#;
    assert_eq!(checked(on, needs, lacking).await, Ok(Value::Int(7)));
    assert_eq!(
        checked(on, needs, r#"{"data":{"result":8}}"#).await,
        Ok(Value::Int(8))
    );
    // Read through an expression, and with another separator.
    let by_name = r#"type=jsonparse data="$(t)" path="data.result" separator=".""#;
    assert_eq!(checked(on, by_name, lacking).await, Ok(Value::Int(7)));
    for (attributes, reader) in [
        ("cacheTTL=\"1m\"", needs),
        ("checkRequired=true", needs),
        ("cacheTTL=\"1m\" checkRequired=false", needs),
        (on, r#"type=jsonparse path="data,result" lax=true"#),
    ] {
        let got = checked(attributes, reader, lacking).await;
        assert_ne!(got, Ok(Value::Int(7)), "{attributes} {reader}");
    }
}
