//! The door of the node: settings, logs, the command line, and the screen on
//! which all parts are put together.
//!
//! Nothing here decides about chains, jobs or money. What is decided here is
//! what the operator said ([`config`]), how the node speaks ([`logging`]) and
//! which verb was asked for ([`cli`], [`cmd`]). Only this crate reads the
//! environment of the process.

mod arguments;
mod campaign;
pub mod cli;
pub mod client;
pub mod cmd;
pub mod config;
mod first_start;
pub mod help;
pub mod jsonapi;
pub mod logging;
pub mod password;
mod pulse;
pub mod role;
mod settings;
pub mod table;
mod telemetry;
mod vault;
pub mod version;
mod wire;

pub use arguments::with_two_dashes;
