//! All chain access of a node: a pool of endpoints per chain, judged continuously, asked through
//! typed questions.
//!
//! A caller asks the [`Pool`]; which endpoint answers is the pool's business. Reads go to one
//! endpoint at a time and are repeated once on another when it fails. Signed transactions go to
//! all endpoints at once. Subscriptions are a hint to look sooner and never the only way a block
//! is noticed. No database, no keys, no opinion about which block is final.

mod agreed;
mod broadcast;
mod choice;
mod config;
mod error;
mod fitness;
#[cfg(test)]
mod fuzzing;
mod gate;
pub mod gateway;
mod harmless;
mod head;
mod http;
mod log;
mod masked;
mod node;
mod observe;
mod pending;
mod pool;
mod quantity;
mod reads;
mod refusal;
mod revert;
mod rhythm;
mod roots;
mod send;
mod send_errors;
mod status;
mod transaction;
mod unknown;
mod watcher;
mod wire;
mod ws;

pub use crate::log::{Blocks, Log, LogFilter};
pub use config::{NodeConfig, PoolConfig, SendErrorOverride};
pub use error::{CallError, PoolError, RpcError};
pub use head::{BlockTag, Head};
pub use observe::CALL_TIME_HISTOGRAM;
pub use pool::Pool;
pub use roots::EndpointTls;
pub use send::{SendOutcome, SendRefusal, SendReport};
pub use send_errors::ErrorClass;
pub use status::{NodeReport, NodeState, NodeStatus, Verified};
pub use transaction::{CallRequest, FeeHistory, KnownTransaction, Receipt};
