//! From checked settings to the types the node works with.

use std::path::{Path, PathBuf};

use super::load::Inputs;
use super::registry::{CONFIG, SECRETS};
use super::tree::Table;
use super::types::*;
use super::view::View;

/// Below this no log file is written, as in the Chainlink node.
const SMALLEST_LOG_FILE_BYTES: u64 = 1_000_000;

/// Blocks looked at where a chain's settings say none.
const USUAL_BLOCK_HISTORY: u16 = 8;

/// Everything was checked: a missing value here is a slip of ours.
pub(super) fn config(
    effective: &Table,
    secrets: &Table,
    inputs: &Inputs,
    source: Source,
    notes: Vec<String>,
) -> Config {
    let view = View::new(effective, &CONFIG);
    let secrets = View::new(secrets, &SECRETS);
    let home = inputs.variable("HOME").map(PathBuf::from);
    let expand = |path: &str| expand(path, home.as_deref());
    let root_dir = expand(&view.must::<String>("RootDir"));
    Config {
        source,
        development: view.must("Dodona.Development"),
        shutdown_grace_period: view.must("ShutdownGracePeriod"),
        insecure_fast_scrypt: view.must("InsecureFastScrypt"),
        log: log(&view, inputs, &root_dir, &expand),
        web: web(&view),
        database: database(&view, &secrets, &root_dir, &expand),
        pipeline: pipeline(&view),
        egress: EgressConfig {
            strict: view.must::<String>("Dodona.Egress.Profile") == "strict",
            requester_urls: view.must("Dodona.Egress.AllowRequesterURLs"),
            // Each was read before, when it was checked.
            allow: view
                .must::<Vec<String>>("Dodona.Egress.Allow")
                .iter()
                .filter_map(|entry| entry.parse().ok())
                .collect(),
        },
        chains: view.list("EVM").iter().map(chain).collect(),
        secrets: Secrets {
            keystore_password: secrets.get("Password.Keystore"),
            prometheus_auth_token: secrets.get("Prometheus.AuthToken"),
        },
        notes,
        root_dir,
    }
}

/// `~` is the home directory.
fn expand(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(path),
    }
}

fn log(
    view: &View<'_>,
    inputs: &Inputs,
    root_dir: &Path,
    expand: &dyn Fn(&str) -> PathBuf,
) -> LogConfig {
    let level = match view.must::<String>("Log.Level").as_str() {
        "trace" => LogLevel::Trace,
        "debug" => LogLevel::Debug,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        "crit" | "panic" | "fatal" => LogLevel::Crit,
        _ => LogLevel::Info,
    };
    let max_size_bytes: u64 = view.must("Log.File.MaxSize");
    let color = |name: &str| matches!(inputs.variable(name), Some("true" | "1"));
    LogConfig {
        level,
        json_console: view.must("Log.JSONConsole"),
        unix_timestamps: view.must("Log.UnixTS"),
        color: color("CL_LOG_COLOR") || color("LOG_COLOR"),
        file: (max_size_bytes >= SMALLEST_LOG_FILE_BYTES).then(|| LogFileConfig {
            dir: text(view, "Log.File.Dir").map_or_else(|| root_dir.to_owned(), |dir| expand(&dir)),
            max_size_bytes,
            max_age_days: view.must("Log.File.MaxAgeDays"),
            max_backups: view.must("Log.File.MaxBackups"),
        }),
    }
}

/// A text that may be missing or empty.
fn text(view: &View<'_>, name: &str) -> Option<String> {
    view.get::<String>(name).filter(|text| !text.is_empty())
}

fn web(view: &View<'_>) -> WebConfig {
    let origins: String = view.must("WebServer.AllowOrigins");
    WebConfig {
        listen_ip: view.must("WebServer.ListenIP"),
        http_port: view.must("WebServer.HTTPPort"),
        allow_origins: origins
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            .map(str::to_owned)
            .collect(),
        secure_cookies: view.must("WebServer.SecureCookies"),
        session_timeout: view.must("WebServer.SessionTimeout"),
        session_reaper_expiration: view.must("WebServer.SessionReaperExpiration"),
        http_max_size_bytes: view.must("WebServer.HTTPMaxSize"),
        http_write_timeout: view.must("WebServer.HTTPWriteTimeout"),
        bridge_response_url: view.get("WebServer.BridgeResponseURL"),
        bridge_cache_ttl: view.must("WebServer.BridgeCacheTTL"),
        rate_limit: RateLimitConfig {
            enabled: !view.must::<bool>("Insecure.DisableRateLimiting"),
            authenticated: view.must("WebServer.RateLimit.Authenticated"),
            authenticated_period: view.must("WebServer.RateLimit.AuthenticatedPeriod"),
            unauthenticated: view.must("WebServer.RateLimit.Unauthenticated"),
            unauthenticated_period: view.must("WebServer.RateLimit.UnauthenticatedPeriod"),
        },
    }
}

fn database(
    view: &View<'_>,
    secrets: &View<'_>,
    root_dir: &Path,
    expand: &dyn Fn(&str) -> PathBuf,
) -> DatabaseConfig {
    let file = || {
        text(view, "Dodona.DatabasePath")
            .map_or_else(|| root_dir.join("dodona.sqlite"), |path| expand(&path))
    };
    DatabaseConfig {
        engine: match secrets.get("Database.URL") {
            Some(url) => DatabaseEngine::Postgres { url },
            None => DatabaseEngine::Sqlite { path: file() },
        },
        max_open_conns: view.must("Database.MaxOpenConns"),
        log_queries: view.must("Database.LogQueries"),
        lock: LockConfig {
            lease_duration: view.must("Database.Lock.LeaseDuration"),
            lease_refresh_interval: view.must("Database.Lock.LeaseRefreshInterval"),
        },
    }
}

fn pipeline(view: &View<'_>) -> PipelineConfig {
    PipelineConfig {
        max_concurrent_runs: view.must("Dodona.MaxConcurrentRuns"),
        max_run_duration: view.must("JobPipeline.MaxRunDuration"),
        external_initiators_enabled: view.must("JobPipeline.ExternalInitiatorsEnabled"),
        max_successful_runs: view.must("JobPipeline.MaxSuccessfulRuns"),
        reaper_interval: view.must("JobPipeline.ReaperInterval"),
        reaper_threshold: view.must("JobPipeline.ReaperThreshold"),
        http_default_timeout: view.must("JobPipeline.HTTPRequest.DefaultTimeout"),
        http_max_size_bytes: view.must("JobPipeline.HTTPRequest.MaxSize"),
    }
}

fn chain(view: &View<'_>) -> ChainConfig {
    let transactions = transactions(view);
    ChainConfig {
        chain_id: view.must("ChainID"),
        enabled: view.must("Enabled"),
        chain_type: view.get("ChainType"),
        nodes: view.list("Nodes").iter().map(node).collect(),
        // The block that holds the request is a confirmation, so none at all cannot be.
        min_incoming_confirmations: view.must::<u32>("MinIncomingConfirmations").max(1),
        min_contract_payment_juels: view.must("MinContractPayment"),
        finality_depth: view.must("FinalityDepth"),
        finality_tag_enabled: view.must("FinalityTagEnabled"),
        finalized_block_offset: view.must("FinalizedBlockOffset"),
        block_backfill_depth: view.must("BlockBackfillDepth"),
        block_backfill_skip: view.must("BlockBackfillSkip"),
        log_backfill_batch_size: view.must("LogBackfillBatchSize"),
        rpc_default_batch_size: view.must("RPCDefaultBatchSize"),
        link_contract_address: view.get("LinkContractAddress"),
        flags_contract_address: view.get("FlagsContractAddress"),
        auto_create_key: view.must("AutoCreateKey"),
        nonce_auto_sync: view.must("NonceAutoSync"),
        no_new_heads_threshold: view.must("NoNewHeadsThreshold"),
        balance_monitor_enabled: view.must("BalanceMonitor.Enabled"),
        gas: gas(view),
        transactions,
        node_pool: node_pool(view),
        key_specific: view
            .list("KeySpecific")
            .iter()
            .filter_map(key_specific)
            .collect(),
    }
}

fn node(view: &View<'_>) -> NodeConfig {
    NodeConfig {
        name: view.must("Name"),
        ws_url: view.get("WSURL"),
        http_url: view.get("HTTPURL"),
        http_url_extra_write: view.get("HTTPURLExtraWrite"),
        send_only: view.must("SendOnly"),
        order: view.must("Order"),
    }
}

fn transactions(view: &View<'_>) -> TransactionsConfig {
    TransactionsConfig {
        max_in_flight: view.must("Transactions.MaxInFlight"),
        max_queued: view.must("Transactions.MaxQueued"),
        resend_after_threshold: view.must("Transactions.ResendAfterThreshold"),
        reaper_threshold: view.must("Transactions.ReaperThreshold"),
    }
}

fn gas(view: &View<'_>) -> GasConfig {
    let bump_threshold_blocks: u32 = view.must("GasEstimator.BumpThreshold");
    let mode = match view.must::<String>("GasEstimator.Mode").as_str() {
        "FixedPrice" => GasMode::FixedPrice,
        _ => GasMode::BlockHistory,
    };
    GasConfig {
        mode,
        eip1559: view.must("GasEstimator.EIP1559DynamicFees"),
        price_default_wei: view.must("GasEstimator.PriceDefault"),
        price_min_wei: view.must("GasEstimator.PriceMin"),
        price_max_wei: view.must("GasEstimator.PriceMax"),
        limit_default: view.must("GasEstimator.LimitDefault"),
        limit_dr: view.get("GasEstimator.LimitJobType.DR"),
        limit_fm: view.get("GasEstimator.LimitJobType.FM"),
        limit_multiplier: view.must("GasEstimator.LimitMultiplier"),
        bump_min_wei: view.must("GasEstimator.BumpMin"),
        bump_percent: view.must("GasEstimator.BumpPercent"),
        bump_threshold_blocks,
        fee_cap_default_wei: view.must("GasEstimator.FeeCapDefault"),
        tip_cap_default_wei: view.must("GasEstimator.TipCapDefault"),
        tip_cap_min_wei: view.must("GasEstimator.TipCapMin"),
        block_history: BlockHistoryConfig {
            // Modes that do not look back say 0, and are followed as one that does.
            size: match view.must("GasEstimator.BlockHistory.BlockHistorySize") {
                0 => USUAL_BLOCK_HISTORY,
                size => size,
            },
            percentile: view.must("GasEstimator.BlockHistory.TransactionPercentile"),
            fee_cap_buffer_blocks: view
                .get("GasEstimator.BlockHistory.EIP1559FeeCapBufferBlocks")
                .unwrap_or(bump_threshold_blocks.saturating_add(1)),
        },
    }
}

fn node_pool(view: &View<'_>) -> NodePoolConfig {
    let classes = CONFIG.below("EVM.NodePool.Errors").map(|key| key.name());
    let pattern = |class: &str| text(view, &format!("NodePool.Errors.{class}"));
    NodePoolConfig {
        poll_failure_threshold: view.must("NodePool.PollFailureThreshold"),
        poll_interval: view.must("NodePool.PollInterval"),
        sync_threshold: view.must("NodePool.SyncThreshold"),
        new_heads_poll_interval: view.must("NodePool.NewHeadsPollInterval"),
        errors: classes
            .filter_map(|class| Some((class.to_owned(), pattern(class)?)))
            .collect(),
    }
}

fn key_specific(view: &View<'_>) -> Option<KeySpecificConfig> {
    Some(KeySpecificConfig {
        key: view.get("Key")?,
        price_max_wei: view.get("GasEstimator.PriceMax")?,
    })
}
