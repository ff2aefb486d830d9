//! A real chain that mines, forks and forgets on command.

mod chain;

use std::{
    env,
    io::{BufRead, BufReader},
    ops::Deref,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

pub use chain::{Call, Chain, RpcError};

use crate::{process::Held, workspace};

/// Names the anvil program to use instead of the one the contracts' packages brought.
pub const BINARY: &str = "DODONA_ANVIL";

/// How the chain behaves at first. The default mines each transaction at once.
#[derive(Debug, Clone)]
pub struct Options {
    pub chain_id: u64,
    /// Mines a block this often, with or without transactions. Fractions of a second are fine.
    pub block_time: Option<Duration>,
    /// Mines each transaction at once; without it and without `block_time` only [`Chain::mine`] mines.
    pub automine: bool,
    /// Of a block; 30 million unless told otherwise.
    pub gas_limit: Option<u64>,
    /// `safe` is one epoch behind `latest`, `finalized` two; 32 unless told otherwise.
    pub slots_in_an_epoch: Option<u64>,
    /// A name anvil knows, such as `berlin` for a chain without a base fee; its newest unless told otherwise.
    pub hardfork: Option<&'static str>,
    /// In wei; 1 gwei unless told otherwise.
    pub base_fee: Option<u64>,
    /// A free one unless told otherwise.
    pub port: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chain_id: 31337,
            block_time: None,
            automine: true,
            gas_limit: None,
            slots_in_an_epoch: None,
            hardfork: None,
            base_fee: None,
            port: None,
        }
    }
}

impl Options {
    /// A block every `block_time`, as real chains do.
    pub fn blocks_every(block_time: Duration) -> Self {
        Self {
            block_time: Some(block_time),
            automine: false,
            ..Self::default()
        }
    }

    /// Blocks only when the test says so.
    pub fn blocks_on_demand() -> Self {
        Self {
            automine: false,
            ..Self::default()
        }
    }

    fn args(&self) -> Vec<String> {
        let mut args = vec![
            "--chain-id".to_owned(),
            self.chain_id.to_string(),
            "--port".to_owned(),
            self.port.unwrap_or(0).to_string(),
        ];
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                args.extend([name.to_owned(), value]);
            }
        };
        add(
            "--block-time",
            self.block_time.map(|time| time.as_secs_f64().to_string()),
        );
        add("--gas-limit", self.gas_limit.map(|gas| gas.to_string()));
        add(
            "--slots-in-an-epoch",
            self.slots_in_an_epoch.map(|slots| slots.to_string()),
        );
        add("--hardfork", self.hardfork.map(str::to_owned));
        add("--base-fee", self.base_fee.map(|fee| fee.to_string()));
        if !self.automine && self.block_time.is_none() {
            args.push("--no-mining".to_owned());
        }
        args
    }
}

/// A running anvil; killed when dropped. What one can do to its chain is on [`Chain`].
#[derive(Debug)]
pub struct Anvil {
    chain: Chain,
    process: Held,
}

impl Anvil {
    /// Starts a chain and returns once it answers.
    ///
    /// # Panics
    /// With a sentence, when there is no anvil or it does not start.
    pub async fn start(options: Options) -> Self {
        let binary = binary();
        let mut process = Held::spawn(
            Command::new(&binary)
                .args(options.args())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        )
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", binary.display()));

        let stdout = process
            .child()
            .stdout
            .take()
            .expect("it was piped just above");
        let (found, port) = tokio::sync::oneshot::channel();
        // Reads on after the port is known: anvil would stand still in front of a full pipe.
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let address = line.strip_prefix("Listening on ");
                let port = address.and_then(|address| address.rsplit(':').next()?.parse().ok());
                if let Some((port, found)) = port.and_then(|port: u16| Some((port, found.take()?)))
                {
                    let _ = found.send(port);
                }
            }
        });
        let port = tokio::time::timeout(Duration::from_secs(30), port)
            .await
            .expect("anvil did not say within 30 seconds where it listens")
            .unwrap_or_else(|_| panic!("{} {:?} ended at once", binary.display(), options.args()));

        let chain = Chain::new(format!("127.0.0.1:{port}"), &options).await;
        Self { chain, process }
    }

    /// Stops answering, connections stay open: what a hanging client looks like. [`Anvil::thaw`] ends it.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    pub fn thaw(&self) {
        self.process.signal("CONT");
    }
}

impl Deref for Anvil {
    type Target = Chain;

    fn deref(&self) -> &Chain {
        &self.chain
    }
}

fn binary() -> PathBuf {
    if let Some(given) = env::var_os(BINARY).filter(|given| !given.is_empty()) {
        return given.into();
    }
    let machine = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    // The program itself rather than the package's launcher, which reports success whatever happens.
    let package = format!(
        "contracts/node_modules/@foundry-rs/anvil-{}-{machine}",
        env::consts::OS
    );
    let binary = workspace::root().join(package).join("bin/anvil");
    assert!(
        binary.exists(),
        "this test needs anvil and there is none at {}; run script/setup, or name one in {BINARY}",
        binary.display()
    );
    binary
}
