//! What the gateway is told: addresses on the command line, or a file.

use std::path::PathBuf;
use std::time::Duration;

use dodona_rpc::gateway::{GatewayConfig, MethodRules};
use dodona_rpc::{NodeConfig, PoolConfig};

use super::addresses::{clients, name_of, refuse_plain, refuse_twice};
use super::rules;
use crate::cli::{ClientArgs, GatewayArgs};
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
    let settings = of_clients(&arguments.clients)?;
    if arguments.clients.config.is_some() {
        return Ok(settings);
    }
    let defaults = GatewayConfig::default();
    Ok(Settings {
        door: GatewayConfig {
            listen: arguments.listen,
            interface: arguments.interface.clone(),
            methods: MethodRules {
                allow: rules::methods("--allow-method", arguments.allow_method.clone())?,
                ..defaults.methods
            },
            origins: rules::origins("--allow-origin", arguments.allow_origin.clone())?,
            hosts: rules::hosts("--allow-host", arguments.allow_host.clone())?,
            ..GatewayConfig::default()
        },
        ..settings
    })
}

/// The clients alone, as the gateway and its check both are told of them.
pub(super) fn of_clients(arguments: &ClientArgs) -> anyhow::Result<Settings> {
    if let Some(path) = &arguments.config {
        return super::file::of_file(path);
    }
    anyhow::ensure!(
        !arguments.urls.is_empty() || arguments.send_only.is_empty(),
        "every client is --send-only, so nothing could be read: name at least one URL without it"
    );
    anyhow::ensure!(
        !arguments.urls.is_empty(),
        "no Ethereum client is given: name at least one URL, as in `dodona gateway http://127.0.0.1:8545`, or a file with --config"
    );
    if !arguments.allow_plain {
        for url in arguments.urls.iter().chain(&arguments.send_only) {
            refuse_plain(url, &name_of(url), "--allow-plain")?;
        }
    }
    let nodes = clients(&arguments.urls, &arguments.send_only);
    refuse_twice(&nodes)?;
    Ok(Settings {
        chain_id: arguments.chain_id,
        nodes,
        files: Vec::new(),
        door: GatewayConfig::default(),
    })
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

    #[test]
    fn known_chains_have_values_of_their_own() {
        let of = |chain_id| {
            let pool = pool(chain_id, Vec::new());
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
