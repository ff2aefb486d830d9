//! The door of the node, tried from outside: settings, commands, what people see.

// A helper that fails should end its test there and then.
#![allow(clippy::unwrap_used)]

mod commands;
mod config;
mod gateway;
mod reference;
mod scripted_node;
mod sessions;
mod validate;
