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

/// A WebSocket address right behind an HTTP address of the same host is the same client's.
pub(super) fn clients(urls: &[Url], send_only: &[Url]) -> Vec<NodeConfig> {
    let is_ws = |url: &Url| WS.contains(&url.scheme());
    let mut nodes: Vec<NodeConfig> = Vec::new();
    for url in urls {
        if let Some(last) = nodes.last_mut()
            && is_ws(url)
            && last.ws_url.is_none()
            && last
                .http_url
                .as_ref()
                .is_some_and(|http| http.host_str() == url.host_str())
        {
            last.ws_url = Some(url.clone());
            continue;
        }
        nodes.push(NodeConfig::primary(name_of(url), url.clone()));
    }
    nodes.extend(send_only.iter().map(|url| NodeConfig {
        send_only: true,
        ..NodeConfig::primary(name_of(url), url.clone())
    }));
    distinguish(&mut nodes);
    nodes
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
        let same = |other: &&&NodeConfig| {
            let both =
                |of: fn(&NodeConfig) -> &Option<Url>| of(node).is_some() && of(node) == of(other);
            both(|node| &node.http_url) || both(|node| &node.ws_url)
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
