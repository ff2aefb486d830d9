//! The scanner on a real SQLite file and a real PostgreSQL, before a scripted chain that forks, lies and
//! refuses on command, and before a real one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod catching_up;
mod contracts;
mod first_scan;
mod pruning;
mod random;
mod real_chain;
mod reorganisations;
mod scene;
mod scripted;
mod trouble;
