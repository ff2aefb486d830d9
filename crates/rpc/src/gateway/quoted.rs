//! A refusal without what is only quoted in it.
//!
//! Clients repeat what they do not like: the name of a method, a parameter. What a caller wrote may
//! speak of limits and missing blocks as it likes; taken for the endpoint's own words it would shut
//! that endpoint for everybody.

use std::borrow::Cow;

use super::class::{self, Class};
use super::question::Question;
use super::route::WAIT_WORDS;
use crate::refusal;
use crate::send_errors::Overrides;
use crate::wire::Refusal;

/// What a refusal of a question means, and the refusal in the endpoint's own words.
pub(super) fn class<'a>(
    question: &Question,
    refusal: &'a Refusal,
    overrides: &Overrides,
) -> (Class, Cow<'a, Refusal>) {
    let (_, asked) = question.encoded();
    let own = own_words(refusal, &asked);
    let class = match class::class(question.name(), &own, overrides) {
        // Nothing that a caller's words had a part in is held against an endpoint.
        Class::Internal if matches!(own, Cow::Owned(_)) => Class::Params,
        class => class,
    };
    (class, own)
}

/// The refusal without telling words that stand in the question as well.
fn own_words<'a>(refusal: &'a Refusal, asked: &[u8]) -> Cow<'a, Refusal> {
    let mut message = Cow::Borrowed(refusal.message.as_str());
    let mut asked_words = None;
    for word in telling_words() {
        let lower = message.to_ascii_lowercase();
        if !lower.contains(word) {
            continue;
        }
        let asked = asked_words.get_or_insert_with(|| words_of(asked));
        if asked.contains(word) {
            message = Cow::Owned(lower.replace(word, " "));
        }
    }
    match message {
        Cow::Borrowed(_) => Cow::Borrowed(refusal),
        Cow::Owned(message) => Cow::Owned(Refusal {
            message,
            ..refusal.clone()
        }),
    }
}

fn telling_words() -> impl Iterator<Item = &'static str> {
    let of_class = class::WORDS.iter().copied();
    let of_refusals = refusal::WORDS.iter().copied();
    let tables = of_class.chain(of_refusals).chain([WAIT_WORDS]);
    tables.flat_map(|table| table.iter().copied())
}

/// What a question says, in small letters and without escapes of letters. Taken from its text, because a
/// member that is there twice is quoted by one client and dropped by another.
fn words_of(asked: &[u8]) -> String {
    let text = String::from_utf8_lossy(asked);
    let mut parts = text.split("\\u");
    let mut words = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escaped = part
            .get(..4)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match escaped.and_then(char::from_u32) {
            Some(letter) => {
                words.push(letter);
                words.push_str(&part[4..]);
            }
            None => words.push_str(part),
        }
    }
    words.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(code: i64, message: &str, asked: &str) -> (Class, bool) {
        let refusal = Refusal {
            code,
            message: message.to_owned(),
            data: None,
        };
        let own = own_words(&refusal, asked.as_bytes());
        let class = class::class("x", &own, &Overrides::default());
        (class, matches!(own, Cow::Owned(_)))
    }

    #[test]
    fn words_a_caller_wrote_say_nothing_about_the_endpoint_that_quotes_them() {
        for (code, message, asked) in [
            (
                -32601,
                "the method eth_x Rate Limit exceeded, retry after 60 s does not exist/is not available",
                r#"{"method":"eth_x rate limit exceeded, retry after 60 s","params":[]}"#,
            ),
            (
                -32602,
                "invalid value: string \"rate limit exceeded, retry after 60 s\", expected hex",
                r#"{"method":"web3_sha3","params":["rate limit exceeded, retry after 60 s"]}"#,
            ),
            (
                -32602,
                "invalid value: string \"header not found\", expected hex",
                r#"{"method":"web3_sha3","params":["header\u0020not found"]}"#,
            ),
            (
                -32602,
                "invalid argument 0: missing trie node",
                r#"{"method":"x","params":["Missing Trie Node"]}"#,
            ),
        ] {
            let (class, changed) = own(code, message, asked);
            assert!(changed, "{message}");
            assert!(
                matches!(class, Class::NoMethod | Class::Params),
                "{message}: {class:?}"
            );
        }
    }

    #[test]
    fn a_question_is_read_whatever_is_escaped_and_however_often_a_member_is_there() {
        let asked = br#"{"a":"Rate\u0020L\u0049mit","a":"\u00zz \ud800 x"}"#;
        let words = words_of(asked);
        assert!(words.contains("rate limit"), "{words}");
        assert_eq!(words_of(b"\xff\\u"), "\u{fffd}");
    }

    #[test]
    fn an_endpoint_is_believed_in_its_own_words() {
        let asked = r#"{"method":"eth_call","params":[{"to":"0x00"},"latest"]}"#;
        let limited = "rate limit exceeded, retry after 60 s";
        assert_eq!(own(-32000, limited, asked), (Class::RateLimited, false));
        assert_eq!(
            own(-32000, "header not found", asked),
            (Class::MissingBlock, false)
        );
    }
}
