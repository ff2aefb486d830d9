//! The variables of the Chainlink node 0.10 to 1.13, read where no file is given.
//!
//! Most of them stand beside their key in the list of keys. Here are the ones
//! that mean more than one key, or none. A value that cannot be read is an
//! error (the Chainlink node logged it and went on with the default).

mod chains;
mod without_effect;

use super::load::Inputs;
use super::problem::{Origin, Problems, Root};
use super::registry::{CONFIG, Effect, Key, SECRETS};
use super::tree::{self, Item, Leaf, Table};
use super::value::Raw;
use chains::{chains, check_chain};
use without_effect::WITHOUT_EFFECT;

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
