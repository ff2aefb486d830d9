//! The file of `dodona gateway --config`: what may stand in it, and what it means.

mod reader;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dodona_rpc::gateway::{Access, ApiKey, GatewayConfig, LogsMode, MethodRules, TlsFiles};
use serde::Deserialize;

use self::reader::Reader;
use super::misread::misread;
use super::rules::{self, limit, networks, quota, seconds};
use super::settings::Settings;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    interface: Option<String>,
    chain_id: Option<u64>,
    logs_mode: Option<String>,
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
    units_per_second: Option<u32>,
    burst: Option<u32>,
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
    units_per_second: Option<u32>,
    burst: Option<u32>,
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
    request_bytes: Option<u64>,
    held_bytes: Option<u64>,
    depth: Option<u64>,
    batch: Option<u64>,
    concurrent: Option<u64>,
    connections: Option<u64>,
    subscriptions: Option<u64>,
    queued_bytes: Option<u64>,
    log_range: Option<u64>,
    filters: Option<u64>,
    cache_bytes: Option<u64>,
    headers_seconds: Option<u64>,
    body_seconds: Option<u64>,
    drain_notice_seconds: Option<u64>,
    drain_seconds: Option<u64>,
}

pub(super) fn not_right(file: &Path) -> String {
    format!("{} is not as it should be", file.display())
}

pub(super) fn of_file(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut settings = of_text(&text, folder).with_context(|| not_right(path))?;
    settings.files.push(path.to_owned());
    Ok(settings)
}

fn of_text(text: &str, folder: &Path) -> anyhow::Result<Settings> {
    let file: File = toml::from_str(text).map_err(|error| misread(text, &error))?;
    anyhow::ensure!(
        file.chain_id != Some(0),
        "chain_id: no chain has the number 0; leave it out, and the clients are asked"
    );
    let mut reader = Reader {
        folder,
        files: Vec::new(),
    };
    let nodes = reader.upstreams(file.upstream)?;
    let access = file.access;
    let access = Access {
        keys: keys(file.key)?,
        jwt: file.jwt.map(|jwt| reader.jwt(jwt)).transpose()?,
        allow_from: networks("[access] allow_from", &access.allow_from)?,
        deny_from: networks("[access] deny_from", &access.deny_from)?,
        trusted_proxies: networks("[access] trusted_proxies", &access.trusted_proxies)?,
        anonymous: access.anonymous,
        quota: quota("[access]", access.units_per_second, access.burst)?,
    };
    let door = GatewayConfig {
        listen: file.listen.unwrap_or(GatewayConfig::default().listen),
        interface: file.interface,
        tls: file.tls.map(|tls| TlsFiles {
            certificate: reader.path(&tls.certificate),
            key: reader.path(&tls.key),
            client_ca: tls.client_ca.map(|path| reader.path(&path)),
        }),
        access,
        methods: of_everybody(file.methods)?,
        origins: rules::origins("allow_origins", file.allow_origins)?,
        hosts: rules::hosts("allow_hosts", file.allow_hosts)?,
        logs_mode: logs_mode(file.logs_mode.as_deref())?,
        ..file.limits.door()?
    };
    Ok(Settings {
        chain_id: file.chain_id,
        nodes,
        door,
        files: reader.files,
    })
}

/// How logs for subscribers and filters are made sure of.
fn logs_mode(given: Option<&str>) -> anyhow::Result<LogsMode> {
    Ok(match given {
        None => LogsMode::ByBlockTime,
        Some("verified") => LogsMode::Verified,
        Some("derive") => LogsMode::Derive,
        Some(_) => anyhow::bail!(
            "logs_mode: it is \"verified\" (proven by receipts) or \"derive\" (compared with blooms); left out, it is verified unless blocks come faster than one in a second"
        ),
    })
}

/// What anybody may ask.
fn of_everybody(methods: Methods) -> anyhow::Result<MethodRules> {
    let denied = rules::methods("[methods] deny", methods.deny)?;
    Ok(MethodRules {
        only: rules::methods("[methods] only", methods.only)?,
        // What is refused to begin with stays refused; only `allow` opens it.
        deny: [GatewayConfig::default().methods.deny, denied].concat(),
        allow: rules::methods("[methods] allow", methods.allow)?,
    })
}

impl Limits {
    /// A door with these limits.
    fn door(self) -> anyhow::Result<GatewayConfig> {
        /// Larger than any memory these are held in.
        const BYTES: u64 = 1 << 40;
        /// More than a machine has file handles or a person has time.
        const COUNT: u64 = 10_000_000;
        let usual = GatewayConfig::default();
        let count = |key: &str, given, usual| limit(key, given, usual, 1..=COUNT);
        let bytes = |key: &str, given, usual| limit(key, given, usual, 1..=BYTES);
        // Of these, none at all is something one may want.
        let even_none = |key: &str, given, usual| limit(key, given, usual, 0..=COUNT);
        let door = GatewayConfig {
            max_request_bytes: bytes("request_bytes", self.request_bytes, usual.max_request_bytes)?,
            max_held_bytes: bytes("held_bytes", self.held_bytes, usual.max_held_bytes)?,
            max_depth: count("depth", self.depth, usual.max_depth)?,
            max_batch: count("batch", self.batch, usual.max_batch)?,
            max_concurrent: count("concurrent", self.concurrent, usual.max_concurrent)?,
            max_connections: count("connections", self.connections, usual.max_connections)?,
            max_subscriptions: even_none(
                "subscriptions",
                self.subscriptions,
                usual.max_subscriptions,
            )?,
            max_queued_bytes: bytes("queued_bytes", self.queued_bytes, usual.max_queued_bytes)?,
            max_log_range: limit("log_range", self.log_range, 100_000, 1..=u64::MAX)? as u64,
            max_filters: even_none("filters", self.filters, usual.max_filters)?,
            cache_bytes: limit("cache_bytes", self.cache_bytes, 256 << 20, 0..=BYTES)? as u64,
            headers_within: seconds(
                "headers_seconds",
                self.headers_seconds,
                usual.headers_within,
                1,
            )?,
            body_within: seconds("body_seconds", self.body_seconds, usual.body_within, 1)?,
            drain_notice: self
                .drain_notice_seconds
                .map(|given| seconds("drain_notice_seconds", Some(given), Duration::ZERO, 0))
                .transpose()?,
            drain: seconds("drain_seconds", self.drain_seconds, usual.drain, 0)?,
            ..usual
        };
        anyhow::ensure!(
            door.max_held_bytes >= door.max_request_bytes,
            "[limits] held_bytes: a request of request_bytes ({}) would never fit into {}: give at least as much",
            door.max_request_bytes,
            door.max_held_bytes
        );
        Ok(door)
    }
}

fn keys(list: Vec<Key>) -> anyhow::Result<Vec<ApiKey>> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for key in list {
        let name = key.name;
        anyhow::ensure!(
            !name.trim().is_empty(),
            "[[key]] name: it is empty; call each client something"
        );
        anyhow::ensure!(
            keys.iter().all(|other| other.name != name),
            "[[key]] name: two are called {name:?}; give each its own"
        );
        let table = format!("[[key]] {name:?}");
        let hash = key
            .hash
            .parse()
            .map_err(|what: &str| anyhow::anyhow!("{table} hash: {what}"))?;
        if let Some(other) = keys.iter().find(|other| other.hash == hash) {
            anyhow::bail!(
                "{table} hash: it is that of {:?} as well; make each client its own with `dodona gateway key`",
                other.name
            );
        }
        keys.push(ApiKey {
            hash,
            methods: MethodRules {
                only: rules::methods(&format!("{table} only"), key.only)?,
                deny: rules::methods(&format!("{table} deny"), key.deny)?,
                allow: rules::methods(&format!("{table} allow"), key.allow)?,
            },
            quota: quota(&table, key.units_per_second, key.burst)?,
            from: networks(&format!("{table} from"), &key.from)?,
            name,
        });
    }
    Ok(keys)
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
fn is_secret(config: &dodona_rpc::gateway::JwtConfig, text: &str) -> bool {
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
        assert_eq!(settings.door.logs_mode, LogsMode::ByBlockTime);
        for (said, mode) in [
            ("verified", LogsMode::Verified),
            ("derive", LogsMode::Derive),
        ] {
            let text = format!(
                "logs_mode = '{said}'\n[[upstream]]\nname = 'a'\nhttp = 'http://10.0.0.1:8545'\n"
            );
            assert_eq!(read(&text).unwrap().door.logs_mode, mode);
        }
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
                "line 3, column 1, [[upstream]]: unknown field `https`",
            ),
            (
                "http = 'https://eth.example.com/v3/S3CRETKEY",
                "line 3, column ",
            ),
            (
                "http = 'https://h/S3CRETKEY'\nhttp = 'https://h/S3CRETKEY'",
                "line 4, column 1, [[upstream]]: duplicate key",
            ),
            (
                "http = ['https://h/S3CRETKEY']",
                "line 3, column 8, [[upstream]] http: invalid type",
            ),
            ("http = https://h/S3CRETKEY", "line 3, column "),
            (
                "priority = 'S3CRETKEY \"quoted\" S3CRETKEY'",
                "line 3, column 12, [[upstream]] priority: invalid type: string \"…\"",
            ),
            (
                "concurrent = '''\nS3CRETKEY'''",
                "invalid type: string \"…\"",
            ),
            (
                "S3CRETKEY = 1",
                "line 3, column 1, [[upstream]]: unknown field, expected one of",
            ),
            (
                "\"https://h/S3CRETKEY` x\" = 1",
                "line 3, column 1, [[upstream]]: unknown field",
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
            (
                "[[upstream]]\nname='a'\nhttp='s3cret'",
                "[[upstream]] \"a\" http: an address begins with http://",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='ws://10.0.0.1/s3cret'",
                "and this one with ws://",
            ),
            (
                "[[upstream]]\nname='a'\nws='localhost:8546'",
                "[[upstream]] \"a\" ws: an address begins with ws:// or wss://, as in ws://localhost:8546",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='http://10.0.0.1'\nsend_only=true",
                "stands at every upstream",
            ),
            (
                "[[upstream]]\nname='a'\nws='ws://10.0.0.1'\nsend_only=true",
                "[[upstream]] \"a\": what is send_only needs http",
            ),
            (
                "[[upstream]]\nname='a'",
                "[[upstream]] \"a\": it has no address",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='http://10.0.0.1'\n[[upstream]]\nname='a'\nhttp='http://10.0.0.2'",
                "two are called \"a\"",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='http://10.0.0.1'\npriority=0",
                "[[upstream]] \"a\" priority: it has to be 1 to 100",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='http://10.0.0.1'\nrequests_per_second=0",
                "[[upstream]] \"a\" requests_per_second: it has to be more than 0",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='http://10.0.0.1'\nconcurrent=0",
                "[[upstream]] \"a\" concurrent: with 0",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='https://10.0.0.1'\nca='nothing.pem'",
                "[[upstream]] \"a\" ca: /etc/dodona/nothing.pem cannot be read",
            ),
            (
                "[[upstream]]\nname='a'\nhttp='https://10.0.0.1/s3cret'\nca='/dev/null'",
                "[[upstream]] \"a\" ca: it holds no certificate in PEM",
            ),
            ("chain_id=0", "chain_id: no chain has the number 0"),
            ("logs_mode='s3cret'", "logs_mode: it is \"verified\""),
            ("allow_hosts=['https://a.example']", "allow_hosts: "),
            ("[methods]\nallow=['debug_a, debug_b']", "[methods] allow: "),
            (
                "[limits]\nbatch=0",
                "[limits] batch: 0 would let nothing through",
            ),
            ("[limits]\nheaders_seconds=0", "[limits] headers_seconds: 0"),
            (
                "[limits]\nqueued_bytes=18446744073709551615",
                "[limits] queued_bytes: ",
            ),
            (
                "[limits]\nbody_seconds=9223372036854775807",
                "[limits] body_seconds: ",
            ),
            ("[limits]\nheld_bytes=1000", "would never fit into 1000"),
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
                "[[upstream]] \"a\" key: it needs its certificate",
            ),
            ("allow_origins=['*']", "allow_origins: origins are exact"),
            ("[[key]]\nname='k'\nhash='s3cret'", "dodona gateway key"),
            ("[access]\nallow_from=['10.0.0.0/33']", "neither an address"),
            ("[access]\nburst=7", "means nothing"),
            (
                "[access]\nunits_per_second=0",
                "[access] units_per_second: 0 would let nothing",
            ),
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
