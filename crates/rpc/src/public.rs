//! Whether an address may lead over the open network. Names are not looked up.

use std::net::IpAddr;

use url::Url;

/// Zones of names that are private by agreement, or never leave a cluster.
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

/// Any address that is not of a private network, and any name that is not one of this machine or
/// of a private zone.
pub fn may_be_public(url: &Url) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_open_network_are_told_from_those_of_a_private_one() {
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
            assert_eq!(may_be_public(&url.parse().unwrap()), public, "{url}");
        }
    }
}
