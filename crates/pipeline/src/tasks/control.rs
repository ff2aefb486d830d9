//! `any`, `coalesce`, `conditional`, `merge`, `lookup`, `memo`, `fail`, `panic`.

use crate::convert::{boolean, map, string};
use crate::decimal;
use crate::error::{TaskError, text};
use crate::value::Value;

use super::{ANY_NUMBER, AT_MOST_ONE, Task, resolve};

/// A random one of the inputs that did not fail.
pub(super) fn any(task: &Task<'_>) -> Result<Value, TaskError> {
    if task.inputs.is_empty() {
        return Err(
            TaskError::new(text::WRONG_INPUTS).within("task inputs: takes at least 1, got 0")
        );
    }
    let good: Vec<_> = task.inputs.iter().filter_map(|i| i.as_ref().ok()).collect();
    match good.len() {
        0 => Err(TaskError::bad_input("every input has failed")),
        n => Ok(Value::clone(good[rand::random_range(0..n)])),
    }
}

/// The first input that neither failed nor is null; null when there is none.
pub(super) fn coalesce(task: &Task<'_>) -> Result<Value, TaskError> {
    let good = task.inputs.iter().filter_map(|i| i.as_ref().ok());
    Ok(good
        .map(|value| Value::clone(value))
        .find(|value| *value != Value::Null)
        .unwrap_or_default())
}

/// Fails unless its data is true. Its literal is not read.
pub(super) fn conditional(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    match task.param("data").expression().input().to(boolean)? {
        true => Ok(Value::Bool(true)),
        false => Err(TaskError::new("conditional was not satisfied")),
    }
}

/// Lays the right map over a copy of the left one; a null on the right replaces too.
pub(super) fn merge(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    resolve! {
        left = task.param("left").expression().json().input().to(map),
        right = task.param("right").expression().json().to(map),
    }
    let mut merged = left;
    merged.extend(right);
    Ok(Value::Map(merged))
}

pub(super) fn lookup(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(1..=1)?;
    let key = task.param("key").raw().to(string)?;
    match task.inputs.first() {
        Some(Ok(input)) => match &**input {
            Value::Map(entries) => Ok(entries.get(&key).cloned().unwrap_or_default()),
            other => Err(TaskError::bad_input(format!(
                "expected a map as input, got {}",
                other.kind()
            ))),
        },
        _ => Err(TaskError::new(text::WRONG_INPUTS)),
    }
}

/// A constant or a copy; a number becomes a decimal.
pub(super) fn memo(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    let value = task.param("value").json().input().value()?.into_owned();
    Ok(match value {
        number @ (Value::Int(_) | Value::Uint(_) | Value::BigInt(_) | Value::Float(_)) => {
            Value::Decimal(decimal::from_value(&number).map_err(TaskError::bad_input)?)
        }
        other => other,
    })
}

pub(super) fn fail(task: &Task<'_>) -> Result<Value, TaskError> {
    let message = task.param("msg").expression().literal().or("").to(string)?;
    Err(TaskError::new(message))
}

#[expect(
    clippy::panic,
    reason = "the task exists to panic; the engine turns it into the task's error"
)]
pub(super) fn panic(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(ANY_NUMBER)?;
    panic!("{}", task.def.attribute("msg").unwrap_or_default())
}
