//! Transactions, each shown through one of its attempts.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use dodona_model::{B256, TxId};
use dodona_store::txs::{self, Attempt, Fee, Tx};
use serde::Serialize;

use crate::auth::View;
use crate::http::{Paging, Refusal, Resource, SHORT_LIST, document, page};
use crate::server::App;
use crate::written::ether;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    state: &'static str,
    data: String,
    from: String,
    to: String,
    gas_limit: String,
    /// Wei for each unit of gas: the price, or the most it may come to (EIP-1559).
    gas_price: String,
    hash: String,
    raw_hex: String,
    nonce: Option<String>,
    /// The head when this attempt was made.
    sent_at: Option<String>,
    /// Ether.
    value: String,
    #[serde(rename = "evmChainID")]
    evm_chain_id: String,
    // From here on ours.
    gas_tip_cap: Option<String>,
    reason: String,
    #[serde(rename = "runID")]
    run_id: Option<String>,
    #[serde(rename = "jobID")]
    job_id: Option<String>,
    mined_in_block: Option<String>,
    succeeded: Option<bool>,
    created_at: dodona_model::Timestamp,
}

fn resource(tx: &Tx, attempt: &Attempt) -> Resource {
    let signed = &attempt.signed;
    let (price, tip) = match signed.fee {
        Fee::Legacy { gas_price } => (gas_price, None),
        Fee::Dynamic { fee_cap, tip_cap } => (fee_cap, Some(tip_cap)),
    };
    let text = |number: Option<i64>| number.map(|number| number.to_string());
    Resource::new(
        "evm_transactions",
        format!("{}/{}", tx.spec.chain_id, signed.hash),
        &Attributes {
            state: tx.state.peer_word(),
            data: tx.spec.payload.to_string(),
            from: tx.spec.from.to_string(),
            to: tx.spec.to.to_string(),
            gas_limit: signed.gas_limit.to_string(),
            gas_price: price.to_string(),
            hash: signed.hash.to_string(),
            raw_hex: signed.raw.to_string(),
            nonce: tx.nonce.map(|nonce| nonce.to_string()),
            sent_at: signed.first_block.map(|block| block.to_string()),
            value: ether(tx.spec.value_wei),
            evm_chain_id: tx.spec.chain_id.to_string(),
            gas_tip_cap: tip.map(|tip| tip.to_string()),
            reason: tx.reason.clone(),
            run_id: text(tx.spec.run_id),
            job_id: text(tx.spec.job_id),
            mined_in_block: tx
                .mined
                .as_ref()
                .map(|mined| mined.block.number.to_string()),
            succeeded: tx.mined.as_ref().map(|mined| mined.succeeded),
            created_at: tx.created_at,
        },
    )
}

/// The attempt that stands for its transaction: the mined one, else the newest.
fn representative<'a>(tx: &Tx, attempts: &'a [Attempt]) -> Option<&'a Attempt> {
    let mined = tx.mined.as_ref().map(|mined| mined.hash);
    attempts
        .iter()
        .find(|attempt| Some(attempt.signed.hash) == mined)
        .or(attempts.last())
}

/// Transactions that were signed; those that still wait for a nonce have no hash to be known by and
/// are counted in `/v2/status`.
pub(super) async fn list(
    _: View,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let paging = Paging::of(&uri, SHORT_LIST)?;
    let mut conn = app.store.read().await?;
    let shown = txs::list(&mut conn, true, paging.size, paging.offset()).await?;
    let total = txs::count_attempted(&mut conn).await?;
    let ids: Vec<TxId> = shown.iter().map(|tx| tx.id).collect();
    let mut attempts: BTreeMap<TxId, Vec<Attempt>> = BTreeMap::new();
    for attempt in txs::attempts_of(&mut conn, &ids).await? {
        attempts
            .entry(attempt.signed.tx_id)
            .or_default()
            .push(attempt);
    }
    let resources = shown
        .iter()
        .filter_map(|tx| {
            let attempt = representative(tx, attempts.get(&tx.id)?)?;
            Some(resource(tx, attempt))
        })
        .collect();
    Ok(page(resources, total, paging, uri.path()))
}

pub(super) async fn show(
    _: View,
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Response, Refusal> {
    let hash: B256 = text
        .parse()
        .map_err(|_| Refusal::unprocessable(format!("{text:?} is not a transaction hash")))?;
    let unknown = || Refusal::not_found(format!("there is no transaction {hash}"));
    let mut conn = app.store.read().await?;
    let tx = txs::by_hash(&mut conn, hash).await?.ok_or_else(unknown)?;
    let attempts = txs::attempts(&mut conn, tx.id).await?;
    let attempt = attempts
        .iter()
        .find(|attempt| attempt.signed.hash == hash)
        .ok_or_else(unknown)?;
    Ok(document(resource(&tx, attempt)))
}

pub(super) async fn attempts(
    _: View,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let paging = Paging::of(&uri, SHORT_LIST)?;
    let mut conn = app.store.read().await?;
    let shown = txs::list_attempts(&mut conn, paging.size, paging.offset()).await?;
    let total = txs::count_attempts(&mut conn).await?;
    let mut ids: Vec<TxId> = shown.iter().map(|attempt| attempt.signed.tx_id).collect();
    ids.dedup();
    let by_id: BTreeMap<TxId, Tx> = txs::by_ids(&mut conn, &ids)
        .await?
        .into_iter()
        .map(|tx| (tx.id, tx))
        .collect();
    let resources = shown
        .iter()
        .filter_map(|attempt| Some(resource(by_id.get(&attempt.signed.tx_id)?, attempt)))
        .collect();
    Ok(page(resources, total, paging, uri.path()))
}
