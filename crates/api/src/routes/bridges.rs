//! Bridges (external adapters): the operator's own services that jobs may call.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dodona_model::{JobId, Timestamp, U256};
use dodona_pipeline::Pipeline;
use dodona_runtime::clock;
use dodona_store::bridges::{self, Bridge};
use dodona_store::{Conn, StoreError, jobs};
use rand::Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::auth::{Edit, View};
use crate::http::{Paging, Payload, Refusal, Resource, SHORT_LIST, Unreadable, document, page};
use crate::observe;
use crate::server::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    name: Option<String>,
    #[serde(default)]
    url: String,
    #[serde(default)]
    confirmations: u32,
    /// Juels, as text or as a number.
    minimum_contract_payment: Option<serde_json::Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes<'a> {
    name: &'a str,
    url: &'a str,
    confirmations: u32,
    /// Shown once, when the bridge is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    incoming_token: Option<&'a str>,
    outgoing_token: &'a str,
    minimum_contract_payment: Option<String>,
    created_at: Timestamp,
}

fn resource(bridge: &Bridge, incoming_token: Option<&str>) -> Resource {
    Resource::new(
        "bridges",
        &bridge.name,
        &Attributes {
            name: &bridge.name,
            url: &bridge.url,
            confirmations: bridge.confirmations,
            incoming_token,
            outgoing_token: &bridge.outgoing_token,
            minimum_contract_payment: bridge.min_payment_juels.map(|juels| juels.to_string()),
            created_at: bridge.created_at,
        },
    )
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A name from a path, lower-cased.
fn name_of(text: &str) -> Result<String, Refusal> {
    if is_name(text) {
        return Ok(text.to_lowercase());
    }
    Err(Refusal::unprocessable(format!(
        "{text:?} is not a bridge name: letters, digits, - and _ only"
    )))
}

impl Given {
    fn url_fault(&self) -> Option<String> {
        let known = url::Url::parse(&self.url)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        (!known).then(|| {
            format!(
                "url: {:?} is not an http or https address, such as http://localhost:8080/",
                self.url
            )
        })
    }

    fn payment(&self) -> Result<Option<U256>, String> {
        let text = match &self.minimum_contract_payment {
            None | Some(serde_json::Value::Null) => return Ok(None),
            Some(serde_json::Value::String(text)) if text.is_empty() => return Ok(None),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        U256::from_str_radix(&text, 10)
            .map(Some)
            .map_err(|_| format!("minimumContractPayment: {text} is not a whole number of juels"))
    }
}

fn faults(found: Vec<String>) -> Result<(), Refusal> {
    if found.is_empty() {
        return Ok(());
    }
    Err(Refusal::faults(StatusCode::BAD_REQUEST, found))
}

fn random_text() -> String {
    let mut bytes = [0u8; 24];
    rand::rng().fill_bytes(&mut bytes);
    STANDARD.encode(bytes)
}

async fn known(conn: &mut Conn, name: &str) -> Result<Bridge, Refusal> {
    bridges::find(conn, name)
        .await?
        .ok_or_else(|| Refusal::not_found(format!("there is no bridge {name}")))
}

/// Living jobs that call the bridge by its name.
async fn users_of(conn: &mut Conn, name: &str) -> Result<Vec<JobId>, StoreError> {
    let calls = |dot: &str| {
        Pipeline::parse(dot).is_ok_and(|pipeline| {
            pipeline
                .bridges()
                .iter()
                .any(|bridge| bridge.eq_ignore_ascii_case(name))
        })
    };
    let mentioning = jobs::mentioning(conn, name).await?;
    Ok(mentioning
        .into_iter()
        .filter(|(_, dot)| calls(dot))
        .map(|(id, _)| id)
        .collect())
}

pub(super) async fn list(
    _: View,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let paging = Paging::of(&uri, SHORT_LIST)?;
    let mut conn = app.store.read().await?;
    let shown = bridges::list(&mut conn, paging.size, paging.offset()).await?;
    let total = bridges::count(&mut conn).await?;
    let resources = shown.iter().map(|bridge| resource(bridge, None)).collect();
    Ok(page(resources, total, paging, uri.path()))
}

pub(super) async fn show(
    _: View,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let bridge = known(&mut app.store.read().await?, &name_of(&name)?).await?;
    Ok(document(resource(&bridge, None)))
}

pub(super) async fn create(
    Edit(identity): Edit,
    State(app): State<Arc<App>>,
    payload: Payload,
) -> Result<Response, Refusal> {
    let given: Given = payload.json(Unreadable::Unprocessable)?;
    let name = given.name.clone().unwrap_or_default();
    let payment = given.payment();
    let mut found: Vec<String> = given.url_fault().into_iter().collect();
    if !is_name(&name) {
        found.push(format!(
            "name: {name:?} is not a bridge name: letters, digits, - and _ only"
        ));
    }
    found.extend(payment.clone().err());
    faults(found)?;
    let token = random_text();
    let salt = random_text();
    let bridge = Bridge {
        name: name.to_lowercase(),
        url: given.url,
        confirmations: given.confirmations,
        incoming_token_hash: hex::encode(Sha256::digest(format!("{token}-{salt}"))),
        salt,
        outgoing_token: random_text(),
        min_payment_juels: payment.unwrap_or_default(),
        created_at: clock::now(),
    };
    let mut tx = app.store.begin().await?;
    match bridges::insert(&mut tx, &bridge).await {
        Err(error) if error.is_duplicate() => {
            return Err(Refusal::bad_request(format!(
                "there is a bridge {} already; delete it first or choose another name",
                bridge.name
            )));
        }
        other => other?,
    }
    tx.commit().await?;
    observe::bridge_changed(&bridge.name, "created", &identity.email);
    Ok(document(resource(&bridge, Some(&token))))
}

pub(super) async fn update(
    Edit(identity): Edit,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    payload: Payload,
) -> Result<Response, Refusal> {
    let name = name_of(&name)?;
    let given: Given = payload.json(Unreadable::Unprocessable)?;
    let payment = given.payment();
    let mut found: Vec<String> = given.url_fault().into_iter().collect();
    if given
        .name
        .as_ref()
        .is_some_and(|given| !given.eq_ignore_ascii_case(&name))
    {
        found.push("name: a bridge keeps its name; delete it and create another".to_owned());
    }
    found.extend(payment.clone().err());
    let mut tx = app.store.begin().await?;
    known(&mut tx, &name).await?;
    faults(found)?;
    let (url, confirmations) = (&given.url, given.confirmations);
    bridges::update(
        &mut tx,
        &name,
        url,
        confirmations,
        payment.unwrap_or_default(),
        clock::now(),
    )
    .await?;
    let bridge = known(&mut tx, &name).await?;
    tx.commit().await?;
    observe::bridge_changed(&name, "changed", &identity.email);
    Ok(document(resource(&bridge, None)))
}

pub(super) async fn destroy(
    Edit(identity): Edit,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let name = name_of(&name)?;
    let mut tx = app.store.begin().await?;
    let bridge = known(&mut tx, &name).await?;
    let users = users_of(&mut tx, &name).await?;
    if !users.is_empty() {
        let users: Vec<String> = users.iter().map(ToString::to_string).collect();
        return Err(Refusal::conflict(format!(
            "the bridge {name} is used by the jobs {}; delete them first",
            users.join(", ")
        )));
    }
    bridges::delete(&mut tx, &name).await?;
    tx.commit().await?;
    observe::bridge_changed(&name, "deleted", &identity.email);
    Ok(document(resource(&bridge, None)))
}
