//! External initiators: programs that prove who they are with an access key and a secret of their own.
//! They are nobody's user: all they may do is start runs of the jobs that list them.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts as RequestParts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dodona_store::StoreError;
use dodona_store::initiators::{self, Initiator};
use subtle::ConstantTimeEq;

use super::token::{NewToken, hash, random};
use super::{Identity, Run, authenticate};
use crate::http::Refusal;
use crate::server::App;

/// What a new initiator gets, once.
pub(crate) struct NewCredentials {
    /// What it presents to us.
    pub(crate) incoming: NewToken,
    /// What we present to it.
    pub(crate) outgoing_token: String,
    /// See `outgoing_token`.
    pub(crate) outgoing_secret: String,
}

impl NewCredentials {
    pub(crate) fn random() -> Self {
        Self {
            incoming: NewToken::random(),
            outgoing_token: hex::encode(random::<16>()),
            outgoing_secret: STANDARD.encode(random::<48>()),
        }
    }
}

/// Whose credentials the headers carry. Nobody's, where initiators are switched off.
async fn owner(app: &App, headers: &HeaderMap) -> Result<Option<Initiator>, StoreError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = header("x-chainlink-ea-accesskey");
    let (Some(key), Some(secret)) = (key, header("x-chainlink-ea-secret")) else {
        return Ok(None);
    };
    if !app.config.external_initiators {
        return Ok(None);
    }
    let found = initiators::by_key(&mut app.store.read().await?, key).await?;
    Ok(found.filter(|initiator| {
        let given = hash(key, secret, &initiator.spec.salt);
        given
            .as_bytes()
            .ct_eq(initiator.spec.secret_hash.as_bytes())
            .into()
    }))
}

/// Who asks for a run.
pub(crate) enum Caller {
    /// A user of role `run` or more.
    User(Identity),
    /// May start only what lists it.
    Initiator(Box<Initiator>),
}

impl Caller {
    /// Its name in logs.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::User(identity) => identity.email.clone(),
            Self::Initiator(initiator) => format!("external initiator {}", initiator.spec.name),
        }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut RequestParts, app: &Arc<App>) -> Result<Self, Refusal> {
        if let Some(initiator) = owner(app, &parts.headers).await? {
            return Ok(Self::Initiator(Box::new(initiator)));
        }
        let Run(identity) = Run::from_request_parts(parts, app).await?;
        Ok(Self::User(identity))
    }
}

/// Anybody we know, initiators too.
pub(crate) struct Pinger;

impl FromRequestParts<Arc<App>> for Pinger {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut RequestParts, app: &Arc<App>) -> Result<Self, Refusal> {
        if owner(app, &parts.headers).await?.is_none() {
            authenticate(app, &parts.headers).await?;
        }
        Ok(Self)
    }
}
