//! Questions and answers, and whom they are put to.

use alloy::primitives::{Address, B256, Bytes, U256, address, b256};
use dodona_rpc::{
    BlockTag, Blocks, CallError, CallRequest, LogFilter, NodeConfig, NodeState, Pool, PoolConfig,
    RpcError,
};
use dodona_testkit::until;
use serde_json::{Value, json};

use crate::scripted::{Scripted, block};
use crate::{config, nodes_of, pool_of, reaches, watched};

const CONTRACT: Address = address!("0x00000000000000000000000000000000000000aa");
const TOPIC: B256 = B256::repeat_byte(0xd8);

fn log(block: u64, index: u64) -> Value {
    json!({
        "address": CONTRACT, "topics": [TOPIC, B256::ZERO], "data": "0x1234", "blockNumber": format!("{block:#x}"),
        "blockHash": format!("0x{block:064x}"), "transactionHash": format!("0x{:064x}", 9), "transactionIndex": "0x2",
        "logIndex": format!("{index:#x}"), "blockTimestamp": "0x1"
    })
}

#[tokio::test]
async fn a_block_is_read_with_what_we_know_of_it_and_whatever_else_it_has() {
    let server = Scripted::start().await;
    let pool = pool_of(&[&server]);
    let head = pool.latest_block().await.unwrap();
    assert_eq!(
        (head.number, head.base_fee_per_gas, head.gas_limit),
        (100, Some(1_000_000_000), 30_000_000)
    );
    assert_eq!(
        head.hash,
        b256!("0x0000000000000000000000000000000000000000000000000000000000000064")
    );
    assert!(head.logs_bloom.unwrap().is_zero());
    assert_eq!(pool.block_by_number(101).await.unwrap(), None);
    assert_eq!(
        pool.block_by_number(BlockTag::Finalized)
            .await
            .unwrap()
            .unwrap()
            .number,
        100
    );
    assert_eq!(
        server.last_params("eth_getBlockByNumber"),
        json!(["finalized", false])
    );

    // Of an old or odd chain: no base fee, no roots, numbers as numbers.
    server.answers("eth_getBlockByHash", json!({ "number": 3, "hash": B256::ZERO, "parentHash": B256::ZERO, "timestamp": "0x00", "l1BlockNumber": "0x5" }));
    let odd = pool.block_by_hash(B256::ZERO).await.unwrap().unwrap();
    assert_eq!(
        (
            odd.number,
            odd.base_fee_per_gas,
            odd.l1_block_number,
            odd.logs_bloom
        ),
        (3, None, Some(5), None)
    );
}

#[tokio::test]
async fn a_range_of_blocks_comes_in_order_in_batches_the_endpoint_takes_and_ends_at_the_head() {
    let server = Scripted::start().await;
    let pool = Pool::new(PoolConfig {
        batch_size: 40,
        ..config(nodes_of(&[&server]))
    })
    .unwrap();
    server.takes_batches_of(12);
    let blocks = pool.blocks_by_number(30..=120).await.unwrap();
    let numbers: Vec<u64> = blocks.iter().map(|head| head.number).collect();
    assert_eq!(numbers, (30..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn logs_are_asked_for_by_range_or_hash_and_read_without_pending_ones() {
    let server = Scripted::start().await;
    let pool = pool_of(&[&server]);
    let mut pending = log(8, 0);
    pending["blockHash"] = Value::Null;
    pending["blockNumber"] = Value::Null;
    server.answers("eth_getLogs", json!([log(7, 1), log(7, 3), pending]));
    let mut filter = LogFilter {
        addresses: vec![CONTRACT],
        topics0: vec![TOPIC],
        blocks: Blocks::Range(5, 16),
    };
    let logs = pool.logs(&filter).await.unwrap();
    assert_eq!(logs.len(), 2);
    let (first, second) = (&logs[0], &logs[1]);
    assert_eq!(
        (
            first.block_number,
            first.log_index,
            second.log_index,
            first.tx_index,
            first.removed
        ),
        (7, 1, 3, 2, false)
    );
    assert_eq!(
        (first.address, first.topics[0], &first.data[..]),
        (CONTRACT, TOPIC, &[0x12, 0x34][..])
    );
    assert_eq!(
        server.last_params("eth_getLogs"),
        json!([{ "fromBlock": "0x5", "toBlock": "0x10", "address": [CONTRACT], "topics": [[TOPIC]] }])
    );
    filter.blocks = Blocks::Hash(B256::ZERO);
    filter.addresses.clear();
    filter.topics0.clear();
    pool.logs(&filter).await.unwrap();
    assert_eq!(
        server.last_params("eth_getLogs"),
        json!([{ "blockHash": B256::ZERO }])
    );
}

#[tokio::test]
async fn too_many_logs_and_unknown_blocks_are_told_apart_from_failures() {
    let server = Scripted::start().await;
    let pool = pool_of(&[&server]);
    let filter = LogFilter {
        addresses: vec![],
        topics0: vec![],
        blocks: Blocks::Range(1, 9),
    };
    server.refuses(
        "eth_getLogs",
        -32005,
        "query returned more than 10000 results",
    );
    assert!(matches!(
        pool.logs(&filter).await,
        Err(RpcError::TooManyResults { .. })
    ));
    server.refuses("eth_getLogs", -32000, "unknown block");
    assert!(matches!(
        pool.logs(&filter).await,
        Err(RpcError::UnknownBlock { .. })
    ));
    server.refuses("eth_getLogs", -32000, "disk on fire");
    let error = pool.logs(&filter).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a answered eth_getLogs with error -32000: disk on fire"
    );
}

#[tokio::test]
async fn a_question_about_many_blocks_that_times_out_or_grows_too_large_asks_for_fewer() {
    let server = Scripted::start().await;
    let small = PoolConfig {
        max_response_bytes: 2_000,
        request_timeout: std::time::Duration::from_millis(300),
        ..config(nodes_of(&[&server]))
    };
    let pool = Pool::new(small).unwrap();
    pool.verify().await;
    let range = |blocks| LogFilter {
        addresses: vec![],
        topics0: vec![],
        blocks,
    };
    server.answers("eth_getLogs", (0..50).map(|at| log(7, at)).collect());
    assert!(matches!(
        pool.logs(&range(Blocks::Range(1, 9))).await,
        Err(RpcError::TooManyResults { .. })
    ));
    assert!(matches!(
        pool.logs(&range(Blocks::Range(7, 7))).await,
        Err(RpcError::TooLarge { limit: 2_000, .. })
    ));
    server.hangs();
    assert!(matches!(
        pool.logs(&range(Blocks::Range(1, 9))).await,
        Err(RpcError::TooManyResults { .. })
    ));
    assert!(matches!(
        pool.logs(&range(Blocks::Range(7, 7))).await,
        Err(RpcError::Timeout { .. })
    ));
}

#[tokio::test]
async fn a_reverted_call_has_its_reason_and_is_not_asked_elsewhere() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    let pool = pool_of(&[&one, &two]);
    pool.verify().await;
    let reason = format!("0x08c379a0{:064x}{:064x}{:0<64}", 32, 4, "6e6f7065");
    one.refuses_with(
        "eth_call",
        json!({ "code": 3, "message": "execution reverted: nope", "data": reason }),
    );
    two.answers("eth_call", json!("0x01"));
    let call = CallRequest::to(CONTRACT, vec![1, 2]);
    match pool.call(&call, BlockTag::Latest).await {
        Err(CallError::Reverted {
            reason,
            data,
            code,
            message,
        }) => {
            assert_eq!(reason.as_deref(), Some("nope"));
            assert_eq!(
                (data.len(), code, message.as_str()),
                (100, 3, "execution reverted: nope")
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(two.asked("eth_call"), 0);
    assert_eq!(
        one.last_params("eth_call"),
        json!([{ "to": CONTRACT, "data": "0x0102" }, "latest"])
    );
}

#[tokio::test]
async fn calls_in_a_batch_have_results_of_their_own() {
    let server = Scripted::start().await;
    let pool = pool_of(&[&server]);
    server.answers("eth_call", json!("0xbeef"));
    let calls = vec![
        CallRequest {
            from: Some(CONTRACT),
            gas: Some(21_000),
            value: Some(U256::from(5)),
            ..CallRequest::to(CONTRACT, Bytes::new())
        };
        3
    ];
    let answers = pool
        .call_many(calls, BlockTag::Hash(B256::ZERO))
        .await
        .unwrap();
    assert_eq!(answers.len(), 3);
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.unwrap().as_ref() == [0xbe, 0xef])
    );
    assert_eq!(
        server.last_params("eth_call"),
        json!([{ "from": CONTRACT, "to": CONTRACT, "gas": "0x5208", "value": "0x5", "data": "0x" }, { "blockHash": B256::ZERO }])
    );
    assert!(
        pool.call_many(Vec::new(), BlockTag::Latest)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn receipts_are_read_with_their_logs_and_bytes_and_pending_ones_are_none() {
    let server = Scripted::start().await;
    let pool = pool_of(&[&server]);
    let receipt = json!({
        "transactionHash": B256::repeat_byte(1), "blockNumber": "0x7", "blockHash": B256::repeat_byte(2), "transactionIndex": "0x0",
        "status": "0x0", "gasUsed": "0x5208", "effectiveGasPrice": "0x3b9aca00", "logs": [log(7, 1)], "from": CONTRACT, "to": null,
        "contractAddress": CONTRACT, "type": "0x7e", "l1Fee": "0x1"
    });
    server.answers("eth_getTransactionReceipt", receipt.clone());
    let got = pool.receipts(&[B256::repeat_byte(1); 2]).await.unwrap();
    let one = got[0].as_ref().unwrap();
    assert_eq!(
        (
            one.block_number,
            one.status,
            one.gas_used,
            one.effective_gas_price,
            one.logs.len()
        ),
        (7, false, 21_000, 1_000_000_000, 1)
    );
    assert_eq!((one.to, one.contract_address), (None, Some(CONTRACT)));
    assert_eq!(
        serde_json::from_str::<Value>(one.raw.get()).unwrap(),
        receipt
    );

    for pending in [
        Value::Null,
        json!({ "transactionHash": B256::ZERO, "blockNumber": null, "blockHash": null, "from": CONTRACT }),
    ] {
        server.answers("eth_getTransactionReceipt", pending);
        assert!(pool.receipts(&[B256::ZERO]).await.unwrap()[0].is_none());
    }
    server.answers("eth_getTransactionReceipt", json!({ "from": 5 }));
    assert!(matches!(
        pool.receipts(&[B256::ZERO]).await,
        Err(RpcError::Decode { .. })
    ));
}

#[tokio::test]
async fn the_small_questions_read_their_answers() {
    let server = Scripted::start().await;
    let pool = pool_of(&[&server]);
    server
        .answers("eth_gasPrice", json!("0x77"))
        .answers("eth_maxPriorityFeePerGas", json!("0x3"))
        .answers("eth_estimateGas", json!("0x5208"))
        .answers("eth_getBalance", json!("0xffffffffffffffffffffffffffffffffffff"))
        .answers("eth_getTransactionCount", json!("0x11"))
        .answers("eth_getCode", json!("0x6001"))
        .answers("eth_getTransactionByHash", json!({ "hash": B256::ZERO, "from": CONTRACT, "nonce": "0x9", "input": "0x01", "blockNumber": null, "type": "0x64" }))
        .answers("eth_feeHistory", json!({ "oldestBlock": "0x5", "baseFeePerGas": ["0x1", "0x2"], "gasUsedRatio": [0.5], "reward": [["0x7", "0x8"]] }))
        .answers("debug_other", json!({ "b": 1, "a": [2] }));
    assert_eq!(pool.gas_price().await.unwrap(), 0x77);
    assert_eq!(pool.max_priority_fee_per_gas().await.unwrap(), 3);
    assert_eq!(
        pool.estimate_gas(&CallRequest::default()).await.unwrap(),
        21_000
    );
    assert_eq!(
        pool.balance(CONTRACT).await.unwrap(),
        (U256::from(1) << 144) - U256::from(1)
    );
    assert_eq!(pool.balances(&[CONTRACT, CONTRACT]).await.unwrap().len(), 2);
    assert_eq!(
        pool.transaction_count(CONTRACT, BlockTag::Pending)
            .await
            .unwrap(),
        17
    );
    assert_eq!(
        server.last_params("eth_getTransactionCount"),
        json!([CONTRACT, "pending"])
    );
    assert_eq!(pool.code(CONTRACT).await.unwrap().len(), 2);
    let known = pool.transaction_by_hash(B256::ZERO).await.unwrap().unwrap();
    assert_eq!(
        (known.nonce, known.block_number, known.from),
        (9, None, CONTRACT)
    );
    let fees = pool
        .fee_history(1, BlockTag::Latest, &[60.0])
        .await
        .unwrap();
    assert_eq!(
        (fees.oldest_block, fees.base_fee_per_gas, fees.reward),
        (5, vec![1, 2], vec![vec![7, 8]])
    );
    assert_eq!(
        server.last_params("eth_feeHistory"),
        json!(["0x1", "latest", [60.0]])
    );
    assert_eq!(pool.client_version().await.unwrap(), "scripted/1");
    assert_eq!(
        pool.request_raw("debug_other", json!([1])).await.unwrap(),
        json!({ "a": [2], "b": 1 })
    );
}

#[tokio::test]
async fn a_read_that_fails_is_repeated_on_the_next_endpoint() {
    let (one, two, three) = (
        Scripted::start().await,
        Scripted::start().await,
        Scripted::start().await,
    );
    let pool = pool_of(&[&one, &two, &three]);
    pool.verify().await;
    two.answers("eth_gasPrice", json!("0x2"));
    for broken in ["http 503", "internal error", "garbage"] {
        match broken {
            "http 503" => one.says(503, "gateway down"),
            "internal error" => one
                .recovers()
                .refuses("eth_gasPrice", -32603, "internal error"),
            _ => one.answers("eth_gasPrice", json!({ "surprise": true })),
        };
        assert_eq!(pool.gas_price().await.unwrap(), 2, "{broken}");
    }
    assert_eq!(three.asked("eth_gasPrice"), 0);
    two.refuses("eth_gasPrice", -32603, "internal error, too");
    three.answers("eth_gasPrice", json!("0x3"));
    assert_eq!(pool.gas_price().await.unwrap(), 3);
    three.refuses("eth_gasPrice", -32603, "nor here");
    let error = pool.gas_price().await.unwrap_err();
    assert!(error.to_string().contains("nor here"), "{error}");
}

#[tokio::test]
async fn a_question_that_is_wrong_itself_is_put_to_one_more_endpoint_at_most() {
    let (one, two, three) = (
        Scripted::start().await,
        Scripted::start().await,
        Scripted::start().await,
    );
    let pool = pool_of(&[&one, &two, &three]);
    pool.verify().await;
    for server in [&one, &two, &three] {
        server.refuses("eth_gasPrice", -32602, "invalid params");
    }
    let error = pool.gas_price().await.unwrap_err();
    assert!(error.to_string().contains("invalid params"), "{error}");
    let asked = [&one, &two, &three].map(|server| server.asked("eth_gasPrice"));
    assert_eq!(asked, [1, 1, 0]);
}

#[tokio::test]
async fn a_block_one_endpoint_does_not_know_yet_is_looked_for_at_another() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    let pool = pool_of(&[&one, &two]);
    pool.verify().await;
    one.answers("eth_getBlockByHash", Value::Null)
        .refuses("eth_getLogs", -32000, "unknown block");
    two.answers("eth_getBlockByHash", block(5))
        .answers("eth_getLogs", json!([log(5, 0)]));
    assert_eq!(
        pool.block_by_hash(B256::ZERO)
            .await
            .unwrap()
            .unwrap()
            .number,
        5
    );
    let filter = LogFilter {
        addresses: vec![],
        topics0: vec![],
        blocks: Blocks::Hash(B256::ZERO),
    };
    assert_eq!(pool.logs(&filter).await.unwrap().len(), 1);
    two.answers("eth_getBlockByHash", Value::Null);
    assert_eq!(pool.block_by_hash(B256::ZERO).await.unwrap(), None);
}

#[tokio::test]
async fn the_chain_does_not_go_backwards_because_another_endpoint_answers() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    one.is_at(105);
    two.is_at(103);
    let pool = watched(pool_of(&[&one, &two]));
    let heads = pool.new_heads();
    let latest = async |number: u64| {
        until(&format!("block {number} is the newest"), || async {
            (heads.borrow().as_ref()?.number == number).then_some(())
        })
        .await;
        assert_eq!(pool.latest_block().await.unwrap().number, number);
    };
    latest(105).await;
    reaches(&pool, "b", NodeState::Alive).await;
    let asked = |server: &Scripted| server.asked("eth_getBlockByHash");
    until("what lies below is known", || async {
        (asked(&one) + asked(&two) >= 7).then_some(())
    })
    .await;
    one.says(503, "restarting");
    reaches(&pool, "a", NodeState::Unreachable).await;
    // Whoever is left has not got there yet.
    assert_eq!(pool.latest_block().await.unwrap().number, 105);
    assert_eq!(
        pool.block_by_number(104).await.unwrap().unwrap().number,
        104
    );
    two.is_at(106);
    latest(106).await;
    // A shorter branch that only one of them shows may be an old one: it has to be higher first.
    let asked_before = two.asked("eth_getBlockByNumber");
    two.is_at(104).reorganises(103);
    until("it was looked at", || async {
        (two.asked("eth_getBlockByNumber") > asked_before + 2).then_some(())
    })
    .await;
    latest(106).await;
    two.is_at(107);
    latest(107).await;
}

#[tokio::test]
async fn reads_of_the_newest_block_name_it_and_go_to_whoever_has_it_preferred_or_not() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    for server in [&one, &two] {
        server
            .answers("eth_call", json!("0x01"))
            .answers("eth_getBalance", json!("0x5"))
            .answers("eth_getTransactionReceipt", Value::Null);
    }
    two.is_at(103);
    let pool = watched(pool_of(&[&one, &two]));
    let mut heads = pool.new_heads();
    heads
        .wait_for(|head| head.as_ref().is_some_and(|head| head.number == 103))
        .await
        .unwrap();
    let call = CallRequest::to(CONTRACT, vec![1, 2]);
    pool.call(&call, BlockTag::Latest).await.unwrap();
    assert_eq!(two.last_params("eth_call")[1], "0x67");
    assert_eq!(pool.balances(&[CONTRACT; 3]).await.unwrap().len(), 3);
    assert_eq!(two.last_params("eth_getBalance")[1], "0x67");
    // That there is no receipt is only true at the tip.
    assert!(pool.receipts(&[B256::ZERO; 2]).await.unwrap()[1].is_none());
    for method in ["eth_call", "eth_getBalance", "eth_getTransactionReceipt"] {
        assert_eq!(one.asked(method), 0, "{method}");
    }
    // What is known of the chain is not asked again.
    two.refuses("eth_getBlockByHash", -32603, "do not ask");
    let head = pool.latest_block().await.unwrap();
    assert_eq!(pool.block_by_hash(head.hash).await.unwrap(), Some(head));
    assert_eq!(pool.blocks_by_number(98..=103).await.unwrap().len(), 6);
    let active = pool.nodes().into_iter().map(|node| node.active);
    assert_eq!(active.collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_batch_goes_to_the_next_endpoint_as_a_whole() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    let pool = pool_of(&[&one, &two]);
    pool.verify().await;
    one.says(502, "Bad Gateway");
    two.answers("eth_getBalance", json!("0x5"));
    assert_eq!(
        pool.balances(&[CONTRACT; 3]).await.unwrap(),
        [U256::from(5); 3]
    );
}

#[tokio::test]
async fn send_only_endpoints_are_never_read_from() {
    let (one, two) = (Scripted::start().await, Scripted::start().await);
    let send_only = NodeConfig {
        send_only: true,
        ..NodeConfig::primary("s", two.http())
    };
    let pool = crate::pool(vec![NodeConfig::primary("a", one.http()), send_only]);
    pool.verify().await;
    one.says(503, "down");
    assert!(pool.gas_price().await.is_err());
    assert_eq!(two.asked("eth_gasPrice"), 0);
}
