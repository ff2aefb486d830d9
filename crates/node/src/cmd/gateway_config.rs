//! What the gateway is told: addresses on the command line, or a file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use dodona_rpc::gateway::GatewayConfig;
use dodona_rpc::{NodeConfig, PoolConfig};
use serde::Deserialize;
use url::Url;

use crate::cli::GatewayArgs;
use crate::config::{self, Inputs};

/// An endpoint that does not answer a probe within this time has failed it; what clients ask has
/// time-outs of its own.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
const POLL_EVERY: Duration = Duration::from_secs(5);

/// Everything the command needs; the chain may still have to be asked for.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) chain_id: Option<u64>,
    pub(super) nodes: Vec<NodeConfig>,
    pub(super) door: GatewayConfig,
}

/// The file of `--config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    chain_id: Option<u64>,
    #[serde(default)]
    upstream: Vec<Upstream>,
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
}

fn middle() -> u32 {
    50
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Methods {
    deny: Option<Vec<String>>,
    #[serde(default)]
    allow: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    request_bytes: Option<usize>,
    batch: Option<usize>,
    connections: Option<usize>,
    log_range: Option<u64>,
    filters: Option<usize>,
}

pub(super) fn of_arguments(arguments: &GatewayArgs) -> anyhow::Result<Settings> {
    if let Some(path) = &arguments.config {
        return of_file(path);
    }
    let mut nodes = nodes_of(&arguments.urls);
    nodes.extend(arguments.send_only.iter().map(|url| NodeConfig {
        send_only: true,
        ..NodeConfig::primary(name_of(url), url.clone())
    }));
    distinguish(&mut nodes);
    anyhow::ensure!(
        !arguments.urls.is_empty(),
        "no Ethereum client is given: name at least one URL, as in `dodona gateway http://127.0.0.1:8545`, or a file with --config"
    );
    Ok(Settings {
        chain_id: arguments.chain_id,
        nodes,
        door: GatewayConfig {
            listen: arguments.listen,
            allow: arguments.allow_method.clone(),
            origins: checked_origins(&arguments.allow_origin)?,
            hosts: arguments.allow_host.clone(),
            ..GatewayConfig::default()
        },
    })
}

pub(super) fn of_urls(urls: &[Url]) -> Settings {
    let mut nodes = nodes_of(urls);
    distinguish(&mut nodes);
    Settings {
        chain_id: None,
        nodes,
        door: GatewayConfig::default(),
    }
}

pub(super) fn of_file(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    of_text(&text).with_context(|| format!("{} is not as it should be", path.display()))
}

fn of_text(text: &str) -> anyhow::Result<Settings> {
    let file: File = toml::from_str(text)?;
    anyhow::ensure!(
        !file.upstream.is_empty(),
        "no [[upstream]] is given: name at least one Ethereum client"
    );
    let nodes = file
        .upstream
        .into_iter()
        .map(|upstream| {
            let url = |what: &str, text: Option<String>| {
                let Some(text) = text else { return Ok(None) };
                // The text may be a secret; it is not repeated.
                let text = resolved(&text)
                    .with_context(|| format!("{what} of upstream {:?}", upstream.name))?;
                let url = Url::parse(text.trim()).map_err(|_| {
                    anyhow::anyhow!("{what} of upstream {:?} is not a URL", upstream.name)
                })?;
                Ok::<_, anyhow::Error>(Some(url))
            };
            Ok(NodeConfig {
                http_url: url("http", upstream.http)?,
                ws_url: url("ws", upstream.ws)?,
                http_url_extra_write: None,
                send_only: upstream.send_only,
                order: upstream.priority,
                name: upstream.name,
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let defaults = GatewayConfig::default();
    let limits = file.limits;
    Ok(Settings {
        chain_id: file.chain_id,
        nodes,
        door: GatewayConfig {
            listen: file.listen.unwrap_or(defaults.listen),
            deny: file.methods.deny.unwrap_or(defaults.deny),
            allow: file.methods.allow,
            origins: checked_origins(&file.allow_origins)?,
            hosts: file.allow_hosts,
            max_request_bytes: limits.request_bytes.unwrap_or(defaults.max_request_bytes),
            max_batch: limits.batch.unwrap_or(defaults.max_batch),
            max_connections: limits.connections.unwrap_or(defaults.max_connections),
            max_log_range: limits.log_range.unwrap_or(defaults.max_log_range),
            max_filters: limits.filters.unwrap_or(defaults.max_filters),
            ..GatewayConfig::default()
        },
    })
}

/// `env:NAME` and `file:PATH` keep secrets out of the file; anything else is itself.
fn resolved(text: &str) -> anyhow::Result<String> {
    if let Some(name) = text.strip_prefix("env:") {
        return std::env::var_os(name)
            .and_then(|value| value.into_string().ok())
            .with_context(|| format!("the environment variable {name} is not set"));
    }
    if let Some(path) = text
        .strip_prefix("file:")
        .filter(|path| !path.starts_with("//"))
    {
        return std::fs::read_to_string(path).with_context(|| format!("{path} cannot be read"));
    }
    Ok(text.to_owned())
}

fn checked_origins(origins: &[String]) -> anyhow::Result<Vec<String>> {
    for origin in origins {
        anyhow::ensure!(
            !origin.contains('*'),
            "origins are exact: {origin:?} would let in pages of strangers"
        );
    }
    Ok(origins.to_vec())
}

/// A WebSocket address right behind an HTTP address of the same host is the same client's.
fn nodes_of(urls: &[Url]) -> Vec<NodeConfig> {
    let is_ws = |url: &Url| matches!(url.scheme(), "ws" | "wss");
    let mut nodes: Vec<NodeConfig> = Vec::new();
    for url in urls {
        if let Some(last) = nodes.last_mut()
            && is_ws(url)
            && last.ws_url.is_none()
            && last
                .http_url
                .as_ref()
                .is_some_and(|http| http.host_str() == url.host_str())
        {
            last.ws_url = Some(url.clone());
            continue;
        }
        nodes.push(NodeConfig::primary(name_of(url), url.clone()));
    }
    nodes
}

/// Host and port: what an operator tells clients apart by, and no secret.
fn name_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("unknown");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn distinguish(nodes: &mut [NodeConfig]) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for node in nodes {
        let count = seen.entry(node.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            node.name = format!("{}#{count}", node.name);
        }
    }
}

/// How upstreams of this chain are judged: the values built in for known chains.
pub(super) fn pool(chain_id: u64, nodes: Vec<NodeConfig>) -> PoolConfig {
    let mut pool = PoolConfig {
        request_timeout: PROBE_WITHIN,
        poll_interval: POLL_EVERY,
        poll_failure_threshold: 2,
        ..PoolConfig::new(chain_id, nodes)
    };
    // The node's own settings for a chain nobody says anything else about.
    let variables = [
        ("ETH_CHAIN_ID", chain_id.to_string()),
        ("ETH_URL", "ws://localhost".to_owned()),
    ];
    let inputs = Inputs {
        variables: variables
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        ..Inputs::default()
    };
    if let Ok(config) = config::examine(&inputs).result
        && let Some(chain) = config.enabled_chains().next()
    {
        pool.chain_type = chain.chain_type.clone().unwrap_or_default();
        pool.no_new_heads_threshold = chain.no_new_heads_threshold;
        pool.sync_threshold = u64::from(chain.node_pool.sync_threshold);
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(texts: &[&str]) -> Vec<Url> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_of_one_client_are_put_together_and_every_client_has_a_name_of_its_own() {
        let settings = of_urls(&urls(&[
            "http://10.0.0.1:8545",
            "ws://10.0.0.1:8546",
            "https://rpc.example.com/v3/secretsecretsecret",
            "https://rpc.example.com/v4/secretsecretsecret",
            "ws://10.0.0.2:8546",
        ]));
        let shown: Vec<_> = settings
            .nodes
            .iter()
            .map(|node| {
                (
                    node.name.as_str(),
                    node.http_url.is_some(),
                    node.ws_url.is_some(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("10.0.0.1:8545", true, true),
                ("rpc.example.com", true, false),
                ("rpc.example.com#2", true, false),
                ("10.0.0.2:8546", false, true),
            ]
        );
    }

    #[test]
    fn a_file_says_the_same_and_more() {
        let settings = of_text(
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
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_secrets() {
        for (text, words) in [
            ("", "[[upstream]]"),
            ("chainid = 1", "unknown field"),
            ("[[upstream]]\nname='a'\nhttp='s3cret'", "is not a URL"),
            (
                "[[upstream]]\nname='a'\nhttp='env:DODONA_NOT_SET_ANYWHERE'",
                "is not set",
            ),
            (
                "allow_origins=['*']\n[[upstream]]\nname='a'\nhttp='http://h'",
                "origins are exact",
            ),
        ] {
            let error = format!("{:#}", of_text(text).unwrap_err());
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn known_chains_have_values_of_their_own() {
        let of = |chain_id| {
            let pool = pool(chain_id, of_urls(&urls(&["http://10.0.0.1:8545"])).nodes);
            (pool.no_new_heads_threshold.as_secs(), pool.sync_threshold)
        };
        assert_eq!(of(1), (180, 5));
        assert_eq!(of(137), (30, 10));
        assert_eq!(of(42161), (0, 10));
        assert_eq!(of(10), (40, 10));
    }
}
