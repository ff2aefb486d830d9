//! Where the Ethereum clients are: addresses from the command line or the file, and what is wrong
//! with one. An address may hold the key of a provider; of one that is wrong nothing is repeated
//! but a host and a port.

use std::collections::BTreeMap;

use dodona_rpc::NodeConfig;
use dodona_rpc::gateway::may_be_public;
use url::Url;

pub(crate) const ANY: &[&str] = &["http", "https", "ws", "wss"];
pub(crate) const HTTP: &[&str] = &["http", "https"];
pub(crate) const WS: &[&str] = &["ws", "wss"];

/// An argument of the command line; over a WebSocket or not.
pub(crate) fn any(text: &str) -> Result<Url, String> {
    address(text, ANY)
}

/// The same for a client that only ever receives transactions.
pub(crate) fn http(text: &str) -> Result<Url, String> {
    address(text, HTTP)
}

/// Reads an address with one of these schemes; the error is what is wrong with it.
pub(super) fn address(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let text = text.trim();
    let begin = format!("an address begins with {}", listed(schemes));
    let url = match Url::parse(text) {
        Ok(url) if schemes.contains(&url.scheme()) => url,
        // What stands before the colon is told only if it is one of the four words.
        Ok(url) if ANY.contains(&url.scheme()) => {
            return Err(format!("{begin}, and this one with {}://", url.scheme()));
        }
        Err(url::ParseError::EmptyHost) => return Err("the address names no host".to_owned()),
        Err(_) if schemes.iter().any(|scheme| begins_with(text, scheme)) => {
            return Err("it is not a URL: look at its host and port".to_owned());
        }
        _ => {
            let meant = match host_and_port(text) {
                true => format!(", as in {}://{text}", schemes[0]),
                false => String::new(),
            };
            return Err(format!("{begin}{meant}"));
        }
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the address names no host".to_owned());
    }
    Ok(url)
}

fn listed(schemes: &[&str]) -> String {
    let all: Vec<String> = schemes
        .iter()
        .map(|scheme| format!("{scheme}://"))
        .collect();
    match all.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}

fn begins_with(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len())
        .is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme))
        && text[scheme.len()..].starts_with("://")
}

/// `localhost:8545`: what somebody writes who forgot the scheme, and no secret.
fn host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && host.len() <= 253
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            && port.parse::<u16>().is_ok()
    })
}

/// What goes to a client over the open network without TLS can be read and changed on the way.
pub(super) fn refuse_plain(url: &Url, place: &str, otherwise: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        !matches!(url.scheme(), "http" | "ws") || !may_be_public(url),
        "{place}: the client would be reached without TLS over a network that may be anybody's: use https or wss, or an address of a VPN; {otherwise} says that you know better"
    );
    Ok(())
}

/// The clients at these addresses: each has an HTTP address, a WebSocket address, or one of each.
pub(super) fn clients(urls: &[Url], send_only: &[Url]) -> Vec<NodeConfig> {
    let mut nodes: Vec<NodeConfig> = Vec::new();
    let partners = partners(urls);
    for (at, url) in urls.iter().enumerate() {
        match partners[at] {
            Some(other) if other < at => {}
            Some(other) => {
                let (http, ws) = if is_ws(url) { (other, at) } else { (at, other) };
                nodes.push(NodeConfig {
                    ws_url: Some(urls[ws].clone()),
                    ..NodeConfig::primary(name_of(&urls[http]), urls[http].clone())
                });
            }
            None => nodes.push(NodeConfig::primary(name_of(url), url.clone())),
        }
    }
    nodes.extend(send_only.iter().map(|url| NodeConfig {
        send_only: true,
        ..NodeConfig::primary(name_of(url), url.clone())
    }));
    distinguish(&mut nodes);
    nodes
}

fn is_ws(url: &Url) -> bool {
    WS.contains(&url.scheme())
}

/// Which address is the other one of the same client, for each: of one place, or the only HTTP and the
/// only WebSocket address of a host, or next to each other; in this order. Which one is named first
/// says nothing.
fn partners(urls: &[Url]) -> Vec<Option<usize>> {
    let mut partners: Vec<Option<usize>> = vec![None; urls.len()];
    let same_host = |a: &Url, b: &Url| a.host_str() == b.host_str();
    let only_one = |url: &Url| {
        let alike = |other: &&Url| same_host(other, url) && is_ws(other) == is_ws(url);
        urls.iter().filter(alike).count() == 1
    };
    type Rule<'a> = &'a dyn Fn(usize, usize) -> bool;
    let rules: [Rule<'_>; 3] = [
        &|a, b| place(&urls[a]) == place(&urls[b]),
        &|a, b| same_host(&urls[a], &urls[b]) && only_one(&urls[a]) && only_one(&urls[b]),
        &|a, b| same_host(&urls[a], &urls[b]) && b == a + 1,
    ];
    for rule in rules {
        for b in 0..urls.len() {
            let free = |a: &usize| partners[*a].is_none() && is_ws(&urls[*a]) != is_ws(&urls[b]);
            if partners[b].is_some() {
                continue;
            }
            if let Some(a) = (0..b).find(|a| free(a) && rule(*a, b)) {
                partners[a] = Some(b);
                partners[b] = Some(a);
            }
        }
    }
    partners
}

/// Where an address leads, over whichever protocol and as whomever.
fn place(url: &Url) -> (Option<&str>, Option<u16>, &str, Option<&str>) {
    (
        url.host_str(),
        url.port_or_known_default(),
        url.path().trim_end_matches('/'),
        url.query(),
    )
}

/// Host and port: what an operator tells clients apart by, and no secret.
pub(super) fn name_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("unknown");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// One client under two names would be two voices where clients are compared.
pub(super) fn refuse_twice(nodes: &[NodeConfig]) -> anyhow::Result<()> {
    let read: Vec<&NodeConfig> = nodes.iter().filter(|node| !node.send_only).collect();
    for (at, node) in read.iter().enumerate() {
        let addresses = |node: &NodeConfig| [node.http_url.clone(), node.ws_url.clone()];
        let same = |other: &&&NodeConfig| {
            let others = addresses(other);
            let leads_there = |url: &Url| {
                let mut others = others.iter().flatten();
                others.any(|other| place(other) == place(url))
            };
            addresses(node).iter().flatten().any(leads_there)
        };
        if let Some(other) = read[..at].iter().find(same) {
            anyhow::bail!(
                "{:?} and {:?} have the same address: name each client once, because what clients say is counted",
                other.name,
                node.name
            );
        }
    }
    Ok(())
}

fn distinguish(nodes: &mut [NodeConfig]) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for node in nodes {
        let count = seen.entry(node.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            node.name = format!("{}#{count}", node.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_we_speak_is_refused_with_what_it_should_be() {
        for (text, schemes, words) in [
            (
                "localhost:8545",
                ANY,
                "begins with http://, https://, ws:// or wss://, as in http://localhost:8545",
            ),
            ("127.0.0.1:8545", HTTP, "as in http://127.0.0.1:8545"),
            (
                "127.0.0.1:8546",
                WS,
                "ws:// or wss://, as in ws://127.0.0.1:8546",
            ),
            ("htp://10.0.0.1/s3cret", ANY, "begins with http://"),
            ("s3cret:s3cret", ANY, "begins with http://"),
            ("s3cret", ANY, "begins with http://"),
            ("", ANY, "begins with http://"),
            ("ws://10.0.0.1/s3cret", HTTP, "and this one with ws://"),
            ("http://10.0.0.1/s3cret", WS, "and this one with http://"),
            ("http://", ANY, "names no host"),
            ("http://:8545", ANY, "names no host"),
            ("http://10.0.0.1:s3cret", ANY, "not a URL"),
        ] {
            let said = address(text, schemes).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
            assert!(!said.contains("s3cret"), "{text}: {said}");
        }
        for text in [
            "HTTP://10.0.0.1",
            " wss://x.example/v3/key ",
            "http://[::1]:8545",
        ] {
            assert!(any(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn addresses_of_one_client_are_put_together_and_every_client_has_a_name_of_its_own() {
        let urls: Vec<Url> = [
            "http://10.0.0.1:8545",
            "ws://10.0.0.1:8546",
            "https://rpc.example.com/v3/secretsecretsecret",
            "https://rpc.example.com/v4/secretsecretsecret",
            "ws://10.0.0.2:8546",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let nodes = clients(&urls, &["https://rpc.example.com".parse().unwrap()]);
        let shown: Vec<_> = nodes
            .iter()
            .map(|node| {
                (
                    node.name.as_str(),
                    node.http_url.is_some(),
                    node.ws_url.is_some(),
                    node.send_only,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("10.0.0.1:8545", true, true, false),
                ("rpc.example.com", true, false, false),
                ("rpc.example.com#2", true, false, false),
                ("10.0.0.2:8546", false, true, false),
                ("rpc.example.com#3", true, false, true),
            ]
        );
    }

    #[test]
    fn one_client_named_twice_is_refused() {
        let of = |urls: &[&str]| {
            let urls: Vec<Url> = urls.iter().map(|text| text.parse().unwrap()).collect();
            refuse_twice(&clients(&urls, &urls[..1]))
        };
        let said = of(&["http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.1"]);
        let said = said.unwrap_err().to_string();
        assert!(said.contains("have the same address"), "{said}");
        assert!(of(&["http://10.0.0.1", "ws://10.0.0.1", "http://10.0.0.2"]).is_ok());
        // Of one place, however it is written.
        let entry = |name: &str, url: &str| NodeConfig::primary(name, url.parse().unwrap());
        for (one, other, refused) in [
            ("http://10.0.0.1:8545", "ws://10.0.0.1:8545", true),
            (
                "https://a.example/v3/key",
                "wss://a.example:443/v3/key/",
                true,
            ),
            ("http://user:a@10.0.0.1", "http://user:b@10.0.0.1", true),
            ("http://10.0.0.1:8545", "http://10.0.0.1:8547", false),
            (
                "https://a.example/v3/one",
                "https://a.example/v3/two",
                false,
            ),
            (
                "https://a.example/?key=one",
                "https://a.example/?key=two",
                false,
            ),
        ] {
            let nodes = [entry("a", one), entry("b", other)];
            assert_eq!(refuse_twice(&nodes).is_err(), refused, "{one} {other}");
        }
    }

    #[test]
    fn addresses_of_one_client_are_put_together_whichever_is_named_first() {
        let of = |urls: &[&str]| -> Vec<String> {
            let urls: Vec<Url> = urls.iter().map(|text| text.parse().unwrap()).collect();
            let port = |url: &Option<Url>| {
                let url = url.as_ref();
                url.map_or("-".to_owned(), |url| {
                    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
                })
            };
            let nodes = clients(&urls, &[]);
            let shown = nodes.iter().map(|node| {
                assert!(node.http_url.is_none() || node.name.starts_with(&port(&node.http_url)));
                format!("{} {}", port(&node.http_url), port(&node.ws_url))
            });
            shown.collect()
        };
        let (http, ws) = ("http://10.0.0.1:8545", "ws://10.0.0.1:8546");
        let other = "http://10.0.0.2:8545";
        let one = "10.0.0.1:8545 10.0.0.1:8546";
        let two = "10.0.0.2:8545 -";
        assert_eq!(of(&[http, ws]), [one]);
        assert_eq!(of(&[ws, http]), [one]);
        assert_eq!(of(&[ws, other, http]), [one, two]);
        assert_eq!(of(&[other, http, ws]), [two, one]);
        assert_eq!(of(&["ws://h:1", "http://h:1"]), ["h:1 h:1"]);
        // Two clients of one host: by their ports, or by what stands beside what.
        let ports = ["http://h:1", "http://h:2", "ws://h:2", "ws://h:1"];
        assert_eq!(of(&ports), ["h:1 h:1", "h:2 h:2"]);
        let pairs = ["http://h:1", "ws://h:2", "http://h:3", "ws://h:4"];
        assert_eq!(of(&pairs), ["h:1 h:2", "h:3 h:4"]);
        let turned = ["ws://h:2", "http://h:1", "ws://h:4", "http://h:3"];
        assert_eq!(of(&turned), ["h:1 h:2", "h:3 h:4"]);
        let alone = ["http://h:1", "http://h:3", "ws://h:4"];
        assert_eq!(of(&alone), ["h:1 -", "h:3 h:4"]);
    }

    #[test]
    fn plain_addresses_of_the_open_network_are_refused_and_those_of_a_private_one_are_not() {
        for (url, refused) in [
            ("http://127.0.0.1:8545", false),
            ("http://geth:8545", false),
            ("http://8.8.8.8", true),
            ("ws://geth.example.com", true),
            ("https://geth.example.com", false),
        ] {
            let url: Url = url.parse().unwrap();
            let said = refuse_plain(&url, "a", "--allow-plain");
            assert_eq!(said.is_err(), refused, "{url}");
        }
    }
}
