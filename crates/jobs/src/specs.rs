use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use dodona_model::JobId;
use dodona_pipeline::{FluxMonitor, JobKind, JobSpec, Pipeline};
use dodona_store::jobs::Job;
use dodona_store::{Store, jobs};

/// Parsed pipelines kept ready, at most twice so many; the rest is parsed again when needed.
const GENERATION: usize = 8_192;

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
///
/// In two generations: when the younger one is full it becomes the older one, and what nobody asked for since goes.
/// So a node with more jobs than fit parses those that rest, and not all of them again and again.
#[derive(Debug, Default)]
pub(crate) struct Specs {
    young: HashMap<JobId, Arc<Ready>>,
    old: HashMap<JobId, Arc<Ready>>,
}

impl Specs {
    pub(crate) async fn get(&mut self, store: &Store, id: JobId) -> anyhow::Result<Arc<Ready>> {
        if let Some(ready) = self.young.get(&id) {
            return Ok(Arc::clone(ready));
        }
        let ready = match self.old.remove(&id) {
            Some(ready) => ready,
            None => Self::read(store, id).await?,
        };
        self.keep(id, &ready, GENERATION);
        Ok(ready)
    }

    fn keep(&mut self, id: JobId, ready: &Arc<Ready>, generation: usize) {
        if self.young.len() >= generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, Arc::clone(ready));
    }

    async fn read(store: &Store, id: JobId) -> anyhow::Result<Arc<Ready>> {
        let job = jobs::find(&mut store.read().await?, id)
            .await?
            .with_context(|| format!("job {id} is gone"))?;
        let pipeline = Pipeline::parse(&job.spec.dot).map_err(|cause| {
            anyhow!("the pipeline of job {id} cannot be read by this version: {cause}")
        })?;
        let flux = flux(&job)
            .with_context(|| format!("the spec of job {id} cannot be read by this version"))?;
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
    use dodona_model::Timestamp;
    use dodona_store::jobs::NewJob;
    use uuid::Uuid;

    use super::*;

    fn ready(id: JobId) -> Arc<Ready> {
        let spec = NewJob {
            external_job_id: Uuid::nil(),
            name: String::new(),
            kind: "webhook".to_owned(),
            schema_version: 1,
            toml: String::new(),
            dot: "a [type=memo value=1]".to_owned(),
            chain_id: None,
            contract_address: None,
            min_confirmations: None,
            min_payment_juels: None,
            requesters: Vec::new(),
            gas_limit: None,
            forwarding_allowed: false,
            max_task_duration: None,
        };
        Arc::new(Ready {
            pipeline: Pipeline::parse(&spec.dot).unwrap(),
            job: Job {
                id,
                spec,
                created_at: Timestamp(0),
                deleted_at: None,
            },
            flux: None,
        })
    }

    #[test]
    fn what_is_asked_for_stays_and_what_rests_goes() {
        let mut specs = Specs::default();
        for id in 0..6 {
            specs.keep(id, &ready(id), 3);
        }
        assert_eq!((specs.old.len(), specs.young.len()), (3, 3));
        let again = specs.old.remove(&1).unwrap();
        specs.keep(1, &again, 3);
        assert!(specs.young.contains_key(&1) && specs.old.contains_key(&5));
        assert!(!specs.old.contains_key(&0) && !specs.young.contains_key(&0));
    }
}
