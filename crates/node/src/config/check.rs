//! What single values cannot show: rules between settings.
//!
//! A rule looks at values that could be read and keeps silent about the others,
//! whose fault is already known.

mod chain;
mod notes;
mod secrets;

pub(super) use notes::notes;
pub(super) use secrets::secrets;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::defaults::ChainDefaults;
use super::notation::show_duration;
use super::problem::{Origin, Problems, Root};
use super::registry::CONFIG;
use super::tree::Table;
use super::view::View;

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
        for text in self
            .view
            .get::<Vec<String>>("Dodona.Egress.Allow")
            .unwrap_or_default()
        {
            if let Err(why) = text.parse::<dodona_pipeline::egress::Entry>() {
                self.wrong("Dodona.Egress.Allow", &why.to_string());
            }
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
