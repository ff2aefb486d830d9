//! What all our tests share: the real things a node meets, each small, each with verbs.
//!
//! * [`postgres`]: a fresh database on a real PostgreSQL.
//! * [`anvil`]: a chain of one's own that mines, forks and forgets on command.
//! * [`contracts`]: LinkToken, oracle contracts and a consumer on that chain.
//! * [`source`]: a data source, or a bridge adapter, that answers, fails, hangs or talks rubbish.
//! * [`node`]: the whole program, to be killed, frozen and started again.
//! * [`until`]: waiting for a state, with a deadline.
//!
//! Nothing here needs to be set up by hand: `script/test` hands over what it has started (see [`postgres::URL`],
//! [`anvil::BINARY`], [`contracts::ARTEFACTS`]), and a bare `cargo test -p …` finds or starts its own. Whatever a
//! test process starts ends with it, also when it is killed.
//!
//! The kit panics, with a sentence, where a test could not go on anyway.

#![allow(
    clippy::disallowed_methods,
    reason = "tests are told by their environment where the real parts are"
)]

pub mod anvil;
pub mod contracts;
pub mod endpoint;
pub mod gateway;
pub mod node;
pub mod postgres;
mod process;
pub mod source;
mod wait;
mod workspace;

pub use wait::{until, until_within};

/// An HTTP client that follows no proxy and no redirect.
///
/// One for each thing that needs one: a client must not outlive the runtime of the test that made it.
pub fn http() -> reqwest::Client {
    build(reqwest::Client::builder())
}

/// [`http`] that stays logged in.
pub(crate) fn http_with_cookies() -> reqwest::Client {
    build(reqwest::Client::builder().cookie_store(true))
}

fn build(client: reqwest::ClientBuilder) -> reqwest::Client {
    // An error only says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    client
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client without files or certificates of its own can always be built")
}
