//! `dodona node validate`: what was said, what it comes to, what is wrong with it.

use anyhow::Context as _;

use super::Out;
use crate::config::registry::{CONFIG, SECRETS};
use crate::config::{self, Inputs, to_toml};

/// Needs no database and touches nothing. The report goes to stdout also when programs listen.
pub(super) fn run(inputs: &Inputs, out: &mut Out<'_>) -> anyhow::Result<()> {
    let examined = config::examine(inputs);
    let mut report = format!(
        "# Secrets:\n{}\n# Input Configuration:\n{}\n# Effective Configuration, with defaults applied:\n{}\n",
        to_toml(&examined.secrets, &SECRETS),
        to_toml(&examined.input, &CONFIG),
        to_toml(&examined.effective, &CONFIG),
    );
    let verdict = match &examined.result {
        Ok(config) => {
            if !config.notes.is_empty() {
                report.push_str("# Configuration warning:\n");
                config
                    .notes
                    .iter()
                    .for_each(|note| report.push_str(&format!("{note}\n")));
                report.push('\n');
            }
            "Valid configuration.\n".to_owned()
        }
        Err(problems) => format!("Invalid configuration: {problems}\n"),
    };
    report.push_str(&verdict);
    out.stdout
        .write_all(report.as_bytes())
        .context("the output cannot be written")?;
    anyhow::ensure!(examined.result.is_ok(), "invalid configuration");
    Ok(())
}
