//! What a run starts from, as its row keeps it: its variables and the seed of its ids.

use std::collections::BTreeMap;

use alloy::primitives::keccak256;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::value::{Value, int_value};

/// Enough to execute a run on any replica at any time.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Makes the ids of the run's task runs: stable over restarts, and nobody outside can guess them.
    pub seed: Uuid,
    /// `jobSpec` and `jobRun`, without loss.
    pub vars: Json,
    /// What is to be done with the result, in the words of the job's type; null where nothing is.
    pub purpose: Json,
}

/// Why a run's inputs cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the run's inputs cannot be read: {0}")]
pub struct InputsError(String);

impl Inputs {
    /// New inputs with a seed of their own.
    pub fn new(vars: &Value) -> Self {
        Self {
            seed: Uuid::new_v4(),
            vars: vars.to_stored(),
            purpose: Json::Null,
        }
    }

    /// As the row keeps them.
    pub fn to_text(&self) -> String {
        let mut kept = json!({ "seed": self.seed.to_string(), "vars": self.vars });
        if !self.purpose.is_null() {
            kept["purpose"] = self.purpose.clone();
        }
        kept.to_string()
    }

    /// From the row.
    pub fn read(text: &str) -> Result<Self, InputsError> {
        let mut kept: Json =
            serde_json::from_str(text).map_err(|error| InputsError(error.to_string()))?;
        let seed = kept.get("seed").and_then(Json::as_str);
        let seed = seed.and_then(|seed| Uuid::parse_str(seed).ok());
        let purpose = kept.get_mut("purpose").map(Json::take).unwrap_or_default();
        match (seed, kept.get_mut("vars").map(Json::take)) {
            (Some(seed), Some(vars)) => Ok(Self {
                seed,
                vars,
                purpose,
            }),
            (None, _) => Err(InputsError("there is no seed".to_owned())),
            (_, None) => Err(InputsError("there are no variables".to_owned())),
        }
    }

    /// The id of a task's run within this run.
    pub fn task_run_id(&self, dot_id: &str) -> Uuid {
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&keccak256([self.seed.as_bytes(), dot_id.as_bytes()].concat())[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// A job as its own pipeline sees it: `$(jobSpec…)`.
#[derive(Debug, Clone, Copy)]
pub struct JobFacts<'a> {
    /// Its number.
    pub id: i64,
    /// How the world names it.
    pub external_job_id: Uuid,
    /// Its label.
    pub name: &'a str,
    /// Its chain, where it names one.
    pub evm_chain_id: Option<u64>,
}

impl JobFacts<'_> {
    fn job_spec(&self) -> Value {
        let mut entries = vec![
            ("databaseID", Value::Int(self.id)),
            ("externalJobID", Value::Uuid(self.external_job_id)),
            ("name", Value::String(self.name.to_owned())),
        ];
        if let Some(chain) = self.evm_chain_id {
            entries.push(("evmChainID", Value::String(chain.to_string())));
        }
        Value::map(entries)
    }

    /// The variables of a run that finds a flux monitor's number. `latest`: the aggregator's answer and
    /// when it was given (seconds since 1970), which bridges are told; `None` before the first one.
    pub fn for_a_round(&self, latest: Option<(Value, u64)>) -> Value {
        let meta = latest.map(|(answer, updated_at)| {
            Value::map([
                ("latestAnswer", answer),
                ("updatedAt", int_value(updated_at.into())),
            ])
        });
        let run = Value::map([("meta", meta.unwrap_or_default())]);
        Value::map([("jobSpec", self.job_spec()), ("jobRun", run)])
    }

    /// The variables of a run that a schedule starts.
    pub fn at_a_tick(&self) -> Value {
        let run = Value::map([("meta", Value::Map(BTreeMap::new()))]);
        Value::map([("jobSpec", self.job_spec()), ("jobRun", run)])
    }

    /// The variables of a run that a call of the API starts.
    pub fn at_a_call(&self, body: &str) -> Value {
        let run = Value::map([
            ("requestBody", Value::String(body.to_owned())),
            ("meta", Value::Null),
        ]);
        Value::map([("jobSpec", self.job_spec()), ("jobRun", run)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobFacts<'_> = JobFacts {
        id: 7,
        external_job_id: Uuid::from_u128(7),
        name: "seven",
        evm_chain_id: None,
    };

    #[test]
    fn a_task_run_keeps_its_id_and_two_tasks_never_share_one() {
        let inputs = Inputs::new(&JOB.at_a_call("{}"));
        let again = Inputs::read(&inputs.to_text()).unwrap();
        assert_eq!(inputs, again);
        assert_eq!(inputs.task_run_id("send"), again.task_run_id("send"));
        assert_ne!(inputs.task_run_id("send"), inputs.task_run_id("fetch"));
        assert_ne!(inputs.seed, Inputs::new(&JOB.at_a_tick()).seed);
    }

    #[test]
    fn what_is_no_row_of_ours_is_refused() {
        for text in ["", "{}", "{\"seed\":\"x\",\"vars\":{}}", "[1]"] {
            assert!(Inputs::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_call_brings_its_body_as_text_and_a_tick_an_empty_meta() {
        let called = JOB.at_a_call("{\"a\":1}").to_output_json();
        assert!(called.contains(r#""jobRun":{"meta":null,"requestBody":"{\"a\":1}"}"#));
        assert!(!called.contains("evmChainID"));
        let ticked = JobFacts {
            evm_chain_id: Some(1),
            ..JOB
        };
        let ticked = ticked.at_a_tick().to_output_json();
        assert!(ticked.contains(r#""jobRun":{"meta":{}}"#), "{ticked}");
        assert!(ticked.contains(r#""evmChainID":"1""#), "{ticked}");
    }
}
