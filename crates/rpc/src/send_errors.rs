//! The words of all clients for a refused transaction, as one table.
//!
//! The tables of all clients are tried on every chain, because an endpoint's brand is not known
//! and proxies mix them. Order matters: the first class that matches wins. Letter case does not
//! matter, and a text may carry a prefix (`err: `) and a suffix (`: next nonce 5, tx nonce 3`).

use std::str::FromStr;

use regex::{Regex, RegexBuilder};

use crate::config::SendErrorOverride;
use crate::send::SendOutcome;

/// The classes an operator can extend with patterns of their own (`NodePool.Errors.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    Fatal,
    NonceTooLow,
    TransactionAlreadyMined,
    ReplacementTransactionUnderpriced,
    TransactionAlreadyInMempool,
    LimitReached,
    TerminallyUnderpriced,
    L2FeeTooLow,
    L2FeeTooHigh,
    L2Full,
    NonceTooHigh,
    InsufficientEth,
    ServiceUnavailable,
    TxFeeExceedsCap,
    TerminallyStuck,
    /// Not about sending: `eth_getLogs` over too many blocks.
    TooManyResults,
    /// Not about sending: the endpoint does not have the block.
    MissingBlocks,
}

impl ErrorClass {
    /// The names used in `NodePool.Errors`.
    const NAMES: [(&'static str, Self); 16] = [
        ("NonceTooLow", Self::NonceTooLow),
        ("NonceTooHigh", Self::NonceTooHigh),
        (
            "ReplacementTransactionUnderpriced",
            Self::ReplacementTransactionUnderpriced,
        ),
        ("LimitReached", Self::LimitReached),
        (
            "TransactionAlreadyInMempool",
            Self::TransactionAlreadyInMempool,
        ),
        ("TerminallyUnderpriced", Self::TerminallyUnderpriced),
        ("InsufficientEth", Self::InsufficientEth),
        ("TxFeeExceedsCap", Self::TxFeeExceedsCap),
        ("L2FeeTooLow", Self::L2FeeTooLow),
        ("L2FeeTooHigh", Self::L2FeeTooHigh),
        ("L2Full", Self::L2Full),
        ("TransactionAlreadyMined", Self::TransactionAlreadyMined),
        ("Fatal", Self::Fatal),
        ("ServiceUnavailable", Self::ServiceUnavailable),
        ("TooManyResults", Self::TooManyResults),
        ("MissingBlocks", Self::MissingBlocks),
    ];
}

impl FromStr for ErrorClass {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, class)| *class)
            .ok_or_else(|| format!("NodePool.Errors knows no class {name:?}"))
    }
}

/// A lower-case text looked for at the beginning of a word.
enum Text {
    /// Anywhere.
    Has(&'static str),
    /// The whole message, or all of it behind a `: `.
    Is(&'static str),
    /// The first anywhere, and the second behind it.
    Then(&'static str, &'static str),
}
use Text::{Has, Is, Then};

/// Every class in the order it is tried, with its texts. Names in comments say whose they are.
const TABLE: &[(ErrorClass, &[Text])] = &[
    (
        ErrorClass::Fatal,
        &[
            // geth, erigon, reth, anvil
            Has("intrinsic gas too low"),
            Has("intrinsic gas too high"),
            Has("insufficient gas for floor data gas cost"),
            Has("exceeds block gas limit"),
            Has("transaction gas limit too high"),
            Has("exceeds max transaction gas limit"),
            Has("invalid sender"),
            Has("negative value"),
            Has("oversized data"),
            Has("gas uint64 overflow"),
            Has("max priority fee per gas higher than max fee per gas"),
            Has("transaction type not supported"),
            Has("invalid chain id for signer"),
            // Nethermind
            Has("senderiscontract"),
            Is("invalid"),
            Has("invalid, transaction hash is null"),
            Has("int256overflow"),
            Has("failedtoresolvesender"),
            Has("gaslimitexceeded"),
            // Besu
            Has("intrinsic gas exceeds gas limit"),
            Has("transaction gas limit exceeds block gas limit"),
            Has("transaction gas limit cap exceeded"),
            Has("invalid signature"),
            Has("wrong chainid"),
            Has("max priority fee per gas exceeds max fee per gas"),
            // Arbitrum
            Has("invalid message format"),
            Has("forbidden sender address"),
            Has("execution reverted"),
            // zkSync
            Has("not enough gas for transaction validation"),
        ],
    ),
    (
        ErrorClass::NonceTooLow,
        &[
            Has("nonce too low"),
            Has("oldnonce"),
            // OpenEthereum, Arbitrum, Substrate
            Has("nonce is too low"),
            Has("invalid transaction nonce"),
            Has("pool(stale)"),
        ],
    ),
    // Harmony
    (
        ErrorClass::TransactionAlreadyMined,
        &[Has("transaction already finalized")],
    ),
    (
        ErrorClass::ReplacementTransactionUnderpriced,
        &[
            Has("replacement transaction underpriced"),
            Has("future transaction tries to replace pending"),
            Has("replacementnotallowed"),
            // Erigon
            Has("could not replace existing tx"),
            // OpenEthereum, Klaytn
            Has("there is another transaction with same nonce in the queue"),
            Has("there is another tx which has the same nonce in the tx pool"),
        ],
    ),
    (
        ErrorClass::TransactionAlreadyInMempool,
        &[
            Has("already known"),
            Has("known transaction"),
            Has("alreadyknown"),
            Has("ownnoncealreadyused"),
            Has("transaction already imported"),
            // Erigon, OpenEthereum, zkSync, Substrate
            Has("existing txn with same hash"),
            Has("transaction with the same hash was already imported"),
            Has("already in the system"),
            Has("tx already in mempool"),
            Has("pool(alreadyimported)"),
        ],
    ),
    (
        ErrorClass::LimitReached,
        &[
            Has("txpool is full"),
            Has("sub-pool is full"),
            Has("account limit exceeded"),
            Has("in-flight transaction limit reached for delegated accounts"),
            // OpenEthereum
            Has("there are too many transactions in the queue"),
        ],
    ),
    (
        ErrorClass::TerminallyUnderpriced,
        &[
            Has("transaction underpriced"),
            Has("transaction gas price below minimum"),
            Has("max fee per gas less than block base fee"),
            Has("fee cap less than block base fee"),
            // Nethermind
            Has("feetoolow"),
            // Besu
            Has("gas price below configured minimum gas price"),
            Has("gas price below current base fee"),
            // OpenEthereum, Arbitrum, Celo, Astar
            Has("does not satisfy your node's minimal gas price"),
            Is("gas price too low"),
            Has("gasprice is less than gas price minimum floor"),
            Has("gas price less than block base fee"),
        ],
    ),
    // Metis
    (
        ErrorClass::L2FeeTooLow,
        &[Then("gas price too low: ", "use at least tx.gasprice")],
    ),
    (
        ErrorClass::L2FeeTooHigh,
        &[Then("gas price too high: ", "use at most tx.gasprice")],
    ),
    // Arbitrum
    (
        ErrorClass::L2Full,
        &[Has("queue full"), Has("sequencer pending tx pool full")],
    ),
    (
        ErrorClass::NonceTooHigh,
        &[
            Has("nonce too high"),
            Has("gapped-nonce tx from delegated accounts"),
            Has("noncegap"),
            // Besu
            Has("transaction nonce is too distant from current sender nonce"),
            Has("an invalid transaction with a lower nonce exists"),
        ],
    ),
    (
        ErrorClass::InsufficientEth,
        &[
            Has("insufficient funds"),
            Has("insufficientfunds"),
            Has("insufficient balance for transfer"),
            Has("transaction would cause overdraft"),
            Has("transaction overdraws from account"),
            // Besu, Arbitrum
            Has("upfront cost exceeds account balance"),
            Has("not enough funds for gas"),
        ],
    ),
    (
        ErrorClass::ServiceUnavailable,
        &[
            // dodona gateway
            Has("no upstream took the transaction"),
            Has("502 bad gateway"),
            Has("503 service unavailable"),
            Has("504 gateway time"),
            Has("service unavailable"),
            Has("network is unreachable"),
            Has("i/o timeout"),
            Has("connection refused"),
            Has("connection reset"),
            Has("too many requests"),
            Has("rate limit"),
            Has("request timed out"),
            Has("timeout"),
            Has("context deadline exceeded"),
            Has("context canceled"),
        ],
    ),
    (
        ErrorClass::TxFeeExceedsCap,
        &[
            Then("tx fee (", "exceeds the configured cap"),
            Has("transaction fee cap exceeded"),
        ],
    ),
    // Polygon zkEVM
    (
        ErrorClass::TerminallyStuck,
        &[
            Then("not enough ", "counters to continue the execution"),
            Has("out of counters at node level"),
        ],
    ),
];

impl Text {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Has(text) => word_start(message, text).is_some(),
            Is(text) => {
                message == *text
                    || message
                        .strip_suffix(text)
                        .is_some_and(|before| before.ends_with(": "))
            }
            Then(first, second) => {
                word_start(message, first).is_some_and(|at| message[at..].contains(second))
            }
        }
    }
}

/// Where `text` begins in `message`, not in the middle of a word.
fn word_start(message: &str, text: &str) -> Option<usize> {
    message
        .match_indices(text)
        .map(|(at, _)| at)
        .find(|at| !message[..*at].ends_with(|before: char| before.is_ascii_alphanumeric()))
}

/// The operator's own patterns, ready to use.
#[derive(Default)]
pub(crate) struct Overrides(Vec<(ErrorClass, Regex)>);

impl Overrides {
    /// Compiles the patterns; the sentences say which cannot be.
    pub(crate) fn new(overrides: &[SendErrorOverride], problems: &mut Vec<String>) -> Self {
        let mut compiled = Vec::with_capacity(overrides.len());
        for SendErrorOverride { class, pattern } in overrides {
            match RegexBuilder::new(pattern).size_limit(1 << 20).build() {
                Ok(regex) => compiled.push((*class, regex)),
                Err(cause) => problems.push(format!(
                    "the pattern {pattern:?} for {class:?} is not a regular expression: {cause}"
                )),
            }
        }
        Self(compiled)
    }

    pub(crate) fn matches(&self, class: ErrorClass, message: &str) -> bool {
        self.0
            .iter()
            .any(|(of, regex)| *of == class && regex.is_match(message))
    }
}

/// The class of a message; the operator's patterns are tried before ours, class by class.
pub(crate) fn classify(message: &str, overrides: &Overrides) -> Option<ErrorClass> {
    let lower = message.to_lowercase();
    let lower = lower.trim();
    TABLE
        .iter()
        .find(|(class, texts)| {
            overrides.matches(*class, message) || texts.iter().any(|text| text.is_in(lower))
        })
        .map(|(class, _)| *class)
}

/// What an endpoint's refusal means on a chain of this type.
pub(crate) fn outcome(message: &str, chain_type: &str, overrides: &Overrides) -> SendOutcome {
    let words = || message.to_owned();
    match classify(message, overrides) {
        Some(ErrorClass::Fatal) => SendOutcome::Fatal(words()),
        Some(ErrorClass::NonceTooLow | ErrorClass::TransactionAlreadyMined) => {
            SendOutcome::NonceTooLow
        }
        Some(ErrorClass::ReplacementTransactionUnderpriced) => SendOutcome::ReplacementUnderpriced,
        Some(ErrorClass::TransactionAlreadyInMempool) => SendOutcome::AlreadyKnown,
        Some(ErrorClass::LimitReached) => SendOutcome::PoolFull,
        Some(ErrorClass::TerminallyUnderpriced) => SendOutcome::Underpriced,
        Some(ErrorClass::L2FeeTooLow | ErrorClass::L2FeeTooHigh | ErrorClass::L2Full) => {
            if matches!(chain_type, "arbitrum" | "metis") {
                SendOutcome::FeeOutOfRange
            } else {
                SendOutcome::Unsupported(words())
            }
        }
        Some(ErrorClass::NonceTooHigh) => SendOutcome::NonceTooHigh,
        Some(ErrorClass::InsufficientEth) => SendOutcome::InsufficientFunds,
        Some(ErrorClass::ServiceUnavailable) => SendOutcome::Retryable(words()),
        Some(ErrorClass::TxFeeExceedsCap) => SendOutcome::ExceedsNodeFeeCap,
        Some(ErrorClass::TerminallyStuck) => SendOutcome::TerminallyStuck(words()),
        Some(ErrorClass::TooManyResults | ErrorClass::MissingBlocks) | None => {
            SendOutcome::Unknown(words())
        }
    }
}

#[cfg(test)]
mod tests;
