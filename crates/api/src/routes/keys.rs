//! Sending keys. Private keys stay behind the vault; here are addresses, balances and key files.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use dodona_model::{Address, ChainId, Timestamp, tx};
use dodona_runtime::clock;
use dodona_store::keys::{self, KeyState};
use dodona_store::{Conn, StoreError, txs};
use secrecy::SecretString;
use serde::Serialize;

use crate::auth::{Admin, Edit, View};
use crate::http::{self, Payload, Refusal, Resource, document, with_status};
use crate::server::App;
use crate::vault::VaultError;
use crate::written::ether;
use crate::{ChainView, observe};

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        let status = match error {
            VaultError::Unknown(_) => StatusCode::NOT_FOUND,
            VaultError::Refused(_) => StatusCode::BAD_REQUEST,
            VaultError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    #[serde(rename = "evmChainID")]
    evm_chain_id: String,
    address: String,
    /// Decimal ether; null until it was looked at.
    eth_balance: Option<String>,
    /// Juels; null until it was looked at.
    link_balance: Option<String>,
    disabled: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    max_gas_price_wei: Option<String>,
    next_nonce: u64,
    /// Why it does not move; empty while it does. Ours.
    reason: String,
}

fn resource(app: &App, key: &KeyState) -> Resource {
    let limit = app
        .chain(key.chain_id)
        .and_then(|chain| chain.max_gas_price_wei.as_ref())
        .map(|limit| limit(key.address).to_string());
    Resource::new(
        "eTHKeys",
        format!("{}/{}", key.chain_id, key.address),
        &Attributes {
            evm_chain_id: key.chain_id.to_string(),
            address: key.address.to_string(),
            eth_balance: key.balance_wei.map(ether),
            link_balance: key.link_juels.map(|juels| juels.to_string()),
            disabled: key.disabled,
            created_at: key.created_at,
            updated_at: key.updated_at,
            max_gas_price_wei: limit,
            next_nonce: key.next_nonce,
            reason: key.reason.clone(),
        },
    )
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    url::form_urlencoded::parse(uri.query().unwrap_or("").as_bytes())
        .find(|(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

/// The chain a request names, or the only one there is.
fn chain<'a>(app: &'a App, uri: &Uri) -> Result<&'a ChainView, Refusal> {
    let Some(id) = query(uri, "evmChainID") else {
        return match app.chains.as_slice() {
            [only] => Ok(only),
            [] => Err(Refusal::bad_request(
                "no chain is configured; add one to the configuration first",
            )),
            _ => Err(Refusal::bad_request(
                "several chains are configured; say which one with evmChainID",
            )),
        };
    };
    let number: ChainId = id
        .parse()
        .map_err(|_| Refusal::unprocessable(format!("evmChainID={id}: this is not a chain id")))?;
    app.chain(number)
        .ok_or_else(|| Refusal::not_found(format!("chain {id} is not configured")))
}

fn address(text: &str) -> Result<Address, Refusal> {
    text.parse()
        .map_err(|_| Refusal::unprocessable(format!("{text:?} is not an address")))
}

async fn states(conn: &mut Conn, address: Address) -> Result<Vec<KeyState>, StoreError> {
    let mut all = keys::list(conn).await?;
    all.retain(|key| key.address == address);
    Ok(all)
}

/// The key's entry on one chain, fresh from its row.
async fn entry(app: &App, chain: ChainId, address: Address) -> Result<Resource, Refusal> {
    let states = states(&mut app.store.read().await?, address).await?;
    states
        .iter()
        .find(|key| key.chain_id == chain)
        .map(|key| resource(app, key))
        .ok_or_else(|| Refusal::not_found(format!("there is no key {address} on chain {chain}")))
}

pub(super) async fn list(_: View, State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let all = keys::list(&mut app.store.read().await?).await?;
    let resources = all.iter().map(|key| resource(&app, key)).collect();
    Ok(http::list(StatusCode::OK, resources))
}

pub(super) async fn create(
    Edit(identity): Edit,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let chain = chain(&app, &uri)?.chain_id;
    // A cap that is accepted and not kept would be believed in.
    if query(&uri, "maxGasPriceGWei").is_some_and(|price| price != "0") {
        return Err(Refusal::unprocessable(
            "maxGasPriceGWei cannot be set here, and no key was created: after creating one without it, name the key in [[EVM.KeySpecific]] with GasEstimator.PriceMax",
        ));
    }
    let address = app.vault.create(chain).await?;
    observe::key_changed(address, "created", &identity.email);
    Ok(with_status(
        StatusCode::CREATED,
        entry(&app, chain, address).await?,
    ))
}

pub(super) async fn import(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    uri: Uri,
    payload: Payload,
) -> Result<Response, Refusal> {
    let chain = chain(&app, &uri)?.chain_id;
    let password = query(&uri, "oldpassword").ok_or_else(|| {
        Refusal::bad_request("oldpassword is missing: the password of the key file")
    })?;
    let json = String::from_utf8(payload.0.into())
        .map_err(|_| Refusal::bad_request("the body is not a key file: it is not text"))?;
    let address = app
        .vault
        .import(chain, json, SecretString::from(password))
        .await?;
    observe::key_changed(address, "imported", &identity.email);
    Ok(with_status(
        StatusCode::CREATED,
        entry(&app, chain, address).await?,
    ))
}

pub(super) async fn export(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let address = address(&text)?;
    let password = query(&uri, "newpassword").ok_or_else(|| {
        Refusal::bad_request("newpassword is missing: the password the key file shall have")
    })?;
    let json = app
        .vault
        .export(address, SecretString::from(password))
        .await?;
    observe::key_changed(address, "exported", &identity.email);
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// Deletes a key for good. Refused while something it signed may still be mined: nobody could replace
/// or follow it afterwards.
pub(super) async fn destroy(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Response, Refusal> {
    let address = address(&text)?;
    let mut conn = app.store.read().await?;
    let states = states(&mut conn, address).await?;
    let Some(shown) = states.first().map(|key| resource(&app, key)) else {
        return Err(VaultError::Unknown(address).into());
    };
    for key in &states {
        let unfinished: u64 = txs::count_by_state(&mut conn, key.chain_id)
            .await?
            .into_iter()
            .filter(|(from, state, _, _)| *from == address && *state != tx::State::Mined)
            .map(|(_, _, n, _)| n)
            .sum();
        if unfinished > 0 {
            return Err(Refusal::conflict(format!(
                "the key {address} has {unfinished} transactions on chain {} that are not mined; disable it (dodona keys eth chain --disable), wait until they are sent and mined, then delete it",
                key.chain_id
            )));
        }
    }
    drop(conn);
    app.vault.delete(address).await?;
    observe::key_changed(address, "deleted", &identity.email);
    Ok(document(shown))
}

/// Enables or disables a key on one chain.
pub(super) async fn on_chain(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let chain = chain(&app, &uri)?.chain_id;
    let text = query(&uri, "address")
        .ok_or_else(|| Refusal::unprocessable("address is missing: the key to change"))?;
    let address = address(&text)?;
    if query(&uri, "abandon").is_some_and(|word| word == "true") {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "abandoning pending transactions is not supported by this version; nothing was changed",
        ));
    }
    let enable = match query(&uri, "enabled").as_deref() {
        Some("true") => true,
        Some("false") => false,
        _ => {
            return Err(Refusal::unprocessable(
                "enabled must be true or false; nothing was changed",
            ));
        }
    };
    let mut tx = app.store.begin().await?;
    if states(&mut tx, address).await?.is_empty() {
        return Err(VaultError::Unknown(address).into());
    }
    if enable {
        keys::enable(&mut tx, chain, address, clock::now()).await?;
    } else if !keys::disable(&mut tx, chain, address, clock::now()).await? {
        return Err(Refusal::not_found(format!(
            "the key {address} is not used on chain {chain}"
        )));
    }
    tx.poke_on_commit("keys");
    tx.commit().await?;
    let what = if enable { "enabled" } else { "disabled" };
    observe::key_changed(address, what, &identity.email);
    Ok(document(entry(&app, chain, address).await?))
}
