//! Reading JSON from strangers.
//!
//! Our own reader, because three things are asked of it that a general one does not do together:
//! whole numbers of any size stay exact, only the first value of a text counts, and job
//! parameters may hold `$(expressions)` in the place of values. Nesting is limited, so is the
//! length of a number; time is linear in the text.

use std::collections::BTreeMap;

use super::number::{NumberError, read_float, read_number};
use super::{MAX_DEPTH, Value};

/// Why a text is not the JSON we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Nothing but white space.
    #[error("the JSON text is empty")]
    Empty,
    /// Not JSON.
    #[error("malformed JSON at byte {at}: expected {what}")]
    Malformed {
        /// Offset from the start of the text.
        at: usize,
        /// What was expected.
        what: &'static str,
    },
    /// Lists and objects inside one another beyond [`MAX_DEPTH`].
    #[error("the JSON nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A number that cannot be held.
    #[error(transparent)]
    Number(#[from] NumberError),
    /// An expression inside a string literal, which would have to be interpolated.
    #[error(
        "the JSON has an expression inside a string at byte {at}: write $(...) without quotes around it"
    )]
    ExpressionInString {
        /// Offset from the start of the text.
        at: usize,
    },
    /// What the expression stands for could not be found.
    #[error("{0}")]
    Expression(String),
}

/// Reads the first JSON value of a text and ignores what follows it.
pub fn read_first_json(text: &[u8]) -> Result<Value, JsonError> {
    JsonReader::new(text, Numbers::Exact).first()
}

/// Reads a text that is one JSON value and nothing else.
pub fn read_json(text: &str) -> Result<Value, JsonError> {
    let mut reader = JsonReader::new(text.as_bytes(), Numbers::Exact);
    let value = reader.first()?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.malformed("nothing more after the value")),
    }
}

/// How numbers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Whole numbers exactly, others as floats.
    Exact,
    /// All as floats.
    Floats,
}

/// Finds what `$(path)` stands for.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Result<Value, String>;

pub(crate) struct JsonReader<'a> {
    text: &'a [u8],
    at: usize,
    numbers: Numbers,
    lookup: Option<Lookup<'a>>,
}

impl<'a> JsonReader<'a> {
    pub(crate) fn new(text: &'a [u8], numbers: Numbers) -> Self {
        Self {
            text,
            at: 0,
            numbers,
            lookup: None,
        }
    }

    /// Reads `$(path)` in the place of a value through `lookup`.
    pub(crate) fn with_expressions(text: &'a str, lookup: Lookup<'a>) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            numbers: Numbers::Exact,
            lookup: Some(lookup),
        }
    }

    pub(crate) fn first(&mut self) -> Result<Value, JsonError> {
        self.skip_space();
        if self.peek().is_none() {
            return Err(JsonError::Empty);
        }
        self.value(0)
    }

    /// Calls `element` at the start of each element when the text is a list; false when it is not.
    pub(crate) fn list_elements(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<bool, JsonError> {
        self.skip_space();
        if self.peek() != Some(b'[') {
            return Ok(false);
        }
        self.at += 1;
        self.skip_space();
        if self.take(b']') {
            return Ok(true);
        }
        loop {
            self.skip_space();
            element(self)?;
            self.skip_space();
            if self.take(b']') {
                return Ok(true);
            }
            self.expect(b',', "`,` or `]`")?;
        }
    }

    /// The path, when the next value is an expression.
    pub(crate) fn expression_ahead(&self) -> Option<&'a str> {
        expression_at(&self.text[self.at..]).map(|(path, _)| path)
    }

    pub(crate) fn element(&mut self) -> Result<Value, JsonError> {
        self.value(1)
    }

    pub(crate) fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.malformed(what))
        }
    }

    fn malformed(&self, what: &'static str) -> JsonError {
        JsonError::Malformed { at: self.at, what }
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'$') => match self.lookup {
                Some(lookup) => self.expression(lookup),
                None => Err(self.malformed("a value")),
            },
            _ => Err(self.malformed("a value")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let mut items = Vec::new();
        self.list_elements(|reader| {
            items.push(reader.value(depth)?);
            Ok(())
        })?;
        Ok(Value::List(items))
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let mut entries = BTreeMap::new();
        self.at += 1;
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Map(entries));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.malformed("a name in quotes"));
            }
            let key = self.string()?;
            self.skip_space();
            self.expect(b':', "`:` after the name")?;
            self.skip_space();
            let value = self.value(depth)?;
            entries.insert(key, value);
            self.skip_space();
            if self.take(b'}') {
                return Ok(Value::Map(entries));
            }
            self.expect(b',', "`,` or `}`")?;
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err(self.malformed("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.take(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.malformed("a digit")),
        }
        if self.take(b'.') {
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.some_digits()?;
        }
        let text = std::str::from_utf8(&self.text[start..self.at])
            .expect("digits, signs, dots and letters are ASCII");
        Ok(match self.numbers {
            Numbers::Exact => read_number(text)?,
            Numbers::Floats => read_float(text)?,
        })
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.digits();
        if self.at == start {
            Err(self.malformed("a digit"))
        } else {
            Ok(())
        }
    }

    fn expression(&mut self, lookup: Lookup<'_>) -> Result<Value, JsonError> {
        match expression_at(&self.text[self.at..]) {
            Some((path, length)) => {
                self.at += length;
                lookup(path).map_err(JsonError::Expression)
            }
            None => Err(self.malformed("a value, or an expression such as $(task.field)")),
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | b'$' | 0..=0x1f)) {
                self.at += 1;
            }
            out.extend_from_slice(&self.text[start..self.at]);
            match self.peek() {
                None => return Err(self.malformed("the end of the string")),
                Some(b'"') => {
                    self.at += 1;
                    // As the reference node: bytes that are not UTF-8 become replacement characters.
                    return Ok(String::from_utf8(out)
                        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()));
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                Some(b'$') => {
                    if self.lookup.is_some() && expression_at(&self.text[self.at..]).is_some() {
                        return Err(JsonError::ExpressionInString { at: self.at });
                    }
                    out.push(b'$');
                    self.at += 1;
                }
                Some(_) => return Err(self.malformed("no control character in a string")),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let escaped = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => c,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                let c = self.unicode()?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.malformed("an escape such as \\n")),
        };
        out.push(escaped);
        self.at += 1;
        Ok(())
    }

    /// After `\u`: one code point, from two escapes where they form a pair.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|d| d.iter().all(u8::is_ascii_hexdigit))
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u32::from_str_radix(d, 16).ok())
            .ok_or_else(|| self.malformed("four hexadecimal digits"))?;
        self.at += 4;
        Ok(digits)
    }
}

/// `$( path )` at the start of `text`: the path and the length of the whole.
pub(crate) fn expression_at(text: &[u8]) -> Option<(&str, usize)> {
    let inner = text.strip_prefix(b"$(")?;
    let spaces = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let lead = spaces(inner);
    let path = inner[lead..]
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
        .count();
    let tail = spaces(&inner[lead + path..]);
    if path == 0 || inner.get(lead + path + tail) != Some(&b')') {
        return None;
    }
    let text = std::str::from_utf8(&inner[lead..lead + path]).ok()?;
    Some((text, 2 + lead + path + tail + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_value_of_a_text_is_read() {
        assert_eq!(
            read_first_json(b" {\"a\":1} trailing"),
            Ok(Value::map([("a", Value::Int(1))]))
        );
        assert!(read_json("1 2").is_err());
        assert_eq!(read_first_json(b"  "), Err(JsonError::Empty));
    }

    #[test]
    fn a_hundred_thousand_levels_are_refused_at_once() {
        let deep = "[".repeat(100_000);
        assert_eq!(read_first_json(deep.as_bytes()), Err(JsonError::TooDeep));
        let deep = "{\"a\":".repeat(100_000);
        assert_eq!(read_first_json(deep.as_bytes()), Err(JsonError::TooDeep));
        let allowed = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(
            read_first_json(allowed.as_bytes()).unwrap().depth(),
            MAX_DEPTH
        );
    }

    #[test]
    fn ten_megabytes_are_read_to_the_last_value() {
        let text = format!("[{}1]", "1234567,".repeat(10 * 1024 * 1024 / 8));
        let Ok(Value::List(items)) = read_first_json(text.as_bytes()) else {
            panic!("not a list")
        };
        assert_eq!(items.len(), 10 * 1024 * 1024 / 8 + 1);
    }

    #[test]
    fn strings_are_unescaped_and_broken_text_is_replaced() {
        assert_eq!(
            read_json(r#""a\"\\\/\n\u00e9\ud83d\ude00\ud800""#),
            Ok(Value::String("a\"\\/\né😀\u{fffd}".into()))
        );
        assert_eq!(
            read_first_json(b"\"\xff\""),
            Ok(Value::String("\u{fffd}".into()))
        );
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "", "{", "[1,]", "{\"a\"}", "01", "1.", "-", "nul", "\"\\x\"", "{a:1}", "[1 2]", "\"a",
        ] {
            assert!(read_json(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn an_expression_stands_where_a_value_stands_and_not_in_a_string() {
        let lookup = |path: &str| Ok(Value::String(path.to_owned()));
        let read = |text: &str| JsonReader::with_expressions(text, &lookup).first();
        assert_eq!(
            read("{\"a\": [$( x.y ), 1]}"),
            Ok(Value::map([(
                "a",
                Value::List(vec!["x.y".into(), Value::Int(1)])
            )]))
        );
        assert!(matches!(
            read("\"pre $(x)\""),
            Err(JsonError::ExpressionInString { at: 5 })
        ));
        assert_eq!(
            read("\"cost $(not one\""),
            Ok(Value::String("cost $(not one".into()))
        );
        assert!(read("$(a b)").is_err());
        assert!(read("{$(x): 1}").is_err());
    }
}
