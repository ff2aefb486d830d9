//! What the oracle contracts' logs say.

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol;
use alloy::sol_types::SolEvent;
use dodona_store::logs::Log;
use dodona_store::requests::Incarnation;

sol! {
    /// The contracts' own event; every field but the first is in the data.
    event OracleRequest(
        bytes32 indexed specId,
        address requester,
        bytes32 requestId,
        uint256 payment,
        address callbackAddr,
        bytes4 callbackFunctionId,
        uint256 cancelExpiration,
        uint256 dataVersion,
        bytes data
    );
}

/// A request as its log says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) spec_id: B256,
    pub(crate) requester: Address,
    pub(crate) request_id: B256,
    pub(crate) payment_juels: U256,
    pub(crate) callback_address: Address,
    pub(crate) callback_function: [u8; 4],
    pub(crate) expiration: U256,
    pub(crate) data_version: U256,
    pub(crate) data: Vec<u8>,
}

/// Reads an `OracleRequest` log; the error says what is wrong with it.
pub(crate) fn asked(log: &Log) -> Result<Asked, String> {
    let event = OracleRequest::decode_raw_log(log.topics.iter().copied(), &log.data)
        .map_err(|cause| format!("the log is no readable OracleRequest: {cause}"))?;
    Ok(Asked {
        spec_id: event.specId,
        requester: event.requester,
        request_id: event.requestId,
        payment_juels: event.payment,
        callback_address: event.callbackAddr,
        callback_function: event.callbackFunctionId.0,
        expiration: event.cancelExpiration,
        data_version: event.dataVersion,
        data: event.data.to_vec(),
    })
}

impl Asked {
    /// This request in the block of `log`.
    pub(crate) fn incarnation(&self, log: &Log) -> Incarnation {
        Incarnation {
            block: log.block,
            log_index: log.log_index,
            tx_hash: log.tx_hash,
            payment_juels: self.payment_juels,
            expires_at_seconds: u64::try_from(self.expiration).unwrap_or(u64::MAX),
            callback_address: self.callback_address,
            // Everything the contract compares at fulfilment, and the question itself, is in the data.
            terms: keccak256(&log.data),
        }
    }
}
