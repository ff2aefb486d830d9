//! The configured chains and their endpoints. They come from the configuration and do not change here.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use dodona_rpc::NodeStatus;
use serde_json::json;

use crate::auth::View;
use crate::http::{Paging, Refusal, Resource, SHORT_LIST, document, page};
use crate::server::App;
use crate::{ChainView, http};

const EVM: &str = "evm";

fn known(network: &str) -> Result<(), Refusal> {
    if network == EVM {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "there is no network {network:?} here; the only one is {EVM:?}"
    )))
}

fn resource(chain: &ChainView) -> Resource {
    let facts = json!({ "network": EVM, "enabled": true, "config": chain.config_toml });
    Resource::new("chain", chain.chain_id, &facts)
}

fn node(chain: &ChainView, status: &NodeStatus) -> Resource {
    let config = format!(
        "Name = '{}'\nURL = '{}'\nSendOnly = {}\nOrder = {}\n",
        status.name, status.url, status.send_only, status.order
    );
    Resource::new(
        "node",
        format!("{}/{}", chain.chain_id, status.name),
        &json!({
            "chainID": chain.chain_id.to_string(),
            "name": status.name.to_string(),
            "config": config,
            "state": status.state.word(),
            "reason": status.reason,
        }),
    )
}

fn nodes_of(chains: &[&ChainView]) -> Vec<Resource> {
    chains
        .iter()
        .flat_map(|chain| {
            let statuses = chain
                .pool
                .as_ref()
                .map(|pool| pool.nodes())
                .unwrap_or_default();
            statuses
                .iter()
                .map(|status| node(chain, status))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// One page of what is held in memory anyway.
fn slice(all: Vec<Resource>, uri: &Uri) -> Result<Response, Refusal> {
    let paging = Paging::of(uri, SHORT_LIST)?;
    let total = all.len() as u64;
    let shown = all
        .into_iter()
        .skip(paging.offset() as usize)
        .take(paging.size as usize)
        .collect();
    Ok(page(shown, total, paging, uri.path()))
}

fn chain<'a>(app: &'a App, id: &str) -> Result<&'a ChainView, Refusal> {
    let number = id
        .parse()
        .map_err(|_| Refusal::unprocessable(format!("{id:?} is not a chain id")))?;
    app.chain(number)
        .ok_or_else(|| Refusal::not_found(format!("chain {id} is not configured")))
}

pub(super) async fn list(
    _: View,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    slice(app.chains.iter().map(resource).collect(), &uri)
}

pub(super) async fn of_network(
    view: View,
    state: State<Arc<App>>,
    Path(network): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    known(&network)?;
    list(view, state, uri).await
}

pub(super) async fn show(
    _: View,
    State(app): State<Arc<App>>,
    Path((network, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    known(&network)?;
    Ok(document(resource(chain(&app, &id)?)))
}

pub(super) async fn nodes(
    _: View,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    slice(nodes_of(&app.chains.iter().collect::<Vec<_>>()), &uri)
}

pub(super) async fn nodes_of_network(
    view: View,
    state: State<Arc<App>>,
    Path(network): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    known(&network)?;
    nodes(view, state, uri).await
}

pub(super) async fn nodes_of_chain(
    _: View,
    State(app): State<Arc<App>>,
    Path((network, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    known(&network)?;
    Ok(http::list(StatusCode::OK, nodes_of(&[chain(&app, &id)?])))
}
