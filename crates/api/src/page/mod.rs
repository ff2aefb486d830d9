//! The pages for people: log-in and the node on one screen. No scripts; the page loads itself anew.

mod home;
mod layout;
mod parts;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use dodona_runtime::Check;
use maud::Markup;
use secrecy::SecretString;

use crate::auth::{self, ViaSession, clear_cookie, session_cookie};
use crate::facts::Facts;
use crate::http::{Payload, Refusal};
use crate::server::App;

const STYLE: &str = include_str!("style.css");
/// Nothing from elsewhere, no script at all, and nobody may put us in a frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// The one thing that goes wrong after the right password, and it says nothing by itself.
const COOKIE_LOST: &str = "The password was right, but your browser did not keep the session: over plain HTTP it drops cookies meant for TLS. Come over https or through an SSH tunnel to localhost, or set WebServer.SecureCookies = false.";

fn page(status: StatusCode, markup: Markup) -> Response {
    let policy = [(HeaderName::from_static("content-security-policy"), POLICY)];
    (status, policy, Html(markup.into_string())).into_response()
}

/// The database failed while a page was being made.
fn broken(refusal: &Refusal) -> Response {
    page(
        StatusCode::INTERNAL_SERVER_ERROR,
        layout::message("The node cannot read its database", &refusal.to_string()),
    )
}

pub(crate) fn not_found(path: &str) -> Response {
    page(
        StatusCode::NOT_FOUND,
        layout::message(
            "There is nothing here",
            &format!("No page is called {path}."),
        ),
    )
}

/// The health checks for a browser.
pub(crate) fn health(status: StatusCode, checks: &[Check]) -> Response {
    page(status, layout::health(checks))
}

/// The node on one screen, for whoever is logged in.
pub(crate) async fn home(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    match try_home(&app, &headers).await {
        Ok(response) => response,
        Err(refusal) => broken(&refusal),
    }
}

async fn try_home(app: &App, headers: &HeaderMap) -> Result<Response, Refusal> {
    let Some(identity) = auth::by_session(app, headers).await? else {
        return Ok(Redirect::to("/login").into_response());
    };
    let facts = Facts::read(app).await?;
    let recent = home::recent_runs(app).await?;
    let markup = home::home(app, &facts, &recent, &identity.email);
    Ok(page(StatusCode::OK, markup))
}

pub(crate) async fn log_in_form(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    match auth::by_session(&app, &headers).await {
        Ok(Some(_)) => Redirect::to("/").into_response(),
        Ok(None) => page(StatusCode::OK, layout::log_in(None)),
        Err(error) => broken(&error.into()),
    }
}

/// The form's target. Other origins were refused before this; the cookie it sets never travels with
/// requests that other sites cause.
pub(crate) async fn log_in(State(app): State<Arc<App>>, payload: Payload) -> Response {
    let (mut email, mut password) = (String::new(), String::new());
    for (name, value) in url::form_urlencoded::parse(&payload.0) {
        match name.as_ref() {
            "email" => email = value.into_owned(),
            "password" => password = value.into_owned(),
            _ => {}
        }
    }
    match auth::log_in(&app, &email, SecretString::from(password)).await {
        Ok(Some(id)) => {
            let cookie = session_cookie(&id, app.config.secure_cookies);
            ([(header::SET_COOKIE, cookie)], Redirect::to("/entered")).into_response()
        }
        Ok(None) => page(
            StatusCode::UNAUTHORIZED,
            layout::log_in(Some("Invalid email or password")),
        ),
        Err(error) => broken(&error.into()),
    }
}

/// Where a log-in leads: to the first page, unless the browser dropped the cookie it was just given.
pub(crate) async fn entered(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    match auth::by_session(&app, &headers).await {
        Ok(Some(_)) => Redirect::to("/").into_response(),
        Ok(None) => page(StatusCode::OK, layout::log_in(Some(COOKIE_LOST))),
        Err(error) => broken(&error.into()),
    }
}

pub(crate) async fn log_out(
    State(app): State<Arc<App>>,
    session: Result<ViaSession, Refusal>,
) -> Response {
    if let Ok(ViaSession(identity)) = session
        && let Err(error) = auth::log_out(&app, &identity).await
    {
        return broken(&error.into());
    }
    let cookie = clear_cookie(app.config.secure_cookies);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

pub(crate) async fn asset(Path(file): Path<String>) -> Response {
    if file != "dodona.css" {
        return not_found(&format!("/assets/{file}"));
    }
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, STYLE).into_response()
}
