//! The settings as the rest of the node sees them: typed, complete, checked.
//!
//! A value here has its default already, its unit is in its type or its name,
//! and no combination of values is one that the checks refuse.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use secrecy::SecretString;

use super::secret_url::SecretUrl;

/// Everything an operator can decide about a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the settings were read from.
    pub source: Source,
    /// Holds the embedded database, the log file and the session secret; mode 0700.
    pub root_dir: PathBuf,
    /// The development profile: insecure values are allowed, and every listener stays on loopback.
    pub development: bool,
    /// How long a stopping node may take to finish what it is doing.
    pub shutdown_grace_period: Duration,
    /// Weak key encryption for exported keys; the development profile only.
    pub insecure_fast_scrypt: bool,
    pub log: LogConfig,
    pub web: WebConfig,
    pub database: DatabaseConfig,
    pub pipeline: PipelineConfig,
    /// What jobs may call.
    pub egress: EgressConfig,
    /// In the order of the file. Disabled chains are listed too.
    pub chains: Vec<ChainConfig>,
    pub secrets: Secrets,
    /// What the operator should know about these settings: accepted without effect, read in another way
    /// than the Chainlink node reads it, or risky. One sentence each, for the start-up log.
    pub notes: Vec<String>,
}

impl Config {
    /// The chains the node works on.
    pub fn enabled_chains(&self) -> impl Iterator<Item = &ChainConfig> {
        self.chains.iter().filter(|chain| chain.enabled)
    }
}

/// Where settings come from. Files (and `CL_CONFIG`) win: the old variables are read only without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// TOML files, `CL_CONFIG` and secrets files.
    Files,
    /// The environment variables of the Chainlink node 0.10 to 1.13.
    Environment,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// What the console shows; the file always holds `debug`.
    pub level: LogLevel,
    pub json_console: bool,
    /// Times in JSON lines as seconds since 1970 instead of RFC 3339.
    pub unix_timestamps: bool,
    pub color: bool,
    /// `None`: no file is written.
    pub file: Option<LogFileConfig>,
}

/// Levels in rising order of gravity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    /// Somebody should get up. Written as an error whose field `crit` is true.
    Crit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFileConfig {
    pub dir: PathBuf,
    /// The file is set aside and a new one begun when it would grow beyond this.
    pub max_size_bytes: u64,
    /// Files set aside are removed after this many days; 0 keeps them.
    pub max_age_days: u64,
    /// How many files set aside are kept; 0 keeps all.
    pub max_backups: u64,
}

/// What jobs and bridges may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressConfig {
    /// Nothing without an entry.
    pub strict: bool,
    /// URLs of requesters are fetched, as public https GET.
    pub requester_urls: bool,
    /// The allow list, checked.
    pub allow: Vec<dodona_pipeline::egress::Entry>,
}

#[derive(Debug, Clone)]
pub struct WebConfig {
    pub listen_ip: IpAddr,
    pub http_port: u16,
    /// Origins a browser may call from; `*` stands for any.
    pub allow_origins: Vec<String>,
    pub secure_cookies: bool,
    /// A session ends after this long without use.
    pub session_timeout: Duration,
    /// Ended sessions are kept this much longer.
    pub session_reaper_expiration: Duration,
    /// Largest request body, in bytes.
    pub http_max_size_bytes: u64,
    /// Longest time to read a request and to write its answer.
    pub http_write_timeout: Duration,
    /// Base of the address a bridge calls back; the node appends `/v2/resume/<task run>`.
    pub bridge_response_url: Option<url::Url>,
    /// How old a bridge's last good answer may be to stand in for one it fails to give; zero: none is kept.
    pub bridge_cache_ttl: Duration,
    pub rate_limit: RateLimitConfig,
}

impl WebConfig {
    /// Where the API listens.
    pub fn listen_on(&self) -> SocketAddr {
        SocketAddr::new(self.listen_ip, self.http_port)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// False only in the development profile.
    pub enabled: bool,
    /// Requests per `authenticated_period` and client address.
    pub authenticated: u64,
    pub authenticated_period: Duration,
    /// Log-in attempts per `unauthenticated_period` and client address.
    pub unauthenticated: u64,
    pub unauthenticated_period: Duration,
}

#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    pub engine: DatabaseEngine,
    /// PostgreSQL only.
    pub max_open_conns: u32,
    pub log_queries: bool,
    pub lock: LockConfig,
}

#[derive(Debug, Clone)]
pub enum DatabaseEngine {
    /// One node, one file, nothing else to install.
    Sqlite { path: PathBuf },
    /// For everything that must survive a host.
    Postgres { url: SecretString },
}

impl DatabaseEngine {
    /// `sqlite` or `postgres`.
    pub fn name(&self) -> &'static str {
        match self {
            DatabaseEngine::Sqlite { .. } => "sqlite",
            DatabaseEngine::Postgres { .. } => "postgres",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockConfig {
    /// A leader that has not refreshed for this long may be replaced.
    pub lease_duration: Duration,
    /// At most half of `lease_duration`.
    pub lease_refresh_interval: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineConfig {
    /// Runs this process has in flight at most.
    pub max_concurrent_runs: usize,
    /// Zero: no limit.
    pub max_run_duration: Duration,
    /// Whether external initiators may be registered and may start runs.
    pub external_initiators_enabled: bool,
    /// Successful runs kept for each job; 0 keeps none.
    pub max_successful_runs: u64,
    /// How often old runs are removed; zero: never.
    pub reaper_interval: Duration,
    /// Runs older than this are removed.
    pub reaper_threshold: Duration,
    /// Longest time one `http` or `bridge` task waits, unless the task says otherwise.
    pub http_default_timeout: Duration,
    /// Largest answer of a data source, in bytes.
    pub http_max_size_bytes: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// `Password.Keystore` or `CL_PASSWORD_KEYSTORE`; `--password FILE` and a prompt come later.
    pub keystore_password: Option<SecretString>,
    /// When set, `/metrics` asks for it as a bearer token.
    pub prometheus_auth_token: Option<SecretString>,
}

#[derive(Debug, Clone)]
pub struct ChainConfig {
    pub chain_id: u64,
    pub enabled: bool,
    /// A word such as `arbitrum` or `optimismBedrock`; `None` for chains that behave like Ethereum.
    pub chain_type: Option<String>,
    pub nodes: Vec<NodeConfig>,
    /// Blocks counted from the log's own; never 0.
    pub min_incoming_confirmations: u32,
    pub min_contract_payment_juels: U256,
    /// Blocks after which a block counts as final, where the chain's own tag is not used.
    pub finality_depth: u32,
    pub finality_tag_enabled: bool,
    pub finalized_block_offset: u32,
    /// How far back logs are looked for at start.
    pub block_backfill_depth: u64,
    pub block_backfill_skip: bool,
    /// Blocks asked for in one `eth_getLogs`.
    pub log_backfill_batch_size: u32,
    /// Calls put into one batch request.
    pub rpc_default_batch_size: u32,
    pub link_contract_address: Option<Address>,
    /// Flux monitors hibernate while their aggregator is flagged there.
    pub flags_contract_address: Option<Address>,
    pub auto_create_key: bool,
    pub nonce_auto_sync: bool,
    /// Warn when no higher block was seen for this long; zero: never.
    pub no_new_heads_threshold: Duration,
    pub balance_monitor_enabled: bool,
    pub gas: GasConfig,
    pub transactions: TransactionsConfig,
    pub node_pool: NodePoolConfig,
    pub key_specific: Vec<KeySpecificConfig>,
}

impl ChainConfig {
    /// The highest price a key may pay for gas: its own limit, else the chain's.
    pub fn price_max_wei(&self, key: Address) -> U256 {
        let own = self
            .key_specific
            .iter()
            .find(|specific| specific.key == key);
        own.map_or(self.gas.price_max_wei, |specific| {
            specific.price_max_wei.min(self.gas.price_max_wei)
        })
    }
}

/// One Ethereum client.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Unique over all chains.
    pub name: String,
    /// `None`: heads are polled over HTTP.
    pub ws_url: Option<SecretUrl>,
    pub http_url: Option<SecretUrl>,
    /// Where transactions are sent besides.
    pub http_url_extra_write: Option<SecretUrl>,
    /// Is given transactions and asked nothing.
    pub send_only: bool,
    /// 1 to 100; lower is preferred.
    pub order: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GasMode {
    /// What recent blocks paid.
    BlockHistory,
    /// Always the default price.
    FixedPrice,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GasConfig {
    pub mode: GasMode,
    pub eip1559: bool,
    pub price_default_wei: U256,
    pub price_min_wei: U256,
    pub price_max_wei: U256,
    pub limit_default: u64,
    /// For direct requests; falls back to `limit_default`.
    pub limit_dr: Option<u64>,
    /// For flux monitors; falls back to `limit_default`.
    pub limit_fm: Option<u64>,
    pub limit_multiplier: f64,
    pub bump_min_wei: U256,
    pub bump_percent: u16,
    /// Blocks a transaction may wait before its fee is raised; 0: never.
    pub bump_threshold_blocks: u32,
    pub fee_cap_default_wei: U256,
    pub tip_cap_default_wei: U256,
    pub tip_cap_min_wei: U256,
    pub block_history: BlockHistoryConfig,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHistoryConfig {
    /// Blocks looked at.
    pub size: u16,
    /// 0 to 100.
    pub percentile: u16,
    /// Full blocks the fee cap should survive; by default one more than the bump threshold.
    pub fee_cap_buffer_blocks: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionsConfig {
    /// Sent and not yet mined, for each key; 0: no limit.
    pub max_in_flight: u32,
    /// Waiting to be sent, for each key; 0: no limit.
    pub max_queued: u64,
    /// Sent again after this long; zero: never.
    pub resend_after_threshold: Duration,
    /// Final transactions older than this are removed; zero: never.
    pub reaper_threshold: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePoolConfig {
    /// Failed polls before an endpoint is left; 0: never.
    pub poll_failure_threshold: u32,
    /// Zero: no polls.
    pub poll_interval: Duration,
    /// Blocks an endpoint may lag behind the best; 0: any.
    pub sync_threshold: u32,
    /// Zero: heads are subscribed where there is a WebSocket address.
    pub new_heads_poll_interval: Duration,
    /// The operator's own patterns for what clients answer to a transaction: class (`NonceTooLow` …) and pattern.
    pub errors: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpecificConfig {
    pub key: Address,
    pub price_max_wei: U256,
}
