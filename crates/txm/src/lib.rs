//! ④ Transactions: nonce, fee, sign, send, replace. ⑤ Confirm, finalize, tell who waits.
//!
//! The only place that decides about nonces and fees. What is signed is stored before it is sent, and
//! only bytes read back from a committed row are sent; once bytes are signed, their nonce is only
//! ever replaced. Before the first signature the chain is asked whether the request is still open.
//!
//! ```text
//! queued ──▶ signed ──▶ sent ──▶ mined ──▶ final
//!    │          └────────┴─▶ (replaced at the same nonce: higher fee, newer answer, or nothing to self)
//!    └──▶ dead, with a reason
//! ```
//!
//! What this does not do: hold private keys (a [`Signer`] does), know what a job is.

mod balances;
mod broadcaster;
mod config;
mod confirmer;
mod estimator;
pub mod fees;
mod inclusion;
mod insist;
mod observe;
mod open_check;
mod outgoing;
mod push;
mod replace;
mod signing;
mod waiting;

pub use balances::BalanceMonitor;
pub use broadcaster::Broadcaster;
pub use config::Config;
pub use confirmer::Confirmer;
pub use estimator::Estimator;
pub use signing::Signer;
