//! Becoming a node.

use std::path::PathBuf;

use crate::config::Config;
use crate::logging::LogHandle;

/// What the command line adds to the settings.
pub struct StartOptions {
    /// Two lines, for the first user.
    pub api_credentials: Option<PathBuf>,
    /// Wins over the password in the settings.
    pub password_file: Option<PathBuf>,
    /// For changing the console's level at run time.
    pub log: LogHandle,
}

/// Runs a node until it is told to stop.
pub async fn start(_config: Config, _options: StartOptions) -> anyhow::Result<()> {
    anyhow::bail!("the parts of the node are not put together yet in this build: `node start` does nothing")
}
