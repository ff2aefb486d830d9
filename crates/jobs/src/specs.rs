use std::sync::Arc;

use anyhow::{Context, anyhow};
use dodona_model::JobId;
use dodona_pipeline::{FluxMonitor, JobKind, JobSpec, Pipeline};
use dodona_store::jobs::Job;
use dodona_store::{Store, jobs};
use quick_cache::unsync::Cache;

/// Parsed pipelines kept ready, at most; the rest is parsed again when needed.
const KEPT: usize = 16_384;

/// A job and its parsed pipeline.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Without its texts: what they say is below, and ten thousand jobs have tens of megabytes of them.
    pub(crate) job: Job,
    pub(crate) pipeline: Pipeline,
    /// The settings of a flux monitor, where it is one.
    pub(crate) flux: Option<FluxMonitor>,
}

/// Jobs by number. A stored spec never changes (an edited job is a new row), so what was parsed once
/// stays right. A node with more jobs than fit parses those that rest, and not all of them again and again.
#[derive(Debug)]
pub(crate) struct Specs(Cache<JobId, Arc<Ready>>);

impl Default for Specs {
    fn default() -> Self {
        Self(Cache::new(KEPT))
    }
}

impl Specs {
    pub(crate) async fn get(&mut self, store: &Store, id: JobId) -> anyhow::Result<Arc<Ready>> {
        if let Some(ready) = self.0.get(&id) {
            return Ok(Arc::clone(ready));
        }
        let ready = Self::read(store, id).await?;
        self.0.insert(id, Arc::clone(&ready));
        Ok(ready)
    }

    async fn read(store: &Store, id: JobId) -> anyhow::Result<Arc<Ready>> {
        let mut job = jobs::find(&mut store.read().await?, id)
            .await?
            .with_context(|| format!("job {id} is gone"))?;
        let pipeline = Pipeline::parse(&job.spec.dot).map_err(|cause| {
            anyhow!("the pipeline of job {id} cannot be read by this version: {cause}")
        })?;
        let flux = flux(&job)
            .with_context(|| format!("the spec of job {id} cannot be read by this version"))?;
        (job.spec.toml, job.spec.dot) = (String::new(), String::new());
        Ok(Arc::new(Ready {
            job,
            pipeline,
            flux,
        }))
    }
}

fn flux(job: &Job) -> anyhow::Result<Option<FluxMonitor>> {
    if job.spec.kind != "fluxmonitor" {
        return Ok(None);
    }
    Ok(match JobSpec::parse(&job.spec.toml)?.kind {
        JobKind::FluxMonitor(flux) => Some(flux),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_what_rests_goes() {
        let mut kept: Cache<JobId, ()> = Cache::new(8);
        kept.insert(0, ());
        for id in 1..100 {
            assert!(kept.get(&0).is_some(), "before {id}");
            kept.insert(id, ());
        }
        assert!(kept.len() <= 8);
        assert!(kept.get(&0).is_some() && kept.get(&50).is_none());
    }
}
