//! What the API is built from and how it behaves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dodona_model::{Address, ChainId, U256};
use dodona_runtime::{Health, Poke};
use dodona_store::Store;
use secrecy::SecretString;

use crate::Vault;

/// How the API behaves. All values are checked by whoever reads the operator's configuration.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether browsers may send the session cookie over TLS only.
    pub secure_cookies: bool,
    /// A session ends after this long without use.
    pub session_timeout: Duration,
    /// Ended sessions are kept this much longer.
    pub session_reaper: Duration,
    /// Which other origins browsers may call from.
    pub allow_origins: AllowOrigins,
    /// Largest request body, in bytes.
    pub http_max_size: usize,
    /// Longest time to read a request, and to read and answer it.
    pub write_timeout: Duration,
    /// How often one client address may ask.
    pub rate_limits: RateLimits,
    /// When set, `/metrics` asks for it as a bearer token.
    pub metrics_token: Option<SecretString>,
    /// Whether external initiators may be registered and may start runs.
    pub external_initiators: bool,
    /// What this build calls itself.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
}

impl ApiConfig {
    /// The Chainlink node's defaults, listening on `listen`.
    pub fn on(listen: SocketAddr) -> Self {
        Self {
            listen,
            secure_cookies: true,
            session_timeout: Duration::from_secs(15 * 60),
            session_reaper: Duration::from_secs(240 * 3600),
            allow_origins: AllowOrigins::These(Vec::new()),
            http_max_size: 32_768,
            write_timeout: Duration::from_secs(10),
            rate_limits: RateLimits::default(),
            metrics_token: None,
            external_initiators: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: "unset".to_owned(),
        }
    }
}

/// Origins, besides the node's own, from which browsers may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowOrigins {
    /// `*`. Browsers still refuse to send cookies then.
    Any,
    /// Exactly these, such as `https://ops.example.com`.
    These(Vec<String>),
}

/// How often one client address may ask. Counted in this process, by the address of the TCP peer.
#[derive(Debug, Clone)]
pub struct RateLimits {
    /// Requests in a period, all API routes together.
    pub authenticated: (u64, Duration),
    /// Log-ins in a period, in addition.
    pub unauthenticated: (u64, Duration),
    /// Switches every limit off; for the development profile.
    pub disabled: bool,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            authenticated: (1000, Duration::from_secs(60)),
            unauthenticated: (5, Duration::from_secs(20)),
            disabled: false,
        }
    }
}

/// One chain as the API shows it.
#[derive(Clone)]
pub struct ChainView {
    /// Its id.
    pub chain_id: ChainId,
    /// Its endpoints; `None` where this process talks to none.
    pub pool: Option<dodona_rpc::Pool>,
    /// Blocks that must carry a request, counted from its own; a job may ask for more.
    pub min_confirmations: u32,
    /// Smallest payment in juels; a job may state its own.
    pub min_payment: U256,
    /// Warn when no new head was seen for this long; zero: never.
    pub head_age_alarm: Duration,
    /// The LINK token contract.
    pub link: Option<Address>,
    /// The highest gas price a key may pay, in wei; `None` where it is not known here.
    pub max_gas_price_wei: Option<Arc<dyn Fn(Address) -> U256 + Send + Sync>>,
    /// The chain's settings as TOML, without secrets; shown as they are.
    pub config_toml: String,
}

/// What the API is built from.
#[derive(Clone)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// How the parts of this process are doing.
    pub health: Health,
    /// The node's unlocked keys.
    pub vault: Arc<dyn Vault>,
    /// The chains this node works on, in the order of the configuration.
    pub chains: Vec<ChainView>,
    /// Scopes this replica may lead, and whether it does now.
    pub leading: Arc<dyn Fn() -> Vec<(String, bool)> + Send + Sync>,
    /// Poked when a run that somebody may be waiting for ended or suspended.
    pub run_ended: Poke,
    /// The metrics of this process in Prometheus' text format.
    pub metrics_render: Arc<dyn Fn() -> String + Send + Sync>,
}
