//! The file of `dodona gateway --config`: what may stand in it, and what it means.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dodona_rpc::gateway::{Access, ApiKey, GatewayConfig, JwtConfig, MethodRules, Quota, TlsFiles};
use dodona_rpc::{EndpointTls, NodeConfig};
use ipnet::IpNet;
use secrecy::SecretSlice;
use serde::Deserialize;
use url::Url;

use super::gateway_config::{Settings, checked_origins, refuse_plain};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    interface: Option<String>,
    chain_id: Option<u64>,
    #[serde(default)]
    upstream: Vec<Upstream>,
    tls: Option<Tls>,
    #[serde(default)]
    access: AccessSection,
    #[serde(default)]
    key: Vec<Key>,
    jwt: Option<Jwt>,
    #[serde(default)]
    methods: Methods,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    allow_origins: Vec<String>,
    #[serde(default)]
    allow_hosts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Upstream {
    name: String,
    http: Option<String>,
    ws: Option<String>,
    #[serde(default)]
    send_only: bool,
    /// 1 – 100; the lowest that can answer is asked.
    #[serde(default = "middle")]
    priority: u32,
    /// Instead of the system's roots.
    ca: Option<PathBuf>,
    /// What we show it.
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    /// Without TLS over the open network, said on purpose.
    #[serde(default)]
    plain: bool,
    requests_per_second: Option<f64>,
    concurrent: Option<u32>,
}

fn middle() -> u32 {
    50
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessSection {
    #[serde(default)]
    anonymous: bool,
    #[serde(default)]
    allow_from: Vec<String>,
    #[serde(default)]
    deny_from: Vec<String>,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    units_per_second: Option<NonZeroU32>,
    burst: Option<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    hash: String,
    #[serde(default)]
    only: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    from: Vec<String>,
    units_per_second: Option<NonZeroU32>,
    burst: Option<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwt {
    #[serde(default)]
    keys: Vec<PathBuf>,
    secret: Option<String>,
    issuer: String,
    audience: String,
    #[serde(default = "five")]
    leeway_seconds: u64,
}

fn five() -> u64 {
    5
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Methods {
    #[serde(default)]
    only: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    allow: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    request_bytes: Option<usize>,
    held_bytes: Option<usize>,
    depth: Option<usize>,
    batch: Option<usize>,
    concurrent: Option<usize>,
    connections: Option<usize>,
    subscriptions: Option<usize>,
    queued_bytes: Option<usize>,
    log_range: Option<u64>,
    filters: Option<usize>,
    cache_bytes: Option<u64>,
    headers_seconds: Option<u64>,
    body_seconds: Option<u64>,
    drain_notice_seconds: Option<u64>,
    drain_seconds: Option<u64>,
}

pub(super) fn of_file(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut settings = of_text(&text, folder)
        .with_context(|| format!("{} is not as it should be", path.display()))?;
    settings.files.push(path.to_owned());
    Ok(settings)
}

/// Paths in the file are beside the file.
struct Reader<'a> {
    folder: &'a Path,
    /// What was read, to be watched for changes.
    files: Vec<PathBuf>,
}

impl Reader<'_> {
    fn path(&mut self, path: &Path) -> PathBuf {
        let path = self.folder.join(path);
        self.files.push(path.clone());
        path
    }

    fn bytes(&mut self, path: &Path) -> anyhow::Result<Vec<u8>> {
        let path = self.path(path);
        std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))
    }

    /// `env:NAME` and `file:PATH` keep secrets out of the file; anything else is itself.
    fn resolved(&mut self, text: &str) -> anyhow::Result<String> {
        if let Some(name) = text.strip_prefix("env:") {
            return std::env::var_os(name)
                .and_then(|value| value.into_string().ok())
                .with_context(|| format!("the environment variable {name} is not set"));
        }
        if let Some(path) = text
            .strip_prefix("file:")
            .filter(|path| !path.starts_with("//"))
        {
            let bytes = self.bytes(Path::new(path))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| anyhow::anyhow!("{path} holds something else than text"))?;
            return Ok(text.trim().to_owned());
        }
        Ok(text.to_owned())
    }

    fn upstream(&mut self, upstream: Upstream) -> anyhow::Result<NodeConfig> {
        let name = upstream.name;
        let url = |what: &str, text: Option<String>, reader: &mut Self| {
            let Some(text) = text else { return Ok(None) };
            // The text may be a secret; it is not repeated.
            let text = reader
                .resolved(&text)
                .with_context(|| format!("{what} of upstream {name:?}"))?;
            let url = Url::parse(text.trim())
                .map_err(|_| anyhow::anyhow!("{what} of upstream {name:?} is not a URL"))?;
            if !upstream.plain {
                refuse_plain(&url, &name, "plain = true")?;
            }
            Ok::<_, anyhow::Error>(Some(url))
        };
        let (http_url, ws_url) = (
            url("http", upstream.http, self)?,
            url("ws", upstream.ws, self)?,
        );
        let identity = match (upstream.certificate, upstream.key) {
            (Some(certificate), Some(key)) => Some((self.bytes(&certificate)?, self.bytes(&key)?)),
            (None, None) => None,
            _ => anyhow::bail!("upstream {name:?} has a certificate or a key and needs both"),
        };
        let ca = upstream.ca.map(|path| self.bytes(&path)).transpose()?;
        Ok(NodeConfig {
            http_url,
            ws_url,
            http_url_extra_write: None,
            send_only: upstream.send_only,
            order: upstream.priority,
            rate_per_second: upstream.requests_per_second,
            max_concurrent: upstream.concurrent,
            tls: EndpointTls { ca, identity },
            name,
        })
    }

    fn jwt(&mut self, jwt: Jwt) -> anyhow::Result<JwtConfig> {
        let secret = match jwt.secret {
            None => None,
            Some(text) => {
                anyhow::ensure!(
                    text.starts_with("env:") || text.starts_with("file:"),
                    "the secret of [jwt] has to be env:NAME or file:PATH, so that it is not in this file"
                );
                let text = self.resolved(&text).context("the secret of [jwt]")?;
                Some(SecretSlice::from(text.into_bytes()))
            }
        };
        Ok(JwtConfig {
            keys: jwt.keys.iter().map(|path| self.path(path)).collect(),
            secret,
            issuer: jwt.issuer,
            audience: jwt.audience,
            leeway_seconds: jwt.leeway_seconds,
        })
    }
}

fn of_text(text: &str, folder: &Path) -> anyhow::Result<Settings> {
    let file: File = toml::from_str(text).map_err(|error| misread(text, &error))?;
    anyhow::ensure!(
        !file.upstream.is_empty(),
        "no [[upstream]] is given: name at least one Ethereum client"
    );
    let mut reader = Reader {
        folder,
        files: Vec::new(),
    };
    let nodes = file
        .upstream
        .into_iter()
        .map(|upstream| reader.upstream(upstream))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let defaults = GatewayConfig::default();
    let access = file.access;
    let access = Access {
        keys: keys(file.key)?,
        jwt: file.jwt.map(|jwt| reader.jwt(jwt)).transpose()?,
        allow_from: networks("access.allow_from", &access.allow_from)?,
        deny_from: networks("access.deny_from", &access.deny_from)?,
        trusted_proxies: networks("access.trusted_proxies", &access.trusted_proxies)?,
        anonymous: access.anonymous,
        quota: quota("[access]", access.units_per_second, access.burst)?,
    };
    let limits = file.limits;
    let seconds = |given: Option<u64>, usual: Duration| given.map_or(usual, Duration::from_secs);
    let door = GatewayConfig {
        listen: file.listen.unwrap_or(defaults.listen),
        interface: file.interface,
        tls: file.tls.map(|tls| TlsFiles {
            certificate: reader.path(&tls.certificate),
            key: reader.path(&tls.key),
            client_ca: tls.client_ca.map(|path| reader.path(&path)),
        }),
        access,
        methods: MethodRules {
            only: file.methods.only,
            // What is refused to begin with stays refused; only `allow` opens it.
            deny: [defaults.methods.deny, file.methods.deny].concat(),
            allow: file.methods.allow,
        },
        origins: checked_origins(&file.allow_origins)?,
        hosts: file.allow_hosts,
        max_request_bytes: limits.request_bytes.unwrap_or(defaults.max_request_bytes),
        max_held_bytes: limits.held_bytes.unwrap_or(defaults.max_held_bytes),
        max_depth: limits.depth.unwrap_or(defaults.max_depth),
        max_batch: limits.batch.unwrap_or(defaults.max_batch),
        max_concurrent: limits.concurrent.unwrap_or(defaults.max_concurrent).max(1),
        max_connections: limits
            .connections
            .unwrap_or(defaults.max_connections)
            .max(1),
        max_subscriptions: limits.subscriptions.unwrap_or(defaults.max_subscriptions),
        max_queued_bytes: limits.queued_bytes.unwrap_or(defaults.max_queued_bytes),
        max_log_range: limits.log_range.unwrap_or(defaults.max_log_range),
        max_filters: limits.filters.unwrap_or(defaults.max_filters),
        cache_bytes: limits.cache_bytes.unwrap_or(defaults.cache_bytes),
        headers_within: seconds(limits.headers_seconds, defaults.headers_within),
        body_within: seconds(limits.body_seconds, defaults.body_within),
        drain_notice: limits.drain_notice_seconds.map(Duration::from_secs),
        drain: seconds(limits.drain_seconds, defaults.drain),
    };
    Ok(Settings {
        chain_id: file.chain_id,
        nodes,
        door,
        files: reader.files,
    })
}

/// Where and why a file is not TOML of ours. Nothing of the file is repeated but the names of
/// settings: the line at fault may well be the one with the key of a provider in it.
fn misread(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let why = without_values(error.message());
    match error.span() {
        Some(span) => {
            let place = dodona_pipeline::Place::of(text, span.start);
            anyhow::anyhow!("{place}: {why}")
        }
        None => anyhow::anyhow!(why),
    }
}

/// The parser's sentence without what it quotes of the file: texts (`string "…"`), and names that
/// do not look like one of a setting, because a misplaced key may stand where a name belongs.
fn without_values(message: &str) -> String {
    let mut said = message.trim().replace('\n', ", ");
    if let (Some(first), Some(last)) = (said.find('"'), said.rfind('"'))
        && first < last
    {
        said.replace_range(first + 1..last, "…");
    }
    let unknown = said
        .strip_prefix("unknown field `")
        .and_then(|rest| Some((rest, rest.find("`, expected").or_else(|| rest.find('`'))?)));
    if let Some((rest, end)) = unknown
        && !is_like_a_setting(&rest[..end])
    {
        said = format!("unknown field{}", &rest[end + 1..]);
    }
    said
}

fn is_like_a_setting(name: &str) -> bool {
    (1..=24).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-')
}

fn keys(list: Vec<Key>) -> anyhow::Result<Vec<ApiKey>> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for key in list {
        let name = key.name;
        anyhow::ensure!(
            keys.iter().all(|other| other.name != name),
            "two [[key]] are called {name:?}: give each its own name"
        );
        let hash = key
            .hash
            .parse()
            .map_err(|what: &str| anyhow::anyhow!("hash of key {name:?}: {what}"))?;
        keys.push(ApiKey {
            hash,
            methods: MethodRules {
                only: key.only,
                deny: key.deny,
                allow: key.allow,
            },
            quota: quota(&format!("key {name:?}"), key.units_per_second, key.burst)?,
            from: networks(&format!("from of key {name:?}"), &key.from)?,
            name,
        });
    }
    Ok(keys)
}

/// Without a burst, ten seconds' worth may be spent at once.
fn quota(
    whose: &str,
    units_per_second: Option<NonZeroU32>,
    burst: Option<NonZeroU32>,
) -> anyhow::Result<Option<Quota>> {
    let Some(units_per_second) = units_per_second else {
        anyhow::ensure!(
            burst.is_none(),
            "burst of {whose} means nothing without units_per_second"
        );
        return Ok(None);
    };
    let ten = NonZeroU32::MIN.saturating_add(9);
    Ok(Some(Quota {
        units_per_second,
        burst: burst.unwrap_or(units_per_second.saturating_mul(ten)),
    }))
}

/// Networks (`10.0.0.0/8`) and single addresses.
fn networks(what: &str, list: &[String]) -> anyhow::Result<Vec<IpNet>> {
    list.iter()
        .map(|text| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
                .map(|net| net.trunc())
                .map_err(|_| {
                    anyhow::anyhow!(
                        "{what}: {text:?} is neither an address nor a network like 10.0.0.0/8"
                    )
                })
        })
        .collect()
}

/// What is in all files the settings came from, as one number; a change of it is a change of them.
pub(super) fn fingerprint(files: &[PathBuf]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        std::fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether the secret is one; only for the tests of this file.
#[cfg(test)]
fn is_secret(config: &JwtConfig, text: &str) -> bool {
    use secrecy::ExposeSecret as _;

    config
        .secret
        .as_ref()
        .is_some_and(|secret| secret.expose_secret() == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Settings> {
        of_text(text, Path::new("/etc/dodona"))
    }

    #[test]
    fn a_file_says_the_same_and_more() {
        let settings = read(
            "listen = '127.0.0.1:9545'\nchain_id = 1\n[[upstream]]\nname = 'a'\nhttp = 'http://10.0.0.1:8545'\npriority = 1\n\
             [[upstream]]\nname = 'relay'\nhttp = 'https://relay.example.com'\nsend_only = true\n\
             [methods]\nallow = ['debug_traceCall']\n[limits]\nbatch = 10\n",
        )
        .unwrap();
        assert_eq!(settings.chain_id, Some(1));
        assert_eq!(settings.nodes.len(), 2);
        assert!(settings.nodes[1].send_only);
        assert_eq!(
            (settings.door.listen.port(), settings.door.max_batch),
            (9545, 10)
        );
        assert!(settings.door.methods.deny.contains(&"admin_*".to_owned()));
    }

    #[test]
    fn who_may_come_in_is_read_and_paths_are_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("secret"),
            "0123456789abcdef0123456789abcdef\n",
        )
        .unwrap();
        let hash = format!("sha256:{}", "ab".repeat(32));
        let text = format!(
            "[tls]\ncertificate='cert.pem'\nkey='/keys/key.pem'\nclient_ca='clients.pem'\n\
             [access]\nallow_from=['10.1.2.3/8','192.0.2.1']\nunits_per_second=50\n\
             [[key]]\nname='node'\nhash='{hash}'\nonly=['eth_*']\nunits_per_second=10\nburst=500\n\
             [jwt]\nsecret='file:secret'\nissuer='i'\naudience='a'\n\
             [[upstream]]\nname='a'\nhttp='http://10.0.0.1:8545'\n"
        );
        let settings = of_text(&text, folder.path()).unwrap();
        let (door, access) = (&settings.door, &settings.door.access);
        let tls = door.tls.as_ref().unwrap();
        assert_eq!(tls.certificate, folder.path().join("cert.pem"));
        assert_eq!(tls.key, Path::new("/keys/key.pem"));
        assert_eq!(access.allow_from[0].to_string(), "10.0.0.0/8");
        assert_eq!(access.allow_from[1].to_string(), "192.0.2.1/32");
        assert_eq!(access.quota.unwrap().burst.get(), 500);
        assert_eq!(access.keys[0].methods.only, ["eth_*"]);
        let jwt = access.jwt.as_ref().unwrap();
        assert!(is_secret(jwt, "0123456789abcdef0123456789abcdef"));
        assert!(settings.files.contains(&folder.path().join("secret")));
        assert!(settings.files.contains(&folder.path().join("cert.pem")));

        let before = fingerprint(&settings.files);
        assert_eq!(before, fingerprint(&settings.files));
        std::fs::write(folder.path().join("cert.pem"), "new").unwrap();
        assert_ne!(before, fingerprint(&settings.files));
    }

    #[test]
    fn a_file_that_is_no_toml_of_ours_is_told_by_place_and_reason_and_never_quoted() {
        let upstream = "[[upstream]]\nname = 'a'\n";
        for (line, words) in [
            (
                "https = 'https://eth.example.com/v3/S3CRETKEY'",
                "line 3, column 1: unknown field `https`",
            ),
            (
                "http = 'https://eth.example.com/v3/S3CRETKEY",
                "line 3, column ",
            ),
            (
                "http = 'https://h/S3CRETKEY'\nhttp = 'https://h/S3CRETKEY'",
                "line 4, column 1: duplicate key",
            ),
            (
                "http = ['https://h/S3CRETKEY']",
                "line 3, column 8: invalid type",
            ),
            ("http = https://h/S3CRETKEY", "line 3, column "),
            (
                "priority = 'S3CRETKEY \"quoted\" S3CRETKEY'",
                "line 3, column 12: invalid type: string \"…\"",
            ),
            (
                "concurrent = '''\nS3CRETKEY'''",
                "invalid type: string \"…\"",
            ),
            (
                "S3CRETKEY = 1",
                "line 3, column 1: unknown field, expected one of",
            ),
            (
                "\"https://h/S3CRETKEY` x\" = 1",
                "line 3, column 1: unknown field",
            ),
            ("name.S3CRETKEY = 1", "line 3, column"),
            ("S3CRETKEY", "line 3, column "),
        ] {
            let error = read(&format!("{upstream}{line}\n")).unwrap_err();
            for shown in [format!("{error:#}"), format!("{error:?}")] {
                assert!(shown.contains(words), "{line}: {shown}");
                assert!(!shown.contains("S3CRETKEY"), "{line}: {shown}");
                assert!(
                    !shown.contains('\n') || shown.contains("Stack backtrace"),
                    "{shown}"
                );
            }
        }
    }

    #[test]
    fn denying_a_method_leaves_refused_what_is_refused_to_begin_with() {
        let upstream = "[[upstream]]\nname='a'\nhttp='http://10.0.0.1'\n";
        let deny = |more: &str| {
            read(&format!("{upstream}[methods]\n{more}"))
                .unwrap()
                .door
                .methods
        };
        let rules = deny("deny = ['eth_gasPrice']\nallow = ['debug_traceCall']");
        for pattern in [
            "eth_gasPrice",
            "eth_sendTransaction",
            "personal_*",
            "admin_*",
        ] {
            assert!(
                rules.deny.iter().any(|denied| denied == pattern),
                "{pattern}"
            );
        }
        assert_eq!(rules.allow, ["debug_traceCall"]);
        assert_eq!(deny("").deny, GatewayConfig::default().methods.deny);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_secrets() {
        let upstream = "\n[[upstream]]\nname='a'\nhttp='http://10.0.0.1'\n";
        for (text, words) in [
            ("", "[[upstream]]"),
            ("chainid = 1", "unknown field"),
            ("[[upstream]]\nname='a'\nhttp='s3cret'", "is not a URL"),
            (
                "[[upstream]]\nname='a'\nhttp='env:DODONA_NOT_SET_ANYWHERE'",
                "is not set",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='http://u:s3cret@8.8.8.8/s3cret'",
                "without TLS",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='https://h.example'\nkey='k'",
                "needs both",
            ),
            ("allow_origins=['*']", "origins are exact"),
            ("[[key]]\nname='k'\nhash='s3cret'", "dodona gateway key"),
            ("[access]\nallow_from=['10.0.0.0/33']", "neither an address"),
            ("[access]\nburst=7", "means nothing"),
            ("[access]\nunits_per_second=0", "nonzero"),
            (
                "[jwt]\nissuer='i'\naudience='a'\nsecret='s3cret'",
                "file:PATH",
            ),
            ("[jwt]\nsecret='file:x'", "missing field"),
        ] {
            let whole = match text.contains("[[upstream]]") || text.is_empty() {
                true => text.to_owned(),
                false => format!("{text}{upstream}"),
            };
            let error = format!("{:#}", read(&whole).unwrap_err());
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
