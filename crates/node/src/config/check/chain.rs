//! Rules within one chain.

use std::collections::BTreeMap;

use alloy::primitives::{Address, U256};

use super::Check;
use crate::config::defaults::ChainDefaults;
use crate::config::notation::show_wei;
use crate::config::view::View;

impl Check<'_, '_> {
    pub(super) fn chain(&mut self, said: Option<&View<'_>>, chains: &ChainDefaults) {
        let Some(leaf) = self.view.leaf("ChainID") else {
            self.fault("ChainID", "missing: which chain is meant?");
            return;
        };
        let id = leaf.raw.shown();
        let said_type = said.and_then(|said| said.get::<String>("ChainType"));
        if let (Some(said), true) = (said_type, chains.knows(&id)) {
            let built_in = chains.chain_type(&id);
            if built_in.as_deref().unwrap_or_default() != said.replace("xdai", "gnosis") {
                let right =
                    built_in.map_or("leave it out".to_owned(), |word| format!("it is {word}"));
                self.wrong(
                    "ChainType",
                    &format!("chain {id} has another type: {right}"),
                );
            }
        }
        let nodes = self.view.list("Nodes");
        if self.view.get("Enabled") == Some(true)
            && !nodes.iter().any(|node| node.get("SendOnly") == Some(false))
        {
            let what = if nodes.is_empty() {
                "missing: an enabled chain needs at least one [[EVM.Nodes]]"
            } else {
                "missing: an enabled chain needs at least one endpoint that is not send-only"
            };
            self.fault("Nodes", what);
        }
        if self.view.get("Transactions.Enabled") == Some(false) {
            let why = "this version cannot follow a chain without answering; to leave the chain alone set Enabled = false";
            self.wrong("Transactions.Enabled", why);
        }
        let mut keys = BTreeMap::new();
        for specific in self.view.list("KeySpecific") {
            let mut check = Check {
                view: specific.clone(),
                problems: self.problems,
            };
            match specific.get::<Address>("Key") {
                Some(key) if keys.insert(key, ()).is_some() => {
                    check.wrong("Key", "duplicate - must be unique")
                }
                Some(_) => {}
                None if specific.leaf("Key").is_none() => {
                    check.fault("Key", "missing: which sending key is meant?")
                }
                None => {}
            }
        }
    }

    pub(super) fn gas(&mut self) {
        let wei =
            |check: &Self, name: &str| check.view.get::<U256>(&format!("GasEstimator.{name}"));
        let mode = self
            .view
            .get::<String>("GasEstimator.Mode")
            .unwrap_or_default();
        self.ordered("PriceMin", "PriceDefault");
        self.ordered("PriceDefault", "PriceMax");
        self.ordered("TipCapMin", "TipCapDefault");
        self.ordered("TipCapDefault", "FeeCapDefault");
        let (eip1559, threshold) = (
            self.view.get("GasEstimator.EIP1559DynamicFees"),
            self.view.get::<u32>("GasEstimator.BumpThreshold"),
        );
        if mode == "FixedPrice" && eip1559 == Some(true) && threshold == Some(0) {
            if let (Some(cap), Some(max)) = (wei(self, "FeeCapDefault"), wei(self, "PriceMax"))
                && cap != max
            {
                let why = format!(
                    "must equal PriceMax ({}) with a fixed price that is never bumped",
                    show_wei(max)
                );
                self.wrong("GasEstimator.FeeCapDefault", &why);
            }
        } else {
            self.ordered("FeeCapDefault", "PriceMax");
        }
        if self
            .view
            .get::<u16>("GasEstimator.BumpPercent")
            .is_some_and(|percent| percent < 10)
        {
            self.wrong(
                "GasEstimator.BumpPercent",
                "must be at least 10: clients refuse a replacement that pays less",
            );
        }
        let history = self
            .view
            .get::<u16>("GasEstimator.BlockHistory.BlockHistorySize");
        if mode == "BlockHistory" && history == Some(0) {
            self.wrong(
                "GasEstimator.BlockHistory.BlockHistorySize",
                "must be at least 1 in mode BlockHistory",
            );
        }
    }

    /// `low` must not be above `high`. The value that was said is the one to blame.
    fn ordered(&mut self, low: &str, high: &str) {
        let (low_name, high_name) = (
            format!("GasEstimator.{low}"),
            format!("GasEstimator.{high}"),
        );
        let (Some(least), Some(most)) = (
            self.view.get::<U256>(&low_name),
            self.view.get::<U256>(&high_name),
        ) else {
            return;
        };
        if least <= most {
            return;
        }
        let said = |name: &str| {
            self.view
                .leaf(name)
                .is_some_and(|leaf| !leaf.at.source.contains("default"))
        };
        if said(&low_name) && !said(&high_name) {
            self.wrong(
                &low_name,
                &format!("must be at most {high} ({})", show_wei(most)),
            );
        } else {
            self.wrong(
                &high_name,
                &format!("must be at least {low} ({})", show_wei(least)),
            );
        }
    }
}
