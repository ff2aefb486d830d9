//! `dodona gateway` as an operator runs it: the program, its file, and changes of it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::extract::State;
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// A client at block 100 that answers what a gateway asks.
async fn client() -> String {
    client_of(100).await
}

/// The same on a chain of its own: `hash` is that of all its blocks.
async fn client_of(hash: u64) -> String {
    client_at(free_port(), hash, "0x1092").await
}

/// The same at a port, and on a chain of this number.
async fn client_at(port: u16, hash: u64, chain_id: &'static str) -> String {
    type Of = (u64, &'static str);
    async fn answer(State((hash, chain_id)): State<Of>, Json(request): Json<Value>) -> Json<Value> {
        let block = json!({
            "number": "0x64", "hash": format!("0x{hash:064x}"), "parentHash": format!("0x{:064x}", 99),
            "timestamp": "0x1", "gasLimit": "0x1", "receiptsRoot": format!("0x{:064x}", 1), "transactions": [],
        });
        let result = match request["method"].as_str().unwrap() {
            "eth_chainId" => json!(chain_id),
            "web3_clientVersion" => json!("Scripted/v1"),
            "eth_syncing" => json!(false),
            "eth_getBlockByNumber" | "eth_getBlockByHash" => block,
            "eth_getLogs" => json!([]),
            "eth_accounts" => json!(["0x0000000000000000000000000000000000000001"]),
            _ => json!("0x01"),
        };
        Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    let door = Router::new().route("/", post(answer));
    tokio::spawn(async move {
        let _ = axum::serve(listener, door.with_state((hash, chain_id))).await;
    });
    format!("http://127.0.0.1:{port}")
}

fn dodona() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dodona"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let response = reqwest::get(format!("http://127.0.0.1:{port}{path}"))
        .await
        .ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

async fn ask(port: u16, method: &str, key: &str) -> Option<Value> {
    let request = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{port}/"))
        .header("x-api-key", key)
        .body(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": []}).to_string());
    serde_json::from_str(&request.send().await.ok()?.text().await.ok()?).ok()
}

fn begun(file: &Path) -> Child {
    let _ = rustls::crypto::ring::default_provider().install_default();
    dodona()
        .args(["gateway", "--config"])
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn started(file: &Path, port: u16) -> Child {
    let child = begun(file);
    eventually("the gateway is ready", || async {
        get(port, "/readyz")
            .await
            .filter(|(status, _)| *status == 200)
    })
    .await;
    child
}

#[tokio::test]
async fn a_file_that_changes_is_in_force_soon_and_a_bad_one_is_not() {
    let (url, folder, port) = (client().await, tempfile::tempdir().unwrap(), free_port());
    let file = folder.path().join("gateway.toml");
    let write = |more: &str| {
        let text = format!(
            "listen = '127.0.0.1:{port}'\n{more}\n[[upstream]]\nname = 'a'\nhttp = '{url}'\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    write("");
    let mut gateway = started(&file, port).await;
    assert_eq!(
        ask(port, "eth_chainId", "").await.unwrap()["result"],
        "0x1092"
    );

    // A key, made by the program and put into the file as it says.
    let output = dodona()
        .args(["gateway", "key", "reporting"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let key = said
        .split_whitespace()
        .find(|word| word.starts_with("dgw_"))
        .unwrap()
        .to_owned();
    let section = &said[said.find("[[key]]").unwrap()..said.find("The client shows").unwrap()];
    assert!(!section.contains(&key), "{section}");
    write(section);
    eventually("strangers are not let in", || async {
        let answer = ask(port, "eth_chainId", "x").await?;
        answer["error"]["message"]
            .as_str()
            .filter(|text| text.contains("not known here"))?;
        Some(())
    })
    .await;
    assert_eq!(
        ask(port, "eth_chainId", &key).await.unwrap()["result"],
        "0x1092"
    );

    write("this is not TOML");
    let pid = gateway.id().unwrap().to_string();
    let hung_up = Command::new("sh")
        .args(["-c", "kill -HUP $0", &pid])
        .status()
        .await
        .unwrap();
    assert!(hung_up.success());
    let bearer = format!("/key/{key}/");
    eventually("the bad file is told", || async {
        let url = format!("http://127.0.0.1:{port}/metrics");
        let request = reqwest::Client::new().get(url).header("x-api-key", &key);
        let text = request.send().await.ok()?.text().await.ok()?;
        text.contains("dodona_gateway_config_refused 1")
            .then_some(())
    })
    .await;
    assert_eq!(get(port, &bearer).await.unwrap().0, 200);
    assert_eq!(
        ask(port, "eth_chainId", &key).await.unwrap()["result"],
        "0x1092"
    );

    let told = Command::new("sh")
        .args(["-c", "kill -TERM $0", &pid])
        .status()
        .await
        .unwrap();
    assert!(told.success());
    let ended = tokio::time::timeout(Duration::from_secs(20), gateway.wait()).await;
    assert!(ended.unwrap().unwrap().success());
}

#[tokio::test]
async fn with_every_client_down_at_the_start_the_port_is_open_and_says_so_until_one_is_back() {
    let (theirs, folder, port) = (free_port(), tempfile::tempdir().unwrap(), free_port());
    let file = folder.path().join("gateway.toml");
    let text = format!(
        "listen = '127.0.0.1:{port}'\n[[upstream]]\nname = 'a'\nhttp = 'http://127.0.0.1:{theirs}'\n"
    );
    std::fs::write(&file, text).unwrap();
    let _gateway = begun(&file);
    eventually("the port is open", || async {
        get(port, "/health").await.filter(|(code, _)| *code == 200)
    })
    .await;
    let (code, why) = get(port, "/readyz").await.unwrap();
    assert_eq!(code, 503, "{why}");
    assert!(why.contains("no upstream says which chain"), "{why}");
    // Nothing that would depend on the chain is made up.
    for method in ["eth_chainId", "net_version", "eth_sendRawTransaction"] {
        let answer = ask(port, method, "").await.unwrap();
        let text = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(text.contains("no upstream is available"), "{answer}");
    }
    let (_, status) = get(port, "/status").await.unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["chainId"], Value::Null);
    assert_eq!(status["upstreams"][0]["state"], "Unreachable");
    let why = status["upstreams"][0]["reason"].as_str().unwrap();
    assert!(why.contains("onnect"), "{why}");
    let (_, page) = get(port, "/").await.unwrap();
    assert!(page.contains("chain not known yet"), "{page}");

    // A change of the file is taken meanwhile, too.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("name = 'a'", "name = 'b'")).unwrap();
    eventually("the other name is shown", || async {
        let (_, status) = get(port, "/status").await?;
        status.contains("\"name\":\"b\"").then_some(())
    })
    .await;

    client_at(theirs, 100, "0x1092").await;
    eventually("the gateway is ready", || async {
        get(port, "/readyz").await.filter(|(code, _)| *code == 200)
    })
    .await;
    let answer = ask(port, "eth_chainId", "").await.unwrap();
    assert_eq!(answer["result"], "0x1092");
    let (_, status) = get(port, "/status").await.unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&status["chainId"], &status["upstreams"][0]["state"]),
        (&json!(4242), &json!("Alive"))
    );
    // No figures of a chain that does not exist.
    let (_, metrics) = get(port, "/metrics").await.unwrap();
    assert!(metrics.contains("ID=\"4242\""), "{metrics}");
    // Histograms, which those of several gateways can be added up from.
    for line in [
        "dodona_gateway_request_seconds_bucket{method=\"eth_chainId\",le=\"120\"}",
        "evm_pool_rpc_node_rpc_call_time_bucket{",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert!(
        !metrics.contains("ID=\"0\"") && !metrics.contains("Id=\"0\""),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_client_that_hangs_from_the_start_does_not_keep_the_port_shut() {
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let file = folder.path().join("gateway.toml");
    let theirs = hangs.local_addr().unwrap();
    let text = format!(
        "listen = '127.0.0.1:{port}'\n[[upstream]]\nname = 'a'\nhttp = 'http://{theirs}'\n"
    );
    std::fs::write(&file, text).unwrap();
    let _gateway = begun(&file);
    let (asked, _) = hangs.accept().await.unwrap();
    eventually("the port is open", || async {
        get(port, "/health").await.filter(|(code, _)| *code == 200)
    })
    .await;
    // The first question still waits for its answer.
    let mut question = vec![0; 64 << 10];
    asked.readable().await.unwrap();
    assert!(asked.try_read(&mut question).unwrap() > 0);
    let more = asked.try_read(&mut question);
    assert!(more.is_err_and(|cause| cause.kind() == std::io::ErrorKind::WouldBlock));
    assert_eq!(get(port, "/readyz").await.unwrap().0, 503);
}

#[tokio::test]
async fn clients_of_two_chains_are_told_apart_before_anybody_is_answered() {
    let one = client().await;
    let other = client_at(free_port(), 100, "0x1").await;
    let output = dodona()
        .args(["gateway", "--listen", "127.0.0.1:0", &one, &other])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("belongs to chain 4242 and")
            && said.contains("to chain 1: a gateway is for one chain"),
        "{said}"
    );
}

#[tokio::test]
async fn check_prints_a_table_for_people_and_the_same_for_programs() {
    let url = client().await;
    let run = |arguments: &'static [&'static str]| {
        let url = url.clone();
        async move {
            let output = dodona().args(arguments).arg(url).output().await.unwrap();
            (
                output.status.code(),
                String::from_utf8(output.stdout).unwrap(),
            )
        }
    };
    let (code, text) = run(&["gateway", "check"]).await;
    assert_eq!(code, Some(0), "{text}");
    for words in [
        "Scripted/v1",
        "it holds accounts",
        "only one upstream can be read from",
        "no WebSocket address",
        "serves the namespaces admin, personal",
        "old",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (code, text) = run(&["--json", "gateway", "check"]).await;
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["chainId"].as_u64()), (Some(0), Some(4242)));
    let upstream = &json["upstreams"][0];
    assert_eq!(
        (upstream["verdict"].as_str(), upstream["head"].as_u64()),
        (Some("WARN"), Some(100))
    );
}

#[tokio::test]
async fn check_takes_the_options_of_the_gateway_and_fails_for_strangers() {
    let (one, other, relay) = (client().await, client_of(101).await, client().await);
    let run = |arguments: Vec<String>| async move {
        let output = dodona()
            .args(["gateway", "check"])
            .args(arguments)
            .output()
            .await
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let list = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let (code, said) = run(list(&["--chain-id", "4242", &one, "--send-only", &relay])).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("Scripted/v1").count(), 2, "{said}");

    // Another chain under the same number.
    let (code, said) = run(list(&[&one, &other])).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("FAIL the upstreams belong to different chains"),
        "{said}"
    );

    let (code, said) = run(list(&["--chain-id", "5", &one])).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is an endpoint of chain 4242"), "{said}");

    let (code, said) = run(list(&["http://geth.example.com"])).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--allow-plain"), "{said}");
}

#[tokio::test]
async fn what_will_not_work_ends_with_a_sentence_and_a_code() {
    for (arguments, words) in [
        (
            &["gateway", "check", "http://127.0.0.1:1"][..],
            "no client says which chain",
        ),
        (&["gateway", "http://8.8.8.8"], "without TLS"),
        (
            &[
                "gateway",
                "--chain-id",
                "1",
                "--listen",
                "0.0.0.0:0",
                "http://127.0.0.1:1",
            ],
            "[tls]",
        ),
        (
            &["gateway", "--config", "/nowhere/gateway.toml"],
            "cannot be read",
        ),
        (&["gateway", "key", "it's"], "without quotes"),
        (
            &["gateway", "localhost:8545"],
            "as in http://localhost:8545",
        ),
        (&["gateway", "htp://127.0.0.1:8545"], "begins with http://"),
        (
            &["gateway", "check", "localhost:8545"],
            "as in http://localhost:8545",
        ),
        (
            &[
                "gateway",
                "--send-only",
                "ws://127.0.0.1:1",
                "http://127.0.0.1:1",
            ],
            "http:// or https://, and this one with ws://",
        ),
        (
            &["gateway", "--send-only", "http://127.0.0.1:1"],
            "nothing could be read",
        ),
        (
            &["gateway", "http://127.0.0.1:1", "http://127.0.0.1:1"],
            "have the same address",
        ),
        (
            &[
                "gateway",
                "--allow-origin",
                "https://a.example/x",
                "http://127.0.0.1:1",
            ],
            "--allow-origin: \"https://a.example/x\" is not what a browser sends",
        ),
        (
            &[
                "gateway",
                "--chain-id",
                "1",
                "--listen",
                "10.255.255.1:0",
                "--interface",
                "nosuch0",
                "http://127.0.0.1:1",
            ],
            "interface nosuch0: No such device (os error 19); is that",
        ),
    ] {
        let output = dodona().args(arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        // A cause is told once.
        assert!(said.matches("(os error").count() <= 1, "{said}");
    }
}
