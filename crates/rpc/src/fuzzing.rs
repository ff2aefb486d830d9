//! Seeded fuzzing of what comes from outside: request envelopes against serde_json, replies of
//! endpoints down to the bytes on the wire, and the words of errors. Bounded on every run, a
//! hundred times longer under `DODONA_TEST_LONG`.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::{NodeConfig, PoolConfig};
use crate::endpoints::Endpoints;
use crate::gateway::{Body, Class, class, read_body};
use crate::send_errors::Overrides;
use crate::wire::{self, Refusal};

#[allow(
    clippy::disallowed_methods,
    reason = "a test is told by the environment to take its time"
)]
fn rounds(usual: u64) -> u64 {
    match std::env::var_os("DODONA_TEST_LONG") {
        Some(_) => usual * 100,
        None => usual,
    }
}

/// One or several small changes to one of these.
fn changed(corpus: &[&str], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = corpus[rng.random_range(0..corpus.len())]
        .as_bytes()
        .to_vec();
    const BYTES: &[u8] = b"{}[]\",:\\0123456789eE+-.ntfaux \r\n\t\0\x7f\xc3\xa9\xff";
    for _ in 0..rng.random_range(0..5) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] = BYTES[rng.random_range(0..BYTES.len())],
            1 => bytes.insert(at, BYTES[rng.random_range(0..BYTES.len())]),
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            3 => bytes.truncate(at),
            _ => {
                // A piece of another one in the middle.
                let other = corpus[rng.random_range(0..corpus.len())].as_bytes();
                let from = rng.random_range(0..=other.len());
                let to = rng.random_range(from..=other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

const REQUESTS: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":"0x1"},"latest"]}"#,
    r#"{"id":"x","method":"eth_blockNumber"}"#,
    r#"{"id":null,"method":"m","params":{"a":[1,2,{"b":null}]}}"#,
    r#"{"id":-1.5e3,"method":"\u0061\n","params":[]}"#,
    r#"{"method":"m","id":12345678901234567890}"#,
    r#"[{"id":1,"method":"a"},{"id":2,"method":"b","params":[true,false]}]"#,
    " [ ] ",
    r#"{"id":[1],"method":7,"params":"x"}"#,
];

/// One request as serde_json's own values see it; the text of its id, so that no digit is lost.
fn same(request: &crate::gateway::Request<'_>, value: &Value) {
    assert_eq!(Some(&*request.method), value["method"].as_str());
    let params: Value = serde_json::from_str(request.params).unwrap();
    match value.get("params") {
        None | Some(Value::Null) => assert_eq!(params, serde_json::json!([])),
        Some(expected) => assert_eq!(&params, expected),
    }
    match (request.id, value.get("id")) {
        (None, expected) => assert_eq!(expected, None),
        (Some(id), expected) => {
            assert_eq!(serde_json::from_str::<Value>(id).ok().as_ref(), expected);
        }
    }
}

#[test]
fn whatever_bytes_come_the_envelope_means_what_serde_json_says_it_means() {
    let (mut understood, mut refused) = (0, 0);
    for seed in 0..rounds(20_000) {
        let bytes = changed(REQUESTS, &mut StdRng::seed_from_u64(seed));
        let value: Result<Value, _> = serde_json::from_slice(&bytes);
        // A number beyond all floats is a number all the same.
        let beyond = matches!(&value, Err(error) if is_inside(error));
        match (read_body(&bytes, 3), value) {
            _ if beyond => {}
            (Ok(Body::One(Ok(request))), Ok(value)) => {
                understood += 1;
                same(&request, &value);
            }
            (Ok(Body::Batch(list)), Ok(Value::Array(values))) => {
                assert_eq!(list.len(), values.len(), "seed {seed}");
                for (request, value) in list.iter().zip(&values) {
                    if let Ok(request) = request {
                        understood += 1;
                        same(request, value);
                    }
                }
            }
            (Ok(Body::One(Err(_))) | Err(_), Ok(Value::Object(value))) => {
                refused += 1;
                // Refused although it is JSON: something in it is not as it should be, or twice.
                let fine = value
                    .get("method")
                    .is_some_and(|it| it.as_str().is_some_and(|it| !it.is_empty()))
                    && value
                        .get("params")
                        .is_none_or(|it| it.is_array() || it.is_object() || it.is_null())
                    && value
                        .get("id")
                        .is_none_or(|it| it.is_string() || it.is_number() || it.is_null());
                let text = String::from_utf8_lossy(&bytes);
                let twice = ["\"id\"", "\"method\"", "\"params\""]
                    .iter()
                    .any(|name| text.matches(name).count() > 1 || text.contains("\\u00"));
                assert!(!fine || twice, "seed {seed}: {text}");
            }
            (Err(_), _) => refused += 1,
            (Ok(_), Ok(other)) => panic!("seed {seed}: {other} was taken for a request"),
            (Ok(_), Err(error)) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                panic!("seed {seed}: {text:?} was taken for JSON, which it is not: {error}")
            }
        }
    }
    assert!(
        understood > 1000 && refused > 1000,
        "{understood} {refused}"
    );
}

const ERRORS: &[&str] = &[
    "header not found",
    "execution reverted: not owner",
    "missing trie node 00ff (path ) state is not available",
    "nonce too low: next nonce 5, tx nonce 3",
    "query returned more than 10000 results",
    "rate limit exceeded, retry in 1s",
    "the method eth_foo does not exist/is not available",
    "exceed maximum block range 1000",
    "out of gas",
    "",
];

#[test]
fn whatever_words_come_an_error_has_one_class_and_letter_case_does_not_matter() {
    const CODES: &[i64] = &[
        3, 4, -32000, -32001, -32002, -32003, -32005, -32600, -32601, -32602, -32603, 429, 4444, 0,
        -39001,
    ];
    const METHODS: &[&str] = &["eth_call", "eth_getLogs", "eth_getBlockByNumber", "x"];
    let overrides = Overrides::default();
    for seed in 0..rounds(20_000) {
        let mut rng = StdRng::seed_from_u64(seed);
        let message = String::from_utf8_lossy(&changed(ERRORS, &mut rng)).into_owned();
        let code = CODES[rng.random_range(0..CODES.len())];
        let method = METHODS[rng.random_range(0..METHODS.len())];
        let of = |message: &str| {
            let refusal = Refusal {
                code,
                message: message.to_owned(),
                data: None,
            };
            class(method, &refusal, &overrides)
        };
        let class = of(&message);
        assert_eq!(
            class,
            of(&message.to_ascii_uppercase()),
            "seed {seed}: {message}"
        );
        // A revert is the answer, unless the words are about something else.
        if code == 3 && class != Class::Final {
            let plain = of("execution reverted");
            assert_eq!(plain, Class::Final, "seed {seed}");
        }
    }
}

const REPLIES: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":7,"result":"0x1"}"#,
    r#"{"id":7,"error":{"code":3,"message":"execution reverted","data":"0x08c379a0"}}"#,
    r#"{"id":"7","result":null}"#,
    r#"{"error":"Unauthorized"}"#,
    r#"{"id":null,"error":{"code":"-5","message":null}}"#,
    r#"[{"id":7,"result":1},{"id":8,"error":{"code":1}}]"#,
    "<html><body>502</body></html>",
];

/// A number or a text that is JSON, and that no program could hold.
fn is_inside(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    ["out of range", "unicode", "surrogate"]
        .iter()
        .any(|word| text.contains(word))
}

#[test]
fn whatever_bytes_come_back_an_answer_is_only_taken_apart_where_it_can_be() {
    for seed in 0..rounds(20_000) {
        let bytes = Bytes::from(changed(REPLIES, &mut StdRng::seed_from_u64(seed)));
        let value = serde_json::from_slice::<Value>(&bytes);
        match wire::split(7, &bytes) {
            Ok(Ok(result)) => {
                let result = serde_json::from_slice::<Value>(&result);
                let (value, result) = match (value, result) {
                    (Ok(value), Ok(result)) => (value, result),
                    // What is inside of texts and numbers is passed on as it is.
                    (Err(error), _) | (_, Err(error)) => {
                        assert!(is_inside(&error), "seed {seed}: {error}");
                        continue;
                    }
                };
                assert_eq!(Some(&result), value.get("result"), "seed {seed}");
                assert_eq!(
                    value.get("error").filter(|it| !it.is_null()),
                    None,
                    "seed {seed}"
                );
            }
            Ok(Err((_, error))) => match serde_json::from_slice::<Value>(&error) {
                Ok(error) => assert!(error.is_object(), "seed {seed}: {error}"),
                Err(error) => assert!(is_inside(&error), "seed {seed}: {error}"),
            },
            Err(_) => {}
        }
        let _ = wire::split_batch(&[7, 8], &bytes);
    }
}

const HTTP: &[&str] = &[
    "HTTP/1.1 200 OK\r\ncontent-length: 26\r\n\r\n{\"id\":7,\"result\":\"0x1234\"}",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1a\r\n{\"id\":7,\"result\":\"0x1234\"}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"id\":7,\"result\":\"0x1234\"}",
    "HTTP/1.0 200 OK\r\n\r\n{\"id\":7,\"result\":\"0x1234\"}",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 429 Slow\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 500 Oh\r\ncontent-length: 5\r\ncontent-length: 9\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nx",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/2 200\r\n\r\n",
];

#[tokio::test]
async fn whatever_an_endpoint_puts_on_the_wire_there_is_an_end_and_nothing_breaks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let node = NodeConfig::primary("a", url.parse().unwrap());
    let pool = Endpoints::new(PoolConfig::new(1, vec![node])).unwrap();
    let http = pool.0.nodes[0].http.as_ref().unwrap();
    let server = tokio::spawn(async move {
        let mut seed = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let reply = changed(HTTP, &mut StdRng::seed_from_u64(seed));
            seed += 1;
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&reply).await;
                // Closed, so that nobody waits for what does not come.
                let _ = stream.shutdown().await;
            });
        }
    });
    let (mut whole, mut broken) = (0, 0);
    for _ in 0..rounds(500) {
        let body = Bytes::from_static(br#"{"id":7,"method":"m","params":[]}"#);
        let within = Duration::from_millis(500);
        let answer = tokio::time::timeout(3 * within, http.post_within("m", body, within))
            .await
            .expect("there is an end to it");
        match answer {
            Ok(bytes) => {
                whole += 1;
                let _ = wire::split(7, &bytes);
            }
            Err(error) => {
                broken += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(whole > 20 && broken > 20, "{whole} {broken}");
    server.abort();
}
