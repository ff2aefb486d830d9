//! Seeded fuzzing of what comes from outside: request envelopes against serde_json, replies of
//! endpoints down to the bytes on the wire, and the words of errors. Bounded on every run, a
//! hundred times longer under `DODONA_TEST_LONG`.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::{NodeConfig, PoolConfig};
use crate::endpoints::Endpoints;
use crate::fuzz_targets as targets;
use crate::patience::Allowance;
use crate::wire;

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

#[test]
fn whatever_bytes_come_the_envelope_means_what_serde_json_says_it_means() {
    let (mut understood, mut refused) = (0, 0);
    for seed in 0..rounds(20_000) {
        let bytes = changed(REQUESTS, &mut StdRng::seed_from_u64(seed));
        match seeded(seed, || targets::envelope(&bytes)) {
            Some(true) => understood += 1,
            Some(false) => refused += 1,
            None => {}
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
    for seed in 0..rounds(20_000) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = vec![rng.random(), rng.random()];
        bytes.extend(changed(ERRORS, &mut rng));
        seeded(seed, || targets::error_words(&bytes));
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

#[test]
fn whatever_bytes_come_back_an_answer_is_only_taken_apart_where_it_can_be() {
    for seed in 0..rounds(20_000) {
        let bytes = changed(REPLIES, &mut StdRng::seed_from_u64(seed));
        seeded(seed, || targets::reply(&bytes));
    }
}

const HEADS: &[&str] = &[
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}",
    "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer x\r\ncontent-length: 7\r\n\r\n{\"id\":1",
    "GET /health HTTP/1.1\r\nhost: a\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

#[test]
fn whatever_head_comes_the_quick_door_takes_a_request_only_with_one_length_that_is_its_bodys() {
    let mut taken = 0;
    for seed in 0..rounds(20_000) {
        let bytes = changed(HEADS, &mut StdRng::seed_from_u64(seed));
        taken += usize::from(seeded(seed, || targets::request_head(&bytes)));
    }
    assert!(taken > 1000, "{taken}");
}

/// Says which seed it was that went wrong.
fn seeded<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    struct Says(u64);
    impl Drop for Says {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("seed {}", self.0);
            }
        }
    }
    let _says = Says(seed);
    run()
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
        let answer = tokio::time::timeout(
            3 * within,
            http.post_within("m", &body, Allowance::from_now(within)),
        )
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
