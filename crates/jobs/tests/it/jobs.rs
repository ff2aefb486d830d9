//! Small jobs, as an operator would write them.

use alloy::primitives::{Address, U256};
use dodona_pipeline::{JobKind, JobSpec};
use dodona_store::jobs::NewJob;
use uuid::Uuid;

use crate::scene::{CHAIN, ORACLE};

const REQUEST: &str = r#"request [type=ethabidecodelog data="$(jobRun.logData)" topics="$(jobRun.logTopics)"
    abi="OracleRequest(bytes32 indexed specId, address requester, bytes32 requestId, uint256 payment, address callbackAddr, bytes4 callbackFunctionId, uint256 cancelExpiration, uint256 dataVersion, bytes data)"]"#;
const ANSWER: &str = r#"word [type=ethabiencode abi="(uint256 value)" data=<{"value": $(number)}>]
  answer [type=ethabiencode
    abi="fulfillOracleRequest(bytes32 requestId, uint256 payment, address callbackAddress, bytes4 callbackFunctionId, uint256 expiration, bytes32 data)"
    data=<{"requestId": $(request.requestId), "payment": $(request.payment), "callbackAddress": $(request.callbackAddr),
           "callbackFunctionId": $(request.callbackFunctionId), "expiration": $(request.cancelExpiration), "data": $(word)}>]"#;

/// A job that answers with the number which `fetch` finds in a document under `value`. `fetch` is a task,
/// `send` what stands beside type, receiver and data of the transaction.
pub(crate) fn answering(fetch: &str, send: &str) -> String {
    format!(
        r#"{REQUEST}
  {fetch}
  number [type=jsonparse data="$(fetch)" path="value"]
  {ANSWER}
  send [type=ethtx to="{ORACLE}" data="$(answer)" {send}]
  request -> fetch -> number -> word -> answer -> send"#
    )
}

/// [`answering`] from a URL on this machine, waiting for one confirmation.
pub(crate) fn price(url: &str) -> String {
    answering(&get(url), "minConfirmations=1")
}

pub(crate) fn get(url: &str) -> String {
    format!(
        r#"fetch [type=http method=GET url="{url}" allowUnrestrictedNetworkAccess="true" timeout="30s" retries=0]"#
    )
}

pub(crate) fn bridge(name: &str) -> String {
    format!(r#"fetch [type=bridge name="{name}" requestData=<{{"data": {{}}}}> timeout="30s"]"#)
}

/// What the operator may say about a job beside its pipeline.
#[derive(Debug, Clone, Default)]
pub(crate) struct Say {
    pub(crate) min_confirmations: Option<u32>,
    pub(crate) min_payment: Option<u64>,
    pub(crate) requesters: Vec<Address>,
    pub(crate) gas_limit: Option<u32>,
}

/// The row of a job with this pipeline; the pipeline is checked as it would be when created.
pub(crate) fn row(dot: &str, say: &Say) -> NewJob {
    let id = Uuid::new_v4();
    let toml = format!(
        "type = \"directrequest\"\nschemaVersion = 1\nexternalJobID = \"{id}\"\nevmChainID = \"{CHAIN}\"\n\
         contractAddress = \"{ORACLE}\"\nobservationSource = \"\"\"\n{dot}\n\"\"\"\n"
    );
    let spec = JobSpec::parse(&toml).unwrap_or_else(|error| panic!("{error}\n{toml}"));
    assert!(matches!(spec.kind, JobKind::DirectRequest(_)));
    NewJob {
        external_job_id: id,
        name: "a job".to_owned(),
        kind: "directrequest".to_owned(),
        schema_version: 1,
        toml,
        dot: spec.observation_source,
        chain_id: Some(CHAIN),
        contract_address: Some(ORACLE),
        min_confirmations: say.min_confirmations,
        min_payment_juels: say.min_payment.map(U256::from),
        requesters: say.requesters.clone(),
        gas_limit: say.gas_limit,
        forwarding_allowed: false,
        max_task_duration: None,
    }
}
