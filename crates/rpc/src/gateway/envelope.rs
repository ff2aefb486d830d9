//! JSON-RPC as clients send it: taken apart without reading what does not concern us, answered with
//! their own ids, byte for byte.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::plain;
use crate::wire::present;

/// One request; all of it borrowed from the body it came in.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// None: a notification, which gets no answer.
    pub(crate) id: Option<&'a str>,
    pub(crate) method: Cow<'a, str>,
    /// A JSON array or object; `[]` where there is none.
    pub(crate) params: &'a str,
}

/// Something that should have been a request, and what its sender gets for it.
#[derive(Debug)]
pub(crate) struct NoRequest<'a> {
    /// `null` where none can be read.
    pub(crate) id: &'a str,
    pub(crate) answer: Answer,
}

/// What a body holds.
pub(crate) enum Body<'a> {
    One(Result<Request<'a>, NoRequest<'a>>),
    /// In the client's order; an element that is no request has its error already.
    Batch(Vec<Result<Request<'a>, NoRequest<'a>>>),
}

/// What a client gets for one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The bytes of `result`.
    Result(Bytes),
    /// The bytes of `error`.
    Error(Bytes),
    /// The bytes of an `error` that goes away by itself: after this time.
    Later(Bytes, Duration),
    /// The answer to something that was not a request: its id is null.
    Nameless(Bytes),
}

impl Answer {
    pub(crate) fn error(code: i64, message: &str) -> Self {
        Self::Error(error_bytes(code, message))
    }

    pub(crate) fn text(result: &str) -> Self {
        let mut bytes = BytesMut::with_capacity(result.len() + 2);
        bytes.put_u8(b'"');
        bytes.put_slice(result.as_bytes());
        bytes.put_u8(b'"');
        Self::Result(bytes.freeze())
    }

    /// Values of our own; they always can be written.
    pub(crate) fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => Self::Result(bytes.into()),
            Err(cause) => Self::error(-32603, &format!("the answer cannot be written: {cause}")),
        }
    }

    pub(crate) fn literal(result: &'static str) -> Self {
        Self::Result(Bytes::from_static(result.as_bytes()))
    }
}

pub(crate) fn error_bytes(code: i64, message: &str) -> Bytes {
    serde_json::json!({ "code": code, "message": message })
        .to_string()
        .into()
}

/// Reads a body. The error is the answer to the whole of it.
pub(crate) fn read(body: &[u8], most: usize) -> Result<Body<'_>, Answer> {
    let parse_error = |what: &str| Answer::Nameless(error_bytes(-32700, what));
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(Answer::Nameless(error_bytes(-32600, "empty request"))),
        Some(b'[') => {
            let each: Vec<&RawValue> = serde_json::from_slice(body)
                .map_err(|cause| parse_error(&format!("the batch is not JSON: {cause}")))?;
            if each.is_empty() {
                return Err(Answer::Nameless(error_bytes(-32600, "empty batch")));
            }
            if each.len() > most {
                let text = format!(
                    "batch too large: {} requests, the limit is {most}",
                    each.len()
                );
                return Err(Answer::Nameless(error_bytes(-32600, &text)));
            }
            Ok(Body::Batch(
                each.iter().map(|raw| request(raw.get())).collect(),
            ))
        }
        Some(b'{') => {
            let text = std::str::from_utf8(body)
                .map_err(|_| parse_error("the request is not UTF-8 text"))?;
            if let Some(request) = usual(text) {
                return Ok(Body::One(Ok(request)));
            }
            match request(text) {
                Err(_) if serde_json::from_str::<&RawValue>(text).is_err() => {
                    Err(parse_error("the request is not JSON"))
                }
                other => Ok(Body::One(other)),
            }
        }
        Some(_) => Err(parse_error(
            "a request is a JSON object or an array of them",
        )),
    }
}

/// A request as nearly all are; none if it is another one, or none at all.
fn usual(text: &str) -> Option<Request<'_>> {
    let (mut id, mut method, mut params) = (None, None, None);
    let is_usual = plain::members(text.as_bytes(), |name, value| {
        let (member, fits) = match name {
            b"id" => (&mut id, !matches!(value[0], b'{' | b'[' | b't' | b'f')),
            b"method" => (&mut method, value[0] == b'"' && value.len() > 2),
            b"params" => (&mut params, matches!(value[0], b'{' | b'[')),
            _ => return true,
        };
        // Of a member that is there twice others say what is wrong.
        fits && member.replace(value).is_none()
    });
    let of = |value: &[u8]| plain::of(text, value);
    let method = of(method.filter(|_| is_usual)?)?;
    Some(Request {
        id: match id {
            Some(id) => Some(of(id)?),
            None => None,
        },
        method: Cow::Borrowed(&method[1..method.len() - 1]),
        params: match params {
            Some(params) => of(params)?,
            None => "[]",
        },
    })
}

fn request(text: &str) -> Result<Request<'_>, NoRequest<'_>> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        id: Option<&'a RawValue>,
        #[serde(borrow, default)]
        method: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        params: Option<&'a RawValue>,
    }
    let invalid = |what: &str| {
        let error = error_bytes(-32600, what);
        match id_of(text) {
            Some(id) => NoRequest {
                id,
                answer: Answer::Error(error),
            },
            None => NoRequest {
                id: "null",
                answer: Answer::Nameless(error),
            },
        }
    };
    let wire: Wire<'_> = serde_json::from_str(text)
        .map_err(|cause| invalid(&format!("invalid request: {cause}")))?;
    let id = wire.id.map(RawValue::get);
    if id.is_some_and(|id| !may_be_an_id(id)) {
        return Err(invalid(
            "invalid request: an id is a string, a number or null",
        ));
    }
    let method = wire
        .method
        .filter(|method| !method.is_empty())
        .ok_or_else(|| invalid("invalid request: it names no method"))?;
    let params = match wire.params.map(RawValue::get) {
        None => "[]",
        Some(params) if params.starts_with(['[', '{']) => params,
        Some(_) => return Err(invalid("invalid request: params are an array or an object")),
    };
    Ok(Request { id, method, params })
}

fn may_be_an_id(id: &str) -> bool {
    !id.starts_with(['{', '[', 't', 'f'])
}

/// The id of what is no request for another reason.
fn id_of(text: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow, default)]
        id: Option<&'a RawValue>,
    }
    let wire: Wire<'_> = serde_json::from_str(text).ok()?;
    wire.id.map(RawValue::get).filter(|id| may_be_an_id(id))
}

/// Results up to this size are copied next to their envelope; larger ones travel beside it.
const COPIED: usize = 32 << 10;

/// A response as the pieces it is made of, to be written one after another.
#[derive(Debug, Default)]
pub(crate) struct Pieces(pub(crate) std::collections::VecDeque<Bytes>);

impl Pieces {
    pub(crate) fn one(bytes: impl Into<Bytes>) -> Self {
        Self([bytes.into()].into())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// In one piece, for a WebSocket message.
    pub(crate) fn whole(mut self) -> Bytes {
        if self.0.len() == 1 {
            return self.0.pop_front().unwrap_or_default();
        }
        let mut bytes = BytesMut::with_capacity(self.len());
        for piece in self.0 {
            bytes.put(piece);
        }
        bytes.freeze()
    }
}

/// An answer under its request's id, about to be written.
pub(crate) struct Response<'a> {
    id: &'a str,
    member: &'static [u8],
    pub(crate) content: Bytes,
}

impl<'a> Response<'a> {
    const BEGIN: &'static [u8] = br#"{"jsonrpc":"2.0","id":"#;
    /// What stands behind the content.
    pub(crate) const END: &'static [u8] = b"}";

    pub(crate) fn new(id: &'a str, answer: Answer) -> Self {
        let (id, member, content) = match answer {
            Answer::Result(result) => (id, &b",\"result\":"[..], result),
            Answer::Error(error) | Answer::Later(error, _) => (id, &b",\"error\":"[..], error),
            Answer::Nameless(error) => ("null", &b",\"error\":"[..], error),
        };
        Self {
            id,
            member,
            content,
        }
    }

    /// Bytes beside the content.
    fn around(&self) -> usize {
        Self::BEGIN.len() + self.id.len() + self.member.len() + Self::END.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.around() + self.content.len()
    }

    /// What stands before the content.
    pub(crate) fn begin(&self, into: &mut BytesMut) {
        into.put_slice(Self::BEGIN);
        into.put_slice(self.id.as_bytes());
        into.put_slice(self.member);
    }
}

/// Writes answers, the small ones into one buffer.
#[derive(Default)]
pub(crate) struct Writer {
    pieces: Pieces,
    open: BytesMut,
}

impl Writer {
    pub(crate) fn put(&mut self, text: &[u8]) {
        self.open.put_slice(text);
    }

    fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED {
            return self.open.put_slice(&bytes);
        }
        let before = self.open.split().freeze();
        self.pieces.0.extend([before, bytes]);
    }

    pub(crate) fn answer(&mut self, id: &str, answer: Answer) {
        let response = Response::new(id, answer);
        let copied = response.content.len().min(COPIED);
        self.open.reserve(response.around() + copied);
        response.begin(&mut self.open);
        self.put_bytes(response.content);
        self.put(Response::END);
    }

    pub(crate) fn done(mut self) -> Pieces {
        if !self.open.is_empty() {
            self.pieces.0.push_back(self.open.freeze());
        }
        self.pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<(Option<String>, String, String), String> {
        match read(text.as_bytes(), 10) {
            Ok(Body::One(Ok(request))) => Ok((
                request.id.map(str::to_owned),
                request.method.into_owned(),
                request.params.to_owned(),
            )),
            Ok(Body::One(Err(NoRequest {
                answer: Answer::Nameless(error) | Answer::Error(error),
                ..
            })))
            | Err(Answer::Nameless(error)) => Err(String::from_utf8(error.to_vec()).unwrap()),
            _ => panic!("something else: {text}"),
        }
    }

    #[test]
    fn ids_are_kept_to_the_byte() {
        for id in [
            "1",
            "0",
            "-7",
            "1e400",
            "12345678901234567890123",
            "1.50",
            "null",
            "\"\"",
            "\"a\\u0041\"",
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"m","params":[1, 2]}}"#);
            let (seen, _, params) = one(&text).unwrap();
            assert_eq!((seen.as_deref(), params.as_str()), (Some(id), "[1, 2]"));
            let mut writer = Writer::default();
            writer.answer(id, Answer::literal("true"));
            let whole = writer.done().whole();
            assert_eq!(
                std::str::from_utf8(&whole).unwrap(),
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":true}}"#)
            );
            assert_eq!(
                Response::new(id, Answer::literal("true")).len(),
                whole.len()
            );
        }
        assert_eq!(
            one(r#"{"method":"m"}"#).unwrap(),
            (None, "m".to_owned(), "[]".to_owned())
        );
    }

    #[test]
    fn requests_as_programs_write_them_are_the_usual() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":"0x00"},"latest"]}"#,
            "{\"method\": \"eth_chainId\", \"params\": [], \"id\": \"a-1\", \"jsonrpc\": \"2.0\"}\n",
            r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#,
        ] {
            assert!(usual(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_no_request_is_told_so_in_the_codes_of_json_rpc() {
        for (text, code) in [
            ("", -32600),
            ("[]", -32600),
            ("{", -32700),
            ("7", -32700),
            ("[1,", -32700),
            ("{\"id\":1}", -32600),
            ("{\"id\":1,\"method\":\"\"}", -32600),
            ("{\"id\":1,\"method\":5}", -32600),
            ("{\"id\":{},\"method\":\"m\"}", -32600),
            ("{\"id\":[1],\"method\":\"m\"}", -32600),
            ("{\"id\":1,\"method\":\"m\",\"params\":7}", -32600),
            ("[1,2,3,4,5,6,7,8,9,10,11]", -32600),
        ] {
            let error = one(text).unwrap_err();
            assert!(
                error.contains(&format!("\"code\":{code}")),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn what_is_no_request_and_has_an_id_is_answered_under_it() {
        for (text, id) in [
            (r#"{"id":7}"#, "7"),
            (r#"{"id":"a","method":5}"#, "\"a\""),
            (r#"{"method":"","id":7}"#, "7"),
            (r#"{"id":7,"method":"m","params":7}"#, "7"),
            (r#"{"id":{},"method":"m"}"#, "null"),
            (r#"{"method":""}"#, "null"),
            (r#"{"id":null,"method":5}"#, "null"),
        ] {
            let Ok(Body::One(Err(wrong))) = read(text.as_bytes(), 10) else {
                panic!("{text} is a request");
            };
            assert_eq!(wrong.id, id, "{text}");
            let mut writer = Writer::default();
            writer.answer(wrong.id, wrong.answer);
            let whole = writer.done().whole();
            let answer: serde_json::Value = serde_json::from_slice(&whole).unwrap();
            assert_eq!(answer["id"].to_string(), id);
            assert_eq!(answer["error"]["code"], -32600);
        }
    }

    #[test]
    fn a_large_result_is_not_copied() {
        let large = Bytes::from(vec![b'7'; COPIED + 1]);
        let mut writer = Writer::default();
        writer.answer("1", Answer::Result(large.clone()));
        let pieces = writer.done();
        assert_eq!(pieces.0.len(), 3);
        assert_eq!(pieces.0[1].as_ptr(), large.as_ptr());
        assert_eq!(pieces.len(), pieces.whole().len());
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, 3);
        }

        #[test]
        fn the_usual_request_is_read_as_any_other(text in "[{] ?(\"(jsonrpc|id|method|params|x)\" ?: ?(1|null|true|-1.5|\"2.0\"|\"\"|\"eth_call\"|\"\\\\n\"|[\\[]1, ?\"a\"[\\]]|[{]\"a\":[{][}][}]),? ?){0,5}[}] ?") {
            if let Some(usual) = usual(&text) {
                let other = request(&text).unwrap();
                prop_assert_eq!((usual.id, usual.method, usual.params), (other.id, other.method, other.params));
            }
        }

        #[test]
        fn what_serde_takes_for_a_request_is_one(id in any::<i64>(), method in "[a-z_]{1,20}", params in prop::collection::vec(any::<u32>(), 0..5)) {
            let text = serde_json::json!({"jsonrpc":"2.0","id":id,"method":method,"params":params}).to_string();
            let (seen, name, raw) = one(&text).unwrap();
            prop_assert_eq!(seen.unwrap(), id.to_string());
            prop_assert_eq!(name, method);
            prop_assert_eq!(serde_json::from_str::<Vec<u32>>(&raw).unwrap(), params);
        }
    }
}
