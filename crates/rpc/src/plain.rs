//! JSON as programs write it for Ethereum: ASCII without a backslash. Nearly all of what goes
//! through the gateway is that, and where its values begin and end is found in one pass, without
//! building anything.
//!
//! What is found here is what `serde_json` finds; whatever is not plain, or no JSON at all, is none
//! of ours: `None`, and whoever asked takes the other way, which has the words for it.

/// Arrays and objects within one another, at most.
const DEEPEST: u32 = 60;
/// Bytes of a text looked at together.
const MANY: usize = 32;

/// Calls for each member of an object that is all of the text: its name and its value. False if the
/// text is no plain object, or a call said that it wants no more; then what was called for does
/// not count.
pub(crate) fn members<'a>(
    text: &'a [u8],
    mut each: impl FnMut(&'a [u8], &'a [u8]) -> bool,
) -> bool {
    each_of(text, b'{', b'}', |at| {
        let named = string(text, at)?;
        let start = space(text, colon(text, named)?);
        let end = value(text, start)?;
        each(&text[at + 1..named - 1], &text[start..end]).then_some(end)
    })
}

/// The same for each element of an array.
pub(crate) fn elements<'a>(text: &'a [u8], mut each: impl FnMut(&'a [u8]) -> bool) -> bool {
    each_of(text, b'[', b']', |at| {
        let end = value(text, at)?;
        each(&text[at..end]).then_some(end)
    })
}

/// A part of a text, as text: what was found in its bytes.
pub(crate) fn of<'a>(text: &'a str, part: &[u8]) -> Option<&'a str> {
    let at = text.as_bytes().element_offset(part.first()?)?;
    text.get(at..at + part.len())
}

/// Goes from one to the next; `item` says where the one ends that begins at a place. Whether all of the
/// text was that.
fn each_of(
    text: &[u8],
    opens: u8,
    closes: u8,
    mut item: impl FnMut(usize) -> Option<usize>,
) -> bool {
    let mut walk = || -> Option<usize> {
        let mut at = space(text, 0);
        if *text.get(at)? != opens {
            return None;
        }
        at = space(text, at + 1);
        if *text.get(at)? == closes {
            return Some(at + 1);
        }
        loop {
            at = space(text, item(at)?);
            match *text.get(at)? {
                b',' => at = space(text, at + 1),
                byte if byte == closes => return Some(at + 1),
                _ => return None,
            }
        }
    };
    walk().is_some_and(|end| space(text, end) == text.len())
}

/// Where the value ends that begins here.
fn value(text: &[u8], mut at: usize) -> Option<usize> {
    // What is open, innermost last: 1 is an object. The first bit is nobody's.
    let (mut open, mut depth) = (0_u64, 0_u32);
    loop {
        at = match text.get(at)? {
            b'"' => string(text, at)?,
            b't' => word(text, at, b"true")?,
            b'f' => word(text, at, b"false")?,
            b'n' => word(text, at, b"null")?,
            b'-' | b'0'..=b'9' => number(text, at)?,
            bracket @ (b'{' | b'[') => {
                let is_object = *bracket == b'{';
                let within = space(text, at + 1);
                match (text.get(within)?, is_object) {
                    (b'}', true) | (b']', false) => within + 1,
                    _ if depth == DEEPEST => return None,
                    (_, is_object) => {
                        (open, depth) = (open << 1 | u64::from(is_object), depth + 1);
                        at = within;
                        if is_object {
                            at = space(text, colon(text, string(text, at)?)?);
                        }
                        continue;
                    }
                }
            }
            _ => return None,
        };
        loop {
            if depth == 0 {
                return Some(at);
            }
            at = space(text, at);
            let is_object = open & 1 == 1;
            match (text.get(at)?, is_object) {
                (b',', true) => {
                    let name = space(text, at + 1);
                    at = space(text, colon(text, string(text, name)?)?);
                    break;
                }
                (b',', false) => {
                    at = space(text, at + 1);
                    break;
                }
                (b'}', true) | (b']', false) => {
                    (open, depth) = (open >> 1, depth - 1);
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

/// Behind the space that begins here, if any does.
fn space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// Behind the colon that follows a name.
fn colon(text: &[u8], at: usize) -> Option<usize> {
    let at = space(text, at);
    (text.get(at) == Some(&b':')).then_some(at + 1)
}

fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text[at..].starts_with(word).then_some(at + word.len())
}

/// Behind the second quote of a text that begins here.
fn string(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    // Most names end within the first eight bytes; what does not is mostly long.
    if let Some(unlike) = eight(text, at) {
        at += unlike;
        if unlike == 8 {
            while let Some(many) = text.get(at..at + MANY).and_then(|it| it.try_into().ok())
                && are_alike(many)
            {
                at += MANY;
            }
            while let Some(unlike) = eight(text, at) {
                at += unlike;
                if unlike < 8 {
                    break;
                }
            }
        }
    }
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' | ..b' ' | 0x80.. => return None,
            _ => at += 1,
        }
    }
}

/// How many of the next eight bytes stand before one that ends a text or is unusual; none where there
/// are not so many.
fn eight(text: &[u8], at: usize) -> Option<usize> {
    let eight = text.get(at..at + 8).and_then(|it| it.try_into().ok())?;
    Some(first_unlike(u64::from_le_bytes(eight)).unwrap_or(8))
}

/// Whether no byte is a quote, a backslash, a control character or beyond ASCII. Without a branch, so that
/// the compiler looks at all of them at once.
fn are_alike(many: &[u8; MANY]) -> bool {
    let unlike = many.iter().fold(0, |unlike, byte| {
        // What is beyond ASCII is negative.
        let special = (*byte == b'"') | (*byte == b'\\') | (byte.cast_signed() < 0x20);
        unlike | u8::from(special)
    });
    unlike == 0
}

/// The first of eight bytes that is a quote, a backslash, a control character or beyond ASCII.
fn first_unlike(eight: u64) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A byte's highest bit is set where the byte was 0; above the lowest such byte others may be
    // set as well, which does not matter to whoever wants the first.
    let zeros = |of: u64| of.wrapping_sub(EACH) & !of & HIGH;
    let control = eight.wrapping_sub(EACH * 0x20) & !eight & HIGH;
    let unlike = zeros(eight ^ (EACH * u64::from(b'"')))
        | zeros(eight ^ (EACH * u64::from(b'\\')))
        | control
        | eight & HIGH;
    (unlike != 0).then(|| unlike.trailing_zeros() as usize / 8)
}

fn number(text: &[u8], mut at: usize) -> Option<usize> {
    let digits = |at: usize| {
        let more = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let end = at + more.count();
        (end > at).then_some(end)
    };
    if text[at] == b'-' {
        at += 1;
    }
    at = match text.get(at)? {
        b'0' => at + 1,
        _ => digits(at)?,
    };
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = text.get(at) {
            at += 1;
        }
        at = digits(at)?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    fn found(text: &str) -> Option<Vec<&str>> {
        let mut all = Vec::new();
        elements(text.as_bytes(), |each| {
            all.push(std::str::from_utf8(each).unwrap());
            true
        })
        .then_some(all)
    }

    fn named(text: &str) -> Option<Vec<(&str, &str)>> {
        let mut all = Vec::new();
        members(text.as_bytes(), |name, value| {
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            all.push((text(name), text(value)));
            true
        })
        .then_some(all)
    }

    #[test]
    fn values_are_found_where_they_begin_and_end() {
        let text = r#" [ 1 , -0.5e+7,"a b" ,true,null,{"a" : [ ] , "b":{}},[[],[1]], 0 ]  "#;
        let all = [
            "1",
            "-0.5e+7",
            "\"a b\"",
            "true",
            "null",
            r#"{"a" : [ ] , "b":{}}"#,
            "[[],[1]]",
            "0",
        ];
        assert_eq!(found(text).unwrap(), all);
        assert_eq!(found("[]").unwrap(), [""; 0]);
        let text = "{\n\"a\":1,\"\": [2 ,3]\t}\r\n";
        assert_eq!(named(text).unwrap(), [("a", "1"), ("", "[2 ,3]")]);
        assert_eq!(named(" { } ").unwrap(), []);
    }

    #[test]
    fn a_text_of_any_length_ends_where_it_ends_and_is_plain_or_not_wherever_it_is_odd() {
        for length in 0..90 {
            let text = "x".repeat(length);
            assert_eq!(
                found(&format!("[\"{text}\",1]")).unwrap(),
                [&format!("\"{text}\""), "1"]
            );
            for at in 0..length {
                for odd in ["\\n", "\u{1}", "\u{1f}", "\u{e9}", "\u{7ff}"] {
                    let text = format!("[\"{}{odd}{}\"]", &text[..at], &text[at..]);
                    assert_eq!(found(&text), None, "{text}");
                }
                let (one, other) = text.split_at(at);
                let two = format!("[\"{one}\",\"{other}\u{7f}\"]");
                assert_eq!(found(&two).unwrap().len(), 2);
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_for_others() {
        for text in [
            "",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1]]",
            "[01]",
            "[1.]",
            "[.5]",
            "[1e]",
            "[-]",
            "[+1]",
            "[nul]",
            "[truefalse]",
            "[\"a\\n\"]",
            "[\"\u{e9}\"]",
            "[\"a\nb\"]",
            "[\"open]",
            "[{]}",
            "[[}]",
            "[{\"a\"}]",
            "[{\"a\":}]",
            "[{a:1}]",
            "[{\"a\":1,}]",
            "{}",
            "7",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        for text in [
            "{",
            "{\"a\"",
            "{\"a\":1",
            "{\"a\":1,}",
            "{\"a\":1}}",
            "{\"a\\u0041\":1}",
            "[]",
            "{\"a\":1 \"b\":2}",
        ] {
            assert_eq!(named(text), None, "{text}");
        }
        let nested = |depth: usize| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        assert!(found(&nested(50)).is_some());
        assert!(found(&nested(80)).is_none());
    }

    #[test]
    fn whoever_wants_no_more_is_told_no_more() {
        let mut seen = 0;
        assert!(!elements(b"[1,2,3]", |_| {
            seen += 1;
            seen < 2
        }));
        assert_eq!(seen, 2);
    }

    #[test]
    fn every_byte_of_a_text_is_looked_at() {
        for length in 0..40 {
            for at in 0..length {
                for bad in [0, 0x1f, b'\\', 0x80, 0xff] {
                    let mut text = vec![b'~'; length + 2];
                    (text[0], text[length + 1]) = (b'"', b'"');
                    assert_eq!(string(&text, 0), Some(length + 2));
                    text[at + 1] = bad;
                    assert_eq!(string(&text, 0), None, "{length} {at} {bad}");
                    text[at + 1] = b'"';
                    assert_eq!(string(&text, 0), Some(at + 2));
                    text[at + 1] = b' ';
                    assert_eq!(string(&text, 0), Some(length + 2));
                }
            }
        }
    }

    /// Text that is nearly JSON.
    fn near_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("0".to_owned()),
            Just("-1.5e-3".to_owned()),
            "[0-9.eE+-]{1,5}",
            "\"[ -~]{0,12}\"",
            "\"[a-z\u{e9}\\\\]{0,4}\"",
            Just("\"0xfeaf968c0000\"".to_owned()),
            Just(String::new()),
        ];
        let nested = leaf.prop_recursive(4, 40, 5, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..5);
            let object = prop::collection::vec(("\"[a-z]{0,3}\"|[a-z]|\"\\\\u0041\"", inner), 0..5);
            prop_oneof![
                (list, "[ \n]{0,2}").prop_map(|(list, gap)| format!(
                    "[{gap}{}{gap}]",
                    list.join(&format!("{gap},{gap}"))
                )),
                object.prop_map(|all| {
                    let all: Vec<String> = all
                        .into_iter()
                        .map(|(name, value)| format!("{name}:{value}"))
                        .collect();
                    format!("{{{}}}", all.join(", "))
                }),
            ]
        });
        (nested, 0..60_usize, prop::option::of(any::<char>())).prop_map(|(mut text, at, odd)| {
            if let (Some(odd), true) = (odd, text.is_char_boundary(at.min(text.len()))) {
                text.insert(at.min(text.len()), odd);
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_found_is_what_serde_finds(text in near_json()) {
            if let Some(found) = found(&text) {
                let list: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
                let list: Vec<&str> = list.iter().map(|raw| raw.get()).collect();
                prop_assert_eq!(found, list);
            } else if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(&text) {
                // It is JSON, so something about it is not plain.
                let plain = text.is_ascii() && !text.contains('\\');
                prop_assert!(!plain, "{} in {:?}", list.len(), text);
            }
            if let Some(named) = named(&text) {
                let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
                for (name, _) in &named {
                    prop_assert!(object.contains_key(*name));
                }
                let (_, last) = named.last().copied().unwrap_or(("", "null"));
                prop_assert!(serde_json::from_str::<&RawValue>(last).is_ok());
            }
        }

        #[test]
        fn whatever_comes_is_looked_at_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut text = b"[\"".to_vec();
            text.extend_from_slice(&bytes);
            for text in [&bytes, &text] {
                if elements(text, |_| true) {
                    prop_assert!(serde_json::from_slice::<Vec<&RawValue>>(text).is_ok());
                }
                if members(text, |_, _| true) {
                    prop_assert!(serde_json::from_slice::<&RawValue>(text).is_ok());
                }
            }
        }
    }
}
