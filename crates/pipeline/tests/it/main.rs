//! The job language from outside, as the rest of the node uses it.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by stopping")]

mod attacks;
mod chain_tasks;
mod conformance;
mod egress;
mod engine;
mod fake;
mod flux;
mod fuzz;
mod hostile;
mod http_tasks;
mod jobs;
mod legacy;
mod migrate;
mod pages;
mod source;
mod specs;
mod tools;
