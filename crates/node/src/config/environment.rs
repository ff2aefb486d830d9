//! The variables of the Chainlink node 0.10 to 1.13, read where no file is given.
//!
//! Most of them stand beside their key in the list of keys. Here are the ones
//! that mean more than one key, or none. A value that cannot be read is an
//! error (the Chainlink node logged it and went on with the default).

use serde::Deserialize;

use super::load::Inputs;
use super::problem::{Origin, Problems, Root};
use super::registry::{CONFIG, Effect, Key, SECRETS};
use super::tree::{self, Item, Leaf, Table};
use super::value::Raw;

/// Variables that describe chains and their endpoints.
const CHAIN_VARIABLES: &[&str] = &[
    "ETH_URL",
    "ETH_HTTP_URL",
    "ETH_SECONDARY_URLS",
    "ETH_SECONDARY_URL",
    "EVM_NODES",
    "EVM_RPC_ENABLED",
    "ETH_DISABLED",
    "EVM_DISABLED",
];

/// Variables with a meaning of their own, read below.
const SPECIAL: &[&str] = &[
    "MINIMUM_CONTRACT_PAYMENT",
    "GAS_UPDATER_ENABLED",
    "DATABASE_LOCKING_MODE",
    "LOG_TO_DISK",
    "LOG_COLOR",
];

/// Variables that do nothing here, with the reason.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "ADVISORY_LOCK_CHECK_INTERVAL",
        "there is no advisory lock, leaders hold a lease",
    ),
    (
        "ADVISORY_LOCK_ID",
        "there is no advisory lock, leaders hold a lease",
    ),
    (
        "GLOBAL_LOCK_RETRY_INTERVAL",
        "there is no advisory lock, leaders hold a lease",
    ),
    ("EXPLORER_ACCESS_KEY", "the explorer service was shut down"),
    ("EXPLORER_SECRET", "the explorer service was shut down"),
    (
        "OPERATOR_CONTRACT_ADDRESS",
        "the oracle contract is named in each job",
    ),
    (
        "MIN_OUTGOING_CONFIRMATIONS",
        "an `ethtx` task names its own minConfirmations",
    ),
    (
        "DEFAULT_HTTP_ALLOW_UNRESTRICTED_NETWORK_ACCESS",
        "an `http` task says allowUnrestrictedNetworkAccess=\"true\" itself",
    ),
    ("MAX_HTTP_ATTEMPTS", "a task names its own retries"),
    (
        "FEATURE_WEBHOOK_V2",
        "webhook jobs are not part of this version",
    ),
    ("FEATURE_CRON_V2", "cron jobs are not part of this version"),
    (
        "FEATURE_FLUX_MONITOR",
        "flux monitor jobs are not part of this version",
    ),
    (
        "FEATURE_FLUX_MONITOR_V2",
        "flux monitor jobs are not part of this version",
    ),
    (
        "REPLAY_FROM_BLOCK",
        "the node finds the requests it has missed by itself",
    ),
    ("SOLANA_ENABLED", "only EVM chains are served"),
    ("SOLANA_NODES", "only EVM chains are served"),
    ("STARKNET_ENABLED", "only EVM chains are served"),
    ("STARKNET_NODES", "only EVM chains are served"),
    ("TERRA_ENABLED", "only EVM chains are served"),
    ("TERRA_NODES", "only EVM chains are served"),
    ("SENTRY_DSN", "this node sends no telemetry"),
    ("SENTRY_ENVIRONMENT", "this node sends no telemetry"),
    ("SENTRY_RELEASE", "this node sends no telemetry"),
    ("SENTRY_DEBUG", "this node sends no telemetry"),
    (
        "KEEPER_CHECK_UPKEEP_GAS_PRICE_FEATURE_ENABLED",
        "keeper jobs are not part of this node",
    ),
    (
        "KEEPER_MINIMUM_REQUIRED_CONFIRMATIONS",
        "keeper jobs are not part of this node",
    ),
    (
        "KEEPER_TURN_FLAG_ENABLED",
        "keeper jobs are not part of this node",
    ),
    (
        "OCR_MONITORING_ENDPOINT",
        "off-chain reporting is not part of this node",
    ),
    (
        "OCR2_MONITORING_ENDPOINT",
        "off-chain reporting is not part of this node",
    ),
    (
        "OCR_CAPTURE_EA_TELEMETRY",
        "off-chain reporting is not part of this node",
    ),
    (
        "OCR2_CAPTURE_EA_TELEMETRY",
        "off-chain reporting is not part of this node",
    ),
    (
        "STATS_PUSHER_LOGGING",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "MAXIMUM_SERVICE_DURATION",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "MINIMUM_SERVICE_DURATION",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "MINIMUM_REQUEST_EXPIRATION",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "ENABLE_EXPERIMENTAL_ADAPTERS",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "ENABLE_LEGACY_JOB_PIPELINE",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "JOB_PIPELINE_MAX_TASK_DURATION",
        "a job names its own maxTaskDuration",
    ),
    ("JOB_PIPELINE_PARALLELISM", "see Dodona.MaxConcurrentRuns"),
    (
        "LOG_SQL_MIGRATIONS",
        "changes of the tables are always logged",
    ),
    (
        "CHAINLINK_TX_ATTEMPT_LIMIT",
        "all attempts of a transaction are kept",
    ),
    (
        "ETH_BALANCE_MONITOR_BLOCK_DELAY",
        "balances are read with each block",
    ),
    (
        "ETH_RECEIPT_FETCH_BATCH_SIZE",
        "see ETH_RPC_DEFAULT_BATCH_SIZE",
    ),
    ("OPTIMISM_GAS_FEES", "see GAS_ESTIMATOR_MODE"),
];

/// The place of a value that came from a variable.
pub(super) fn origin(variable: &str) -> Origin {
    Origin {
        source: format!("environment variable {variable}").into(),
        line: None,
    }
}

/// The settings that the variables amount to.
pub(super) fn settings(inputs: &Inputs, problems: &mut Problems, notes: &mut Vec<String>) -> Table {
    let mut table = Table::default();
    let chains = chains(inputs, problems, notes);
    chains.iter().for_each(|chain| check_chain(chain, problems));
    if !chains.is_empty() {
        table.items.insert("EVM".into(), Item::List(chains));
    }
    for key in CONFIG.keys().iter().filter(|key| key.path != "EVM.ChainID") {
        let Some(name) = key
            .variables
            .iter()
            .find(|name| inputs.variable(name).is_some())
        else {
            continue;
        };
        if key.path.starts_with("EVM.") && table.list("EVM").is_empty() {
            continue;
        }
        table.set(&key.path, leaf(key, name, inputs, problems));
    }
    special(&mut table, inputs, problems, notes);
    caps_of_old(&mut table);
    for (name, why) in WITHOUT_EFFECT
        .iter()
        .filter(|(name, _)| inputs.variable(name).is_some())
    {
        notes.push(format!("{name}: accepted without effect, {why}"));
    }
    table
}

/// Old variables beside a file: not read, and said so.
pub(super) fn ignored(inputs: &Inputs) -> Option<String> {
    let listed = CONFIG
        .keys()
        .iter()
        .chain(SECRETS.keys())
        .flat_map(|key| key.variables.iter().map(String::as_str));
    let others = CHAIN_VARIABLES
        .iter()
        .chain(SPECIAL)
        .chain(WITHOUT_EFFECT.iter().map(|(name, _)| name))
        .copied();
    let mut present: Vec<&str> = listed
        .chain(others)
        .filter(|name| !name.starts_with("CL_") && inputs.variables.contains_key(*name))
        .collect();
    present.sort_unstable();
    present.dedup();
    if present.is_empty() {
        return None;
    }
    let names = present.join(", ");
    Some(format!(
        "{names}: not read, because settings come from files (the Chainlink node would refuse to start)"
    ))
}

fn leaf(key: &Key, variable: &str, inputs: &Inputs, problems: &mut Problems) -> Leaf {
    let text = inputs.variable(variable).unwrap_or_default();
    let raw = key.kind.raw_of(text);
    if key.effect == Effect::Used {
        // Variables are text; a number in quotes is not a fault here.
        if let Err(why) = key.kind.read_text(text) {
            problems.add(
                Root::Environment,
                variable,
                tree::invalid(key, &raw, &why),
                None,
            );
        }
    }
    Leaf {
        raw,
        at: origin(variable),
    }
}

fn special(table: &mut Table, inputs: &Inputs, problems: &mut Problems, notes: &mut Vec<String>) {
    let has_chain = !table.list("EVM").is_empty();
    if let (Some(payment), true) = (inputs.variable("MINIMUM_CONTRACT_PAYMENT"), has_chain)
        && inputs
            .variable("MINIMUM_CONTRACT_PAYMENT_LINK_JUELS")
            .is_none()
    {
        let raw = Raw::Text(payment.trim().to_owned());
        table.set(
            "EVM.MinContractPayment",
            Leaf {
                raw,
                at: origin("MINIMUM_CONTRACT_PAYMENT"),
            },
        );
        notes.push(
            "MINIMUM_CONTRACT_PAYMENT: read as MINIMUM_CONTRACT_PAYMENT_LINK_JUELS, its later name"
                .into(),
        );
    }
    if let (Some(updater), true) = (inputs.variable("GAS_UPDATER_ENABLED"), has_chain)
        && inputs.variable("GAS_ESTIMATOR_MODE").is_none()
    {
        let on = matches!(updater, "1" | "t" | "T" | "true" | "TRUE" | "True");
        let raw = Raw::Text(if on { "BlockHistory" } else { "FixedPrice" }.into());
        table.set(
            "EVM.GasEstimator.Mode",
            Leaf {
                raw,
                at: origin("GAS_UPDATER_ENABLED"),
            },
        );
    }
    if let Some(limit) = table.leaf("JobPipeline.HTTPRequest.MaxSize").cloned() {
        // The old node used one limit for answers of data sources and for requests to itself.
        table.set("WebServer.HTTPMaxSize", limit);
    }
    match inputs.variable("DATABASE_LOCKING_MODE") {
        None | Some("dual" | "lease") => {}
        Some("none") => {
            notes.push("DATABASE_LOCKING_MODE=none: not followed, a lease is always taken".into())
        }
        Some(other) => {
            let what = format!(
                "invalid value ({other}): only lease (and dual, which is read as lease) is supported"
            );
            problems.add(Root::Environment, "DATABASE_LOCKING_MODE", what, None);
        }
    }
    if matches!(
        inputs.variable("LOG_TO_DISK"),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False")
    ) && inputs.variable("LOG_FILE_MAX_SIZE").is_none()
    {
        table.set(
            "Log.File.MaxSize",
            Leaf {
                raw: Raw::Text("0".into()),
                at: origin("LOG_TO_DISK"),
            },
        );
    }
}

/// The old node capped gas prices where the newer one does not; nobody asked for the cap to go.
fn caps_of_old(table: &mut Table) {
    let at = Origin {
        source: "default of the Chainlink node 1.13".into(),
        line: None,
    };
    for chain in table.list_mut("EVM") {
        let id = chain
            .leaf("ChainID")
            .map(|leaf| leaf.raw.shown())
            .unwrap_or_default();
        let cap = match id.as_str() {
            "1337" => continue,
            "137" | "80002" => "200000 gwei",
            _ => "100000 gwei",
        };
        if chain.leaf("GasEstimator.PriceMax").is_none() {
            chain.set(
                "GasEstimator.PriceMax",
                Leaf {
                    raw: Raw::Text(cap.into()),
                    at: at.clone(),
                },
            );
        }
    }
}

/// One entry of `EVM_NODES`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldNode {
    name: String,
    evm_chain_id: serde_json::Value,
    ws_url: Option<String>,
    http_url: Option<String>,
    #[serde(default)]
    send_only: bool,
    /// Present in files of some releases, always `Undialed`.
    #[serde(default, rename = "state")]
    _state: Option<String>,
}

fn chains(inputs: &Inputs, problems: &mut Problems, notes: &mut Vec<String>) -> Vec<Table> {
    let off = |name: &str| {
        inputs
            .variable(name)
            .is_some_and(|value| value == "true" || value == "1")
    };
    for name in ["ETH_DISABLED", "EVM_DISABLED"] {
        if off(name) {
            notes.push(format!("{name}: no chain is served"));
            return Vec::new();
        }
    }
    if let Some("false" | "0") = inputs.variable("EVM_RPC_ENABLED") {
        notes.push("EVM_RPC_ENABLED=false: no chain is served".into());
        return Vec::new();
    }
    if let Some(list) = inputs.variable("EVM_NODES") {
        if inputs.variable("ETH_URL").is_some() {
            let what = "must not be set together with EVM_NODES: which endpoints are meant?";
            problems.add(Root::Environment, "ETH_URL", what, None);
        }
        return chains_of_list(list, problems);
    }
    chain_of_variables(inputs, notes).into_iter().collect()
}

fn chains_of_list(list: &str, problems: &mut Problems) -> Vec<Table> {
    let nodes: Vec<OldNode> = match serde_json::from_str(list) {
        Ok(nodes) => nodes,
        Err(error) => {
            let what = format!(
                "is not a JSON list of {{name, evmChainId, wsUrl, httpUrl, sendOnly}}: {error}"
            );
            problems.add(Root::Environment, "EVM_NODES", what, None);
            return Vec::new();
        }
    };
    let at = origin("EVM_NODES");
    let mut chains: Vec<Table> = Vec::new();
    for node in nodes {
        let id = match &node.evm_chain_id {
            serde_json::Value::String(id) => id.clone(),
            other => other.to_string(),
        };
        if node.send_only && node.ws_url.as_deref().is_some_and(|url| !url.is_empty()) {
            let what = format!(
                "the node {} has sendOnly and wsUrl: a send-only node has no wsUrl",
                node.name
            );
            problems.add(Root::Environment, "EVM_NODES", what, None);
        }
        let entry = node_table(
            &node.name,
            node.ws_url.as_deref(),
            node.http_url.as_deref(),
            node.send_only,
            &at,
        );
        let same = |chain: &&mut Table| {
            chain
                .leaf("ChainID")
                .is_some_and(|leaf| leaf.raw.shown() == id)
        };
        match chains.iter_mut().find(same) {
            Some(chain) => push_node(chain, entry),
            None => {
                let mut chain = chain_table(&id, &at);
                push_node(&mut chain, entry);
                chains.push(chain);
            }
        }
    }
    chains
}

fn chain_of_variables(inputs: &Inputs, notes: &mut Vec<String>) -> Option<Table> {
    let (ws, http) = (inputs.variable("ETH_URL"), inputs.variable("ETH_HTTP_URL"));
    let secondary = inputs
        .variable("ETH_SECONDARY_URLS")
        .or_else(|| inputs.variable("ETH_SECONDARY_URL"));
    let chain_id = inputs.variable("ETH_CHAIN_ID");
    if ws.is_none() && http.is_none() {
        if secondary.is_some() || chain_id.is_some() {
            notes.push(
                "ETH_CHAIN_ID or ETH_SECONDARY_URLS is set without ETH_URL: no chain is served"
                    .into(),
            );
        }
        return None;
    }
    let id = chain_id.map_or_else(
        || {
            notes.push(
                "ETH_CHAIN_ID is not set: 1 (Ethereum) is assumed, as the Chainlink node 0.10 did"
                    .into(),
            );
            "1".to_owned()
        },
        |id| id.trim().to_owned(),
    );
    // `ETH_URL` was a WebSocket address; operators without one put http there.
    let (ws, http) = match ws {
        Some(url) if url.starts_with("http") && http.is_none() => (None, Some(url)),
        ws => (ws, http),
    };
    let mut chain = chain_table(&id, &origin("ETH_CHAIN_ID"));
    let mut primary = node_table(
        &format!("primary-0-{id}"),
        ws,
        http,
        false,
        &origin("ETH_URL"),
    );
    if let Some(Item::Leaf(leaf)) = primary.items.get_mut("HTTPURL") {
        leaf.at = origin("ETH_HTTP_URL");
    }
    push_node(&mut chain, primary);
    let secondary = secondary
        .unwrap_or_default()
        .split([',', ';'])
        .map(str::trim)
        .filter(|url| !url.is_empty());
    for (index, url) in secondary.enumerate() {
        let name = format!("sendonly-{index}-{id}");
        push_node(
            &mut chain,
            node_table(&name, None, Some(url), true, &origin("ETH_SECONDARY_URLS")),
        );
    }
    Some(chain)
}

/// Addresses and chain ids are checked here, so that a fault is named by its variable.
fn check_chain(chain: &Table, problems: &mut Problems) {
    let mut check = |path: &str, leaf: Option<&Leaf>| {
        let (Some(leaf), Some(key)) = (leaf, CONFIG.key(path)) else {
            return;
        };
        if let Err(why) = key.kind.read(&leaf.raw) {
            let variable = leaf
                .at
                .source
                .trim_start_matches("environment variable ")
                .to_owned();
            problems.add(
                Root::Environment,
                variable,
                tree::invalid(key, &leaf.raw, &why),
                None,
            );
        }
    };
    check("EVM.ChainID", chain.leaf("ChainID"));
    for node in chain.list("Nodes") {
        check("EVM.Nodes.WSURL", node.leaf("WSURL"));
        check("EVM.Nodes.HTTPURL", node.leaf("HTTPURL"));
    }
}

fn chain_table(id: &str, at: &Origin) -> Table {
    let mut chain = Table {
        at: Some(at.clone()),
        ..Table::default()
    };
    chain.set(
        "ChainID",
        Leaf {
            raw: Raw::Text(id.to_owned()),
            at: at.clone(),
        },
    );
    chain
}

fn node_table(
    name: &str,
    ws: Option<&str>,
    http: Option<&str>,
    send_only: bool,
    at: &Origin,
) -> Table {
    let mut node = Table {
        at: Some(at.clone()),
        ..Table::default()
    };
    let mut set = |key: &str, raw: Raw| {
        node.set(
            key,
            Leaf {
                raw,
                at: at.clone(),
            },
        )
    };
    set("Name", Raw::Text(name.to_owned()));
    if let Some(url) = ws.filter(|url| !url.is_empty()) {
        set("WSURL", Raw::Text(url.to_owned()));
    }
    if let Some(url) = http.filter(|url| !url.is_empty()) {
        set("HTTPURL", Raw::Text(url.to_owned()));
    }
    if send_only {
        set("SendOnly", Raw::Bool(true));
    }
    node
}

fn push_node(chain: &mut Table, node: Table) {
    match chain
        .items
        .entry("Nodes".into())
        .or_insert_with(|| Item::List(Vec::new()))
    {
        Item::List(nodes) => nodes.push(node),
        _ => unreachable!("Nodes is a list wherever it is made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_listed_in_one_place_only() {
        let listed: Vec<&String> = CONFIG
            .keys()
            .iter()
            .chain(SECRETS.keys())
            .flat_map(|key| &key.variables)
            .collect();
        let mut own: Vec<&str> = CHAIN_VARIABLES.iter().chain(SPECIAL).copied().collect();
        own.extend(WITHOUT_EFFECT.iter().map(|(name, _)| *name));
        for (index, name) in own.iter().enumerate() {
            assert!(
                !listed.iter().any(|other| other == name),
                "{name} stands beside a key, too"
            );
            assert!(!own[..index].contains(name), "{name} stands here twice");
        }
    }
}
