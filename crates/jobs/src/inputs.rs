//! The variables of a run that answers a request.

use alloy::hex;
use dodona_pipeline::{Inputs, Value};
use dodona_store::heads::Head;
use dodona_store::jobs::Job;
use dodona_store::logs::Log;

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

/// Whether these are the variables of the same question, whatever block carries it. Its expiration
/// is not part of the question: what was fetched stays right.
pub(crate) fn ask_the_same(inputs: &Inputs, asked: &Asked) -> bool {
    let Ok(vars) = Value::from_stored(&inputs.vars) else {
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
        let inputs = Inputs::read(&inputs.to_text()).unwrap();
        let later = Asked {
            expiration: U256::from(99),
            ..asked()
        };
        assert!(ask_the_same(&inputs, &asked()) && ask_the_same(&inputs, &later));
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
        assert!(others.iter().all(|other| !ask_the_same(&inputs, other)));
        assert!(!ask_the_same(&Inputs::new(&Value::Null), &asked()));
    }
}
