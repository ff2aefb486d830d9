//! `dodona gateway`: several Ethereum clients behind one address.

pub(crate) mod addresses;
mod check;
mod file;
mod misread;
mod rules;
mod settings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dodona_rpc::CHAIN_NOT_KNOWN;
use dodona_rpc::gateway::{self, ChainError, Gateway, ListenError};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::settings::Settings;
use super::Out;
use crate::cli::{GatewayArgs, GatewayCommand};
use crate::config::{LogConfig, LogLevel};
use crate::{logging, telemetry, version};

/// Clients that cannot say their chain yet are asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Nobody is answered for so long if that makes it an answer.
const AT_ONCE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);
/// Files of settings are a few kilobytes, and looking at them often costs nothing. Looking works
/// where being told does not: on mounted secrets that are swapped by a link, and over a network.
const LOOK_AT_FILES: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_millis(200);
/// Measured times are added up so often.
const ADD_UP: Duration = Duration::from_secs(1);

pub(super) async fn run(arguments: GatewayArgs, out: &mut Out<'_>) -> anyhow::Result<()> {
    match arguments.command {
        Some(GatewayCommand::Check(clients)) => check::run(&clients, out).await,
        Some(GatewayCommand::Key { name }) => key(&name, out),
        None => serve(&arguments).await,
    }
}

async fn serve(arguments: &GatewayArgs) -> anyhow::Result<()> {
    let settings = settings::of_arguments(arguments)?;
    logging::init(
        &LogConfig {
            level: LogLevel::Info,
            json_console: false,
            unix_timestamps: false,
            color: false,
            file: None,
        },
        false,
    )?;
    let metrics = telemetry::install()?;
    tracing::info!("Starting Dodona gateway {}", version::short());
    let stop = stop_signal()?;
    let hang_up = signal(SignalKind::hangup()).context("signals cannot be received")?;
    tokio::pin!(stop);
    let files = Files::of(&settings);
    let pool = settings::pool(settings.chain_id.unwrap_or(CHAIN_NOT_KNOWN), settings.nodes);
    let kept = metrics.clone();
    let gateway = Gateway::new(pool, settings.door, move || metrics.render());
    let gateway = match &arguments.clients.config {
        Some(file) => gateway.with_context(|| file::not_right(file))?,
        None => gateway?,
    };
    let listener = gateway
        .bind()
        .await
        .map_err(|error| not_listening(error, arguments.clients.config.as_deref()))?;
    let mut learning = std::pin::pin!(learn_chain(&gateway));
    // Mostly all say it at once, and nobody has to be told to come again.
    tokio::select! {
        error = &mut learning => return Err(error.into()),
        () = known(&gateway) => {}
        () = tokio::time::sleep(AT_ONCE) => {}
        () = &mut stop => return Ok(()),
    }
    let changes = async {
        match &arguments.clients.config {
            Some(config) => look_for_changes(&gateway, config, files, hang_up).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = gateway.clone().run(listener, stop) => {}
        error = &mut learning => return Err(error.into()),
        () = changes => {}
        () = upkeep(&kept) => {}
    }
    tracing::info!("The gateway has stopped");
    Ok(())
}

/// Adds up what was measured, so that it does not pile up where nobody asks for it.
async fn upkeep(metrics: &PrometheusHandle) {
    loop {
        tokio::time::sleep(ADD_UP).await;
        metrics.run_upkeep();
    }
}

/// With a file, `--listen` is no way out.
fn not_listening(error: ListenError, config: Option<&Path>) -> anyhow::Error {
    match (error, config) {
        (ListenError::InUse { listen }, Some(file)) => anyhow::anyhow!(
            "cannot listen on {listen}: another program uses this port; stop it, or choose another one with `listen` in {}",
            file.display()
        ),
        (error, _) => error.into(),
    }
}

/// The files the settings came from, and what was in them.
struct Files {
    list: Vec<PathBuf>,
    seen: u64,
}

impl Files {
    fn of(settings: &Settings) -> Self {
        Self {
            seen: file::fingerprint(&settings.files),
            list: settings.files.clone(),
        }
    }
}

/// Brings changed settings into force: when a file changed, and at once when told to (SIGHUP).
async fn look_for_changes(gateway: &Gateway, config: &Path, mut files: Files, mut hang_up: Signal) {
    loop {
        let told = tokio::select! {
            _ = hang_up.recv() => true,
            () = tokio::time::sleep(LOOK_AT_FILES) => false,
        };
        let now = file::fingerprint(&files.list);
        if !told && now == files.seen {
            continue;
        }
        // Several files are seldom written in one moment; a second look finds them all.
        files.seen = now;
        if !told {
            tokio::time::sleep(SETTLE).await;
        }
        match file::of_file(config) {
            Err(error) => gateway.reload_failed(&format!("{error:#}")),
            Ok(settings) => {
                // What was read last is what is compared with, also if it is refused now.
                files = Files::of(&settings);
                let chain_id = settings.chain_id.or(gateway.chain_id());
                let pool = settings::pool(chain_id.unwrap_or(CHAIN_NOT_KNOWN), settings.nodes);
                // Applied or refused, the gateway has said so.
                let _ = gateway.reload(pool, settings.door).await;
            }
        }
    }
}

fn key(name: &str, out: &mut Out<'_>) -> anyhow::Result<()> {
    anyhow::ensure!(
        !name.is_empty() && name.chars().all(|c| !c.is_control() && c != '\''),
        "a client's name is some text without quotes"
    );
    let (key, hash) = gateway::new_key().map_err(anyhow::Error::msg)?;
    out.value(&json!({ "name": name, "key": key, "hash": hash.to_string() }))?;
    out.text(&format!(
        "The key of {name}, shown this once and kept nowhere:\n\n    {key}\n\n\
         Put what follows into the gateway's file; a running gateway notices by itself.\n\n\
         [[key]]\nname = '{name}'\nhash = '{hash}'\n\n\
         The client shows its key as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, as the password\n\
         of its URL (https://any:KEY@host) or as a path (https://host/key/KEY).\n"
    ))
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Done once the chain has been said.
async fn known(gateway: &Gateway) {
    while !gateway.knows_its_chain() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Where nobody said which chain this is, asks the clients for as long as they do not say it. Ends
/// only if that leads nowhere.
async fn learn_chain(gateway: &Gateway) -> ChainError {
    loop {
        if let Err(error) = gateway.learn_chain(settings::pool).await {
            return error;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_a_file_options_that_would_be_ignored_are_refused() {
        use clap::Parser as _;

        let parse = |more: &[&str]| {
            let start = ["dodona", "gateway", "--config", "g.toml"];
            crate::cli::Cli::try_parse_from(start.iter().chain(more))
        };
        assert!(parse(&[]).is_ok());
        for more in [
            &["http://127.0.0.1:8545"][..],
            &["--listen", "127.0.0.1:8545"],
            &["--interface", "wg0"],
            &["--allow-plain"],
            &["--chain-id", "1"],
            &["--send-only", "http://127.0.0.1:8545"],
            &["--allow-method", "debug_*"],
            &["--allow-origin", "https://app.example.com"],
            &["--allow-host", "rpc.example.com"],
        ] {
            let said = parse(more).unwrap_err().to_string();
            assert!(said.contains("cannot be used with"), "{more:?}: {said}");
        }
    }

    #[test]
    fn a_port_in_use_names_the_way_out_that_there_is() {
        let listen = "127.0.0.1:8545".parse().unwrap();
        let with = |config: Option<&Path>| {
            not_listening(ListenError::InUse { listen }, config).to_string()
        };
        let said = with(Some(Path::new("/etc/g.toml")));
        assert!(
            said.contains("`listen` in /etc/g.toml") && !said.contains("--listen"),
            "{said}"
        );
        assert!(with(None).contains("--listen"));
    }
}
