//! What each target does with its bytes: bytes from strangers go in, and whatever happens must be an
//! answer or an error that says where and why.
//!
//! `cargo fuzz` finds the targets through `fuzz_targets/`; the tests of `dodona-pipeline` include this
//! very file and run every target in seeded loops, because cargo-fuzz needs a nightly toolchain.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use dodona_pipeline::egress::HttpError;
use dodona_pipeline::{
    BridgeTarget, EstimateGas, EthCall, EthCallError, HttpCall, HttpReply, JobSpec, ParseError,
    Pipeline, Ports, RunInput, Schedule, TaskResult, Value, decimal, execute, legacy, lint,
    read_first_json, read_json,
};
use tokio::runtime::{Builder, Runtime};

/// Withstands any bytes, or panics.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("dot", dot),
    ("spec", spec),
    ("legacy", legacy),
    ("json", json),
    ("decimals", decimals),
    ("keypaths", keypaths),
    ("jsonparse", jsonparse),
    ("cbor", cbor),
    ("abi_decode", abi_decode),
    ("abi_encode", abi_encode),
    ("abi_signature", abi_signature),
    ("parameters", parameters),
    ("stored", stored),
    ("schedule", schedule),
];

/// A pipeline source.
pub fn dot(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = Pipeline::parse(&text) {
        names_its_place(&text, &error);
    }
}

/// A TOML spec, read and linted.
pub fn spec(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = JobSpec::parse(&text) {
        is_a_sentence(&error.to_string());
    }
    for finding in lint::lint(&text, &lint::Facts::default()) {
        is_a_sentence(&finding.message);
    }
}

/// A 0.x spec; what is made of it must be readable.
pub fn legacy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let options = legacy::Options {
        evm_chain_id: Some(1),
        ..Default::default()
    };
    for job in legacy::import(&text, &options).jobs {
        JobSpec::parse(&job.toml).expect("a converted job is read");
    }
}

/// JSON from strangers. There are never more values than bytes.
pub fn json(data: &[u8]) {
    match read_first_json(data) {
        Ok(value) => {
            assert!(nodes(&value) <= data.len());
            let written = value.to_output_json();
            read_json(&written).expect("what we write we read");
        }
        Err(error) => is_a_sentence(&error.to_string()),
    }
}

/// Decimals: what is written is read back the same.
pub fn decimals(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match decimal::parse(&text) {
        Ok(number) => {
            assert!(decimal::fits(&number));
            let written = decimal::to_text(&number);
            assert!(written.len() <= 2 * decimal::MAX_DIGITS + 3);
            assert_eq!(decimal::parse(&written).as_ref(), Ok(&number));
        }
        Err(error) => is_a_sentence(&error),
    }
    if let Some((a, b)) = text.split_once(' ') {
        let x = pairs(&[("a", a), ("b", b)]);
        run(
            "t [type=multiply input=\"$(x.a)\" times=\"$(x.b)\"]",
            x.clone(),
        );
        run(
            "t [type=divide input=\"$(x.a)\" divisor=\"$(x.b)\" precision=\"$(x.b)\"]",
            x.clone(),
        );
        run(
            "t [type=mean values=<[$(x.a), $(x.b)]> precision=\"$(x.a)\"]",
            x,
        );
    }
}

/// Key paths of expressions, and paths of `jsonparse`.
pub fn keypaths(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let document = r#"{"a":[{"b":1},[2]],"":{"c":null}}"#;
    let x = pairs(&[("document", document), ("path", &text)]);
    let parse = "t [type=jsonparse data=\"$(x.document)\" path=\"$(x.path)\"";
    run(&format!("{parse} lax=true]"), x.clone());
    run(&format!("{parse} separator=\"/\"]"), x);
    let path: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
        .collect();
    let tree = read_first_json(document.as_bytes()).expect("this is JSON");
    run(&format!("t [type=memo value=<$(x.{path})>]"), tree.clone());
    run(
        &format!("t [type=lowercase input=\"$(x.{path})\" msg=<{path}>]"),
        tree,
    );
}

/// A document through the task.
pub fn jsonparse(data: &[u8]) {
    let x = Value::from(data.to_vec());
    run("t [type=jsonparse data=\"$(x)\" path=\"a,0,b\"]", x.clone());
    run("t [type=jsonparse data=\"$(x)\" path=\"-1\" lax=true]", x);
}

/// CBOR, both modes. There are never more values than bytes, the outer map aside.
pub fn cbor(data: &[u8]) {
    let x = Value::from(data.to_vec());
    for mode in ["diet", "standard"] {
        let source = format!("t [type=cborparse data=\"$(x)\" mode={mode}]");
        if let Some(value) = run(&source, x.clone()) {
            assert!(nodes(&value) <= data.len() + 1);
        }
    }
}

/// Contract data, as arguments and as logs.
pub fn abi_decode(data: &[u8]) {
    const SIGNATURES: &[&str] = &[
        "uint8 a, bytes b, string[] c, int64[2][] d",
        "uint256[][][][] a",
        "bytes[2] a, bool b, address[] c",
        "bytes3 a, int24 b, string[2][] c",
    ];
    let x = Value::map([
        ("data", Value::from(data.to_vec())),
        (
            "topics",
            data.chunks_exact(32)
                .map(|word| Value::from(word.to_vec()))
                .collect::<Vec<_>>()
                .into(),
        ),
    ]);
    for signature in SIGNATURES {
        let source = format!("t [type=ethabidecode abi=\"{signature}\" data=\"$(x.data)\"]");
        let Some(value) = run(&source, x.clone()) else {
            continue;
        };
        assert!(nodes(&value) <= 200_010);
        // No data is an empty map, which is not enough to encode.
        if data.is_empty() {
            continue;
        }
        // What was read can be written, and is read again as the same.
        let inputs = Value::map([("data", value.clone())]);
        let source = format!("t [type=ethabiencode abi=\"({signature})\" data=\"$(x.data)\"]");
        let Some(Value::String(hex)) = run(&source, inputs) else {
            panic!("{signature}: {value:?} cannot be encoded");
        };
        let again = Value::map([("data", Value::String(hex))]);
        let source = format!("t [type=ethabidecode abi=\"{signature}\" data=\"$(x.data)\"]");
        assert_eq!(run(&source, again), Some(value), "{signature}");
    }
    run(
        "t [type=ethabidecodelog abi=\"E(uint8 indexed a, bytes b, string indexed c)\" data=\"$(x.data)\" topics=\"$(x.topics)\"]",
        x,
    );
}

/// Values to encode.
pub fn abi_encode(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let x = match read_first_json(data) {
        Ok(value) => value,
        Err(_) => Value::String(text.into_owned()),
    };
    for ty in [
        "uint64",
        "int256",
        "uint8[]",
        "bytes",
        "bytes5",
        "string",
        "bool",
        "address",
        "int8[2][]",
        "string[]",
    ] {
        run(
            &format!("t [type=ethabiencode abi=\"f({ty} a)\" data=<{{\"a\": $(x)}}>]"),
            x.clone(),
        );
    }
    let tuple = r#"{"name":"f","inputs":[{"name":"a","type":"tuple[]","components":[{"name":"b","type":"uint8"},{"name":"c","type":"string"}]}]}"#;
    run(
        &format!("t [type=ethabiencode2 abi=<{tuple}> data=<{{\"a\": $(x)}}>]"),
        x.clone(),
    );
    run(
        "t [type=ethabiencode abi=\"f(uint64 a, bytes b)\" data=\"$(x)\"]",
        x,
    );
}

/// Signatures, in words and in JSON.
pub fn abi_signature(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, '"' | '\\' | '<' | '>'))
        .collect();
    for task in ["ethabiencode", "ethabidecode", "ethabidecodelog"] {
        let source = format!("t [type={task} abi=\"{plain}\"]");
        if let Err(error) = Pipeline::parse(&source) {
            names_its_place(&source, &error);
        }
    }
    let json: String = text.chars().filter(|c| !matches!(c, '<' | '>')).collect();
    let source = format!("t [type=ethabiencode2 abi=<{json}>]");
    if let Err(error) = Pipeline::parse(&source) {
        names_its_place(&source, &error);
    }
}

/// Parameters that are JSON with expressions in it, and texts that become lists, maps, numbers.
pub fn parameters(data: &[u8]) {
    let text: String = String::from_utf8_lossy(data)
        .chars()
        .filter(|c| !matches!(c, '<' | '>' | '"' | '\\'))
        .collect();
    let quoted = text.replace('\'', "\\\"");
    let x = Value::map([
        ("a", Value::from(text.as_str())),
        ("b", Value::from(vec![Value::Int(1), Value::Null])),
    ]);
    for parameter in [
        "median values",
        "memo value",
        "merge right=<{}> left",
        "bridge name=b requestData",
        "http url=<http://h/> headers",
        "ethtx data=<0x01> to=<0x0000000000000000000000000000000000000001> evmChainID=1 from",
        "ethcall data=<0x01> evmChainID=1 contract",
        "divide input=1 divisor=3 precision",
    ] {
        run(&format!("t [type={parameter}=\"{quoted}\"]"), x.clone());
    }
}

/// Values as our own rows keep them, damaged.
pub fn stored(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let json = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text.into_owned()));
    match Value::from_stored(&json) {
        Ok(value) => {
            let back = Value::from_stored(&value.to_stored());
            // Not a number is not equal to itself.
            assert!(back.as_ref() == Ok(&value) || format!("{value:?}").contains("NaN"));
        }
        Err(error) => is_a_sentence(&error.to_string()),
    }
}

/// The schedule of a cron job.
pub fn schedule(data: &[u8]) {
    if let Err(error) = Schedule::parse(&String::from_utf8_lossy(data)) {
        is_a_sentence(&error.to_string());
    }
}

fn pairs(entries: &[(&str, &str)]) -> Value {
    Value::map(entries.iter().map(|(k, v)| (*k, Value::from(*v))))
}

fn is_a_sentence(text: &str) {
    assert!(!text.trim().is_empty(), "an error without a text");
    assert!(!text.contains("mistake in this program"), "{text}");
}

/// Line and column lie inside the source, and a caret stands under the character.
fn names_its_place(source: &str, error: &ParseError) {
    let text = error.to_string();
    is_a_sentence(&text);
    let Some(place) = error.place else {
        return;
    };
    let lines = source.split('\n').count();
    assert!(
        (1..=lines).contains(&place.line),
        "{place} of {lines} lines: {text}"
    );
    let line = source
        .split('\n')
        .nth(place.line - 1)
        .expect("just counted");
    assert!(
        (1..=line.chars().count() + 1).contains(&place.column),
        "{place}: {text}"
    );
    let last = text.lines().last().unwrap_or_default();
    assert!(last.trim_end().ends_with('^'), "no caret: {text}");
}

/// Values in a value, itself included.
fn nodes(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(nodes).sum::<usize>(),
        Value::Map(entries) => 1 + entries.values().map(nodes).sum::<usize>(),
        _ => 1,
    }
}

/// Runs the pipeline with the variable `x`; what the task `t` made of it, unless it failed. A panic
/// inside a task is caught by the engine and becomes its error, so it is looked for there.
fn run(source: &str, x: Value) -> Option<Value> {
    let Ok(pipeline) = Pipeline::parse(source) else {
        return None;
    };
    let input = RunInput {
        vars: BTreeMap::from([("x".to_owned(), x)]),
        ..RunInput::default()
    };
    let outcome = block_on(execute(&pipeline, input, Arc::new(Nobody)));
    for error in outcome.all_errors.iter().flatten() {
        assert!(!error.contains("panicked"), "{source}: {error}");
        is_a_sentence(error);
    }
    outcome.outputs.into_iter().next().flatten()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        let build = || Builder::new_current_thread().enable_time().build();
        runtime
            .get_or_init(|| build().expect("a runtime without threads of its own"))
            .block_on(future)
    })
}

/// A world in which nobody answers.
struct Nobody;

type Later<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn at_once<'a, T: Send + 'a>(value: T) -> Later<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Ports for Nobody {
    fn http(&self, _: HttpCall) -> Later<'_, Result<HttpReply, HttpError>> {
        at_once(Err(HttpError::TimedOut))
    }
    fn bridge(&self, _: &str) -> Later<'_, Result<BridgeTarget, String>> {
        at_once(Err("there is no bridge".to_owned()))
    }
    fn eth_call(&self, _: EthCall) -> Later<'_, Result<alloy::primitives::Bytes, EthCallError>> {
        at_once(Err(EthCallError::Unavailable("no endpoint".to_owned())))
    }
    fn estimate_gas(&self, _: EstimateGas) -> Later<'_, Result<u64, EthCallError>> {
        at_once(Err(EthCallError::Unavailable("no endpoint".to_owned())))
    }
    fn finished<'a>(&'a self, _: &'a TaskResult) -> Later<'a, ()> {
        at_once(())
    }
}
