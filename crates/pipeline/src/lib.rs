//! The job language: specs, the graph, the engine, one file per kind of task.
//!
//! A job spec is TOML with a pipeline in it, a graph of tasks written in DOT. [`JobSpec::parse`]
//! reads it; [`execute`] runs the pipeline once. The engine fetches, parses, computes and encodes;
//! it writes nothing anywhere. A transaction it is asked for is a [`TxIntent`] in the
//! [`Outcome`], which the caller commits together with the results. What tasks need from outside
//! comes through [`Ports`].
//!
//! A run that waits (for a receipt, for a late answer of a bridge) is not kept in memory: the caller
//! stores the results and calls [`execute`] again with them, here or on another machine.
//!
//! The rules are those of the Chainlink node, so that its job specs mean here what they mean there.
//! Where we differ on purpose the code says so.

mod abi;
mod cbor;
mod check;
mod convert;
pub mod decimal;
pub mod diff;
mod dot;
pub mod draw;
mod duration;
pub mod egress;
mod engine;
mod error;
mod graph;
mod inputs;
pub mod legacy;
pub mod lint;
mod nearest;
mod observe;
mod outcome;
mod params;
mod ports;
pub mod reference;
pub mod rehearsal;
mod spec;
mod task_type;
mod tasks;
mod value;
mod vars;

pub use dot::{ParseError, Place};
pub use duration::parse_duration;
pub use engine::execute;
pub use error::{TaskError, text};
pub use graph::{MAX_SOURCE_BYTES, MAX_TASKS, Pipeline, TaskDef};
pub use inputs::{Inputs, InputsError, JobFacts};
pub use outcome::{
    GasLimits, Limits, Outcome, RunInput, RunState, StoredResult, TaskResult, TxIntent,
};
pub use ports::{
    BlockChoice, BridgeCacheKey, BridgeTarget, CallOrigin, EstimateGas, EthCall, EthCallError,
    HttpCall, HttpReply, Ports, Reach,
};
pub use spec::{
    Cron, DirectRequest, FluxMonitor, InitiatorSpec, JobKind, JobSpec, MAX_SPEC_BYTES, Schedule,
    ScheduleError, SpecError, Webhook,
};
pub use task_type::{Nature, TaskType, UnknownTaskType};
pub use value::{
    JsonError, MAX_DEPTH, NumberError, StoredError, Value, go_float, read_first_json, read_json,
};
