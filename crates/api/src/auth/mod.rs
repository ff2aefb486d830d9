//! Who is asking, and whether they may.
//!
//! Handlers name the role they need as an argument ([`View`], [`Run`], [`Edit`], [`Admin`]); without
//! it they do not run. Sessions come from a cookie, API tokens from two headers. Nothing that opens a
//! door is kept: passwords as argon2id, session ids as SHA-256, token secrets as salted SHA3-256.

mod cookie;
mod initiator;
mod password;
mod session;
mod token;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use dodona_store::StoreError;

use crate::http::Refusal;
use crate::server::App;

pub use password::{
    FirstUserError, PasswordRule, check_first_user, check_password, ensure_first_user,
};

pub(crate) use cookie::{clear_cookie, session_cookie};
pub(crate) use initiator::{Caller, NewCredentials, Pinger};
pub(crate) use password::PasswordWork;
pub(crate) use session::{log_in, log_out};
pub(crate) use token::NewToken;

/// What a user may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    View,
    Run,
    Edit,
    Admin,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Run => "run",
            Self::Edit => "edit",
            Self::Admin => "admin",
        }
    }

    /// A word this version does not know gives the least.
    fn of(word: &str) -> Self {
        [Self::Admin, Self::Edit, Self::Run]
            .into_iter()
            .find(|role| role.as_str() == word)
            .unwrap_or(Self::View)
    }
}

/// Somebody who proved who they are.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) email: String,
    pub(crate) role: Role,
    /// Hash of the session's id; `None` for API tokens.
    pub(crate) session: Option<String>,
}

impl Identity {
    fn at_least(self, required: Role) -> Result<Self, Refusal> {
        if self.role >= required {
            return Ok(self);
        }
        if required != Role::Admin {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized"));
        }
        let provided = HeaderValue::from_str(&self.email)
            .unwrap_or_else(|_| HeaderValue::from_static("unprintable"));
        Err(Refusal::new(StatusCode::FORBIDDEN, "Forbidden")
            .with_header(
                HeaderName::from_static("forbidden-required-role"),
                HeaderValue::from_static(Role::Admin.as_str()),
            )
            .with_header(
                HeaderName::from_static("forbidden-provided-role"),
                HeaderValue::from_static(self.role.as_str()),
            )
            .with_header(
                HeaderName::from_static("forbidden-provided-email"),
                provided,
            ))
    }
}

/// Whoever the cookie's session belongs to; `None` without a living session.
pub(crate) async fn by_session(
    app: &App,
    headers: &HeaderMap,
) -> Result<Option<Identity>, StoreError> {
    match cookie::session_id(headers) {
        Some(id) => session::owner(app, id).await,
        None => Ok(None),
    }
}

/// Token first, then session; a token that does not match leaves it to the session.
async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Identity, Refusal> {
    if let Some(identity) = token::owner(app, headers).await? {
        return Ok(identity);
    }
    by_session(app, headers)
        .await?
        .ok_or_else(Refusal::not_logged_in)
}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name(pub(crate) Identity);

        impl FromRequestParts<Arc<App>> for $name {
            type Rejection = Refusal;

            async fn from_request_parts(
                parts: &mut RequestParts,
                app: &Arc<App>,
            ) -> Result<Self, Refusal> {
                authenticate(app, &parts.headers).await?.at_least(Role::$name).map(Self)
            }
        }
    )*};
}

roles! {
    /// Any user: this handler shows something.
    View;
    /// This handler starts something.
    Run;
    /// This handler changes what the node does.
    Edit;
    /// This handler touches keys or people.
    Admin;
}

/// Somebody with a session; API tokens do not count here.
pub(crate) struct ViaSession(pub(crate) Identity);

impl FromRequestParts<Arc<App>> for ViaSession {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut RequestParts, app: &Arc<App>) -> Result<Self, Refusal> {
        by_session(app, &parts.headers)
            .await?
            .map(Self)
            .ok_or_else(Refusal::not_logged_in)
    }
}
