//! External initiators: programs that may start runs of the webhook jobs that list them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use dodona_model::Timestamp;
use dodona_runtime::clock;
use dodona_store::initiators::{self, Initiator, NewInitiator};
use dodona_store::notices;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::auth::{Edit, NewCredentials, View};
use crate::http::{Paging, Payload, Refusal, Resource, SHORT_LIST, Unreadable, page, with_status};
use crate::observe;
use crate::server::App;

#[derive(Deserialize)]
struct Given {
    #[serde(default)]
    name: String,
    url: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes<'a> {
    name: &'a str,
    url: Option<&'a str>,
    access_key: &'a str,
    outgoing_token: &'a str,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn resource(initiator: &Initiator) -> Resource {
    let spec = &initiator.spec;
    Resource::new(
        "externalInitiators",
        initiator.id,
        &Attributes {
            name: &spec.name,
            url: spec.url.as_deref(),
            access_key: &spec.access_key,
            outgoing_token: &spec.outgoing_token,
            created_at: initiator.created_at,
            updated_at: initiator.created_at,
        },
    )
}

impl Given {
    fn faults(&self) -> Vec<String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let mut faults = Vec::new();
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            faults.push(format!(
                "name: {:?} is not the name of an external initiator: letters, digits, - and _ only",
                self.name
            ));
        }
        let known = |url: &str| {
            url::Url::parse(url)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        if let Some(url) = self.url().filter(|url| !known(url)) {
            faults.push(format!(
                "url: {url:?} is not an http or https address, such as http://localhost:8080/jobs"
            ));
        }
        faults
    }

    fn url(&self) -> Option<&str> {
        self.url.as_deref().filter(|url| !url.is_empty())
    }
}

pub(super) async fn list(
    _: View,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let paging = Paging::of(&uri, SHORT_LIST)?;
    let mut conn = app.store.read().await?;
    let shown = initiators::list(&mut conn, paging.size, paging.offset()).await?;
    let total = initiators::count(&mut conn).await?;
    let resources = shown.iter().map(resource).collect();
    Ok(page(resources, total, paging, uri.path()))
}

/// The secrets are shown here and never again.
pub(super) async fn create(
    Edit(identity): Edit,
    State(app): State<Arc<App>>,
    payload: Payload,
) -> Result<Response, Refusal> {
    if !app.config.external_initiators {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "external initiators are switched off; set JobPipeline.ExternalInitiatorsEnabled = true and start the node again",
        ));
    }
    let given: Given = payload.json(Unreadable::Unprocessable)?;
    let faults = given.faults();
    if !faults.is_empty() {
        return Err(Refusal::faults(StatusCode::BAD_REQUEST, faults));
    }
    let credentials = NewCredentials::random();
    let new = NewInitiator {
        name: given.name.clone(),
        url: given.url().map(str::to_owned),
        access_key: credentials.incoming.access_key.clone(),
        salt: credentials.incoming.salt.clone(),
        secret_hash: credentials.incoming.hashed(),
        outgoing_token: credentials.outgoing_token.clone(),
        outgoing_secret: credentials.outgoing_secret.clone(),
    };
    let mut tx = app.store.begin().await?;
    let id = match initiators::insert(&mut tx, &new, clock::now()).await {
        Err(error) if error.is_duplicate() => {
            return Err(Refusal::bad_request(format!(
                "there is an external initiator {} already; delete it first or choose another name",
                new.name
            )));
        }
        other => other?,
    };
    tx.commit().await?;
    observe::initiator_changed(&new.name, "created", &identity.email);
    Ok(with_status(
        StatusCode::CREATED,
        Resource::new(
            "external initiators",
            id,
            &json!({
                "name": new.name,
                "url": new.url,
                "incomingAccessKey": credentials.incoming.access_key,
                "incomingSecret": credentials.incoming.secret,
                "outgoingToken": credentials.outgoing_token,
                "outgoingSecret": credentials.outgoing_secret,
            }),
        ),
    ))
}

pub(super) async fn destroy(
    Edit(identity): Edit,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let mut tx = app.store.begin().await?;
    let found = initiators::find(&mut tx, &name).await?;
    let initiator = found
        .ok_or_else(|| Refusal::not_found(format!("there is no external initiator {name:?}")))?;
    let users = initiators::jobs_of(&mut tx, initiator.id).await?;
    if !users.is_empty() {
        let users: Vec<String> = users.iter().map(ToString::to_string).collect();
        return Err(Refusal::conflict(format!(
            "the external initiator {} is listed by the jobs {}; delete them first",
            initiator.spec.name,
            users.join(", ")
        )));
    }
    notices::delete_of(&mut tx, initiator.id).await?;
    initiators::delete(&mut tx, initiator.id).await?;
    tx.commit().await?;
    observe::initiator_changed(&initiator.spec.name, "deleted", &identity.email);
    Ok(StatusCode::NO_CONTENT.into_response())
}
