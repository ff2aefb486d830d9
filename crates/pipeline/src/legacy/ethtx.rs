//! The end of most 0.x jobs: a transaction with what was found out.

use alloy::primitives::keccak256;

use super::adapters::{Form, Previous, Request, Walk, refuse};
use super::document::{Step, field, plain};
use super::initiators::{address, chain_id};
use super::{Refusal, write};
use crate::abi::{Type, signature};
use crate::error::excerpt;
use crate::value::Value;

const FULFIL: &str = "fulfillOracleRequest(bytes32 requestId, uint256 payment, address callbackAddress, bytes4 callbackFunctionId, uint256 expiration, bytes32 data)";
const FULFIL_MANY: &str = "fulfillOracleRequest2(bytes32 requestId, uint256 payment, address callbackAddress, bytes4 callbackFunctionId, uint256 expiration, bytes data)";
/// What `runlog` runs called unless told otherwise.
const FULFIL_SELECTOR: &str = "0x4ab0d190";

const PARAMS: &[&str] = &[
    "address",
    "functionSelector",
    "dataPrefix",
    "format",
    "gasLimit",
    "gasPrice",
    "fromAddress",
    "fromAddresses",
    "abiEncoding",
    "minRequiredOutgoingConfirmations",
];

impl Walk<'_> {
    pub(super) fn ethtx(&mut self, task: &Step) -> Result<(), Refusal> {
        self.unknown_params(task, PARAMS);
        let given = |name: &str| {
            field(&task.params, name)
                .filter(|v| **v != Value::Null)
                .and_then(plain)
                .filter(|t| !t.is_empty())
        };
        let selector = given("functionSelector");
        let custom = selector
            .as_deref()
            .is_some_and(|s| !s.eq_ignore_ascii_case(FULFIL_SELECTOR));
        let answers = matches!(self.request, Request::Log { .. }) && !custom;
        let call = match (answers, given("dataPrefix")) {
            (_, Some(_)) => {
                return refuse(
                    task,
                    "its dataPrefix are words that were made by hand",
                    "write the job in TOML with an ethabiencode task that names all arguments",
                );
            }
            (true, None) => self.answer(task, given("format"))?,
            (false, None) => self.custom_call(task, selector, given("format"))?,
        };
        self.send(task, &call)
    }

    /// The call that fulfils the request, in one word or in several.
    fn answer(&mut self, task: &Step, format: Option<String>) -> Result<String, Refusal> {
        if let Some(list) = field(&task.params, "abiEncoding").filter(|v| **v != Value::Null) {
            return self.many_words(task, list);
        }
        match format.as_deref() {
            None => {}
            Some("bytes") => {
                return refuse(
                    task,
                    "the answer of one word cannot be of any length (format bytes)",
                    "use resultcollect and abiEncoding for answers of several words",
                );
            }
            Some("preformatted") => {
                return refuse(
                    task,
                    "what preformatted answers looked like is not certain",
                    "write the job in TOML",
                );
            }
            Some(other) => {
                return refuse(
                    task,
                    &format!("the format {:?} does not exist", excerpt(other, 40)),
                    "remove it",
                );
            }
        }
        let value = self.value_of(&task.place)?;
        let word = match &self.previous {
            Previous::Word { word, .. } => word.clone(),
            _ => {
                self.warnings.push(format!("{}: the result is sent as it is: it must be 0x and 64 hexadecimal digits, and fails otherwise (0.x filled shorter ones up)", task.place));
                let id = self.chain.add(
                    "word",
                    "ethabiencode",
                    &[
                        ("abi", "\"(bytes32 value)\"".into()),
                        ("data", write::json(&format!("{{\"value\": {value}}}"))),
                    ],
                );
                format!("$({id})")
            }
        };
        Ok(self.fulfil(FULFIL, &word))
    }

    fn many_words(&mut self, task: &Step, list: &Value) -> Result<String, Refusal> {
        let Value::List(items) = list else {
            return refuse(task, "its abiEncoding is no list", "write a list of types");
        };
        let mut types = Vec::new();
        for item in items {
            let text = plain(item).unwrap_or_default();
            Type::parse(&text).map_err(|why| {
                Refusal::new(&task.place, format!("its abiEncoding: {why}"), "correct it")
            })?;
            types.push(text);
        }
        let collected = std::mem::take(&mut self.collected);
        if types.len() == collected.len() + 1 && types[0] == "bytes32" {
            types.remove(0);
        } else if types.len() == collected.len() {
            self.warnings.push(format!("{}: the request id, which the contract wants first, is put before the {} collected results", task.place, collected.len()));
        } else {
            return refuse(
                task,
                &format!(
                    "its abiEncoding has {} types for {} collected results and the request id",
                    types.len(),
                    collected.len()
                ),
                "make them match",
            );
        }
        let log = self.log_id();
        let mut arguments = vec!["bytes32 requestId".to_owned()];
        let mut data = vec![format!("\"requestId\": $({log}.requestId)")];
        for (n, (ty, value)) in types.iter().zip(&collected).enumerate() {
            let value = collected_value(task, ty, value)?;
            arguments.push(format!("{ty} value{}", n + 1));
            data.push(format!("\"value{}\": {value}", n + 1));
        }
        let id = self.chain.add(
            "words",
            "ethabiencode",
            &[
                ("abi", format!("\"({})\"", arguments.join(", "))),
                ("data", write::json(&format!("{{{}}}", data.join(", ")))),
            ],
        );
        Ok(self.fulfil(FULFIL_MANY, &format!("$({id})")))
    }

    fn fulfil(&mut self, signature: &str, data: &str) -> String {
        let log = self.log_id();
        let values = format!(
            "{{\"requestId\": $({log}.requestId), \"payment\": $({log}.payment), \"callbackAddress\": $({log}.callbackAddr), \"callbackFunctionId\": $({log}.callbackFunctionId), \"expiration\": $({log}.cancelExpiration), \"data\": {data}}}"
        );
        let id = self.chain.add(
            "call",
            "ethabiencode",
            &[
                ("abi", format!("\"{signature}\"")),
                ("data", write::json(&values)),
            ],
        );
        format!("$({id})")
    }

    /// A call of a function of somebody's contract, with one argument.
    fn custom_call(
        &mut self,
        task: &Step,
        selector: Option<String>,
        format: Option<String>,
    ) -> Result<String, Refusal> {
        let Some(selector) = selector else {
            return refuse(
                task,
                "it names no function",
                "add functionSelector to its params",
            );
        };
        if field(&task.params, "abiEncoding").is_some_and(|v| *v != Value::Null) {
            return refuse(
                task,
                "several words for a function of one's own are not convertible",
                "write the job in TOML with an ethabiencode task",
            );
        }
        let is_text = selector.contains('(');
        let signature = match (&self.options.function_signature, is_text) {
            (_, true) => selector.clone(),
            (Some(given), false) => given.clone(),
            (None, false) => {
                return refuse(
                    task,
                    &format!(
                        "the function {} is known by its selector only",
                        excerpt(&selector, 40)
                    ),
                    "say its signature: --function 'name(uint256)'",
                );
            }
        };
        let (name, ty) = one_argument(task, &signature)?;
        let hash = keccak256(format!("{name}({ty})"));
        let real = format!("0x{}", hex::encode(&hash[..4]));
        if !is_text && !real.eq_ignore_ascii_case(&selector) {
            return refuse(
                task,
                &format!(
                    "{name}({ty}) has the selector {real}, and the spec says {}",
                    excerpt(&selector, 40)
                ),
                "check the signature",
            );
        }
        let value = self.value_of(&task.place)?;
        let value = match (&self.previous, format.as_deref()) {
            (Previous::Word { of, form, .. }, None) if fits(*form, &ty) => of.clone(),
            (Previous::Word { form, .. }, None) => {
                return refuse(
                    task,
                    &format!("the result was made for {form:?} and {name} takes {ty}"),
                    "use the formatting task that fits",
                );
            }
            (_, Some("bytes")) if matches!(ty, Type::Bytes | Type::String) => value,
            (_, None) if ty == Type::FixedBytes(32) => value,
            _ => {
                return refuse(
                    task,
                    &format!("how its result becomes {ty} is not certain"),
                    "put ethuint256, ethint256, ethbool or ethbytes32 in front",
                );
            }
        };
        let id = self.chain.add(
            "call",
            "ethabiencode",
            &[
                ("abi", format!("\"{name}({ty} value)\"")),
                ("data", write::json(&format!("{{\"value\": {value}}}"))),
            ],
        );
        Ok(format!("$({id})"))
    }

    pub(super) fn ethtxabiencode(&mut self, task: &Step) -> Result<(), Refusal> {
        self.unknown_params(
            task,
            &[
                "address",
                "functionABI",
                "gasLimit",
                "gasPrice",
                "fromAddress",
                "fromAddresses",
                "minRequiredOutgoingConfirmations",
            ],
        );
        let Some(abi @ Value::Map(fields)) = field(&task.params, "functionABI") else {
            return refuse(
                task,
                "it has no functionABI",
                "add {\"name\": …, \"inputs\": […]}",
            );
        };
        let mut kept = fields.clone();
        kept.retain(|key, _| matches!(key.as_str(), "name" | "inputs"));
        let text = write::json_literal(&task.place, &Value::Map(kept))?;
        signature::json_function(&text).map_err(|why| {
            Refusal::new(
                &task.place,
                format!(
                    "its functionABI {}: {why}",
                    excerpt(&abi.to_output_json(), 60)
                ),
                "correct it",
            )
        })?;
        let value = self.value_of(&task.place)?;
        self.warnings.push(format!("{}: 0.x refused a result with more keys than the function has arguments; today they are ignored", task.place));
        let id = self.chain.add(
            "call",
            "ethabiencode2",
            &[
                ("abi", format!("\"{}\"", text.replace('"', "\\\""))),
                ("data", format!("\"{value}\"")),
            ],
        );
        self.send(task, &format!("$({id})"))
    }

    fn send(&mut self, task: &Step, call: &str) -> Result<(), Refusal> {
        let given = |name: &str| field(&task.params, name).filter(|v| **v != Value::Null);
        let to = match (
            given("address").and_then(plain).filter(|t| !t.is_empty()),
            self.request,
        ) {
            (Some(text), _) => address(&task.place, &text)?,
            (
                None,
                Request::Log {
                    contract: Some(contract),
                },
            ) => contract,
            (None, Request::Log { contract: None }) => Default::default(),
            (None, _) => {
                return refuse(
                    task,
                    "it names no contract to send to",
                    "add address to its params",
                );
            }
        };
        let mut attributes = vec![
            ("to", format!("\"{}\"", to.to_checksum(None))),
            ("data", format!("\"{call}\"")),
        ];
        let mut senders = Vec::new();
        for name in ["fromAddress", "fromAddresses"] {
            match given(name) {
                Some(Value::List(items)) => {
                    for item in items {
                        senders.push(address(&task.place, &plain(item).unwrap_or_default())?);
                    }
                }
                Some(value) => {
                    senders.push(address(&task.place, &plain(value).unwrap_or_default())?)
                }
                None => {}
            }
        }
        if !senders.is_empty() {
            let list: Vec<String> = senders
                .iter()
                .map(|a| format!("\"{}\"", a.to_checksum(None)))
                .collect();
            attributes.push(("from", write::json(&format!("[{}]", list.join(", ")))));
        }
        for (old, new) in [
            ("gasLimit", "gasLimit"),
            ("minRequiredOutgoingConfirmations", "minConfirmations"),
        ] {
            if let Some(value) = given(old) {
                let number: u64 = plain(value).and_then(|t| t.parse().ok()).ok_or_else(|| {
                    Refusal::new(
                        &task.place,
                        format!("its {old} is no whole number"),
                        "write a number",
                    )
                })?;
                if number > 0 {
                    attributes.push((new, number.to_string()));
                }
            }
        }
        if given("gasPrice").is_some() {
            self.warnings.push(format!("{}: gasPrice is left out, fees are the node's business today; a key can have a highest price of its own", task.place));
        }
        if !matches!(self.request, Request::Log { .. }) {
            let chain = chain_id(self.options, "transactions")?;
            attributes.push(("evmChainID", format!("\"{chain}\"")));
        } else {
            self.warnings.push(format!("{}: gasLimit, gasPrice, address and functionSelector that a request brings are not used", task.place));
        }
        let id = self.chain.add("send", "ethtx", &attributes);
        self.done(&id);
        Ok(())
    }
}

/// `name(type)` or `name(type argument)`.
fn one_argument(task: &Step, text: &str) -> Result<(String, Type), Refusal> {
    let wrong = || {
        Refusal::new(
            &task.place,
            format!("{:?} is no function with one argument", excerpt(text, 80)),
            "write it as name(uint256); for more arguments write the job in TOML",
        )
    };
    let (name, rest) = text.trim().split_once('(').ok_or_else(wrong)?;
    let inside = rest.strip_suffix(')').ok_or_else(wrong)?;
    let named = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
    let words: Vec<&str> = inside.split_whitespace().collect();
    match words[..] {
        [ty] | [ty, _] if named && !inside.contains(',') => {
            Ok((name.to_owned(), Type::parse(ty).map_err(|_| wrong())?))
        }
        _ => Err(wrong()),
    }
}

fn fits(form: Form, ty: &Type) -> bool {
    match form {
        Form::Uint => matches!(ty, Type::Uint(256)),
        Form::Int => matches!(ty, Type::Int(256)),
        Form::Bool => matches!(ty, Type::Bool),
        Form::Bytes32 => matches!(ty, Type::FixedBytes(32)),
    }
}

/// A collected result as what its type takes.
fn collected_value(task: &Step, ty: &str, value: &Previous) -> Result<String, Refusal> {
    let parsed = Type::parse(ty).map_err(|why| Refusal::new(&task.place, why, "correct it"))?;
    match value {
        Previous::Value(expression) => Ok(expression.clone()),
        Previous::Word { word, .. } if matches!(parsed, Type::FixedBytes(32) | Type::Bytes) => {
            Ok(word.clone())
        }
        Previous::Word { of, form, .. } if fits(*form, &parsed) => Ok(of.clone()),
        _ => refuse(
            task,
            &format!("a collected result was not made for {ty}"),
            "collect it without a formatting task, or use the one that fits",
        ),
    }
}
