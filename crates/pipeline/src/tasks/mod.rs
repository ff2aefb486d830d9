//! What each type of task does.
//!
//! A task is a function from what it can see ([`Task`]) to what it achieved ([`Done`]) or the
//! error. Most are pure; those that reach outside do it through [`Ports`].

mod abi;
mod aggregate;
mod arithmetic;
mod bridge;
mod cborparse;
mod control;
mod estimategaslimit;
mod ethcall;
pub(crate) mod ethtx;
mod http;
pub(crate) mod jsonparse;
mod text;

use std::ops::RangeInclusive;
use std::time::Duration;

use alloy::primitives::B256;
use uuid::Uuid;

use crate::convert::string;
use crate::error::{TaskError, text as words};
use crate::graph::TaskDef;
use crate::outcome::{Limits, TxIntent};
use crate::params::{Param, resolve};
use crate::ports::Ports;
use crate::task_type::TaskType;
use crate::value::Value;
use crate::vars::{Finished, Vars};

/// What a task sees of the world.
pub(crate) struct Task<'a> {
    pub(crate) def: &'a TaskDef,
    pub(crate) vars: &'a Vars,
    /// Results handed over along explicit edges, in order.
    pub(crate) inputs: &'a [Finished],
    pub(crate) ports: &'a dyn Ports,
    pub(crate) limits: &'a Limits,
    pub(crate) run_id: i64,
    pub(crate) task_run_id: Uuid,
    pub(crate) source_hash: B256,
    /// The engine ends the attempt after this time; whose limit it is.
    pub(crate) time_limit: Option<(Duration, &'static str)>,
}

/// What a task achieved.
#[derive(Debug)]
pub(crate) enum Done {
    Value(Value),
    /// Its value comes later, from outside.
    Pending,
    /// A transaction is to be queued.
    Transaction(Box<TxIntent>),
}

/// Makes one attempt.
pub(crate) async fn run(task: &Task<'_>) -> Result<Done, TaskError> {
    use TaskType::*;
    let value = match task.def.kind {
        Http => http::run(task).await?,
        Bridge => return bridge::run(task).await,
        EthCall => ethcall::run(task).await?,
        EstimateGasLimit => estimategaslimit::run(task).await?,
        EthTx => return ethtx::run(task).map(|intent| Done::Transaction(Box::new(intent))),
        Any => control::any(task)?,
        Coalesce => control::coalesce(task)?,
        Conditional => control::conditional(task)?,
        Merge => control::merge(task)?,
        Lookup => control::lookup(task)?,
        Memo => control::memo(task)?,
        Fail => control::fail(task)?,
        Panic => control::panic(task)?,
        CborParse => cborparse::run(task)?,
        JsonParse => jsonparse::run(task)?,
        Multiply => arithmetic::multiply(task)?,
        Divide => arithmetic::divide(task)?,
        LessThan => arithmetic::less_than(task)?,
        Length => arithmetic::length(task)?,
        Mean => aggregate::mean(task)?,
        Median => aggregate::median(task)?,
        Mode => aggregate::mode(task)?,
        Sum => aggregate::sum(task)?,
        Lowercase => text::lowercase(task)?,
        Uppercase => text::uppercase(task)?,
        Base64Encode => text::base64_encode(task)?,
        Base64Decode => text::base64_decode(task)?,
        HexEncode => text::hex_encode(task)?,
        HexDecode => text::hex_decode(task)?,
        EthAbiDecode => abi::decode(task)?,
        EthAbiDecodeLog => abi::decode_log(task)?,
        EthAbiEncode => abi::encode(task)?,
        EthAbiEncode2 => abi::encode_json(task)?,
    };
    Ok(Done::Value(value))
}

/// It asks somebody outside, so it must not even start when there is no time left.
pub(crate) fn reaches_out(def: &TaskDef) -> bool {
    use TaskType::*;
    matches!(def.kind, Http | Bridge | EthCall | EstimateGasLimit)
}

/// It may change something on the other side: its result is stored as it comes.
pub(crate) fn is_effect(def: &TaskDef) -> bool {
    match def.kind {
        TaskType::Bridge => true,
        TaskType::Http => !http::method(def).eq_ignore_ascii_case("GET"),
        _ => false,
    }
}

/// The error of an attempt that took longer than it may.
pub(crate) fn timed_out(def: &TaskDef, limit: Duration, whose: &str) -> TaskError {
    let words = match def.kind {
        TaskType::Http | TaskType::Bridge => crate::egress::TIMED_OUT,
        _ => words::TIMEOUT,
    };
    TaskError::new(format!("{words} after {limit:?} ({whose})"))
}

/// Any number of inputs.
const ANY_NUMBER: RangeInclusive<usize> = 0..=usize::MAX;
const AT_MOST_ONE: RangeInclusive<usize> = 0..=1;

impl Task<'_> {
    /// The first thing most tasks do: the number of inputs must fit and none may have failed.
    fn check_inputs(&self, allowed: RangeInclusive<usize>) -> Result<(), TaskError> {
        let count = self.inputs.len();
        if !allowed.contains(&count) {
            let range = match (allowed.start(), allowed.end()) {
                (min, max) if min == max => format!("exactly {min}"),
                (min, &usize::MAX) => format!("at least {min}"),
                (min, max) => format!("{min} to {max}"),
            };
            return Err(TaskError::new(words::WRONG_INPUTS)
                .within(format!("task inputs: takes {range}, got {count}")));
        }
        let failed = self.inputs.iter().filter(|i| i.is_err()).count();
        match failed {
            0 => Ok(()),
            n => Err(TaskError::new(words::TOO_MANY_ERRORS)
                .within(format!("task inputs: {n} of {count} failed"))),
        }
    }

    /// `input` as most tasks read it.
    fn input_param(&self) -> Param<'_> {
        self.param("input").expression().literal().input()
    }

    /// The chain the task works on.
    fn chain_id(&self) -> Result<u64, TaskError> {
        let text = self
            .param_or("evmChainID", "$(jobSpec.evmChainID)")
            .expression()
            .literal()
            .to(|value| match crate::convert::whole(value) {
                Some(number) => Ok(number.to_string()),
                None => string(value),
            })?;
        text.parse().map_err(|_| {
            TaskError::new(words::INVALID_CHAIN).within(format!(
                "evmChainID: {:?}",
                crate::error::excerpt(&text, 40)
            ))
        })
    }
}
