//! Old variables that stand for nothing any more.

/// Variables that do nothing here, with the reason.
pub(super) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "ADVISORY_LOCK_CHECK_INTERVAL",
        "there is no advisory lock, leaders hold a lease",
    ),
    (
        "ADVISORY_LOCK_ID",
        "there is no advisory lock, leaders hold a lease",
    ),
    (
        "GLOBAL_LOCK_RETRY_INTERVAL",
        "there is no advisory lock, leaders hold a lease",
    ),
    ("EXPLORER_ACCESS_KEY", "the explorer service was shut down"),
    ("EXPLORER_SECRET", "the explorer service was shut down"),
    (
        "OPERATOR_CONTRACT_ADDRESS",
        "the oracle contract is named in each job",
    ),
    (
        "MIN_OUTGOING_CONFIRMATIONS",
        "an `ethtx` task names its own minConfirmations",
    ),
    (
        "DEFAULT_HTTP_ALLOW_UNRESTRICTED_NETWORK_ACCESS",
        "an `http` task says allowUnrestrictedNetworkAccess=\"true\" itself",
    ),
    ("MAX_HTTP_ATTEMPTS", "a task names its own retries"),
    ("FEATURE_WEBHOOK_V2", "webhook jobs always run"),
    ("FEATURE_CRON_V2", "cron jobs always run"),
    ("FEATURE_FLUX_MONITOR", "flux monitor jobs always run"),
    ("FEATURE_FLUX_MONITOR_V2", "flux monitor jobs always run"),
    (
        "REPLAY_FROM_BLOCK",
        "the node finds the requests it has missed by itself",
    ),
    ("SOLANA_ENABLED", "only EVM chains are served"),
    ("SOLANA_NODES", "only EVM chains are served"),
    ("STARKNET_ENABLED", "only EVM chains are served"),
    ("STARKNET_NODES", "only EVM chains are served"),
    ("TERRA_ENABLED", "only EVM chains are served"),
    ("TERRA_NODES", "only EVM chains are served"),
    ("SENTRY_DSN", "this node sends no telemetry"),
    ("SENTRY_ENVIRONMENT", "this node sends no telemetry"),
    ("SENTRY_RELEASE", "this node sends no telemetry"),
    ("SENTRY_DEBUG", "this node sends no telemetry"),
    (
        "KEEPER_CHECK_UPKEEP_GAS_PRICE_FEATURE_ENABLED",
        "keeper jobs are not part of this node",
    ),
    (
        "KEEPER_MINIMUM_REQUIRED_CONFIRMATIONS",
        "keeper jobs are not part of this node",
    ),
    (
        "KEEPER_TURN_FLAG_ENABLED",
        "keeper jobs are not part of this node",
    ),
    (
        "OCR_MONITORING_ENDPOINT",
        "off-chain reporting is not part of this node",
    ),
    (
        "OCR2_MONITORING_ENDPOINT",
        "off-chain reporting is not part of this node",
    ),
    (
        "OCR_CAPTURE_EA_TELEMETRY",
        "off-chain reporting is not part of this node",
    ),
    (
        "OCR2_CAPTURE_EA_TELEMETRY",
        "off-chain reporting is not part of this node",
    ),
    (
        "STATS_PUSHER_LOGGING",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "MAXIMUM_SERVICE_DURATION",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "MINIMUM_SERVICE_DURATION",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "MINIMUM_REQUEST_EXPIRATION",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "ENABLE_EXPERIMENTAL_ADAPTERS",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "ENABLE_LEGACY_JOB_PIPELINE",
        "it belonged to jobs of the old JSON format",
    ),
    (
        "JOB_PIPELINE_MAX_TASK_DURATION",
        "a job names its own maxTaskDuration",
    ),
    ("JOB_PIPELINE_PARALLELISM", "see Dodona.MaxConcurrentRuns"),
    (
        "LOG_SQL_MIGRATIONS",
        "changes of the tables are always logged",
    ),
    (
        "CHAINLINK_TX_ATTEMPT_LIMIT",
        "all attempts of a transaction are kept",
    ),
    (
        "ETH_BALANCE_MONITOR_BLOCK_DELAY",
        "balances are read with each block",
    ),
    (
        "ETH_RECEIPT_FETCH_BATCH_SIZE",
        "see ETH_RPC_DEFAULT_BATCH_SIZE",
    ),
    ("OPTIMISM_GAS_FEES", "see GAS_ESTIMATOR_MODE"),
];
