//! `dodona gateway` as operators run it.

use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::node::{binary, free_port};
use crate::process::Held;
use crate::wait::until_within;

/// A gateway in a process of its own. Ends when dropped.
#[derive(Debug)]
pub struct Gateway {
    port: u16,
    _process: Held,
    _folder: TempDir,
}

impl Gateway {
    /// In front of these clients; returns once it is ready.
    pub async fn before(urls: &[&str]) -> Self {
        let port = free_port();
        let folder = tempfile::Builder::new().prefix("dodona-gateway.").tempdir();
        let folder = folder.expect("a folder can be made among the temporary files");
        let mut command = Command::new(binary::path());
        command
            .env_clear()
            .current_dir(folder.path())
            .args(["gateway", "--listen", &format!("127.0.0.1:{port}")])
            .args(urls)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Held::spawn(&mut command)
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let gateway = Self {
            port,
            _process: process,
            _folder: folder,
        };
        let (client, ready) = (crate::http(), format!("{}/readyz", gateway.http_url()));
        until_within(Duration::from_secs(60), "the gateway is ready", || async {
            let answer = client.get(&ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        gateway
    }

    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }
}
