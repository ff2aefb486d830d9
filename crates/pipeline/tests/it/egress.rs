//! Where requests may go, with real sockets and a resolver that lies.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use dodona_pipeline::egress::{EgressClient, HttpError, Resolve};
use dodona_pipeline::{CallOrigin, HttpCall, HttpReply, Reach};
use futures_util::future::BoxFuture;
use uuid::uuid;

/// What a server was asked.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }
}

/// A server on loopback: `/ok`, `/to/<status>/<target>` redirects, `/big/<n>` sends n bytes,
/// `/drip` never ends, `/hang` never starts.
async fn server() -> (SocketAddr, Log) {
    async fn answer(
        State(log): State<Log>,
        Path(path): Path<String>,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        log.0.lock().unwrap().push(Seen {
            method,
            path: path.clone(),
            headers,
            body: body.to_vec(),
        });
        if let Some(rest) = path.strip_prefix("to/") {
            let (status, target) = rest.split_once('/').unwrap();
            let status = StatusCode::from_u16(status.parse().unwrap()).unwrap();
            return (status, [(header::LOCATION, target.to_owned())]).into_response();
        }
        if let Some(count) = path.strip_prefix("big/") {
            return vec![b'x'; count.parse().unwrap()].into_response();
        }
        match path.as_str() {
            "drip" => {
                let piece =
                    || async { Some((Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 1024])), ())) };
                Body::from_stream(futures_util::stream::unfold((), move |()| piece()))
                    .into_response()
            }
            "hang" => std::future::pending().await,
            "gzip" => {
                ([(header::CONTENT_ENCODING, "gzip")], vec![0x1f, 0x8b, 1, 2]).into_response()
            }
            "fail" => (StatusCode::BAD_GATEWAY, "no").into_response(),
            _ => ([("X-Answer", "yes")], "ok").into_response(),
        }
    }
    let log = Log::default();
    let app = Router::new()
        .route("/{*path}", any(answer))
        .with_state(log.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, log)
}

/// Answers with one list after the other, the last one for ever.
struct Liar {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Liar {
    fn says(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |list: &&[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        Arc::new(Self {
            answers: answers.iter().map(parse).collect(),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Resolve for Liar {
    fn resolve(&self, _host: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let n = self
            .asked
            .fetch_add(1, Ordering::SeqCst)
            .min(self.answers.len() - 1);
        Box::pin(std::future::ready(Ok(self.answers[n].clone())))
    }
}

fn client() -> EgressClient {
    let _ = rustls::crypto::ring::default_provider().install_default();
    EgressClient::new().unwrap()
}

fn client_with(resolver: Arc<Liar>) -> EgressClient {
    let _ = rustls::crypto::ring::default_provider().install_default();
    EgressClient::with_resolver(resolver, &[]).unwrap()
}

fn call(url: &str) -> HttpCall {
    HttpCall {
        reach: Reach::Unrestricted,
        method: "GET".into(),
        url: url.parse().unwrap(),
        headers: vec![],
        body: None,
        timeout: Some(Duration::from_secs(10)),
        max_response_bytes: 32_768,
        idempotency_key: None,
        origin: CallOrigin::default(),
    }
}

fn restricted(url: &str) -> HttpCall {
    HttpCall {
        reach: Reach::Restricted,
        ..call(url)
    }
}

fn is_disallowed(result: &Result<HttpReply, HttpError>) -> bool {
    matches!(result, Err(HttpError::Disallowed { .. }))
}

#[tokio::test]
async fn a_request_arrives_as_it_was_meant() {
    let (address, log) = server().await;
    let key = uuid!("0f3a61c4-92d0-4f0e-8f0b-3c2f7c0d5e11");
    let sent = HttpCall {
        method: "POST".into(),
        headers: vec![
            ("X-A".into(), "1".into()),
            ("Host".into(), "evil".into()),
            ("Content-Length".into(), "0".into()),
        ],
        body: Some(b"{\"a\":1}".to_vec()),
        idempotency_key: Some(key),
        ..call(&format!("http://user:pa%20ss@{address}/ok"))
    };
    let reply = client().send(sent).await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (200, &b"ok"[..]));
    assert!(
        reply
            .headers
            .contains(&("x-answer".to_owned(), "yes".to_owned()))
    );
    let seen = &log.all()[0];
    let header = |name: &str| seen.headers.get(name).map(|v| v.to_str().unwrap());
    assert_eq!(
        (&seen.method, seen.body.as_slice()),
        (&Method::POST, &b"{\"a\":1}"[..])
    );
    assert_eq!(header("x-a"), Some("1"));
    assert_eq!(header("host"), Some(address.to_string().as_str()));
    assert_eq!(header("idempotency-key"), Some(key.to_string().as_str()));
    assert_eq!(header("authorization"), Some("Basic dXNlcjpwYSBzcw=="));
    assert_eq!(header("accept-encoding"), None);
    assert_eq!(header("accept"), Some("*/*"));
    assert!(header("user-agent").unwrap().starts_with("dodona/"));
}

#[tokio::test]
async fn loopback_is_refused_in_every_spelling_and_the_attribute_is_named() {
    let (address, log) = server().await;
    let port = address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
    ] {
        let result = client()
            .send(restricted(&format!("http://{host}:{port}/ok")))
            .await;
        assert!(is_disallowed(&result), "{host}: {result:?}");
        let text = result.unwrap_err().to_string();
        assert!(
            text.starts_with("disallowed IP")
                && text.contains("allowUnrestrictedNetworkAccess=\"true\""),
            "{text}"
        );
    }
    assert!(log.all().is_empty());
}

#[tokio::test]
async fn the_same_address_is_reached_where_it_is_allowed() {
    let (address, _) = server().await;
    let url = format!("http://localhost:{}/ok", address.port());
    assert_eq!(client().send(call(&url)).await.unwrap().status, 200);
}

#[tokio::test]
async fn metadata_addresses_are_refused_even_without_restrictions() {
    for url in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://0xa9fea9fe/",
    ] {
        let result = client().send(call(url)).await;
        assert!(is_disallowed(&result), "{url}: {result:?}");
        assert!(result.unwrap_err().to_string().contains("metadata"));
    }
    let result = client_with(Liar::says(&[&["169.254.169.254"]]))
        .send(call("http://metadata.example/"))
        .await;
    assert!(is_disallowed(&result), "{result:?}");
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to() {
    let (address, log) = server().await;
    let url = format!("http://data.example:{}/ok", address.port());
    let result = client_with(Liar::says(&[&["127.0.0.1"]]))
        .send(restricted(&url))
        .await;
    let Err(HttpError::Disallowed { host, address, .. }) = result else {
        panic!("{result:?}")
    };
    assert_eq!(
        (host.as_str(), address.to_string().as_str()),
        ("data.example", "127.0.0.1")
    );
    assert!(log.all().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_answer_gains_nothing() {
    let (address, log) = server().await;
    // The connection is made to the very answer that was judged: whichever it is, loopback is
    // never reached. (192.0.0.8 answers nobody, and is refused too.)
    let liar = Liar::says(&[&["192.0.0.8", "127.0.0.1"], &["127.0.0.1"]]);
    let client = client_with(Arc::clone(&liar));
    for _ in 0..3 {
        let result = client
            .send(restricted(&format!(
                "http://rebind.example:{}/ok",
                address.port()
            )))
            .await;
        assert!(is_disallowed(&result), "{result:?}");
    }
    assert!(log.all().is_empty());
    assert_eq!(liar.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_made_without_restrictions_is_not_reused_with_them() {
    let (address, _) = server().await;
    let client = client_with(Liar::says(&[&["127.0.0.1"]]));
    let url = format!("http://data.example:{}/ok", address.port());
    assert!(client.send(call(&url)).await.is_ok());
    assert!(is_disallowed(&client.send(restricted(&url)).await));
}

#[tokio::test]
async fn every_redirect_is_judged_again() {
    let (address, log) = server().await;
    let client = client();
    for target in ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/"] {
        let result = client
            .send(call(&format!("http://{address}/to/302/{target}")))
            .await;
        assert!(is_disallowed(&result), "{target}: {result:?}");
    }
    assert_eq!(log.all().len(), 2);
    for target in ["ftp://h/", "file:///etc/passwd", "gopher://h/", "http://"] {
        let result = client
            .send(call(&format!("http://{address}/to/302/{target}")))
            .await;
        assert!(
            matches!(result, Err(HttpError::BadRedirect { .. })),
            "{target}: {result:?}"
        );
    }
}

#[tokio::test]
async fn redirects_are_followed_ten_times_and_no_more() {
    let (address, log) = server().await;
    let chain = |count: usize| format!("http://{address}/{}/ok", vec!["to/307/"; count].join("/"));
    assert_eq!(client().send(call(&chain(10))).await.unwrap().status, 200);
    assert_eq!(log.all().len(), 11);
    let result = client().send(call(&chain(11))).await;
    assert_eq!(result, Err(HttpError::TooManyRedirects));
    let result = client()
        .send(call(&format!("http://{address}/to/302/")))
        .await;
    assert!(result.is_err() || result.is_ok_and(|r| r.status == 302 || r.status == 404));
}

#[tokio::test]
async fn a_redirect_turns_a_post_into_a_get_unless_its_status_forbids() {
    let (address, log) = server().await;
    let post = |status: u16| HttpCall {
        method: "POST".into(),
        body: Some(b"x".to_vec()),
        headers: vec![("Authorization".into(), "secret".into())],
        ..call(&format!(
            "http://{address}/to/{status}/http://localhost:{}/ok",
            address.port()
        ))
    };
    for (status, method, body) in [
        (301, Method::GET, ""),
        (302, Method::GET, ""),
        (303, Method::GET, ""),
        (307, Method::POST, "x"),
        (308, Method::POST, "x"),
    ] {
        client().send(post(status)).await.unwrap();
        let seen = log.all().pop().unwrap();
        assert_eq!(
            (seen.method, seen.body.as_slice()),
            (method, body.as_bytes()),
            "{status}"
        );
        // 127.0.0.1 and localhost are different hosts.
        assert_eq!(seen.headers.get("authorization"), None);
    }
    let same_host = HttpCall {
        headers: vec![("Authorization".into(), "secret".into())],
        ..call(&format!("http://{address}/to/302/http://{address}/ok"))
    };
    client().send(same_host).await.unwrap();
    assert!(
        log.all()
            .pop()
            .unwrap()
            .headers
            .contains_key("authorization")
    );
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_not_beyond() {
    let (address, _) = server().await;
    let limited = |path: &str| HttpCall {
        max_response_bytes: 2_000,
        ..call(&format!("http://{address}/{path}"))
    };
    assert_eq!(
        client().send(limited("big/2000")).await.unwrap().body.len(),
        2_000
    );
    for path in ["big/2001", "big/50000000", "drip"] {
        assert_eq!(
            client().send(limited(path)).await,
            Err(HttpError::TooLarge { max_bytes: 2_000 }),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_compressed_body_nobody_asked_for_is_not_unpacked() {
    let (address, _) = server().await;
    let reply = client()
        .send(call(&format!("http://{address}/gzip")))
        .await
        .unwrap();
    assert_eq!(&reply.body[..], [0x1f, 0x8b, 1, 2]);
}

#[tokio::test]
async fn a_source_that_hangs_is_given_up_in_time() {
    let (address, _) = server().await;
    let call = HttpCall {
        timeout: Some(Duration::from_millis(200)),
        ..call(&format!("http://{address}/hang"))
    };
    let began = std::time::Instant::now();
    assert_eq!(client().send(call).await, Err(HttpError::TimedOut));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn any_status_is_an_answer() {
    let (address, _) = server().await;
    let reply = client()
        .send(call(&format!("http://{address}/fail")))
        .await
        .unwrap();
    assert_eq!((reply.status, &reply.body[..]), (502, &b"no"[..]));
}

#[tokio::test]
async fn headers_and_methods_cannot_smuggle_anything_in() {
    let (address, log) = server().await;
    let url = format!("http://{address}/ok");
    for (name, value) in [
        ("X-A", "1\r\nX-B: 2"),
        ("X-A\r\nX-B", "1"),
        ("", "x"),
        ("X A", "1"),
        ("X-A", "\0"),
    ] {
        let call = HttpCall {
            headers: vec![(name.into(), value.into())],
            ..call(&url)
        };
        let result = client().send(call).await;
        assert!(
            matches!(result, Err(HttpError::Invalid(_))),
            "{name:?}: {result:?}"
        );
    }
    for method in ["GET /x HTTP/1.1\r\n", "", "G T"] {
        let call = HttpCall {
            method: method.into(),
            ..call(&url)
        };
        assert!(
            matches!(client().send(call).await, Err(HttpError::Invalid(_))),
            "{method:?}"
        );
    }
    assert!(log.all().is_empty());
}

#[tokio::test]
async fn a_refused_connection_says_which_host_and_why() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client()
        .send(call(&format!("http://{address}/")))
        .await
        .unwrap_err();
    let HttpError::Failed { host, reason } = error else {
        panic!("{error:?}")
    };
    assert_eq!(host, "127.0.0.1");
    assert!(reason.to_lowercase().contains("refused"), "{reason}");
}

#[tokio::test]
async fn the_nodes_own_database_is_not_reached_wherever_it_is() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own: IpAddr = "8.8.8.8".parse().unwrap();
    let client = EgressClient::with_resolver(Liar::says(&[&["8.8.8.8"]]), &[own]).unwrap();
    for url in [
        "http://8.8.8.8:5432/",
        "http://db.example:5432/",
        "http://[::ffff:8.8.8.8]:5432/",
    ] {
        let result = client.send(restricted(url)).await;
        assert!(is_disallowed(&result), "{url}: {result:?}");
        assert!(result.unwrap_err().to_string().contains("own database"));
    }
}

#[tokio::test]
async fn a_redirect_may_be_relative_and_a_secure_site_may_not_leak_to_an_open_one() {
    let (address, log) = server().await;
    let reply = client()
        .send(call(&format!("http://{address}/to/302//ok")))
        .await
        .unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(log.all().pop().unwrap().path, "ok");
}
