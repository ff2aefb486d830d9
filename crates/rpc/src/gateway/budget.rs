//! How much may be asked twice: retries and hedges are a share of the requests, so that trouble
//! does not become a storm.

use std::sync::atomic::{AtomicI64, Ordering};

/// Tokens are counted in hundredths of a request.
const PER_REQUEST_RETRY: i64 = 10;
const PER_REQUEST_HEDGE: i64 = 5;
const ONE: i64 = 100;
/// What may be spent at once, after a quiet time; also what is there at the beginning.
const MOST: i64 = 200 * ONE;

pub(crate) struct Budget {
    retries: AtomicI64,
    hedges: AtomicI64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            retries: AtomicI64::new(MOST),
            hedges: AtomicI64::new(MOST),
        }
    }
}

impl Budget {
    /// A request was put: a tenth of a retry and a twentieth of a hedge earned.
    pub(crate) fn asked(&self) {
        earn(&self.retries, PER_REQUEST_RETRY);
        earn(&self.hedges, PER_REQUEST_HEDGE);
    }

    /// Called each second: a few are always allowed, however little is asked.
    pub(crate) fn second_passed(&self) {
        earn(&self.retries, 10 * ONE);
        earn(&self.hedges, 5 * ONE);
    }

    pub(crate) fn may_retry(&self) -> bool {
        spend(&self.retries)
    }

    pub(crate) fn may_hedge(&self) -> bool {
        spend(&self.hedges)
    }
}

fn earn(tokens: &AtomicI64, amount: i64) {
    if tokens.load(Ordering::Relaxed) < MOST {
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

    #[test]
    fn retries_are_a_tenth_of_the_requests_once_the_reserve_is_spent() {
        let budget = Budget::default();
        while budget.may_retry() {}
        let mut retried = 0;
        for _ in 0..1000 {
            budget.asked();
            retried += usize::from(budget.may_retry());
        }
        assert_eq!(retried, 100);
    }

    #[test]
    fn a_quiet_gateway_may_still_retry() {
        let budget = Budget::default();
        while budget.may_retry() {}
        budget.second_passed();
        assert!(budget.may_retry());
    }
}
