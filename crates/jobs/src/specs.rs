use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use dodona_model::JobId;
use dodona_pipeline::{FluxMonitor, JobKind, JobSpec, Pipeline};
use dodona_store::jobs::Job;
use dodona_store::{Store, jobs};

/// Parsed pipelines kept ready, at most; the rest is parsed again when needed.
const KEPT: usize = 4_096;

/// A job and its parsed pipeline.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) job: Job,
    pub(crate) pipeline: Pipeline,
    /// The settings of a flux monitor, where it is one.
    pub(crate) flux: Option<FluxMonitor>,
}

/// Jobs by number. A stored spec never changes (an edited job is a new row), so what was parsed once
/// stays right.
#[derive(Debug, Default)]
pub(crate) struct Specs(HashMap<JobId, Arc<Ready>>);

impl Specs {
    pub(crate) async fn get(&mut self, store: &Store, id: JobId) -> anyhow::Result<Arc<Ready>> {
        if let Some(ready) = self.0.get(&id) {
            return Ok(Arc::clone(ready));
        }
        let job = jobs::find(&mut store.read().await?, id)
            .await?
            .with_context(|| format!("job {id} is gone"))?;
        let pipeline = Pipeline::parse(&job.spec.dot).map_err(|cause| {
            anyhow!("the pipeline of job {id} cannot be read by this version: {cause}")
        })?;
        let flux = flux(&job)
            .with_context(|| format!("the spec of job {id} cannot be read by this version"))?;
        let ready = Arc::new(Ready {
            job,
            pipeline,
            flux,
        });
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        self.0.insert(id, Arc::clone(&ready));
        Ok(ready)
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
