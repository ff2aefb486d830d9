//! The oracle contracts of the field on a test chain, and a consumer that asks.

#[allow(
    clippy::too_many_arguments,
    reason = "the events have as many fields as they have"
)]
mod abi;
mod feed;
mod world;

use std::{env, path::PathBuf};

use alloy::primitives::{B256, Bytes};
use serde::Deserialize;
use uuid::Uuid;

pub use abi::{AuthorizedForwarder, Consumer, Flags, FluxAggregator, LinkToken, Operator, Oracle};
pub use feed::Feed;
pub use world::{Requested, World, requests_in};

use crate::workspace;

/// Names the folder of compiled contracts (`contracts/out` unless told otherwise).
pub const ARTEFACTS: &str = "DODONA_CONTRACTS_OUT";

/// The code that creates a contract, without its constructor's arguments.
///
/// # Panics
/// When the contracts were not compiled, saying how to.
pub fn code(name: &str) -> Bytes {
    #[derive(Deserialize)]
    struct Artefact {
        bytecode: Bytes,
    }
    let folder = env::var_os(ARTEFACTS).filter(|given| !given.is_empty());
    let folder = folder.map_or_else(|| workspace::root().join("contracts/out"), PathBuf::from);
    let file = folder.join(format!("{name}.json"));
    let text = std::fs::read(&file).unwrap_or_else(|error| {
        panic!(
            "this test needs the compiled contract {}: {error}; run script/setup",
            file.display()
        )
    });
    let artefact: Artefact = serde_json::from_slice(&text)
        .unwrap_or_else(|error| panic!("{} is no artefact of ours: {error}", file.display()));
    artefact.bytecode
}

/// A job as a request names it. Made from a UUID it is the usual text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecId(pub B256);

impl SpecId {
    /// The 32 ASCII characters of the UUID without dashes.
    pub fn text(job: Uuid) -> Self {
        Self(B256::from_slice(
            job.simple().encode_lower(&mut [0; 32]).as_bytes(),
        ))
    }

    /// The 16 bytes of the UUID and 16 zeros.
    pub fn bytes(job: Uuid) -> Self {
        Self(B256::right_padding_from(job.as_bytes()))
    }
}

impl From<Uuid> for SpecId {
    fn from(job: Uuid) -> Self {
        Self::text(job)
    }
}
