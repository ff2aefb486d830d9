//! The libraries everybody uses, as they are published, in front of the gateway and a real chain:
//! they read, pay and subscribe, and do not notice that an upstream is killed.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, Bytes, U256, bytes};
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy_provider::{Provider, ProviderBuilder, WsConnect};
use dodona_rpc::gateway::GatewayConfig;
use dodona_rpc::{NodeConfig, PoolConfig};
use dodona_testkit::anvil::{Anvil, Call, Options};
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Door;

/// The first account of anvil's, whose key everybody knows.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const TO: &str = "0x00000000000000000000000000000000000d0d0a";
/// A contract that emits a log with the block's number as topic whenever it is called.
const BEACON: Bytes = bytes!("664360006000a10060005260076019f3");
/// Blocks each subscriber is told of; an upstream dies in their middle.
const HEADS: usize = 12;

/// A way to the chain that can be cut, connections and all.
struct Way {
    port: u16,
    running: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let running = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut outer, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut inner) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                    }
                });
            }
        });
        Self {
            port: own,
            running: Mutex::new(Some(running)),
        }
    }

    fn cut(&self) {
        if let Some(running) = self.running.lock().unwrap().take() {
            running.abort();
        }
    }
}

/// A chain that goes on by itself behind a gateway with two ways to it.
struct Scene {
    anvil: Arc<Anvil>,
    ways: [Way; 2],
    door: Door,
}

async fn scene() -> Scene {
    let anvil = Anvil::start(Options::blocks_every(Duration::from_millis(300))).await;
    let port = anvil
        .http_url()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let ways = [Way::to(port).await, Way::to(port).await];
    let nodes = ["a", "b"].iter().zip(&ways).map(|(name, way)| NodeConfig {
        ws_url: Some(format!("ws://127.0.0.1:{}", way.port).parse().unwrap()),
        ..NodeConfig::primary(
            *name,
            format!("http://127.0.0.1:{}", way.port).parse().unwrap(),
        )
    });
    let pool = PoolConfig {
        request_timeout: Duration::from_secs(2),
        poll_interval: Duration::from_millis(500),
        poll_failure_threshold: 2,
        ..PoolConfig::new(31337, nodes.collect())
    };
    Scene {
        door: Door::open(pool, GatewayConfig::default()).await,
        anvil: Arc::new(anvil),
        ways,
    }
}

#[tokio::test]
async fn alloy_reads_pays_and_subscribes_and_does_not_notice_that_an_upstream_is_killed() {
    let scene = scene().await;
    let signer: PrivateKeySigner = KEY.parse().unwrap();
    let http = ProviderBuilder::new()
        .wallet(signer)
        .connect_http(scene.door.url.parse().unwrap());
    let to: Address = TO.parse().unwrap();
    assert_eq!(http.get_chain_id().await.unwrap(), 31337);
    let before = http.get_balance(to).await.unwrap();
    let request = TransactionRequest::default()
        .with_to(to)
        .with_value(U256::from(7));
    let pending = http.send_transaction(request).await.unwrap();
    let receipt = pending.get_receipt().await.unwrap();
    assert!(receipt.status());
    // Whoever was given a receipt is not told of an older block.
    let mined = receipt.block_number.unwrap();
    assert!(http.get_block_number().await.unwrap() >= mined);
    assert_eq!(http.get_balance(to).await.unwrap() - before, U256::from(7));

    let url = format!("ws://{}/", scene.door.address);
    let ws = ProviderBuilder::new()
        .connect_ws(WsConnect::new(url))
        .await
        .unwrap();
    assert!(ws.get_block_number().await.unwrap() >= mined);
    let anvil = &scene.anvil;
    let from = anvil.accounts()[1];
    let beacon = anvil.deploy(from, &BEACON, &[]).await;
    let of_beacon = Filter::new().address(beacon);
    let mut logs = ws.subscribe_logs(&of_beacon).await.unwrap().into_stream();
    let mut heads = ws.subscribe_blocks().await.unwrap().into_stream();
    let mut told = Vec::new();
    while told.len() < HEADS {
        let next = tokio::time::timeout(Duration::from_secs(20), heads.next());
        told.push(next.await.unwrap().unwrap().number);
        anvil.send(from, &Call::new(beacon, [])).await.unwrap();
        if told.len() == HEADS / 2 {
            scene.ways[0].cut();
        }
    }
    let without_gaps: Vec<u64> = (told[0]..).take(HEADS).collect();
    assert_eq!(told, without_gaps);
    let mut logged = Vec::new();
    while logged.len() < HEADS {
        let next = tokio::time::timeout(Duration::from_secs(20), logs.next());
        let log = next.await.unwrap().unwrap();
        assert!(!log.removed);
        logged.push((log.block_number.unwrap(), log.log_index.unwrap()));
    }
    // Each that there is, once, in order.
    let all = http.get_logs(&of_beacon.from_block(0)).await.unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|log| (log.block_number.unwrap(), log.log_index.unwrap()))
        .collect();
    assert_eq!(logged, all);
}

fn beside_us(name: &str) -> PathBuf {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients"));
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: run script/setup, which installs the libraries",
        path.display()
    );
    path
}

/// Runs a library's program; kills one upstream once it listens.
async fn story_of(command: &str, script: &str) {
    let scene = scene().await;
    let program = match command {
        "node" => {
            beside_us("node_modules");
            PathBuf::from("node")
        }
        _ => beside_us(".venv/bin/python"),
    };
    let mut child = tokio::process::Command::new(program)
        .arg(beside_us(script))
        .arg(&scene.door.url)
        .arg(format!("ws://{}/", scene.door.address))
        .args([KEY, TO, &HEADS.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line == "subscribed" {
            let head = scene.door.block_number().await;
            dodona_testkit::until("some blocks are told", || async {
                (scene.door.block_number().await >= head + 4).then_some(())
            })
            .await;
            scene.ways[0].cut();
        }
        said.push(line);
    }
    let output = child.wait_with_output().await.unwrap();
    assert!(
        output.status.success() && said == ["subscribed", "good"],
        "{said:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn ethers_reads_pays_and_subscribes_and_does_not_notice_that_an_upstream_is_killed() {
    story_of("node", "ethers.mjs").await;
}

#[tokio::test]
async fn viem_reads_pays_and_subscribes_and_does_not_notice_that_an_upstream_is_killed() {
    story_of("node", "viem.mjs").await;
}

#[tokio::test]
async fn web3_js_reads_pays_and_subscribes_and_does_not_notice_that_an_upstream_is_killed() {
    story_of("node", "web3.mjs").await;
}

#[tokio::test]
async fn web3_py_reads_pays_and_subscribes_and_does_not_notice_that_an_upstream_is_killed() {
    story_of("python", "web3_py.py").await;
}
