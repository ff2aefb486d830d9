//! What each verb does; one file for each family.
//!
//! A command asks the node and prints. Results go to stdout, everything else to
//! stderr; a failure is one sentence there and exit code 1.

mod admin;
mod bridges;
pub(crate) mod gateway;
mod health;
mod initiators;
mod job_tools;
mod jobs;
mod keys;
mod runs;
mod settings;
pub mod start;
mod status;
mod txs;
mod validate;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::{Cli, Command, NodeCommand, RemoteArgs, TasksCommand};
use crate::client::{Answer, Client, Remote};
use crate::config::Inputs;
use crate::jsonapi::Document;

/// An error that the log has told already: nobody needs to print it once more.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Said(anyhow::Error);

/// Where a command prints.
pub struct Out<'a> {
    pub stdout: &'a mut dyn Write,
    pub stderr: &'a mut dyn Write,
    /// For programs instead of people.
    pub json: bool,
}

impl Out<'_> {
    /// A result for people; nothing when programs listen.
    pub fn text(&mut self, text: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        self.stdout
            .write_all(text.as_bytes())
            .context("the output cannot be written")
    }

    /// A line for people.
    pub fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.text(&format!("{line}\n"))
    }

    /// A result for programs; nothing when people read.
    pub fn value(&mut self, value: &Value) -> anyhow::Result<()> {
        if !self.json {
            return Ok(());
        }
        let text =
            serde_json::to_string_pretty(value).context("the answer cannot be printed as JSON")?;
        writeln!(self.stdout, "{text}").context("the output cannot be written")
    }

    /// Beside the result: confirmations, hints.
    pub fn hint(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.stderr, "{line}").context("stderr cannot be written")
    }

    /// Prints what a node answered: envelopes removed for programs, `people` for people.
    pub fn show(
        &mut self,
        answer: &Answer,
        people: impl FnOnce(&Document) -> String,
    ) -> anyhow::Result<()> {
        let document = answer.document()?;
        if self.json {
            return self.value(&document.flat());
        }
        self.text(&people(&document))?;
        let shown = document.items().len() as u64;
        match document.meta.count {
            Some(count) if count > shown => self.hint(&format!(
                "{shown} of {count} shown; the others are on --page 2 and so on"
            )),
            _ => Ok(()),
        }
    }
}

/// Runs a command of this machine or of a node.
pub async fn run(cli: Cli, out: &mut Out<'_>) -> anyhow::Result<()> {
    let (early_config, early_secrets) = (cli.config, cli.secrets);
    match cli.command {
        Command::Node(node) => {
            let config_files = one_place("--config", early_config, node.config)?;
            let secrets_files = one_place("--secrets", early_secrets, node.secrets)?;
            let inputs = Inputs::of_process(config_files, secrets_files);
            match node.command {
                NodeCommand::Start(arguments) => start::run(&inputs, arguments).await,
                NodeCommand::Validate => validate::run(&inputs, out),
            }
        }
        Command::Config(command) => settings::run(command, out),
        Command::Gateway(arguments) => gateway::run(arguments, out).await,
        Command::Tasks(TasksCommand::Reference) => out
            .stdout
            .write_all(dodona_pipeline::reference::page().as_bytes())
            .context("the output cannot be written"),
        Command::HelpAll => out
            .stdout
            .write_all(crate::help::all_commands().as_bytes())
            .context("the output cannot be written"),
        remote => {
            let client = Client::new(remote_of(cli.remote))?;
            run_remote(remote, &client, out).await
        }
    }
}

async fn run_remote(command: Command, client: &Client, out: &mut Out<'_>) -> anyhow::Result<()> {
    match command {
        Command::Admin(command) => admin::run(command, client, out).await,
        Command::Status => status::run(client, out).await,
        Command::Health { failing } => health::run(failing, client, out).await,
        Command::Jobs(command) => jobs::run(command, client, out).await,
        Command::Runs(command) => runs::run(command, client, out).await,
        Command::Keys(command) => keys::run(command, client, out).await,
        Command::Bridges(command) => bridges::run(command, client, out).await,
        Command::Initiators(command) => initiators::run(command, client, out).await,
        Command::Txs(command) => txs::run(command, client, out).await,
        Command::Attempts(command) => txs::attempts(command, client, out).await,
        Command::Node(_)
        | Command::Config(_)
        | Command::Tasks(_)
        | Command::Gateway(_)
        | Command::HelpAll => {
            unreachable!("handled by `run`")
        }
    }
}

fn one_place(flag: &str, early: Vec<PathBuf>, late: Vec<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    anyhow::ensure!(
        early.is_empty() || late.is_empty(),
        "{flag} is given before and after `node`: use one place"
    );
    Ok(if early.is_empty() { late } else { early })
}

fn remote_of(arguments: RemoteArgs) -> Remote {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    Remote {
        url: arguments.remote_node_url,
        credentials_file: arguments.admin_credentials_file,
        insecure_skip_verify: arguments.insecure_skip_verify,
        cache_dir: variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache"))),
    }
}

/// `page=N`, where one was asked for.
fn page_query(page: &crate::cli::PageArgs) -> Vec<(&'static str, String)> {
    page.page
        .map(|page| ("page", page.to_string()))
        .into_iter()
        .collect()
}

/// A document given in place, as a file, or on stdin (`-`). It is taken as what it is when it `parses`.
fn document(argument: &str, what: &str, parses: impl Fn(&str) -> bool) -> anyhow::Result<String> {
    if argument == "-" {
        return read_to_string("stdin", std::io::stdin());
    }
    if parses(argument) {
        return Ok(argument.to_owned());
    }
    let path = match (argument.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(argument),
    };
    match std::fs::File::open(&path) {
        Ok(file) => read_to_string(&path.display().to_string(), file),
        // A mistake in a document is not a file that is missing.
        Err(_) if argument.trim_start().starts_with(['{', '[', '"']) || argument.contains('\n') => {
            anyhow::bail!("{:?} is not {what}", excerpt(argument))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && what != "a file" => {
            anyhow::bail!(
                "{:?} is neither {what} nor the name of a file",
                excerpt(argument)
            )
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

fn read_to_string(name: &str, mut from: impl std::io::Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)
        .with_context(|| format!("{name} cannot be read"))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!(
            "{name} is not text: it has a byte at {at} (counted from 0) that is not UTF-8"
        )
    })
}

/// The first part of a text for a message.
fn excerpt(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A path segment that cannot leave its place.
fn segment(text: &str) -> anyhow::Result<&str> {
    let plain = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !text.starts_with('.');
    anyhow::ensure!(plain, "{text:?} cannot be the name or number of anything");
    Ok(text)
}
