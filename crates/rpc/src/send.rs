//! What an endpoint said to a signed transaction, and what the pool makes of several answers.

use std::sync::Arc;

/// One endpoint's verdict about a signed transaction, or the pool's combined one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// It is in the endpoint's pool now.
    Accepted,
    /// It was there before: as good as accepted.
    AlreadyKnown,
    /// The nonce is used on chain, by this very transaction or by another one: look which.
    NonceTooLow,
    /// The endpoint takes no gaps: an earlier nonce has to come first.
    NonceTooHigh,
    /// Another transaction with this nonce waits there and we do not pay enough to replace it.
    /// Not a success.
    ReplacementUnderpriced,
    /// Below the endpoint's minimum or the base fee: bump and send again.
    Underpriced,
    /// The chain's own fee rules refuse it (Arbitrum, Metis): estimate anew and send again.
    FeeOutOfRange,
    /// The endpoint's pool is full: send again later. Not a success.
    PoolFull,
    /// The account cannot pay for it.
    InsufficientFunds,
    /// The endpoint's own fee cap (geth: 1 ether) refuses it.
    ExceedsNodeFeeCap,
    /// As signed it can never be mined. The endpoint's words.
    Fatal(String),
    /// Time-out, no connection, 503 and the like: the same bytes again, later.
    Retryable(String),
    /// The chain will never include it (zkEVM counters and the like).
    TerminallyStuck(String),
    /// A fee error of an L2 on a chain not configured as one.
    Unsupported(String),
    /// Words we have no meaning for; counted and shown to the operator.
    Unknown(String),
}

impl SendOutcome {
    /// The transaction is in a pool, or was.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Accepted | Self::AlreadyKnown)
    }
}

/// What became of sending one transaction to all endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReport {
    pub outcome: SendOutcome,
    /// The answers that had come when `outcome` was decided, by endpoint name, send-only ones too.
    pub per_node: Vec<(Arc<str>, SendOutcome)>,
    /// The words of the endpoint whose refusal decided; none if it was taken, or nobody answered.
    pub refusal: Option<SendRefusal>,
}

/// An endpoint's own words for not taking a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendRefusal {
    pub code: i64,
    pub message: String,
    /// As text: a JSON string without its quotes, anything else as JSON.
    pub data: Option<String>,
}

impl SendOutcome {
    /// How much this answer weighs against another one about the same transaction; the lowest
    /// decides. Successes win; then what the caller has to act on, in a fixed order, so that the
    /// result never depends on who answered first.
    fn rank(&self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::AlreadyKnown => 1,
            Self::NonceTooLow => 2,
            Self::Fatal(_) => 3,
            Self::Underpriced => 4,
            Self::ReplacementUnderpriced => 5,
            Self::Unsupported(_) => 6,
            Self::ExceedsNodeFeeCap => 7,
            Self::FeeOutOfRange => 8,
            Self::Unknown(_) => 9,
            Self::InsufficientFunds => 10,
            Self::TerminallyStuck(_) => 11,
            Self::NonceTooHigh => 12,
            Self::PoolFull => 13,
            Self::Retryable(_) => 14,
        }
    }

    /// A verdict about the transaction itself rather than about the moment.
    pub(crate) fn is_severe(&self) -> bool {
        (3..=11).contains(&self.rank())
    }

    /// Whether this answer decides over another one.
    pub(crate) fn outweighs(&self, other: &Self) -> bool {
        self.rank() < other.rank()
    }
}

/// What several endpoints' answers mean together; none if there are none.
///
/// For whoever sent it and acts on it: what calls for the most is the answer, whoever says it. A
/// stranger behind the gateway, who cannot look, gets what most say instead, and else what is least
/// final (`gateway::send::decide`); the two rules differ in every case of disagreement.
pub(crate) fn combine<'a>(
    answers: impl IntoIterator<Item = &'a SendOutcome>,
) -> Option<SendOutcome> {
    answers
        .into_iter()
        .min_by_key(|outcome| outcome.rank())
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use SendOutcome::*;

    fn all() -> Vec<SendOutcome> {
        let text = || "x".to_owned();
        vec![
            Accepted,
            AlreadyKnown,
            NonceTooLow,
            Fatal(text()),
            Underpriced,
            ReplacementUnderpriced,
            Unsupported(text()),
            ExceedsNodeFeeCap,
            FeeOutOfRange,
            Unknown(text()),
            InsufficientFunds,
            TerminallyStuck(text()),
            NonceTooHigh,
            PoolFull,
            Retryable(text()),
        ]
    }

    #[test]
    fn the_combined_result_does_not_depend_on_the_order_of_arrival() {
        for (a, first) in all().iter().enumerate() {
            for (b, second) in all().iter().enumerate() {
                let expected = &all()[a.min(b)];
                assert_eq!(combine([first, second]).as_ref(), Some(expected));
                assert_eq!(first.outweighs(second), a < b);
            }
        }
        assert_eq!(combine([]), None);
    }

    #[test]
    fn any_success_wins_and_only_verdicts_about_the_transaction_are_severe() {
        for other in all() {
            assert_eq!(combine([&other, &Accepted]), Some(Accepted));
        }
        let severe: Vec<_> = all().into_iter().filter(SendOutcome::is_severe).collect();
        assert_eq!(severe.first(), Some(&Fatal("x".to_owned())));
        assert_eq!(severe.last(), Some(&TerminallyStuck("x".to_owned())));
        assert_eq!(severe.len(), 9);
    }
}
