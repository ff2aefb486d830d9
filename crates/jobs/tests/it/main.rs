//! The services of this crate on real databases: rows go in, rows come out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bridges;
mod notifier;
mod results;
mod scheduler;
mod world;
