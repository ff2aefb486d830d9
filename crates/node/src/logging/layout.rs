//! How a line looks: for people, for programs, and in the file.

use serde_json::{Map, Value};

use super::record::Record;
use crate::config::LogLevel;
use crate::version;

const LEVEL_WIDTH: usize = 8;
const MESSAGE_WIDTH: usize = 50;
const CALLER_WIDTH: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `<time> [LEVEL] <message> <caller> <key=value …>`
    Pretty {
        color: bool,
    },
    Json {
        unix_timestamps: bool,
    },
    /// Tab-separated, fields as JSON.
    File,
}

impl Layout {
    /// The line with its newline. A pretty line never holds another one.
    pub(super) fn line(self, record: &Record) -> String {
        match self {
            Layout::Pretty { color } => pretty(record, color),
            Layout::Json { unix_timestamps } => json(record, unix_timestamps),
            Layout::File => file(record),
        }
    }
}

/// `2026-11-23T09:12:00.123Z`
fn time(record: &Record) -> String {
    record.at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn pretty(record: &Record, color: bool) -> String {
    let level = format!("[{}]", record.level.word().to_uppercase());
    let level = format!("{level:<LEVEL_WIDTH$}");
    let level = if color {
        colored(record.level, &level)
    } else {
        level
    };
    let message = one_line(&record.message);
    let mut line = format!(
        "{} {level} {message:<MESSAGE_WIDTH$} {:<CALLER_WIDTH$}",
        time(record),
        record.caller
    );
    for (name, value) in &record.fields {
        line.push_str(&format!(" {name}={}", plain(value)));
    }
    let mut line = line.trim_end().to_owned();
    line.push('\n');
    line
}

fn colored(level: LogLevel, text: &str) -> String {
    let code = match level {
        LogLevel::Trace | LogLevel::Debug => 32,
        LogLevel::Info => 37,
        LogLevel::Warn => 33,
        LogLevel::Error => 31,
        LogLevel::Crit => 35,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// A word as it is; anything else in quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let word = !text.is_empty()
                && !text.contains(|c: char| {
                    c.is_whitespace() || c == '"' || c == '=' || c.is_control()
                });
            if word {
                text.clone()
            } else {
                format!("{text:?}")
            }
        }
        other => other.to_string(),
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r")
}

fn json(record: &Record, unix_timestamps: bool) -> String {
    let mut object = Map::new();
    object.extend(
        record
            .fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    object.insert("level".into(), record.level.word().into());
    let ts: Value = if unix_timestamps {
        (record.at.as_millisecond() as f64 / 1000.0).into()
    } else {
        time(record).into()
    };
    object.insert("ts".into(), ts);
    object.insert("logger".into(), record.logger.into());
    object.insert("caller".into(), record.caller.clone().into());
    object.insert("msg".into(), record.message.clone().into());
    object.insert("version".into(), version::short().into());
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

fn file(record: &Record) -> String {
    let parts = [
        time(record),
        record.level.word().into(),
        record.logger.into(),
        record.caller.clone(),
        one_line(&record.message),
    ];
    let mut line = parts.join("\t");
    if !record.fields.is_empty() {
        let fields: Map<String, Value> = record
            .fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        line.push('\t');
        line.push_str(&Value::Object(fields).to_string());
    }
    line.push('\n');
    line
}
