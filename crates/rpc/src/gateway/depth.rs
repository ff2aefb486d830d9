//! How deeply JSON is nested, found out before anything is built from it.

/// Whether arrays and objects lie in one another more than `most` deep. Says nothing about whether
/// it is JSON at all.
pub(crate) fn is_deeper_than(most: usize, json: &[u8]) -> bool {
    // Too short to open and close so many.
    if json.len() <= 2 * most || opening(json) <= most {
        return false;
    }
    let (mut depth, mut quoted, mut at) = (0_usize, false, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    false
}

/// Brackets that open something, or stand in a text.
fn opening(json: &[u8]) -> usize {
    // So few at a time that their number fits a byte: the compiler counts many at once then.
    let few = |bytes: &[u8]| -> u8 {
        let is_one = |byte: &u8| u8::from(*byte == b'[') + u8::from(*byte == b'{');
        bytes.iter().map(is_one).sum()
    };
    json.chunks(128).map(|bytes| usize::from(few(bytes))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_and_brackets_in_texts_are_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_deeper_than(64, nested(64).as_bytes()));
        assert!(is_deeper_than(64, nested(65).as_bytes()));
        assert!(is_deeper_than(2, br#"{"a":[{"b":1}], "long": "enough"}"#));
        assert!(!is_deeper_than(3, br#"{"a":[{"b":1}], "long": "enough"}"#));
        let text = format!(r#"["{}\"{}"]"#, "[".repeat(100), "{".repeat(100));
        assert!(!is_deeper_than(2, text.as_bytes()));
        let many = format!("[{}]", vec!["[]"; 1000].join(","));
        assert!(!is_deeper_than(2, many.as_bytes()));
        // Not closed: that is for the parser to say.
        assert!(is_deeper_than(64, "[".repeat(200).as_bytes()));
    }
}
