//! Chains and their endpoints, as the old variables describe them.

use serde::Deserialize;

use super::origin;
use crate::config::load::Inputs;
use crate::config::problem::{Origin, Problems, Root};
use crate::config::registry::CONFIG;
use crate::config::tree::{self, Item, Leaf, Table};
use crate::config::value::Raw;

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

pub(super) fn chains(
    inputs: &Inputs,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) -> Vec<Table> {
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
pub(super) fn check_chain(chain: &Table, problems: &mut Problems) {
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
