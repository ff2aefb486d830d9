//! Broadcaster and confirmer on a real SQLite file and a real PostgreSQL, before a real chain behind an
//! endpoint that refuses, forgets and holds back on command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod balances;
mod base;
mod confirming;
mod endpoint;
mod funds;
mod nonces;
mod open_check;
mod random;
mod reorganisations;
mod replacing;
mod scene;
mod sending;
mod telling;
