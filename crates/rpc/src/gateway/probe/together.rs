//! What upstreams are beside each other: of one chain, of one program, as far as each other.

use std::collections::BTreeMap;

use alloy::primitives::B256;

use super::{FeeCap, Finding, UpstreamVerdict, family};
use crate::endpoints::Endpoints;
use crate::public::may_be_public;

/// A head older than this, in seconds, is spoken of.
const OLD_HEAD: u64 = 180;

/// Chains of one number that begin with different blocks are different chains.
fn different_beginnings(upstreams: &[&UpstreamVerdict]) -> Option<Finding> {
    let mut beginnings: BTreeMap<B256, Vec<&str>> = BTreeMap::new();
    for upstream in upstreams {
        if let Some(genesis) = upstream.genesis {
            beginnings.entry(genesis).or_default().push(&upstream.name);
        }
    }
    (beginnings.len() > 1).then(|| {
        let sides: Vec<String> = beginnings
            .iter()
            .map(|(genesis, names)| format!("{genesis} at {}", names.join(", ")))
            .collect();
        Finding::Fail(format!(
            "the upstreams belong to different chains: their first block is {}; remove the strangers",
            sides.join(", and ")
        ))
    })
}

pub(super) fn together(verdicts: &[UpstreamVerdict], pool: &Endpoints) -> Vec<Finding> {
    let mut findings = Vec::new();
    let readable: Vec<&UpstreamVerdict> = verdicts
        .iter()
        .zip(&pool.0.nodes)
        .filter(|(verdict, node)| !node.send_only && verdict.chain_id.is_some())
        .map(|(verdict, _)| verdict)
        .collect();
    match readable.len() {
        0 => findings.push(Finding::Fail("no upstream can be read from".to_owned())),
        1 => findings.push(Finding::Warn(
            "only one upstream can be read from: its loss is an outage".to_owned(),
        )),
        _ => {
            let mut families: Vec<String> = readable
                .iter()
                .filter_map(|verdict| verdict.client.as_deref().map(family))
                .collect();
            families.sort();
            families.dedup();
            if let [only] = families.as_slice() {
                findings.push(Finding::Warn(format!(
                    "all upstreams run {only}: a bug of that program is a bug of all of them"
                )));
            }
        }
    }
    findings.extend(different_beginnings(&readable));
    let known = || verdicts.iter().filter(|verdict| verdict.chain_id.is_some());
    let takes_none = |it: &UpstreamVerdict| matches!(it.fee_cap, Some(FeeCap::NoTransactions(_)));
    if known().next().is_some() && known().all(takes_none) {
        findings.push(Finding::Fail("no upstream takes transactions".to_owned()));
    }
    let heads = || readable.iter().filter_map(|verdict| verdict.head);
    if let (Some(lowest), Some(highest)) = (heads().min(), heads().max())
        && highest - lowest > pool.0.config.sync_threshold
    {
        findings.push(Finding::Warn(format!(
            "the upstreams are {} blocks apart",
            highest - lowest
        )));
    }
    for verdict in &readable {
        if let Some(age) = verdict.head_age.filter(|age| *age > OLD_HEAD) {
            findings.push(Finding::Warn(format!(
                "the newest block of {} is {age} s old",
                verdict.name
            )));
        }
    }
    let plain_public = pool.0.config.nodes.iter().filter(|node| {
        [&node.http_url, &node.ws_url]
            .into_iter()
            .flatten()
            .any(|url| matches!(url.scheme(), "http" | "ws") && may_be_public(url))
    });
    for node in plain_public {
        findings.push(Finding::Warn(format!(
            "{} is reached over the open network without TLS: use https or wss, or a VPN",
            node.name
        )));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeConfig, PoolConfig};

    fn findings(urls: &[&str], verdicts: &[UpstreamVerdict]) -> Vec<Finding> {
        let nodes = urls
            .iter()
            .map(|url| NodeConfig::primary(*url, url.parse().unwrap()));
        let pool = Endpoints::new(PoolConfig::new(1, nodes.collect())).unwrap();
        together(verdicts, &pool)
    }

    fn verdict(name: &str, genesis: u8) -> UpstreamVerdict {
        UpstreamVerdict {
            name: name.to_owned(),
            chain_id: Some(1),
            genesis: Some(B256::repeat_byte(genesis)),
            ..UpstreamVerdict::default()
        }
    }

    #[test]
    fn a_plain_address_on_the_open_network_is_a_warning_whether_number_or_name() {
        let urls = [
            "http://geth.example.com",
            "ws://8.8.8.8",
            "http://10.0.0.1",
            "https://geth.example.com:1",
        ];
        let found = findings(&urls, &[]);
        for (url, warned) in urls.iter().zip([true, true, false, false]) {
            let warning = Finding::Warn(format!(
                "{url} is reached over the open network without TLS: use https or wss, or a VPN"
            ));
            assert_eq!(found.contains(&warning), warned, "{url}: {found:?}");
        }
    }

    #[test]
    fn upstreams_that_begin_with_different_blocks_are_a_failure_that_names_both_sides() {
        let urls = ["http://a", "http://b", "http://c"];
        let sides = [verdict("a", 1), verdict("b", 2), verdict("c", 1)];
        let found = findings(&urls, &sides);
        let fails = found.iter().filter_map(|finding| match finding {
            Finding::Fail(what) => Some(what),
            Finding::Warn(_) => None,
        });
        let fails: Vec<_> = fails.collect();
        assert_eq!(fails.len(), 1, "{found:?}");
        assert!(
            fails[0].contains("0101 at a, c, and 0x0202"),
            "{}",
            fails[0]
        );
        let same = findings(&urls, &[verdict("a", 1), verdict("b", 1), verdict("c", 1)]);
        assert!(
            same.iter()
                .all(|finding| matches!(finding, Finding::Warn(_)))
        );
    }
}
