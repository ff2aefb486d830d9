//! The vocabulary of the product: ids, amounts, states and the arrows between them.
//!
//! Nothing happens here: no IO, no clock, no async. Everybody shares these words, so that a
//! request, a run or a transaction means the same thing in every crate and in the database.

mod block;
pub mod flux;
pub mod oracle;
pub mod request;
pub mod run;
mod time;
pub mod tx;

pub use alloy::primitives::{Address, B256, Bytes, U256};
pub use block::BlockRef;
pub use time::Timestamp;

/// An EVM chain's id as EIP-155 knows it.
pub type ChainId = u64;
/// A job's number in this database; jobs are known to consumers by their external UUID instead.
pub type JobId = i64;
/// A run's number in this database.
pub type RunId = i64;
/// A transaction's number in this database; its hashes live with its attempts.
pub type TxId = i64;
/// A request row's number in this database.
pub type RequestRow = i64;
