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
            "no upstream took the transaction; sending the same bytes again is safe",
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
