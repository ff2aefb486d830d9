//! `dodona admin …`: sessions and the state of services.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Out, health};
use crate::cli::AdminCommand;
use crate::client::Client;
use crate::password::{self, Credentials};
use crate::{table, version};

const NO_TERMINAL: &str = "give --file FILE with two lines, e-mail and password";

pub(super) async fn run(
    command: AdminCommand,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    match command {
        AdminCommand::Login {
            file,
            bypass_version_check,
        } => {
            let credentials = credentials(file.as_deref(), out)?;
            client.log_in(&credentials).await?;
            if !bypass_version_check {
                compare_versions(client, out).await?;
            }
            out.line(&format!("Successfully logged in to {}", client.address()))
        }
        AdminCommand::Logout => {
            client.log_out().await?;
            out.line("Logged out.")
        }
        AdminCommand::Status => status(client, out).await,
    }
}

fn credentials(file: Option<&Path>, out: &mut Out<'_>) -> anyhow::Result<Credentials> {
    if let Some(file) = file {
        return Ok(password::credentials_from_file(file)?);
    }
    anyhow::ensure!(
        std::io::stdin().is_terminal(),
        "nobody is there to ask for e-mail and password: {NO_TERMINAL}"
    );
    write!(out.stderr, "Email: ")
        .and_then(|()| out.stderr.flush())
        .context("stderr cannot be written")?;
    let mut email = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut email)
        .context("the terminal cannot be read")?;
    Ok(Credentials {
        email: email.trim().to_owned(),
        password: password::ask("Password", NO_TERMINAL)?,
    })
}

#[derive(Deserialize)]
struct BuildInfo {
    version: String,
}

/// A command of another version still works mostly, so this is a hint and not a refusal.
async fn compare_versions(client: &Client, out: &mut Out<'_>) -> anyhow::Result<()> {
    let Ok(answer) = client.get("/v2/build_info", &[]).await else {
        return Ok(());
    };
    let Ok(node) = answer.json::<BuildInfo>() else {
        return Ok(());
    };
    let theirs = node.version.split('@').next().unwrap_or_default();
    if theirs != version::VERSION {
        out.hint(&format!(
            "note: the node is version {theirs}, this command is {}",
            version::VERSION
        ))?;
    }
    Ok(())
}

async fn status(client: &Client, out: &mut Out<'_>) -> anyhow::Result<()> {
    let answer = client.get("/health", &[]).await?;
    out.show(&answer, |document| {
        let row = |check: &health::Check| {
            vec![
                check.name.clone(),
                check.status.clone(),
                check.output.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = health::checks(document).iter().map(row).collect();
        table::list(&["Name", "Status", "Output"], &rows)
    })
}
