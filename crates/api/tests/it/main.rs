//! The API as its clients see it: a real server, real HTTP, real databases.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bridges;
mod calls;
mod cron;
mod front;
mod harness;
mod health;
mod initiators;
mod jobs;
mod keys;
mod metrics;
mod page;
mod resume;
mod roles;
mod rows;
mod runs;
mod server;
mod sessions;
mod status;
mod txs;
mod users;
mod vault;
