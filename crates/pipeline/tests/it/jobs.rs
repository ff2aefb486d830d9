//! Our own specs, from the log of a request to the data of its answer.

use alloy::dyn_abi::DynSolValue;
use alloy::primitives::{Address, B256, Bytes, FixedBytes, U256, address, keccak256};
use dodona_pipeline::{JobSpec, Outcome, Ports, RunInput, RunState, TxIntent, Value, execute};
use std::sync::Arc;

use crate::fake::World;

const CALLBACK: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
pub(crate) const REQUEST_ID: B256 = B256::repeat_byte(0x11);

fn cbor(pairs: &[(&str, ciborium::Value)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in pairs {
        ciborium::into_writer(key, &mut out).unwrap();
        ciborium::into_writer(value, &mut out).unwrap();
    }
    out
}

/// Variables as the node sets them for a request.
fn request(spec: &JobSpec, parameters: Vec<u8>) -> RunInput {
    let word = |n: u64| DynSolValue::Uint(U256::from(n), 256);
    let data = DynSolValue::Tuple(vec![
        DynSolValue::Address(CALLBACK),
        DynSolValue::FixedBytes(REQUEST_ID, 32),
        word(1_000),
        DynSolValue::Address(CALLBACK),
        DynSolValue::FixedBytes(B256::right_padding_from(&[0xaa, 0xbb, 0xcc, 0xdd]), 4),
        word(1_700_000_000),
        word(1),
        DynSolValue::Bytes(parameters),
    ])
    .abi_encode_params();
    let topics = vec![
        Value::Hash(keccak256(
            "OracleRequest(bytes32,address,bytes32,uint256,address,bytes4,uint256,uint256,bytes)",
        )),
        Value::Hash(B256::repeat_byte(7)),
    ];
    let job_run = Value::map([
        ("logData", Value::from(data)),
        ("logTopics", Value::List(topics)),
        (
            "meta",
            Value::map([(
                "oracleRequest",
                Value::map([("payment", Value::from("1000"))]),
            )]),
        ),
    ]);
    let job_spec = Value::map([
        ("externalJobID", Value::from(spec.external_job_id)),
        ("evmChainID", Value::from("31337")),
    ]);
    RunInput {
        vars: [
            ("jobRun".to_owned(), job_run),
            ("jobSpec".to_owned(), job_spec),
        ]
        .into(),
        ..RunInput::default()
    }
}

/// The same, with parameters as a contract writes them.
pub(crate) fn request_log(spec: &JobSpec, parameters: &[(&str, ciborium::Value)]) -> RunInput {
    request(spec, cbor(parameters))
}

fn spec(name: &str) -> JobSpec {
    let path = format!(
        "{}/../../testdata/specs/{name}.toml",
        env!("CARGO_MANIFEST_DIR")
    );
    JobSpec::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

async fn answer(name: &str, world: World, parameters: Vec<u8>) -> (Outcome, Arc<World>) {
    let spec = spec(name);
    let world = Arc::new(world);
    let ports = Arc::clone(&world) as Arc<dyn Ports>;
    let outcome = execute(&spec.pipeline, request(&spec, parameters), ports).await;
    (outcome, world)
}

fn the_transaction(outcome: &Outcome) -> &TxIntent {
    assert_eq!(outcome.state, RunState::Suspended, "{outcome:#?}");
    assert_eq!(outcome.transactions.len(), 1);
    &outcome.transactions[0]
}

pub(crate) fn single_word(value: U256) -> Bytes {
    let data = DynSolValue::Tuple(vec![
        DynSolValue::FixedBytes(REQUEST_ID, 32),
        DynSolValue::Uint(U256::from(1_000), 256),
        DynSolValue::Address(CALLBACK),
        DynSolValue::FixedBytes(B256::right_padding_from(&[0xaa, 0xbb, 0xcc, 0xdd]), 4),
        DynSolValue::Uint(U256::from(1_700_000_000), 256),
        DynSolValue::FixedBytes(FixedBytes(value.to_be_bytes()), 32),
    ]);
    [vec![0x4a, 0xb0, 0xd1, 0x90], data.abi_encode_params()]
        .concat()
        .into()
}

pub(crate) fn multi_word(words: DynSolValue) -> Bytes {
    let data = DynSolValue::Tuple(vec![
        DynSolValue::FixedBytes(REQUEST_ID, 32),
        DynSolValue::Uint(U256::from(1_000), 256),
        DynSolValue::Address(CALLBACK),
        DynSolValue::FixedBytes(B256::right_padding_from(&[0xaa, 0xbb, 0xcc, 0xdd]), 4),
        DynSolValue::Uint(U256::from(1_700_000_000), 256),
        DynSolValue::Bytes(words.abi_encode_params()),
    ]);
    [vec![0x6a, 0xe0, 0xbc, 0x76], data.abi_encode_params()]
        .concat()
        .into()
}

#[tokio::test]
async fn one_number_is_fetched_scaled_and_answered() {
    let world = World::default().answers(
        "http://127.0.0.1:9/price",
        200,
        r#"{"data":[{"price":1234.56789}]}"#,
    );
    let parameters = cbor(&[
        ("get", "http://127.0.0.1:9/price".into()),
        ("path", "data,0,price".into()),
        ("times", 1_000_000_000_000_000_000u64.into()),
    ]);
    let (outcome, _) = answer("get-uint256", world, parameters).await;
    let intent = the_transaction(&outcome);
    assert_eq!(
        intent.data,
        single_word(U256::from(1_234_567_890_000_000_000_000u128))
    );
    assert_eq!(
        (intent.min_confirmations, intent.fail_on_revert),
        (Some(1), true)
    );
}

#[tokio::test]
async fn without_times_the_number_is_answered_as_it_is() {
    let world = World::default().answers("http://127.0.0.1:9/", 200, "[41, 42.9]");
    let parameters = cbor(&[("get", "http://127.0.0.1:9/".into()), ("path", "-1".into())]);
    let (outcome, _) = answer("get-uint256", world, parameters).await;
    assert_eq!(the_transaction(&outcome).data, single_word(U256::from(42)));
}

#[tokio::test]
async fn two_numbers_are_answered_in_one_transaction() {
    let world = World::default()
        .answers("http://127.0.0.1:9/bid", 200, r#"{"v":10.5}"#)
        .answers("http://127.0.0.1:9/ask", 200, r#"{"v":{"w":"11.25"}}"#);
    let parameters = cbor(&[
        ("bidUrl", "http://127.0.0.1:9/bid".into()),
        ("bidPath", "v".into()),
        ("askUrl", "http://127.0.0.1:9/ask".into()),
        ("askPath", "v,w".into()),
    ]);
    let (outcome, _) = answer("multiword", world, parameters).await;
    let words = DynSolValue::Tuple(vec![
        DynSolValue::FixedBytes(REQUEST_ID, 32),
        DynSolValue::Uint(U256::from(1050), 256),
        DynSolValue::Uint(U256::from(1125), 256),
    ]);
    assert_eq!(the_transaction(&outcome).data, multi_word(words));
}

#[tokio::test]
async fn a_bridge_is_asked_and_its_text_answered() {
    let world = World::default()
        .bridge("weather", "http://127.0.0.1:9/")
        .answers(
            "http://127.0.0.1:9/",
            200,
            r#"{"data":{"result":"sunny, 21°"}}"#,
        );
    let (outcome, world) = answer("bridge", world, cbor(&[("city", "Oslo".into())])).await;
    let words = DynSolValue::Tuple(vec![
        DynSolValue::FixedBytes(REQUEST_ID, 32),
        DynSolValue::String("sunny, 21°".into()),
    ]);
    assert_eq!(the_transaction(&outcome).data, multi_word(words));
    let sent = String::from_utf8(world.the_call().body.unwrap()).unwrap();
    assert_eq!(
        sent,
        r#"{"data":{"city":"Oslo","unit":"celsius"},"id":"e5b80d93-6c1f-4f27-a4d8-70c9e13b5a62","meta":{"oracleRequest":{"payment":"1000"}}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_answers_with_garbage_ends_the_run_with_task_and_reason() {
    let world = World::default().answers("http://127.0.0.1:9/", 200, "<html>");
    let parameters = cbor(&[("get", "http://127.0.0.1:9/".into()), ("path", "v".into())]);
    let (outcome, _) = answer("get-uint256", world, parameters).await;
    assert_eq!(
        (outcome.state, outcome.transactions.len()),
        (RunState::Errored, 0)
    );
    assert!(crate::fake::error(&outcome, "number").contains("malformed JSON"));
    assert!(
        outcome.fatal_errors[0]
            .as_deref()
            .unwrap()
            .ends_with("too many errors")
    );
}
