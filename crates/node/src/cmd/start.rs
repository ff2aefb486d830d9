//! `dodona node start`.

use super::Said;
use crate::cli::StartArgs;
use crate::config::{self, Inputs, LogLevel};
use crate::{logging, role};

/// Reads and checks the settings, then becomes a node.
pub async fn run(inputs: &Inputs, arguments: StartArgs) -> anyhow::Result<()> {
    let mut config = config::load(inputs)?;
    if arguments.debug {
        config.log.level = LogLevel::Debug;
    }
    let log = logging::init(&config.log, config.database.log_queries)?;
    for note in &config.notes {
        tracing::info!("{note}");
    }
    let options = role::StartOptions {
        api_credentials: arguments.api,
        password_file: arguments.password,
        log,
    };
    // From here on the log is where people and programs look, in whatever shape it has.
    let done = role::start(config, options).await;
    done.map_err(|cause| {
        tracing::error!(crit = true, "{cause:#}");
        Said(cause).into()
    })
}
