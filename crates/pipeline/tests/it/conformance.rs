//! Runs `testdata/pipeline/*.toml`: one row per documented behaviour of a task.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy::primitives::Bytes;
use dodona_pipeline::egress::HttpError;
use dodona_pipeline::{
    BlockChoice, EstimateGas, EthCall, EthCallError, HttpCall, HttpReply, Limits, Outcome,
    Pipeline, Reach, RunInput, RunState, StoredResult, TaskType, TxIntent, Value,
};
use serde_json::{Value as Json, json};
use toml::Table;
use uuid::{Uuid, uuid};

use crate::fake::{World, input, run_in};

/// There may be more rows, never fewer.
const STORED_COUNT: usize = 1_523;
/// Of the task `t`.
const TASK_RUN: Uuid = uuid!("0f3a61c4-92d0-4f0e-8f0b-3c2f7c0d5e11");

/// Everything a row may say; anything else is a slip of the pen.
const KEYS: &[&str] = &[
    "says",
    "task",
    "vars",
    "inputs",
    "failed",
    "output",
    "error",
    "reply",
    "bridge",
    "remembers",
    "keeps",
    "sent",
    "contract",
    "called",
    "gas",
    "estimated",
    "transaction",
    "state",
    "limits",
    "pending",
];

fn text<'a>(row: &'a Table, key: &str) -> Option<&'a str> {
    row.get(key).map(|v| {
        v.as_str()
            .unwrap_or_else(|| panic!("{key} of {row} is no text"))
    })
}

fn read(json: &str) -> Json {
    serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

/// A value in the stored form, which says its type.
fn value(json: &str) -> Value {
    Value::from_stored(&read(json)).unwrap_or_else(|e| panic!("{json}: {e}"))
}

/// All rows of all files, with the file's name.
pub(crate) fn rows() -> Vec<(String, Table)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/pipeline");
    let mut rows = Vec::new();
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let table: Table = std::fs::read_to_string(&path)
            .unwrap()
            .parse()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        for row in table["row"].as_array().unwrap() {
            rows.push((name.clone(), row.as_table().unwrap().clone()));
        }
    }
    rows
}

/// The source and what is there before: `in0 -> t; in1 -> t` with the inputs already finished.
fn scene(row: &Table) -> (String, RunInput) {
    let mut given = input([]);
    given.task_run_ids.insert("t".to_owned(), TASK_RUN);
    if let Some(limits) = text(row, "limits") {
        given.limits = limits_of(&read(limits));
    }
    if let Some(vars) = text(row, "vars") {
        let Value::Map(vars) = value(vars) else {
            panic!("vars of {row} are no map")
        };
        given.vars.extend(vars);
        // A row without a chain of the job says so.
        given.vars.retain(|_, v| *v != Value::from("(none)"));
    }
    let mut source = format!("t [{}]\n", text(row, "task").expect("each row has a task"));
    for (n, each) in row
        .get("inputs")
        .and_then(|v| v.as_array())
        .into_iter()
        .flatten()
        .enumerate()
    {
        let each = each.as_str().expect("inputs are texts");
        let output = match each.strip_prefix("ERROR ") {
            Some(error) => Err(error.to_owned()),
            None => Ok(value(each)),
        };
        source.push_str(&format!("in{n} [type=memo index={n}]; in{n} -> t\n"));
        given
            .finished
            .insert(format!("in{n}"), StoredResult { output });
    }
    if let Some(name) = text(row, "failed") {
        source.push_str(&format!("{name} [type=memo]\n"));
        given.finished.insert(
            name.to_owned(),
            StoredResult {
                output: Err("it failed".into()),
            },
        );
    }
    (source, given)
}

fn limits_of(json: &Json) -> Limits {
    let mut limits = Limits::default();
    for (key, value) in json.as_object().unwrap() {
        let seconds = || Duration::from_secs(value.as_u64().unwrap());
        match key.as_str() {
            "gas_limit" => limits.gas.of_job = value.as_u64(),
            "bridge_cache_ttl_seconds" => limits.bridge_cache_ttl = seconds(),
            "default_http_timeout_seconds" => limits.default_http_timeout = Some(seconds()),
            "max_response_bytes" => limits.max_response_bytes = value.as_u64().unwrap() as usize,
            "bridge_response_url" => {
                limits.bridge_response_url = value.as_str().map(str::to_owned);
            }
            other => panic!("no limit is called {other}"),
        }
    }
    limits
}

/// What the world answers.
fn world(row: &Table) -> World {
    let mut world = World::default();
    match text(row, "bridge") {
        Some("") => {}
        Some(url) => world = world.bridge("b", url),
        None => world = world.bridge("b", "http://adapter.example/ask"),
    }
    if let Some(reply) = text(row, "reply") {
        world = world.answers_anybody(http_answer(reply));
    }
    if let Some(earlier) = text(row, "remembers") {
        world = world.remembers(value(earlier));
    }
    if let Some(answer) = text(row, "contract") {
        world = world.contract(match chain_answer(answer) {
            Ok(hex) => Ok(hex.parse::<Bytes>().unwrap()),
            Err(error) => Err(error),
        });
    }
    if let Some(answer) = text(row, "gas") {
        world = world.gas(chain_answer(answer).map(|gas| gas.parse().unwrap()));
    }
    world
}

/// `200 body`, `200 {"header": "value"} body`, or a failure in words.
fn http_answer(text: &str) -> Result<HttpReply, HttpError> {
    let failed = |reason: &str| HttpError::Failed {
        host: "source.example".to_owned(),
        reason: reason.to_owned(),
    };
    if let Some(reason) = text.strip_prefix("FAILED ") {
        return Err(failed(reason));
    }
    match text {
        "TIMED OUT" => return Err(HttpError::TimedOut),
        "TOO LARGE" => return Err(HttpError::TooLarge { max_bytes: 32_768 }),
        _ => {}
    }
    let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (headers, body) = match rest.strip_prefix("HEADER ").and_then(|r| r.split_once(' ')) {
        Some((header, body)) => {
            let (name, value) = header.split_once('=').unwrap();
            (vec![(name.to_owned(), value.to_owned())], body)
        }
        None => (Vec::new(), rest),
    };
    let body = match body.strip_prefix("HEX ") {
        Some(digits) => hex::decode(digits).unwrap(),
        None => body.as_bytes().to_vec(),
    };
    Ok(HttpReply {
        status: status.parse().unwrap_or_else(|e| panic!("{text}: {e}")),
        headers,
        body: body.into(),
    })
}

/// Text, or `CODE message | data` for an error of the endpoint.
fn chain_answer(text: &str) -> Result<&str, EthCallError> {
    if let Some(reason) = text.strip_prefix("UNAVAILABLE ") {
        return Err(EthCallError::Unavailable(reason.to_owned()));
    }
    if let Some(chain) = text.strip_prefix("UNKNOWN CHAIN ") {
        return Err(EthCallError::UnknownChain {
            evm_chain_id: chain.parse().unwrap(),
        });
    }
    let Some(error) = text.strip_prefix("RPC ") else {
        return Ok(text);
    };
    let (code, rest) = error.split_once(' ').unwrap();
    let (message, data) = match rest.split_once(" | ") {
        Some((message, data)) => (message, Some(data.to_owned())),
        None => (rest, None),
    };
    Err(EthCallError::Rpc {
        code: code.parse().unwrap(),
        message: message.to_owned(),
        data,
    })
}

fn shown_call(call: &HttpCall) -> Json {
    let headers: BTreeMap<String, &str> = call
        .headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str()))
        .collect();
    json!({
        "method": call.method,
        "url": call.url.as_str(),
        "reach": match call.reach { Reach::Restricted => "restricted", Reach::Unrestricted => "unrestricted" },
        "headers": headers,
        "body": call.body.as_deref().map(|b| std::str::from_utf8(b).unwrap()),
        "timeout_seconds": call.timeout.map(|t| t.as_secs_f64()),
        "max_response_bytes": call.max_response_bytes,
        "idempotency_key": call.idempotency_key,
        "bridge": call.origin.bridge,
        "requester_chose_url": call.origin.requester_chose_url,
    })
}

fn shown_block(block: BlockChoice) -> &'static str {
    match block {
        BlockChoice::Latest => "latest",
        BlockChoice::Pending => "pending",
    }
}

fn shown_read(call: &EthCall) -> Json {
    let wei = |amount: Option<alloy::primitives::U256>| amount.map(|a| a.to_string());
    json!({
        "chain": call.evm_chain_id,
        "to": call.to,
        "data": call.data,
        "from": call.from,
        "gas": call.gas,
        "gasPrice": wei(call.gas_price),
        "gasTipCap": wei(call.gas_tip_cap),
        "gasFeeCap": wei(call.gas_fee_cap),
        "block": shown_block(call.block),
    })
}

fn shown_estimate(call: &EstimateGas) -> Json {
    json!({
        "chain": call.evm_chain_id,
        "to": call.to,
        "data": call.data,
        "from": call.from,
        "block": shown_block(call.block),
    })
}

fn shown_transaction(tx: &TxIntent) -> Json {
    json!({
        "chain": tx.evm_chain_id,
        "to": tx.to,
        "data": tx.data,
        "from": tx.from,
        "gasLimit": tx.gas_limit,
        "minConfirmations": tx.min_confirmations,
        "failOnRevert": tx.fail_on_revert,
        "txMeta": tx.tx_meta,
        "transmitChecker": tx.transmit_checker,
        "task_run": tx.task_run_id,
    })
}

/// What a row expects of something that was asked for: each field it names, or that nothing was.
fn compare(what: &str, expected: Option<&str>, got: &[Json], wrong: &mut Vec<String>) {
    match (expected, got) {
        (None, _) | (Some("NOTHING"), []) => {}
        (Some("NOTHING"), some) => {
            wrong.push(format!("{what}: nothing was expected, got {some:?}"))
        }
        (Some(expected), [got]) => {
            for (key, expected) in read(expected).as_object().unwrap() {
                match got.get(key) {
                    Some(got) if same(got, expected) => {}
                    Some(got) => {
                        wrong.push(format!("{what}.{key}: expected {expected}, got {got}"))
                    }
                    None => panic!("{what} has no {key}"),
                }
            }
        }
        (Some(_), other) => wrong.push(format!("{what}: expected one, got {other:?}")),
    }
}

/// Objects are compared in what the row names, where null is nothing; addresses in any letter case.
fn same(got: &Json, expected: &Json) -> bool {
    match (got, expected) {
        (Json::Object(got), Json::Object(expected)) => expected
            .iter()
            .all(|(key, value)| got.get(key).unwrap_or(&Json::Null) == value),
        (Json::String(got), Json::String(expected)) if got.starts_with("0x") => {
            got.eq_ignore_ascii_case(expected)
        }
        (Json::Array(got), Json::Array(expected)) => {
            got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| same(a, b))
        }
        _ => got == expected,
    }
}

fn state(outcome: &Outcome) -> &'static str {
    match outcome.state {
        RunState::Completed => "completed",
        RunState::Errored => "errored",
        RunState::Suspended => "suspended",
        RunState::Dropped => "dropped",
    }
}

/// What is wrong about a row, in sentences.
async fn judge(row: &Table) -> Vec<String> {
    let mut wrong = Vec::new();
    let (source, given) = scene(row);
    let (outcome, world) = run_in(&source, world(row), given).await;
    let result = outcome.results.iter().find(|r| r.dot_id == "t");
    match (text(row, "output"), text(row, "error")) {
        (Some(expected), None) => {
            let got = result.and_then(|r| r.output.as_ref());
            if got != Some(&value(expected)) {
                let got = got.map(|v| v.to_stored().to_string());
                let error = result.and_then(|r| r.error.as_deref());
                wrong.push(format!("expected {expected}, got {got:?} {error:?}"));
            }
        }
        (None, Some(expected)) => {
            let got = result.and_then(|r| r.error.as_deref());
            if !got.is_some_and(|e| e.contains(expected)) {
                let value = result.and_then(|r| r.output.as_ref());
                wrong.push(format!(
                    "expected the error {expected:?}, got {got:?} {value:?}"
                ));
            }
        }
        (None, None) => assert!(
            row.contains_key("transaction")
                || row.contains_key("pending")
                || row.contains_key("sent")
                || row.contains_key("called")
                || row.contains_key("estimated"),
            "a row says what comes of it: {row}"
        ),
        _ => panic!("a row has either an output or an error: {row}"),
    }
    let calls: Vec<Json> = world.calls.lock().unwrap().iter().map(shown_call).collect();
    compare("sent", text(row, "sent"), &calls, &mut wrong);
    let reads: Vec<Json> = world
        .chain_calls
        .lock()
        .unwrap()
        .iter()
        .map(shown_read)
        .collect();
    compare("called", text(row, "called"), &reads, &mut wrong);
    let estimates: Vec<Json> = world
        .estimates
        .lock()
        .unwrap()
        .iter()
        .map(shown_estimate)
        .collect();
    compare("estimated", text(row, "estimated"), &estimates, &mut wrong);
    let transactions: Vec<Json> = outcome.transactions.iter().map(shown_transaction).collect();
    compare(
        "transaction",
        text(row, "transaction"),
        &transactions,
        &mut wrong,
    );
    if let Some(expected) = text(row, "state")
        && expected != state(&outcome)
    {
        wrong.push(format!(
            "expected the run to be {expected}, it is {}",
            state(&outcome)
        ));
    }
    if let Some(expected) = row.get("pending").map(|v| v.as_bool().unwrap())
        && expected == outcome.pending.is_empty()
    {
        wrong.push(format!("pending: {:?}", outcome.pending));
    }
    if let Some(expected) = text(row, "keeps") {
        let kept: Vec<String> = world
            .keeps
            .lock()
            .unwrap()
            .iter()
            .map(|v| v.to_stored().to_string())
            .collect();
        let expected: Vec<String> = match expected {
            "NOTHING" => Vec::new(),
            one => vec![read(one).to_string()],
        };
        if kept != expected {
            wrong.push(format!("keeps: expected {expected:?}, got {kept:?}"));
        }
    }
    wrong
}

#[tokio::test]
async fn every_row_of_the_conformance_table_holds() {
    let rows = rows();
    assert!(rows.len() >= STORED_COUNT, "{} rows", rows.len());
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (file, row) in &rows {
        let says = text(row, "says").expect("each row says something");
        if let Some(key) = row.keys().find(|key| !KEYS.contains(&key.as_str())) {
            panic!("{file}: {says}: there is no {key} in a row");
        }
        let (source, _) = scene(row);
        let pipeline = Pipeline::parse(&source).unwrap_or_else(|e| panic!("{file}: {says}: {e}"));
        let kind = pipeline.task("t").unwrap().type_name();
        seen.insert(kind);
        if !names.insert((kind, says.to_owned())) {
            wrong.push(format!("{file}: {kind}: {says}: said twice"));
        }
        wrong.extend(
            judge(row)
                .await
                .into_iter()
                .map(|why| format!("{file}: {kind}: {says}: {why}")),
        );
    }
    assert!(
        wrong.is_empty(),
        "{} in {} rows:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
    for kind in TaskType::all() {
        assert!(seen.contains(kind.name()), "no row for {}", kind.name());
    }
}
