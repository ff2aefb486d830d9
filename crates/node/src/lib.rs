//! The door of the node: settings, logs, the command line, and the screen on
//! which all parts are put together.
//!
//! Nothing here decides about chains, jobs or money. What is decided here is
//! what the operator said ([`config`]), how the node speaks ([`logging`]) and
//! which verb was asked for ([`cli`], [`cmd`]).

pub mod config;
pub mod logging;
pub mod version;
