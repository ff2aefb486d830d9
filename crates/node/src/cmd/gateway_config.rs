//! What the gateway is told: addresses on the command line, or a file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use dodona_rpc::gateway::{GatewayConfig, MethodRules};
use dodona_rpc::{NodeConfig, PoolConfig};
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
    /// Where all this was read from; a change there is a change of the settings.
    pub(super) files: Vec<PathBuf>,
}

pub(super) fn of_arguments(arguments: &GatewayArgs) -> anyhow::Result<Settings> {
    if let Some(path) = &arguments.config {
        return super::gateway_file::of_file(path);
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
    if !arguments.allow_plain {
        for url in arguments.urls.iter().chain(&arguments.send_only) {
            refuse_plain(url, &name_of(url), "--allow-plain")?;
        }
    }
    let defaults = GatewayConfig::default();
    Ok(Settings {
        chain_id: arguments.chain_id,
        nodes,
        files: Vec::new(),
        door: GatewayConfig {
            listen: arguments.listen,
            interface: arguments.interface.clone(),
            methods: MethodRules {
                allow: arguments.allow_method.clone(),
                ..defaults.methods
            },
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
        files: Vec::new(),
    }
}

pub(super) fn checked_origins(origins: &[String]) -> anyhow::Result<Vec<String>> {
    for origin in origins {
        anyhow::ensure!(
            !origin.contains('*'),
            "origins are exact: {origin:?} would let in pages of strangers"
        );
    }
    Ok(origins.to_vec())
}

/// What goes to a client over the open network without TLS can be read and changed on the way.
pub(super) fn refuse_plain(url: &Url, name: &str, otherwise: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        !matches!(url.scheme(), "http" | "ws") || !is_public(url),
        "upstream {name} would be reached without TLS over a network that may be anybody's: use https or wss, or an address of a VPN; {otherwise} says that you know better"
    );
    Ok(())
}

/// Whether a URL's host may be on the open network: any other address, and any name that is not one
/// of this machine or of a private zone.
fn is_public(url: &Url) -> bool {
    const PRIVATE_ZONES: &[&str] = &[
        ".localhost",
        ".local",
        ".internal",
        ".lan",
        ".home.arpa",
        ".test",
        ".svc",
        ".cluster.local",
    ];
    let address = match url.host() {
        None => return false,
        Some(url::Host::Domain(name)) => {
            // Without a dot it is a name of this network: a container, a host of ours.
            let name = name.trim_end_matches('.');
            return name.contains('.') && !PRIVATE_ZONES.iter().any(|zone| name.ends_with(zone));
        }
        Some(url::Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(url::Host::Ipv6(ip)) => ip.to_canonical(),
    };
    match address {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || (a == 100 && (64..128).contains(&b)))
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
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

/// An upstream whose finalized block has not moved for so long is out of sync, on chains known to
/// move it and to be believed about it; zero: never.
fn finality_stands_after(chain_id: u64) -> Duration {
    Duration::from_secs(match chain_id {
        1 => 9 * 60,
        10 => 13 * 60,
        8453 | 11_155_420 => 15 * 60,
        84_532 => 12 * 60,
        56 => 45,
        97 => 40,
        43_113 | 43_114 => 60,
        _ => 0,
    })
}

/// How upstreams of this chain are judged: the values built in for known chains.
pub(super) fn pool(chain_id: u64, nodes: Vec<NodeConfig>) -> PoolConfig {
    let mut pool = PoolConfig {
        request_timeout: PROBE_WITHIN,
        poll_interval: POLL_EVERY,
        poll_failure_threshold: 2,
        check_syncing: true,
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
        pool.no_new_finalized_heads_threshold = finality_stands_after(chain_id);
        pool.sync_threshold = u64::from(chain.node_pool.sync_threshold);
        pool.finality_depth = u64::from(chain.finality_depth);
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
    fn plain_addresses_of_the_open_network_are_told_from_those_of_a_private_one() {
        for (url, public) in [
            ("http://127.0.0.1:8545", false),
            ("http://10.0.0.1", false),
            ("http://100.64.0.1", false),
            ("http://[fd00::1]", false),
            ("http://geth:8545", false),
            ("http://localhost", false),
            ("http://geth.eth.svc.cluster.local", false),
            ("http://8.8.8.8", true),
            ("ws://[2001:db8::1]", true),
            ("http://geth.example.com", true),
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(
                refuse_plain(&url, "a", "--allow-plain").is_err(),
                public,
                "{url}"
            );
        }
        let secure: Url = "https://geth.example.com".parse().unwrap();
        assert!(refuse_plain(&secure, "a", "--allow-plain").is_ok());
    }

    #[test]
    fn known_chains_have_values_of_their_own() {
        let of = |chain_id| {
            let pool = pool(chain_id, of_urls(&urls(&["http://10.0.0.1:8545"])).nodes);
            (
                pool.no_new_heads_threshold.as_secs(),
                pool.no_new_finalized_heads_threshold.as_secs(),
                pool.finality_depth,
                pool.sync_threshold,
            )
        };
        // The chains of the specification; finalized blocks only where the tag is believed.
        assert_eq!(of(1), (180, 540, 50, 5));
        assert_eq!(of(11_155_111), (180, 0, 50, 5));
        assert_eq!(of(137), (30, 0, 500, 10));
        assert_eq!(of(80_002), (30, 0, 500, 10));
        assert_eq!(of(42_161), (0, 0, 50, 10));
        assert_eq!(of(421_614), (0, 0, 50, 10));
        assert_eq!(of(10), (40, 780, 200, 10));
        assert_eq!(of(11_155_420), (40, 900, 200, 10));
        assert_eq!(of(8453), (40, 900, 200, 10));
        assert_eq!(of(84_532), (40, 720, 200, 10));
        assert_eq!(of(56), (30, 45, 50, 10));
        assert_eq!(of(97), (30, 40, 50, 10));
        assert_eq!(of(43_114), (30, 60, 10, 5));
        assert_eq!(of(43_113), (30, 60, 10, 5));
        assert_eq!(of(1337), (0, 0, 10, 5));
    }
}
