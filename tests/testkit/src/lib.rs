//! What all our tests share: the real things a node meets, each small, each with verbs.
//!
//! * [`postgres`]: a fresh database on a real PostgreSQL.
//!
//! Nothing here needs to be set up by hand: `script/test` hands over what it has started (see [`postgres::URL`]),
//! and a bare `cargo test -p …` starts its own. Whatever a test process starts ends with it, also when it is killed.
//!
//! The kit panics, with a sentence, where a test could not go on anyway.

pub mod postgres;
mod workspace;
