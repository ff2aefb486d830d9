//! `dodona keys eth …`.

use std::io::{BufRead as _, IsTerminal as _};

use alloy::primitives::U256;
use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use super::{Out, segment};
use crate::cli::{EthKeysCommand, KeysCommand};
use crate::client::{Body, Client, write_private};
use crate::jsonapi::{Document, Resource};
use crate::{password, table};

const LABELS: &[&str] = &[
    "Address",
    "EVM Chain ID",
    "ETH",
    "LINK",
    "Disabled",
    "Created",
    "Updated",
    "Max Gas Price Wei",
];

pub(super) async fn run(
    command: KeysCommand,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    let KeysCommand::Eth(command) = command;
    match command {
        EthKeysCommand::List => {
            let answer = client.get("/v2/keys/evm", &[]).await?;
            out.line("🔑 ETH keys")?;
            out.show(&answer, list)
        }
        EthKeysCommand::Create {
            evm_chain_id,
            max_gas_price_gwei,
        } => {
            let price = max_gas_price_gwei.map(|price| price.to_string());
            let mut query = chain_query(evm_chain_id.as_deref());
            query.extend(price.as_deref().map(|price| ("maxGasPriceGWei", price)));
            let answer = client.post("/v2/keys/evm", &query, Body::Nothing).await?;
            out.text("ETH key created.\n\n🔑 New key\n")?;
            out.show(&answer, list)
        }
        EthKeysCommand::Import {
            file,
            old_password,
            evm_chain_id,
        } => {
            let key = std::fs::read_to_string(&file)
                .with_context(|| format!("the key file {} cannot be read", file.display()))?;
            let is_json = serde_json::from_str::<serde_json::Value>(&key).is_ok();
            anyhow::ensure!(
                is_json,
                "{} is not a Web3 secret storage file: it is not JSON",
                file.display()
            );
            let password = match &old_password {
                Some(file) => password::from_file(file)?,
                None => password::ask("Password of the key file", "give --old-password FILE")?,
            };
            let mut query = chain_query(evm_chain_id.as_deref());
            query.push(("oldpassword", password.expose_secret()));
            let answer = client
                .post("/v2/keys/evm/import", &query, Body::Raw(key))
                .await?;
            out.line("🔑 Imported ETH key")?;
            out.show(&answer, list)
        }
        EthKeysCommand::Export {
            address,
            new_password,
            output,
        } => {
            // Before the node is asked: a key that was exported and cannot be written is of no use.
            anyhow::ensure!(
                !output.exists(),
                "{} exists already: name a file that does not",
                output.display()
            );
            let password = match &new_password {
                Some(file) => password::from_file(file)?,
                None => password::ask_new("Password for the new file", "give --new-password FILE")?,
            };
            let path = format!("/v2/keys/evm/export/{}", segment(&address)?);
            let answer = client
                .post(
                    &path,
                    &[("newpassword", password.expose_secret())],
                    Body::Nothing,
                )
                .await?;
            answer.json::<serde_json::Value>()?;
            write_private(&output, &answer.body, false)
                .with_context(|| format!("the key cannot be written to {}", output.display()))?;
            out.hint(&format!(
                "🔑 Exported ETH key {address} to {}",
                output.display()
            ))
        }
        EthKeysCommand::Chain(args) => {
            let enabled = args.enable.to_string();
            let mut query = chain_query(args.evm_chain_id.as_deref());
            query.extend([("address", args.address.as_str()), ("enabled", &enabled)]);
            let answer = client
                .post("/v2/keys/evm/chain", &query, Body::Nothing)
                .await?;
            out.line("🔑 Updated ETH key")?;
            out.show(&answer, list)
        }
        EthKeysCommand::Delete { address, yes } => {
            let path = format!("/v2/keys/evm/{}", segment(&address)?);
            if !yes
                && !confirmed(
                    &format!("The key {address} will be gone for good. Delete it? (yes/no) "),
                    out,
                )?
            {
                return out.hint("Nothing was deleted.");
            }
            let answer = client.delete(&path).await?;
            out.line(&format!("🔑 Deleted ETH key: {address}"))?;
            out.show(&answer, list)
        }
    }
}

fn chain_query(id: Option<&str>) -> Vec<(&str, &str)> {
    id.map(|id| ("evmChainID", id)).into_iter().collect()
}

fn list(keys: &Document) -> String {
    let rows: Vec<Vec<String>> = keys
        .items()
        .iter()
        .map(|key| {
            let or = |name: &str, missing: &str| {
                key.optional(name).unwrap_or_else(|| missing.to_owned())
            };
            vec![
                key.text("address"),
                key.text("evmChainID"),
                or("ethBalance", "Unknown"),
                or("linkBalance", "Unknown"),
                key.text("disabled"),
                key.text("createdAt"),
                key.text("updatedAt"),
                limit(key),
            ]
        })
        .collect();
    table::list(LABELS, &rows)
}

/// The largest number there is means that nobody set a limit.
fn limit(key: &Resource) -> String {
    let limit = key
        .optional("maxGasPriceWei")
        .filter(|wei| wei.parse() != Ok(U256::MAX));
    limit.unwrap_or_else(|| "None".to_owned())
}

/// Asks until the answer is exactly `yes` or `no`.
fn confirmed(question: &str, out: &mut Out<'_>) -> anyhow::Result<bool> {
    anyhow::ensure!(
        std::io::stdin().is_terminal(),
        "nobody is there to confirm: add --yes if you mean it"
    );
    loop {
        write!(out.stderr, "{question}")
            .and_then(|()| out.stderr.flush())
            .context("stderr cannot be written")?;
        let mut answer = String::new();
        let read = std::io::stdin()
            .lock()
            .read_line(&mut answer)
            .context("the terminal cannot be read")?;
        match answer.trim() {
            "yes" => return Ok(true),
            "no" => return Ok(false),
            _ if read == 0 => return Ok(false),
            _ => {}
        }
    }
}
