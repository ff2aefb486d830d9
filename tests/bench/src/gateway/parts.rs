//! The programs that are measured, and those that measure them: each a process that ends with us.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::load::{Calls, Seen, Told};
use crate::process;

/// A program under way; killed when it is dropped.
pub(crate) struct Running {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    child: Child,
}

impl Running {
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("it has ended")
    }

    /// CPU of the process and its children (workers), in milliseconds.
    pub(crate) fn cpu_ms(&self) -> Result<f64> {
        Ok(process::cpu_with_children(self.pid()?)?.0)
    }

    pub(crate) fn rss_mib(&self) -> Result<f64> {
        process::rss_with_children(self.pid()?)
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("killing it")
    }
}

/// A master that is killed leaves its workers behind: it is asked to end first.
impl Drop for Running {
    fn drop(&mut self) {
        let (Some(pid), "nginx") = (self.child.id(), self.name) else {
            return;
        };
        let mut ask = std::process::Command::new("kill");
        if ask.arg(pid.to_string()).status().is_err() {
            return;
        }
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A port nobody listens on at the moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

pub(crate) async fn start(name: &'static str, command: &mut Command, port: u16) -> Result<Running> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let mut running = Running { name, port, child };
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .is_err()
    {
        if let Some(status) = running.child.try_wait()? {
            bail!("{name} ended at its start: {status}");
        }
        if Instant::now() > deadline {
            bail!("{name} does not listen on {port}");
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(running)
}

fn ourselves() -> Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}

pub(crate) async fn upstream(origin: u64, block: Duration) -> Result<Running> {
    let port = free_port()?;
    let mut command = ourselves()?;
    command.args(["gateway-upstream", &port.to_string(), &origin.to_string()]);
    command.arg(block.as_millis().to_string());
    start("upstream", &mut command, port).await
}

/// What has to be written down for nginx: HTTP with kept connections, and WebSocket tunnels.
fn nginx_settings(folder: &Path, port: u16, upstreams: &[u16]) -> String {
    let folder = folder.display();
    let servers: String = upstreams
        .iter()
        .map(|port| format!("    server 127.0.0.1:{port};\n"))
        .collect();
    format!(
        "daemon off;\nworker_processes 2;\nworker_rlimit_nofile 20000;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n\
         events {{ worker_connections 16384; }}\nhttp {{\n  access_log off;\n  client_body_temp_path {folder}/a;\n  proxy_temp_path {folder}/b;\n\
         fastcgi_temp_path {folder}/c;\n  uwsgi_temp_path {folder}/d;\n  scgi_temp_path {folder}/e;\n  keepalive_requests 100000000;\n\
         upstream clients {{\n{servers}    keepalive 128;\n    keepalive_requests 100000000;\n  }}\n\
         map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
         server {{\n    listen 127.0.0.1:{port};\n    location / {{\n      proxy_pass http://clients;\n      proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade;\n      proxy_set_header Connection $connection_upgrade;\n    }}\n  }}\n}}\n"
    )
}

fn haproxy_settings(port: u16, upstreams: &[u16]) -> String {
    let servers: String = upstreams
        .iter()
        .enumerate()
        .map(|(at, port)| format!("  server s{at} 127.0.0.1:{port}\n"))
        .collect();
    format!(
        "global\n  maxconn 9000\n  nbthread 2\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout tunnel 1h\n\
         frontend door\n  bind 127.0.0.1:{port}\n  default_backend clients\nbackend clients\n  http-reuse always\n  balance roundrobin\n{servers}"
    )
}

/// One that answers requests in front of upstreams.
pub(crate) async fn proxy(name: &'static str, folder: &Path, upstreams: &[u16]) -> Result<Running> {
    let port = free_port()?;
    let write = |name: &str, text: String| -> Result<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let mut command = match name {
        "nginx" => {
            let path = write("nginx.conf", nginx_settings(folder, port, upstreams))?;
            let mut command = Command::new("nginx");
            command.arg("-e").arg(folder.join("nginx.log"));
            command.arg("-c").arg(path);
            command
        }
        "haproxy" => {
            let path = write("haproxy.cfg", haproxy_settings(port, upstreams))?;
            let mut command = Command::new("haproxy");
            command.arg("-q").arg("-db").arg("-f").arg(path);
            command
        }
        _ => {
            let clients: String = upstreams
                .iter()
                .enumerate()
                .map(|(at, port)| {
                    format!(
                        "[[upstream]]\nname = 'u{at}'\nhttp = 'http://127.0.0.1:{port}'\nws = 'ws://127.0.0.1:{port}'\n"
                    )
                })
                .collect();
            let text = format!(
                "listen = '127.0.0.1:{port}'\nchain_id = 4242\n[limits]\ncache_bytes = 0\n{clients}"
            );
            let path = write("gateway.toml", text)?;
            let mut command =
                Command::new(std::env::var("DODONA_BIN").context("DODONA_BIN names no program")?);
            command.arg("gateway").arg("--config").arg(path);
            command
        }
    };
    start(name, &mut command, port).await
}

/// Calls from a process of their own.
pub(crate) async fn load(calls: Calls) -> Result<Seen> {
    let mut command = ourselves()?;
    command.args([
        "gateway-load",
        if calls.socket { "ws" } else { "http" },
        &calls.port.to_string(),
        &calls.connections.to_string(),
        &calls.seconds.to_string(),
    ]);
    if let Some(rate) = calls.per_second {
        command.arg(rate.to_string());
    }
    let output = command
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    anyhow::ensure!(output.status.success(), "the callers failed");
    serde_json::from_slice(&output.stdout).context("what the callers print")
}

/// Subscribers in a process of their own.
pub(crate) struct Subscribers {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Subscribers {
    /// Gives them back when all have subscribed to new heads.
    pub(crate) async fn start(port: u16, count: usize, blocks: usize) -> Result<Self> {
        let numbers = [port.to_string(), count.to_string(), blocks.to_string()];
        Self::ready("gateway-subscribers", &numbers).await
    }

    /// Gives them back when all, or the first one of them, look for logs.
    pub(crate) async fn of_logs(port: u16, count: usize, who: &str) -> Result<Self> {
        let words = [port.to_string(), count.to_string(), who.to_owned()];
        Self::ready("gateway-log-subscribers", &words).await
    }

    async fn ready(what: &str, words: &[String]) -> Result<Self> {
        let mut child = ourselves()?
            .arg(what)
            .args(words)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(out).lines();
        let first = lines.next_line().await?;
        anyhow::ensure!(
            first.as_deref() == Some("ready"),
            "the subscribers did not all come in: {first:?}"
        );
        Ok(Self { child, lines })
    }

    pub(crate) async fn told(mut self) -> Result<Told> {
        let line = self.lines.next_line().await?.context("no result")?;
        self.child.wait().await?;
        serde_json::from_str(&line).context("what the subscribers print")
    }
}
