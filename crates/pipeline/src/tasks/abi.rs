//! `ethabidecode`, `ethabidecodelog`, `ethabiencode`, `ethabiencode2`.

use crate::abi;
use crate::convert::{bytes, hashes, map, string};
use crate::error::TaskError;
use crate::value::Value;

use super::{ANY_NUMBER, AT_MOST_ONE, Task, resolve};

fn bad_abi(why: String) -> TaskError {
    TaskError::bad_input(why)
}

pub(super) fn decode(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    resolve! {
        abi = task.param("abi").literal().to(string),
        data = task.param("data").expression().input().value(),
    }
    let arguments = abi::signature::arguments(&abi).map_err(|e| bad_abi(e).within("abi"))?;
    let raw = bytes(&data).map_err(|e| e.within("data"))?;
    if raw.is_empty() {
        return Ok(Value::Map(Default::default()));
    }
    abi::decode::arguments(&arguments, &raw).map_err(|e| TaskError::bad_input(e).within("data"))
}

pub(super) fn decode_log(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(ANY_NUMBER)?;
    resolve! {
        abi = task.param("abi").literal().to(string),
        data = task.param("data").expression().or(Value::Null).value(),
        topics = task.param("topics").expression().to(hashes),
    }
    let event = abi::signature::event(&abi).map_err(|e| bad_abi(e).within("abi"))?;
    let raw = bytes(&data).map_err(|e| e.within("data"))?;
    abi::decode::log(&event, &raw, &topics).map_err(TaskError::bad_input)
}

pub(super) fn encode(task: &Task<'_>) -> Result<Value, TaskError> {
    encode_with(task, abi::signature::function)
}

pub(super) fn encode_json(task: &Task<'_>) -> Result<Value, TaskError> {
    encode_with(task, abi::signature::json_function)
}

fn encode_with(
    task: &Task<'_>,
    read: impl FnOnce(&str) -> Result<abi::Function, String>,
) -> Result<Value, TaskError> {
    task.check_inputs(ANY_NUMBER)?;
    resolve! {
        abi = task.param("abi").literal().to(string),
        data = task.param("data").expression().json().or(Value::Null).to(map),
    }
    let function = read(&abi).map_err(|e| bad_abi(e).within("abi"))?;
    let encoded = abi::encode::call(&function, &data).map_err(|e| e.within("data"))?;
    Ok(Value::String(format!("0x{}", hex::encode(encoded))))
}
