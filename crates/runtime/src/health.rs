use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use dodona_model::Timestamp;

/// How one part of the process is doing, as the health page shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Dotted name, as operators know it (`EVM.1.HeadTracker`).
    pub name: String,
    /// Whether the last look was good.
    pub passing: bool,
    /// What is wrong, in words; empty while passing.
    pub output: String,
    /// Since when it is so.
    pub since: Timestamp,
    /// What the last round did, for the curious.
    pub report: Option<serde_json::Value>,
}

/// The health of every part of this process. Cheap to clone; facts live in this process only.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Check>>>);

impl Health {
    /// Everything is well with `name`.
    pub fn pass(&self, name: &str, report: Option<serde_json::Value>) {
        self.set(name, true, String::new(), report);
    }

    /// Something is wrong with `name`; `output` says what and what to do.
    pub fn fail(&self, name: &str, output: impl Into<String>) {
        self.set(name, false, output.into(), None);
    }

    /// `name` no longer exists in this process.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// All checks, sorted by name.
    pub fn checks(&self) -> Vec<Check> {
        self.lock().values().cloned().collect()
    }

    /// Whether every check passes.
    pub fn is_good(&self) -> bool {
        self.lock().values().all(|check| check.passing)
    }

    fn set(&self, name: &str, passing: bool, output: String, report: Option<serde_json::Value>) {
        metrics::gauge!("health", "service_id" => name.to_owned())
            .set(f64::from(u8::from(passing)));
        let mut checks = self.lock();
        let since = match checks.get(name) {
            Some(old) if old.passing == passing => old.since,
            _ => crate::clock::now(),
        };
        checks.insert(
            name.to_owned(),
            Check {
                name: name.to_owned(),
                passing,
                output,
                since,
                report,
            },
        );
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Check>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
