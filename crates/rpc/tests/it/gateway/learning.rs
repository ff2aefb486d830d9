//! A gateway that nobody told its chain.

use dodona_rpc::gateway::{ChainError, Gateway, GatewayConfig, ReloadError};
use dodona_rpc::{CHAIN_NOT_KNOWN, NodeConfig, PoolConfig};
use dodona_testkit::until;

use super::upstream::{CHAIN, Upstream};
use super::{pool_of, upstreams};

fn without_a_chain(clients: &[Upstream]) -> PoolConfig {
    PoolConfig {
        chain_id: CHAIN_NOT_KNOWN,
        ..pool_of(clients)
    }
}

fn gateway(pool: PoolConfig) -> Gateway {
    let config = GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..GatewayConfig::default()
    };
    Gateway::new(pool, config, String::new).unwrap()
}

fn judged(chain_id: u64, nodes: Vec<NodeConfig>) -> PoolConfig {
    PoolConfig::new(chain_id, nodes)
}

#[tokio::test]
async fn a_chain_is_believed_when_all_say_it_or_some_say_it_twice() {
    let clients = upstreams(2).await;
    let asked = gateway(without_a_chain(&clients));
    assert!(!asked.knows_its_chain());
    assert!(asked.learn_chain(judged).await.unwrap());
    assert!(asked.knows_its_chain());

    let asked = gateway(without_a_chain(&clients));
    clients[0].dies();
    assert!(!asked.learn_chain(judged).await.unwrap());
    assert!(!asked.knows_its_chain());
    assert!(asked.learn_chain(judged).await.unwrap());

    // What was said before everybody fell silent is forgotten.
    clients[0].rises().await;
    clients[0].dies();
    let asked = gateway(without_a_chain(&clients));
    assert!(!asked.learn_chain(judged).await.unwrap());
    clients[1].dies();
    assert!(!asked.learn_chain(judged).await.unwrap());
    clients[1].rises().await;
    assert!(!asked.learn_chain(judged).await.unwrap());
    assert!(asked.learn_chain(judged).await.unwrap());
}

#[tokio::test]
async fn who_comes_up_a_little_later_on_another_chain_is_heard() {
    let clients = upstreams(2).await;
    clients[0].dies();
    let asked = gateway(without_a_chain(&clients));
    assert!(!asked.learn_chain(judged).await.unwrap());
    clients[0].belongs_to(5);
    clients[0].rises().await;
    let error = asked.learn_chain(judged).await.unwrap_err();
    assert!(matches!(error, ChainError::Differ { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("to chain 5") || said.contains("to chain 4242"),
        "{said}"
    );
    assert!(!asked.knows_its_chain());
}

#[tokio::test]
async fn a_chain_of_which_no_block_was_seen_may_be_put_right() {
    let clients = upstreams(1).await;
    let wrong = PoolConfig {
        chain_id: 5,
        ..pool_of(&clients)
    };
    let moved = gateway(wrong.clone());
    let listener = moved.bind().await.unwrap();
    let config = || GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..GatewayConfig::default()
    };
    let running = tokio::spawn(moved.clone().run(listener, std::future::pending()));
    assert_eq!(moved.chain_id(), None);
    moved.reload(pool_of(&clients), config()).await.unwrap();
    until("it follows the chain", || async { moved.tip() }).await;
    assert_eq!(moved.chain_id(), Some(CHAIN));
    // And then no more.
    let error = moved.reload(wrong, config()).await.unwrap_err();
    assert!(matches!(error, ReloadError::OtherChain { .. }), "{error}");
    running.abort();
}
