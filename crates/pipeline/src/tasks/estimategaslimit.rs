//! `estimategaslimit`: how much gas a call would take, never more than the job may spend.

use num_traits::ToPrimitive;

use crate::convert::{address, maybe, number, owned_bytes};
use crate::decimal;
use crate::error::TaskError;
use crate::ports::{EstimateGas, EthCallError};
use crate::value::Value;

use super::{Task, ethcall, resolve};

pub(super) async fn run(task: &Task<'_>) -> Result<Value, TaskError> {
    resolve! {
        from = task.param("from").expression().literal().or("").to(maybe(address)),
        to = task.param("to").expression().literal().to(address),
        data = task.param("data").expression().literal().to(owned_bytes),
        multiplier = task.param("multiplier").expression().literal().or("1").to(number),
        block = ethcall::block(task),
        chain = task.chain_id(),
    }
    let call = EstimateGas {
        evm_chain_id: chain,
        from: from.unwrap_or_default(),
        to,
        data: data.into(),
        block,
    };
    let limit = task.limits.gas.on(chain);
    let estimate = match task.ports.estimate_gas(call).await {
        Ok(gas) => gas,
        Err(error @ EthCallError::UnknownChain { .. }) => {
            return Err(TaskError::new(error.to_string()));
        }
        // As the reference node: the limit the job may spend is the answer when there is no estimate.
        Err(error) => {
            return limit
                .map(Value::Uint)
                .ok_or_else(|| TaskError::new(error.to_string()));
        }
    };
    let product = decimal::truncate(&(multiplier * estimate));
    let gas = product.to_u64().ok_or_else(|| {
        TaskError::bad_input("multiplier: the product is not a 64-bit amount of gas")
    })?;
    Ok(Value::Uint(limit.map_or(gas, |limit| gas.min(limit))))
}
