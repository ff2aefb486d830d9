//! The store on a real SQLite file and on a real PostgreSQL: the same calls, the same rows.
//!
//! `rows` runs every statement on both engines and compares what came back. The other modules hold the
//! promises that the rest of the node builds on, each under its name.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod claims;
mod commits;
mod leases;
mod life_of_requests;
mod life_of_txs;
mod opening;
mod plans;
mod pokes;
mod rows;
mod texts;
mod world;
