//! What the oracle contracts say and accept: events, selectors and the two encodings of a job id.

use alloy::primitives::{B256, b256};
use uuid::Uuid;

/// `OracleRequest(bytes32 indexed specId, address requester, bytes32 requestId, uint256 payment,
/// address callbackAddr, bytes4 callbackFunctionId, uint256 cancelExpiration, uint256 dataVersion, bytes data)`.
pub const ORACLE_REQUEST: B256 =
    b256!("d8d7ecc4800d25fa53ce0372f13a416d98907a7ef3d8d3bdd79cf4fe75529c65");
/// `CancelOracleRequest(bytes32 indexed requestId)`.
pub const CANCEL_ORACLE_REQUEST: B256 =
    b256!("a7842b9ec549398102c0d91b1b9919b2f20558aefdadf57528a95c6cd3292e93");
/// `OracleResponse(bytes32 indexed requestId)`; the Operator contract only.
pub const ORACLE_RESPONSE: B256 =
    b256!("9e9bc7616d42c2835d05ae617e508454e63b30b934be8aa932ebc125e0e58a64");
/// `ChainlinkFulfilled(bytes32 indexed id)`, emitted by consumers built on the client library.
pub const CHAINLINK_FULFILLED: B256 =
    b256!("7cc135e0cebb02c3480ae5d74d377283180a2601f8f644edf7987b009316c63a");
/// `fulfillOracleRequest(bytes32,uint256,address,bytes4,uint256,bytes32)`.
pub const FULFILL: [u8; 4] = [0x4a, 0xb0, 0xd1, 0x90];
/// `fulfillOracleRequest2(bytes32,uint256,address,bytes4,uint256,bytes)`.
pub const FULFILL2: [u8; 4] = [0x6a, 0xe0, 0xbc, 0x76];
/// The contract refuses a fulfilment that leaves the consumer less gas than this.
pub const CALLBACK_GAS: u64 = 400_000;

/// The two ways in which a request names a job, both accepted on chain: the UUID's bytes followed by
/// zeros, and the ASCII of its 32 lower-case hex digits.
pub fn spec_ids(job: Uuid) -> [B256; 2] {
    let mut raw = [0u8; 32];
    raw[..16].copy_from_slice(job.as_bytes());
    let mut ascii = [0u8; 32];
    ascii.copy_from_slice(job.simple().encode_lower(&mut [0u8; 32]).as_bytes());
    [B256::from(raw), B256::from(ascii)]
}

/// Whether this call data answers a request (either form).
pub fn is_fulfilment(data: &[u8]) -> bool {
    data.starts_with(&FULFILL) || data.starts_with(&FULFILL2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_under_both_spellings_of_its_id() {
        let job = Uuid::parse_str("b1d42cd5-4a3a-4200-b1f7-25a68e48aad8").unwrap();
        let [raw, ascii] = spec_ids(job);
        assert_eq!(
            raw,
            b256!("b1d42cd54a3a4200b1f725a68e48aad800000000000000000000000000000000")
        );
        assert_eq!(
            ascii,
            b256!("6231643432636435346133613432303062316637323561363865343861616438")
        );
    }
}
