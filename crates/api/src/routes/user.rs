//! What users do to themselves: password and API token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dodona_runtime::clock;
use dodona_store::users::{self, User};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use crate::auth::{NewToken, ViaSession, View, check_password};
use crate::http::{Payload, Refusal, Resource, Unreadable, document, with_status};
use crate::observe;
use crate::server::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewPassword {
    old_password: SecretString,
    new_password: SecretString,
}

#[derive(Deserialize)]
struct Password {
    password: SecretString,
}

async fn user(app: &App, email: &str) -> Result<User, Refusal> {
    let found = users::find(&mut app.store.read().await?, email).await?;
    found.ok_or_else(Refusal::not_logged_in)
}

/// Changes the password and ends the user's other sessions; nobody else's.
pub(super) async fn change_password(
    State(app): State<Arc<App>>,
    ViaSession(identity): ViaSession,
    payload: Payload,
) -> Result<Response, Refusal> {
    let body: NewPassword = payload.json(Unreadable::Unprocessable)?;
    let user = user(&app, &identity.email).await?;
    let old = Some(user.password_hash.clone());
    if !app.passwords.fits(old, body.old_password).await {
        return Err(Refusal::conflict("the old password is not the present one"));
    }
    check_password(&body.new_password, &identity.email)
        .map_err(|rule| Refusal::unprocessable(rule.to_string()))?;
    let hash = app.passwords.hash(body.new_password).await;
    let mut tx = app.store.begin().await?;
    users::set_password(&mut tx, &identity.email, &hash, clock::now()).await?;
    let session = identity.session.as_deref().unwrap_or_default();
    users::close_other_sessions(&mut tx, &identity.email, session).await?;
    tx.commit().await?;
    observe::user_changed(&identity.email, "changed the password");
    Ok(document(Resource::new(
        "users",
        &identity.email,
        &json!({
            "email": identity.email,
            "role": identity.role.as_str(),
            "hasActiveApiToken": user.token.is_some().to_string(),
            "createdAt": user.created_at,
            "updatedAt": clock::now(),
        }),
    )))
}

async fn proven(app: &App, email: &str, payload: &Payload) -> Result<(), Refusal> {
    let body: Password = payload.json(Unreadable::Unprocessable)?;
    let user = user(app, email).await?;
    if app
        .passwords
        .fits(Some(user.password_hash), body.password)
        .await
    {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNAUTHORIZED,
        "the password is wrong",
    ))
}

/// A new token replaces the old one. The secret is shown here and never again.
pub(super) async fn create_token(
    State(app): State<Arc<App>>,
    View(identity): View,
    payload: Payload,
) -> Result<Response, Refusal> {
    proven(&app, &identity.email, &payload).await?;
    let token = NewToken::random();
    let hashed = token.hashed();
    let row = (
        token.access_key.as_str(),
        token.salt.as_str(),
        hashed.as_str(),
    );
    let mut tx = app.store.begin().await?;
    users::set_token(&mut tx, &identity.email, Some(row), clock::now()).await?;
    tx.commit().await?;
    observe::user_changed(&identity.email, "created an API token");
    Ok(with_status(
        StatusCode::CREATED,
        Resource::new(
            "auth_tokens",
            &token.access_key,
            &json!({ "accessKey": token.access_key, "secret": token.secret }),
        ),
    ))
}

pub(super) async fn delete_token(
    State(app): State<Arc<App>>,
    View(identity): View,
    payload: Payload,
) -> Result<Response, Refusal> {
    proven(&app, &identity.email, &payload).await?;
    let mut tx = app.store.begin().await?;
    users::set_token(&mut tx, &identity.email, None, clock::now()).await?;
    tx.commit().await?;
    observe::user_changed(&identity.email, "deleted the API token");
    Ok(StatusCode::NO_CONTENT.into_response())
}
