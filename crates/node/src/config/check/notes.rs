//! What is allowed and should still make an operator think.

use std::net::IpAddr;

use crate::config::defaults::ChainDefaults;
use crate::config::registry::CONFIG;
use crate::config::tree::Table;
use crate::config::view::View;

/// What a correct configuration should still make its operator think about.
pub(in crate::config) fn notes(
    input: &Table,
    effective: &Table,
    secrets: &Table,
    chains: &ChainDefaults,
) -> Vec<String> {
    let (said, view) = (View::new(input, &CONFIG), View::new(effective, &CONFIG));
    let mut notes = Vec::new();
    if view.get("Dodona.Development") == Some(true) {
        notes.push(
            "Dodona.Development: this node accepts insecure settings; keep no money in its keys"
                .into(),
        );
    }
    if said.leaf("WebServer.ListenIP").is_none() {
        let text = "WebServer.ListenIP: the API listens on 127.0.0.1 (the Chainlink node: on every address); from elsewhere use \
                    an SSH tunnel, or see Dodona.AllowPlaintextOn";
        notes.push(text.into());
    }
    if view
        .get::<IpAddr>("WebServer.ListenIP")
        .is_some_and(|ip| !ip.is_loopback())
    {
        notes.push("Dodona.AllowPlaintextOn: the API is served without TLS beyond loopback; keep strangers off that network".into());
    }
    if said.get("WebServer.TLS.HTTPSPort") == Some(6689_u16) {
        notes.push("WebServer.TLS.HTTPSPort: stays closed, this version does not serve TLS".into());
    }
    if secrets.leaf("Database.URL").is_none() {
        let text = "Database.URL: not given, so the embedded database is used; this is a single node, and the guides ask for two \
                    on PostgreSQL";
        notes.push(text.into());
    }
    if view.list("EVM").is_empty() {
        notes.push("EVM: no chain is configured, so no request will be answered".into());
    }
    for chain in view.list("EVM") {
        notes.extend(chain_notes(&chain, chains));
    }
    notes
}

fn chain_notes(chain: &View<'_>, chains: &ChainDefaults) -> Vec<String> {
    let mut notes = Vec::new();
    if chain.get::<u32>("MinIncomingConfirmations") == Some(0) {
        notes.push(format!(
            "{}: 0 counts as 1, the block that holds the request",
            chain.path("MinIncomingConfirmations")
        ));
    }
    let mode = chain.get::<String>("GasEstimator.Mode").unwrap_or_default();
    if mode != "BlockHistory" && mode != "FixedPrice" {
        let path = chain.path("GasEstimator.Mode");
        notes.push(format!(
            "{path}: {mode} is followed as BlockHistory by this version"
        ));
    }
    let id = chain
        .leaf("ChainID")
        .map(|leaf| leaf.raw.shown())
        .unwrap_or_default();
    if chain.leaf("LinkContractAddress").is_none() && chain.get("Enabled") == Some(true) {
        let known = if chains.knows(&id) {
            String::new()
        } else {
            format!(", and chain {id} is not a known one")
        };
        notes.push(format!(
            "{}: not given{known}; LINK balances are not shown",
            chain.path("LinkContractAddress")
        ));
    }
    for node in chain.list("Nodes") {
        if node.leaf("WSURL").is_none() && node.get("SendOnly") == Some(false) {
            notes.push(format!(
                "{}: not given; new blocks are asked for over HTTP",
                node.path("WSURL")
            ));
        }
    }
    notes
}
