//! Flux monitors: a number is looked at on many occasions and submitted to an aggregator's rounds.
//!
//! [`FluxMonitors`], led by the chain's leader, decides when a job looks (timers, rounds that others
//! begin) and whether looking is worth while; a run finds the number; whoever executed the run asks
//! the contract once more and commits `submit(round, answer)` together with the results. A round is
//! submitted to once by one key, whatever is killed in between: the transaction's identity is the
//! round's.
//!
//! What this does not do: hold a round's answer back until others answered, or pay anybody.

mod contract;
mod deviation;
mod occasion;
mod round;
mod service;
mod standing;
mod submission;
mod timers;

pub(crate) use occasion::Asked;
pub use service::FluxMonitors;
pub(crate) use submission::{Closing, Concluded, close, conclude};
