//! Which addresses may be reached.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::ports::Reach;

/// Why an address may not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A cloud's metadata service, which hands out credentials. Never reachable.
    Metadata,
    /// An address of the node's own database.
    Own,
    /// Not a public address.
    NotPublic(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata => f.write_str("a cloud metadata address, which no job may ever reach"),
            Self::Own => f.write_str("an address of this node's own database"),
            Self::NotPublic(what) => write!(
                f,
                "{what}; if this is your own service, set allowUnrestrictedNetworkAccess=\"true\" on the task"
            ),
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(first: u16, second: u16, third: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), bits)
}

/// Metadata services of the clouds.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254), // most of them
    Ipv4Addr::new(169, 254, 170, 2),   // AWS, container credentials
    Ipv4Addr::new(169, 254, 170, 23),  // AWS, pod credentials
    Ipv4Addr::new(169, 254, 0, 23),    // Tencent
    Ipv4Addr::new(169, 254, 42, 42),   // Scaleway
    Ipv4Addr::new(169, 254, 169, 250), // Rancher
    Ipv4Addr::new(100, 96, 0, 96),     // Volcengine
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(168, 63, 129, 16),   // Azure, host agent
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
];
const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS, pod credentials
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),   // Scaleway
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe), // OpenStack
];

/// IPv4 networks that are not the public internet.
const NOT_PUBLIC_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "an unspecified address"),
    (v4(10, 0, 0, 0, 8), "a private address"),
    (
        v4(100, 64, 0, 0, 10),
        "an address shared behind a carrier's NAT",
    ),
    (v4(127, 0, 0, 0, 8), "a loopback address"),
    (v4(169, 254, 0, 0, 16), "a link-local address"),
    (v4(172, 16, 0, 0, 12), "a private address"),
    (v4(192, 0, 0, 0, 24), "a reserved address"),
    (v4(192, 0, 2, 0, 24), "a documentation address"),
    (v4(192, 88, 99, 0, 24), "a reserved address"),
    (v4(192, 168, 0, 0, 16), "a private address"),
    (v4(198, 18, 0, 0, 15), "a benchmarking address"),
    (v4(198, 51, 100, 0, 24), "a documentation address"),
    (v4(203, 0, 113, 0, 24), "a documentation address"),
    (v4(224, 0, 0, 0, 4), "a multicast address"),
    (v4(240, 0, 0, 0, 4), "a reserved or broadcast address"),
];

/// Parts of the public IPv6 space that are something else.
const NOT_PUBLIC_V6: &[(Ipv6Net, &str)] = &[
    (
        v6(0x2001, 0, 0, 23),
        "an address of a protocol, not of a host",
    ),
    (v6(0x2001, 0xdb8, 0, 32), "a documentation address"),
    (v6(0x3fff, 0, 0, 20), "a documentation address"),
];
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 0, 3);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const NAT64_LOCAL: Ipv6Net = v6(0x64, 0xff9b, 1, 48);
const SIIT: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96);
const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 32);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);

/// Says whether an address may be reached.
pub fn check(address: IpAddr, reach: Reach) -> Result<(), Refusal> {
    if is_metadata(address) {
        return Err(Refusal::Metadata);
    }
    match reach {
        Reach::Unrestricted => Ok(()),
        Reach::Restricted => {
            not_public(address).map_or(Ok(()), |what| Err(Refusal::NotPublic(what)))
        }
    }
}

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => {
            METADATA_V6.contains(&v6) || hidden(v6).any(|v4| METADATA_V4.contains(&v4))
        }
    }
}

fn not_public(address: IpAddr) -> Option<&'static str> {
    let v6 = match address {
        IpAddr::V4(v4) => {
            return NOT_PUBLIC_V4
                .iter()
                .find(|(net, _)| net.contains(&v4))
                .map(|(_, what)| *what);
        }
        IpAddr::V6(v6) => v6,
    };
    if let Some(v4) = embedded(v6) {
        // Only translators on the public internet lead to the public internet.
        let by_translation =
            NAT64.contains(&v6) || SIX_TO_FOUR.contains(&v6) || v6.to_ipv4_mapped().is_some();
        return match not_public(IpAddr::V4(v4)) {
            None if by_translation => None,
            None => Some("an IPv4 address in disguise"),
            hidden => hidden,
        };
    }
    if v6.is_loopback() {
        return Some("a loopback address");
    }
    if v6.is_unspecified() {
        return Some("an unspecified address");
    }
    if v6.is_multicast() {
        return Some("a multicast address");
    }
    if v6.is_unicast_link_local() {
        return Some("a link-local address");
    }
    if v6.is_unique_local() {
        return Some("a private address");
    }
    if !PUBLIC_V6.contains(&v6) {
        return Some("a reserved address");
    }
    NOT_PUBLIC_V6
        .iter()
        .find(|(net, _)| net.contains(&v6))
        .map(|(_, what)| *what)
}

/// Both lead to the same host, in whatever disguise.
pub(super) fn same_host(a: IpAddr, b: IpAddr) -> bool {
    let plain = |address| match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        v4 => v4,
    };
    plain(a) == plain(b)
}

/// The IPv4 address inside an IPv6 one, in every form a translator may unpack.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let o = address.octets();
    let low = Ipv4Addr::new(o[12], o[13], o[14], o[15]);
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some(mapped);
    }
    if NAT64.contains(&address) || NAT64_LOCAL.contains(&address) {
        return Some(low);
    }
    if SIX_TO_FOUR.contains(&address) {
        return Some(Ipv4Addr::new(o[2], o[3], o[4], o[5]));
    }
    if SIIT.contains(&address) {
        return Some(low);
    }
    let compatible = o[..12].iter().all(|b| *b == 0) && u32::from(low) > 1;
    // Interface identifiers of ISATAP tunnels: ...:0:5efe:a.b.c.d
    let isatap = o[8] & 0xfd == 0 && o[9..12] == [0, 0x5e, 0xfe];
    (compatible || isatap).then_some(low)
}

/// Every IPv4 address that some translator or tunnel might find in an IPv6 one. More than
/// [`embedded`], because here a wrong guess costs nothing but a refusal.
fn hidden(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let o = address.octets();
    let v4 = |a: u8, b: u8, c: u8, d: u8| Ipv4Addr::new(a, b, c, d);
    // Where networks choose their own prefix, its length decides where the address stands, always
    // around the ninth byte.
    let translated = NAT64_LOCAL.contains(&address).then(|| {
        [
            v4(o[6], o[7], o[9], o[10]),
            v4(o[7], o[9], o[10], o[11]),
            v4(o[9], o[10], o[11], o[12]),
        ]
    });
    let teredo = TEREDO.contains(&address).then(|| {
        [
            v4(o[4], o[5], o[6], o[7]),
            v4(!o[12], !o[13], !o[14], !o[15]),
        ]
    });
    embedded(address)
        .into_iter()
        .chain(translated.into_iter().flatten())
        .chain(teredo.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restricted(address: &str) -> bool {
        check(address.parse().unwrap(), Reach::Restricted).is_ok()
    }

    #[test]
    fn public_addresses_are_reachable() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(restricted(address), "{address} was refused");
        }
    }

    #[test]
    fn everything_that_is_not_public_is_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "fec0::1",
            "100::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::8.8.8.8",
            "::ffff:0:127.0.0.1",
            "::ffff:0:8.8.8.8",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "2606:4700::5efe:10.0.0.1",
            "4000::1",
        ] {
            assert!(!restricted(address), "{address} was allowed");
        }
    }

    #[test]
    fn metadata_addresses_are_refused_under_every_setting_and_in_every_disguise() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.23",
            "169.254.42.42",
            "169.254.169.250",
            "100.96.0.96",
            "fd00:42::42",
            "64:ff9b::169.254.42.42",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::",
            "64:ff9b:1::169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1::a9:fea9:fe00:0",
            "2001:0:a9fe:a9fe::1",
            "2001:0:102:304:0:0:5601:5601",
            "fd00:ec2::23",
            "fe80::a9fe:a9fe",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(
                check(address, Reach::Unrestricted),
                Err(Refusal::Metadata),
                "{address}"
            );
            assert_eq!(
                check(address, Reach::Restricted),
                Err(Refusal::Metadata),
                "{address}"
            );
        }
        assert_eq!(
            check("127.0.0.1".parse().unwrap(), Reach::Unrestricted),
            Ok(())
        );
        assert_eq!(
            check("10.1.2.3".parse().unwrap(), Reach::Unrestricted),
            Ok(())
        );
    }
}
