//! A door with a lock, and upstreams behind theirs.

use std::sync::Arc;
use std::time::Duration;

use dodona_rpc::gateway::{Access, Gateway, GatewayConfig, GatewayError, TlsError, TlsFiles};
use dodona_rpc::{EndpointTls, NodeConfig};
use dodona_testkit::until;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::certificates::{Authority, Issued};
use super::upstream::Upstream;
use super::{Door, pool_of, upstreams};

fn locked(tls: TlsFiles) -> GatewayConfig {
    GatewayConfig {
        tls: Some(tls),
        ..GatewayConfig::default()
    }
}

fn error_of(config: GatewayConfig, clients: &[Upstream]) -> TlsError {
    match Gateway::new(pool_of(clients), config, String::new) {
        Err(GatewayError::Tls(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it takes files that are not right"),
    }
}

#[tokio::test]
async fn calls_http2_and_subscriptions_go_over_tls() {
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let tls = authority.writes_door(&authority.issues("localhost", 2099));
    let door = Door::open_for(authority.client(None), pool_of(&clients), locked(tls)).await;
    assert_eq!(door.block_number().await, 100);
    let http2 = door
        .client
        .get(format!("{}/health", door.url))
        .send()
        .await
        .unwrap();
    assert_eq!(http2.version(), reqwest::Version::HTTP_2);

    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (mut socket, _) = tokio_tungstenite::connect_async_tls_with_config(
        format!("wss://localhost:{}/", door.address.port()),
        None,
        false,
        Some(tokio_tungstenite::Connector::Rustls(Arc::new(config))),
    )
    .await
    .map(|(socket, response)| {
        (
            super::Socket {
                socket,
                kept: Vec::new(),
                next: 1,
            },
            response,
        )
    })
    .unwrap();
    socket.subscribe(json!(["newHeads"])).await;
    clients[0].is_at(101);
    assert_eq!(socket.told().await.1["number"], "0x65");
}

#[tokio::test]
async fn another_authority_another_name_and_no_tls_at_all_are_no_way_in() {
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let tls = authority.writes_door(&authority.issues("localhost", 2099));
    let door = Door::open_for(authority.client(None), pool_of(&clients), locked(tls)).await;
    let stranger = Authority::new().client(None);
    assert!(
        stranger
            .get(format!("{}/health", door.url))
            .send()
            .await
            .is_err()
    );
    let by_address = format!("https://{}/health", door.address);
    assert!(authority.client(None).get(by_address).send().await.is_err());
    let plain = format!("http://{}/health", door.address);
    assert!(dodona_testkit::http().get(plain).send().await.is_err());
    assert_eq!(door.block_number().await, 100);
}

#[tokio::test]
async fn only_tls_of_today_is_spoken() {
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let tls = authority.writes_door(&authority.issues("localhost", 2099));
    let door = Door::open_for(authority.client(None), pool_of(&clients), locked(tls)).await;
    // A TLS 1.1 client's hello: version 3.2, one cipher of its time, no extensions.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // An alert, fatal: protocol version (70), or a handshake that cannot be (40).
    assert_eq!(answer[0], 21, "{answer:?}");
    assert!(matches!(answer[5..7], [2, 70] | [2, 40]), "{answer:?}");
}

#[tokio::test]
async fn clients_show_their_certificates_where_they_have_to() {
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let guests = Authority::new();
    let mut tls = authority.writes_door(&authority.issues("localhost", 2099));
    tls.client_ca = Some(authority.write("guests.pem", &guests.pem()));
    let node = guests.issues("node-1", 2099);
    let known = authority.client(Some(&node));
    let door = Door::open_for(known, pool_of(&clients), locked(tls)).await;
    assert_eq!(door.block_number().await, 100);
    for stranger in [
        authority.client(None),
        authority.client(Some(&authority.issues("node-1", 2099))),
        authority.client(Some(&guests.issues("node-1", 2021))),
    ] {
        assert!(
            stranger
                .get(format!("{}/health", door.url))
                .send()
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn a_new_certificate_in_the_files_is_shown_after_a_reload_and_a_bad_one_changes_nothing() {
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let tls = authority.writes_door(&authority.issues("localhost", 2098));
    let door = Door::open_for(
        authority.client(None),
        pool_of(&clients),
        locked(tls.clone()),
    )
    .await;
    let config = || GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..locked(tls.clone())
    };
    let days = || async {
        let status: serde_json::Value = serde_json::from_str(&door.get("/status").await.1).unwrap();
        status["certificateExpiresSeconds"].as_u64().unwrap() / 86_400
    };
    let before = days().await;
    authority.write("door.pem", "-----BEGIN CERTIFICATE-----\nrubbish\n");
    let error = door
        .gateway
        .reload(pool_of(&clients), config())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("door.pem"), "{error}");
    assert_eq!(days().await, before);
    let page = door.get("/").await.1;
    assert!(page.contains("The changed settings were refused"), "{page}");

    // A key that belongs to another certificate is as bad.
    let renewed = authority.issues("localhost", 2099);
    authority.write("door.pem", &renewed.certificate);
    let error = door
        .gateway
        .reload(pool_of(&clients), config())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("does not belong"), "{error}");
    authority.write("door.key", &renewed.key);
    door.gateway
        .reload(pool_of(&clients), config())
        .await
        .unwrap();
    assert!(days().await > before + 300);
    assert_eq!(door.block_number().await, 100);
    assert!(!door.get("/").await.1.contains("refused,"));
}

#[tokio::test]
async fn files_that_are_not_right_are_named_before_anything_starts() {
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let good = authority.issues("localhost", 2099);
    let files = || authority.writes_door(&good);
    let missing = TlsFiles {
        key: authority.path("nowhere"),
        ..files()
    };
    let error = error_of(locked(missing), &clients);
    assert!(matches!(error, TlsError::Unreadable { .. }), "{error}");
    assert!(error.to_string().starts_with("[tls] key: "), "{error}");
    let no_ca = TlsFiles {
        client_ca: Some(authority.write("empty", "")),
        ..files()
    };
    let error = error_of(locked(no_ca), &clients);
    assert!(matches!(error, TlsError::Nothing { .. }), "{error}");
    assert!(
        error.to_string().starts_with("[tls] client_ca: "),
        "{error}"
    );
    let late = authority.writes_door(&authority.issues("localhost", 2021));
    let error = error_of(locked(late), &clients);
    assert!(matches!(error, TlsError::Expired { .. }), "{error}");
}

/// TLS in front of an upstream that speaks plainly; ends with the test.
async fn behind_tls(upstream: &Upstream, issued: &Issued, clients: Option<&Authority>) -> u16 {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let builder = rustls::ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
                .unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = upstream.url().port().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outer) = acceptor.accept(stream).await else {
                    return;
                };
                let Ok(mut inner) = tokio::net::TcpStream::connect(("127.0.0.1", plain)).await
                else {
                    return;
                };
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    port
}

fn secure(name: &str, port: u16, tls: EndpointTls) -> NodeConfig {
    NodeConfig {
        tls,
        ..NodeConfig::primary(name, format!("https://localhost:{port}").parse().unwrap())
    }
}

#[tokio::test]
async fn an_upstream_is_verified_against_the_authority_that_is_named_for_it() {
    dodona_testkit::http();
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let port = behind_tls(&clients[0], &authority.issues("localhost", 2099), None).await;
    let other_name = behind_tls(&clients[0], &authority.issues("example.com", 2099), None).await;
    let named = EndpointTls {
        ca: Some(authority.pem().into_bytes()),
        identity: None,
    };
    let mut pool = pool_of(&clients);
    pool.nodes = vec![
        secure("good", port, named.clone()),
        // The system's roots do not know this authority.
        secure("system", port, EndpointTls::default()),
        secure("name", other_name, named),
    ];
    let door = Door::open(pool, GatewayConfig::default()).await;
    assert_eq!(door.block_number().await, 100);
    for name in ["system", "name"] {
        let status = until("it is refused", || async {
            let status = door.status_of(name).await;
            (status["state"] == "Unreachable").then_some(status)
        })
        .await;
        let reason = status["reason"].as_str().unwrap();
        assert!(reason.contains("certificate"), "{reason}");
    }
}

#[tokio::test]
async fn an_upstream_that_wants_to_know_us_is_shown_our_certificate() {
    dodona_testkit::http();
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let issued = authority.issues("localhost", 2099);
    let port = behind_tls(&clients[0], &issued, Some(&authority)).await;
    let ca = Some(authority.pem().into_bytes());
    let ours = authority.issues("gateway", 2099);
    let mut pool = pool_of(&clients);
    pool.nodes = vec![
        secure(
            "known",
            port,
            EndpointTls {
                ca: ca.clone(),
                identity: Some((ours.certificate.into_bytes(), ours.key.into_bytes())),
            },
        ),
        secure("unknown", port, EndpointTls { ca, identity: None }),
    ];
    let door = Door::open(pool, GatewayConfig::default()).await;
    assert_eq!(door.block_number().await, 100);
    until("whoever shows nothing is refused", || async {
        (door.status_of("unknown").await["state"] == "Unreachable").then_some(())
    })
    .await;
}

#[tokio::test]
async fn somebody_who_connects_and_says_nothing_is_let_go() {
    let (clients, authority) = (upstreams(1).await, Authority::new());
    let tls = authority.writes_door(&authority.issues("localhost", 2099));
    let config = GatewayConfig {
        headers_within: Duration::from_millis(200),
        access: Access::default(),
        ..locked(tls)
    };
    let door = Door::open_for(authority.client(None), pool_of(&clients), config).await;
    let mut silent = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let mut byte = [0];
    let ended = tokio::time::timeout(Duration::from_secs(10), silent.read(&mut byte)).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
}
