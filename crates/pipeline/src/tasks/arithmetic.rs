//! `multiply`, `divide`, `lessthan`, `length`.

use bigdecimal::BigDecimal;
use num_traits::Zero;

use crate::convert::{bytes, int32, maybe, number};
use crate::decimal::{self, DEFAULT_DIVISION_PLACES};
use crate::error::{TaskError, text};
use crate::value::Value;

use super::{ANY_NUMBER, AT_MOST_ONE, Task, resolve};

/// Exact: a fraction stays until something truncates it, such as ABI encoding.
pub(super) fn multiply(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    resolve! {
        input = task.input_param().to(number),
        times = task.param("times").expression().literal().to(number),
    }
    let product = input * times;
    match decimal::fits(&product) {
        true => Ok(Value::Decimal(product)),
        false => Err(TaskError::new(text::MULTIPLY_OVERFLOW)),
    }
}

pub(super) fn divide(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(ANY_NUMBER)?;
    resolve! {
        input = task.input_param().to(number),
        divisor = task.param("divisor").expression().literal().to(number),
        precision = task.param("precision").expression().raw().to(maybe(int32)),
    }
    if divisor.is_zero() {
        return Err(TaskError::new(text::DIVIDE_BY_ZERO));
    }
    decimal::divide(
        &input,
        &divisor,
        precision.unwrap_or(DEFAULT_DIVISION_PLACES),
    )
    .map(Value::Decimal)
    .ok_or_else(|| TaskError::new(text::DIVISION_OVERFLOW))
}

pub(super) fn less_than(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    resolve! {
        left = task.param("left").expression().literal().input().to(number),
        right = task.param("right").expression().literal().to(number),
    }
    Ok(Value::Bool(left < right))
}

pub(super) fn length(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    let length = task.input_param().to(|value| Ok(bytes(value)?.len()))?;
    Ok(Value::Decimal(BigDecimal::from(length as u64)))
}
