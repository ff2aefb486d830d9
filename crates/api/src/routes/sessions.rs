//! Log-in and log-out of programs; people use the page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use crate::auth::{ViaSession, clear_cookie, log_in, log_out, session_cookie};
use crate::http::{Payload, Refusal, Resource, Unreadable, document};
use crate::server::App;

#[derive(Deserialize)]
struct LogIn {
    email: String,
    password: SecretString,
}

fn session(authenticated: bool) -> Response {
    document(Resource::new(
        "session",
        "sessionID",
        &json!({ "authenticated": authenticated }),
    ))
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    payload: Payload,
) -> Result<Response, Refusal> {
    let body: LogIn = payload.json(Unreadable::BadRequest)?;
    let Some(id) = log_in(&app, &body.email, body.password).await? else {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "Invalid email or password",
        ));
    };
    let cookie = session_cookie(&id, app.config.secure_cookies);
    Ok(([(header::SET_COOKIE, cookie)], session(true)).into_response())
}

pub(super) async fn destroy(
    State(app): State<Arc<App>>,
    ViaSession(identity): ViaSession,
) -> Result<Response, Refusal> {
    log_out(&app, &identity).await?;
    let cookie = clear_cookie(app.config.secure_cookies);
    Ok(([(header::SET_COOKIE, cookie)], session(false)).into_response())
}
