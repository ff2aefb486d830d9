//! `ethcall`: reads from a contract.

use std::time::Instant;

use alloy::primitives::Bytes;

use crate::convert::{address, boolean, maybe, owned_bytes, parse_bool, string, uint64, wei};
use crate::error::{TaskError, excerpt};
use crate::observe;
use crate::params::whole_expression;
use crate::ports::{BlockChoice, EthCall, EthCallError};
use crate::value::Value;

use super::{ANY_NUMBER, Task, resolve};

pub(super) async fn run(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(ANY_NUMBER)?;
    resolve! {
        contract = task.param("contract").expression().literal().to(address),
        data = call_data(task),
        from = task.param("from").expression().literal().or("").to(maybe(address)),
        gas = task.param("gas").expression().literal().or(0u64).to(uint64),
        gas_price = task.param("gasPrice").expression().raw().to(maybe(wei)),
        gas_tip_cap = task.param("gasTipCap").expression().raw().to(maybe(wei)),
        gas_fee_cap = task.param("gasFeeCap").expression().raw().to(maybe(wei)),
        unlimited = task.param("gasUnlimited").expression().literal().or(false).to(boolean),
        block = block(task),
        chain = task.chain_id(),
    }
    if data.is_empty() {
        return Err(TaskError::bad_input("data: must not be empty"));
    }
    if unlimited && gas != 0 {
        return Err(TaskError::bad_input(
            "gas: must be zero when gasUnlimited is true",
        ));
    }
    let call = EthCall {
        evm_chain_id: chain,
        to: contract,
        data: data.into(),
        from: from.unwrap_or_default(),
        gas: match (unlimited, gas) {
            (true, _) => None,
            (false, 0) => task.limits.gas.on(chain),
            (false, gas) => Some(gas),
        },
        gas_price,
        gas_tip_cap,
        gas_fee_cap,
        block,
    };
    let began = Instant::now();
    let result = task.ports.eth_call(call).await;
    observe::eth_called(&task.def.dot_id, began.elapsed());
    let explain = task
        .def
        .attribute("extractRevertReason")
        .and_then(parse_bool)
        .unwrap_or(false);
    match result {
        Ok(Bytes(raw)) => Ok(Value::Bytes(raw)),
        Err(EthCallError::Rpc {
            code,
            message,
            data,
        }) if explain => Err(TaskError::new(format!(
            "eth_call failed with code {code}: {message}; data: {}",
            excerpt(data.as_deref().unwrap_or("none"), 2_000)
        ))),
        Err(error) => Err(TaskError::new(error.to_string())),
    }
}

/// The reference node wants a literal as a JSON string; bare hex is understood here too.
fn call_data(task: &Task<'_>) -> Result<Vec<u8>, TaskError> {
    let source = task.def.attribute("data").unwrap_or_default().trim();
    if whole_expression(source).is_none() && crate::convert::prefixed_hex(source).is_some() {
        return task.param("data").literal().to(owned_bytes);
    }
    task.param("data").expression().json().to(owned_bytes)
}

/// The reference node makes no call for an unknown word and answers with nothing.
pub(super) fn block(task: &Task<'_>) -> Result<BlockChoice, TaskError> {
    let word = task.param("block").expression().raw().to(string)?;
    match word.trim().to_lowercase().as_str() {
        "" | "latest" => Ok(BlockChoice::Latest),
        "pending" => Ok(BlockChoice::Pending),
        _ => Err(TaskError::bad_input(format!(
            "block: {:?} is neither \"latest\" nor \"pending\"",
            excerpt(&word, 40)
        ))),
    }
}
