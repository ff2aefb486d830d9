//! The pool against a real chain.

use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use dodona_rpc::{
    BlockTag, Blocks, CallError, CallRequest, LogFilter, NodeConfig, NodeState, Pool, PoolConfig,
    RpcError, SendOutcome,
};
use dodona_testkit::anvil::{Anvil, Options};
use dodona_testkit::until;

use crate::{Watched, reaches, watched};

const GWEI: u128 = 1_000_000_000;
/// Anvil's chain unless told otherwise.
const CHAIN: u64 = 31337;
/// Code that emits one log with topic 0x2a and reverts with the word it is called with, if any.
///
/// `CALLDATASIZE; JUMPI to 0x0a | PUSH1 2a, PUSH0, PUSH0, LOG1, STOP | CALLDATACOPY all to 0, REVERT`
const CONTRACT: &str = "36600a57602a5f5fa1005b365f5f37365ffd";

fn node(anvil: &Anvil) -> NodeConfig {
    NodeConfig {
        ws_url: Some(anvil.ws_url().parse().unwrap()),
        ..NodeConfig::primary("anvil", anvil.http_url().parse().unwrap())
    }
}

fn pool(node: NodeConfig) -> Pool {
    Pool::new(PoolConfig {
        poll_interval: Duration::from_millis(200),
        request_timeout: Duration::from_secs(3),
        ..PoolConfig::new(CHAIN, vec![node])
    })
    .unwrap()
}

fn watched_pool(anvil: &Anvil) -> Watched {
    watched(pool(node(anvil)))
}

async fn funded(anvil: &Anvil) -> PrivateKeySigner {
    let key = PrivateKeySigner::random();
    anvil
        .set_balance(key.address(), U256::from(10).pow(U256::from(18)))
        .await;
    key
}

fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 20 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: TxKind::Call(Address::repeat_byte(9)),
        value: U256::from(1),
        ..TxEip1559::default()
    }
}

fn signed(key: &PrivateKeySigner, tx: TxEip1559) -> (B256, Bytes) {
    let signature = key.sign_hash_sync(&tx.signature_hash()).unwrap();
    let envelope = TxEnvelope::from(tx.into_signed(signature));
    (*envelope.tx_hash(), envelope.encoded_2718().into())
}

/// Runtime code behind a constructor that returns it.
fn deployment(runtime: &str) -> Bytes {
    let length = runtime.len() / 2;
    format!("0x60{length:02x}600a5f3960{length:02x}5ff3{runtime}")
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_transaction_is_sent_mined_and_read_back() {
    let anvil = Anvil::start(Options::default()).await;
    let pool = watched_pool(&anvil);
    let key = funded(&anvil).await;
    let (hash, raw) = signed(&key, transfer(0));
    assert_eq!(pool.send_raw(&raw).await.outcome, SendOutcome::Accepted);
    let receipt = until("it is mined", || async {
        pool.receipts(&[hash]).await.unwrap().remove(0)
    })
    .await;
    assert!(receipt.status);
    assert_eq!(
        (receipt.tx_hash, receipt.from, receipt.gas_used),
        (hash, key.address(), 21_000)
    );
    let block = pool
        .block_by_hash(receipt.block_hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(block.number, receipt.block_number);
    assert_eq!(
        pool.transaction_count(key.address(), BlockTag::Latest)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        pool.transaction_by_hash(hash)
            .await
            .unwrap()
            .unwrap()
            .block_hash,
        Some(receipt.block_hash)
    );
    assert_eq!(
        pool.balances(&[Address::repeat_byte(9)]).await.unwrap(),
        [U256::from(1)]
    );
    let fees = pool
        .fee_history(1, BlockTag::Latest, &[50.0])
        .await
        .unwrap();
    assert_eq!((fees.base_fee_per_gas.len(), fees.reward[0].len()), (2, 1));
    assert!(pool.gas_price().await.unwrap() > 0);
    assert!(pool.client_version().await.unwrap().starts_with("anvil/"));
}

#[tokio::test]
async fn what_a_real_chain_says_to_bad_transactions_is_understood() {
    let anvil = Anvil::start(Options::blocks_on_demand()).await;
    let pool = watched_pool(&anvil);
    let key = funded(&anvil).await;
    let outcome = async |tx: TxEip1559| pool.send_raw(&signed(&key, tx).1).await.outcome;

    assert_eq!(outcome(transfer(0)).await, SendOutcome::Accepted);
    assert_eq!(outcome(transfer(0)).await, SendOutcome::AlreadyKnown);
    assert_eq!(
        outcome(TxEip1559 {
            value: U256::from(2),
            ..transfer(0)
        })
        .await,
        SendOutcome::ReplacementUnderpriced
    );
    let bumped = TxEip1559 {
        max_fee_per_gas: 22 * GWEI,
        max_priority_fee_per_gas: 2 * GWEI,
        ..transfer(0)
    };
    assert_eq!(outcome(bumped).await, SendOutcome::Accepted);
    anvil.mine(1).await;
    assert_eq!(outcome(transfer(0)).await, SendOutcome::NonceTooLow);
    assert_eq!(
        outcome(TxEip1559 {
            max_fee_per_gas: 1,
            max_priority_fee_per_gas: 1,
            ..transfer(1)
        })
        .await,
        SendOutcome::Underpriced
    );
    assert_eq!(
        outcome(TxEip1559 {
            value: U256::MAX >> 8,
            ..transfer(1)
        })
        .await,
        SendOutcome::InsufficientFunds
    );
    for fatal in [
        TxEip1559 {
            gas_limit: 20_000,
            ..transfer(1)
        },
        TxEip1559 {
            gas_limit: 900_000_000,
            max_fee_per_gas: GWEI,
            max_priority_fee_per_gas: 0,
            ..transfer(1)
        },
        TxEip1559 {
            max_priority_fee_per_gas: 21 * GWEI,
            ..transfer(1)
        },
        TxEip1559 {
            chain_id: 5,
            ..transfer(1)
        },
    ] {
        let outcome = outcome(fatal.clone()).await;
        assert!(
            matches!(outcome, SendOutcome::Fatal(_)),
            "{outcome:?} to {fatal:?}"
        );
    }
    assert!(
        pool.unknown_send_errors().is_empty(),
        "{:?}",
        pool.unknown_send_errors()
    );
}

#[tokio::test]
async fn logs_and_reverts_of_a_real_contract_are_read() {
    let anvil = Anvil::start(Options::default()).await;
    let pool = watched_pool(&anvil);
    let from = anvil.accounts()[0];
    let contract = anvil.deploy(from, &deployment(CONTRACT), &[]).await;
    assert_eq!(pool.code(contract).await.unwrap().len(), CONTRACT.len() / 2);
    let receipt = anvil
        .must_execute(
            from,
            &dodona_testkit::anvil::Call::new(contract, Vec::new()),
        )
        .await;

    let number = receipt.block_number.unwrap();
    let mut filter = LogFilter {
        addresses: vec![contract],
        topics0: vec![B256::with_last_byte(42)],
        blocks: Blocks::Range(0, number),
    };
    let by_range = pool.logs(&filter).await.unwrap();
    filter.blocks = Blocks::Hash(receipt.block_hash.unwrap());
    let by_hash = pool.logs(&filter).await.unwrap();
    assert_eq!(by_range, by_hash);
    assert_eq!(
        (by_hash.len(), by_hash[0].tx_hash, by_hash[0].block_number),
        (1, receipt.transaction_hash, number)
    );

    for unknown in [
        Blocks::Hash(B256::repeat_byte(1)),
        Blocks::Range(number + 5, number + 9),
    ] {
        filter.blocks = unknown;
        let asked = pool.logs(&filter).await;
        assert!(
            matches!(asked, Err(RpcError::UnknownBlock { .. })),
            "{asked:?}"
        );
    }

    let reason = format!("0x08c379a0{:064x}{:064x}{:0<64}", 32, 4, "6e6f7065")
        .parse::<Bytes>()
        .unwrap();
    match pool
        .call(&CallRequest::to(contract, reason.clone()), BlockTag::Latest)
        .await
    {
        Err(CallError::Reverted {
            reason: Some(words),
            data,
            ..
        }) => assert_eq!((words.as_str(), data), ("nope", reason.clone())),
        other => panic!("{other:?}"),
    }
    let estimate = pool
        .estimate_gas(&CallRequest {
            from: Some(from),
            ..CallRequest::to(contract, reason)
        })
        .await;
    assert!(
        matches!(estimate, Err(CallError::Reverted { .. })),
        "{estimate:?}"
    );
    let calls = vec![
        CallRequest::to(contract, Bytes::new()),
        CallRequest::to(contract, Bytes::from_static(&[1])),
    ];
    let answers = pool.call_many(calls, BlockTag::Latest).await.unwrap();
    assert!(
        answers[0].is_ok() && matches!(answers[1], Err(CallError::Reverted { reason: None, .. })),
        "{answers:?}"
    );
}

#[tokio::test]
async fn heads_arrive_by_subscription_and_a_reorganisation_shows() {
    let anvil = Anvil::start(Options::blocks_on_demand()).await;
    let pool = watched_pool(&anvil);
    reaches(&pool, "anvil", NodeState::Alive).await;
    anvil.mine(5).await;
    let heads = pool.new_heads();
    let before = until("block 5 is shown", || async {
        heads.borrow().clone().filter(|head| head.number == 5)
    })
    .await;
    anvil.reorg(2, &[]).await;
    let after = until("the other block 5 is shown", || async {
        heads
            .borrow()
            .clone()
            .filter(|head| head.number == 5 && head.hash != before.hash)
    })
    .await;
    assert_eq!(pool.latest_block().await.unwrap().hash, after.hash);
    assert_eq!(pool.block_by_hash(before.hash).await.unwrap(), None);
}

#[tokio::test]
async fn a_frozen_chain_client_is_unreachable_and_comes_back() {
    let anvil = Anvil::start(Options::default()).await;
    let pool = Pool::new(PoolConfig {
        poll_interval: Duration::from_millis(100),
        poll_failure_threshold: 2,
        request_timeout: Duration::from_millis(300),
        ..PoolConfig::new(CHAIN, vec![node(&anvil)])
    });
    let pool = watched(pool.unwrap());
    reaches(&pool, "anvil", NodeState::Alive).await;
    anvil.freeze();
    reaches(&pool, "anvil", NodeState::Unreachable).await;
    assert!(pool.latest_block().await.is_err());
    anvil.thaw();
    reaches(&pool, "anvil", NodeState::Alive).await;
    anvil.mine(1).await;
    until("blocks are read again", || async {
        (pool.latest_block().await.ok()?.number == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_chain_over_its_web_socket_alone_is_as_good() {
    let anvil = Anvil::start(Options::default()).await;
    let pool = watched(pool(NodeConfig::primary(
        "anvil",
        anvil.ws_url().parse().unwrap(),
    )));
    let key = funded(&anvil).await;
    let raws: Vec<Bytes> = (0..10)
        .map(|nonce| signed(&key, transfer(nonce)).1)
        .collect();
    let reports = pool.send_raw_many(&raws).await;
    assert!(
        reports
            .iter()
            .all(|report| report.outcome == SendOutcome::Accepted),
        "{reports:?}"
    );
    until("all are mined", || async {
        (pool
            .transaction_count(key.address(), BlockTag::Latest)
            .await
            .unwrap()
            == 10)
            .then_some(())
    })
    .await;
    assert!(!pool.blocks_by_number(0..=50).await.unwrap().is_empty());
}
