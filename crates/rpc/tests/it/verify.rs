//! What an operator reads at start when an endpoint is not what it should be.

use dodona_rpc::{NodeConfig, NodeState, Pool, PoolConfig, PoolError, RpcError};

use crate::scripted::{CHAIN, Scripted};
use crate::{config, pool, pool_of};

#[tokio::test]
async fn an_endpoint_that_is_well_says_who_it_is() {
    let server = Scripted::start().await;
    let reports = pool_of(&[&server]).verify().await;
    let verified = reports[0].verdict.as_ref().unwrap();
    assert_eq!(verified.chain_id, CHAIN);
    assert_eq!(verified.client_version.as_deref(), Some("scripted/1"));
    assert_eq!(verified.head.as_ref().unwrap().number, 100);
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_named_with_its_cause() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for (scheme, shown) in [("http", "http"), ("ws", "ws")] {
        let url = format!("{scheme}://user:hunter2@127.0.0.1:{free}/v2/0123456789abcdef")
            .parse()
            .unwrap();
        let pool = pool(vec![NodeConfig::primary("main", url)]);
        let said = pool.verify().await[0]
            .verdict
            .as_ref()
            .unwrap_err()
            .to_string();
        assert_eq!(
            said,
            format!(
                "main ({shown}://127.0.0.1:{free}/•••) cannot be reached: Connection refused (os error 111)"
            )
        );
        let call = pool.latest_block().await.unwrap_err().to_string();
        assert!(call.contains("Connection refused"), "{call}");
        assert!(!format!("{pool:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn an_endpoint_of_another_chain_is_refused_and_never_read_from() {
    let server = Scripted::start().await;
    server.belongs_to(5);
    let pool = pool_of(&[&server]);
    let verdict = pool.verify().await.remove(0).verdict.unwrap_err();
    assert!(
        matches!(
            verdict,
            RpcError::WrongChain {
                expected: CHAIN,
                got: 5,
                ..
            }
        ),
        "{verdict}"
    );
    assert!(
        verdict
            .to_string()
            .contains("is an endpoint of chain 5, but chain 1337 is configured"),
        "{verdict}"
    );
    assert_eq!(pool.nodes()[0].state, NodeState::InvalidChainId);

    let refused = pool.latest_block().await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("no live nodes available for chain 1337: a is InvalidChainID"),
        "{refused}"
    );
    assert_eq!(server.asked("eth_getBlockByNumber"), 0);
}

#[tokio::test]
async fn a_read_without_any_verification_before_asks_for_the_chain_first() {
    let server = Scripted::start().await;
    server.belongs_to(5).answers("eth_gasPrice", "0x1".into());
    assert!(matches!(
        pool_of(&[&server]).gas_price().await,
        Err(RpcError::WrongChain { .. })
    ));
    assert_eq!(server.asked("eth_gasPrice"), 0);
}

#[tokio::test]
async fn something_that_is_no_json_rpc_endpoint_is_quoted() {
    let server = Scripted::start().await;
    for (status, body, quoted) in [
        (
            200,
            "<html><body>Welcome to nginx</body></html>",
            "HTTP 200 OK, \"<html><body>Welcome to nginx</body></html>\"",
        ),
        (
            404,
            "page not found\n",
            "HTTP 404 Not Found, \"page not found\"",
        ),
        (301, "", "HTTP 301 Moved Permanently with an empty body"),
        (
            200,
            "{\"status\":\"ok\"}",
            "HTTP 200 OK, \"{\\\"status\\\":\\\"ok\\\"}\"",
        ),
    ] {
        server.says(status, body);
        let verdict = pool_of(&[&server])
            .verify()
            .await
            .remove(0)
            .verdict
            .unwrap_err();
        assert!(
            matches!(&verdict, RpcError::NotJsonRpc { got, .. } if got == quoted),
            "{verdict}"
        );
    }
    server.says(200, "x".repeat(10_000));
    let verdict = pool_of(&[&server])
        .verify()
        .await
        .remove(0)
        .verdict
        .unwrap_err()
        .to_string();
    assert!(verdict.len() < 300, "{verdict}");
}

#[tokio::test]
async fn a_hanging_endpoint_is_given_up_after_the_time_out() {
    let server = Scripted::start().await;
    server.hangs();
    let pool = Pool::new(PoolConfig {
        request_timeout: std::time::Duration::from_millis(200),
        ..config(vec![NodeConfig::primary("slow", server.http())])
    })
    .unwrap();
    let verdict = pool.verify().await.remove(0).verdict.unwrap_err();
    assert_eq!(
        verdict.to_string(),
        "slow did not answer eth_chainId within 200 ms"
    );
}

#[tokio::test]
async fn a_web_socket_that_does_not_work_beside_working_http_is_reported_on_its_own() {
    let (http, ws) = (Scripted::start().await, Scripted::start().await);
    ws.says(403, "no");
    let node = NodeConfig {
        ws_url: Some(ws.ws()),
        ..NodeConfig::primary("a", http.http())
    };
    let report = pool(vec![node]).verify().await.remove(0);
    assert!(report.verdict.is_ok());
    let problem = report.ws_problem.unwrap().to_string();
    assert!(
        problem.contains("HTTP 403 Forbidden to the WebSocket upgrade"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_web_socket_only_endpoint_is_verified_too() {
    let server = Scripted::start().await;
    let reports = pool(vec![NodeConfig::primary("a", server.ws())])
        .verify()
        .await;
    assert_eq!(
        reports[0]
            .verdict
            .as_ref()
            .unwrap()
            .head
            .as_ref()
            .unwrap()
            .number,
        100
    );
    server.belongs_to(9);
    let reports = pool(vec![NodeConfig::primary("a", server.ws())])
        .verify()
        .await;
    assert!(matches!(
        reports[0].verdict,
        Err(RpcError::WrongChain { got: 9, .. })
    ));
}

#[tokio::test]
async fn credentials_in_a_url_are_sent_as_basic_authentication() {
    let server = Scripted::start().await;
    let with = |mut url: url::Url| {
        url.set_username("me").unwrap();
        url.set_password(Some("pw")).unwrap();
        url
    };
    for url in [with(server.http()), with(server.ws())] {
        let reports = pool(vec![NodeConfig::primary("a", url)]).verify().await;
        assert!(reports[0].verdict.is_ok());
        assert_eq!(server.credentials().as_deref(), Some("Basic bWU6cHc="));
    }
}

#[test]
fn all_problems_of_the_settings_are_told_together() {
    let bad = NodeConfig {
        order: 0,
        ..NodeConfig::primary("twice", "ftp://example.com".parse().unwrap())
    };
    let send_only = NodeConfig {
        send_only: true,
        http_url: None,
        ..bad.clone()
    };
    let refused = Pool::new(PoolConfig {
        batch_size: 0,
        ..config(vec![bad, send_only])
    })
    .unwrap_err();
    let PoolError::Config { problems } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(problems.len(), 6, "{problems:#?}");
    for word in [
        "ftp://",
        "Order of endpoint \"twice\" is 0",
        "two endpoints are called",
        "send-only and needs an HTTPURL",
        "RPCDefaultBatchSize",
    ] {
        assert!(refused.to_string().contains(word), "{word}: {refused}");
    }
    let nobody = Pool::new(config(Vec::new())).unwrap_err();
    assert!(
        nobody.to_string().contains("no primary endpoint"),
        "{nobody}"
    );
}
