//! Writing texts of strangers into DOT and TOML so that they mean what they meant.

use super::Refusal;
use crate::error::excerpt;
use crate::value::Value;

/// A text as the value of an attribute.
///
/// Refused: texts that would become an expression, and the one text that quotes cannot hold.
pub(super) fn text(place: &str, value: &str) -> Result<String, Refusal> {
    let refuse = |reason: &str| {
        Err(Refusal::new(
            place,
            format!("{:?} {reason}", excerpt(value, 80)),
            "change the text, then convert again",
        ))
    };
    if value.contains("$(") {
        return refuse("holds $(, which begins an expression today");
    }
    if value.ends_with('\\') {
        return refuse("ends in a backslash, which a quoted text cannot");
    }
    if value.contains("\\\"") {
        return refuse("holds a backslash before a quote, which a quoted text cannot");
    }
    if value.starts_with('<') && value.ends_with('>') {
        return refuse("stands in angle brackets, which today quote a text");
    }
    Ok(quoted(value))
}

/// Bare where the language allows it, else in quotes.
pub(super) fn quoted(value: &str) -> String {
    let number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let word = value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !["graph", "digraph", "node", "edge", "subgraph", "strict"]
            .contains(&value.to_ascii_lowercase().as_str());
    if number || word {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('"', "\\\""))
}

/// A JSON text with expressions in it as the value of an attribute.
pub(super) fn json(text: &str) -> String {
    if text.contains(['<', '>']) || text == "{}" {
        format!("\"{}\"", text.replace('"', "\\\""))
    } else {
        format!("<{text}>")
    }
}

/// A literal inside such a JSON text.
pub(super) fn json_literal(place: &str, value: &Value) -> Result<String, Refusal> {
    let written = value.to_output_json();
    // The writer escapes neither `$` nor `(`, so what would be read as an expression shows.
    if written.contains("$(") {
        return Err(Refusal::new(
            place,
            format!(
                "{} holds $(, which begins an expression today",
                excerpt(&written, 80)
            ),
            "change the text, then convert again",
        ));
    }
    Ok(written)
}

/// A TOML string in one line.
pub(super) fn toml_text(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A TOML string over several lines; as it stands where that is possible.
pub(super) fn toml_block(value: &str) -> String {
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    if value.contains("'''") || value.chars().any(odd) {
        return toml_text(value);
    }
    format!("'''\n{value}'''")
}
