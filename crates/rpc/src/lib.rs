//! All chain access of a node: a pool of endpoints per chain, judged continuously, asked through
//! typed questions.
//!
//! A caller asks the [`Pool`]; which endpoint answers is the pool's business. Every read goes to an
//! endpoint that has the block it is about, and to others when that one fails, hangs or is not
//! believed; all of them are about one chain that does not go back because somebody else answers.
//! Signed transactions go to all endpoints at once. Subscriptions are a hint to look sooner and never
//! the only way a block is noticed. No database, no keys.
//!
//! [`gateway`] is the same as a server, for everybody who speaks JSON-RPC.

mod agreed;
mod broadcast;
mod by_name;
mod config;
mod dice;
mod endpoints;
mod error;
mod fitness;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_targets;
#[cfg(test)]
mod fuzzing;
mod gate;
pub mod gateway;
mod harmless;
mod head;
mod http;
mod lane;
mod log;
mod masked;
mod node;
mod observe;
mod patience;
mod pending;
mod plain;
mod pool;
mod public;
mod quantity;
mod reads;
mod refusal;
mod revert;
mod rhythm;
mod roots;
mod rounded;
mod send;
mod send_errors;
mod status;
mod sync;
mod transaction;
mod unknown;
mod usable;
mod watcher;
mod wire;
mod ws;

pub use crate::log::{Blocks, Log, LogFilter};
pub use config::{CHAIN_NOT_KNOWN, NodeConfig, PoolConfig, SendErrorOverride};
pub use error::{CallError, PoolError, RpcError};
pub use head::{BlockTag, Head};
pub use masked::masked;
pub use observe::HISTOGRAMS;
pub use pool::Pool;
pub use roots::EndpointTls;
pub use send::{SendOutcome, SendRefusal, SendReport};
pub use send_errors::ErrorClass;
pub use status::{NodeReport, NodeState, NodeStatus, Verified};
pub use transaction::{CallRequest, FeeHistory, KnownTransaction, Receipt};
