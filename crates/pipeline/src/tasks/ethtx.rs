//! `ethtx`: asks for a transaction.
//!
//! Nothing is sent or stored here. The task yields an intent; the caller commits it together with
//! the results, under the id of the task run, so that executing again can never send twice.

use std::collections::BTreeMap;

use crate::convert::{
    address, addresses, boolean, map, maybe, owned_bytes, parse_bool, prefixed_hex, uint64,
};
use crate::error::{TaskError, excerpt};
use crate::graph::TaskDef;
use crate::nearest::nearest;
use crate::outcome::TxIntent;
use crate::params::whole_expression;
use crate::value::Value;

use super::{ANY_NUMBER, Task, resolve};

/// Names the reference node knows in `txMeta`; letter case does not matter.
const META_KEYS: &[&str] = &[
    "jobID",
    "requestID",
    "requestTxHash",
    "requestIDs",
    "requestTxHashes",
    "subId",
    "globalSubId",
    "maxLink",
    "maxEth",
    "upkeepID",
    "failOnRevert",
    "fwdrDestAddress",
    "forwarderDestAddress",
    "workflowExecutionID",
    "messageIDs",
    "seqNumbers",
    "forceFulfilled",
    "forceFulfillmentAttempt",
];
const CHECKER_KEYS: &[&str] = &[
    "CheckerType",
    "VRFCoordinatorAddress",
    "VRFRequestBlockNumber",
];

pub(super) fn run(task: &Task<'_>) -> Result<TxIntent, TaskError> {
    task.check_inputs(ANY_NUMBER)?;
    resolve! {
        to = task.param("to").expression().literal().to(address),
        data = task.param("data").expression().literal().to(owned_bytes),
        from = from(task),
        gas_limit = task.param("gasLimit").expression().literal().or("").to(maybe(uint64)),
        tx_meta = task.param("txMeta").expression().json().or(Value::Null).to(map),
        min_confirmations = task.param("minConfirmations").expression().literal().or("").to(maybe(uint64)),
        fail_on_revert = task.param("failOnRevert").literal().or(false).to(boolean),
        transmit_checker = task.param("transmitChecker").expression().json().or(Value::Null).to(map),
        chain = task.chain_id(),
    }
    known_keys("txMeta", tx_meta.keys(), META_KEYS)?;
    known_keys("transmitChecker", transmit_checker.keys(), CHECKER_KEYS)?;
    let simulate = simulates(&transmit_checker)?;
    let mut tx_meta = tx_meta;
    if let Ok(job) = task.vars.get("jobSpec.databaseID") {
        tx_meta.retain(|key, _| !key.eq_ignore_ascii_case("jobID"));
        tx_meta.insert("jobID".to_owned(), job.clone());
    }
    Ok(TxIntent {
        dot_id: task.def.dot_id.clone(),
        task_run_id: task.task_run_id,
        to,
        data: data.into(),
        from,
        gas_limit: gas_limit.or(task.limits.gas.on(chain)),
        min_confirmations,
        fail_on_revert,
        evm_chain_id: chain,
        tx_meta: plain_json(&Value::Map(tx_meta))?,
        transmit_checker: match transmit_checker.is_empty() {
            true => serde_json::Value::Null,
            false => plain_json(&Value::Map(transmit_checker))?,
        },
        simulate,
    })
}

/// Whether a `transmitChecker` asks for a trial against the chain. The others are part of answering VRF requests.
fn simulates(checker: &BTreeMap<String, Value>) -> Result<bool, TaskError> {
    let kind = checker
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("CheckerType"));
    match kind.map(|(_, value)| value) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::String(kind)) if kind.is_empty() => Ok(false),
        Some(Value::String(kind)) if kind == "simulate" => Ok(true),
        Some(other) => Err(TaskError::bad_input(format!(
            "transmitChecker: CheckerType is \"simulate\" or left out, and not {}: the others belong to VRF jobs, which this version does not run",
            other.to_output_json()
        ))),
    }
}

/// The reference node wants a JSON list; one bare address is understood here too.
fn from(task: &Task<'_>) -> Result<Vec<alloy::primitives::Address>, TaskError> {
    let source = task.def.attribute("from").unwrap_or_default().trim();
    if whole_expression(source).is_none() && prefixed_hex(source).is_some() {
        return task.param("from").literal().to(addresses);
    }
    task.param("from")
        .expression()
        .json()
        .or(Value::Null)
        .to(addresses)
}

fn known_keys<'k>(
    param: &str,
    keys: impl Iterator<Item = &'k String>,
    known: &[&'static str],
) -> Result<(), TaskError> {
    for key in keys {
        if !known.iter().any(|k| k.eq_ignore_ascii_case(key)) {
            let hint = nearest(key, known.iter().copied())
                .map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
            return Err(TaskError::bad_input(format!(
                "{param}: unknown key {:?}{hint}",
                excerpt(key, 60)
            )));
        }
    }
    Ok(())
}

fn plain_json(value: &Value) -> Result<serde_json::Value, TaskError> {
    serde_json::from_str(&value.to_output_json())
        .map_err(|e| TaskError::bad_input(format!("txMeta: {e}")))
}

/// What a receipt means for the task: its value, unless the transaction reverted and the job says
/// that this is a failure.
pub(crate) fn receipt_result(
    def: &TaskDef,
    stored: Result<Value, String>,
) -> Result<Value, String> {
    let receipt = stored?;
    let strict = def
        .attribute("failOnRevert")
        .map(str::trim)
        .and_then(parse_bool)
        .unwrap_or(false);
    if strict && reverted(&receipt) {
        let hash = match &receipt {
            Value::Map(fields) => match fields.get("transactionHash") {
                Some(Value::String(hash)) => excerpt(hash, 80),
                _ => "".to_owned(),
            },
            _ => String::new(),
        };
        return Err(format!("transaction {hash} reverted on-chain"));
    }
    Ok(receipt)
}

fn reverted(receipt: &Value) -> bool {
    let Value::Map(fields) = receipt else {
        return false;
    };
    match fields.get("status") {
        Some(Value::Int(status)) => *status == 0,
        Some(Value::Uint(status)) => *status == 0,
        Some(Value::Bool(success)) => !success,
        Some(Value::String(text)) => {
            prefixed_hex(text)
                .unwrap_or(text)
                .bytes()
                .all(|b| b == b'0')
                && !text.is_empty()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Pipeline;

    #[test]
    fn a_reverted_transaction_fails_the_task_only_where_the_job_says_so() {
        let receipt = |status: &str| {
            Ok(Value::map([
                ("status", Value::from(status)),
                ("transactionHash", "0xab".into()),
            ]))
        };
        let strict = Pipeline::parse("a [type=ethtx failOnRevert=true]").unwrap();
        let lenient = Pipeline::parse("a [type=ethtx]").unwrap();
        let of = |p: &Pipeline, status: &str| receipt_result(&p.defs()[0], receipt(status));
        assert_eq!(
            of(&strict, "0x0"),
            Err("transaction 0xab reverted on-chain".into())
        );
        assert!(of(&strict, "0x1").is_ok());
        assert!(of(&lenient, "0x0").is_ok());
    }
}
