//! Keys of one chain about sending transactions and what they may cost.

use super::Key;
use crate::config::value::Kind::{self, *};

const ANY: Kind = Kind::Int {
    min: 0,
    max: u64::MAX,
};
const U32: Kind = Int {
    min: 0,
    max: u32::MAX as u64,
};
const GAS: Kind = Int {
    min: 1,
    max: u64::MAX,
};

/// 2^256 - 1: no limit.
const NO_LIMIT: &str =
    "115792089237316195423570985008687907853269984665.640564039457584007913129639935 tether";

pub(super) fn keys() -> Vec<Key> {
    let mut keys = transactions();
    keys.extend(gas());
    keys
}

fn transactions() -> Vec<Key> {
    vec![
        Key::new(
            "EVM.Transactions.Enabled",
            Bool,
            "true",
            "Whether transactions are sent; this version refuses `false`, because it \
             cannot follow a chain without answering.",
        ),
        Key::new(
            "EVM.Transactions.MaxInFlight",
            U32,
            "16",
            "Transactions of one key that are sent and not yet mined; 0 sets no limit.",
        )
        .old(&["ETH_MAX_IN_FLIGHT_TRANSACTIONS"]),
        Key::new(
            "EVM.Transactions.MaxQueued",
            ANY,
            "250",
            "Transactions of one key that wait to be sent; 0 sets no limit.",
        )
        .old(&["ETH_MAX_QUEUED_TRANSACTIONS"]),
        Key::new(
            "EVM.Transactions.ResendAfterThreshold",
            Duration,
            "1m",
            "A transaction not mined for this long is sent again; 0 switches that off.",
        )
        .old(&["ETH_TX_RESEND_AFTER_THRESHOLD"]),
        Key::new("EVM.Transactions.ReaperInterval", Duration, "1h", "")
            .old(&["ETH_TX_REAPER_INTERVAL"])
            .without_effect(
                "old transactions are removed together with old runs, see \
             JobPipeline.ReaperInterval",
            ),
        Key::new(
            "EVM.Transactions.ReaperThreshold",
            Duration,
            "168h",
            "Age beyond which finished transactions are removed; 0 keeps them.",
        )
        .old(&["ETH_TX_REAPER_THRESHOLD"]),
        Key::new("EVM.Transactions.ConfirmationTimeout", Duration, "1m", "").without_effect(
            "a transaction that is not mined in time is sent again, see \
             ResendAfterThreshold",
        ),
        Key::new("EVM.Transactions.ForwardersEnabled", Bool, "false", "")
            .old(&["ETH_USE_FORWARDERS"])
            .without_effect(
                "forwarders are not part of this version: transactions go to the oracle \
             contract itself",
            ),
    ]
}

fn gas() -> Vec<Key> {
    let modes = Choice(&[
        "BlockHistory",
        "FixedPrice",
        "SuggestedPrice",
        "L2Suggested",
        "Arbitrum",
        "FeeHistory",
    ]);
    let mut keys = vec![
        Key::new(
            "EVM.GasEstimator.Mode",
            modes,
            "BlockHistory",
            "Where the price of gas is learned from; this version takes all modes but \
             `FixedPrice` for `BlockHistory`.",
        )
        .old(&["GAS_ESTIMATOR_MODE"]),
        Key::new(
            "EVM.GasEstimator.EIP1559DynamicFees",
            Bool,
            "false",
            "Sends transactions with a fee cap and a tip.",
        )
        .old(&["EVM_EIP1559_DYNAMIC_FEES"]),
        Key::new(
            "EVM.GasEstimator.PriceDefault",
            Wei,
            "20 gwei",
            "Price of a legacy transaction when nothing better is known, in wei.",
        )
        .old(&["ETH_GAS_PRICE_DEFAULT"]),
        Key::new(
            "EVM.GasEstimator.PriceMin",
            Wei,
            "1 gwei",
            "Lowest price ever offered, in wei.",
        )
        .old(&["ETH_MIN_GAS_PRICE_WEI"]),
        Key::new(
            "EVM.GasEstimator.PriceMax",
            Wei,
            NO_LIMIT,
            "Highest price or fee cap ever offered, in wei.",
        )
        .old(&["ETH_MAX_GAS_PRICE_WEI"]),
        Key::new(
            "EVM.GasEstimator.LimitDefault",
            GAS,
            "500000",
            "Gas a transaction may use.",
        )
        .old(&["ETH_GAS_LIMIT_DEFAULT"]),
        Key::new("EVM.GasEstimator.LimitMax", ANY, "500000", "")
            .old(&["ETH_GAS_LIMIT_MAX"])
            .without_effect("gas is not estimated by this version"),
        Key::new(
            "EVM.GasEstimator.LimitMultiplier",
            Float,
            "1.0",
            "Factor on the gas limit, for chains that price data apart.",
        )
        .old(&["ETH_GAS_LIMIT_MULTIPLIER"]),
        Key::new("EVM.GasEstimator.LimitTransfer", GAS, "21000", "")
            .old(&["ETH_GAS_LIMIT_TRANSFER"])
            .without_effect("this version makes no plain transfers"),
        Key::new(
            "EVM.GasEstimator.LimitJobType.DR",
            GAS,
            "",
            "Gas of answers to direct requests; nothing set means `LimitDefault`.",
        )
        .old(&["ETH_GAS_LIMIT_DR_JOB_TYPE"]),
        Key::new(
            "EVM.GasEstimator.LimitJobType.FM",
            GAS,
            "",
            "Gas of flux monitors' submissions; nothing set means `LimitDefault`.",
        )
        .old(&["ETH_GAS_LIMIT_FM_JOB_TYPE"]),
        Key::new("EVM.GasEstimator.EstimateLimit", Bool, "false", "")
            .without_effect("gas is not estimated by this version"),
        Key::new(
            "EVM.GasEstimator.BumpMin",
            Wei,
            "5 gwei",
            "Least amount by which a fee is raised, in wei.",
        )
        .old(&["ETH_GAS_BUMP_WEI"]),
        Key::new(
            "EVM.GasEstimator.BumpPercent",
            Int {
                min: 0,
                max: 65_535,
            },
            "20",
            "Percentage by which a fee is raised, at least 10.",
        )
        .old(&["ETH_GAS_BUMP_PERCENT"]),
        Key::new(
            "EVM.GasEstimator.BumpThreshold",
            U32,
            "3",
            "Blocks a transaction may wait before its fee is raised; 0 never raises it.",
        )
        .old(&["ETH_GAS_BUMP_THRESHOLD"]),
        Key::new("EVM.GasEstimator.BumpTxDepth", U32, "", "")
            .old(&["ETH_GAS_BUMP_TX_DEPTH"])
            .without_effect("every transaction that waits too long is raised"),
        Key::new(
            "EVM.GasEstimator.FeeCapDefault",
            Wei,
            "100 gwei",
            "Fee cap when nothing better is known, in wei.",
        )
        .old(&["EVM_GAS_FEE_CAP_DEFAULT"]),
        Key::new(
            "EVM.GasEstimator.TipCapDefault",
            Wei,
            "1 wei",
            "Tip when nothing better is known, in wei.",
        )
        .old(&["EVM_GAS_TIP_CAP_DEFAULT"]),
        Key::new(
            "EVM.GasEstimator.TipCapMin",
            Wei,
            "1 wei",
            "Least tip ever offered, in wei.",
        )
        .old(&["EVM_GAS_TIP_CAP_MINIMUM"]),
        Key::new("EVM.GasEstimator.SenderAddress", Address, "", "")
            .without_effect("gas is estimated for the key that sends"),
        Key::new(
            "EVM.GasEstimator.BlockHistory.BlockHistorySize",
            Int {
                min: 0,
                max: 65_535,
            },
            "8",
            "Blocks whose prices are looked at.",
        )
        .old(&[
            "BLOCK_HISTORY_ESTIMATOR_BLOCK_HISTORY_SIZE",
            "GAS_UPDATER_BLOCK_HISTORY_SIZE",
        ]),
        Key::new(
            "EVM.GasEstimator.BlockHistory.TransactionPercentile",
            Int { min: 0, max: 100 },
            "60",
            "Which of those prices is offered, in percent from the cheapest.",
        )
        .old(&[
            "BLOCK_HISTORY_ESTIMATOR_TRANSACTION_PERCENTILE",
            "GAS_UPDATER_TRANSACTION_PERCENTILE",
        ]),
        Key::new(
            "EVM.GasEstimator.BlockHistory.EIP1559FeeCapBufferBlocks",
            U32,
            "",
            "Full blocks that the fee cap should survive; nothing set means one more \
             than `BumpThreshold`.",
        )
        .old(&["BLOCK_HISTORY_ESTIMATOR_EIP1559_FEE_CAP_BUFFER_BLOCKS"]),
        Key::new("EVM.GasEstimator.BlockHistory.BatchSize", U32, "25", "")
            .old(&[
                "BLOCK_HISTORY_ESTIMATOR_BATCH_SIZE",
                "GAS_UPDATER_BATCH_SIZE",
            ])
            .without_effect("blocks are fetched as they come"),
        Key::new(
            "EVM.GasEstimator.BlockHistory.CheckInclusionBlocks",
            U32,
            "12",
            "",
        )
        .old(&["BLOCK_HISTORY_ESTIMATOR_CHECK_INCLUSION_BLOCKS"])
        .without_effect(
            "a transaction that is not mined at a good price is reported, not guessed \
             about",
        ),
        Key::new(
            "EVM.GasEstimator.BlockHistory.CheckInclusionPercentile",
            U32,
            "90",
            "",
        )
        .old(&["BLOCK_HISTORY_ESTIMATOR_CHECK_INCLUSION_PERCENTILE"])
        .without_effect(
            "a transaction that is not mined at a good price is reported, not guessed \
             about",
        ),
    ];
    let other_jobs = [
        ("OCR", &["ETH_GAS_LIMIT_OCR_JOB_TYPE"][..]),
        ("OCR2", &["ETH_GAS_LIMIT_OCR2_JOB_TYPE"]),
        ("VRF", &["ETH_GAS_LIMIT_VRF_JOB_TYPE"]),
        ("Keeper", &["ETH_GAS_LIMIT_KEEPER_JOB_TYPE"]),
    ];
    for (job, variables) in other_jobs {
        let key = Key::new(&format!("EVM.GasEstimator.LimitJobType.{job}"), U32, "", "");
        keys.push(
            key.old(variables)
                .without_effect("jobs of this type are not part of this node"),
        );
    }
    keys
}
