//! What an endpoint said to a signed transaction, and what the pool makes of several answers.

use std::sync::Arc;

pub use crate::send_errors::ErrorClass;

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
}
