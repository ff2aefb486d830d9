//! `ethcall`, `ethtx`, `estimategaslimit`.

use alloy::primitives::{Address, U256, address, bytes};
use dodona_pipeline::{
    BlockChoice, EthCall, EthCallError, GasLimits, Limits, Outcome, RunInput, TxIntent, Value,
};
use serde_json::json;

use crate::fake::{World, error, input, output, run_in};

const TO: Address = address!("0x5FbDB2315678afecb367f032d93F642f64180aa3");
const FROM: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");

fn given() -> RunInput {
    RunInput {
        limits: Limits {
            gas: GasLimits {
                of_job: Some(500_000),
                ..GasLimits::default()
            },
            ..Limits::default()
        },
        ..input([
            ("to", Value::Address(TO)),
            ("data", Value::from("0x0102")),
            ("raw", Value::from(vec![1u8, 2])),
            ("from", Value::List(vec![Value::Address(FROM)])),
            ("one", Value::Address(FROM)),
            ("number", Value::Uint(9)),
        ])
    }
}

async fn call(attributes: &str) -> (Outcome, Option<EthCall>) {
    let world = World::default().contract(Ok(bytes!("0xabcd")));
    let source = format!("a [type=ethcall contract=\"{TO}\" {attributes}]");
    let (outcome, world) = run_in(&source, world, given()).await;
    let made = world.chain_calls.lock().unwrap().first().cloned();
    (outcome, made)
}

#[tokio::test]
async fn a_contract_is_read_with_what_the_task_says() {
    let (outcome, made) = call("data=\"$(data)\"").await;
    assert_eq!(output(&outcome, "a"), &Value::from(vec![0xabu8, 0xcd]));
    let expected = EthCall {
        evm_chain_id: 31337,
        to: TO,
        data: bytes!("0x0102"),
        from: Address::ZERO,
        gas: Some(500_000),
        gas_price: None,
        gas_tip_cap: None,
        gas_fee_cap: None,
        block: BlockChoice::Latest,
    };
    assert_eq!(made, Some(expected.clone()));
    let (_, made) = call(&format!(
        "data=\"$(raw)\" from=\"{FROM}\" gas=21000 gasPrice=1 gasTipCap=\"$(number)\" gasFeeCap=\"20000000000000000000\" block=PENDING evmChainID=5"
    ))
    .await;
    assert_eq!(
        made,
        Some(EthCall {
            evm_chain_id: 5,
            from: FROM,
            gas: Some(21_000),
            gas_price: Some(U256::from(1)),
            gas_tip_cap: Some(U256::from(9)),
            gas_fee_cap: Some(U256::from(20_000_000_000_000_000_000u128)),
            block: BlockChoice::Pending,
            ..expected
        })
    );
    assert_eq!(
        call("data=\"$(raw)\" gasUnlimited=true")
            .await
            .1
            .unwrap()
            .gas,
        None
    );
}

#[tokio::test]
async fn call_data_may_be_a_json_string_or_bare_hex() {
    for data in [
        r#"data="\"0x0102\"""#,
        "data=\"0x0102\"",
        "data=<\"0x0102\">",
    ] {
        assert_eq!(call(data).await.1.unwrap().data, bytes!("0x0102"), "{data}");
    }
}

#[tokio::test]
async fn reads_that_make_no_sense_are_refused() {
    for (attributes, words) in [
        ("", "data: parameter is empty"),
        ("data=\"\\\"\\\"\"", "data: must not be empty"),
        (
            "data=\"$(raw)\" gas=1 gasUnlimited=true",
            "gas: must be zero",
        ),
        (
            "data=\"$(raw)\" block=finalized",
            "block: \"finalized\" is neither",
        ),
        ("data=\"$(raw)\" evmChainID=x", "invalid EVM chain ID"),
        (
            "data=\"$(raw)\" gasPrice=\"-1\"",
            "gasPrice: \"-1\" does not fit 256 bits",
        ),
        (
            "data=\"$(raw)\" contract=\"0x12\"",
            "contract: \"0x12\" is not an address",
        ),
    ] {
        let (outcome, made) = call(attributes).await;
        assert!(
            error(&outcome, "a").contains(words),
            "{attributes}: {}",
            error(&outcome, "a")
        );
        assert_eq!(made, None);
    }
}

#[tokio::test]
async fn without_a_chain_of_the_job_the_task_must_name_one() {
    let (outcome, _) = run_in(
        &format!("a [type=ethcall contract=\"{TO}\" data=\"0x01\"]"),
        World::default(),
        RunInput::default(),
    )
    .await;
    assert!(
        error(&outcome, "a").ends_with("keypath not found"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_revert_is_explained_where_the_task_asks_for_it() {
    let reverted = || EthCallError::Rpc {
        code: 3,
        message: "execution reverted".into(),
        data: Some("0x08c379a0".into()),
    };
    for (attribute, text) in [
        ("", "execution reverted"),
        (
            "extractRevertReason=true",
            "eth_call failed with code 3: execution reverted; data: 0x08c379a0",
        ),
    ] {
        let source = format!("a [type=ethcall contract=\"{TO}\" data=\"0x01\" {attribute}]");
        let (outcome, _) =
            run_in(&source, World::default().contract(Err(reverted())), given()).await;
        assert_eq!(error(&outcome, "a"), text);
    }
}

async fn tx(attributes: &str) -> Result<TxIntent, String> {
    let source = format!("a [type=ethtx to=\"{TO}\" data=\"0x0102\" {attributes}]");
    let (outcome, _) = run_in(&source, World::default(), given()).await;
    match outcome.transactions.first() {
        Some(intent) => Ok(intent.clone()),
        None => Err(error(&outcome, "a").to_owned()),
    }
}

#[tokio::test]
async fn a_transaction_is_asked_for_with_what_the_task_says() {
    let intent = tx("").await.unwrap();
    assert_eq!(
        (intent.to, &intent.data, intent.from.is_empty()),
        (TO, &bytes!("0x0102"), true)
    );
    assert_eq!(
        (
            intent.gas_limit,
            intent.min_confirmations,
            intent.fail_on_revert
        ),
        (Some(500_000), None, false)
    );
    assert_eq!(intent.evm_chain_id, 31337);
    assert_eq!(intent.tx_meta, json!({"jobID": 7}));
    assert_eq!(intent.transmit_checker, json!(null));

    let intent = tx(&format!(
        r#"from=<["{FROM}"]> gasLimit="$(number)" minConfirmations=3 failOnRevert=true evmChainID="1"
           txMeta=<{{"requestID": $(data), "JobID": 1}}> transmitChecker=<{{"CheckerType": "simulate"}}>"#
    ))
    .await
    .unwrap();
    assert_eq!(intent.from, [FROM]);
    assert_eq!(
        (
            intent.gas_limit,
            intent.min_confirmations,
            intent.fail_on_revert
        ),
        (Some(9), Some(3), true)
    );
    assert_eq!(intent.evm_chain_id, 1);
    assert_eq!(intent.tx_meta, json!({"jobID": 7, "requestID": "0x0102"}));
    assert_eq!(intent.transmit_checker, json!({"CheckerType": "simulate"}));
}

#[tokio::test]
async fn senders_come_as_a_list_or_alone() {
    for from in [
        format!("from=<[\"{FROM}\"]>"),
        format!("from=\"{FROM}\""),
        "from=\"$(from)\"".to_owned(),
        "from=\"$(one)\"".to_owned(),
        "from=<[$(one)]>".to_owned(),
        "from=<[ $(from.0) ]>".to_owned(),
    ] {
        assert_eq!(tx(&from).await.unwrap().from, [FROM], "{from}");
    }
}

#[tokio::test]
async fn transactions_that_make_no_sense_are_refused() {
    for (attributes, words) in [
        ("to=\"\"", "to: parameter is empty"),
        ("data=\"\"", "data: parameter is empty"),
        (
            "to=\"0x5FbDB2315678afecb367f032d93F642f64180aaz\"",
            "is not an address: bad input for task",
        ),
        ("from=\"x\"", "from: malformed JSON"),
        (
            "gasLimit=x",
            "gasLimit: \"x\" is not an unsigned 64-bit number",
        ),
        (
            "minConfirmations=-1",
            "minConfirmations: \"-1\" is not an unsigned",
        ),
        ("failOnRevert=maybe", "failOnRevert: \"maybe\" is neither"),
        (
            "txMeta=<{\"requestIDD\": 1}>",
            "txMeta: unknown key \"requestIDD\"; did you mean \"requestID\"?",
        ),
        (
            "transmitChecker=<{\"x\": 1}>",
            "transmitChecker: unknown key \"x\"",
        ),
        ("evmChainID=\"one\"", "invalid EVM chain ID"),
    ] {
        let text = tx(attributes).await.unwrap_err();
        assert!(text.contains(words), "{attributes}: {text}");
    }
}

#[tokio::test]
async fn a_transaction_behind_a_failure_is_not_asked_for() {
    let source = format!("x [type=fail msg=no]; a [type=ethtx to=\"{TO}\" data=\"0x01\"]; x -> a");
    let (outcome, _) = run_in(&source, World::default(), given()).await;
    assert!(outcome.transactions.is_empty());
    assert!(error(&outcome, "a").ends_with("too many errors"));
}

#[tokio::test]
async fn a_literal_sender_counts_in_an_estimate() {
    let source = format!("a [type=estimategaslimit to=\"{TO}\" data=\"0x01\" from=\"{FROM}\"]");
    let (_, world) = run_in(&source, World::default().gas(Ok(1)), given()).await;
    assert_eq!(world.estimates.lock().unwrap()[0].from, FROM);
}

async fn estimate(attributes: &str, answer: Result<u64, EthCallError>) -> Outcome {
    let source = format!("a [type=estimategaslimit to=\"{TO}\" data=\"0x01\" {attributes}]");
    run_in(&source, World::default().gas(answer), given())
        .await
        .0
}

#[tokio::test]
async fn an_estimate_is_multiplied_truncated_and_capped() {
    for (attributes, gas, expected) in [
        ("", 100_001, 100_001),
        ("multiplier=\"1.5\"", 100_001, 150_001),
        ("multiplier=10", 100_001, 500_000),
    ] {
        let outcome = estimate(attributes, Ok(gas)).await;
        assert_eq!(
            output(&outcome, "a"),
            &Value::Uint(expected),
            "{attributes}"
        );
    }
}

#[tokio::test]
async fn without_an_estimate_the_limit_is_the_answer() {
    let outcome = estimate("", Err(EthCallError::Unavailable("no endpoint".into()))).await;
    assert_eq!(output(&outcome, "a"), &Value::Uint(500_000));
    let outcome = estimate("", Err(EthCallError::UnknownChain { evm_chain_id: 5 })).await;
    assert!(error(&outcome, "a").starts_with("invalid EVM chain ID"));
}

#[tokio::test]
async fn where_a_job_has_no_limit_the_one_of_the_tasks_chain_counts() {
    let given = || RunInput {
        limits: Limits {
            gas: GasLimits {
                of_job: None,
                of_chains: [(5, 300_000), (31337, 700_000)].into(),
            },
            ..Limits::default()
        },
        ..input([])
    };
    let gone = || Err(EthCallError::Unavailable("no endpoint".into()));
    for (chain, expected) in [(5, 300_000), (31337, 700_000)] {
        let source =
            format!("a [type=estimategaslimit to=\"{TO}\" data=\"0x01\" evmChainID={chain}]");
        let (outcome, _) = run_in(&source, World::default().gas(gone()), given()).await;
        assert_eq!(output(&outcome, "a"), &Value::Uint(expected));
        let source = format!("a [type=ethtx to=\"{TO}\" data=\"0x01\" evmChainID={chain}]");
        let (outcome, _) = run_in(&source, World::default(), given()).await;
        assert_eq!(outcome.transactions[0].gas_limit, Some(expected));
    }
}
