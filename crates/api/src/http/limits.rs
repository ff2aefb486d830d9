//! How often one client address may ask: fixed windows, counted in this process.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dodona_model::Timestamp;
use dodona_runtime::clock;

use super::Peer;
use crate::config::RateLimits;
use crate::server::App;

/// Addresses counted one by one in a bucket; beyond them all others share one count.
const ADDRESSES: usize = 4096;
const MINUTE: Duration = Duration::from_secs(60);
/// Files of the page in a minute.
const ASSETS: u64 = 100;
/// Pages in a minute.
const PAGES: u64 = 20;

/// What is counted together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bucket {
    /// All API routes, and the first page.
    Api,
    /// Log-ins, in addition.
    LogIn,
    /// Other pages for people, and what does not exist.
    Page,
    /// The pages' style sheet.
    Asset,
}

/// The four counters.
#[derive(Debug)]
pub(crate) struct Limits {
    disabled: bool,
    api: Counter,
    log_in: Counter,
    page: Counter,
    asset: Counter,
}

impl Limits {
    pub(crate) fn new(config: &RateLimits) -> Self {
        Self {
            disabled: config.disabled,
            api: Counter::new(config.authenticated),
            log_in: Counter::new(config.unauthenticated),
            page: Counter::new((PAGES, MINUTE)),
            asset: Counter::new((ASSETS, MINUTE)),
        }
    }

    fn counter(&self, bucket: Bucket) -> &Counter {
        match bucket {
            Bucket::Api => &self.api,
            Bucket::LogIn => &self.log_in,
            Bucket::Page => &self.page,
            Bucket::Asset => &self.asset,
        }
    }
}

#[derive(Debug)]
struct Counter {
    limit: u64,
    period: Duration,
    windows: Mutex<HashMap<Option<IpAddr>, Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    ends: Timestamp,
    used: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    allowed: bool,
    limit: u64,
    remaining: u64,
    reset_seconds: i64,
}

impl Counter {
    fn new((limit, period): (u64, Duration)) -> Self {
        Self {
            limit,
            period,
            windows: Mutex::default(),
        }
    }

    fn hit(&self, address: IpAddr, now: Timestamp) -> Verdict {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = Some(address);
        if windows.len() >= ADDRESSES && !windows.contains_key(&key) {
            windows.retain(|_, window| window.ends > now);
            if windows.len() >= ADDRESSES {
                key = None;
            }
        }
        let fresh = Window {
            ends: now.plus(self.period),
            used: 0,
        };
        let window = windows.entry(key).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        window.used = window.used.saturating_add(1);
        Verdict {
            allowed: window.used <= self.limit,
            limit: self.limit,
            remaining: self.limit.saturating_sub(window.used),
            reset_seconds: window.ends.micros() / 1_000_000,
        }
    }
}

/// Lets a request through while its address is within the bucket's limit; 429 otherwise.
pub(crate) async fn limit(
    State((app, bucket)): State<(Arc<App>, Bucket)>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let (false, Some(Peer(peer))) = (app.limits.disabled, peer) else {
        return next.run(request).await;
    };
    let verdict = app.limits.counter(bucket).hit(peer.ip(), clock::now());
    let mut response = if verdict.allowed {
        next.run(request).await
    } else {
        (StatusCode::TOO_MANY_REQUESTS, "Limit exceeded").into_response()
    };
    tell(response.headers_mut(), &verdict);
    response
}

/// The narrower bucket answers first and is the one the client should know about.
fn tell(headers: &mut HeaderMap, verdict: &Verdict) {
    let facts: [(&str, i64); 3] = [
        (
            "x-ratelimit-limit",
            i64::try_from(verdict.limit).unwrap_or(i64::MAX),
        ),
        (
            "x-ratelimit-remaining",
            i64::try_from(verdict.remaining).unwrap_or(i64::MAX),
        ),
        ("x-ratelimit-reset", verdict.reset_seconds),
    ];
    for (name, value) in facts {
        headers
            .entry(HeaderName::from_static(name))
            .or_insert_with(|| HeaderValue::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    #[test]
    fn the_limit_holds_for_a_period_and_then_begins_anew() {
        let counter = Counter::new((2, Duration::from_secs(20)));
        assert_eq!(counter.hit(HERE, at(100)).remaining, 1);
        assert!(counter.hit(HERE, at(101)).allowed);
        let third = counter.hit(HERE, at(102));
        assert!(!third.allowed);
        assert_eq!(third.reset_seconds, 120);
        assert!(counter.hit(HERE, at(120)).allowed);
    }

    #[test]
    fn a_flood_of_addresses_costs_bounded_memory_and_shares_one_count() {
        let counter = Counter::new((1, Duration::from_secs(20)));
        let address = |n: u32| IpAddr::V4(std::net::Ipv4Addr::from(n));
        for n in 0..u32::try_from(ADDRESSES).unwrap() {
            assert!(counter.hit(address(n), at(1)).allowed);
        }
        assert!(counter.hit(address(1 << 30), at(1)).allowed);
        assert!(!counter.hit(address(1 << 31), at(1)).allowed);
        assert!(counter.hit(address(1 << 31), at(30)).allowed);
        assert!(counter.windows.lock().unwrap().len() <= ADDRESSES + 1);
    }
}
