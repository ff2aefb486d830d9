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
mod tests {
    use super::*;
    use ErrorClass::*;

    /// Every text of the compatibility table, by client.
    const TEXTS: &[(ErrorClass, &[&str])] = &[
        (
            NonceTooLow,
            &[
                "nonce too low",
                "nonce too low: next nonce 5, tx nonce 3",
                "nonce too low: address 0xAb, tx: 3 state: 5",
                "err: nonce too low: address 0xAb, tx: 3 state: 5 (supplied gas 21000)",
                "OldNonce",
                "OldNonce, Current nonce: 22, nonce of rejected tx: 17",
                "Nonce too low",
                "Transaction nonce is too low. Try incrementing the nonce.",
                "invalid transaction nonce",
                "nonce too low: address 0x1 current nonce (10) > tx nonce (9)",
                "nonce too low. allowed nonce range: 427 - 447, actual: 426",
                "call failed: nonce too low",
                "'nonce too low'",
                "\"nonce too low\"",
                "Pool(Stale)",
            ],
        ),
        (TransactionAlreadyMined, &["transaction already finalized"]),
        (
            NonceTooHigh,
            &[
                "nonce too high",
                "nonce too high: address 0x1, tx: 9 state: 5",
                "gapped-nonce tx from delegated accounts",
                "NonceGap",
                "NonceGap, Future nonce. Expected nonce: 10",
                "Nonce too high",
                "Transaction nonce is too distant from current sender nonce",
                "An invalid transaction with a lower nonce exists",
                "nonce too high. allowed nonce range: 1 - 2, actual: 9",
            ],
        ),
        (
            TransactionAlreadyInMempool,
            &[
                "already known",
                "known transaction: 0x12",
                "block already known",
                "AlreadyKnown",
                "OwnNonceAlreadyUsed",
                "Known transaction",
                "transaction already imported",
                "existing txn with same hash",
                "Transaction with the same hash was already imported.",
                "known transaction. transaction with hash 0x1 is already in the system",
                "alreadyknown",
                "Pool(AlreadyImported)",
                "'already known'",
            ],
        ),
        (
            ReplacementTransactionUnderpriced,
            &[
                "replacement transaction underpriced",
                "Replacement transaction underpriced",
                "replacement transaction underpriced: new tx gas fee cap 1 <= 2 queued",
                "future transaction tries to replace pending",
                "ReplacementNotAllowed",
                "could not replace existing tx",
                "There is another transaction with same nonce in the queue",
                "Transaction gas price 1 wei is too low. There is another transaction with same nonce in the queue with gas price: 2 wei. Try increasing the gas price or incrementing the nonce.",
                "there is another tx which has the same nonce in the tx pool",
                "'replacement transaction underpriced'",
            ],
        ),
        (
            TerminallyUnderpriced,
            &[
                "transaction underpriced",
                "transaction underpriced: tip needed 1, tip permitted 0",
                "transaction gas price below minimum",
                "max fee per gas less than block base fee",
                "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 2",
                "FeeTooLow",
                "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 1",
                "FeeTooLowToCompete",
                "Gas price below configured minimum gas price",
                "Gas price below current base fee",
                "Transaction gas price is too low. It does not satisfy your node's minimal gas price (minimal: 100 got: 50). Try increasing the gas price.",
                "gas price too low",
                "gasprice is less than gas price minimum floor",
                "gas price less than block base fee",
            ],
        ),
        (
            LimitReached,
            &[
                "txpool is full",
                "account limit exceeded: pooled 64 txs",
                "in-flight transaction limit reached for delegated accounts",
                "pending sub-pool is full",
                "There are too many transactions in the queue. Your transaction was dropped due to limit. Try increasing the fee.",
            ],
        ),
        (
            InsufficientEth,
            &[
                "insufficient funds for gas * price + value",
                "insufficient funds for gas * price + value: balance 1, tx cost 2, overshot 1",
                "insufficient funds for gas * price + value: have 1 want 2",
                "Insufficient funds for gas * price + value",
                "insufficient funds for transfer",
                "insufficient funds",
                "insufficient balance for transfer",
                "transaction would cause overdraft",
                "transaction overdraws from account, balance: 1",
                "InsufficientFunds",
                "InsufficientFunds, Account balance: 4740799397601480913, cumulative cost: 22019342038993800000",
                "Upfront cost exceeds account balance",
                "not enough funds for gas",
                "insufficient funds for gas * price + value + gatewayFee",
                "Insufficient funds. The account you tried to send transaction from does not have enough funds. Required 1 and got: 0.",
            ],
        ),
        (
            TxFeeExceedsCap,
            &[
                "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)",
                "tx fee (1100000000000000000 wei) exceeds the configured cap (1000000000000000000 wei)",
                "Transaction fee cap exceeded",
            ],
        ),
        (
            Fatal,
            &[
                "intrinsic gas too low",
                "intrinsic gas too low: have 1, want 21000",
                "insufficient gas for floor data gas cost: gas 1, minimum needed 2",
                "exceeds block gas limit",
                "transaction gas limit too high (cap: 16777216, tx: 30000000)",
                "exceeds max transaction gas limit",
                "invalid sender",
                "negative value",
                "oversized data",
                "oversized data: transaction size 131073, limit 131072",
                "gas uint64 overflow",
                "max priority fee per gas higher than max fee per gas",
                "transaction type not supported",
                "invalid chain id for signer: have 1 want 2",
                "SenderIsContract",
                "Invalid",
                "Invalid, transaction Hash is null",
                "Int256Overflow",
                "FailedToResolveSender",
                "GasLimitExceeded",
                "GasLimitExceeded, Gas limit: 1, gas limit of rejected tx: 2",
                "Intrinsic gas exceeds gas limit",
                "Transaction gas limit exceeds block gas limit",
                "Transaction gas limit cap exceeded",
                "Invalid signature",
                "Wrong chainId",
                "Max priority fee per gas exceeds max fee per gas",
                "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit",
                "invalid chain id for signer",
                "invalid message format",
                "forbidden sender address",
                "execution reverted: error code",
                "Not enough gas for transaction validation",
            ],
        ),
        (
            ServiceUnavailable,
            &[
                "502 Bad Gateway: <html>",
                "503 Service Unavailable: <html>",
                "503 Service Unavailable: {\"error\":1}",
                "network is unreachable",
                "dial tcp: i/o timeout",
                "Connection refused (os error 111)",
                "read: connection reset by peer",
                "429 Too Many Requests",
                "context deadline exceeded",
                "context canceled",
            ],
        ),
        (
            L2FeeTooLow,
            &["gas price too low: 18000000000 wei, use at least tx.gasPrice = 19500000000 wei"],
        ),
        (
            L2FeeTooHigh,
            &["gas price too high: 42 wei, use at most tx.gasPrice = 7 wei"],
        ),
        (
            L2Full,
            &[
                "queue full",
                "sequencer pending tx pool full, please try again",
            ],
        ),
        (
            TerminallyStuck,
            &[
                "not enough keccak counters to continue the execution",
                "out of counters at node level (Steps)",
            ],
        ),
    ];

    #[test]
    fn every_known_text_of_every_client_is_classified_whatever_its_case_and_prefix() {
        for (class, texts) in TEXTS {
            for text in *texts {
                for variant in [
                    (*text).to_owned(),
                    text.to_uppercase(),
                    format!("failed to send: {text}"),
                    format!(" {text}\n"),
                ] {
                    assert_eq!(
                        classify(&variant, &Overrides::default()),
                        Some(*class),
                        "{variant}"
                    );
                }
            }
        }
    }

    #[test]
    fn words_we_do_not_know_stay_unknown() {
        for text in [
            "",
            "internal error",
            "unknown transaction",
            "Invalid params",
            "something invalid",
            "method not found",
        ] {
            assert_eq!(
                outcome(text, "", &Overrides::default()),
                SendOutcome::Unknown(text.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_refused_replacement_and_a_full_pool_are_no_successes() {
        let of = |text| outcome(text, "", &Overrides::default());
        assert_eq!(
            of("replacement transaction underpriced"),
            SendOutcome::ReplacementUnderpriced
        );
        assert_eq!(of("txpool is full"), SendOutcome::PoolFull);
        assert!(!of("replacement transaction underpriced").is_success());
        assert!(!of("txpool is full").is_success());
    }

    #[test]
    fn an_l2_fee_error_is_worth_a_new_estimate_only_on_such_chains() {
        for (chain_type, expected) in [
            ("arbitrum", SendOutcome::FeeOutOfRange),
            ("metis", SendOutcome::FeeOutOfRange),
            ("", SendOutcome::Unsupported("queue full".to_owned())),
        ] {
            assert_eq!(
                outcome("queue full", chain_type, &Overrides::default()),
                expected
            );
        }
    }

    #[test]
    fn the_operators_patterns_come_first_within_their_class_and_bad_ones_are_named() {
        let pattern = |class, pattern: &str| SendErrorOverride {
            class,
            pattern: pattern.to_owned(),
        };
        let mut problems = Vec::new();
        let overrides = Overrides::new(
            &[
                pattern(NonceTooLow, "(: |^)custom stale"),
                pattern(Fatal, "("),
            ],
            &mut problems,
        );
        assert_eq!(classify("err: custom stale", &overrides), Some(NonceTooLow));
        assert_eq!(classify("a custom stale", &overrides), None);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("\"(\" for Fatal"), "{problems:?}");
        assert_eq!("NonceTooLow".parse(), Ok(NonceTooLow));
        assert!("Nonce".parse::<ErrorClass>().is_err());
    }
}
