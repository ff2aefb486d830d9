//! What jobs of a type have beside their own row.

use std::collections::BTreeMap;

use dodona_model::{JobId, Timestamp};
use dodona_pipeline::{InitiatorSpec, JobKind, JobSpec};
use dodona_runtime::clock;
use dodona_store::initiators::{self, Initiator};
use dodona_store::jobs::{Job, NewJob};
use dodona_store::notices::{self, NewNotice};
use dodona_store::{Conn, StoreError, Tx, schedules};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The schedules of those jobs that have one.
pub(super) async fn schedules(
    conn: &mut Conn,
    jobs: &[Job],
) -> Result<BTreeMap<JobId, String>, StoreError> {
    let ids: Vec<JobId> = jobs
        .iter()
        .filter(|job| job.spec.kind == "cron")
        .map(|job| job.id)
        .collect();
    let found = schedules::of_jobs(conn, &ids).await?;
    Ok(found
        .into_iter()
        .map(|scheduled| (scheduled.job_id, scheduled.schedule))
        .collect())
}

/// The schedule of a spec that has one.
pub(super) fn schedule(spec: &JobSpec) -> Option<String> {
    match &spec.kind {
        JobKind::Cron(cron) => Some(cron.schedule.as_str().to_owned()),
        _ => None,
    }
}

/// The initiators a spec lists.
pub(super) fn initiators(spec: &JobSpec) -> impl Iterator<Item = &InitiatorSpec> {
    let listed = match &spec.kind {
        JobKind::Webhook(webhook) => webhook.external_initiators.as_slice(),
        _ => &[],
    };
    listed.iter()
}

/// One sentence for each initiator that nobody registered.
pub(super) async fn unknown_initiators(
    conn: &mut Conn,
    spec: &JobSpec,
) -> Result<Vec<String>, StoreError> {
    let mut faults = Vec::new();
    for listed in initiators(spec) {
        if initiators::find(conn, &listed.name).await?.is_none() {
            faults.push(format!(
                "there is no external initiator {:?}; create it first (dodona initiators create)",
                listed.name
            ));
        }
    }
    Ok(faults)
}

/// Writes what a new job needs beside its row.
pub(super) async fn furnish(
    tx: &mut Tx,
    id: JobId,
    new: &NewJob,
    spec: &JobSpec,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let JobKind::Cron(cron) = &spec.kind
        && let Some(first) = cron.schedule.next(std::time::SystemTime::now())
    {
        schedules::insert(tx, id, cron.schedule.as_str(), clock::from_system(first)).await?;
    }
    for listed in initiators(spec) {
        // Looked up a moment ago, in this same transaction.
        let Some(initiator) = initiators::find(tx, &listed.name).await? else {
            continue;
        };
        initiators::attach(tx, id, initiator.id, &listed.spec).await?;
        if let Some(notice) = beginning(&initiator, new.external_job_id, &listed.spec) {
            notices::insert(tx, &notice, now).await?;
        }
    }
    Ok(())
}

/// Takes it away again, before the job's own row goes.
pub(super) async fn dismantle(tx: &mut Tx, job: &Job) -> Result<(), StoreError> {
    schedules::delete(tx, job.id).await?;
    for (initiator, _) in initiators::of_job(tx, job.id).await? {
        if let Some(notice) = end(&initiator, job.spec.external_job_id) {
            notices::insert(tx, &notice, clock::now()).await?;
        }
    }
    initiators::detach(tx, job.id).await
}

fn beginning(initiator: &Initiator, job: Uuid, spec: &str) -> Option<NewNotice> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        #[serde(rename = "jobId")]
        job_id: Uuid,
        #[serde(rename = "type")]
        initiator: &'a str,
        params: &'a RawValue,
    }
    let params: &RawValue = serde_json::from_str(spec).unwrap_or(RawValue::NULL);
    let body = Body {
        job_id: job,
        initiator: &initiator.spec.name,
        params,
    };
    Some(NewNotice {
        initiator_id: initiator.id,
        external_job_id: job,
        method: "POST".to_owned(),
        url: initiator.spec.url.clone()?,
        body: Some(serde_json::to_string(&body).unwrap_or_default()),
    })
}

fn end(initiator: &Initiator, job: Uuid) -> Option<NewNotice> {
    let url = initiator.spec.url.as_ref()?;
    Some(NewNotice {
        initiator_id: initiator.id,
        external_job_id: job,
        method: "DELETE".to_owned(),
        url: format!("{}/{job}", url.trim_end_matches('/')),
        body: None,
    })
}

#[cfg(test)]
mod tests {
    use dodona_store::initiators::NewInitiator;

    use super::*;

    fn initiator(url: Option<&str>) -> Initiator {
        Initiator {
            id: 1,
            spec: NewInitiator {
                name: "Substrate".to_owned(),
                url: url.map(str::to_owned),
                access_key: String::new(),
                salt: String::new(),
                secret_hash: String::new(),
                outgoing_token: String::new(),
                outgoing_secret: String::new(),
            },
            created_at: Timestamp::default(),
        }
    }

    #[test]
    fn an_initiator_is_told_the_jobs_id_its_own_name_and_what_the_job_says() {
        let job = Uuid::from_u128(7);
        let with = initiator(Some("http://ei:8080/jobs/"));
        let told = beginning(&with, job, "{\"account\": 0.10}").unwrap();
        assert_eq!(
            (told.method.as_str(), told.url.as_str()),
            ("POST", "http://ei:8080/jobs/")
        );
        assert_eq!(
            told.body.unwrap(),
            "{\"jobId\":\"00000000-0000-0000-0000-000000000007\",\"type\":\"Substrate\",\"params\":{\"account\": 0.10}}"
        );
        let gone = end(&with, job).unwrap();
        assert_eq!(gone.url, format!("http://ei:8080/jobs/{job}"));
        assert_eq!((gone.method.as_str(), gone.body), ("DELETE", None));
    }

    #[test]
    fn an_initiator_without_an_address_is_told_nothing() {
        let quiet = initiator(None);
        assert_eq!(beginning(&quiet, Uuid::nil(), "null"), None);
        assert_eq!(end(&quiet, Uuid::nil()), None);
    }
}
