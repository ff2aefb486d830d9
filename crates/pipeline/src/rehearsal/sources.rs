//! Recorded answers, from TOML or JSON:
//!
//! ```toml
//! gas = 210000                       # what an estimate says
//!
//! [[http]]
//! url = "https://prices.example/eth" # exact, or a beginning when it ends in *
//! status = 200                       # optional
//! body = '{"USD": 2000.5}'           # text, or a table that is written as JSON
//!
//! [[bridge]]
//! name = "weather"
//! url = "http://localhost:8080"      # where to ask with --live, in place of a body
//! body = { data = { result = 21 } }
//!
//! [[ethcall]]
//! contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
//! data = "0x50d25bcd"                # optional: any call of the contract
//! result = "0x00…"                   # or error = "execution reverted"
//! ```

use alloy::primitives::Bytes;
use serde_json::Value as Json;

use crate::egress::HttpError;
use crate::{BridgeTarget, EthCall, EthCallError, HttpCall, HttpReply};

/// Longest file, in bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A file of sources that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the recorded sources cannot be used: {0}")]
pub struct SourcesError(String);

/// Answers by what they answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sources {
    http: Vec<Http>,
    bridges: Vec<Bridge>,
    calls: Vec<Call>,
    gas: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Http {
    url: String,
    method: Option<String>,
    answer: Answer,
}

#[derive(Debug, Clone, PartialEq)]
struct Bridge {
    name: String,
    url: url::Url,
    answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    body: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Call {
    contract: String,
    data: Option<String>,
    answer: Result<Bytes, String>,
}

fn wrong(text: impl Into<String>) -> SourcesError {
    SourcesError(text.into())
}

impl Sources {
    /// Reads a file; JSON when it begins with `{`, else TOML.
    pub fn read(text: &str) -> Result<Self, SourcesError> {
        if text.len() > MAX_BYTES {
            return Err(wrong(format!("the file is longer than {MAX_BYTES} bytes")));
        }
        let whole: Json = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?
        } else {
            let table: toml::Table = text
                .parse()
                .map_err(|e: toml::de::Error| wrong(e.to_string()))?;
            plain(toml::Value::Table(table))
        };
        let mut found = Self::default();
        for (key, value) in whole.as_object().into_iter().flatten() {
            let items = || {
                value
                    .as_array()
                    .ok_or_else(|| wrong(format!("{key} is no list")))
            };
            match key.as_str() {
                "gas" => {
                    found.gas = Some(
                        value
                            .as_u64()
                            .ok_or_else(|| wrong("gas is no whole number"))?,
                    )
                }
                "http" => {
                    for item in items()? {
                        found.http.push(Http {
                            url: text_of(item, "url")?
                                .ok_or_else(|| wrong("an http source has no url"))?,
                            method: text_of(item, "method")?,
                            answer: answer(item)?.ok_or_else(|| {
                                wrong("an http source has neither body nor status")
                            })?,
                        });
                    }
                }
                "bridge" => {
                    for (n, item) in items()?.iter().enumerate() {
                        let name =
                            text_of(item, "name")?.ok_or_else(|| wrong("a bridge has no name"))?;
                        // Only to tell it apart where it is not asked for real.
                        let made_up = format!("http://bridge-{n}.invalid/");
                        let url = text_of(item, "url")?.unwrap_or(made_up);
                        let url = url
                            .parse()
                            .map_err(|e| wrong(format!("the URL of the bridge {name}: {e}")))?;
                        found.bridges.push(Bridge {
                            name,
                            url,
                            answer: answer(item)?,
                        });
                    }
                }
                "ethcall" => {
                    for item in items()? {
                        let contract = text_of(item, "contract")?
                            .ok_or_else(|| wrong("an ethcall has no contract"))?;
                        let answer = match (text_of(item, "result")?, text_of(item, "error")?) {
                            (Some(hex_text), None) => {
                                Ok(hex::decode(hex_text.trim_start_matches("0x"))
                                    .map_err(|e| wrong(format!("the result of {contract}: {e}")))?
                                    .into())
                            }
                            (None, Some(error)) => Err(error),
                            _ => {
                                return Err(wrong(format!(
                                    "{contract} has neither a result nor an error, or both"
                                )));
                            }
                        };
                        found.calls.push(Call {
                            contract,
                            data: text_of(item, "data")?,
                            answer,
                        });
                    }
                }
                other => {
                    return Err(wrong(format!(
                        "{other:?} is none of gas, http, bridge, ethcall"
                    )));
                }
            }
        }
        Ok(found)
    }

    pub(super) fn http(&self, call: &HttpCall) -> Option<Result<HttpReply, HttpError>> {
        let url = call.url.as_str();
        let bridge = self
            .bridges
            .iter()
            .find(|b| b.url == call.url)
            .and_then(|b| b.answer.clone());
        let fits = |h: &&Http| {
            let same = match h.url.strip_suffix('*') {
                Some(beginning) => url.starts_with(beginning),
                None => url == h.url || url.trim_end_matches('/') == h.url.trim_end_matches('/'),
            };
            same && h
                .method
                .as_ref()
                .is_none_or(|m| m.eq_ignore_ascii_case(&call.method))
        };
        let answer = bridge.or_else(|| self.http.iter().find(fits).map(|h| h.answer.clone()))?;
        if answer.body.len() > call.max_response_bytes {
            return Some(Err(HttpError::TooLarge {
                max_bytes: call.max_response_bytes,
            }));
        }
        Some(Ok(HttpReply {
            status: answer.status,
            headers: Vec::new(),
            body: answer.body.into(),
        }))
    }

    pub(super) fn bridge(&self, name: &str) -> Result<BridgeTarget, String> {
        self.bridges
            .iter()
            .find(|b| b.name.eq_ignore_ascii_case(name))
            .map(|b| BridgeTarget { url: b.url.clone() })
            .ok_or_else(|| format!("could not find bridge with name '{name}': add it to the file of sources as [[bridge]]"))
    }

    pub(super) fn eth_call(&self, call: &EthCall) -> Result<Bytes, EthCallError> {
        let data = format!("0x{}", hex::encode(&call.data));
        let contract = call.to.to_string();
        let found = self.calls.iter().find(|c| {
            c.contract.eq_ignore_ascii_case(&contract)
                && c.data
                    .as_ref()
                    .is_none_or(|d| d.eq_ignore_ascii_case(&data))
        });
        match found.map(|c| c.answer.clone()) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(message)) => Err(EthCallError::Rpc {
                code: 3,
                message,
                data: None,
            }),
            None => Err(EthCallError::Unavailable(format!(
                "no answer is recorded for the call {data} of {contract}: add it to the file of sources as [[ethcall]]"
            ))),
        }
    }

    pub(super) fn gas(&self) -> Result<u64, EthCallError> {
        self.gas.ok_or_else(|| {
            EthCallError::Unavailable(
                "no estimate is recorded: add gas = N to the file of sources".into(),
            )
        })
    }
}

fn text_of(item: &Json, key: &str) -> Result<Option<String>, SourcesError> {
    match item.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(format!("{key} must be text"))),
    }
}

fn answer(item: &Json) -> Result<Option<Answer>, SourcesError> {
    let status = match item.get("status") {
        None => None,
        Some(value) => Some(
            value
                .as_u64()
                .and_then(|n| u16::try_from(n).ok())
                .filter(|n| (100..=999).contains(n))
                .ok_or_else(|| wrong("a status is no number from 100 to 999"))?,
        ),
    };
    let body = match item.get("body") {
        None => None,
        Some(Json::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    Ok((status.is_some() || body.is_some()).then(|| Answer {
        status: status.unwrap_or(200),
        body: body.unwrap_or_default(),
    }))
}

fn plain(value: toml::Value) -> Json {
    match value {
        toml::Value::String(s) => Json::String(s),
        toml::Value::Integer(i) => Json::from(i),
        toml::Value::Float(f) => Json::from(f),
        toml::Value::Boolean(b) => Json::Bool(b),
        toml::Value::Datetime(d) => Json::String(d.to_string()),
        toml::Value::Array(items) => Json::Array(items.into_iter().map(plain).collect()),
        toml::Value::Table(table) => {
            Json::Object(table.into_iter().map(|(k, v)| (k, plain(v))).collect())
        }
    }
}
