//! `GET /v2/status`: the node on one screen, as rows and endpoints are now. Ours; plain JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use dodona_store::Engine;
use serde::Serialize;

use crate::auth::View;
use crate::facts::{ChainFacts, Facts};
use crate::http::Refusal;
use crate::server::App;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    version: String,
    uptime_seconds: u64,
    database: Database,
    leader: Vec<Lead>,
    chains: Vec<Chain>,
    keys: Vec<Key>,
    jobs: Vec<JobCounts>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Database {
    engine: Engine,
}

#[derive(Serialize)]
struct Lead {
    scope: String,
    held: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Chain {
    #[serde(rename = "chainID")]
    chain_id: String,
    head: Option<u64>,
    head_age_seconds: Option<u64>,
    queue: Queue,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    queued: u64,
    in_flight: u64,
}

#[derive(Serialize)]
struct Node {
    name: String,
    state: &'static str,
    reason: String,
    head: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    address: String,
    #[serde(rename = "chainID")]
    chain_id: String,
    balance_wei: Option<String>,
    reason: String,
}

#[derive(Serialize)]
struct JobCounts {
    id: String,
    name: String,
    runs: u64,
    errored: u64,
}

pub(super) async fn show(_: View, State(app): State<Arc<App>>) -> Result<Json<Status>, Refusal> {
    let facts = Facts::read(&app).await?;
    Ok(Json(Status {
        version: app.config.version.clone(),
        uptime_seconds: app.started.elapsed().as_secs(),
        database: Database {
            engine: app.store.engine(),
        },
        leader: (app.leading)()
            .into_iter()
            .map(|(scope, held)| Lead { scope, held })
            .collect(),
        chains: facts.chains.iter().map(chain).collect(),
        keys: facts
            .keys
            .iter()
            .map(|key| Key {
                address: key.address.to_string(),
                chain_id: key.chain_id.to_string(),
                balance_wei: key.balance_wei.map(|wei| wei.to_string()),
                reason: key.reason.clone(),
            })
            .collect(),
        jobs: facts
            .jobs
            .iter()
            .map(|facts| JobCounts {
                id: facts.job.id.to_string(),
                name: facts.job.spec.name.clone(),
                runs: facts.runs,
                errored: facts.errored,
            })
            .collect(),
        warnings: facts
            .warnings
            .into_iter()
            .map(|warning| warning.text)
            .collect(),
    }))
}

fn chain(facts: &ChainFacts) -> Chain {
    Chain {
        chain_id: facts.chain_id.to_string(),
        head: facts.head.map(|head| head.number),
        head_age_seconds: facts.head.map(|head| head.age.as_secs()),
        queue: Queue {
            queued: facts.queued,
            in_flight: facts.in_flight,
        },
        nodes: facts
            .nodes
            .iter()
            .map(|node| Node {
                name: node.name.to_string(),
                state: node.state.word(),
                reason: node.reason.clone().unwrap_or_default(),
                head: node.highest_head,
            })
            .collect(),
    }
}
