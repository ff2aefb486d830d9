//! One owner for every loop of the process.
//!
//! A service is a named loop that makes the world match the rows. It runs when poked and, because a
//! poke can be lost, on a clock; a failed round backs off and shows on the health page; a panic means
//! that we no longer know what is true, so the process ends and a replica (or a restart) takes over.
//! No domain words here.

pub mod clock;
mod health;
mod poke;
mod schedule;
mod supervisor;

pub use health::{Check, Health};
pub use poke::{Poke, Waiter};
pub use schedule::{Schedule, every};
pub use supervisor::{Service, Supervisor};
pub use tokio_util::sync::CancellationToken;
