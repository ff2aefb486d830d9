//! What a node of a test is like, and the files that say so.

use std::path::Path;

use alloy::primitives::Address;

use crate::anvil::Chain;

/// Where a node keeps its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Embedded, in the node's folder.
    Sqlite,
    /// A PostgreSQL database by its URL.
    Postgres(String),
}

/// A node on one chain.
#[derive(Debug, Clone)]
pub struct Options {
    pub engine: Engine,
    pub chain_id: u64,
    pub http_url: String,
    /// None: heads are polled.
    pub ws_url: Option<String>,
    pub link: Option<Address>,
    pub min_confirmations: u32,
    /// Blocks after which a block is final.
    pub finality_depth: u32,
    /// A free one unless told otherwise.
    pub port: Option<u16>,
    /// TOML that wins over everything above: a second configuration file.
    pub more_config: String,
}

impl Options {
    /// A node on embedded SQLite that follows this chain and answers after one confirmation.
    pub fn on(chain: &Chain) -> Self {
        Self {
            engine: Engine::Sqlite,
            chain_id: 31337,
            http_url: chain.http_url(),
            ws_url: Some(chain.ws_url()),
            link: None,
            min_confirmations: 1,
            finality_depth: 10,
            port: None,
            more_config: String::new(),
        }
    }

    pub fn with_engine(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// See [`Options::more_config`].
    pub fn with_config(self, toml: &str) -> Self {
        Self {
            more_config: format!("{}\n{toml}\n", self.more_config),
            ..self
        }
    }

    pub(super) fn config(&self, root: &Path, port: u16) -> String {
        let Self {
            chain_id,
            http_url,
            min_confirmations,
            finality_depth,
            ..
        } = self;
        let link = self.link.map_or_else(String::new, |link| {
            format!("LinkContractAddress = '{link}'")
        });
        let ws_url = self
            .ws_url
            .as_ref()
            .map_or_else(String::new, |url| format!("WSURL = '{url}'"));
        // Without a subscription heads have to be asked for.
        let heads = if self.ws_url.is_none() {
            "[EVM.NodePool]\nNewHeadsPollInterval = '100ms'"
        } else {
            ""
        };
        format!(
            "RootDir = '{root}'
# Opening the key ring is slow by design, and our nodes start often on few processors.
InsecureFastScrypt = true

[Dodona]
Development = true

[Log]
Level = 'debug'

[Log.File]
MaxSize = '0b'

[WebServer]
HTTPPort = {port}
SecureCookies = false

[WebServer.TLS]
HTTPSPort = 0

[WebServer.RateLimit]
Authenticated = 100000
Unauthenticated = 1000

[[EVM]]
ChainID = '{chain_id}'
AutoCreateKey = false
FinalityDepth = {finality_depth}
MinContractPayment = '0'
MinIncomingConfirmations = {min_confirmations}
{link}

[EVM.GasEstimator]
EIP1559DynamicFees = true

{heads}

[[EVM.Nodes]]
Name = 'anvil'
HTTPURL = '{http_url}'
{ws_url}
",
            root = root.join("root").display(),
        )
    }

    pub(super) fn secrets(&self, keystore_password: &str) -> String {
        let database = match &self.engine {
            Engine::Sqlite => String::new(),
            Engine::Postgres(url) => format!("[Database]\nURL = '{url}'\n"),
        };
        format!("{database}[Password]\nKeystore = '{keystore_password}'\n")
    }
}
