//! `dodona gateway`: several Ethereum clients behind one address.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dodona_rpc::NodeConfig;
use dodona_rpc::gateway::{self, FeeCap, Finding, Gateway, ListenError, UpstreamVerdict};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use url::Url;

use super::Out;
use super::gateway_config::{self, Settings};
use super::gateway_file;
use crate::cli::{GatewayArgs, GatewayCommand};
use crate::config::{LogConfig, LogLevel};
use crate::table::Table;
use crate::{logging, telemetry, version};

/// Clients that cannot say their chain yet are asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// Files of settings are a few kilobytes, and looking at them often costs nothing. Looking works
/// where being told does not: on mounted secrets that are swapped by a link, and over a network.
const LOOK_AT_FILES: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_millis(200);

pub(super) async fn run(arguments: GatewayArgs, out: &mut Out<'_>) -> anyhow::Result<()> {
    match arguments.command {
        Some(GatewayCommand::Check { urls, config }) => check(urls, config, out).await,
        Some(GatewayCommand::Key { name }) => key(&name, out),
        None => serve(&arguments).await,
    }
}

async fn serve(arguments: &GatewayArgs) -> anyhow::Result<()> {
    let settings = gateway_config::of_arguments(arguments)?;
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
    let chain_id = tokio::select! {
        chain_id = chain_id(&settings) => chain_id?,
        () = &mut stop => return Ok(()),
    };
    let pool = gateway_config::pool(chain_id, settings.nodes);
    let gateway = Gateway::new(pool, settings.door, move || metrics.render())?;
    let listener = gateway
        .bind()
        .await
        .map_err(|error| not_listening(error, arguments.config.as_deref()))?;
    let changes = async {
        match &arguments.config {
            Some(config) => look_for_changes(&gateway, chain_id, config, files, hang_up).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = gateway.clone().run(listener, stop) => {}
        () = changes => {}
    }
    tracing::info!("The gateway has stopped");
    Ok(())
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
            seen: gateway_file::fingerprint(&settings.files),
            list: settings.files.clone(),
        }
    }
}

/// Brings changed settings into force: when a file changed, and at once when told to (SIGHUP).
async fn look_for_changes(
    gateway: &Gateway,
    chain_id: u64,
    config: &Path,
    mut files: Files,
    mut hang_up: Signal,
) {
    loop {
        let told = tokio::select! {
            _ = hang_up.recv() => true,
            () = tokio::time::sleep(LOOK_AT_FILES) => false,
        };
        let now = gateway_file::fingerprint(&files.list);
        if !told && now == files.seen {
            continue;
        }
        // Several files are seldom written in one moment; a second look finds them all.
        files.seen = now;
        if !told {
            tokio::time::sleep(SETTLE).await;
        }
        match gateway_file::of_file(config) {
            Err(error) => gateway.reload_failed(&format!("{error:#}")),
            Ok(settings) => {
                // What was read last is what is compared with, also if it is refused now.
                files = Files::of(&settings);
                let pool =
                    gateway_config::pool(settings.chain_id.unwrap_or(chain_id), settings.nodes);
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

/// The chain as told, or as the clients say; they have to agree.
async fn chain_id(settings: &Settings) -> anyhow::Result<u64> {
    if let Some(chain_id) = settings.chain_id {
        return Ok(chain_id);
    }
    loop {
        let mut said: Vec<(&NodeConfig, u64)> = Vec::new();
        let mut failures = Vec::new();
        for node in settings.nodes.iter().filter(|node| !node.send_only) {
            match gateway::chain_of(node.clone()).await {
                Ok(chain_id) => said.push((node, chain_id)),
                Err(error) => failures.push(error.to_string()),
            }
        }
        if let Some((first, chain_id)) = said.first() {
            if let Some((other, differs)) = said.iter().find(|(_, other)| other != chain_id) {
                anyhow::bail!(
                    "{} belongs to chain {chain_id} and {} to chain {differs}: a gateway is for one chain; say which one with --chain-id, or remove the stranger",
                    first.name,
                    other.name
                );
            }
            return Ok(*chain_id);
        }
        tracing::warn!(
            "no client says its chain yet, asking again (--chain-id would start without asking): {}",
            failures.join("; ")
        );
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn check(urls: Vec<Url>, config: Option<PathBuf>, out: &mut Out<'_>) -> anyhow::Result<()> {
    let settings = match config {
        Some(path) => gateway_file::of_file(&path)?,
        None => gateway_config::of_urls(&urls),
    };
    anyhow::ensure!(
        !settings.nodes.is_empty(),
        "no Ethereum client is given: name at least one URL, or a file with --config"
    );
    let chain_id = match settings.chain_id {
        Some(chain_id) => chain_id,
        None => first_chain(&settings.nodes).await?,
    };
    let pool = gateway_config::pool(chain_id, settings.nodes);
    let (verdicts, together) = gateway::probe(pool).await?;
    out.value(&json!({
        "chainId": chain_id,
        "upstreams": verdicts.iter().map(of_upstream).collect::<Vec<_>>(),
        "findings": together.iter().map(words).collect::<Vec<_>>(),
    }))?;
    out.text(&screen(chain_id, &verdicts, &together))?;
    let all = verdicts.iter().flat_map(|verdict| &verdict.findings);
    let failed = all
        .chain(&together)
        .filter(|finding| matches!(finding, Finding::Fail(_)))
        .count();
    anyhow::ensure!(
        failed == 0,
        "{failed} of the findings mean that it will not work like this"
    );
    Ok(())
}

async fn first_chain(nodes: &[NodeConfig]) -> anyhow::Result<u64> {
    let mut failures = Vec::new();
    for node in nodes {
        match gateway::chain_of(node.clone()).await {
            Ok(chain_id) => return Ok(chain_id),
            Err(error) => failures.push(error.to_string()),
        }
    }
    anyhow::bail!(
        "no client says which chain it belongs to: {}",
        failures.join("; ")
    )
}

fn words(finding: &Finding) -> String {
    match finding {
        Finding::Fail(what) => format!("FAIL {what}"),
        Finding::Warn(what) => format!("WARN {what}"),
    }
}

fn of_upstream(verdict: &UpstreamVerdict) -> serde_json::Value {
    json!({
        "name": verdict.name,
        "url": verdict.url,
        "client": verdict.client,
        "chainId": verdict.chain_id,
        "head": verdict.head,
        "headAgeSeconds": verdict.head_age,
        "finalized": verdict.finalized,
        "gasCap": verdict.gas_cap,
        "feeCap": verdict.fee_cap.as_ref().map(fee_cap),
        "verdict": word(&verdict.findings),
        "findings": verdict.findings.iter().map(words).collect::<Vec<_>>(),
    })
}

fn fee_cap(cap: &FeeCap) -> &str {
    match cap {
        FeeCap::Lifted => "none",
        FeeCap::Capped(words) => words,
    }
}

/// The worst of the findings, in a word.
fn word(findings: &[Finding]) -> &'static str {
    if findings.iter().any(|f| matches!(f, Finding::Fail(_))) {
        "FAIL"
    } else if findings.is_empty() {
        "good"
    } else {
        "WARN"
    }
}

fn screen(chain_id: u64, verdicts: &[UpstreamVerdict], together: &[Finding]) -> String {
    let mut table = Table::new(
        format!("Upstreams of chain {chain_id}"),
        &[
            "name",
            "client",
            "chain",
            "head",
            "head age",
            "finalized",
            "gas cap",
            "fee cap",
            "verdict",
        ],
    );
    let shown = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    for verdict in verdicts {
        let known = verdict.chain_id.is_some();
        table.row([
            verdict.name.clone(),
            verdict.client.clone().unwrap_or_else(|| "-".to_owned()),
            shown(verdict.chain_id),
            shown(verdict.head),
            verdict
                .head_age
                .map_or("-".to_owned(), |age| format!("{age} s")),
            shown(verdict.finalized),
            match verdict.gas_cap {
                None if known => "none".to_owned(),
                cap => shown(cap),
            },
            match &verdict.fee_cap {
                None => "-",
                Some(FeeCap::Lifted) => "none",
                Some(FeeCap::Capped(_)) => "capped",
            }
            .to_owned(),
            word(&verdict.findings).to_owned(),
        ]);
    }
    let mut text = table.render();
    for verdict in verdicts {
        for finding in &verdict.findings {
            text.push_str(&format!("{}: {}\n", verdict.name, words(finding)));
        }
    }
    for finding in together {
        text.push_str(&format!("{}\n", words(finding)));
    }
    text
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

    #[test]
    fn the_verdict_is_a_table_and_the_findings_below_it() {
        let verdict = |name: &str, findings: Vec<Finding>| UpstreamVerdict {
            name: name.to_owned(),
            url: "http://10.0.0.1:8545".to_owned(),
            client: Some("Geth/v1.16.0".to_owned()),
            chain_id: Some(1),
            head: Some(21_000_000),
            findings,
            ..UpstreamVerdict::default()
        };
        let text = screen(
            1,
            &[
                verdict("a", vec![]),
                verdict("b", vec![Finding::Warn("it is still syncing".to_owned())]),
            ],
            &[Finding::Warn("all upstreams run geth".to_owned())],
        );
        assert!(text.contains("good") && text.contains("WARN"), "{text}");
        assert!(
            text.contains("b: WARN it is still syncing\nWARN all upstreams run geth\n"),
            "{text}"
        );
    }
}
