//! What to do about a request that was just seen: a decision, no IO.

use alloy::primitives::{Address, B256, U256};
use dodona_model::request::State;
use dodona_store::requests::{Incarnation, Request};

use crate::log::Asked;

/// What a job and its chain ask of a request.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) min_payment_juels: U256,
    pub(crate) requesters: Vec<Address>,
}

/// What happens with a request's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Never seen, or its earlier life is closed: a new row and a run.
    Run { life: u32 },
    /// Never seen, and not to be run.
    Refuse { life: u32, reason: String },
    /// The same request in another place, on the same terms: what was computed stays right.
    MovedOn,
    /// The same request in another place, and answered there for good.
    Settled,
    /// The same request with other terms (another expiration): the answer must be encoded anew.
    EncodeAnew,
    /// It was orphaned before anything ran for it.
    RunAgain,
    /// Seen already in this very place.
    Known,
    /// The id is used again while we still believe in its earlier use; look again later.
    Wait,
}

/// `gone` says that the place where we knew the request is no longer on the chain.
pub(crate) fn decide(
    asked: &Asked,
    at: &Incarnation,
    newest: Option<&Request>,
    gone: bool,
    terms: &Terms,
) -> Decision {
    let Some(known) = newest else {
        return begin(asked, terms, 1);
    };
    let same_place = is_at(known, at);
    match known.state {
        State::Orphaned => match (known.run_id, refusal(asked, terms)) {
            (Some(_), _) if known.incarnation.terms == at.terms => Decision::MovedOn,
            (Some(_), _) => Decision::EncodeAnew,
            (None, None) => Decision::RunAgain,
            (None, Some(reason)) => Decision::Refuse {
                life: known.life + 1,
                reason,
            },
        },
        _ if same_place => Decision::Known,
        State::Fulfilled if gone => Decision::Settled,
        // The contract took the id again, so it has forgotten the earlier request.
        State::Fulfilled | State::Cancelled | State::Failed | State::Refused => {
            begin(asked, terms, known.life + 1)
        }
        State::Open | State::Answered => Decision::Wait,
    }
}

/// Whether a request was seen in this very place.
pub(crate) fn is_at(known: &Request, at: &Incarnation) -> bool {
    known.incarnation.block.hash == at.block.hash && known.incarnation.log_index == at.log_index
}

fn begin(asked: &Asked, terms: &Terms, life: u32) -> Decision {
    match refusal(asked, terms) {
        None => Decision::Run { life },
        Some(reason) => Decision::Refuse { life, reason },
    }
}

/// Why a request is not run, if it is not.
fn refusal(asked: &Asked, terms: &Terms) -> Option<String> {
    if !terms.requesters.is_empty() && !terms.requesters.contains(&asked.requester) {
        return Some(format!(
            "requester {} is not on the job's list",
            asked.requester
        ));
    }
    if asked.payment_juels < terms.min_payment_juels {
        return Some(format!(
            "payment of {} juels is below the minimum of {} juels",
            asked.payment_juels, terms.min_payment_juels
        ));
    }
    None
}

/// Whether a log has its confirmations under `head`; its own block is the first.
pub(crate) fn confirmed(log_block: u64, confirmations: u32, head: u64) -> bool {
    log_block.saturating_add(u64::from(confirmations.max(1)) - 1) <= head
}

/// Whether call data carries the id of this request.
pub(crate) fn answers(payload: &[u8], request_id: B256) -> bool {
    dodona_model::oracle::is_fulfilment(payload)
        && payload.get(4..36) == Some(request_id.as_slice())
}

#[cfg(test)]
mod tests {
    use dodona_model::{BlockRef, Timestamp};

    use super::*;

    fn asked(payment: u64) -> Asked {
        Asked {
            spec_id: B256::ZERO,
            requester: Address::repeat_byte(1),
            request_id: B256::repeat_byte(2),
            payment_juels: U256::from(payment),
            callback_address: Address::repeat_byte(3),
            callback_function: [0; 4],
            expiration: U256::from(300),
            data_version: U256::from(1),
            data: Vec::new(),
        }
    }

    fn at(block: u8, terms: u8) -> Incarnation {
        Incarnation {
            block: BlockRef {
                number: 10,
                hash: B256::repeat_byte(block),
            },
            log_index: 0,
            tx_hash: B256::ZERO,
            payment_juels: U256::from(5),
            expires_at_seconds: 300,
            callback_address: Address::ZERO,
            terms: B256::repeat_byte(terms),
        }
    }

    fn known(state: State, run: Option<i64>) -> Request {
        Request {
            id: 1,
            chain_id: 1,
            oracle: Address::ZERO,
            request_id: B256::repeat_byte(2),
            life: 1,
            state,
            reason: String::new(),
            job_id: 1,
            run_id: run,
            requester: Address::repeat_byte(1),
            incarnation: at(1, 1),
            created_at: Timestamp(0),
        }
    }

    fn terms(min: u64) -> Terms {
        Terms {
            min_payment_juels: U256::from(min),
            requesters: Vec::new(),
        }
    }

    #[test]
    fn a_payment_equal_to_the_minimum_is_enough() {
        assert_eq!(
            decide(&asked(5), &at(1, 1), None, false, &terms(5)),
            Decision::Run { life: 1 }
        );
        assert!(matches!(
            decide(&asked(4), &at(1, 1), None, false, &terms(5)),
            Decision::Refuse { .. }
        ));
    }

    #[test]
    fn a_requester_that_is_not_listed_gets_no_run() {
        let listed = Terms {
            requesters: vec![Address::repeat_byte(9)],
            ..terms(0)
        };
        assert!(matches!(
            decide(&asked(5), &at(1, 1), None, false, &listed),
            Decision::Refuse { .. }
        ));
    }

    #[test]
    fn a_request_mined_again_on_other_terms_is_encoded_anew_not_run_twice() {
        let orphan = known(State::Orphaned, Some(7));
        assert_eq!(
            decide(&asked(5), &at(2, 1), Some(&orphan), false, &terms(0)),
            Decision::MovedOn
        );
        assert_eq!(
            decide(&asked(5), &at(2, 2), Some(&orphan), false, &terms(0)),
            Decision::EncodeAnew
        );
    }

    #[test]
    fn an_open_request_seen_elsewhere_waits_until_its_first_place_is_settled() {
        let open = known(State::Open, Some(7));
        assert_eq!(
            decide(&asked(5), &at(2, 1), Some(&open), false, &terms(0)),
            Decision::Wait
        );
        assert_eq!(
            decide(&asked(5), &at(1, 1), Some(&open), false, &terms(0)),
            Decision::Known
        );
    }

    #[test]
    fn a_closed_id_may_begin_a_new_life() {
        let closed = known(State::Fulfilled, Some(7));
        assert_eq!(
            decide(&asked(5), &at(2, 1), Some(&closed), false, &terms(0)),
            Decision::Run { life: 2 }
        );
    }

    #[test]
    fn an_answered_request_whose_place_is_gone_begins_no_second_life() {
        let answered = known(State::Fulfilled, Some(7));
        assert_eq!(
            decide(&asked(5), &at(2, 1), Some(&answered), true, &terms(0)),
            Decision::Settled
        );
    }

    #[test]
    fn one_confirmation_is_the_logs_own_block() {
        assert!(confirmed(10, 1, 10) && confirmed(10, 0, 10));
        assert!(!confirmed(10, 3, 11) && confirmed(10, 3, 12));
    }
}
