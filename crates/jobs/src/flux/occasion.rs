//! Why a flux monitor looks at its number.

use alloy::primitives::Address;
use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Why a flux monitor looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Occasion {
    /// The job is new.
    Initial,
    /// Its poll timer.
    Poll,
    /// Too long without a round.
    Idle,
    /// An idle timer's round did not come about.
    Retry,
    /// The schedule.
    Drumbeat,
    /// The current round has timed out.
    Timeout,
    /// Once a day while it hibernates.
    Hibernation,
    /// Its flag was lowered.
    Awaken,
    /// Somebody began a round.
    NewRound,
}

impl Occasion {
    /// Whether the number is submitted however little it moved.
    pub(crate) fn ignores_thresholds(self) -> bool {
        match self {
            Self::Initial | Self::Poll | Self::Timeout => false,
            Self::Idle
            | Self::Retry
            | Self::Drumbeat
            | Self::Hibernation
            | Self::Awaken
            | Self::NewRound => true,
        }
    }

    /// Whether it is repeated, later and later, until there is a round.
    pub(crate) fn insists(self) -> bool {
        matches!(self, Self::Idle | Self::Retry)
    }

    /// For people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "first look",
            Self::Poll => "poll timer",
            Self::Idle => "idle timer",
            Self::Retry => "retry of the idle timer",
            Self::Drumbeat => "drumbeat",
            Self::Timeout => "timed-out round",
            Self::Hibernation => "hibernation timer",
            Self::Awaken => "lowered flag",
            Self::NewRound => "new round",
        }
    }
}

/// What a run is asked to do with the number it finds: its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) occasion: Occasion,
    pub(crate) round: u32,
    /// The key that submits.
    pub(crate) oracle: Address,
}

impl Asked {
    /// From a run's inputs; `None`: nothing is to be done with its result.
    pub(crate) fn read(purpose: &serde_json::Value) -> anyhow::Result<Option<Self>> {
        serde_json::from_value(purpose.clone()).context("the run's purpose cannot be read")
    }
}
