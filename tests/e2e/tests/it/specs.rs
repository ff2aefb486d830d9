//! The job specs of `testdata/specs`, made to fit a chain, and varied.

use alloy::primitives::Address;
use uuid::Uuid;

/// Where the specs' own contract stands, to be replaced.
const SOME_CONTRACT: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

/// The text of a job spec.
#[derive(Debug, Clone)]
pub(crate) struct Spec(String);

impl Spec {
    /// One number of one source.
    pub(crate) fn get_uint256(oracle: Address) -> Self {
        Self(include_str!("../../../../testdata/specs/get-uint256.toml").to_owned()).at(oracle)
    }

    /// Two numbers in one answer.
    pub(crate) fn multiword(oracle: Address) -> Self {
        Self(include_str!("../../../../testdata/specs/multiword.toml").to_owned()).at(oracle)
    }

    /// Text from an external adapter.
    pub(crate) fn bridge(oracle: Address) -> Self {
        Self(include_str!("../../../../testdata/specs/bridge.toml").to_owned()).at(oracle)
    }

    /// One number; a source that fails or is slow is given up after one attempt of this many seconds.
    pub(crate) fn impatient(oracle: Address, seconds: u32) -> Self {
        Self::get_uint256(oracle).with(
            r#"timeout="10s" retries=3 minBackoff="200ms" maxBackoff="2s""#,
            &format!(r#"timeout="{seconds}s" retries=0"#),
        )
    }

    fn at(self, oracle: Address) -> Self {
        self.with(SOME_CONTRACT, &oracle.to_string())
    }

    /// Replaces a text that must be there.
    pub(crate) fn with(self, old: &str, new: &str) -> Self {
        assert!(self.0.contains(old), "the spec has no {old}:\n{}", self.0);
        Self(self.0.replace(old, new))
    }

    /// Adds a setting of the job.
    pub(crate) fn and(self, setting: &str) -> Self {
        self.with(
            "observationSource =",
            &format!("{setting}\nobservationSource ="),
        )
    }

    /// The same job once more.
    pub(crate) fn under_a_new_id(self) -> Self {
        let id = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix("externalJobID = "))
            .expect("our specs name their job")
            .to_owned();
        self.with(&id, &format!("\"{}\"", Uuid::new_v4()))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}
