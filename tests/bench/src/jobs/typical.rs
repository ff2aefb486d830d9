//! A job as operators have them, and a request for it.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolEvent;
use anyhow::Result;
use dodona_model::ChainId;
use dodona_pipeline::{JobSpec, Pipeline, Value};
use dodona_store::jobs::NewJob;
use dodona_testkit::contracts::{Oracle, SpecId};
use uuid::Uuid;

pub(super) const CHAIN: ChainId = 31337;
pub(super) const ORACLE: Address = Address::repeat_byte(0x0a);

const EVENT: &str = "OracleRequest(bytes32 indexed specId, address requester, bytes32 requestId, uint256 payment, address callbackAddr, bytes4 callbackFunctionId, uint256 cancelExpiration, uint256 dataVersion, bytes data)";
const FULFIL: &str = "fulfillOracleRequest(bytes32 requestId, uint256 payment, address callbackAddress, bytes4 callbackFunctionId, uint256 expiration, bytes32 data)";

/// Eight tasks: read the request, fetch (one call over HTTP), parse, compute, encode twice. `url`: where `fetch`
/// asks.
pub(super) fn eight_tasks(url: &str) -> String {
    pipeline(&format!(
        r#"fetch [type=http method=GET url="{url}" allowUnrestrictedNetworkAccess="true" timeout="10s"]"#
    ))
}

/// The same with `fetch` replaced by a task that computes: nothing leaves the process.
pub(super) fn eight_pure_tasks() -> String {
    pipeline(
        r#"fetch [type=memo value=<{"data": {"price": "1834.2", "volume": 7}, "source": "a memory"}>]"#,
    )
    .replace(r#"pick  [type=jsonparse data="$(fetch)" path="data,price"]"#, r#"pick  [type=median values=<[ $(fetch.data.price), 1834.1, 1835 ]>]"#)
}

/// One task, a bridge that answers later.
pub(super) const LATER: &str =
    r#"ask [type=bridge name=later async=true requestData=<{"city": "Ioannina"}>]"#;

fn pipeline(fetch: &str) -> String {
    format!(
        r#"log   [type=ethabidecodelog abi="{EVENT}" data="$(jobRun.logData)" topics="$(jobRun.logTopics)"]
req   [type=cborparse data="$(log.data)"]
opts  [type=merge left=<{{"times": 1}}> right="$(req)"]
{fetch}
pick  [type=jsonparse data="$(fetch)" path="data,price"]
scale [type=multiply input="$(pick)" times="$(opts.times)"]
word  [type=ethabiencode abi="(uint256 value)" data=<{{"value": $(scale)}}>]
call  [type=ethabiencode abi="{FULFIL}"
       data=<{{"requestId": $(log.requestId), "payment": $(log.payment), "callbackAddress": $(log.callbackAddr),
              "callbackFunctionId": $(log.callbackFunctionId), "expiration": $(log.cancelExpiration), "data": $(word)}}>]
log -> req -> opts -> fetch -> pick -> scale -> word -> call
"#
    )
}

/// A whole spec of a direct request.
pub(super) fn spec(id: Uuid, dot: &str) -> String {
    format!(
        "type = \"directrequest\"\nschemaVersion = 1\nname = \"a price\"\nexternalJobID = \"{id}\"\nevmChainID = \"{CHAIN}\"\n\
         contractAddress = \"{ORACLE}\"\nminIncomingConfirmations = 1\nminContractPaymentLinkJuels = \"0\"\n\
         observationSource = '''\n{dot}'''\n"
    )
}

/// The row of a job with this pipeline.
pub(super) fn row(dot: &str) -> NewJob {
    let id = Uuid::new_v4();
    NewJob {
        external_job_id: id,
        name: "a price".to_owned(),
        kind: "directrequest".to_owned(),
        schema_version: 1,
        toml: spec(id, dot),
        dot: dot.to_owned(),
        chain_id: Some(CHAIN),
        contract_address: Some(ORACLE),
        min_confirmations: Some(1),
        min_payment_juels: Some(U256::ZERO),
        requesters: Vec::new(),
        gas_limit: None,
        forwarding_allowed: false,
        max_task_duration: None,
    }
}

/// What a request for a job says on chain: topics and data.
pub(super) fn request(job: Uuid, n: u64) -> (Vec<B256>, Bytes) {
    let spec_id = SpecId::text(job).0;
    let event = Oracle::OracleRequest {
        specId: spec_id,
        requester: Address::repeat_byte(0x5e),
        requestId: B256::from(U256::from(n)),
        payment: U256::from(100_u64),
        callbackAddr: Address::repeat_byte(0x5e),
        callbackFunctionId: [1, 2, 3, 4].into(),
        cancelExpiration: U256::from(1_800_000_000_u64),
        dataVersion: U256::from(1),
        // CBOR, {"times": 100}
        data: Bytes::from_static(b"\xa1\x65times\x18\x64"),
    };
    let topics = vec![Oracle::OracleRequest::SIGNATURE_HASH, spec_id];
    (topics, event.encode_data().into())
}

/// The variables of a run for that request.
pub(super) fn variables(job: Uuid, n: u64) -> BTreeMap<String, Value> {
    let (topics, data) = request(job, n);
    let topics = topics.into_iter().map(Value::Hash).collect();
    let run = Value::map([
        ("logTopics", Value::List(topics)),
        ("logData", Value::Bytes(data.0)),
        ("logAddress", Value::Address(ORACLE)),
    ]);
    let spec = Value::map([
        ("databaseID", Value::Int(1)),
        ("externalJobID", Value::Uuid(job)),
        ("name", Value::String("a price".to_owned())),
    ]);
    BTreeMap::from([("jobRun".to_owned(), run), ("jobSpec".to_owned(), spec)])
}

pub(super) fn parsed(dot: &str) -> Result<Pipeline> {
    Ok(Pipeline::parse(dot)?)
}

/// As the node reads a spec when a job is created.
pub(super) fn read(toml: &str) -> Result<JobSpec> {
    Ok(JobSpec::parse(toml)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typical_job_has_eight_tasks_and_is_read_without_a_warning() {
        for dot in [eight_tasks("https://a.example/"), eight_pure_tasks()] {
            assert_eq!(parsed(&dot).unwrap().tasks().count(), 8);
            assert_eq!(read(&spec(Uuid::new_v4(), &dot)).unwrap().warnings, [""; 0]);
        }
        let pure = parsed(&eight_pure_tasks()).unwrap();
        assert!(
            pure.tasks()
                .all(|task| !matches!(task.type_name(), "http" | "bridge"))
        );
    }
}
