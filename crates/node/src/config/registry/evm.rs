//! Keys of one chain: `[[EVM]]` and what stands below it.
//!
//! The defaults here are those of an unknown chain; `chains.toml` beside this
//! directory says what known chains do otherwise.

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
const POSITIVE: Kind = Int {
    min: 1,
    max: u32::MAX as u64,
};

/// The words for chains that are not quite like Ethereum.
pub(super) const CHAIN_TYPES: &[&str] = &[
    "arbitrum",
    "astar",
    "celo",
    "gnosis",
    "hedera",
    "kroma",
    "mantle",
    "metis",
    "optimismBedrock",
    "pharos",
    "rootstock",
    "scroll",
    "sei",
    "tron",
    "wemix",
    "xdai",
    "xlayer",
    "zircuit",
    "zkevm",
    "zksync",
];

pub(super) fn keys() -> Vec<Key> {
    let mut keys = chain();
    keys.extend(nodes());
    keys.extend(super::gas::keys());
    keys.extend(node_pool());
    keys.extend(head_tracker());
    keys.extend(key_specific());
    keys
}

fn chain() -> Vec<Key> {
    vec![
        Key::new(
            "EVM.ChainID",
            ChainId,
            "",
            "The chain's number as EIP-155 knows it; required, and unique in the file.",
        )
        .old(&["ETH_CHAIN_ID"]),
        Key::new(
            "EVM.Enabled",
            Bool,
            "true",
            "Whether the node works on this chain.",
        )
        .old(&["EVM_ENABLED"]),
        Key::new(
            "EVM.ChainType",
            Choice(CHAIN_TYPES),
            "",
            "Word for chains that are not quite like Ethereum; a known chain has its \
             own and refuses another.",
        )
        .old(&["CHAIN_TYPE", "LAYER_2_TYPE"]),
        Key::new(
            "EVM.MinIncomingConfirmations",
            U32,
            "3",
            "Blocks that must hold a request before it is answered, its own counted; \
             0 counts as 1, and a job may ask for more.",
        )
        .old(&["MIN_INCOMING_CONFIRMATIONS"]),
        Key::new(
            "EVM.MinContractPayment",
            Link,
            "10000000000000 juels",
            "Requests that pay less are not answered, in juels or `link`; a job may \
             ask for another minimum.",
        )
        .old(&["MINIMUM_CONTRACT_PAYMENT_LINK_JUELS"]),
        Key::new(
            "EVM.FinalityDepth",
            POSITIVE,
            "50",
            "Blocks after which a block counts as final where the tag is not used.",
        )
        .old(&["ETH_FINALITY_DEPTH"]),
        Key::new(
            "EVM.FinalityTagEnabled",
            Bool,
            "false",
            "Trusts the chain's own `finalized` tag.",
        ),
        Key::new(
            "EVM.FinalizedBlockOffset",
            U32,
            "0",
            "Blocks by which the final block is taken to be older than the tag says.",
        ),
        Key::new("EVM.SafeDepth", U32, "0", "").without_effect("the `safe` tag is not used"),
        Key::new("EVM.SafeTagSupported", Bool, "true", "")
            .without_effect("the `safe` tag is not used"),
        Key::new(
            "EVM.BlockBackfillDepth",
            ANY,
            "10",
            "Blocks before the newest in which requests are looked for at the first \
             start.",
        )
        .old(&["BLOCK_BACKFILL_DEPTH"]),
        Key::new(
            "EVM.BlockBackfillSkip",
            Bool,
            "false",
            "Does not look for requests made while the node was down.",
        )
        .old(&["BLOCK_BACKFILL_SKIP"]),
        Key::new(
            "EVM.LogBackfillBatchSize",
            POSITIVE,
            "1000",
            "Blocks asked for in one `eth_getLogs`.",
        )
        .old(&["ETH_LOG_BACKFILL_BATCH_SIZE"]),
        Key::new(
            "EVM.RPCDefaultBatchSize",
            POSITIVE,
            "250",
            "Calls put into one batch request.",
        )
        .old(&["ETH_RPC_DEFAULT_BATCH_SIZE", "ETH_DEFAULT_BATCH_SIZE"]),
        Key::new(
            "EVM.LinkContractAddress",
            Address,
            "",
            "The chain's LINK token.",
        )
        .old(&["LINK_CONTRACT_ADDRESS"]),
        Key::new("EVM.OperatorFactoryAddress", Address, "", "")
            .old(&["OPERATOR_FACTORY_ADDRESS"])
            .without_effect("forwarders are not part of this version"),
        Key::new(
            "EVM.FlagsContractAddress",
            Address,
            "",
            "The chain's Flags contract. While a flux monitor's aggregator is flagged there (and zero is), the job \
             hibernates: it looks once a day and otherwise only answers rounds that others begin.",
        )
        .old(&["FLAGS_CONTRACT_ADDRESS"]),
        Key::new(
            "EVM.AutoCreateKey",
            Bool,
            "true",
            "Creates a sending key at start when the chain has none.",
        ),
        Key::new(
            "EVM.NonceAutoSync",
            Bool,
            "true",
            "Takes the chain's nonce when it is ahead of the database's.",
        )
        .old(&["ETH_NONCE_AUTO_SYNC"]),
        Key::new(
            "EVM.NoNewHeadsThreshold",
            Duration,
            "3m",
            "An endpoint without a higher block for this long is left; 0 switches \
             that off.",
        )
        .old(&[
            "NODE_NO_NEW_HEADS_THRESHOLD",
            "BLOCK_EMISSION_IDLE_WARNING_THRESHOLD",
        ]),
        Key::new("EVM.NoNewFinalizedHeadsThreshold", Duration, "0", "")
            .without_effect("endpoints are not judged by their finalized block in this version"),
        Key::new(
            "EVM.BalanceMonitor.Enabled",
            Bool,
            "true",
            "Watches the native balance of the sending keys.",
        )
        .old(&["BALANCE_MONITOR_ENABLED"]),
        Key::new("EVM.RPCBlockQueryDelay", U32, "1", "")
            .old(&[
                "BLOCK_HISTORY_ESTIMATOR_BLOCK_DELAY",
                "GAS_UPDATER_BLOCK_DELAY",
            ])
            .without_effect(
                "a block is asked for by its hash, and asked for again while a client \
             does not have it",
            ),
        Key::new("EVM.LogPollInterval", Duration, "15s", "")
            .old(&["ETH_LOG_POLL_INTERVAL"])
            .without_effect("every block's logs are fetched as it comes"),
        Key::new("EVM.LogKeepBlocksDepth", U32, "100000", "")
            .old(&["ETH_LOG_KEEP_BLOCKS_DEPTH"])
            .without_effect("logs are kept with their requests"),
        Key::new("EVM.LogPrunePageSize", U32, "0", "")
            .without_effect("logs are kept with their requests"),
        Key::new("EVM.BackupLogPollerBlockDelay", U32, "100", "")
            .without_effect("every block's logs are fetched as it comes"),
        Key::new("EVM.LogBroadcasterEnabled", Bool, "true", "")
            .without_effect("requests are always looked for"),
    ]
}

fn nodes() -> Vec<Key> {
    vec![
        Key::new(
            "EVM.Nodes.Name",
            Text,
            "",
            "Name of the endpoint; required, and unique over all chains.",
        ),
        Key::new(
            "EVM.Nodes.WSURL",
            Url(&["ws", "wss"]),
            "",
            "WebSocket address, for word of new blocks; without it the node polls \
             over `HTTPURL`.",
        ),
        Key::new(
            "EVM.Nodes.HTTPURL",
            Url(&["http", "https"]),
            "",
            "HTTP address, for all calls; needed where `WSURL` is missing and for \
             send-only endpoints.",
        ),
        Key::new(
            "EVM.Nodes.HTTPURLExtraWrite",
            Url(&["http", "https"]),
            "",
            "A second HTTP address that transactions are sent to.",
        ),
        Key::new(
            "EVM.Nodes.SendOnly",
            Bool,
            "false",
            "Is given transactions and asked nothing.",
        ),
        Key::new(
            "EVM.Nodes.Order",
            Int { min: 1, max: 100 },
            "100",
            "Preference among equals; the lowest is preferred.",
        ),
        Key::new("EVM.Nodes.IsLoadBalancedRPC", Bool, "false", "")
            .without_effect("an endpoint that falls behind is always connected to anew"),
    ]
}

fn node_pool() -> Vec<Key> {
    let modes = Choice(&[
        "HighestHead",
        "RoundRobin",
        "PriorityLevel",
        "TotalDifficulty",
        "RandomRPC",
    ]);
    let mut keys = vec![
        Key::new(
            "EVM.NodePool.PollInterval",
            Duration,
            "10s",
            "How often an endpoint is asked whether it is alive; 0 never asks.",
        )
        .old(&["NODE_POLL_INTERVAL"]),
        Key::new(
            "EVM.NodePool.PollFailureThreshold",
            U32,
            "5",
            "Failed questions after which an endpoint is left; 0 never leaves it.",
        )
        .old(&["NODE_POLL_FAILURE_THRESHOLD"]),
        Key::new(
            "EVM.NodePool.SyncThreshold",
            U32,
            "5",
            "Blocks an endpoint may lag behind the best; 0 sets no limit.",
        )
        .old(&["NODE_SYNC_THRESHOLD"]),
        Key::new(
            "EVM.NodePool.NewHeadsPollInterval",
            Duration,
            "0s",
            "Asks for new blocks this often instead of being told; 0 prefers to be told.",
        ),
        Key::new("EVM.NodePool.SelectionMode", modes, "HighestHead", "")
            .old(&["NODE_SELECTION_MODE"])
            .without_effect(
                "endpoints that have the block are asked: the lowest `Order` first, among equals the quicker ones",
            ),
        Key::new("EVM.NodePool.VerifyChainID", Bool, "true", "")
            .without_effect("the chain of an endpoint is always verified"),
        Key::new("EVM.NodePool.NodeIsSyncingEnabled", Bool, "false", "")
            .without_effect("an endpoint that syncs shows by its lag"),
        Key::new(
            "EVM.NodePool.FinalizedBlockPollInterval",
            Duration,
            "5s",
            "",
        )
        .without_effect("the final block is asked for with each new block"),
        Key::new("EVM.NodePool.EnforceRepeatableRead", Bool, "true", "")
            .without_effect("a caller never sees the chain go backwards"),
        Key::new("EVM.NodePool.DeathDeclarationDelay", Duration, "1m", "")
            .without_effect("an endpoint's state is shown as it is"),
        Key::new("EVM.NodePool.LeaseDuration", Duration, "0s", "")
            .without_effect("the best endpoint is chosen anew for every call"),
        Key::new("EVM.NodePool.PollSuccessThreshold", U32, "0", "")
            .without_effect("one good answer brings an endpoint back"),
        Key::new(
            "EVM.NodePool.ExternalRequestMaxResponseSize",
            ANY,
            "50000",
            "",
        )
        .without_effect("workflows are not part of this node"),
    ];
    let classes = [
        "NonceTooLow",
        "NonceTooHigh",
        "ReplacementTransactionUnderpriced",
        "LimitReached",
        "TransactionAlreadyInMempool",
        "TerminallyUnderpriced",
        "InsufficientEth",
        "TxFeeExceedsCap",
        "L2FeeTooLow",
        "L2FeeTooHigh",
        "L2Full",
        "TransactionAlreadyMined",
        "Fatal",
        "ServiceUnavailable",
        "TooManyResults",
        "MissingBlocks",
    ];
    let doc = "Pattern for a client's own words for this answer, tried before the built-in ones.";
    keys.extend(
        classes.map(|class| Key::new(&format!("EVM.NodePool.Errors.{class}"), Text, "", doc)),
    );
    keys
}

fn head_tracker() -> Vec<Key> {
    let why = "blocks are followed by their parent hashes, as deep as a reorganisation goes";
    let keys: [(&str, Kind, &str, &[&str]); 7] = [
        (
            "HistoryDepth",
            U32,
            "100",
            &["ETH_HEAD_TRACKER_HISTORY_DEPTH"],
        ),
        (
            "MaxBufferSize",
            U32,
            "3",
            &["ETH_HEAD_TRACKER_MAX_BUFFER_SIZE"],
        ),
        (
            "SamplingInterval",
            Duration,
            "1s",
            &["ETH_HEAD_TRACKER_SAMPLING_INTERVAL"],
        ),
        ("FinalityTagBypass", Bool, "false", &[]),
        ("MaxAllowedFinalityDepth", U32, "10000", &[]),
        ("PersistenceEnabled", Bool, "true", &[]),
        ("PersistenceBatchSize", U32, "100", &[]),
    ];
    keys.into_iter()
        .map(|(name, kind, default, variables)| {
            Key::new(&format!("EVM.HeadTracker.{name}"), kind, default, "")
                .old(variables)
                .without_effect(why)
        })
        .collect()
}

fn key_specific() -> Vec<Key> {
    vec![
        Key::new(
            "EVM.KeySpecific.Key",
            Address,
            "",
            "Address of the sending key that this entry is about; unique.",
        ),
        Key::new(
            "EVM.KeySpecific.GasEstimator.PriceMax",
            Wei,
            "",
            "Highest price or fee cap that this key offers, in wei.",
        ),
    ]
}
