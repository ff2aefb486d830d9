//! How much may be asked twice: retries and hedges are a share of the requests, so that trouble
//! does not become a storm. Each caller has a purse of their own, filled by what they ask, and there
//! is a common one for whoever has spent theirs: nobody's trouble leaves others without.
//!
//! Retries because an endpoint failed, and second opinions about what may be the caller's own mistake,
//! are two things: who asks wrongly all the time has no less to spend when an endpoint goes bad.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

use super::quota::Whose;

/// Tokens are counted in hundredths of a request.
const PER_REQUEST_RETRY: i64 = 10;
const PER_REQUEST_HEDGE: i64 = 5;
const ONE: i64 = 100;
/// What may be spent at once, after a quiet time; also what is there at the beginning.
const MOST: i64 = 200 * ONE;
/// The same of one caller.
const MOST_OF_ONE: i64 = 50 * ONE;
/// Purses there are: callers beyond that share some.
const PURSES: usize = 256;

/// Whose purse it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Purse(u8);

impl Purse {
    /// Of what is asked for ourselves.
    pub(crate) const OURS: Self = Self(0);

    /// Nobody can tell beforehand with whom they share one.
    pub(crate) fn of(whose: &Whose) -> Self {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let others = PURSES as u64 - 1;
        let number = 1 + KEYS.hash_one(whose) % others;
        Self(u8::try_from(number).expect("what is left of a division by 255, and 1, is a byte"))
    }
}

pub(crate) struct Budget {
    retries: Pot,
    opinions: Pot,
    hedges: AtomicI64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            retries: Pot::default(),
            opinions: Pot::default(),
            hedges: AtomicI64::new(MOST),
        }
    }
}

/// The purses, and what is there for all.
struct Pot {
    own: [AtomicI64; PURSES],
    common: AtomicI64,
}

impl Default for Pot {
    fn default() -> Self {
        Self {
            own: [const { AtomicI64::new(MOST_OF_ONE) }; PURSES],
            common: AtomicI64::new(MOST),
        }
    }
}

impl Pot {
    fn own(&self, purse: Purse) -> &AtomicI64 {
        &self.own[usize::from(purse.0)]
    }

    fn second_passed(&self) {
        earn(&self.common, 10 * ONE, MOST);
        for own in &self.own {
            earn(own, ONE, MOST_OF_ONE);
        }
    }

    fn spend(&self, purse: Purse) -> bool {
        spend(self.own(purse)) || spend(&self.common)
    }
}

impl Budget {
    /// A request was put: a tenth of a retry and a twentieth of a hedge earned.
    pub(crate) fn asked(&self, purse: Purse) {
        earn(self.retries.own(purse), PER_REQUEST_RETRY, MOST_OF_ONE);
        earn(self.opinions.own(purse), PER_REQUEST_RETRY, MOST_OF_ONE);
        earn(&self.hedges, PER_REQUEST_HEDGE, MOST);
    }

    /// Called each second: a few are always allowed, however little is asked.
    pub(crate) fn second_passed(&self) {
        self.retries.second_passed();
        self.opinions.second_passed();
        earn(&self.hedges, 5 * ONE, MOST);
    }

    pub(crate) fn may_retry(&self, purse: Purse) -> bool {
        self.retries.spend(purse)
    }

    /// Whether somebody else may be asked what they make of a request that was found wrong.
    pub(crate) fn may_ask_for_an_opinion(&self, purse: Purse) -> bool {
        self.opinions.spend(purse)
    }

    pub(crate) fn may_hedge(&self) -> bool {
        spend(&self.hedges)
    }
}

fn earn(tokens: &AtomicI64, amount: i64, most: i64) {
    if tokens.load(Ordering::Relaxed) < most {
        tokens.fetch_add(amount, Ordering::Relaxed);
    }
}

fn spend(tokens: &AtomicI64) -> bool {
    let before = tokens.fetch_sub(ONE, Ordering::Relaxed);
    if before < ONE {
        tokens.fetch_add(ONE, Ordering::Relaxed);
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_CALLER: Purse = Purse(1);
    const OTHER: Purse = Purse(2);

    #[test]
    fn retries_are_a_tenth_of_the_requests_once_the_reserve_is_spent() {
        let budget = Budget::default();
        while budget.may_retry(ONE_CALLER) {}
        let mut retried = 0;
        for _ in 0..1000 {
            budget.asked(ONE_CALLER);
            retried += usize::from(budget.may_retry(ONE_CALLER));
        }
        assert_eq!(retried, 100);
    }

    #[test]
    fn a_quiet_gateway_may_still_retry() {
        let budget = Budget::default();
        while budget.may_retry(ONE_CALLER) {}
        budget.second_passed();
        let more = std::iter::from_fn(|| budget.may_retry(ONE_CALLER).then_some(()));
        assert_eq!(more.count(), 11);
    }

    #[test]
    fn whoever_spends_all_there_is_leaves_others_what_is_theirs() {
        let budget = Budget::default();
        while budget.may_retry(ONE_CALLER) {}
        let others = std::iter::from_fn(|| budget.may_retry(OTHER).then_some(()));
        assert_eq!(others.count(), 50);
    }

    #[test]
    fn what_a_caller_asks_wrongly_takes_nothing_from_what_is_there_for_failures() {
        let budget = Budget::default();
        while budget.may_ask_for_an_opinion(ONE_CALLER) {}
        assert!(budget.may_retry(ONE_CALLER));
        while budget.may_retry(ONE_CALLER) {}
        assert!(!budget.may_ask_for_an_opinion(ONE_CALLER));
        assert!(budget.may_ask_for_an_opinion(OTHER));
    }

    #[test]
    fn callers_have_purses_and_none_has_ours() {
        let whose = |n: u16| Whose::Name(n.to_string().into());
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..2000 {
            let purse = Purse::of(&whose(n));
            assert_eq!(purse, Purse::of(&whose(n)));
            assert_ne!(purse, Purse::OURS);
            seen.insert(purse.0);
        }
        assert!(seen.len() > 200, "{}", seen.len());
    }
}
