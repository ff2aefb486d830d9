//! Who may come in, and as whom: keys, tokens, certificates, addresses.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use ipnet::IpNet;
use rand::TryRng as _;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::budget::Purse;
use super::jwt::{JwtConfig, JwtConfigError, Tokens};
use super::policy::MethodRules;
use super::quota::{Bucket, Buckets, Quota, Whose};

/// What a key begins with, so that people and secret scanners know one when they see it.
const KEY_PREFIX: &str = "dgw_";
/// The path a key may be given in, for software that takes a URL and nothing else.
const KEY_PATH: &str = "/key/";
const HASH_PREFIX: &str = "sha256:";

/// Who may use the gateway.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub keys: Vec<ApiKey>,
    pub jwt: Option<JwtConfig>,
    /// Where clients have to come from; empty: from anywhere.
    pub allow_from: Vec<IpNet>,
    pub deny_from: Vec<IpNet>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Lets in who shows neither key, token nor certificate, although some are known.
    pub anonymous: bool,
    /// Of every client that has none of its own.
    pub quota: Option<Quota>,
}

impl Access {
    /// Whether everybody is asked who they are, or at least from where.
    pub(crate) fn asks(&self) -> bool {
        !self.allow_from.is_empty()
            || (!self.anonymous && (!self.keys.is_empty() || self.jwt.is_some()))
    }
}

/// A key somebody was given; the key itself is kept nowhere.
#[derive(Debug, Clone)]
pub struct ApiKey {
    pub name: String,
    pub hash: KeyHash,
    /// On top of what everybody may.
    pub methods: MethodRules,
    pub quota: Option<Quota>,
    /// Where it is good; empty: anywhere.
    pub from: Vec<IpNet>,
}

/// SHA-256 of a key. Keys are 256 random bits: there is nothing to guess, so nothing slower is
/// needed, and every request may be checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

impl std::fmt::Display for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HASH_PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str =
            "a key's hash is sha256: and 64 hexadecimal digits, as `dodona gateway key` prints it";
        let digits = text.strip_prefix(HASH_PREFIX).ok_or(WRONG)?;
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(Self(hash))
    }
}

impl KeyHash {
    fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

/// A new key and what is kept of it. Fails where the system has no randomness to give.
pub fn new_key() -> Result<(String, KeyHash), String> {
    let mut secret = [0; 32];
    rand::rngs::SysRng
        .try_fill_bytes(&mut secret)
        .map_err(|cause| format!("the system gives no randomness: {cause}"))?;
    let key = format!("{KEY_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    let hash = KeyHash::of(&key);
    Ok((key, hash))
}

/// Somebody who was let in.
pub(crate) struct Caller {
    /// Of the key, token or certificate; none for strangers that are let in.
    pub(crate) name: Option<Arc<str>>,
    /// What this one may, on top of what everybody may.
    pub(crate) methods: Option<Arc<MethodRules>>,
    pub(crate) bucket: Option<Arc<Bucket>>,
    /// Whom what it uses is counted for.
    pub(crate) whose: Whose,
    /// What second attempts at its questions are paid from.
    pub(crate) purse: Purse,
    /// Until when what was shown is good, in seconds since 1970.
    expires: Option<u64>,
}

impl Caller {
    pub(crate) fn is_still_good(&self) -> bool {
        self.expires.is_none_or(|expires| now() < expires)
    }

    /// Seconds until it has to show something new.
    pub(crate) fn good_for_seconds(&self) -> Option<u64> {
        self.expires.map(|expires| expires.saturating_sub(now()))
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Why somebody stays outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Comes from the wrong place, whatever it shows.
    Address,
    /// Shows nothing.
    Nobody,
    /// Shows something that is not good.
    Credentials(&'static str),
}

/// Where somebody comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The other end of the connection.
    pub(crate) peer: IpAddr,
    /// Whose verified certificate the connection was opened with.
    pub(crate) certificate: Option<Arc<str>>,
}

/// The rules, ready to be applied.
pub(crate) struct Doorman {
    keys: HashMap<[u8; 8], Vec<Known>>,
    tokens: Option<Tokens>,
    rules: Access,
    buckets: Arc<Buckets>,
}

struct Known {
    hash: KeyHash,
    name: Arc<str>,
    methods: Option<Arc<MethodRules>>,
    quota: Option<Quota>,
    from: Vec<IpNet>,
}

impl Doorman {
    pub(crate) fn new(rules: Access, buckets: Arc<Buckets>) -> Result<Self, JwtConfigError> {
        let mut keys: HashMap<[u8; 8], Vec<Known>> = HashMap::new();
        for key in &rules.keys {
            let methods =
                (key.methods != MethodRules::default()).then(|| Arc::new(key.methods.clone()));
            keys.entry(beginning(key.hash)).or_default().push(Known {
                hash: key.hash,
                name: key.name.as_str().into(),
                methods,
                quota: key.quota,
                from: key.from.clone(),
            });
        }
        let tokens = rules.jwt.as_ref().map(Tokens::new).transpose()?;
        Ok(Self {
            keys,
            tokens,
            rules,
            buckets,
        })
    }

    /// Whether a connection from here is worth listening to at all.
    pub(crate) fn lets_near(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        is_in(&self.rules.trusted_proxies, peer) || self.is_allowed_from(peer)
    }

    fn is_allowed_from(&self, address: IpAddr) -> bool {
        (self.rules.allow_from.is_empty() || is_in(&self.rules.allow_from, address))
            && !is_in(&self.rules.deny_from, address)
    }

    /// Whether the answer depends on more than the connection.
    pub(crate) fn looks_at_headers(&self) -> bool {
        !self.keys.is_empty() || self.tokens.is_some() || !self.rules.trusted_proxies.is_empty()
    }

    /// Who a request is from.
    pub(crate) fn admit(
        &self,
        origin: &Origin,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<Caller, Refused> {
        let address = self.address(origin.peer.to_canonical(), headers);
        if !self.is_allowed_from(address) {
            return Err(Refused::Address);
        }
        let known = !self.keys.is_empty() || self.tokens.is_some();
        if known && let Some(shown) = shown(headers, path) {
            return self.recognise(&shown, address);
        }
        if let Some(name) = &origin.certificate {
            return Ok(self.named(Arc::clone(name), None, self.rules.quota, None));
        }
        if known && !self.rules.anonymous {
            return Err(Refused::Nobody);
        }
        let whose = Whose::at(address);
        Ok(Caller {
            name: None,
            methods: None,
            purse: Purse::of(&whose),
            whose,
            bucket: self
                .rules
                .quota
                .map(|quota| self.buckets.of(Whose::at(address), quota)),
            expires: None,
        })
    }

    fn recognise(&self, shown: &str, address: IpAddr) -> Result<Caller, Refused> {
        if let Some(tokens) = &self.tokens
            && !shown.starts_with(KEY_PREFIX)
        {
            let subject = tokens.check(shown).map_err(Refused::Credentials)?;
            return Ok(self.named(
                subject.name.into(),
                None,
                self.rules.quota,
                Some(subject.expires),
            ));
        }
        let hash = KeyHash::of(shown);
        let known = self
            .keys
            .get(&beginning(hash))
            .and_then(|keys| keys.iter().find(|key| key.hash.0.ct_eq(&hash.0).into()))
            .ok_or(Refused::Credentials("this key is not known here"))?;
        if !known.from.is_empty() && !is_in(&known.from, address) {
            return Err(Refused::Address);
        }
        Ok(self.named(
            Arc::clone(&known.name),
            known.methods.clone(),
            known.quota.or(self.rules.quota),
            None,
        ))
    }

    fn named(
        &self,
        name: Arc<str>,
        methods: Option<Arc<MethodRules>>,
        quota: Option<Quota>,
        expires: Option<u64>,
    ) -> Caller {
        let whose = Whose::Name(Arc::clone(&name));
        Caller {
            bucket: quota.map(|quota| self.buckets.of(whose.clone(), quota)),
            purse: Purse::of(&whose),
            whose,
            name: Some(name),
            methods,
            expires,
        }
    }

    /// The client's own address. Read from our end: each trusted proxy wrote down who spoke to it,
    /// and what stands further left is only what that one claims. What cannot be read ends the way
    /// back, at the last hop that is known.
    fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut known = peer;
        // Several headers are one list.
        let lists = headers.get_all("x-forwarded-for");
        let lists: Vec<&HeaderValue> = lists.iter().collect();
        let mut hops = lists
            .iter()
            .rev()
            .flat_map(|list| list.as_bytes().rsplit(|byte| *byte == b','));
        while is_in(&self.rules.trusted_proxies, known) {
            match hops.next().and_then(address_of_hop) {
                Some(hop) => known = hop,
                None => break,
            }
        }
        known
    }
}

/// An address as proxies write it down, some of them with the port.
fn address_of_hop(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(hop);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => hop.parse::<SocketAddr>().ok()?.ip(),
    };
    Some(address.to_canonical())
}

fn beginning(hash: KeyHash) -> [u8; 8] {
    let mut beginning = [0; 8];
    beginning.copy_from_slice(&hash.0[..8]);
    beginning
}

fn is_in(list: &[IpNet], address: IpAddr) -> bool {
    list.iter().any(|network| network.contains(&address))
}

/// What a request shows to be let in: a bearer, `X-API-Key`, the password of a URL, or a path.
fn shown(headers: &HeaderMap, path: &str) -> Option<String> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.to_str().unwrap_or_default().to_owned());
    }
    if let Some(value) = headers.get(AUTHORIZATION) {
        return Some(of_authorization(value).unwrap_or_default());
    }
    path.strip_prefix(KEY_PATH)
        .map(|rest| rest.split('/').next().unwrap_or_default().to_owned())
}

fn of_authorization(value: &HeaderValue) -> Option<String> {
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    Some(password.to_owned())
}

/// A path without the key that may be in it.
pub(crate) fn without_key(path: &str) -> &str {
    let Some(rest) = path.strip_prefix(KEY_PATH) else {
        return path;
    };
    rest.find('/').map_or("/", |end| &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn from(peer: &str) -> Origin {
        Origin {
            peer: peer.parse().unwrap(),
            certificate: None,
        }
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (
                    hyper::header::HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn doorman(rules: Access) -> Doorman {
        Doorman::new(rules, Arc::default()).unwrap()
    }

    fn with_key(adjust: impl FnOnce(&mut ApiKey)) -> (String, Doorman) {
        let (key, hash) = new_key().unwrap();
        let mut known = ApiKey {
            name: "node".to_owned(),
            hash,
            methods: MethodRules::default(),
            quota: None,
            from: Vec::new(),
        };
        adjust(&mut known);
        let rules = Access {
            keys: vec![known],
            ..Access::default()
        };
        (key, doorman(rules))
    }

    #[test]
    fn a_key_is_taken_however_software_can_show_it_and_no_other_is() {
        let (key, doorman) = with_key(|_| {});
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("any:{key}")));
        let admit = |list: &[(&'static str, &str)], path: &str| {
            doorman
                .admit(&from("192.0.2.1"), &headers(list), path)
                .map(|caller| caller.name.unwrap().to_string())
        };
        let name = Ok("node".to_owned());
        assert_eq!(
            admit(&[("authorization", &format!("Bearer {key}"))], "/"),
            name
        );
        assert_eq!(admit(&[("x-api-key", &key)], "/"), name);
        assert_eq!(admit(&[("authorization", &basic)], "/"), name);
        assert_eq!(admit(&[], &format!("/key/{key}")), name);
        assert_eq!(admit(&[], "/"), Err(Refused::Nobody));
        let unknown = Err(Refused::Credentials("this key is not known here"));
        for wrong in [&key[..key.len() - 1], "", "dgw_", &new_key().unwrap().0] {
            assert_eq!(admit(&[("x-api-key", wrong)], "/"), unknown);
        }
    }

    #[test]
    fn what_is_kept_of_a_key_is_read_back_and_does_not_hold_it() {
        let (key, hash) = new_key().unwrap();
        let text = hash.to_string();
        assert_eq!(text.parse(), Ok(hash));
        assert!(!text.contains(&key[KEY_PREFIX.len()..]));
        assert_eq!(key.len(), KEY_PREFIX.len() + 43);
        for wrong in ["", "sha256:12", &text[7..], &format!("{text}0")] {
            assert!(wrong.parse::<KeyHash>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_good_only_where_it_may_be_used() {
        let (key, doorman) = with_key(|key| key.from = nets(&["10.0.0.0/8"]));
        let admit = |peer: &str| {
            doorman
                .admit(&from(peer), &headers(&[("x-api-key", &key)]), "/")
                .is_ok()
        };
        assert!(admit("10.1.2.3"));
        assert!(admit("::ffff:10.1.2.3"));
        assert!(!admit("192.0.2.1"));
    }

    #[test]
    fn addresses_are_let_in_by_list_and_a_proxy_is_believed_only_if_it_is_ours() {
        let doorman = doorman(Access {
            allow_from: nets(&["198.51.100.0/24"]),
            deny_from: nets(&["198.51.100.66/32"]),
            trusted_proxies: nets(&["10.0.0.0/8"]),
            ..Access::default()
        });
        let admit = |peer: &str, forwarded: &str| {
            let headers = headers(&[("x-forwarded-for", forwarded)]);
            doorman.admit(&from(peer), &headers, "/").is_ok()
        };
        assert!(admit("198.51.100.1", ""));
        assert!(!admit("198.51.100.66", ""));
        assert!(!admit("192.0.2.1", "198.51.100.1"));
        assert!(admit("10.0.0.1", "198.51.100.1"));
        // What the client itself wrote in front of what the proxy saw is not believed.
        assert!(!admit("10.0.0.1", "198.51.100.1, 192.0.2.1"));
        assert!(admit("10.0.0.1", "192.0.2.1, 198.51.100.1, 10.0.0.2"));
        assert!(!admit("10.0.0.1", "rubbish"));
        // Nor is what stands in front of something unreadable.
        assert!(!admit("10.0.0.1", "198.51.100.1, x"));
        assert!(doorman.lets_near("10.0.0.1".parse().unwrap()));
        assert!(!doorman.lets_near("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn the_client_is_the_first_hop_from_our_end_that_is_no_proxy_of_ours() {
        let doorman = doorman(Access {
            trusted_proxies: nets(&["10.0.0.0/8", "fd00::/8"]),
            ..Access::default()
        });
        let client = |lists: &[&str]| {
            let lists: Vec<_> = lists.iter().map(|it| ("x-forwarded-for", *it)).collect();
            let address = doorman.address("10.0.0.1".parse().unwrap(), &headers(&lists));
            address.to_string()
        };
        for (lists, address) in [
            (&[][..], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.7, 192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.3, 10.0.0.2"], "192.0.2.1"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // nginx writes what came, a comma, and who it came from.
            (&["10.0.0.5, x, 192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, x"], "10.0.0.1"),
            (&["192.0.2.1, x, 10.0.0.2"], "10.0.0.2"),
            (&["192.0.2.1, "], "10.0.0.1"),
            (&["unknown"], "10.0.0.1"),
            // As some write it.
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["198.51.100.9, 192.0.2.1:4711 , 10.0.0.2:80"], "192.0.2.1"),
            (&["[2001:db8::1]:4711, fd00::7"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            // Several headers are one list.
            (&["192.0.2.7", "192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1", "10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.1", "x", "10.0.0.2"], "10.0.0.2"),
        ] {
            assert_eq!(client(lists), address, "{lists:?}");
        }
        let bytes = HeaderValue::from_bytes(b"192.0.2.1, \xff").unwrap();
        let unreadable = HeaderMap::from_iter([(
            hyper::header::HeaderName::from_static("x-forwarded-for"),
            bytes,
        )]);
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(doorman.address(peer, &unreadable), peer);
    }

    #[test]
    fn strangers_are_let_in_where_nobody_is_known_or_where_it_is_said() {
        let nobody = doorman(Access::default());
        assert!(nobody.admit(&from("192.0.2.1"), &headers(&[]), "/").is_ok());
        let (key, _) = with_key(|_| {});
        let rules = Access {
            keys: vec![ApiKey {
                name: "node".to_owned(),
                hash: KeyHash::of(&key),
                methods: MethodRules::default(),
                quota: None,
                from: Vec::new(),
            }],
            anonymous: true,
            ..Access::default()
        };
        let open = doorman(rules);
        assert!(open.admit(&from("192.0.2.1"), &headers(&[]), "/").is_ok());
        // Somebody who shows a wrong key wanted to be known and is told.
        assert!(
            open.admit(&from("192.0.2.1"), &headers(&[("x-api-key", "x")]), "/")
                .is_err()
        );
    }

    #[test]
    fn whoever_has_a_certificate_is_known_by_it() {
        let (_, doorman) = with_key(|_| {});
        let origin = Origin {
            certificate: Some("monitor".into()),
            ..from("192.0.2.1")
        };
        let caller = doorman.admit(&origin, &headers(&[]), "/").unwrap();
        assert_eq!(caller.name.as_deref(), Some("monitor"));
    }
}
