//! What may come from strangers, and what has to hold of it whatever it is. Seeded loops of the tests
//! run these, and so does cargo-fuzz (`fuzz/`), for which they are public under the feature `fuzzing`.

use bytes::Bytes;
use serde_json::Value;

use crate::gateway::{Body, Class, Request, class, quick_request, read_body};
use crate::send_errors::Overrides;
use crate::wire::{self, Refusal};

/// A request envelope means what serde_json says it means. Whether it was understood; none where
/// that cannot be compared.
pub fn envelope(bytes: &[u8]) -> Option<bool> {
    let value: Result<Value, _> = serde_json::from_slice(bytes);
    // A number beyond all floats is a number all the same.
    if matches!(&value, Err(error) if is_inside(error)) {
        return None;
    }
    match (read_body(bytes, 3), value) {
        (Ok(Body::One(Ok(request))), Ok(value)) => {
            same(&request, &value);
            Some(true)
        }
        (Ok(Body::Batch(list)), Ok(Value::Array(values))) => {
            assert_eq!(list.len(), values.len());
            for (request, value) in list.iter().zip(&values) {
                if let Ok(request) = request {
                    same(request, value);
                }
            }
            Some(true)
        }
        (Ok(Body::One(Err(_))) | Err(_), Ok(Value::Object(value))) => {
            // Refused although it is JSON: something in it is not as it should be, or twice.
            let fine = value
                .get("method")
                .is_some_and(|it| it.as_str().is_some_and(|it| !it.is_empty()))
                && value
                    .get("params")
                    .is_none_or(|it| it.is_array() || it.is_object() || it.is_null())
                && value
                    .get("id")
                    .is_none_or(|it| it.is_string() || it.is_number() || it.is_null());
            let text = String::from_utf8_lossy(bytes);
            let twice = ["\"id\"", "\"method\"", "\"params\""]
                .iter()
                .any(|name| text.matches(name).count() > 1 || text.contains("\\u00"));
            assert!(!fine || twice, "{text}");
            Some(false)
        }
        (Err(_), _) => Some(false),
        (Ok(_), Ok(other)) => panic!("{other} was taken for a request"),
        (Ok(_), Err(error)) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            panic!("{text:?} was taken for JSON, which it is not: {error}")
        }
    }
}

/// One request as serde_json's own values see it; the text of its id, so that no digit is lost.
fn same(request: &Request<'_>, value: &Value) {
    assert_eq!(Some(&*request.method), value["method"].as_str());
    let params: Result<Value, _> = serde_json::from_str(request.params);
    let params = params.unwrap_or_else(|error| panic!("{}: {error}", request.params));
    match value.get("params") {
        None | Some(Value::Null) => assert_eq!(params, serde_json::json!([])),
        Some(expected) => assert_eq!(&params, expected),
    }
    match (request.id, value.get("id")) {
        (None, expected) => assert_eq!(expected, None),
        (Some(id), expected) => {
            assert_eq!(serde_json::from_str::<Value>(id).ok().as_ref(), expected);
        }
    }
}

/// An endpoint's answer is taken apart only where it can be, and as serde_json would.
pub fn reply(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let value = serde_json::from_slice::<Value>(&bytes);
    match wire::split(7, &bytes) {
        Ok(Ok(result)) => match (value, serde_json::from_slice::<Value>(&result)) {
            (Ok(value), Ok(result)) => {
                assert_eq!(Some(&result), value.get("result"));
                let error = value.get("error").filter(|it| !it.is_null());
                assert_eq!(error, None);
            }
            // What is inside of texts and numbers is passed on as it is.
            (Err(error), _) | (_, Err(error)) => assert!(is_inside(&error), "{error}"),
        },
        Ok(Err((_, error))) => match serde_json::from_slice::<Value>(&error) {
            Ok(error) => assert!(error.is_object(), "{error}"),
            Err(error) => assert!(is_inside(&error), "{error}"),
        },
        Err(_) => {}
    }
    let _ = wire::split_batch(&[7, 8], &bytes);
}

/// An error has one class whatever the case of its letters. The first two bytes choose code and method.
pub fn error_words(bytes: &[u8]) {
    const CODES: &[i64] = &[
        3, 4, -32000, -32001, -32002, -32003, -32005, -32600, -32601, -32602, -32603, 429, 4444, 0,
        -39001,
    ];
    const METHODS: &[&str] = &["eth_call", "eth_getLogs", "eth_getBlockByNumber", "x"];
    let [code, method, message @ ..] = bytes else {
        return;
    };
    let code = CODES[usize::from(*code) % CODES.len()];
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let message = String::from_utf8_lossy(message).into_owned();
    let overrides = Overrides::default();
    let of = |message: &str| {
        let refusal = Refusal {
            code,
            message: message.to_owned(),
            data: None,
        };
        class(method, &refusal, &overrides)
    };
    let class = of(&message);
    assert_eq!(class, of(&message.to_ascii_uppercase()), "{message}");
    // The outcome of executing something is the answer, whatever its words are about.
    if code == 3 {
        assert_eq!(class, Class::Final, "{message}");
    }
}

/// The quick door takes a request only with one length that is its body's. Whether it took it.
pub fn request_head(bytes: &[u8]) -> bool {
    const MOST: usize = 1 << 20;
    let Some((body, length)) = quick_request(bytes, MOST) else {
        return false;
    };
    assert!(length <= MOST && body <= bytes.len());
    let head = String::from_utf8_lossy(&bytes[..body]).to_ascii_lowercase();
    assert!(head.starts_with("post "), "{head:?}");
    assert!(!head.contains("\ntransfer-encoding:"), "{head:?}");
    assert_eq!(head.matches("\ncontent-length:").count(), 1, "{head:?}");
    true
}

/// A number or a text that is JSON, and that no program could hold.
fn is_inside(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    ["out of range", "unicode", "surrogate"]
        .iter()
        .any(|word| text.contains(word))
}
