//! Job specs of the 0.x line (JSON, removed in 1.0) turned into today's TOML.
//!
//! In 0.x tasks ran strictly one after another and handed an object along; parameters came from the
//! spec and, where the spec was silent, from the request. A converter has to model that, and where
//! today's language cannot express it, it refuses with the reason and with what to do instead. A job
//! that does less than the old one without saying so is never made.
//!
//! Assumed: parameters of the spec win over those of the request, as in the later 0.x line.

mod adapters;
mod chain;
mod document;
mod ethtx;
mod flux;
mod initiators;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use alloy::primitives::{Address, U256};
use uuid::Uuid;

use document::Document;

/// Longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// What the old spec does not say and a conversion needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The chain the old node worked on; 0.x specs name none.
    pub evm_chain_id: Option<u64>,
    /// The oracle contract of `runlog` jobs whose spec names none.
    pub contract_address: Option<Address>,
    /// `name(type)` of the function a transaction calls, where the spec has only its selector.
    pub function_signature: Option<String>,
    /// The bridges there are. `None`: not known, every name that is no adapter is taken for one.
    pub bridges: Option<BTreeMap<String, BridgeFacts>>,
    /// For `startAt` and `endAt`.
    pub now: SystemTime,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            evm_chain_id: None,
            contract_address: None,
            function_signature: None,
            bridges: None,
            now: SystemTime::now(),
        }
    }
}

/// What 0.x counted a bridge's job with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BridgeFacts {
    /// Confirmations it asks for.
    pub confirmations: u32,
    /// In juels; was added to what the job asks for.
    pub minimum_payment_juels: U256,
}

/// What became of a document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Import {
    /// One for each initiator that could be converted.
    pub jobs: Vec<ImportedJob>,
    /// About the document as a whole.
    pub warnings: Vec<String>,
    /// Why something could not be converted. Nothing should be created unless this is empty.
    pub refusals: Vec<Refusal>,
}

/// A job in today's form.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedJob {
    /// `directrequest`, `cron`, `webhook` or `fluxmonitor`.
    pub kind: &'static str,
    /// The old job's id, so that contracts need no change.
    pub external_job_id: Option<Uuid>,
    /// The spec.
    pub toml: String,
    /// What is different from before and has to be looked at.
    pub warnings: Vec<String>,
}

/// Something that cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where in the document: `tasks[2] (compare)`.
    pub place: String,
    /// Why.
    pub reason: String,
    /// What to do instead.
    pub instead: String,
}

impl Refusal {
    fn new(
        place: impl Into<String>,
        reason: impl Into<String>,
        instead: impl Into<String>,
    ) -> Self {
        Self {
            place: place.into(),
            reason: reason.into(),
            instead: instead.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.reason, self.instead)
    }
}

/// Converts a 0.x spec. Everything that is wrong is found at once.
pub fn import(text: &str, options: &Options) -> Import {
    let mut result = Import::default();
    let document = match Document::read(text) {
        Ok(document) => document,
        Err(refusal) => {
            result.refusals.push(refusal);
            return result;
        }
    };
    result.warnings.clone_from(&document.warnings);
    document.check_times(options.now, &mut result);
    let keeper = document.keeper_of_the_id();
    if document.initiators.len() > 1 {
        result.warnings.push(format!(
            "the spec has {} initiators: each becomes a job of its own, and only the one of {} keeps the id",
            document.initiators.len(),
            document.initiators[keeper].kind
        ));
    }
    for (n, initiator) in document.initiators.iter().enumerate() {
        match initiators::convert(&document, n, initiator, n == keeper, options) {
            Ok(job) => result.jobs.push(job),
            Err(refusals) => result.refusals.extend(refusals),
        }
    }
    let mut seen = Vec::new();
    result.refusals.retain(|refusal| {
        let new = !seen.contains(refusal);
        seen.push(refusal.clone());
        new
    });
    result
}
