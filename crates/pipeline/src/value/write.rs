//! Writing values for people and for other programs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Value, go_float};
use crate::decimal;

/// Who reads the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// A bridge or a data source.
    Http,
    /// The API, the CLI, people.
    Output,
}

impl Value {
    /// The value inside the JSON body of a request to a bridge or a data source.
    ///
    /// Bytes are base64, fixed bytes a list of numbers, decimals quoted: adapters in the field
    /// expect exactly this.
    pub fn to_http_json(&self) -> String {
        self.write(Reader::Http)
    }

    /// The value as the API and the CLI show it: all bytes as `0x` hex, addresses with checksum.
    pub fn to_output_json(&self) -> String {
        self.write(Reader::Output)
    }

    fn write(&self, reader: Reader) -> String {
        let mut out = String::new();
        write_value(self, reader, &mut out);
        out
    }
}

fn write_value(value: &Value, reader: Reader, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::String(s) => write_string(s, out),
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Uint(u) => out.push_str(&u.to_string()),
        Value::BigInt(n) => out.push_str(&n.to_string()),
        Value::Float(f) if f.is_finite() => out.push_str(&go_float(*f)),
        // JSON has no word for it, and a task that produced it has not produced a number.
        Value::Float(_) => out.push_str("null"),
        Value::Decimal(d) => write_string(&decimal::to_text(d), out),
        Value::Bytes(b) if reader == Reader::Http => write_string(&STANDARD.encode(b), out),
        Value::FixedBytes(b) if reader == Reader::Http => {
            write_list(
                b.iter().map(|byte| Value::Uint(u64::from(*byte))),
                reader,
                out,
            );
        }
        Value::Bytes(b) | Value::FixedBytes(b) => {
            write_string(&format!("0x{}", hex::encode(b)), out)
        }
        Value::Address(a) if reader == Reader::Http => {
            write_string(&format!("0x{}", hex::encode(a)), out);
        }
        Value::Address(a) => write_string(&a.to_checksum(None), out),
        Value::Hash(h) => write_string(&format!("0x{}", hex::encode(h)), out),
        Value::Uuid(u) => write_string(&u.to_string(), out),
        Value::List(items) => write_list(items, reader, out),
        Value::Map(entries) => {
            out.push('{');
            for (n, (key, value)) in entries.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write_value(value, reader, out);
            }
            out.push('}');
        }
    }
}

fn write_list<V: std::borrow::Borrow<Value>>(
    items: impl IntoIterator<Item = V>,
    reader: Reader,
    out: &mut String,
) {
    out.push('[');
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_value(item.borrow(), reader, out);
    }
    out.push(']');
}

/// A JSON string with the escapes Go's encoder uses, which also keep it harmless inside HTML.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, address};
    use uuid::uuid;

    use super::*;

    #[test]
    fn the_two_written_forms_differ_where_the_specification_says_so() {
        let address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
        let id = uuid!("0f3a61c4-92d0-4f0e-8f0b-3c2f7c0d5e11");
        for (value, http, output) in [
            (Value::Null, "null", "null"),
            (
                Value::Decimal("1.50".parse().unwrap()),
                "\"1.5\"",
                "\"1.5\"",
            ),
            (
                Value::Bytes(vec![1, 2, 255].into()),
                "\"AQL/\"",
                "\"0x0102ff\"",
            ),
            (
                Value::FixedBytes(vec![1, 255].into()),
                "[1,255]",
                "\"0x01ff\"",
            ),
            (
                Value::Address(address),
                "\"0x70997970c51812dc3a010c7d01b50e0d17dc79c8\"",
                "\"0x70997970C51812dc3A010C7d01b50e0d17dc79C8\"",
            ),
            (
                Value::Hash(B256::repeat_byte(0xab)),
                "\"0xabababababababababababababababababababababababababababababababab\"",
                "\"0xabababababababababababababababababababababababababababababababab\"",
            ),
            (
                Value::Uuid(id),
                "\"0f3a61c4-92d0-4f0e-8f0b-3c2f7c0d5e11\"",
                "\"0f3a61c4-92d0-4f0e-8f0b-3c2f7c0d5e11\"",
            ),
            (Value::Float(1e21), "1e+21", "1e+21"),
            (
                Value::String("<a>&\u{2028}\u{1}".into()),
                r#""\u003ca\u003e\u0026\u2028\u0001""#,
                r#""\u003ca\u003e\u0026\u2028\u0001""#,
            ),
            (
                Value::map([("b", Value::Int(1)), ("a", Value::List(vec![]))]),
                r#"{"a":[],"b":1}"#,
                r#"{"a":[],"b":1}"#,
            ),
        ] {
            assert_eq!(value.to_http_json(), http);
            assert_eq!(value.to_output_json(), output);
        }
    }
}
