//! The life of a transaction. Money moves only along these arrows.

use serde::{Deserialize, Serialize};

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waiting for a nonce; nothing was ever signed for it.
    Queued,
    /// It has a nonce and at least one stored signature, which may or may not have left the machine.
    Signed,
    /// At least one endpoint took an attempt.
    Sent,
    /// One of its attempts is in a block of the canonical chain.
    Mined,
    /// That block is final.
    Final,
    /// Given up; the reason stands beside it. Its nonce, if it has one, is still only ever replaced.
    Dead,
}

/// What can happen to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A nonce was taken and the first signed attempt stored.
    Signed,
    /// An endpoint accepted an attempt (or knew it already).
    HandedOver,
    /// One of the attempts ever signed for its nonce is in a block.
    Included,
    /// The block that held it left the canonical chain.
    Reorged,
    /// The block that holds it is final.
    Finalized,
    /// It was given up before anything was signed.
    Refused,
    /// Its nonce was used by a transaction that is none of ours.
    NonceLost,
}

/// Every state, in the order of a life.
pub const STATES: [State; 6] = [
    State::Queued,
    State::Signed,
    State::Sent,
    State::Mined,
    State::Final,
    State::Dead,
];

/// Every event.
pub const EVENTS: [Event; 7] = [
    Event::Signed,
    Event::HandedOver,
    Event::Included,
    Event::Reorged,
    Event::Finalized,
    Event::Refused,
    Event::NonceLost,
];

/// An event that must not happen in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a transaction that is {state:?} cannot be {event:?}")]
pub struct IllegalTransition {
    /// The state it was in.
    pub state: State,
    /// What was claimed to have happened.
    pub event: Event,
}

/// A word that no state has; the database holds something this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no state this version knows")]
pub struct UnknownWord(pub String);

impl State {
    /// The state after `event`. What is not listed here does not happen.
    pub fn on(self, event: Event) -> Result<Self, IllegalTransition> {
        use Event as E;
        Ok(match (self, event) {
            (Self::Queued, E::Signed) => Self::Signed,
            (Self::Queued, E::Refused) => Self::Dead,
            (Self::Signed | Self::Sent, E::HandedOver) => Self::Sent,
            (Self::Signed | Self::Sent, E::Included) => Self::Mined,
            (Self::Signed | Self::Sent, E::NonceLost) => Self::Dead,
            (Self::Mined, E::Reorged) => Self::Sent,
            (Self::Mined, E::Finalized) => Self::Final,
            (state, event) => return Err(IllegalTransition { state, event }),
        })
    }

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Signed => "signed",
            Self::Sent => "sent",
            Self::Mined => "mined",
            Self::Final => "final",
            Self::Dead => "dead",
        }
    }

    /// The word that operators know from the Chainlink node's API and dashboards.
    pub fn peer_word(self) -> &'static str {
        match self {
            Self::Queued => "unstarted",
            Self::Signed => "in_progress",
            Self::Sent => "unconfirmed",
            Self::Mined => "confirmed",
            Self::Final => "finalized",
            Self::Dead => "fatal_error",
        }
    }
}

impl std::str::FromStr for State {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        STATES
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// The arrows as a Mermaid diagram, printed from the function that holds them.
pub fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> Queued\n");
    for state in STATES {
        for event in EVENTS {
            if let Ok(next) = state.on(event) {
                text.push_str(&format!("    {state:?} --> {next:?}: {event:?}\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_end_of_a_life() {
        for event in EVENTS {
            assert!(State::Final.on(event).is_err(), "{event:?}");
            assert!(State::Dead.on(event).is_err(), "{event:?}");
        }
    }

    #[test]
    fn once_signed_a_transaction_is_never_queued_again() {
        for state in [State::Signed, State::Sent, State::Mined] {
            for event in EVENTS {
                assert_ne!(state.on(event), Ok(State::Queued), "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn the_words_in_the_database_read_back() {
        for state in STATES {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }

    #[test]
    fn the_map_in_the_documents_shows_the_arrows_of_the_code() {
        let page = include_str!("../../../ARCHITECTURE.md");
        assert!(
            page.contains(&diagram()),
            "ARCHITECTURE.md must contain:\n{}",
            diagram()
        );
    }
}
