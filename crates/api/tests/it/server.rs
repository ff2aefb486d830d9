//! The listener itself.

use std::sync::Arc;
use std::time::Duration;

use dodona_api::{Api, ApiConfig, ApiError, Parts};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::harness::{Node, config};
use crate::vault::FakeVault;

fn api(node: &Node, config: ApiConfig) -> Api {
    Api::new(
        Parts {
            run_ended: dodona_runtime::Poke::new(),
            store: node.store.clone(),
            health: node.health.clone(),
            vault: Arc::new(FakeVault::new(node.store.clone())),
            chains: vec![],
            leading: Arc::new(|| panic!("injected")),
            metrics_render: Arc::new(String::new),
        },
        config,
    )
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_remedy() {
    let node = Node::on_sqlite(config()).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config();
    config.listen = taken.local_addr().unwrap();
    let error = api(&node, config.clone()).bind().await.unwrap_err();
    assert!(matches!(error, ApiError::InUse { .. }));
    let said = error.to_string();
    let begins = format!(
        "cannot listen on {}: another program uses this port; stop it, or choose",
        config.listen
    );
    assert!(said.starts_with(&begins), "{said}");

    config.listen = "203.0.113.7:6688".parse().unwrap();
    let error = api(&node, config).bind().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("this machine has no such address"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stopping_server_finishes_what_it_answers_and_takes_nothing_new() {
    let node = Node::on_sqlite(config()).await;
    let api = api(&node, config());
    let listener = api.bind().await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(api.serve(listener, async {
        let _ = stopped.await;
    }));

    // A request whose body is still on its way when the server is told to stop.
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = "POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    dodona_testkit::until("the server answers", async || {
        get(&format!("http://{address}/health")).await
    })
    .await;
    stop.send(()).unwrap();
    dodona_testkit::until("nobody listens any more", async || {
        TcpStream::connect(address).await.err()
    })
    .await;
    client.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut nothing = Vec::new();
    assert_eq!(idle.read_to_end(&mut nothing).await.unwrap_or(0), 0);
    tokio::time::timeout(Duration::from_secs(10), serving)
        .await
        .unwrap()
        .unwrap();
}

async fn get(url: &str) -> Option<reqwest::Response> {
    dodona_testkit::http().get(url).send().await.ok()
}

#[tokio::test]
async fn a_handler_that_panics_answers_500_and_the_next_request_is_served() {
    let node = Node::on_sqlite(config()).await;
    let api = api(&node, config());
    let listener = api.bind().await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(api.serve(listener, std::future::pending()));
    let http = dodona_testkit::http();
    let answer = http.get(format!("{url}/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("the node met a mistake of its own")
    );
    let next = http.get(format!("{url}/health")).send().await.unwrap();
    assert_eq!(next.status(), StatusCode::OK);
}
