//! Variables: `jobSpec` and `jobRun`, then each finished task under its own id.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{TaskError, text};
use crate::value::Value;

/// What a finished task left behind.
pub(crate) type Finished = Result<Arc<Value>, Arc<str>>;

/// Cheap to copy: a task keeps the variables as they were when it was scheduled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vars(Arc<BTreeMap<String, Finished>>);

impl Vars {
    pub(crate) fn new(initial: BTreeMap<String, Value>) -> Self {
        Self(Arc::new(
            initial
                .into_iter()
                .map(|(k, v)| (k, Ok(Arc::new(v))))
                .collect(),
        ))
    }

    pub(crate) fn set(&mut self, name: &str, result: Finished) {
        Arc::make_mut(&mut self.0).insert(name.to_owned(), result);
    }

    /// Follows a dotted path: a variable, then map keys and list positions from zero.
    pub(crate) fn get(&self, path: &str) -> Result<&Value, TaskError> {
        let fail = |what: &str| TaskError::new(what).within(format!("$({path})"));
        let mut segments = path.split('.');
        if path.split('.').any(str::is_empty) {
            return Err(fail(text::WRONG_KEYPATH));
        }
        let first = segments.next().unwrap_or(path);
        let mut value: &Value = match self.0.get(first) {
            Some(Ok(value)) => value,
            Some(Err(_)) => {
                return Err(TaskError::new(text::TOO_MANY_ERRORS)
                    .within(format!("the task `{first}` failed"))
                    .within(format!("$({path})")));
            }
            None => return Err(fail(text::KEYPATH_NOT_FOUND)),
        };
        for segment in segments {
            value = match value {
                Value::Map(entries) => entries
                    .get(segment)
                    .ok_or_else(|| fail(text::KEYPATH_NOT_FOUND))?,
                Value::List(items) => {
                    let index: i64 = segment.parse().map_err(|_| fail(text::KEYPATH_NOT_FOUND))?;
                    usize::try_from(index)
                        .ok()
                        .and_then(|n| items.get(n))
                        .ok_or_else(|| fail(text::INDEX_OUT_OF_RANGE))?
                }
                _ => return Err(fail(text::KEYPATH_NOT_FOUND)),
            };
        }
        Ok(value)
    }

    /// The path starts at a task that failed.
    pub(crate) fn is_failed(&self, path: &str) -> bool {
        let first = path.split('.').next().unwrap_or(path);
        matches!(self.0.get(first), Some(Err(_)))
    }

    /// A text inside a variable, for labels and messages.
    pub(crate) fn label(&self, path: &str) -> Cow<'_, str> {
        match self.get(path) {
            Ok(Value::String(s)) => Cow::Borrowed(s),
            Ok(other @ (Value::Int(_) | Value::Uint(_) | Value::Uuid(_))) => {
                Cow::Owned(other.to_output_json().trim_matches('"').to_owned())
            }
            _ => Cow::Borrowed(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_through_maps_and_lists_and_say_where_they_end() {
        let mut vars = Vars::new(BTreeMap::from([(
            "a".to_owned(),
            Value::map([
                ("list", Value::List(vec![Value::Int(7)])),
                ("text", "x".into()),
            ]),
        )]));
        vars.set("bad", Err("it broke".into()));
        assert_eq!(vars.get("a.list.0"), Ok(&Value::Int(7)));
        for (path, words) in [
            ("a.none", "keypath not found"),
            ("none", "keypath not found"),
            ("a.text.x", "keypath not found"),
            ("a.list.x", "keypath not found"),
            ("a.list.1", "index out of range"),
            ("a.list.-1", "index out of range"),
            ("a..list", "wrong keypath format"),
            ("", "wrong keypath format"),
            ("bad", "too many errors"),
            ("bad.x", "too many errors"),
        ] {
            let error = vars.get(path).unwrap_err().to_string();
            assert!(error.ends_with(words), "{path}: {error}");
        }
    }
}
