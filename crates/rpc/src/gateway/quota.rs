//! How much a client may ask: a bucket of cost units for each of them, filled at a steady rate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, RateLimiter};

use super::method::Kind;

/// Buckets kept. Beyond that, those nobody holds at the moment are forgotten, which fills them.
const BUCKETS: usize = 100_000;

/// What a client may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    pub units_per_second: NonZeroU32,
    /// What may be spent at once after a pause.
    pub burst: NonZeroU32,
}

/// What a question costs, in units; `blocks` is how many it looks through.
pub(crate) fn cost(kind: Kind, blocks: u64) -> u32 {
    let base = match kind {
        Kind::Own(_) | Kind::Light | Kind::Other => 1,
        Kind::Call | Kind::Send => 5,
        Kind::Logs => 20,
        Kind::Trace => 100,
    };
    u32::try_from(blocks / 1000).map_or(u32::MAX, |more| more.saturating_add(base))
}

/// The bucket of one client.
pub(crate) struct Bucket {
    quota: Quota,
    limiter: DefaultDirectRateLimiter,
}

/// Nothing left: how long it takes until there is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted(pub(crate) Duration);

impl Bucket {
    fn new(quota: Quota) -> Self {
        let rate = governor::Quota::per_second(quota.units_per_second).allow_burst(quota.burst);
        Self {
            quota,
            limiter: RateLimiter::direct(rate),
        }
    }

    pub(crate) fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes the units. What costs more than the bucket holds takes all of it.
    pub(crate) fn take(&self, units: u32) -> Result<(), Exhausted> {
        let units = NonZeroU32::new(units.min(self.quota.burst.get())).unwrap_or(NonZeroU32::MIN);
        match self.limiter.check_n(units) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(Exhausted(
                until.wait_time_from(DefaultClock::default().now()),
            )),
            // Cut down to the burst above; if it were not, nothing would ever be let through.
            Err(_) => Err(Exhausted(Duration::from_secs(1))),
        }
    }
}

/// Whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// Somebody with a name: of a key, a token or a certificate.
    Name(Arc<str>),
    /// Somebody without: told apart by address, IPv6 ones by their network.
    Address(IpAddr),
}

impl Whose {
    pub(crate) fn at(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Address(address),
            // One customer has a whole /64 and would have as many buckets.
            IpAddr::V6(ip) => {
                let network = u128::from(ip) & !u128::from(u64::MAX);
                Self::Address(IpAddr::V6(network.into()))
            }
        }
    }
}

/// The buckets of all clients.
#[derive(Default)]
pub(crate) struct Buckets(Mutex<HashMap<(Whose, Quota), Arc<Bucket>>>);

impl Buckets {
    pub(crate) fn of(&self, whose: Whose, quota: Quota) -> Arc<Bucket> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS {
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1);
        }
        let bucket = buckets
            .entry((whose, quota))
            .or_insert_with(|| Arc::new(Bucket::new(quota)));
        Arc::clone(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(units_per_second: u32, burst: u32) -> Quota {
        Quota {
            units_per_second: NonZeroU32::new(units_per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_says_how_long_to_wait() {
        let bucket = Bucket::new(quota(1, 10));
        assert_eq!(bucket.take(5), Ok(()));
        assert_eq!(bucket.take(5), Ok(()));
        let Err(Exhausted(wait)) = bucket.take(5) else {
            panic!("it gives more than it holds");
        };
        assert!(
            wait > Duration::from_secs(3) && wait <= Duration::from_secs(5),
            "{wait:?}"
        );
    }

    #[test]
    fn what_costs_more_than_a_bucket_holds_takes_all_of_it() {
        let bucket = Bucket::new(quota(1, 10));
        assert_eq!(bucket.take(1000), Ok(()));
        assert!(bucket.take(1).is_err());
    }

    #[test]
    fn everybody_has_a_bucket_of_their_own_and_a_network_of_ipv6_has_one() {
        let buckets = Buckets::default();
        let at = |address: &str| buckets.of(Whose::at(address.parse().unwrap()), quota(1, 1));
        assert!(at("192.0.2.1").take(1).is_ok());
        assert!(at("192.0.2.1").take(1).is_err());
        assert!(at("192.0.2.2").take(1).is_ok());
        assert!(at("2001:db8::1").take(1).is_ok());
        assert!(at("2001:db8::2").take(1).is_err());
        assert!(at("2001:db8:0:1::2").take(1).is_ok());
    }

    #[test]
    fn a_wide_look_at_logs_costs_more_than_a_narrow_one() {
        assert_eq!(cost(Kind::Light, 0), 1);
        assert_eq!(cost(Kind::Call, 0), 5);
        assert_eq!(cost(Kind::Logs, 0), 20);
        assert_eq!(cost(Kind::Logs, 10_000), 30);
        assert_eq!(cost(Kind::Trace, 0), 100);
        assert_eq!(cost(Kind::Trace, 10_000), 110);
        assert_eq!(cost(Kind::Logs, u64::MAX), u32::MAX);
    }
}
