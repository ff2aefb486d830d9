//! JSON-RPC framing: requests become bytes once, answers are read from bytes once.
//!
//! Generous where endpoints differ (ids as text, errors as plain strings, `result: null` beside an
//! error), strict where a wrong reading would be a wrong fact (an answer to another request).

use std::cell::RefCell;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::masked::Mask;
use crate::plain;

/// How much of an unreadable answer is quoted.
const QUOTED_CHARS: usize = 80;
/// How much of it is looked through for secrets.
const LOOKED_THROUGH: usize = 4 << 10;
/// Small requests are written into this much memory together: one that takes long keeps all of it.
const SHEET_BYTES: usize = 4 << 10;

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: P,
}

pub(crate) fn encode(
    id: u64,
    method: &str,
    params: impl Serialize,
) -> Result<Bytes, serde_json::Error> {
    serde_json::to_vec(&Request {
        jsonrpc: "2.0",
        id,
        method,
        params,
    })
    .map(Bytes::from)
}

/// What an endpoint says instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: i64,
    pub(crate) message: String,
    /// As text: a JSON string without its quotes, anything else as JSON.
    pub(crate) data: Option<String>,
}

/// Why an answer could not be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// Not JSON, or not JSON-RPC.
    NotJsonRpc,
    /// JSON-RPC with something unexpected in it.
    Content(String),
}

/// The result of a single request.
pub(crate) fn decode<T: DeserializeOwned>(
    id: u64,
    bytes: &[u8],
) -> Result<Result<T, Refusal>, Unreadable> {
    let reply: Reply<T> = serde_json::from_slice(bytes).map_err(unreadable)?;
    match reply.id.0 {
        Some(other) if other != id => Err(Unreadable::Content(format!(
            "it answers request {other} and not {id}"
        ))),
        _ => reply.outcome(),
    }
}

/// A request whose parameters are JSON already.
pub(crate) fn encode_raw(id: u64, method: &str, params: &str) -> Bytes {
    thread_local! {
        static SHEET: RefCell<BytesMut> = RefCell::default();
    }
    let room = 64 + method.len() + params.len();
    if room > SHEET_BYTES / 4 {
        let mut body = BytesMut::with_capacity(room);
        put_request(&mut body, id, method, params);
        return body.freeze();
    }
    // Small ones are written behind one another. A full sheet is used again if all that is on it is done
    // with by then, else there is a new one.
    SHEET.with_borrow_mut(|sheet| {
        if sheet.capacity() < room {
            sheet.reserve(SHEET_BYTES);
        }
        put_request(sheet, id, method, params);
        sheet.split().freeze()
    })
}

fn put_request(body: &mut BytesMut, id: u64, method: &str, params: &str) {
    body.put_slice(br#"{"jsonrpc":"2.0","id":"#);
    body.put_slice(itoa::Buffer::new().format(id).as_bytes());
    body.put_slice(br#","method":"#);
    // Quotes and control characters in a method's name are nobody's, but they are escaped.
    serde_json::to_writer(body.writer(), method).unwrap_or_default();
    body.put_slice(br#","params":"#);
    body.put_slice(params.as_bytes());
    body.put_u8(b'}');
}

/// The bytes of `result`, or those of `error` beside what they say.
pub(crate) type Split = Result<Bytes, (Refusal, Bytes)>;

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(default)]
    id: Id,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl Raw<'_> {
    fn split(&self, bytes: &Bytes) -> Result<Split, Unreadable> {
        match (self.error, self.result) {
            (Some(error), _) => {
                let refusal: Refusal = serde_json::from_str::<WireRefusal>(error.get())
                    .map_err(unreadable)?
                    .into();
                let span = if error.get().starts_with('{') {
                    bytes.slice_ref(error.get().as_bytes())
                } else {
                    // A bare text at some providers; clients expect an object.
                    serde_json::json!({ "code": -32603, "message": refusal.message })
                        .to_string()
                        .into()
                };
                Ok(Err((refusal, span)))
            }
            (None, Some(result)) => Ok(Ok(bytes.slice_ref(result.get().as_bytes()))),
            (None, None) => Err(Unreadable::NotJsonRpc),
        }
    }
}

/// A result to this request, in an answer as nearly all are.
fn usual(id: u64, bytes: &Bytes) -> Option<Bytes> {
    let (mut ours, mut result) = (None, None);
    let is_usual = plain::members(bytes, |name, value| match name {
        b"id" => {
            let given = std::str::from_utf8(value)
                .ok()
                .and_then(|it| it.parse().ok());
            ours.replace(given).is_none()
        }
        b"result" => result.replace(value).is_none(),
        // Beside a result, an error may be nothing.
        b"error" => false,
        _ => true,
    });
    let is_answer = is_usual && ours.flatten() == Some(id);
    result.filter(|_| is_answer).map(|it| bytes.slice_ref(it))
}

/// An answer taken apart without reading what is in it.
pub(crate) fn split(id: u64, bytes: &Bytes) -> Result<Split, Unreadable> {
    if let Some(result) = usual(id, bytes) {
        return Ok(Ok(result));
    }
    let raw: Raw<'_> = serde_json::from_slice(bytes).map_err(unreadable)?;
    match raw.id.0 {
        Some(other) if other != id => {
            return Err(Unreadable::Content(format!(
                "it answers request {other} and not {id}"
            )));
        }
        None if raw.error.is_none() && raw.result.is_some() => {
            return Err(Unreadable::Content(
                "its answer does not say to which request".to_owned(),
            ));
        }
        _ => {}
    }
    raw.split(bytes)
}

/// What the bytes of an `error` say.
pub(crate) fn refusal(error: &[u8]) -> Refusal {
    match serde_json::from_slice::<WireRefusal>(error) {
        Ok(refusal) => refusal.into(),
        Err(_) => Refusal {
            code: 0,
            message: quote(error),
            data: None,
        },
    }
}

/// A batch's answer taken apart.
#[derive(Debug)]
pub(crate) enum SplitBatch {
    /// One entry per request, in the order of the requests; none where the answer is missing.
    Each(Vec<Option<Split>>),
    /// One refusal where a list was due, or one of no request: the batch was not taken.
    Whole(Refusal),
}

/// The answers to these requests, whatever their order.
pub(crate) fn split_batch(ids: &[u64], bytes: &Bytes) -> Result<SplitBatch, Unreadable> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        let raw: Raw<'_> = serde_json::from_slice(bytes).map_err(unreadable)?;
        return match raw.split(bytes)? {
            Err((refusal, _)) => Ok(SplitBatch::Whole(refusal)),
            Ok(_) => Err(Unreadable::Content(
                "one answer came for a batch".to_owned(),
            )),
        };
    }
    let list: Vec<Raw<'_>> = serde_json::from_slice(bytes).map_err(unreadable)?;
    let mut each: Vec<Option<Split>> = ids.iter().map(|_| None).collect();
    for raw in list {
        let split = raw.split(bytes)?;
        let place = raw.id.0.and_then(|id| ids.iter().position(|it| *it == id));
        match (place, split) {
            (Some(place), split) => each[place] = Some(split),
            (None, Err((refusal, _))) => return Ok(SplitBatch::Whole(refusal)),
            (None, Ok(_)) => {
                return Err(Unreadable::Content(
                    "it answers a request that was not asked".to_owned(),
                ));
            }
        }
    }
    Ok(SplitBatch::Each(each))
}

/// A member that is there, `null` or not.
pub(crate) fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

fn unreadable(cause: serde_json::Error) -> Unreadable {
    match cause.classify() {
        Category::Data => Unreadable::Content(cause.to_string()),
        Category::Syntax | Category::Eof | Category::Io => Unreadable::NotJsonRpc,
    }
}

/// The beginning of an answer, fit for a message.
pub(crate) fn quote(bytes: &[u8]) -> String {
    quote_masked(bytes, &Mask::default())
}

/// The same without the secrets of whoever said it; hidden before it is cut short.
pub(crate) fn quote_masked(bytes: &[u8], mask: &Mask) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LOOKED_THROUGH)]);
    let line: String = mask
        .hide(&text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(QUOTED_CHARS)
        .collect();
    line.trim().to_owned()
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Reply<T> {
    #[serde(default)]
    id: Id,
    #[serde(default)]
    result: Field<T>,
    #[serde(default)]
    error: Option<WireRefusal>,
}

impl<T: DeserializeOwned> Reply<T> {
    fn outcome(self) -> Result<Result<T, Refusal>, Unreadable> {
        match (self.error, self.result) {
            (Some(error), _) => Ok(Err(error.into())),
            (None, Field::Value(value)) => Ok(Ok(value)),
            (None, Field::Null) => serde_json::from_str("null").map(Ok).map_err(unreadable),
            (None, Field::Absent) => Err(Unreadable::NotJsonRpc),
        }
    }
}

/// `result`, where being null and being absent are two things.
#[derive(Default)]
enum Field<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(d)?.map_or(Self::Null, Self::Value))
    }
}

/// Our ids are numbers; some endpoints give them back as text, some as null.
#[derive(Default)]
struct Id(Option<u64>);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct AnyId;
        impl Visitor<'_> for AnyId {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a request id")
            }
            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Id, E> {
                Ok(Id(Some(id)))
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "our ids are small whole numbers"
            )]
            fn visit_f64<E: de::Error>(self, id: f64) -> Result<Id, E> {
                Ok(Id(Some(id as u64)))
            }
            fn visit_str<E: de::Error>(self, id: &str) -> Result<Id, E> {
                Ok(Id(id.parse().ok()))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Id, E> {
                Ok(Id(None))
            }
        }
        d.deserialize_any(AnyId)
    }
}

/// `error`: an object by the standard, a bare string at some providers.
#[derive(Deserialize)]
#[serde(untagged)]
enum WireRefusal {
    Object {
        #[serde(default)]
        code: serde_json::Value,
        #[serde(default)]
        message: serde_json::Value,
        #[serde(default)]
        data: Option<serde_json::Value>,
    },
    Other(serde_json::Value),
}

impl From<WireRefusal> for Refusal {
    fn from(wire: WireRefusal) -> Self {
        fn text(value: serde_json::Value) -> String {
            match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Null => String::new(),
                other => other.to_string(),
            }
        }
        match wire {
            WireRefusal::Object {
                code,
                message,
                data,
            } => Self {
                code: code
                    .as_i64()
                    .or_else(|| code.as_str()?.parse().ok())
                    .unwrap_or_default(),
                message: text(message),
                data: data.map(text).filter(|data| !data.is_empty()),
            },
            WireRefusal::Other(value) => Self {
                code: 0,
                message: text(value),
                data: None,
            },
        }
    }
}

/// What a WebSocket message is, seen from outside.
#[derive(Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(default)]
    id: Id,
    #[serde(borrow, default)]
    params: Option<Notification<'a>>,
}

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The request it answers.
    pub(crate) fn id(&self) -> Option<u64> {
        self.id.0
    }

    /// The content of a subscription's notification.
    pub(crate) fn notified(&self) -> Option<&'a str> {
        Some(self.params.as_ref()?.result?.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(code: i64, message: &str, data: Option<&str>) -> Refusal {
        Refusal {
            code,
            message: message.to_owned(),
            data: data.map(str::to_owned),
        }
    }

    #[test]
    fn a_request_is_framed_as_json_rpc_2() {
        let bytes = encode(7, "eth_chainId", [(); 0]).unwrap();
        assert_eq!(
            &bytes[..],
            br#"{"jsonrpc":"2.0","id":7,"method":"eth_chainId","params":[]}"#
        );
        assert_eq!(&encode_raw(7, "eth_chainId", "[]")[..], &bytes[..],);
    }

    #[test]
    fn requests_written_behind_one_another_stay_what_they_are() {
        let long = format!("[\"{}\"]", "x".repeat(SHEET_BYTES));
        let mut kept = Vec::new();
        for id in 0..1000 {
            let params = match id % 100 {
                0 => &long[..],
                1..50 => "[1]",
                _ => &long[..600],
            };
            // Some are done with at once, some are kept.
            drop(encode_raw(id, "m", params));
            kept.push((id, params, encode_raw(id, "m", params)));
        }
        for (id, params, body) in kept {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m","params":{params}}}"#);
            assert_eq!(body, text);
        }
    }

    #[test]
    fn results_and_refusals_are_told_apart_in_every_shape_seen() {
        let read = |text: &str| decode::<Option<u64>>(1, text.as_bytes());
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":1,"result":5}"#).unwrap(),
            Ok(Some(5))
        );
        assert_eq!(read(r#"{"id":"1","result":5}"#).unwrap(), Ok(Some(5)));
        assert_eq!(read(r#"{"id":1.0,"result":null}"#).unwrap(), Ok(None));
        assert_eq!(
            read(r#"{"id":1,"result":null,"error":{"code":-32000,"message":"no"}}"#).unwrap(),
            Err(refusal(-32000, "no", None))
        );
        assert_eq!(
            read(r#"{"id":null,"error":{"code":3,"message":"execution reverted","data":"0x08"}}"#)
                .unwrap(),
            Err(refusal(3, "execution reverted", Some("0x08")))
        );
        assert_eq!(
            read(r#"{"error":"Unauthorized"}"#).unwrap(),
            Err(refusal(0, "Unauthorized", None))
        );
        assert_eq!(
            read(r#"{"id":1,"error":{"code":"-5","data":{"a":1}}}"#).unwrap(),
            Err(refusal(-5, "", Some("{\"a\":1}")))
        );
    }

    #[test]
    fn null_is_no_number() {
        assert!(matches!(
            decode::<u64>(1, br#"{"id":1,"result":null}"#),
            Err(Unreadable::Content(_))
        ));
    }

    #[test]
    fn an_answer_to_another_request_is_not_taken() {
        assert!(matches!(
            decode::<u64>(1, br#"{"id":2,"result":5}"#),
            Err(Unreadable::Content(_))
        ));
    }

    #[test]
    fn json_without_result_or_error_is_not_json_rpc() {
        for text in [
            r#"{"message":"not found"}"#,
            "<html>",
            "",
            "{\"id\":1,\"resu",
        ] {
            assert!(
                matches!(
                    decode::<u64>(1, text.as_bytes()),
                    Err(Unreadable::NotJsonRpc)
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn answers_as_clients_write_them_are_the_usual_and_no_others_are() {
        let of = |text: &'static str| usual(7, &Bytes::from_static(text.as_bytes()));
        for text in [
            r#"{"jsonrpc":"2.0","id":7,"result":"0x1"}"#,
            "{\"result\": \"0x1\", \"id\": 7 }\n",
        ] {
            assert_eq!(of(text).unwrap(), &b"\"0x1\""[..], "{text}");
        }
        for text in [
            r#"{"jsonrpc":"2.0","id":8,"result":"0x1"}"#,
            r#"{"jsonrpc":"2.0","id":"7","result":"0x1"}"#,
            r#"{"jsonrpc":"2.0","result":"0x1"}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":1,"error":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"id":7,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":1,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":[1}"#,
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_batch_is_taken_apart_whatever_its_order_and_shape() {
        let apart =
            |text: &'static str| split_batch(&[10, 11, 12], &Bytes::from_static(text.as_bytes()));
        let Ok(SplitBatch::Each(each)) =
            apart(r#" [{"id":12,"result":[1, 2]},{"id":10,"error":{"code":3,"message":"x"}}]"#)
        else {
            panic!("not each")
        };
        assert!(matches!(&each[0], Some(Err((refusal, _))) if refusal.code == 3));
        assert!(each[1].is_none());
        assert_eq!(each[2], Some(Ok(Bytes::from_static(b"[1, 2]"))));
        for whole in [
            r#"{"id":null,"error":{"code":-32010,"message":"too big"}}"#,
            r#"[{"id":null,"error":{"code":-32600,"message":"batch too large"}}]"#,
        ] {
            assert!(matches!(apart(whole), Ok(SplitBatch::Whole(_))), "{whole}");
        }
        for unreadable in [
            r#"{"id":1,"result":1}"#,
            r#"[{"id":99,"result":1}]"#,
            "[1]",
            "",
        ] {
            assert!(apart(unreadable).is_err(), "{unreadable}");
        }
    }

    proptest! {
        #[test]
        fn the_usual_answer_is_read_as_any_other(text in "[{](\"(jsonrpc|id|result|error|x)\": ?(7|null|\"7\"|\"\\\\n\"|[\\[]1, ?\"a\"[\\]]|[{]\"a\":[{][}][}]),? ?){0,4}[}]") {
            let bytes = Bytes::from(text.into_bytes());
            if let Some(result) = usual(7, &bytes) {
                let raw: Raw<'_> = serde_json::from_slice(&bytes).unwrap();
                prop_assert_eq!((raw.id.0, raw.error.is_none()), (Some(7), true));
                prop_assert_eq!(raw.split(&bytes).unwrap().unwrap(), result);
            }
        }

        #[test]
        fn garbage_is_unreadable_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode::<u64>(1, &bytes).is_err());
            prop_assert!(!matches!(split_batch(&[1, 2, 3], &bytes.clone().into()), Ok(SplitBatch::Whole(_))));
            prop_assert!(quote(&bytes).chars().count() <= QUOTED_CHARS);
        }
    }
}
