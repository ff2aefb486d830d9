//! A run's variables, and how they are kept with it.

use alloy::hex;
use alloy::primitives::keccak256;
use anyhow::Context;
use dodona_pipeline::Value;
use dodona_store::heads::Head;
use dodona_store::jobs::Job;
use dodona_store::logs::Log;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::Asked;

/// The words of a request that make it this question and no other: all but its expiration, which is new in
/// every block that carries it.
const QUESTION: [&str; 8] = [
    "specId",
    "requester",
    "requestId",
    "payment",
    "callbackAddr",
    "callbackFunctionId",
    "dataVersion",
    "data",
];

/// What is kept: enough to execute the run on any replica at any time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// Makes the ids of the run's task runs: stable over restarts, and nobody outside can guess them.
    pub(crate) seed: Uuid,
    /// `jobSpec` and `jobRun`, without loss.
    pub(crate) vars: serde_json::Value,
    /// What a flux monitor does with the number that is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flux: Option<crate::flux::Asked>,
}

impl Inputs {
    pub(crate) fn new(vars: &Value) -> Self {
        Self {
            seed: Uuid::new_v4(),
            vars: vars.to_stored(),
            flux: None,
        }
    }

    pub(crate) fn read(text: &str) -> anyhow::Result<Self> {
        serde_json::from_str(text).context("the run's inputs cannot be read")
    }

    /// Whether these are the variables of the same question, whatever block carries it. Its expiration
    /// is not part of the question: what was fetched stays right.
    pub(crate) fn ask_the_same(&self, asked: &Asked) -> bool {
        let Ok(vars) = Value::from_stored(&self.vars) else {
            return false;
        };
        let path = ["jobRun", "meta", "oracleRequest"];
        let before = path
            .iter()
            .try_fold(&vars, |value, name| entry(value, name));
        let now = words(asked);
        QUESTION.iter().all(|name| {
            let word = before.and_then(|before| entry(before, name));
            word.is_some() && word == entry(&now, name)
        })
    }

    pub(crate) fn to_text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// The id of a task's run within this run.
    pub(crate) fn task_run_id(&self, dot_id: &str) -> Uuid {
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&keccak256([self.seed.as_bytes(), dot_id.as_bytes()].concat())[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

fn entry<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Map(entries) => entries.get(name),
        _ => None,
    }
}

/// `$(jobRun.meta.oracleRequest)`.
fn words(asked: &Asked) -> Value {
    let hex = |bytes: &[u8]| Value::String(hex::encode_prefixed(bytes));
    let text = Value::String;
    Value::map([
        ("specId", hex(asked.spec_id.as_slice())),
        ("requester", text(asked.requester.to_string())),
        ("requestId", hex(asked.request_id.as_slice())),
        ("payment", text(asked.payment_juels.to_string())),
        ("callbackAddr", text(asked.callback_address.to_string())),
        ("callbackFunctionId", hex(&asked.callback_function)),
        ("cancelExpiration", text(asked.expiration.to_string())),
        ("dataVersion", text(asked.data_version.to_string())),
        ("data", hex(&asked.data)),
    ])
}

/// `$(jobSpec…)` and `$(jobRun…)` of a flux monitor: bridges are told what the aggregator says now.
pub(crate) fn of_flux(job: &Job, latest: Option<&crate::flux::Latest>) -> Value {
    let number =
        |n: &dyn std::fmt::Display| dodona_pipeline::read_json(&n.to_string()).unwrap_or_default();
    let meta = latest.map(|latest| {
        Value::map([
            ("latestAnswer", number(&latest.answer)),
            ("updatedAt", number(&latest.updated_at)),
        ])
    });
    let chain = job.spec.chain_id.map(|chain| chain.to_string());
    let spec = Value::map([
        ("databaseID", Value::Int(job.id)),
        ("externalJobID", Value::Uuid(job.spec.external_job_id)),
        ("name", Value::String(job.spec.name.clone())),
        ("evmChainID", Value::String(chain.unwrap_or_default())),
    ]);
    let run = Value::map([("meta", meta.unwrap_or_default())]);
    Value::map([("jobSpec", spec), ("jobRun", run)])
}

/// `$(jobSpec…)` and `$(jobRun…)` of a direct request.
pub(crate) fn of_request(job: &Job, log: &Log, asked: &Asked, head: Option<&Head>) -> Value {
    let text = Value::String;
    let chain = job
        .spec
        .chain_id
        .map(|chain| chain.to_string())
        .unwrap_or_default();
    let root = |root: fn(&Head) -> alloy::primitives::B256| {
        head.map_or(Value::Null, |head| Value::Hash(root(head)))
    };
    let run = Value::map([
        ("meta", Value::map([("oracleRequest", words(asked))])),
        ("logBlockHash", Value::Hash(log.block.hash)),
        ("logBlockNumber", Value::Uint(log.block.number)),
        ("logTxHash", Value::Hash(log.tx_hash)),
        ("logAddress", Value::Address(log.address)),
        (
            "logTopics",
            Value::List(log.topics.iter().map(|topic| Value::Hash(*topic)).collect()),
        ),
        ("logData", Value::Bytes(log.data.0.clone())),
        ("blockReceiptsRoot", root(|head| head.receipts_root)),
        ("blockTransactionsRoot", root(|head| head.transactions_root)),
        ("blockStateRoot", root(|head| head.state_root)),
    ]);
    let spec = Value::map([
        ("databaseID", Value::Int(job.id)),
        ("externalJobID", Value::Uuid(job.spec.external_job_id)),
        ("name", text(job.spec.name.clone())),
        ("evmChainID", text(chain)),
    ]);
    Value::map([("jobSpec", spec), ("jobRun", run)])
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256, U256};

    use super::*;

    fn asked() -> Asked {
        Asked {
            spec_id: B256::repeat_byte(1),
            requester: Address::repeat_byte(2),
            request_id: B256::repeat_byte(3),
            payment_juels: U256::from(4),
            callback_address: Address::repeat_byte(5),
            callback_function: [6; 4],
            expiration: U256::from(7),
            data_version: U256::from(1),
            data: vec![8],
        }
    }

    #[test]
    fn a_question_stays_the_same_when_only_its_expiration_is_new() {
        let run = Value::map([("meta", Value::map([("oracleRequest", words(&asked()))]))]);
        let inputs = Inputs::new(&Value::map([("jobRun", run)]));
        let inputs = Inputs::read(&inputs.to_text().unwrap()).unwrap();
        let later = Asked {
            expiration: U256::from(99),
            ..asked()
        };
        assert!(inputs.ask_the_same(&asked()) && inputs.ask_the_same(&later));
        let others = [
            Asked {
                data: vec![9],
                ..asked()
            },
            Asked {
                spec_id: B256::ZERO,
                ..asked()
            },
            Asked {
                payment_juels: U256::from(5),
                ..asked()
            },
            Asked {
                callback_function: [7; 4],
                ..asked()
            },
            Asked {
                data_version: U256::from(2),
                ..asked()
            },
        ];
        assert!(others.iter().all(|other| !inputs.ask_the_same(other)));
        assert!(!Inputs::new(&Value::Null).ask_the_same(&asked()));
    }

    #[test]
    fn a_task_run_keeps_its_id_and_two_tasks_never_share_one() {
        let inputs = Inputs::new(&Value::map([("jobRun", Value::Null)]));
        let again = Inputs::read(&inputs.to_text().unwrap()).unwrap();
        assert_eq!(inputs.task_run_id("send"), again.task_run_id("send"));
        assert_ne!(inputs.task_run_id("send"), inputs.task_run_id("fetch"));
    }
}
