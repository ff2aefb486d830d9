//! ① Heads and logs: follow one chain, survive its reorganisations, write down what was seen.
//!
//! The position of the [`Scanner`] is a row that only moves over blocks whose logs were really read,
//! in the same transaction as those logs. A subscription is a hint to look sooner; it is never the
//! only way a block is noticed. A reorganisation needs no message from an endpoint: a block that
//! does not build on the one we stood on says it all.
//!
//! What this does not do: decide what a log means (that is `jobs`), or whether an endpoint lies
//! (that is `rpc`).

mod ancestor;
mod complete;
mod config;
mod fetch;
mod observe;
mod pruner;
mod reread;
mod scanner;
mod watch;

pub use config::{Config, Finality};
pub use pruner::Pruner;
pub use reread::{Reread, Rereader};
pub use scanner::{Round, Scanner};
pub use watch::HeadWatch;
