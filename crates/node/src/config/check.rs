//! What single values cannot show: rules between settings.
//!
//! A rule looks at values that could be read and keeps silent about the others,
//! whose fault is already known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::defaults::ChainDefaults;
use super::problem::{Origin, Problems, Root};
use super::registry::{CONFIG, SECRETS};
use super::tree::Table;
use super::types::Source;
use super::value::{show_duration, show_wei};
use super::view::View;

/// Shortest password for a database.
const SHORTEST_DATABASE_PASSWORD: usize = 16;

/// Checks the settings with their defaults. `input` is what was said, for rules about defaults.
pub(super) fn settings(
    input: &Table,
    effective: &Table,
    chains: &ChainDefaults,
    problems: &mut Problems,
) {
    let mut check = Check {
        view: View::new(effective, &CONFIG),
        problems,
    };
    check.development();
    check.listeners(&View::new(input, &CONFIG));
    check.lease();
    check.unique_ids();
    check.nodes();
    for (index, chain) in View::new(effective, &CONFIG)
        .list("EVM")
        .into_iter()
        .enumerate()
    {
        let mut check = Check {
            view: chain,
            problems: check.problems,
        };
        let said = View::new(input, &CONFIG).list("EVM").into_iter().nth(index);
        check.chain(said.as_ref(), chains);
        check.gas();
    }
}

struct Check<'a, 'p> {
    view: View<'a>,
    problems: &'p mut Problems,
}

impl Check<'_, '_> {
    fn fault(&mut self, name: &str, what: impl Into<String>) {
        let (path, at) = (self.view.path(name), self.view.at(name));
        self.problems.add(Root::Configuration, path, what, at);
    }

    /// A value of the setting is wrong: `invalid value (x): why`.
    fn wrong(&mut self, name: &str, why: &str) {
        let value = self
            .view
            .leaf(name)
            .map(|leaf| leaf.raw.shown())
            .unwrap_or_default();
        self.fault(name, format!("invalid value ({value}): {why}"));
    }

    fn development(&mut self) {
        if self.view.get("Dodona.Development") == Some(true) {
            return;
        }
        for name in ["InsecureFastScrypt", "Insecure.DisableRateLimiting"] {
            if self.view.get(name) == Some(true) {
                self.wrong(name, "insecure values need the development profile: set Dodona.Development = true, or leave this out");
            }
        }
    }

    fn listeners(&mut self, said: &View<'_>) {
        if self.view.get::<u16>("WebServer.HTTPPort") == Some(0) {
            self.wrong(
                "WebServer.HTTPPort",
                "nobody could reach the node, because this version serves plain http only",
            );
        }
        self.tls(said);
        if self
            .view
            .get::<String>("WebServer.AuthenticationMethod")
            .is_some_and(|method| method != "local")
        {
            self.wrong(
                "WebServer.AuthenticationMethod",
                "this version knows local users only",
            );
        }
        let mut allowed = Vec::new();
        for text in self
            .view
            .get::<Vec<String>>("Dodona.AllowPlaintextOn")
            .unwrap_or_default()
        {
            match text.parse::<IpAddr>() {
                Ok(ip) if is_private(ip) || ip.is_unspecified() => allowed.push(ip),
                Ok(_) => self.wrong(
                    "Dodona.AllowPlaintextOn",
                    &format!(
                        "{text} is a public address: passwords would cross the net in the clear"
                    ),
                ),
                Err(_) => self.wrong(
                    "Dodona.AllowPlaintextOn",
                    &format!("{text} is not an IP address"),
                ),
            }
        }
        let Some(ip) = self
            .view
            .get::<IpAddr>("WebServer.ListenIP")
            .filter(|ip| !ip.is_loopback())
        else {
            return;
        };
        if self.view.get("Dodona.Development") == Some(true) {
            self.wrong(
                "WebServer.ListenIP",
                "the development profile listens on loopback only: use 127.0.0.1",
            );
        } else if !allowed.contains(&ip) {
            let what = format!(
                "the API is plain http and beyond loopback needs a private or VPN address that is named: set \
                 Dodona.AllowPlaintextOn = ['{ip}'], or listen on 127.0.0.1 and come in through an SSH tunnel"
            );
            self.wrong("WebServer.ListenIP", &what);
        }
    }

    /// Nobody should believe that TLS is on when it is not.
    fn tls(&mut self, said: &View<'_>) {
        const REMEDY: &str =
            "this version does not serve TLS; put a TLS proxy in front, and leave this out";
        let port = said.get::<u16>("WebServer.TLS.HTTPSPort");
        if port.is_some_and(|port| port != 0 && port != 6689) {
            self.wrong("WebServer.TLS.HTTPSPort", REMEDY);
        }
        if port != Some(0) {
            for name in ["WebServer.TLS.CertPath", "WebServer.TLS.KeyPath"] {
                if said
                    .get::<String>(name)
                    .is_some_and(|path| !path.is_empty())
                {
                    self.wrong(name, REMEDY);
                }
            }
        }
        if self.view.get("WebServer.TLS.ForceRedirect") == Some(true) {
            self.wrong("WebServer.TLS.ForceRedirect", REMEDY);
        }
    }

    fn lease(&mut self) {
        let lease = self.view.get::<Duration>("Database.Lock.LeaseDuration");
        let refresh = self
            .view
            .get::<Duration>("Database.Lock.LeaseRefreshInterval");
        if let (Some(lease), Some(refresh)) = (lease, refresh)
            && (refresh > lease / 2 || refresh.is_zero())
        {
            let half = show_duration(lease / 2);
            self.wrong(
                "Database.Lock.LeaseRefreshInterval",
                &format!("must be more than 0 and at most half of LeaseDuration ({half})"),
            );
        }
    }

    /// Chain ids over all files; inside one file they were compared when it was read.
    fn unique_ids(&mut self) {
        let mut seen = BTreeMap::new();
        for chain in self.view.list("EVM") {
            let Some(id) = chain.get::<u64>("ChainID") else {
                continue;
            };
            if seen.insert(id, ()).is_some() {
                let what = format!("invalid value ({id}): duplicate - must be unique");
                self.problems.add(
                    Root::Configuration,
                    chain.path("ChainID"),
                    what,
                    chain.at("ChainID"),
                );
            }
        }
    }

    fn nodes(&mut self) {
        let mut seen: BTreeMap<(&str, String), Option<Origin>> = BTreeMap::new();
        for chain in self.view.list("EVM") {
            for node in chain.list("Nodes") {
                let mut check = Check {
                    view: node.clone(),
                    problems: self.problems,
                };
                check.node();
                for name in ["Name", "WSURL", "HTTPURL"] {
                    let Some(leaf) = node.leaf(name) else {
                        continue;
                    };
                    let shown = leaf.raw.shown();
                    if seen.insert((name, shown), node.at(name)).is_some() {
                        let shown = CONFIG
                            .key(&format!("EVM.Nodes.{name}"))
                            .map(|key| key.kind.shown(&leaf.raw).shown());
                        let what = format!(
                            "invalid value ({}): duplicate - must be unique",
                            shown.unwrap_or_default()
                        );
                        check.fault(name, what);
                    }
                }
            }
        }
    }

    fn node(&mut self) {
        if self
            .view
            .get::<String>("Name")
            .is_none_or(|name| name.is_empty())
        {
            self.fault(
                "Name",
                "missing: every endpoint needs a name, it is shown in logs and metrics",
            );
        }
        let has = |name: &str| self.view.leaf(name).is_some();
        if self.view.get("SendOnly") == Some(true) {
            if !has("HTTPURL") {
                self.fault(
                    "HTTPURL",
                    "missing: a send-only endpoint is reached over HTTP",
                );
            }
        } else if !has("HTTPURL") && !has("WSURL") {
            self.fault(
                "HTTPURL",
                "missing: an endpoint needs HTTPURL, WSURL or both",
            );
        }
    }

    fn chain(&mut self, said: Option<&View<'_>>, chains: &ChainDefaults) {
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

    fn gas(&mut self) {
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
        let in_flight = self.view.get::<u32>("Transactions.MaxInFlight");
        if let (Some(depth), Some(most)) =
            (self.view.get::<u32>("GasEstimator.BumpTxDepth"), in_flight)
            && depth > most
            && most > 0
        {
            self.wrong(
                "GasEstimator.BumpTxDepth",
                &format!("must be at most Transactions.MaxInFlight ({most})"),
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

/// Whether nobody on the internet can route to the address.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Checks the secrets. The old node only complained about a weak database password, so in that mode it is a note.
pub(super) fn secrets(
    secrets: &Table,
    effective: &Table,
    source: Source,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) {
    let view = View::new(secrets, &SECRETS);
    let development = View::new(effective, &CONFIG).get("Dodona.Development") == Some(true);
    let mut fault = |name: &str, what: &str| problems.add(Root::Secrets, name, what, view.at(name));
    let simple = view.get("Database.AllowSimplePasswords") == Some(true);
    if simple && !development && source == Source::Files {
        fault(
            "Database.AllowSimplePasswords",
            "needs the development profile: set Dodona.Development = true, or leave this out",
        );
    }
    if view
        .get::<SecretString>("Password.Keystore")
        .is_some_and(|password| password.expose_secret().is_empty())
    {
        fault(
            "Password.Keystore",
            "empty: leave it out to be asked, or give --password FILE",
        );
    }
    let Some(url) = view.get::<SecretString>("Database.URL") else {
        return;
    };
    let Some(url) = Url::parse(url.expose_secret())
        .ok()
        .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
    else {
        let what = "is not the address of a PostgreSQL database (postgres://user:password@host:5432/name); for the embedded \
                    database leave it out";
        fault("Database.URL", what);
        return;
    };
    if simple || development || url.as_str().contains("_test") {
        return;
    }
    if let Some(why) = weak_password(&url) {
        match source {
            Source::Files => fault("Database.URL", &why),
            Source::Environment => notes.push(format!("DATABASE_URL: {why}")),
        }
    }
}

/// Why the database's password is too weak; a Unix socket and a client certificate need none.
fn weak_password(url: &Url) -> Option<String> {
    let parameter = |wanted: &str| {
        url.query_pairs()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let socket = parameter("host").is_some_and(|host| host.starts_with('/'))
        || url.host_str().is_some_and(|host| host.starts_with("%2F"));
    if socket || parameter("sslcert").is_some() {
        return None;
    }
    match url.password() {
        None => {
            Some("has no password: the database would be open to everybody who reaches it".into())
        }
        Some(password) if password.chars().count() < SHORTEST_DATABASE_PASSWORD => Some(format!(
            "has a password of fewer than {SHORTEST_DATABASE_PASSWORD} characters"
        )),
        Some(password) if password.starts_with("%20") || password.ends_with("%20") => {
            Some("has a password with a blank at its edge".into())
        }
        Some(_) => None,
    }
}

/// What a correct configuration should still make its operator think about.
pub(super) fn notes(
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
