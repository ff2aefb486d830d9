//! The life of a run.

use serde::{Deserialize, Serialize};

/// Where a run stands. The words are those of the API and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waiting for a free slot, or executing under somebody's claim.
    Running,
    /// Waits for something outside: its transaction's confirmations, an answer from a bridge.
    Suspended,
    /// Every terminal task has a value.
    Completed,
    /// At least one terminal task has an error.
    Errored,
}

impl State {
    /// The word in the database and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Errored => "errored",
        }
    }

    /// Whether nothing more will happen to the run by itself.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Errored)
    }
}

impl std::str::FromStr for State {
    type Err = crate::tx::UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [
            Self::Running,
            Self::Suspended,
            Self::Completed,
            Self::Errored,
        ]
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| crate::tx::UnknownWord(word.to_owned()))
    }
}
