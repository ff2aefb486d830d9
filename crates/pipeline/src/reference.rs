//! The page `docs/reference/tasks.md`: every task with its attributes, as this version reads them.
//!
//! Which attributes there are is taken from the table the parser uses; where each is looked for is
//! compared with what the tasks really do, by a test that watches them.

use std::fmt::Write as _;

use crate::task_type::TaskType;

/// One attribute: name, where it is looked for, what it must be, what it is when nothing is said.
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) places: &'static str,
    pub(crate) type_: &'static str,
    pub(crate) default: &'static str,
}

const fn a(
    name: &'static str,
    places: &'static str,
    type_: &'static str,
    default: &'static str,
) -> Attribute {
    Attribute {
        name,
        places,
        type_,
        default,
    }
}

/// What there is to say about a type of task.
pub(crate) struct Entry {
    pub(crate) does: &'static str,
    pub(crate) inputs: &'static str,
    pub(crate) output: &'static str,
    pub(crate) errors: &'static str,
    pub(crate) attributes: Vec<Attribute>,
}

const REQUIRED: &str = "required";
const TRUTH: &str = "true/false";
const NUMBER: &str = "number";
const BYTES: &str = "bytes";
const TEXT: &str = "text";
const CHAIN: Attribute = a("evmChainID", "E L", TEXT, "`$(jobSpec.evmChainID)`");
const BLOCK: Attribute = a("block", "E R", "`latest` or `pending`", "`latest`");

/// The entry of a type.
pub(crate) fn entry(kind: TaskType) -> Entry {
    use TaskType::*;
    let entry = |does, inputs, output, errors, attributes: Vec<Attribute>| Entry {
        does,
        inputs,
        output,
        errors,
        attributes,
    };
    match kind {
        Any => entry(
            "Takes one of its inputs that did not fail, at random.",
            "1 or more, failed ones allowed",
            "the input",
            "every input has failed",
            vec![],
        ),
        Base64Decode => entry(
            "Reads base64 (standard alphabet, with padding; line breaks inside are skipped).",
            "0–1",
            "bytes",
            "not base64",
            vec![a("input", "E L I", TEXT, REQUIRED)],
        ),
        Base64Encode => entry(
            "Writes base64 (standard alphabet, with padding). Text is taken as its UTF-8, also when it starts with `0x`.",
            "0–1",
            "text",
            "neither text nor bytes",
            vec![a("input", "E L I", "text or bytes", REQUIRED)],
        ),
        Bridge => entry(
            "Posts to an external adapter the operator has registered. The body is `requestData` with `meta` of the run beside it, and `responseURL` when asynchronous. Private addresses are allowed; cloud metadata addresses never.",
            "any number; the first one goes into the body where `includeInputAtKey` says so",
            "the body of the response as text; or, when asynchronous and the adapter says so (header `X-Chainlink-Pending` or `\"pending\": true`), what it sends later",
            "no such bridge; a status of 400 or more; a status inside the body other than 200 (`statusCode`, `providerStatusCode`, `error`); a response larger than allowed; a timeout",
            vec![
                a("name", "L", TEXT, REQUIRED),
                a("requestData", "E J", "map", "`{}`"),
                a("includeInputAtKey", "R", TEXT, "not included"),
                a("async", "the text `true`", TRUTH, "false"),
                a(
                    "cacheTTL",
                    "L",
                    "duration, whole seconds",
                    "`WebServer.BridgeCacheTTL`; 0 is off. Only ever used after a failure",
                ),
                a(
                    "headers",
                    "L",
                    "JSON list of names and values in turn",
                    "none",
                ),
                a(
                    "checkRequired",
                    "L",
                    TRUTH,
                    "false. With `cacheTTL`: an answer without a path that a strict `jsonparse` reads counts as a failure",
                ),
            ],
        ),
        CborParse => entry(
            "Reads the parameters of a request (`diet`: a map whose outer delimiters may be missing) or any CBOR value (`standard`).",
            "any number, not used",
            "map; any value in standard mode",
            "malformed CBOR; a name that is no text (diet); nesting deeper than 100",
            vec![
                a("data", "E", BYTES, REQUIRED),
                a("mode", "L", "`diet` or `standard`", "`diet`"),
            ],
        ),
        Coalesce => entry(
            "Takes the first of its inputs that neither failed nor is null.",
            "any number, failed ones allowed",
            "the input, or null",
            "none",
            vec![],
        ),
        Conditional => entry(
            "Lets a run go on only when something is true. With `failEarly=\"true\"` the run ends here; without it, tasks behind it fail one after another.",
            "0–1",
            "true",
            "`conditional was not satisfied`",
            vec![a("data", "E I", TRUTH, REQUIRED)],
        ),
        Divide => entry(
            "A quotient, rounded half away from zero.",
            "any number; the first one may be `input`",
            "decimal",
            "`divide by zero`, `division overflow`",
            vec![
                a("input", "E L I", NUMBER, REQUIRED),
                a("divisor", "E L", NUMBER, REQUIRED),
                a(
                    "precision",
                    "E R",
                    "decimal places, negative for tens and hundreds",
                    "16",
                ),
            ],
        ),
        EstimateGasLimit => entry(
            "Asks the chain how much gas a call would take, times `multiplier`, at most the gas limit of the job. When the chain cannot say, that limit is the value.",
            "any number, failed ones too, not used",
            "whole number",
            "`invalid EVM chain ID`; a product that is no 64-bit number",
            vec![
                a("input", "not read", "–", "–"),
                a("from", "E L", "address", "the zero address"),
                a("to", "E L", "address", REQUIRED),
                a("multiplier", "E L", NUMBER, "1"),
                a("data", "E L", BYTES, REQUIRED),
                CHAIN,
                BLOCK,
            ],
        ),
        EthAbiDecode => entry(
            "Contract data to values. `abi` is `type name, …` without parentheses.",
            "0–1",
            "map by name; empty for no data",
            "data that is too short, points behind its end or does not fit its type",
            vec![
                a("abi", "L", "types and names", REQUIRED),
                a("data", "E I", BYTES, REQUIRED),
            ],
        ),
        EthAbiDecodeLog => entry(
            "An event log to values. `abi` is `Name(type [indexed] name, …)`; neither name nor first topic are compared. Indexed fields of dynamic types are their hashes.",
            "any number, not used",
            "map by name",
            "`topic/field count mismatch`; data that does not fit",
            vec![
                a("abi", "L", "signature of the event", REQUIRED),
                a("data", "E", BYTES, "none"),
                a("topics", "E", "list of hashes", REQUIRED),
            ],
        ),
        EthAbiEncode => entry(
            "Values to contract data. `abi` is `name(type name, …)`: with a name the selector comes first, without one the arguments alone. Fractions are cut off; what does not fit its type is an error.",
            "any number, not used",
            "`0x` hex text",
            "`argument '…' is missing`, `overflow`, a value that is not of its type",
            vec![
                a("abi", "L", "signature", REQUIRED),
                a("data", "E J", "map by name", "`{}`"),
            ],
        ),
        EthAbiEncode2 => entry(
            "The same with a signature in JSON, `{\"name\": …, \"inputs\": [{\"name\", \"type\", \"components\"}]}`, which can have tuples. Recorded as `ethabiencode`.",
            "any number, not used",
            "`0x` hex text",
            "as `ethabiencode`",
            vec![
                a("abi", "L", "signature in JSON", REQUIRED),
                a("data", "E J", "map by name", "`{}`"),
            ],
        ),
        EthCall => entry(
            "Reads from a contract.",
            "any number, not used",
            "bytes",
            "`invalid EVM chain ID`; what the endpoint says; empty `data`; `gas` beside `gasUnlimited`",
            vec![
                a("contract", "E L", "address", REQUIRED),
                a("from", "E L", "address", "the zero address"),
                a(
                    "data",
                    "E J",
                    "bytes; as a literal a JSON string or bare hex",
                    REQUIRED,
                ),
                a(
                    "gas",
                    "E L",
                    "whole number",
                    "0: the gas limit of the job, else of the chain",
                ),
                a("gasPrice", "E R", "wei", "unset"),
                a("gasTipCap", "E R", "wei", "unset"),
                a("gasFeeCap", "E R", "wei", "unset"),
                a("gasUnlimited", "E L", TRUTH, "false"),
                a(
                    "extractRevertReason",
                    "when the job is created",
                    TRUTH,
                    "false",
                ),
                CHAIN,
                BLOCK,
            ],
        ),
        EthTx => entry(
            "Asks for a transaction. It is queued together with the results of the run, once, however often the run is executed. It is sent by the key itself: forwarders are not used by this version, whatever `forwardingAllowed` of the job says.",
            "any number, not used",
            "null at once with `minConfirmations=0`; else the receipt, when it has that many confirmations",
            "a parameter that does not fit; with `failOnRevert` a transaction that reverted",
            vec![
                a(
                    "from",
                    "E J",
                    "list of addresses; one bare address is a list",
                    "any enabled key of the chain",
                ),
                a("to", "E L", "address", REQUIRED),
                a("data", "E L", BYTES, REQUIRED),
                a(
                    "gasLimit",
                    "E L",
                    "whole number",
                    "the gas limit of the job, else of the chain",
                ),
                a("txMeta", "E J", "map; unknown keys are an error", "`{}`"),
                a(
                    "minConfirmations",
                    "E L",
                    "whole number",
                    "`FinalityDepth` of the chain",
                ),
                a("failOnRevert", "L", TRUTH, "false"),
                CHAIN,
                a(
                    "transmitChecker",
                    "E J",
                    "map; with `CheckerType` = `simulate` it is tried against the chain before it is signed and not sent if it would revert; unknown keys are an error",
                    "none",
                ),
            ],
        ),
        Fail => entry(
            "Always fails, for trying things out.",
            "any number, failed ones too, not used",
            "none",
            "its text",
            vec![a("msg", "E L", TEXT, "empty")],
        ),
        HexDecode => entry(
            "Reads `0x` hex text.",
            "0–1",
            "bytes",
            "`hex string must have prefix 0x`; not hexadecimal",
            vec![a("input", "E L I", TEXT, REQUIRED)],
        ),
        HexEncode => entry(
            "Writes `0x` hex text. Text is taken as its UTF-8 (also when it is digits or starts with `0x`), whole numbers are written without padding (`256` is `0x100`), nothing is the empty text.",
            "0–1",
            "text",
            "`negative integer`, `decimal input`",
            vec![a("input", "E L I", "text, bytes or whole number", REQUIRED)],
        ),
        Http => entry(
            "Asks a data source. A body is sent whatever the method when there is `requestData`. Redirects are followed, at most ten; where each leads is judged again.",
            "any number, not used",
            "the body of the response as text, or bytes where it is no text",
            "`disallowed IP`; `got error from <url>: (status code N) …` from 400 on; `HTTP response too large, must be less than N bytes`; `http request timed out or interrupted`",
            vec![
                a("method", "L", TEXT, "`GET`"),
                a("url", "E L", "http or https URL", REQUIRED),
                a("requestData", "E J", "map", "no body"),
                a(
                    "allowUnrestrictedNetworkAccess",
                    "L",
                    TRUTH,
                    "false: public addresses only. (The Chainlink node assumes true for a URL without expressions.)",
                ),
                a(
                    "headers",
                    "L",
                    "JSON list of names and values in turn",
                    "`Content-Type: application/json`",
                ),
            ],
        ),
        JsonParse => entry(
            "Picks one value from JSON text. Steps are names of objects or indexes of lists, negative ones from the end. Whole numbers stay exact; numbers with a fraction or an exponent become floating-point numbers. What follows the first value is ignored.",
            "0–1",
            "the value",
            "`keypath not found`; malformed JSON; nesting deeper than 100",
            vec![
                a(
                    "path",
                    "E R",
                    "text cut at `separator`, or list of texts",
                    "the whole document",
                ),
                a("separator", "R", TEXT, "`,`"),
                a("data", "E I", BYTES, REQUIRED),
                a(
                    "lax",
                    "L",
                    TRUTH,
                    "false. True: a missing last step is null",
                ),
            ],
        ),
        Length => entry(
            "Counts bytes (`0x` hex text is decoded first).",
            "0–1",
            "decimal",
            "neither text nor bytes",
            vec![a("input", "E L I", BYTES, REQUIRED)],
        ),
        LessThan => entry(
            "Whether `left` is less than `right`.",
            "0–1",
            TRUTH,
            "not a number",
            vec![
                a("left", "E L I", NUMBER, REQUIRED),
                a("right", "E L", NUMBER, REQUIRED),
            ],
        ),
        Lookup => entry(
            "Picks from a map.",
            "exactly 1, a map",
            "the value, or null",
            "not a map",
            vec![a("key", "R", TEXT, REQUIRED)],
        ),
        Lowercase => entry(
            "To lower case, letter by letter.",
            "0–1",
            "text",
            "not text",
            vec![a("input", "E L I", TEXT, REQUIRED)],
        ),
        Uppercase => entry(
            "To upper case, letter by letter.",
            "0–1",
            "text",
            "not text",
            vec![a("input", "E L I", TEXT, REQUIRED)],
        ),
        Mean => entry(
            "The average, rounded half away from zero. Failed values are left out, as far as allowed.",
            "any number, failed ones counted",
            "decimal",
            "`too many errors`; `wrong number of task inputs`; a value that is no number",
            vec![
                VALUES,
                FAULTS,
                a("precision", "E R", "decimal places", "16"),
            ],
        ),
        Median => entry(
            "The middle value; of an even number the mean of the two in the middle. Failed values are left out, as far as allowed.",
            "any number, failed ones counted",
            "decimal",
            "as `mean`",
            vec![VALUES, FAULTS],
        ),
        Memo => entry(
            "A constant or a copy; a number becomes a decimal.",
            "0–1",
            "the value",
            "not JSON",
            vec![a("value", "J I", "anything", REQUIRED)],
        ),
        Merge => entry(
            "Lays `right` over a copy of `left`, at the top level only; null on the right replaces too.",
            "0–1",
            "map",
            "not a map",
            vec![
                a("left", "E J I", "map", REQUIRED),
                a("right", "E J", "map", REQUIRED),
            ],
        ),
        Mode => entry(
            "The most frequent values. They are compared as text, so the number 1 and the text \"1\" are equal.",
            "any number, failed ones counted",
            "`{\"results\": […], \"occurrences\": n}`",
            "as `mean`, but values need not be numbers",
            vec![VALUES, FAULTS],
        ),
        Multiply => entry(
            "A product, exact. Fractions stay until something cuts them off, such as ABI encoding.",
            "0–1",
            "decimal",
            "`multiply overflow`; not a number",
            vec![
                a("input", "E L I", NUMBER, REQUIRED),
                a("times", "E L", NUMBER, REQUIRED),
            ],
        ),
        Panic => entry(
            "Panics, to see that nothing else does.",
            "any number, not used",
            "none",
            "`goroutine panicked when executing run`",
            vec![a("msg", "L", TEXT, "empty")],
        ),
        Sum => entry(
            "A sum, exact. Failed values are left out, as far as allowed.",
            "any number, failed ones counted",
            "decimal",
            "as `mean`; `overflow`",
            vec![VALUES, FAULTS],
        ),
    }
}

const VALUES: Attribute = a(
    "values",
    "E J, then all inputs",
    "list; expressions in it may name failed tasks",
    "all inputs",
);
const FAULTS: Attribute = a("allowedFaults", "R", "whole number", "all values but one");

const HEAD: &str = "\
# Tasks

This page is made from the program (`crates/pipeline/src/reference.rs`) and held by tests; `dodona tasks reference` prints it.

A pipeline is a graph of tasks. `a -> b` hands the result of `a` to `b` as an input; an expression `$(a)` in an attribute of `b`
only makes `b` wait for `a`.

Where an attribute is looked for, in this order; the first place that is not empty decides:

| sign | place |
| --- | --- |
| E | the whole text is one expression, `$(task.field.0)`: the variable. Expressions inside longer texts are not filled in |
| J | the text is JSON, in which `$(path)` may stand for any value (not inside quotes) |
| L | the text without surrounding space |
| R | the text as it is, even empty |
| I | the first input |

Numbers are whole numbers, decimals, floating-point numbers, or decimal text (`12`, `1.5`, `1e18`) of at most 10,000 digits. Bytes are
bytes, `0x` hex text, or any other text as its UTF-8. Lists and maps may also be JSON text in a variable.

## Attributes of every task

| attribute | is | default |
| --- | --- | --- |
| `type` | the type of the task, in any letter case | required |
| `index` | position among the outputs of the run; also the order in which inputs are handed on | 0 |
| `timeout` | longest time of one attempt; `0s` is no limit, not even the node's default for `http` and `bridge` | unset |
| `failEarly` | true: when the task fails, the run ends at once and is forgotten | false |
| `retries` | attempts in all; 0 and 1 are one attempt | 0 |
| `minBackoff` | wait after the first failed attempt, doubled after each further one | 5s |
| `maxBackoff` | longest wait; counts only beside `minBackoff`, and is 10s where that stands alone | 1m |
| `tags`, `streamID` | accepted, no effect | – |

None of these is an expression. A name the task does not know is ignored, and a warning says so when the job is created.
";

/// The whole page.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    for kind in TaskType::all() {
        let entry = entry(kind);
        let _ = write!(text, "\n## `{}`\n\n{}\n\n", kind.name(), entry.does);
        if !entry.attributes.is_empty() {
            text.push_str(
                "| attribute | looked for in | is | default |\n| --- | --- | --- | --- |\n",
            );
            for a in &entry.attributes {
                let _ = writeln!(
                    text,
                    "| `{}` | {} | {} | {} |",
                    a.name, a.places, a.type_, a.default
                );
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "* Inputs: {}.\n* Output: {}.\n* Errors: {}.",
            entry.inputs, entry.output, entry.errors
        );
    }
    text.push_str(
        "\n## Known and not run\n\n`vrf`, `vrfv2`, `vrfv2plus`, `contractread`, `ethgetblock`: a job with one of these is refused when it is created.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::params::trace;
    use crate::{Limits, Outcome, Pipeline, RunInput, StoredResult, Value, execute};

    #[test]
    fn the_page_names_exactly_the_attributes_that_the_parser_knows() {
        for kind in TaskType::all() {
            let said: Vec<_> = entry(kind).attributes.iter().map(|a| a.name).collect();
            assert_eq!(said, kind.attributes(), "{}", kind.name());
        }
    }

    struct Nobody;

    impl crate::Ports for Nobody {
        fn http(
            &self,
            _: crate::HttpCall,
        ) -> futures_util::future::BoxFuture<'_, Result<crate::HttpReply, crate::egress::HttpError>>
        {
            Box::pin(std::future::ready(Err(crate::egress::HttpError::TimedOut)))
        }
        fn bridge(
            &self,
            _: &str,
        ) -> futures_util::future::BoxFuture<'_, Result<crate::BridgeTarget, String>> {
            Box::pin(std::future::ready(Err("none".into())))
        }
        fn eth_call(
            &self,
            _: crate::EthCall,
        ) -> futures_util::future::BoxFuture<
            '_,
            Result<alloy::primitives::Bytes, crate::EthCallError>,
        > {
            Box::pin(std::future::ready(Err(crate::EthCallError::Unavailable(
                "none".into(),
            ))))
        }
        fn estimate_gas(
            &self,
            _: crate::EstimateGas,
        ) -> futures_util::future::BoxFuture<'_, Result<u64, crate::EthCallError>> {
            Box::pin(std::future::ready(Err(crate::EthCallError::Unavailable(
                "none".into(),
            ))))
        }
        fn finished<'a>(
            &'a self,
            _: &'a crate::TaskResult,
        ) -> futures_util::future::BoxFuture<'a, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    async fn run(kind: TaskType, with_input: bool) -> Outcome {
        // The parser wants a signature; everything else is left unsaid.
        let abi = match kind.name() {
            "ethabidecode" => "abi=\"uint256 a\"",
            "ethabidecodelog" | "ethabiencode" => "abi=\"f(uint256 a)\"",
            "ethabiencode2" => "abi=<{\"name\": \"f\"}>",
            _ => "",
        };
        let edge = if with_input {
            "i [type=memo] i -> t"
        } else {
            ""
        };
        let pipeline = Pipeline::parse(&format!("t [type={} {abi}] {edge}", kind.name())).unwrap();
        let input = StoredResult {
            output: Ok(Value::from("{}")),
        };
        let given = RunInput {
            finished: BTreeMap::from([("i".to_owned(), input)]),
            limits: Limits::default(),
            ..RunInput::default()
        };
        execute(&pipeline, given, Arc::new(Nobody)).await
    }

    /// Tasks are run with nothing said, and every place they look for a parameter is noted.
    #[tokio::test]
    async fn the_page_says_where_the_tasks_really_look() {
        let mut compared = 0;
        for kind in TaskType::all() {
            let said = entry(kind);
            for with_input in [false, true] {
                trace::begin();
                run(kind, with_input).await;
                for (name, places) in trace::end() {
                    let expected = said.attributes.iter().find(|a| a.name == name);
                    let expected = expected.unwrap_or_else(|| {
                        panic!("{}: {name} is read and not on the page", kind.name())
                    });
                    if expected.places.len() <= 5 {
                        assert_eq!(places, expected.places, "{}: {name}", kind.name());
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 80, "{compared}");
    }

    #[test]
    fn the_page_is_the_one_in_the_documentation() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/tasks.md");
        if std::env::var_os("DODONA_UPDATE_PAGES").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let held = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            held,
            page(),
            "run DODONA_UPDATE_PAGES=1 cargo test -p dodona-pipeline"
        );
    }
}
