//! What flux aggregators and the flags beside them say on chain.

use alloy::primitives::{B256, b256};

/// `NewRound(uint256 indexed roundId, address indexed startedBy, uint256 startedAt)`.
pub const NEW_ROUND: B256 =
    b256!("0109fc6f55cf40689f02fbaad7af7fe7bbac8a3d2186600afc7d3e10cac60271");
/// `AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt)`.
pub const ANSWER_UPDATED: B256 =
    b256!("0559884fd3a460db3073b7fc896cc77986f16e378210ded43186175bf646fc5f");
/// `FlagRaised(address indexed subject)`.
pub const FLAG_RAISED: B256 =
    b256!("881febd4cd194dd4ace637642862aef1fb59a65c7e5551a5d9208f268d11c006");
/// `FlagLowered(address indexed subject)`.
pub const FLAG_LOWERED: B256 =
    b256!("d86728e2e5cbaa28c1d357b5fbccc9c1ab0add09950eb7cac42df9acb24c4bc8");

/// Everything flux monitors listen to.
pub const EVENTS: [B256; 4] = [NEW_ROUND, ANSWER_UPDATED, FLAG_RAISED, FLAG_LOWERED];
