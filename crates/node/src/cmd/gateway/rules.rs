//! What a setting may be: values that could never mean anything are refused with their place, the
//! reason and what to do instead.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use dodona_rpc::gateway::Quota;
use ipnet::IpNet;
use url::Url;

/// Longest time a limit may be, in seconds: a day.
const LONGEST: u64 = 24 * 3600;

/// Origins as browsers send them, or the entry could never match.
pub(super) fn origins(place: &str, list: Vec<String>) -> anyhow::Result<Vec<String>> {
    for origin in &list {
        anyhow::ensure!(
            !origin.contains('*') && origin != "null",
            "{place}: origins are exact, {origin:?} would let in pages of strangers: name each one, as in https://app.example.com"
        );
        let sent = Url::parse(origin).ok().and_then(|url| as_sent(&url));
        match sent {
            Some(sent) if sent == *origin => {}
            Some(sent) => anyhow::bail!(
                "{place}: {origin:?} is not what a browser sends, so it would never match: write {sent}"
            ),
            None => anyhow::bail!(
                "{place}: {origin:?} is no origin, so it would never match: write scheme, host and port, as in https://app.example.com"
            ),
        }
    }
    Ok(list)
}

/// Scheme, host and a port that is not the usual one.
fn as_sent(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    Some(format!("{}://{host}{port}", url.scheme()))
}

/// Names as they stand in the header `Host`, without the port.
pub(super) fn hosts(place: &str, list: Vec<String>) -> anyhow::Result<Vec<String>> {
    for host in &list {
        anyhow::ensure!(
            !host.contains('*'),
            "{place}: host names are exact, {host:?} would never match: name each one"
        );
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        // An address is always let in; saying so does no harm.
        let is_address = host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok();
        anyhow::ensure!(
            is_name || is_address,
            "{place}: {host:?} is no host name, so it would never match: write the name alone, without scheme, port or path, as in rpc.example.com"
        );
    }
    Ok(list)
}

/// Names of methods, and patterns.
pub(super) fn methods(place: &str, list: Vec<String>) -> anyhow::Result<Vec<String>> {
    for method in &list {
        anyhow::ensure!(
            !method.is_empty() && !method.contains(|c: char| c.is_whitespace() || c == ','),
            "{place}: {method:?} is no method, so it would never match: one method or pattern an entry, as in \"debug_trace*\""
        );
    }
    Ok(list)
}

/// Networks (`10.0.0.0/8`) and single addresses.
pub(super) fn networks(place: &str, list: &[String]) -> anyhow::Result<Vec<IpNet>> {
    list.iter()
        .map(|text| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
                .map(|net| net.trunc())
                .map_err(|_| {
                    anyhow::anyhow!(
                        "{place}: {text:?} is neither an address nor a network like 10.0.0.0/8"
                    )
                })
        })
        .collect()
}

/// Without a burst, ten seconds' worth may be spent at once.
pub(super) fn quota(
    whose: &str,
    units_per_second: Option<u32>,
    burst: Option<u32>,
) -> anyhow::Result<Option<Quota>> {
    let Some(units_per_second) = units_per_second else {
        anyhow::ensure!(
            burst.is_none(),
            "{whose} burst: it means nothing without units_per_second beside it"
        );
        return Ok(None);
    };
    let more_than_zero = |key: &str, units: u32| {
        NonZeroU32::new(units).ok_or_else(|| {
            anyhow::anyhow!(
                "{whose} {key}: 0 would let nothing through: give at least 1, or leave it out for no quota"
            )
        })
    };
    let units_per_second = more_than_zero("units_per_second", units_per_second)?;
    let ten = NonZeroU32::MIN.saturating_add(9);
    let burst = match burst {
        Some(burst) => more_than_zero("burst", burst)?,
        None => units_per_second.saturating_mul(ten),
    };
    Ok(Some(Quota {
        units_per_second,
        burst,
    }))
}

/// A limit of `[limits]`: as given, or what is usual.
pub(super) fn limit(
    key: &str,
    given: Option<u64>,
    usual: usize,
    range: RangeInclusive<u64>,
) -> anyhow::Result<usize> {
    let Some(given) = given else { return Ok(usual) };
    let (least, most) = (range.start(), range.end());
    anyhow::ensure!(
        given >= *least,
        "[limits] {key}: {given} would let nothing through: give at least {least}, or leave it out for {usual}"
    );
    anyhow::ensure!(
        given <= *most,
        "[limits] {key}: {given} is more than there could ever be: give at most {most}, or leave it out for {usual}"
    );
    Ok(usize::try_from(given).unwrap_or(usize::MAX))
}

/// A time of `[limits]`, in seconds.
pub(super) fn seconds(
    key: &str,
    given: Option<u64>,
    usual: Duration,
    least: u64,
) -> anyhow::Result<Duration> {
    let usual = usize::try_from(usual.as_secs()).unwrap_or(usize::MAX);
    let seconds = limit(key, given, usual, least..=LONGEST)?;
    Ok(Duration::from_secs(seconds as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_no_browser_sends_is_refused_with_what_it_sends() {
        let said = |origin: &str| {
            let list = origins("allow_origins", vec![origin.to_owned()]);
            list.map(|_| String::new())
                .unwrap_or_else(|error| error.to_string())
        };
        for (origin, words) in [
            ("https://app.example.com/", "write https://app.example.com"),
            (
                "https://app.example.com/x?y",
                "write https://app.example.com",
            ),
            ("https://App.Example.com", "write https://app.example.com"),
            (
                "https://app.example.com:443",
                "write https://app.example.com",
            ),
            (
                "https://user@app.example.com",
                "write https://app.example.com",
            ),
            ("app.example.com", "is no origin"),
            ("app.example.com:443", "is no origin"),
            ("https://", "is no origin"),
            ("", "is no origin"),
            ("https://*.example.com", "would let in pages of strangers"),
            ("*", "would let in pages of strangers"),
            ("null", "would let in pages of strangers"),
        ] {
            let said = said(origin);
            assert!(said.starts_with("allow_origins: "), "{origin}: {said}");
            assert!(said.contains(words), "{origin}: {said}");
        }
        for origin in [
            "https://app.example.com",
            "http://localhost:3000",
            "http://[::1]:3000",
            "chrome-extension://abcdefgh",
        ] {
            assert_eq!(said(origin), "", "{origin}");
        }
    }

    #[test]
    fn a_host_or_a_method_that_could_never_match_is_refused() {
        let host = |host: &str| hosts("allow_hosts", vec![host.to_owned()]);
        for name in [
            "https://rpc.example.com",
            "rpc.example.com:8545",
            "rpc.example.com/x",
            "",
            "a b",
        ] {
            let said = host(name).unwrap_err().to_string();
            assert!(said.contains("without scheme, port or path"), "{said}");
        }
        assert!(
            host("*.example.com")
                .unwrap_err()
                .to_string()
                .contains("exact")
        );
        for name in ["rpc.example.com", "RPC", "10.0.0.1", "[::1]"] {
            assert!(host(name).is_ok(), "{name}");
        }
        let method = |method: &str| methods("[methods] allow", vec![method.to_owned()]);
        for name in ["", "eth_call, eth_getLogs", "eth call"] {
            assert!(method(name).is_err(), "{name}");
        }
        assert!(method("debug_trace*").is_ok());
    }

    #[test]
    fn a_limit_that_lets_nothing_through_and_one_without_end_are_refused() {
        assert_eq!(limit("batch", None, 1000, 1..=10).unwrap(), 1000);
        assert_eq!(limit("batch", Some(7), 1000, 1..=10).unwrap(), 7);
        let said = limit("batch", Some(0), 1000, 1..=10)
            .unwrap_err()
            .to_string();
        assert!(
            said.starts_with("[limits] batch: 0 would let nothing through"),
            "{said}"
        );
        assert!(
            said.contains("at least 1, or leave it out for 1000"),
            "{said}"
        );
        let said = limit("batch", Some(11), 1000, 1..=10)
            .unwrap_err()
            .to_string();
        assert!(said.contains("at most 10"), "{said}");
        let day = Duration::from_secs(30);
        assert!(seconds("body_seconds", Some(0), day, 1).is_err());
        assert!(seconds("body_seconds", Some(u64::MAX), day, 1).is_err());
        assert_eq!(
            seconds("drain_seconds", Some(0), day, 0).unwrap(),
            Duration::ZERO
        );
    }

    #[test]
    fn a_quota_of_nothing_is_refused() {
        assert!(quota("[access]", None, Some(7)).is_err());
        for (units, burst) in [(0, None), (1, Some(0))] {
            let said = quota("[access]", Some(units), burst)
                .unwrap_err()
                .to_string();
            assert!(said.contains("would let nothing through"), "{said}");
        }
        assert_eq!(
            quota("[access]", Some(3), None)
                .unwrap()
                .unwrap()
                .burst
                .get(),
            30
        );
    }
}
