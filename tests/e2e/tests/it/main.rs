//! Stories: the program as operators run it, on a real chain with the contracts of the field, on both engines. Whatever
//! is promised about bad days is broken here on purpose.
//!
//! A request is made through a consumer contract, and the answer is read from the consumer.

#![allow(
    clippy::disallowed_methods,
    reason = "tests are told by their environment how long they may take and which dice to roll"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_jobs;
mod bad_starts;
mod chance;
mod clocks;
mod endpoints;
mod flux;
mod fulfilment;
mod guide;
mod imported;
mod keys;
mod kills;
mod money;
mod outside;
mod refusals;
mod reorgs;
mod replicas;
mod restarts;
mod scene;
mod sources;
mod specs;
