//! The life of a request: what a consumer asked of one oracle contract.
//!
//! A request's identity is (chain, oracle contract, request id). The block that carries it is only
//! its current *incarnation*: after a reorganisation the same request may be mined again elsewhere,
//! with another expiration, and stays the same request.

use serde::{Deserialize, Serialize};

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On the canonical chain and unanswered; its run works on it.
    Open,
    /// The block that carried it left the canonical chain and it was not mined again yet.
    Orphaned,
    /// A fulfilment was mined and succeeded, and could still be reorganised away.
    Answered,
    /// Its fulfilment is final, ours or another node's.
    Fulfilled,
    /// The requester took the payment back.
    Cancelled,
    /// We decided not to run it (payment, requester); the reason stands beside it.
    Refused,
    /// Its run ended without an answer.
    Failed,
}

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its block left the canonical chain.
    Orphaned,
    /// It is on the canonical chain again, in the same block or another.
    MinedAgain,
    /// A fulfilment was mined with success.
    Answered,
    /// The block of its fulfilment left the canonical chain.
    AnswerOrphaned,
    /// The block of its fulfilment is final.
    AnswerFinal,
    /// A cancellation was seen on the canonical chain.
    Cancelled,
    /// Its run ended errored, or its transaction died.
    Failed,
}

/// Every state, in the order of a life.
pub const STATES: [State; 7] = [
    State::Open,
    State::Orphaned,
    State::Answered,
    State::Fulfilled,
    State::Cancelled,
    State::Refused,
    State::Failed,
];

/// Every event.
pub const EVENTS: [Event; 7] = [
    Event::Orphaned,
    Event::MinedAgain,
    Event::Answered,
    Event::AnswerOrphaned,
    Event::AnswerFinal,
    Event::Cancelled,
    Event::Failed,
];

impl State {
    /// The state after `event`, or `None` where the event changes nothing and is not allowed to.
    pub fn on(self, event: Event) -> Option<Self> {
        use Event as E;
        Some(match (self, event) {
            (Self::Open | Self::Answered, E::Orphaned) => Self::Orphaned,
            (Self::Orphaned, E::MinedAgain) => Self::Open,
            // The log never left as far as we know, yet the chain accepted our answer: believe the chain.
            (Self::Open | Self::Orphaned | Self::Failed, E::Answered) => Self::Answered,
            (Self::Answered, E::AnswerOrphaned) => Self::Open,
            (Self::Open | Self::Orphaned | Self::Answered | Self::Failed, E::AnswerFinal) => {
                Self::Fulfilled
            }
            (Self::Open | Self::Orphaned | Self::Failed, E::Cancelled) => Self::Cancelled,
            (Self::Open | Self::Orphaned, E::Failed) => Self::Failed,
            (Self::Failed | Self::Refused, E::Orphaned) => Self::Orphaned,
            _ => return None,
        })
    }

    /// The word in the database and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Orphaned => "orphaned",
            Self::Answered => "answered",
            Self::Fulfilled => "fulfilled",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// Whether the same request id may begin a new life: the contract has forgotten this one.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Fulfilled | Self::Cancelled)
    }
}

impl std::str::FromStr for State {
    type Err = crate::tx::UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        STATES
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| crate::tx::UnknownWord(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_request_stays_closed() {
        for event in EVENTS {
            assert_eq!(State::Fulfilled.on(event), None, "{event:?}");
            assert_eq!(State::Cancelled.on(event), None, "{event:?}");
        }
    }

    #[test]
    fn a_request_that_is_mined_again_is_the_same_open_request() {
        let after = State::Open
            .on(Event::Orphaned)
            .and_then(|s| s.on(Event::MinedAgain));
        assert_eq!(after, Some(State::Open));
    }
}
