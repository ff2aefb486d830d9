//! The words operators know, as the command line understands them.
//!
//! Two families: `node …` works on this machine, everything else is a thin
//! client of a running node. Flags of the Chainlink node are understood with one
//! dash as with two, and its older spellings are kept as hidden aliases.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use url::Url;

use crate::cmd::gateway::addresses;

#[derive(Debug, Parser)]
#[command(name = "dodona", version = crate::version::long(), disable_version_flag = true, about = "An oracle node for EVM chains, and the commands that talk to it.")]
pub struct Cli {
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Deprecated place of `node --config`.
    #[arg(
        long = "config",
        short = 'c',
        value_name = "FILE",
        hide = true,
        id = "config_before_node"
    )]
    pub config: Vec<PathBuf>,
    /// Deprecated place of `node --secrets`.
    #[arg(
        long = "secrets",
        short = 's',
        value_name = "FILE",
        hide = true,
        id = "secrets_before_node"
    )]
    pub secrets: Vec<PathBuf>,
    /// Print the version
    #[arg(long, short = 'v', short_alias = 'V', action = clap::ArgAction::Version)]
    pub version: Option<bool>,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct RemoteArgs {
    /// Print results as JSON, for programs
    #[arg(long, short = 'j', global = true)]
    pub json: bool,
    /// Node to talk to
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "CLIENT_NODE_URL",
        hide_env_values = true,
        default_value = "http://localhost:6688"
    )]
    pub remote_node_url: Url,
    /// File with e-mail and password on two lines, for logging in by itself
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ADMIN_CREDENTIALS_FILE",
        hide_env_values = true
    )]
    pub admin_credentials_file: Option<PathBuf>,
    /// Accept any TLS certificate of the node
    #[arg(
        long,
        global = true,
        env = "INSECURE_SKIP_VERIFY",
        hide_env_values = true,
        value_parser = FalseyValueParser::new()
    )]
    pub insecure_skip_verify: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node on this machine
    #[command(visible_alias = "local")]
    Node(NodeArgs),
    /// Log in and out
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Show the node on one screen: chains, keys, queue, jobs, warnings
    Status,
    /// Show which checks pass and which fail
    Health {
        /// Failing checks only
        #[arg(long, short = 'f')]
        failing: bool,
    },
    /// Create, look at, run and delete jobs
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Look at runs of jobs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Create, import, export and delete keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Register external adapters
    #[command(subcommand)]
    Bridges(BridgesCommand),
    /// Register programs that may start runs of webhook jobs
    #[command(subcommand)]
    Initiators(InitiatorsCommand),
    /// Look at transactions
    #[command(subcommand)]
    Txs(TxsCommand),
    /// Look at the attempts to send transactions
    #[command(subcommand, alias = "txas")]
    Attempts(AttemptsCommand),
    /// Settings: which there are
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The tasks a pipeline can have
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Put several Ethereum clients behind one address that behaves like one good client
    Gateway(GatewayArgs),
    /// List all commands, one a line
    #[command(name = "help-all")]
    HelpAll,
}

#[derive(Debug, Args)]
pub struct NodeArgs {
    /// TOML file with settings; repeatable, a later file overrides
    #[arg(long, short = 'c', value_name = "FILE", global = true)]
    pub config: Vec<PathBuf>,
    /// TOML file with secrets; repeatable, without overlap
    #[arg(long, short = 's', value_name = "FILE", global = true)]
    pub secrets: Vec<PathBuf>,
    #[command(subcommand)]
    pub command: NodeCommand,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Start the node
    #[command(visible_aliases = ["n", "node"])]
    Start(StartArgs),
    /// Check the settings and show what they come to, without starting
    Validate,
}

#[derive(Debug, Clone, Default, Args)]
pub struct StartArgs {
    /// File with two lines, e-mail and password, for the first user
    #[arg(long, short = 'a', value_name = "FILE")]
    pub api: Option<PathBuf>,
    /// File with the password of the key ring
    #[arg(long, short = 'p', value_name = "FILE")]
    pub password: Option<PathBuf>,
    /// Accepted and not read: randomness jobs are not part of this node
    #[arg(long, alias = "vp", value_name = "FILE", hide = true)]
    pub vrfpassword: Option<PathBuf>,
    /// Show debug lines on the console
    #[arg(long, short = 'd')]
    pub debug: bool,
}

/// Which clients a gateway has, as it and its check are both told.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Clients to use: http, https, ws or wss; a WebSocket address right behind an HTTP address of the same host belongs to it
    #[arg(value_name = "URL", value_parser = addresses::any)]
    pub urls: Vec<Url>,
    /// TOML file with the clients and everything else
    #[arg(
        long,
        short = 'c',
        id = "gateway_config",
        value_name = "FILE",
        conflicts_with_all = ["urls", "allow_plain", "chain_id", "send_only"]
    )]
    pub config: Option<PathBuf>,
    /// Let clients be reached without TLS although they may be on the open network
    #[arg(long)]
    pub allow_plain: bool,
    /// Chain the clients have to belong to; asked of them when missing
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub chain_id: Option<u64>,
    /// Client that only ever receives signed transactions; repeatable
    #[arg(long, value_name = "URL", value_parser = addresses::http)]
    pub send_only: Vec<Url>,
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    override_usage = "dodona gateway [URL]..."
)]
pub struct GatewayArgs {
    #[command(flatten)]
    pub clients: ClientArgs,
    /// Address to listen on; beyond loopback it needs --interface, or a certificate in the file
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8545",
        conflicts_with = "gateway_config"
    )]
    pub listen: std::net::SocketAddr,
    /// Private or VPN interface the address belongs to; connections through others are not taken
    #[arg(long, value_name = "NAME", conflicts_with = "gateway_config")]
    pub interface: Option<String>,
    /// Method to let through although it is refused by default, or its beginning and `*`; repeatable
    #[arg(long, value_name = "METHOD", conflicts_with = "gateway_config")]
    pub allow_method: Vec<String>,
    /// Origin of web pages that may use the gateway; repeatable
    #[arg(long, value_name = "ORIGIN", conflicts_with = "gateway_config")]
    pub allow_origin: Vec<String>,
    /// Host name clients may use for the gateway; repeatable
    #[arg(long, value_name = "NAME", conflicts_with = "gateway_config")]
    pub allow_host: Vec<String>,
    #[command(subcommand)]
    pub command: Option<GatewayCommand>,
}

#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Ask the clients once what they are, and say what is wrong with them
    Check(ClientArgs),
    /// Make an API key for a client of the gateway; it is shown once
    Key {
        /// What the client is called
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Open a session with the node
    Login {
        /// File with two lines, e-mail and password; asked for when missing
        #[arg(long, short = 'f', value_name = "FILE")]
        file: Option<PathBuf>,
        /// Do not compare the versions of this command and the node
        #[arg(long)]
        bypass_version_check: bool,
    },
    /// End the session
    Logout,
    /// Show the state of the node's services
    Status,
}

/// Which page of a long list.
#[derive(Debug, Clone, Args)]
pub struct PageArgs {
    /// Page of the list, counted from 1
    #[arg(long, value_name = "N")]
    pub page: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List all jobs
    List(PageArgs),
    /// Show a job
    Show {
        /// Number or external id of the job
        id: String,
    },
    /// Create a job from a TOML specification
    Create {
        /// The specification itself, a file with it, or `-` for stdin
        #[arg(value_name = "TOML or FILE")]
        spec: String,
    },
    /// Delete a job; its runs stay readable until they are pruned
    Delete {
        /// Number or external id of the job
        id: String,
    },
    /// Run a webhook job now, and wait for it a few seconds
    Run {
        /// Number or external id of the job
        id: String,
        /// JSON handed to the run as `$(jobRun.requestBody)`, itself or a file with it
        #[arg(value_name = "JSON or FILE")]
        body: Option<String>,
    },
    /// Check specifications without a node: errors, and what is allowed but will hurt
    Lint(LintArgs),
    /// Run a specification without consequences: no node, no database, no transaction
    Test(TestArgs),
    /// Show what is different between two jobs; exit code 1 when something is
    Diff {
        /// File with a specification, or number or external id of a job
        left: String,
        /// The same
        right: String,
    },
    /// Turn a job of the 0.x line (JSON) into a TOML specification
    Import(ImportArgs),
}

/// How `jobs lint` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LintFormat {
    /// One line each, for people
    Text,
    /// For scripts
    Json,
    /// For code scanners
    Sarif,
}

#[derive(Debug, Clone, Args)]
pub struct LintArgs {
    /// Files with specifications, `-` for stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<String>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: LintFormat,
    /// Exit code 1 for warnings too
    #[arg(long)]
    pub strict: bool,
    /// What gas costs, to compare an answer's cost with its payment
    #[arg(long, value_name = "GWEI")]
    pub gas_price_gwei: Option<u32>,
    /// What a LINK costs in ether, for the same
    #[arg(long, value_name = "ETHER")]
    pub ether_per_link: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// File with a specification, `-` for stdin
    #[arg(value_name = "FILE")]
    pub file: String,
    /// What starts the run: parameters of a request or the body of a call, itself or a file with it
    #[arg(long, value_name = "JSON or FILE")]
    pub input: Option<String>,
    /// File with recorded answers of sources, bridges and contracts (TOML or JSON)
    #[arg(long, value_name = "FILE")]
    pub sources: Option<PathBuf>,
    /// Ask sources that are not recorded, under the rules for jobs
    #[arg(long)]
    pub live: bool,
    /// Write a picture of the run
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The old specification itself, a file with it, or `-` for stdin
    #[arg(value_name = "JSON or FILE")]
    pub file: String,
    /// Create the jobs on the node; nothing is created when anything is refused
    #[arg(long)]
    pub create: bool,
    /// Chain of the old node, which its specifications do not name
    #[arg(long, alias = "evmChainID", value_name = "ID")]
    pub evm_chain_id: Option<u64>,
    /// Oracle contract of a job that names none
    #[arg(long, value_name = "ADDRESS")]
    pub contract_address: Option<String>,
    /// Signature of a function that the job knows by its selector: `name(uint256)`
    #[arg(long, value_name = "SIGNATURE")]
    pub function: Option<String>,
    /// File with the old node's bridges (`bridges list --json`), to keep what they ask for
    #[arg(long, value_name = "FILE")]
    pub bridges: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum TasksCommand {
    /// Print every task with its attributes
    Reference,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, the newest first
    List {
        /// Number or external id of a job: its runs only
        #[arg(long, value_name = "ID")]
        job: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show a run with its tasks
    Show {
        /// Number of the run
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Sending keys of EVM chains
    #[command(subcommand, visible_alias = "evm")]
    Eth(EthKeysCommand),
}

#[derive(Debug, Subcommand)]
pub enum EthKeysCommand {
    /// List the keys with their balances
    List,
    /// Create a key
    Create {
        /// Chain of the key; needed when there are several
        #[arg(long, alias = "evmChainID", value_name = "ID")]
        evm_chain_id: Option<String>,
        /// Highest gas price this key offers
        #[arg(long, alias = "maxGasPriceGWei", value_name = "GWEI", hide = true)]
        max_gas_price_gwei: Option<u64>,
    },
    /// Import a key file of geth, the Chainlink node or Dodona
    Import {
        /// Web3 secret storage file
        file: PathBuf,
        /// File with the key file's password; asked for when missing
        #[arg(long, short = 'p', alias = "oldpassword", value_name = "FILE")]
        old_password: Option<PathBuf>,
        /// Chain of the key; needed when there are several
        #[arg(long, alias = "evmChainID", value_name = "ID")]
        evm_chain_id: Option<String>,
    },
    /// Export a key into a file that other nodes and wallets can open
    Export {
        /// Address of the key
        address: String,
        /// File with the password for the new file; asked for when missing
        #[arg(long, short = 'p', alias = "newpassword", value_name = "FILE")]
        new_password: Option<PathBuf>,
        /// Where to write it; must not exist yet
        #[arg(long, short = 'o', value_name = "FILE")]
        output: PathBuf,
    },
    /// Enable or disable a key on a chain; a disabled key sends what is queued for it and gets nothing new
    Chain(KeyOnChainArgs),
    /// Delete a key for good
    Delete {
        /// Address of the key
        address: String,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub struct KeyOnChainArgs {
    /// Address of the key
    #[arg(long)]
    pub address: String,
    /// Chain; needed when there are several
    #[arg(long, alias = "evmChainID", value_name = "ID")]
    pub evm_chain_id: Option<String>,
    /// Use it for new transactions
    #[arg(long, conflicts_with = "disable", required_unless_present = "disable")]
    pub enable: bool,
    /// Do not use it for new transactions
    #[arg(long)]
    pub disable: bool,
}

#[derive(Debug, Subcommand)]
pub enum BridgesCommand {
    /// List all bridges
    List(PageArgs),
    /// Show a bridge
    Show {
        /// Name of the bridge
        name: String,
    },
    /// Register a bridge
    Create {
        /// `{"name": …, "url": …}` itself, a file with it, or `-` for stdin
        #[arg(value_name = "JSON or FILE")]
        bridge: String,
    },
    /// Remove a bridge that no job uses
    Destroy {
        /// Name of the bridge
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum InitiatorsCommand {
    /// List all external initiators
    List(PageArgs),
    /// Register an external initiator and show its credentials, once
    Create {
        /// Name, as jobs list it
        name: String,
        /// Where it wants to be told about jobs that list it
        url: Option<String>,
    },
    /// Remove an external initiator that no job lists
    Destroy {
        /// Name of the initiator
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum TxsCommand {
    /// List transactions, the newest first
    List(PageArgs),
    /// Show a transaction
    Show {
        /// Hash of any of its attempts
        hash: String,
    },
    /// The same, as the Chainlink node spells it
    #[command(subcommand, hide = true)]
    Evm(EvmTxsCommand),
}

#[derive(Debug, Subcommand)]
pub enum EvmTxsCommand {
    /// List transactions, the newest first
    List(PageArgs),
    /// Show a transaction
    Show {
        /// Hash of any of its attempts
        hash: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum AttemptsCommand {
    /// List attempts, the newest first
    List(PageArgs),
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its default and what it does
    Reference,
    /// Moved to `node validate`
    #[command(hide = true)]
    Validate,
}
