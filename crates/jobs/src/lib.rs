//! ② Triggers and ③ runs: which job has to run now, and run it.
//!
//! [`Triggers`] decides what each confirmed, canonical log means: the consumed mark, the request row
//! and the run are one database transaction. [`Scheduler`] does the same for the ticks of cron jobs;
//! webhook jobs get their runs from the API, and [`Notifier`] tells external initiators about such
//! jobs. [`Runner`] executes runs under a claim that expires, so
//! that any replica may do it; results and queued transactions commit only if the claim still stands.
//!
//! What this does not do: look at the chain's logs itself (`chain` did), sign or send (`txm` does).

mod batch;
mod config;
mod demands;
mod flux;
mod gathered;
mod inputs;
mod log;
mod notifier;
mod observe;
mod outcome;
mod ports;
mod pruner;
mod request;
mod runner;
mod scheduler;
mod slots;
mod specs;
mod surplus;
mod triggers;

pub use config::{ChainRules, FluxConfig, RunnerConfig, TriggerConfig};
pub use flux::FluxMonitors;
pub use notifier::Notifier;
pub use ports::Outside;
pub use pruner::Pruner;
pub use runner::Runner;
pub use scheduler::Scheduler;
pub use triggers::Triggers;
