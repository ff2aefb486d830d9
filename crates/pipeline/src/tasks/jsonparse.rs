//! `jsonparse`: picks one value from JSON text.

use crate::convert::{boolean, bytes, json_text, string};
use crate::error::{TaskError, text};
use crate::value::{Numbers, Value};

use super::{AT_MOST_ONE, Task, resolve};

pub(super) fn run(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(AT_MOST_ONE)?;
    resolve! {
        separator = task.param_or("separator", ",").raw().to(string),
        data = task.param("data").expression().input().value(),
        lax = task.param("lax").literal().or(false).to(boolean),
    };
    let path = task
        .param("path")
        .expression()
        .raw()
        .to(|value| split(value, &separator))?;
    let document = bytes(&data)
        .and_then(|raw| json_text(&raw, Numbers::Exact))
        .map_err(|error| error.within("data"))?;
    walk(document, &path, lax)
}

/// The paths that strict `jsonparse` tasks read from what `bridge` answers, where both are plain to
/// see in the source: given as texts, fed by an edge or by `$(bridge)`.
pub(crate) fn required_path(
    def: &crate::graph::TaskDef,
    bridge: &str,
    feeds: bool,
) -> Option<Vec<String>> {
    let text = |name: &str| def.attribute(name).unwrap_or_default();
    let lax = crate::convert::parse_bool(text("lax").trim()).unwrap_or(false);
    let reads = match text("data").trim() {
        "" => feeds,
        data => crate::params::whole_expression(data) == Some(bridge),
    };
    let path = text("path");
    if lax || !reads || path.is_empty() || path.contains("$(") {
        return None;
    }
    let separator = def.attribute("separator").unwrap_or(",");
    split(&Value::from(path), separator).ok()
}

/// The value at a path, strictly.
pub(super) fn pick(document: &[u8], path: &[String]) -> Result<Value, TaskError> {
    walk(json_text(document, Numbers::Exact)?, path, false)
}

/// A list of strings, or one text cut at the separator. Empty: the whole document.
fn split(value: &Value, separator: &str) -> Result<Vec<String>, TaskError> {
    if let Value::List(items) = value {
        return items.iter().map(string).collect();
    }
    let text = string(value)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(match separator {
        "" => text.chars().map(String::from).collect(),
        separator => text.split(separator).map(str::to_owned).collect(),
    })
}

/// Follows the path. `lax` forgives only a missing last segment: after a missing one in the middle
/// the walk goes on into null, and there is nothing in null.
fn walk(document: Value, path: &[String], lax: bool) -> Result<Value, TaskError> {
    let missing = |n: usize, why: &str| {
        let place = path[..=n].join(" → ");
        TaskError::new(text::KEYPATH_NOT_FOUND)
            .within(format!("{} ({why})", crate::error::excerpt(&place, 200)))
    };
    let mut at = document;
    for (n, segment) in path.iter().enumerate() {
        let found = match at {
            Value::Map(mut entries) => entries.remove(segment),
            Value::List(mut items) => {
                let index = position(segment, items.len())
                    .ok_or_else(|| missing(n, "a list needs a whole number as its index"))?;
                index.map(|index| items.swap_remove(index))
            }
            other => return Err(missing(n, &format!("there is {} here", other.kind()))),
        };
        at = match found {
            Some(value) => value,
            None if lax => Value::Null,
            None => return Err(missing(n, "nothing here has this name or index")),
        };
    }
    Ok(at)
}

/// Where in a list of `length` the index text points: nothing when outside, and nothing at all
/// when it is no integer.
#[expect(
    clippy::option_option,
    reason = "outside the list and not an index are different"
)]
fn position(text: &str, length: usize) -> Option<Option<usize>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let Ok(index) = text.parse::<i64>() else {
        return Some(None);
    };
    let index = if index < 0 {
        index.checked_add_unsigned(length as u64)
    } else {
        Some(index)
    };
    Some(
        index
            .and_then(|i| usize::try_from(i).ok())
            .filter(|i| *i < length),
    )
}
