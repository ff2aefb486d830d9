//! A whole node: the program as operators run it, with its files in a temporary folder.

mod api;
pub(crate) mod binary;
mod options;
mod sql;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

pub use api::{Api, Job, Refusal};
pub use binary::BINARY;
pub use options::{Engine, Options};

use crate::{process::Held, wait::until_within};

/// Who may do everything on the node.
pub const EMAIL: &str = "operator@example.org";
pub const PASSWORD: &str = "a password for tests only";
const KEYSTORE_PASSWORD: &str = "another password for tests only";

/// A node that is running, or was killed or stopped and can be started again. Ends when dropped.
#[derive(Debug)]
pub struct Node {
    root: TempDir,
    port: u16,
    process: Option<Held>,
    starts: usize,
    api: Api,
    engine: Engine,
}

impl Node {
    /// Writes configuration, secrets and credentials, starts the node and returns once it is ready.
    ///
    /// # Panics
    /// With the end of its log, when it is not ready in time.
    pub async fn start(options: &Options) -> Self {
        let mut node = Self::prepare(options);
        node.start_again().await;
        node
    }

    /// Writes the files and starts nothing: for nodes that are expected to refuse. See [`Node::run_to_its_end`].
    pub fn prepare(options: &Options) -> Self {
        let root = tempfile::Builder::new().prefix("dodona-node.").tempdir();
        let root = root.expect("a folder can be made among the temporary files");
        let port = options.port.unwrap_or_else(free_port);
        let write = |name: &str, text: String| {
            fs::write(root.path().join(name), text).expect("our own folder can be written to");
        };
        write("config.toml", options.config(root.path(), port));
        write("more.toml", options.more_config.clone());
        write("secrets.toml", options.secrets(KEYSTORE_PASSWORD));
        write("apicredentials", format!("{EMAIL}\n{PASSWORD}\n"));
        let api = Api::new(format!("http://127.0.0.1:{port}"));
        Self {
            root,
            port,
            process: None,
            starts: 0,
            api,
            engine: options.engine.clone(),
        }
    }

    /// Starts the node on what it has: after [`Node::kill`], [`Node::stop`] or [`Node::prepare`].
    pub async fn start_again(&mut self) {
        self.spawn();
        self.wait_ready().await;
    }

    /// Starts the program and does not wait for anything.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the node is running already");
        self.starts += 1;
        let log = File::create(self.log_file()).expect("our own folder can be written to");
        let mut command = self.command();
        command
            .args(self.start_arguments())
            .stdout(Stdio::null())
            .stderr(log);
        let process = Held::spawn(&mut command);
        self.process =
            Some(process.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}")));
    }

    /// Starts the program and waits for its end, which has to come within 30 seconds.
    pub async fn run_to_its_end(&mut self) -> ExitStatus {
        self.spawn();
        self.wait_for_end().await
    }

    /// Returns once `/readyz` says 200.
    pub async fn wait_ready(&mut self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !self.api.ready().await {
            if let Some(status) = self.ended() {
                panic!("the node ended by itself ({status}):\n{}", self.log());
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the node is not ready:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Gone at once, without a chance to tidy up.
    pub fn kill(&mut self) {
        self.process = None; // dropping it is a SIGKILL that waits for the end
    }

    /// Asks the node to end, as a service manager does, and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_end().await
    }

    /// Stands still with all its connections open, as in a machine that is being moved. [`Node::thaw`] ends it.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Whether the program runs, ready or not.
    pub fn is_running(&mut self) -> bool {
        self.process.is_some() && self.ended().is_none()
    }

    /// The process's number, to look at what it uses.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the node is running").id()
    }

    /// Speaks to the node as its administrator.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Where the API and the first page are.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Holds everything the node writes.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Replaces one of the files it was started with: `more.toml`, `secrets.toml`, `config.toml`, `apicredentials`.
    pub fn rewrite(&self, file: &str, text: &str) {
        fs::write(self.root.path().join(file), text).expect("our own folder can be written to");
    }

    /// The embedded database, where that is its engine; the file need not be there yet.
    pub fn database_file(&self) -> PathBuf {
        self.root.path().join("root").join("dodona.sqlite")
    }

    /// Runs SQL on the node's database behind its back.
    pub async fn sql(&self, text: &str) {
        sql::run(&self.engine, &self.database_file(), text).await;
    }

    /// Runs a command of the program against this node, logged in, and returns what it printed.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let run = |arguments: &[&str]| {
            let mut command = self.command();
            command
                .args(["--remote-node-url", &self.url()])
                .args(arguments)
                .stdin(Stdio::null());
            command
                .output()
                .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
        };
        let credentials = self.root.path().join("apicredentials");
        let login = run(&["admin", "login", "-f", &credentials.to_string_lossy()]);
        assert!(
            login.status.success(),
            "cannot log in: {}",
            String::from_utf8_lossy(&login.stderr)
        );
        run(arguments)
    }

    /// What the node said since it was last started.
    pub fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.root.path().join(format!("stderr.{}.log", self.starts))
    }

    /// The program with this node's surroundings and none of ours.
    fn command(&self) -> Command {
        let mut command = Command::new(binary::path());
        command.env_clear().current_dir(self.root.path());
        command
            .env("HOME", self.root.path())
            .env("XDG_CACHE_HOME", self.root.path().join("cache"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    fn start_arguments(&self) -> [&'static str; 10] {
        let flags = [
            "node",
            "-c",
            "config.toml",
            "-c",
            "more.toml",
            "-s",
            "secrets.toml",
        ];
        let [node, c, config, c2, more, s, secrets] = flags;
        [
            node,
            c,
            config,
            c2,
            more,
            s,
            secrets,
            "start",
            "-a",
            "apicredentials",
        ]
    }

    fn signal(&self, name: &str) {
        self.process
            .as_ref()
            .expect("the node is running")
            .signal(name);
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut()?;
        process.child().try_wait().expect("it is our own child")
    }

    async fn wait_for_end(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the node is running");
        let status = until_within(Duration::from_secs(30), "the node ends", || {
            std::future::ready(process.child().try_wait().expect("it is our own child"))
        });
        status.await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!(
                "---- the last the node at {} said\n{}",
                self.url(),
                tail.join("\n")
            );
        }
    }
}

/// A port nobody listens on, below those the kernel hands out by itself, so that it is still free after a restart.
pub(crate) fn free_port() -> u16 {
    let candidates =
        std::iter::repeat_with(|| 20_000 + (uuid::Uuid::new_v4().as_u128() % 12_000) as u16);
    let mut free = candidates
        .take(100)
        .filter(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("one of a hundred ports is free")
}
