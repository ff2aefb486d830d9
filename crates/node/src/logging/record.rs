//! One line before it is laid out.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

use crate::config::LogLevel;

/// Values by name, sorted. Names that say they hold a password lose their value here.
#[derive(Debug, Default, Clone)]
pub(super) struct Fields {
    values: BTreeMap<&'static str, Value>,
}

impl Fields {
    pub(super) fn extend(&mut self, more: &Fields) {
        self.values.extend(
            more.values
                .iter()
                .map(|(name, value)| (*name, value.clone())),
        );
    }

    fn put(&mut self, field: &Field, value: Value) {
        let secret = field.name().to_ascii_lowercase().contains("password");
        self.values
            .insert(field.name(), if secret { "•••".into() } else { value });
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, value.to_string().into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, value.to_string().into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    /// An error with its causes.
    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        self.put(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

pub(super) struct Record {
    pub(super) level: LogLevel,
    pub(super) at: Timestamp,
    /// The module that speaks.
    pub(super) logger: &'static str,
    /// `crate/file.rs:line`.
    pub(super) caller: String,
    pub(super) message: String,
    pub(super) fields: BTreeMap<&'static str, Value>,
}

impl Record {
    pub(super) fn new(metadata: &'static Metadata<'static>, fields: Fields) -> Self {
        let mut fields = fields.values;
        let message = match fields.remove("message") {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let crit = fields.remove("crit") == Some(Value::Bool(true));
        let level = match *metadata.level() {
            Level::ERROR if crit => LogLevel::Crit,
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        };
        Self {
            level,
            at: Timestamp::now(),
            logger: metadata.target(),
            caller: caller(metadata),
            message,
            fields,
        }
    }
}

fn caller(metadata: &Metadata<'_>) -> String {
    let Some(file) = metadata.file() else {
        return String::new();
    };
    let short = file
        .strip_prefix("crates/")
        .map_or_else(|| file.to_owned(), |rest| rest.replacen("/src/", "/", 1));
    match metadata.line() {
        Some(line) => format!("{short}:{line}"),
        None => short,
    }
}
