//! The services of this crate on a real SQLite file and a real PostgreSQL: rows go in, rounds, rows come out.
//!
//! There is no chain here. Blocks and logs are rows, as the scanner would have written them; what becomes
//! of transactions is written as the confirmer would. Flux monitors ask an aggregator that does as it is told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod base;
mod bridges;
mod claims;
mod effects;
mod feed;
mod flux;
mod jobs;
mod notifier;
mod pruning;
mod reorganisations;
mod results;
mod runs;
mod scene;
mod scheduler;
mod transactions;
mod triggers;
mod world;
