//! All SQL, the schema, and who may write: SQLite for a single node, PostgreSQL for everything that
//! must survive a host.
//!
//! A statement is a named constant, with one text for both engines or two where they must differ; a
//! function runs it. Functions that anyone may call take a [`Conn`]; those that only a leader may
//! call take a [`LeaderTx`], which can commit only while its scope is still led. What belongs
//! together is written through one of them and commits together.

mod engine;
mod error;
mod lease;
mod lock;
mod migrate;
mod notify;
mod open;
mod sql;

pub mod bridge_answers;
pub mod bridges;
pub mod flux;
pub mod heads;
pub mod initiators;
pub mod jobs;
pub mod keys;
pub mod logs;
pub mod notices;
pub mod requests;
pub mod runs;
pub mod schedules;
pub mod stats;
pub mod txs;
pub mod users;
pub mod warnings;

pub use engine::{Conn, DatabaseConfig, Engine, Store, Tx};
pub use error::StoreError;
pub use lease::{LeadError, Leader, LeaderTx, LeaseConfig, Scope};
pub use notify::listen;
pub use sql::{Statement, statements};

/// What every function here returns.
pub type Result<T> = std::result::Result<T, StoreError>;
