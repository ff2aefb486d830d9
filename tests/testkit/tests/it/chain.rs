use std::time::Duration;

use alloy::primitives::{Address, Bytes, U256};
use dodona_testkit::{
    anvil::{Anvil, Call, Options},
    until,
};

fn payment(to: Address, wei: u64) -> Call {
    Call {
        value_wei: U256::from(wei),
        gas: 21_000,
        ..Call::new(to, Bytes::new())
    }
}

#[tokio::test]
async fn blocks_come_only_when_asked_for_while_they_are_held() {
    let chain = Anvil::start(Options::default()).await;
    let (from, to) = (chain.accounts()[0], Address::repeat_byte(7));
    assert!(chain.execute(from, &payment(to, 1)).await.status());

    chain.hold_blocks().await;
    let before = chain.block_number().await;
    let hash = chain.send(from, &payment(to, 2)).await.unwrap();
    assert_eq!(chain.pending_transactions().await, 1);
    assert_eq!(
        (chain.block_number().await, chain.receipt(hash).await),
        (before, None)
    );

    chain.mine(3).await;
    assert_eq!(chain.block_number().await, before + 3);
    assert_eq!(
        chain.receipt(hash).await.unwrap().block_number,
        Some(before + 1)
    );
    assert_eq!(chain.balance_wei(to).await, U256::from(3));
    assert_eq!(
        (
            chain.nonce(from).await,
            chain.transactions_from(from).await.len()
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn blocks_come_by_themselves_at_a_fraction_of_a_second() {
    let chain = Anvil::start(Options::blocks_every(Duration::from_millis(200))).await;
    until("the third block is there", || async {
        (chain.block_number().await >= 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reorganisation_forgets_transactions_and_mines_again_what_it_is_given() {
    let chain = Anvil::start(Options::default()).await;
    let (from, to) = (chain.accounts()[0], Address::repeat_byte(7));
    let first = chain.execute(from, &payment(to, 1)).await;
    let kept = chain.execute(from, &payment(to, 10)).await;
    let lost = chain.execute(from, &payment(to, 100)).await;
    let height = chain.block_number().await;
    let raw = chain.raw_transaction(kept.transaction_hash).await;

    chain.reorg(2, &[(raw, 1)]).await;

    assert_eq!(chain.block_number().await, height);
    assert_eq!(chain.receipt(lost.transaction_hash).await, None);
    assert_eq!(chain.receipt(first.transaction_hash).await, Some(first));
    let again = chain.receipt(kept.transaction_hash).await.unwrap();
    assert_eq!(
        again.block_number,
        Some(height),
        "the second of the two new blocks"
    );
    assert_ne!(again.block_hash, kept.block_hash);
    assert_eq!(chain.balance_wei(to).await, U256::from(11));
}

#[tokio::test]
async fn a_snapshot_takes_the_chain_back() {
    let chain = Anvil::start(Options::default()).await;
    let (from, to) = (chain.accounts()[0], Address::repeat_byte(7));
    let snapshot = chain.snapshot().await;
    chain.execute(from, &payment(to, 1)).await;
    chain.revert(snapshot).await;
    assert_eq!(
        (chain.block_number().await, chain.balance_wei(to).await),
        (0, U256::ZERO)
    );
}

#[tokio::test]
async fn a_transaction_can_be_dropped_from_the_pool() {
    let chain = Anvil::start(Options::blocks_on_demand()).await;
    let (from, to) = (chain.accounts()[0], Address::repeat_byte(7));
    let hash = chain.send(from, &payment(to, 1)).await.unwrap();
    assert!(chain.drop_transaction(hash).await);
    assert!(!chain.drop_transaction(hash).await);
    chain.mine(1).await;
    assert_eq!(chain.receipt(hash).await, None);
}

#[tokio::test]
async fn the_clock_and_the_finality_of_the_chain_obey() {
    let options = Options {
        slots_in_an_epoch: Some(1),
        chain_id: 4242,
        ..Options::default()
    };
    let chain = Anvil::start(options).await;
    assert_eq!(
        chain.rpc::<String>("eth_chainId", [(); 0]).await,
        format!("{:#x}", 4242)
    );

    let before = chain.timestamp().await;
    chain.increase_time(Duration::from_secs(500)).await;
    chain.mine(1).await;
    assert!(chain.timestamp().await >= before + 500);

    chain.mine(9).await;
    let finalized: serde_json::Value = chain
        .rpc(
            "eth_getBlockByNumber",
            serde_json::json!(["finalized", false]),
        )
        .await;
    assert_eq!(finalized["number"], "0x8");
}

#[tokio::test]
async fn a_frozen_chain_hangs_and_comes_back() {
    let chain = Anvil::start(Options::default()).await;
    chain.freeze();
    let asked = chain.clone();
    let silent = tokio::time::timeout(Duration::from_millis(300), asked.block_number()).await;
    assert!(silent.is_err());
    chain.thaw();
    assert_eq!(chain.block_number().await, 0);
}
