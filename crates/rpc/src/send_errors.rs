//! The words of all clients for a refused transaction, as one table.

/// The classes an operator can extend with patterns of their own (`NodePool.Errors.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    NonceTooLow,
    NonceTooHigh,
    ReplacementTransactionUnderpriced,
    LimitReached,
    TransactionAlreadyInMempool,
    TerminallyUnderpriced,
    InsufficientEth,
    TxFeeExceedsCap,
    L2FeeTooLow,
    L2FeeTooHigh,
    L2Full,
    TransactionAlreadyMined,
    TerminallyStuck,
    Fatal,
    ServiceUnavailable,
    TooManyResults,
    MissingBlocks,
}
