//! `dodona config …`.

use anyhow::Context as _;

use super::Out;
use crate::cli::ConfigCommand;
use crate::config::reference;

pub(super) fn run(command: ConfigCommand, out: &mut Out<'_>) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Reference => out
            .stdout
            .write_all(reference::page().as_bytes())
            .context("the output cannot be written"),
        ConfigCommand::Validate => {
            anyhow::bail!("use `dodona node --config FILE --secrets FILE validate`")
        }
    }
}
