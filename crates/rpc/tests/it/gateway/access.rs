//! Who may come in, what they may ask, and how much.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use dodona_rpc::gateway::{
    Access, ApiKey, Gateway, GatewayConfig, GatewayError, JwtConfig, MethodRules, Quota, new_key,
};
use futures_util::StreamExt;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::{Door, pool_of, upstreams};

fn quota(units_per_second: u32, burst: u32) -> Quota {
    Quota {
        units_per_second: NonZeroU32::new(units_per_second).unwrap(),
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

/// A key and what is kept of it.
pub(super) fn key(name: &str, adjust: impl FnOnce(&mut ApiKey)) -> (String, ApiKey) {
    let (secret, hash) = new_key().unwrap();
    let mut key = ApiKey {
        name: name.to_owned(),
        hash,
        methods: MethodRules::default(),
        quota: None,
        from: Vec::new(),
    };
    adjust(&mut key);
    (secret, key)
}

pub(super) fn with(access: Access) -> GatewayConfig {
    GatewayConfig {
        access,
        ..GatewayConfig::default()
    }
}

#[tokio::test]
async fn whoever_shows_no_key_or_a_wrong_one_gets_nothing_but_the_health_of_the_process() {
    let clients = upstreams(1).await;
    let (secret, known) = key("node", |_| {});
    let access = Access {
        keys: vec![known],
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let (status, headers, body) = door.knock("/", &[]).await;
    assert_eq!(status, 401, "{body}");
    assert!(
        headers["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic")
    );
    let error: Value = serde_json::from_str(&body).unwrap();
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("API key")
    );
    let (_, _, body) = door.knock("/", &[("x-api-key", "dgw_wrong")]).await;
    assert!(
        body.contains("not known here") && !body.contains("dgw_wrong"),
        "{body}"
    );

    let bearer = format!("Bearer {secret}");
    for (path, headers) in [
        ("/".to_owned(), vec![("authorization", &*bearer)]),
        ("/".to_owned(), vec![("x-api-key", &*secret)]),
        (format!("/key/{secret}"), vec![]),
    ] {
        let (status, _, body) = door.knock(&path, &headers).await;
        assert_eq!(
            (status, &*body),
            (200, r#"{"jsonrpc":"2.0","id":1,"result":"0x64"}"#)
        );
    }
    for (path, open) in [
        ("/health", true),
        ("/readyz", true),
        ("/metrics", false),
        ("/status", false),
        ("/", false),
    ] {
        assert_eq!(
            door.get(path).await.0,
            if open { 200 } else { 401 },
            "{path}"
        );
    }
    assert_eq!(door.get(&format!("/key/{secret}")).await.0, 200);
    // A WebSocket is no way around.
    let url = format!("ws://{}/", door.address);
    assert!(tokio_tungstenite::connect_async(&url).await.is_err());
    let url = format!("ws://{}/key/{secret}", door.address);
    assert!(tokio_tungstenite::connect_async(&url).await.is_ok());
}

#[tokio::test]
async fn a_key_may_be_given_less_than_everybody_and_what_is_refused_to_everybody() {
    let clients = upstreams(1).await;
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (reader, known) = key("reader", |key| {
        key.methods.only = list(&["eth_get*", "eth_blockNumber"])
    });
    let (tracer, traced) = key("tracer", |key| key.methods.allow = list(&["debug_trace*"]));
    let access = Access {
        keys: vec![known, traced],
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let error = |secret: &str, method: &'static str| {
        let secret = secret.to_owned();
        let door = &door;
        async move {
            let (_, _, body) = door.knock_for(method, "/", &[("x-api-key", &secret)]).await;
            let answer: Value = serde_json::from_str(&body).unwrap();
            answer["error"]["message"]
                .as_str()
                .unwrap_or("none")
                .to_owned()
        }
    };
    assert_eq!(error(&reader, "eth_blockNumber").await, "none");
    assert_eq!(
        error(&reader, "eth_gasPrice").await,
        "the method eth_gasPrice is not allowed here"
    );
    assert_eq!(error(&tracer, "eth_gasPrice").await, "none");
    // Passed on: it is the upstream that does not know the method.
    assert!(
        error(&tracer, "debug_traceCall")
            .await
            .contains("does not exist")
    );
    assert!(
        error(&tracer, "debug_setHead")
            .await
            .contains("not allowed here")
    );
    assert!(
        error(&reader, "debug_traceCall")
            .await
            .contains("not allowed here")
    );
}

#[tokio::test]
async fn whoever_has_spent_the_quota_is_told_how_long_to_wait_and_others_are_not() {
    let clients = upstreams(1).await;
    let (busy, known) = key("busy", |key| key.quota = Some(quota(1, 10)));
    let (calm, other) = key("calm", |_| {});
    let access = Access {
        keys: vec![known, other],
        quota: Some(quota(1000, 10_000)),
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    for _ in 0..10 {
        assert_eq!(door.knock("/", &[("x-api-key", &busy)]).await.0, 200);
    }
    let (status, headers, body) = door.knock("/", &[("x-api-key", &busy)]).await;
    assert_eq!(status, 429, "{body}");
    assert!(
        headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (error["error"]["code"].as_i64(), error["id"].as_i64()),
        (Some(-32005), Some(1))
    );
    assert_eq!(door.knock("/", &[("x-api-key", &calm)]).await.0, 200);

    // In a batch everybody is answered, and what was done is not called refused.
    let call = json!({"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]});
    let batch = json!(vec![call; 3]).to_string();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let response = door
        .client
        .post(&door.url)
        .header("x-api-key", &busy)
        .body(batch)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let answers: Vec<Value> = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(answers[0]["result"], "0x1092");
    assert_eq!(answers[2]["error"]["code"], -32005);
}

#[tokio::test]
async fn of_a_batch_no_more_reaches_upstreams_than_its_quota_covers() {
    let clients = upstreams(2).await;
    let access = Access {
        quota: Some(quota(1, 10)),
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let batch = |round: u64| {
        let one = |n: u64| {
            let params = json!([format!("0x{:040x}", 1000 * round + n), "latest"]);
            json!({"jsonrpc":"2.0","id":n,"method":"eth_getBalance","params":params})
        };
        json!((0..200).map(one).collect::<Vec<_>>()).to_string()
    };
    let asked = || -> usize { clients.iter().map(|it| it.asked("eth_getBalance")).sum() };
    let mut answered = 0;
    for round in 0..3 {
        let answers: Vec<Value> = serde_json::from_str(&door.post(batch(round)).await).unwrap();
        assert_eq!(answers.len(), 200);
        for answer in &answers {
            if answer["result"].is_string() {
                answered += 1;
            } else {
                assert_eq!(answer["error"]["code"], -32005, "{answer}");
            }
        }
        assert_eq!(
            asked(),
            answered,
            "asked for what was not paid, or paid twice"
        );
    }
    // What a second brings may come on top.
    assert!((10..=40).contains(&answered), "{answered}");
}

#[tokio::test]
async fn a_filter_costs_what_the_range_it_looks_through_costs() {
    let clients = upstreams(1).await;
    let access = Access {
        quota: Some(quota(1, 30)),
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let filter = json!([{"fromBlock": "0x1", "toBlock": "pending"}]);
    let id = door.result("eth_newFilter", filter).await;
    let logs = door.result("eth_getFilterLogs", json!([id])).await;
    assert_eq!(logs.as_array().unwrap().len(), 100);
    let refused = door.ask("eth_getFilterLogs", json!([id])).await;
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    // What the gateway looks at by itself it asks by hash.
    let asked = clients[0].asked_with("eth_getLogs");
    let ranges = asked.iter().filter(|it| it[0]["fromBlock"].is_string());
    assert_eq!(ranges.count(), 1);
}

#[tokio::test]
async fn no_client_can_use_up_the_filters_of_all() {
    let clients = upstreams(1).await;
    let (greedy, one) = key("greedy", |_| {});
    let (modest, other) = key("modest", |_| {});
    let config = GatewayConfig {
        max_filters: 20,
        ..with(Access {
            keys: vec![one, other],
            ..Access::default()
        })
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let made = async |secret: &str| -> Value {
        let shown = [("x-api-key", secret)];
        let (_, _, body) = door.knock_for("eth_newBlockFilter", "/", &shown).await;
        serde_json::from_str(&body).unwrap()
    };
    for _ in 0..16 {
        assert!(made(&greedy).await["result"].is_string());
    }
    let refused = made(&greedy).await;
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    assert!(made(&modest).await["result"].is_string());
}

#[tokio::test]
async fn strangers_are_counted_by_their_address_and_dear_questions_cost_more() {
    let clients = upstreams(1).await;
    let access = Access {
        quota: Some(quota(1, 30)),
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let logs = json!([{"fromBlock": "0x1", "toBlock": "0x2"}]);
    assert!(door.ask("eth_getLogs", logs.clone()).await["result"].is_array());
    let refused = door.ask("eth_getLogs", logs).await;
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    assert_eq!(door.block_number().await, 100);
    // Over a WebSocket the same bucket is drawn from.
    let mut socket = door.socket().await;
    let refused = socket
        .ask("eth_getLogs", json!([{"fromBlock": "0x1"}]))
        .await;
    assert_eq!(refused["error"]["code"], -32005);
}

/// Why the other side closed the connection.
pub(super) async fn farewell(socket: &mut super::Socket) -> (u16, String) {
    loop {
        let came = tokio::time::timeout(Duration::from_secs(20), socket.socket.next()).await;
        match came.expect("nothing came for 20 s").unwrap().unwrap() {
            Message::Close(frame) => {
                let frame = frame.unwrap();
                return (frame.code.into(), frame.reason.to_string());
            }
            _ => continue,
        }
    }
}

#[tokio::test]
async fn a_key_that_is_changed_or_revoked_is_so_on_the_sockets_it_opened() {
    let clients = upstreams(1).await;
    let (secret, known) = key("node", |_| {});
    let (other_secret, other) = key("other", |_| {});
    let rules = |keys: Vec<ApiKey>| Access {
        keys,
        ..Access::default()
    };
    let door = Door::with(
        &clients,
        with(rules(vec![known.clone(), other.clone()])),
        |_| {},
    )
    .await;
    let change = |keys: Vec<ApiKey>| {
        let (door, clients) = (&door, &clients);
        async move {
            let config = GatewayConfig {
                listen: door.address,
                ..with(rules(keys))
            };
            door.gateway.reload(pool_of(clients), config).await.unwrap()
        }
    };
    let mut socket = door.socket_at(&format!("/key/{secret}")).await;
    let mut stays = door.socket_at(&format!("/key/{other_secret}")).await;
    assert_eq!(
        socket.ask("eth_gasPrice", json!([])).await["error"],
        Value::Null
    );

    // What it may ask and how much of it changes with the next request.
    let mut less = known.clone();
    less.methods.only = vec!["eth_blockNumber".to_owned()];
    less.quota = Some(quota(1, 3));
    change(vec![less, other.clone()]).await;
    let refused = socket.ask("eth_gasPrice", json!([])).await;
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not allowed here"),
        "{refused}"
    );
    for _ in 0..3 {
        assert_eq!(
            socket.ask("eth_blockNumber", json!([])).await["result"],
            "0x64"
        );
    }
    let spent = socket.ask("eth_blockNumber", json!([])).await;
    assert_eq!(spent["error"]["code"], -32005, "{spent}");

    // Good from elsewhere only: the socket ends by itself, asking nothing.
    let mut elsewhere = known.clone();
    elsewhere.from = vec!["192.0.2.0/24".parse().unwrap()];
    change(vec![elsewhere, other.clone()]).await;
    let (code, why) = farewell(&mut socket).await;
    assert!(code == 1008 && why.contains("address"), "{code} {why}");

    // Revoked.
    change(vec![known, other.clone()]).await;
    let mut socket = door.socket_at(&format!("/key/{secret}")).await;
    socket.subscribe(json!(["newHeads"])).await;
    change(vec![other]).await;
    let (code, why) = farewell(&mut socket).await;
    assert_eq!((code, &*why), (1008, "this key is not known here"));
    assert_eq!(
        stays.ask("eth_gasPrice", json!([])).await["error"],
        Value::Null
    );
}

#[tokio::test]
async fn addresses_that_are_not_on_the_list_are_not_listened_to() {
    let clients = upstreams(1).await;
    let rules = |allow: &str| Access {
        allow_from: vec![allow.parse().unwrap()],
        ..Access::default()
    };
    let door = Door::with(&clients, with(rules("127.0.0.0/8")), |_| {}).await;
    assert_eq!(door.block_number().await, 100);
    door.gateway
        .reload(
            pool_of(&clients),
            GatewayConfig {
                listen: door.address,
                ..with(rules("192.0.2.0/24"))
            },
        )
        .await
        .unwrap();
    let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let _ = stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn behind_a_proxy_that_is_ours_clients_are_told_apart_by_what_it_says() {
    let clients = upstreams(1).await;
    let access = Access {
        allow_from: vec!["198.51.100.0/24".parse().unwrap()],
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        quota: Some(quota(1, 2)),
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let from = |address: &'static str| {
        let door = &door;
        async move { door.knock("/", &[("x-forwarded-for", address)]).await.0 }
    };
    assert_eq!(from("192.0.2.1").await, 403);
    assert_eq!(from("198.51.100.1").await, 200);
    assert_eq!(from("198.51.100.1").await, 200);
    assert_eq!(from("198.51.100.1").await, 429);
    assert_eq!(from("198.51.100.2").await, 200);
}

#[tokio::test]
async fn what_a_client_wrote_in_front_of_what_the_proxy_saw_lets_nobody_in() {
    let clients = upstreams(1).await;
    let access = Access {
        allow_from: vec!["10.0.0.0/8".parse().unwrap()],
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let from = |lists: &'static [&'static str]| {
        let door = &door;
        let headers: Vec<_> = lists.iter().map(|it| ("x-forwarded-for", *it)).collect();
        async move { door.knock("/", &headers).await.0 }
    };
    assert_eq!(from(&["10.0.0.5"]).await, 200);
    assert_eq!(from(&["10.0.0.5, x"]).await, 403);
    assert_eq!(from(&["10.0.0.5, x, 192.0.2.1"]).await, 403);
    assert_eq!(from(&["10.0.0.5, 192.0.2.1:4711"]).await, 403);
    // Over one connection, with the same first header.
    assert_eq!(from(&["192.0.2.1", "10.0.0.5"]).await, 200);
    assert_eq!(from(&["192.0.2.1", "192.0.2.2"]).await, 403);
    assert_eq!(from(&["10.0.0.5", "192.0.2.1"]).await, 403);
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn token(header: Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: String| BASE64_URL_SAFE_NO_PAD.encode(value);
    let message = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn hs256(claims: &Value) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    token(json!({"alg":"HS256","typ":"JWT"}), claims, |message| {
        ring::hmac::sign(&key, message).as_ref().to_vec()
    })
}

fn claims() -> Value {
    json!({"iss": "https://issuer", "aud": "gateway", "sub": "node-1", "exp": now() + 60, "nbf": now() - 1})
}

fn jwt(keys: Vec<std::path::PathBuf>) -> JwtConfig {
    JwtConfig {
        keys,
        secret: Some(SECRET.to_vec().into()),
        issuer: "https://issuer".to_owned(),
        audience: "gateway".to_owned(),
        leeway_seconds: 5,
    }
}

#[tokio::test]
async fn a_token_is_taken_if_issuer_audience_and_time_are_right() {
    let clients = upstreams(1).await;
    let access = Access {
        jwt: Some(jwt(Vec::new())),
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let knock = |token: String| {
        let door = &door;
        async move {
            let bearer = format!("Bearer {token}");
            let (status, _, body) = door.knock("/", &[("authorization", &bearer)]).await;
            (status, body)
        }
    };
    assert_eq!(knock(hs256(&claims())).await.0, 200);
    let changed = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        hs256(&claims)
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        hs256(&claims)
    };
    // Clocks may differ a little.
    assert_eq!(knock(changed("exp", json!(now() - 2))).await.0, 200);
    // A time is a number of seconds, and need not be a whole one.
    let now_and_a_bit = now() as f64 + 0.25;
    for name in ["nbf", "iat", "exp"] {
        let later = if name == "exp" { 60.0 } else { 0.0 };
        let token = changed(name, json!(now_and_a_bit + later));
        let (status, body) = knock(token).await;
        assert_eq!(status, 200, "{name}: {body}");
    }
    let mut forged = hs256(&claims());
    forged.truncate(forged.len() - 2);
    let other_algorithm = token(json!({"alg":"none"}), &claims(), |_| Vec::new());
    for (token, why) in [
        (changed("exp", json!(now() - 60)), "expired"),
        (changed("exp", json!(now() as f64 - 60.5)), "expired"),
        (changed("nbf", json!(now() + 60)), "not valid yet"),
        (changed("iss", json!("somebody")), "another issuer"),
        (changed("aud", json!("somebody")), "another audience"),
        (without("exp"), "lacks one of"),
        (without("iss"), "lacks one of"),
        (without("aud"), "lacks one of"),
        (without("sub"), "lacks one of"),
        (forged, "unauthorized"),
        (other_algorithm, "unauthorized"),
        ("rubbish".to_owned(), "no token"),
    ] {
        let (status, body) = knock(token).await;
        assert_eq!(status, 401, "{why}: {body}");
        assert!(body.contains(why), "{why}: {body}");
    }
}

#[tokio::test]
async fn tokens_are_checked_with_public_keys_from_files_and_key_sets() {
    let clients = upstreams(1).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ec = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let b64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let rsa = include_str!("rsa.pem");
    let rsa = KeyPair::from_pem(rsa).unwrap();
    // The public key of RSA is a sequence of modulus and exponent; the set names them.
    let der = rsa.der_bytes();
    let modulus = &der[der.len() - 5 - 256..der.len() - 5];
    let set = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(ed.der_bytes())},
        {"kty": "RSA", "kid": "rsa", "n": b64(modulus), "e": "AQAB"}
    ]});
    let keys = vec![
        write("ec.pem", ec.public_key_pem()),
        write("rsa.pem", rsa.public_key_pem()),
        write("set.json", set.to_string()),
    ];
    let access = Access {
        jwt: Some(jwt(keys)),
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let knock = |token: String| {
        let door = &door;
        async move {
            let bearer = format!("Bearer {token}");
            let (status, _, body) = door.knock("/", &[("authorization", &bearer)]).await;
            assert_eq!(status, 200, "{body}");
        }
    };
    // rcgen signs ECDSA in DER; tokens carry the two numbers themselves.
    let fixed = {
        let random = ring::rand::SystemRandom::new();
        let pair = ring::signature::EcdsaKeyPair::from_pkcs8(
            &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            ec.serialized_der(),
            &random,
        )
        .unwrap();
        move |message: &[u8]| pair.sign(&random, message).unwrap().as_ref().to_vec()
    };
    knock(token(json!({"alg":"ES256"}), &claims(), fixed)).await;
    let of_ed = |message: &[u8]| ed.sign(message).unwrap();
    knock(token(json!({"alg":"EdDSA","kid":"ed"}), &claims(), of_ed)).await;
    let of_rsa = |message: &[u8]| rsa.sign(message).unwrap();
    knock(token(json!({"alg":"RS256"}), &claims(), of_rsa)).await;
    knock(token(json!({"alg":"RS256","kid":"rsa"}), &claims(), of_rsa)).await;
    // A public key is no secret: a token signed with it as if it were one is not taken.
    let public = ec.public_key_pem();
    let confused = token(json!({"alg":"HS256"}), &claims(), |message| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public.as_bytes());
        ring::hmac::sign(&key, message).as_ref().to_vec()
    });
    let bearer = format!("Bearer {confused}");
    assert_eq!(door.knock("/", &[("authorization", &bearer)]).await.0, 401);

    for (name, text, why) in [
        ("private.pem", ec.serialize_pem(), "private key"),
        (
            "rubbish",
            "rubbish".to_owned(),
            "no key for checking tokens",
        ),
    ] {
        let config = with(Access {
            jwt: Some(jwt(vec![write(name, text)])),
            ..Access::default()
        });
        match Gateway::new(pool_of(&clients), config, String::new) {
            Err(GatewayError::Jwt(error)) => assert!(error.to_string().contains(why), "{error}"),
            _ => panic!("{name} is taken"),
        }
    }
}

#[tokio::test]
async fn a_socket_ends_with_the_token_it_was_opened_with() {
    let clients = upstreams(1).await;
    let access = Access {
        jwt: Some(JwtConfig {
            leeway_seconds: 0,
            ..jwt(Vec::new())
        }),
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    let mut claims = claims();
    claims["exp"] = json!(now() + 2);
    let url = format!("ws://{}/key/{}", door.address, hs256(&claims));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                return frame.unwrap();
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(
        (u16::from(ended.code), &*ended.reason),
        (1008, "the token has expired")
    );
    let _ = socket.close(None).await;
}

#[tokio::test]
async fn pages_behind_a_key_in_the_path_lead_to_each_other() {
    let clients = upstreams(1).await;
    let (secret, known) = key("node", |_| {});
    let access = Access {
        keys: vec![known],
        ..Access::default()
    };
    let door = Door::with(&clients, with(access), |_| {}).await;
    for start in [format!("/key/{secret}"), format!("/key/{secret}/")] {
        let (status, page) = door.get(&start).await;
        assert_eq!(status, 200);
        let links: Vec<&str> = page
            .split("href=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(links.len(), 2, "{page}");
        let base = url::Url::parse(&format!("http://gw{start}")).unwrap();
        for (link, words) in links.iter().zip(["\"upstreams\"", "metrics 1"]) {
            let (status, body) = door.get(base.join(link).unwrap().path()).await;
            assert!(
                status == 200 && body.contains(words),
                "{start} {link}: {body}"
            );
        }
    }
    assert_eq!(door.get("/key/dgw_wrong/status").await.0, 401);
}

#[tokio::test]
async fn a_websocket_keeps_its_place_among_the_connections_there_may_be() {
    let clients = upstreams(1).await;
    let config = GatewayConfig {
        // One is the door's own client's, which keeps its connection.
        max_connections: 2,
        ..GatewayConfig::default()
    };
    let door = Door::with(&clients, config, |_| {}).await;
    let mut socket = door.socket().await;
    let address = door.address;
    let late = tokio::spawn(async move {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let ask = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    // Each answer is time in which the one who came late would be served, if there were a place.
    for _ in 0..200 {
        let answer = socket.ask("eth_chainId", json!([])).await;
        assert!(answer["result"].is_string(), "{answer}");
    }
    assert!(!late.is_finished(), "it was served in the socket's place");
    drop(socket);
    let answer = late.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
