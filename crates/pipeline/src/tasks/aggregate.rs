//! `mean`, `median`, `mode`, `sum`: one answer from several sources, some of which may have failed.

use bigdecimal::BigDecimal;
use num_traits::Zero;

use crate::convert::{int32, json_text, maybe, number, uint64};
use crate::decimal::{self, DEFAULT_DIVISION_PLACES};
use crate::error::{TaskError, text};
use crate::params::{json_failed, whole_expression};
use crate::value::{JsonError, JsonReader, Numbers, Value};

use super::Task;

pub(super) fn sum(task: &Task<'_>) -> Result<Value, TaskError> {
    total(&numbers(task)?).map(Value::Decimal)
}

pub(super) fn mean(task: &Task<'_>) -> Result<Value, TaskError> {
    let places = task
        .param("precision")
        .expression()
        .raw()
        .to(maybe(int32))?;
    let numbers = numbers(task)?;
    let count = BigDecimal::from(numbers.len() as u64);
    quotient(&total(&numbers)?, &count, places)
}

pub(super) fn median(task: &Task<'_>) -> Result<Value, TaskError> {
    let mut numbers = numbers(task)?;
    numbers.sort();
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 {
        return Ok(Value::Decimal(numbers.swap_remove(middle)));
    }
    let both = total(&numbers[middle - 1..=middle])?;
    quotient(&both, &BigDecimal::from(2), None)
}

/// The values that occur most often, in the order in which they reached that number.
pub(super) fn mode(task: &Task<'_>) -> Result<Value, TaskError> {
    let values = good_values(task)?;
    let mut counts = std::collections::HashMap::<String, u64>::new();
    let mut most = 0;
    let mut winners: Vec<(String, Value)> = Vec::new();
    for value in values {
        let key = comparable(&value);
        let count = counts.entry(key.clone()).or_default();
        *count += 1;
        if *count > most {
            most = *count;
            winners.clear();
        }
        if *count == most {
            winners.push((key, value));
        }
    }
    let results: Vec<Value> = winners.into_iter().map(|(_, value)| value).collect();
    Ok(Value::map([
        ("results", Value::List(results)),
        ("occurrences", Value::Uint(most)),
    ]))
}

/// Values are equal when their texts are: the number 1 and the string "1" are.
fn comparable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Decimal(d) => decimal::to_text(d),
        other => other.to_http_json(),
    }
}

fn total(numbers: &[BigDecimal]) -> Result<BigDecimal, TaskError> {
    let mut total = BigDecimal::zero();
    for number in numbers {
        total += number;
        if !decimal::fits(&total) {
            return Err(TaskError::new(text::OVERFLOW).within("sum"));
        }
    }
    Ok(total)
}

fn quotient(sum: &BigDecimal, count: &BigDecimal, places: Option<i32>) -> Result<Value, TaskError> {
    decimal::divide(sum, count, places.unwrap_or(DEFAULT_DIVISION_PLACES))
        .map(Value::Decimal)
        .ok_or_else(|| TaskError::new(text::DIVISION_OVERFLOW))
}

fn numbers(task: &Task<'_>) -> Result<Vec<BigDecimal>, TaskError> {
    good_values(task)?
        .iter()
        .map(|v| number(v).map_err(|e| e.within("values")))
        .collect()
}

/// The values that are there, when not too many have failed.
fn good_values(task: &Task<'_>) -> Result<Vec<Value>, TaskError> {
    let values = values(task).map_err(|e| e.within("values"))?;
    let allowed = task.param("allowedFaults").raw().to(maybe(uint64))?;
    let count = values.len();
    let good: Vec<Value> = values.into_iter().filter_map(Result::ok).collect();
    let faults = count - good.len();
    // Without a limit one good value is enough; with no values at all the limit is below zero.
    let too_many = match allowed {
        Some(allowed) => faults as u64 > allowed,
        None => faults + 1 > count,
    };
    if too_many {
        let allowed = allowed.map_or_else(|| count as i128 - 1, i128::from);
        return Err(TaskError::new(text::TOO_MANY_ERRORS)
            .within(format!("{faults} of {count} values failed, {allowed} may")));
    }
    if good.is_empty() {
        return Err(TaskError::new(text::WRONG_INPUTS).within("values: there are none"));
    }
    Ok(good)
}

type MaybeValue = Result<Value, String>;

/// `values`: an expression, a JSON list whose elements may be failed tasks, or all inputs.
fn values(task: &Task<'_>) -> Result<Vec<MaybeValue>, TaskError> {
    let source = task.def.attribute("values").unwrap_or_default();
    if let Some(path) = whole_expression(source) {
        return list(task.vars.get(path)?);
    }
    if source.trim().is_empty() {
        return Ok(task
            .inputs
            .iter()
            .map(|input| match input {
                Ok(value) => Ok(Value::clone(value)),
                Err(error) => Err(error.to_string()),
            })
            .collect());
    }
    let lookup = |path: &str| {
        task.vars
            .get(path)
            .cloned()
            .map_err(crate::error::TaskError::into_text)
    };
    let mut found = Vec::new();
    let mut reader = JsonReader::with_expressions(source, &lookup);
    let is_list = reader
        .list_elements(|reader| {
            let failed = reader
                .expression_ahead()
                .is_some_and(|path| task.vars.is_failed(path));
            match reader.element() {
                Ok(value) => found.push(Ok(value)),
                Err(JsonError::Expression(error)) if failed => found.push(Err(error)),
                Err(error) => return Err(error),
            }
            Ok(())
        })
        .map_err(|error| json_failed(&error))?;
    if is_list {
        return Ok(found);
    }
    list(&reader.first().map_err(|error| json_failed(&error))?)
}

fn list(value: &Value) -> Result<Vec<MaybeValue>, TaskError> {
    match value {
        Value::List(items) => Ok(items.iter().cloned().map(Ok).collect()),
        Value::Null => Ok(Vec::new()),
        Value::String(text) => match json_text(text.as_bytes(), Numbers::Exact)? {
            Value::String(_) => Err(TaskError::bad_input("expected a list, got a string")),
            other => list(&other),
        },
        other => Err(TaskError::bad_input(format!(
            "expected a list, got {}",
            other.kind()
        ))),
    }
}
