//! URLs of providers carry passwords and tokens. What is shown of one is where it leads; and what an
//! endpoint says is shown without them, because error pages quote the path they were asked for.

use std::borrow::Cow;

use base64::Engine;
use bytes::Bytes;
use serde_json::Value;
use url::Url;

use crate::wire::Refusal;

/// What stands in place of something that is nobody's business.
const HIDDEN: &str = "•••";
/// So much of a secret is enough to know it by: messages are cut short.
const KNOWN_BY: usize = 12;
/// Shorter things are found everywhere and protect nothing.
const SHORTEST: usize = 4;

/// Scheme, host and port of a URL; anything else, which may be an access token of any length,
/// becomes `•••`.
pub fn masked(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let more = url.path().len() > 1
        || url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some();
    let rest = if more { "/•••" } else { "" };
    format!("{}://{host}{port}{rest}", url.scheme())
}

/// Words of paths that say where something is and let nobody in.
const ORDINARY: &[&str] = &[
    "arbitrum",
    "archive",
    "avalanche",
    "base",
    "blast",
    "celo",
    "chain",
    "endpoint",
    "ethereum",
    "fantom",
    "full",
    "gateway",
    "gnosis",
    "goerli",
    "holesky",
    "hoodi",
    "http",
    "https",
    "json",
    "jsonrpc",
    "linea",
    "main",
    "mainnet",
    "matic",
    "moonbeam",
    "network",
    "node",
    "nodes",
    "nova",
    "optimism",
    "polygon",
    "public",
    "query",
    "scroll",
    "sepolia",
    "test",
    "testnet",
    "true",
    "websocket",
    "zkevm",
    "zksync",
];

/// Everything in an endpoint's URLs that may let somebody in.
#[derive(Default)]
pub(crate) struct Mask {
    /// In small letters, the longest first.
    secrets: Vec<String>,
}

impl Mask {
    pub(crate) fn of<'a>(urls: impl IntoIterator<Item = &'a Url>) -> Self {
        let mut secrets = Vec::new();
        for url in urls {
            let (user, password) = (url.username(), url.password().unwrap_or_default());
            let pair = [decoded(user), ":".to_owned(), decoded(password)].concat();
            if pair.len() > 1 {
                secrets.push(base64::prelude::BASE64_STANDARD.encode(pair));
            }
            secrets.extend([user.to_owned(), decoded(user)]);
            secrets.extend([password.to_owned(), decoded(password)]);
            let queried = url.query().unwrap_or_default().split(['&', ';']);
            // What stands alone may be a key as well as a name.
            let queried = queried.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
            let parts = url.path().split('/').chain(queried).chain(url.fragment());
            for part in parts.filter(|part| !is_ordinary(part)) {
                secrets.extend([part.to_owned(), decoded(part)]);
            }
        }
        secrets
            .iter_mut()
            .for_each(|secret| secret.make_ascii_lowercase());
        secrets.retain(|secret| secret.len() >= SHORTEST);
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then(one.cmp(other)));
        secrets.dedup();
        Self { secrets }
    }

    /// The same without what may let somebody in.
    pub(crate) fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for secret in &self.secrets {
            let beginning = secret.get(..KNOWN_BY).unwrap_or(secret);
            let small = shown.to_ascii_lowercase();
            let Some(first) = small.find(beginning) else {
                continue;
            };
            let (mut without, mut at, mut next) = (String::new(), 0, Some(first));
            while let Some(start) = next {
                without.push_str(&shown[at..start]);
                without.push_str(HIDDEN);
                let same = secret
                    .chars()
                    .zip(small[start..].chars())
                    .take_while(|(one, other)| one == other);
                at = start + same.map(|(c, _)| c.len_utf8()).sum::<usize>();
                next = small[at..].find(beginning).map(|more| at + more);
            }
            without.push_str(&shown[at..]);
            shown = Cow::Owned(without);
        }
        shown
    }

    pub(crate) fn hide_in(&self, text: String) -> String {
        match self.hide(&text) {
            Cow::Owned(without) => without,
            Cow::Borrowed(_) => text,
        }
    }

    pub(crate) fn hide_in_refusal(&self, refusal: Refusal) -> Refusal {
        Refusal {
            code: refusal.code,
            message: self.hide_in(refusal.message),
            data: refusal.data.map(|data| match is_bytes(&data) {
                true => data,
                false => self.hide_in(data),
            }),
        }
    }

    /// The same of the bytes of an `error`, which stay what they are unless there is something to
    /// hide in them.
    pub(crate) fn hide_in_error(&self, error: Bytes) -> Bytes {
        if self.secrets.is_empty() {
            return error;
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(&error) else {
            return error;
        };
        match self.hide_in_value(&mut value) {
            true => value.to_string().into(),
            false => error,
        }
    }

    fn hide_in_value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) if is_bytes(text) => false,
            Value::String(text) => match self.hide(text) {
                Cow::Borrowed(_) => false,
                Cow::Owned(without) => {
                    *text = without;
                    true
                }
            },
            Value::Array(list) => list
                .iter_mut()
                .fold(false, |any, it| self.hide_in_value(it) | any),
            Value::Object(members) => members
                .values_mut()
                .fold(false, |any, it| self.hide_in_value(it) | any),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

/// What a contract gave is passed on to the byte.
fn is_bytes(text: &str) -> bool {
    text.strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_ordinary(part: &str) -> bool {
    part.split(['-', '_', '.', '~'])
        .all(|word| word.len() < SHORTEST || ORDINARY.contains(&&*word.to_ascii_lowercase()))
        && part.len() < 40
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(text)).into_owned()
}

pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let two = text
            .get(at + 1..at + 3)
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match two {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_scheme_host_and_port_are_shown_and_nothing_else_however_short() {
        for (url, shown) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            (
                "https://eth.example.com/v3/0123",
                "https://eth.example.com/•••",
            ),
            (
                "https://eth.example.com/s3cret",
                "https://eth.example.com/•••",
            ),
            (
                "wss://user:pass@example.com:8546/ext/bc/C/ws",
                "wss://example.com:8546/•••",
            ),
            ("wss://:pass@example.com", "wss://example.com/•••"),
            (
                "https://example.com?apikey=s3cret",
                "https://example.com/•••",
            ),
            ("https://example.com/#s3cret", "https://example.com/•••"),
            ("http://[::1]:8545/", "http://[::1]:8545"),
        ] {
            assert_eq!(masked(&Url::parse(url).unwrap()), shown);
        }
    }

    fn mask(urls: &[&str]) -> Mask {
        let urls: Vec<Url> = urls.iter().map(|url| url.parse().unwrap()).collect();
        Mask::of(&urls)
    }

    #[test]
    fn what_an_endpoint_says_is_shown_without_what_lets_somebody_in() {
        let mask = mask(&[
            "https://user77:p%40ssword@rpc.example.com/v2/CANARYKEY77abcdef/mainnet?apikey=s3cret&x=1",
            "wss://example.com/ethereum-mainnet/ws/other-0123456789",
        ]);
        for (said, shown) in [
            ("Cannot POST /v2/CANARYKEY77abcdef", "Cannot POST /v2/•••"),
            ("no such key: canarykey77ABCDEF!", "no such key: •••!"),
            // Cut short on the way.
            ("Cannot POST /v2/CANARYKEY77a", "Cannot POST /v2/•••"),
            ("CANARYKEY77abcdef, CANARYKEY77abcdxx", "•••, •••xx"),
            ("apikey=s3cret is over quota", "apikey=••• is over quota"),
            ("user77 has p@ssword or p%40ssword", "••• has ••• or •••"),
            ("Basic dXNlcjc3OnBAc3N3b3Jk", "Basic •••"),
            ("closed: other-0123456789", "closed: •••"),
            // Where it leads is no secret.
            (
                "mainnet of ethereum-mainnet at v2, ws",
                "mainnet of ethereum-mainnet at v2, ws",
            ),
            ("", ""),
        ] {
            assert_eq!(mask.hide(said), shown, "{said}");
        }
        assert_eq!(Mask::default().hide("anything"), "anything");
    }

    #[test]
    fn an_error_is_passed_on_to_the_byte_unless_a_secret_is_in_it() {
        let mask = mask(&["https://example.com/deadbeef0123"]);
        let error = |text: &'static str| Bytes::from_static(text.as_bytes());
        for same in [
            r#"{ "code":3, "message":"execution reverted","data":"0xdeadbeef0123" }"#,
            r#"{"code": 1.0,"message":"x"}"#,
            "not JSON",
        ] {
            assert_eq!(mask.hide_in_error(error(same)), same.as_bytes());
        }
        assert_eq!(
            mask.hide_in_error(error(
                r#"{"code":-32000,"message":"\u0064eadbeef0123","data":{"at":["/deadbeef0123"]}}"#
            )),
            r#"{"code":-32000,"data":{"at":["/•••"]},"message":"•••"}"#.as_bytes()
        );
        let refusal = Refusal {
            code: 3,
            message: "of deadbeef0123".to_owned(),
            data: Some("0xdeadbeef0123".to_owned()),
        };
        let shown = mask.hide_in_refusal(refusal);
        assert_eq!(shown.message, "of •••");
        assert_eq!(shown.data.as_deref(), Some("0xdeadbeef0123"));
    }
}
