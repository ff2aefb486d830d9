//! What a JSON-RPC error means for the caller, judged by the words, because codes mean five
//! different things at five clients.

use crate::error::{CallError, RpcError};
use crate::revert;
use crate::send_errors::{ErrorClass, Overrides};
use crate::wire::Refusal;

/// Distinctive parts of "a range of logs has too many blocks, whatever is looked for in them", lower case.
const TOO_WIDE: &[&str] = &[
    "eth_getlogs is limited to a",
    "requested too many blocks from",
    "too wide blocks range",
    "max block range",
    "maximum block range",
    "invalid block range",
    "range is too wide",
    "range is too large",
    "range too large",
    "exceeds maximum rpc range limit",
    "logs over more than",
    "limit the query to",
    "block range limit",
];
/// The same of "there is too much in this range, or it takes too long". Some of these texts go on to name
/// a range that would do.
const TOO_MUCH: &[&str] = &[
    "query returned more than",
    "log response size exceeded",
    "max results",
    "response too large",
    "response size should not",
    "response is too big",
    "too many results",
    "request timed out",
    "query timeout",
    "context deadline exceeded",
];

/// Codes that go with the texts about size, range or time of a provider whose words we do not know.
const SIZE_CODES: &[i64] = &[-32003, -32005, -32602, -32614, -32002, -32000];
const SIZE_WORDS: &[&str] = &[
    "range",
    "limit",
    "too large",
    "too many",
    "timeout",
    "timed out",
    "exceed",
];
/// Too much looked for at once: fewer blocks would not help.
const TOO_MANY_WANTED: &[&str] = &["addresses", "topics"];

/// An endpoint that does not have the block, lower case.
const UNKNOWN_BLOCK: &[&str] = &[
    "unknown block",
    "header not found",
    "header for hash not found",
    "block not found",
    "block is not available",
    "could not find block",
    "no block with",
    "hash is not currently canonical",
    "block range extends beyond current head",
    "request beyond head block",
    "blockoutofrange",
];

const RATE_LIMITED: &[&str] = &[
    "rate limit",
    "rate-limit",
    "too many requests",
    "request limit",
    "compute units per second",
    "requests per second",
    "rps limit",
    "capacity exceeded",
    "capacity limit exceeded",
    "request count exceeded",
    "request rate exceeded",
    "out of credits",
    "quota exceeded",
    "exceeded the quota",
    "exceeded your quota",
];
/// All words that tell something wherever they stand.
pub(crate) const WORDS: [&[&str]; 4] = [TOO_WIDE, TOO_MUCH, UNKNOWN_BLOCK, RATE_LIMITED];

/// Whether a refusal for size says something about the endpoint: that it takes fewer blocks at once,
/// whoever asks for whatever. Too many results or too much time are about one question.
pub(crate) fn is_about_width(message: &str) -> bool {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    says(TOO_WIDE) && !says(TOO_MUCH)
}

/// EIP-1474's "limit exceeded". Asked for logs, clients mean the size of the range by it.
const LIMIT_EXCEEDED: i64 = -32005;

/// Whether a refusal is the outcome of executing what was asked. Its text is a contract's then, and
/// says nothing about the endpoint.
pub(crate) fn is_execution_failure(refusal: &Refusal) -> bool {
    let Refusal {
        code,
        message,
        data,
    } = refusal;
    revert::is_execution_failure(*code, message, data.as_deref())
}

pub(crate) fn judge(node: &str, method: &str, refusal: Refusal, overrides: &Overrides) -> RpcError {
    let executed = is_execution_failure(&refusal);
    let Refusal {
        code,
        message,
        data,
    } = refusal;
    let lower = message.to_lowercase();
    let says = |words: &[&str]| !executed && words.iter().any(|word| lower.contains(word));
    let node = node.to_owned();

    let spent = code == LIMIT_EXCEEDED && method != "eth_getLogs" && says(&["limit exceeded"]);
    if code == 429 || spent || (says(RATE_LIMITED) && !lower.contains("range")) {
        return RpcError::RateLimited { node, message };
    }
    // Before the size of a range, because some of these speak of ranges too.
    if code == -39001
        || says(UNKNOWN_BLOCK)
        || !executed && overrides.matches(ErrorClass::MissingBlocks, &message)
    {
        return RpcError::UnknownBlock { node, message };
    }
    if method == "eth_getLogs" {
        let about_size = says(TOO_WIDE)
            || says(TOO_MUCH)
            || (SIZE_CODES.contains(&code) && says(SIZE_WORDS) && !says(TOO_MANY_WANTED));
        if about_size || overrides.matches(ErrorClass::TooManyResults, &message) {
            return RpcError::TooManyResults { node, message };
        }
    }
    RpcError::Refused {
        node,
        method: method.to_owned(),
        code,
        message,
        data,
    }
}

/// Tells a contract's failure from an endpoint's.
pub(crate) fn of_call(error: RpcError) -> CallError {
    match error {
        RpcError::Refused {
            code,
            message,
            data,
            ..
        } if revert::is_execution_failure(code, &message, data.as_deref()) => {
            let data = data.as_deref().map(revert::data).unwrap_or_default();
            CallError::Reverted {
                reason: revert::reason(&data),
                data,
                code,
                message,
            }
        }
        other => CallError::Rpc(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(method: &str, code: i64, message: &str) -> RpcError {
        judge(
            "n",
            method,
            Refusal {
                code,
                message: message.to_owned(),
                data: None,
            },
            &Overrides::default(),
        )
    }

    #[test]
    fn what_is_wrong_with_one_filter_says_nothing_about_the_range_others_may_ask_for() {
        for (text, width) in [
            ("eth_getLogs is limited to a 10,000 range", true),
            (
                "requested too many blocks from 1 to 90000, maximum is set to 2048",
                true,
            ),
            ("query exceeds max block range 100000", true),
            (
                "query returned more than 10000 results. Try with this block range [0x1, 0x2]",
                false,
            ),
            (
                "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
                false,
            ),
            (
                "query exceeds max results 20000, retry with the range 1-2",
                false,
            ),
            ("query timeout exceeded", false),
            ("weird provider text: cannot do that much", false),
        ] {
            assert_eq!(is_about_width(text), width, "{text}");
        }
        let wanted = judged(
            "eth_getLogs",
            -32000,
            "exceed max addresses or topics per search position",
        );
        assert!(matches!(wanted, RpcError::Refused { .. }), "{wanted}");
    }

    #[test]
    fn every_known_text_for_too_many_logs_asks_for_a_smaller_range() {
        for (code, text) in [
            (-32005, "query returned more than 10000 results"),
            (
                -32602,
                "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
            ),
            (-32614, "eth_getLogs is limited to a 10,000 range"),
            (
                -32005,
                "requested too many blocks from 1 to 90000, maximum is set to 2048",
            ),
            (-32000, "too wide blocks range, the limit is 100"),
            (-32602, "query exceeds max block range 100000"),
            (
                -32602,
                "query exceeds max results 20000, retry with the range 1-2",
            ),
            (-32000, "invalid block range"),
            (-32000, "block range is too wide"),
            (-32005, "Requested range exceeds maximum RPC range limit"),
            (-32602, "exceed maximum block range 1000"),
            (-32000, "context deadline exceeded"),
            (-32002, "request timed out"),
            (-32003, "response too large"),
            (-32005, "please limit your query"),
        ] {
            assert!(
                matches!(
                    judged("eth_getLogs", code, text),
                    RpcError::TooManyResults { .. }
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn the_same_words_about_something_else_are_not_about_logs() {
        assert!(matches!(
            judged("eth_call", -32000, "invalid block range"),
            RpcError::Refused { .. }
        ));
        assert!(matches!(
            judged("eth_getLogs", -32000, "invalid address"),
            RpcError::Refused { .. }
        ));
    }

    #[test]
    fn a_block_the_endpoint_does_not_have_is_no_failure_of_the_question() {
        for (code, text) in [
            (-32000, "unknown block"),
            (-32000, "header not found"),
            (-32000, "header for hash not found"),
            (-32001, "block not found: 0x12"),
            (-39001, "Unknown block"),
            (-32602, "block range extends beyond current head block"),
            (-32602, "request beyond head block: requested 9, head 8"),
            (
                -32602,
                "BlockOutOfRangeError: block height is 0 but requested was 5",
            ),
        ] {
            assert!(
                matches!(
                    judged("eth_getLogs", code, text),
                    RpcError::UnknownBlock { .. }
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn what_a_contract_says_is_never_taken_for_the_endpoints_words() {
        for text in [
            "execution reverted: rate limit exceeded, retry after 60 s",
            "execution reverted: header not found",
            "execution reverted: limit exceeded",
        ] {
            for code in [3, -32000, -32005] {
                let judged = judged("eth_call", code, text);
                assert!(matches!(judged, RpcError::Refused { .. }), "{code} {text}");
            }
        }
    }

    #[test]
    fn a_limit_exceeded_is_about_the_quota_unless_logs_were_asked_for() {
        assert!(matches!(
            judged("eth_call", -32005, "limit exceeded"),
            RpcError::RateLimited { .. }
        ));
        assert!(matches!(
            judged("eth_getLogs", -32005, "limit exceeded"),
            RpcError::TooManyResults { .. }
        ));
    }

    #[test]
    fn a_rate_limit_is_neither_size_nor_failure() {
        for (code, text) in [
            (429, "slow down"),
            (-32005, "daily request limit reached"),
            (-32005, "rate limit exceeded"),
            (-32000, "Monthly capacity limit exceeded."),
            (-32007, "You have exceeded the RPS limit of your plan"),
            (-32016, "daily quota exceeded"),
        ] {
            assert!(
                matches!(
                    judged("eth_getLogs", code, text),
                    RpcError::RateLimited { .. }
                ),
                "{text}"
            );
        }
    }
}
