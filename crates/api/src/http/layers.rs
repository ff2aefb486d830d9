//! What happens around every handler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::{Peer, Refusal};
use crate::observe;
use crate::server::App;

/// On every answer. The transport rule is sent over plain HTTP too, as clients know it; browsers
/// ignore it there.
const SECURITY_HEADERS: [(&str, &str); 8] = [
    ("x-content-type-options", "nosniff"),
    ("x-dns-prefetch-control", "off"),
    ("x-frame-options", "DENY"),
    (
        "strict-transport-security",
        "max-age=5184000; includeSubDomains",
    ),
    ("x-download-options", "noopen"),
    ("x-xss-protection", "1; mode=block"),
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-store"),
];

pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .entry(HeaderName::from_static(name))
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Refuses a body that announces to be too large before reading any of it; what does not announce its
/// size is cut off where it is read.
pub(crate) async fn body_limit(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    match announced {
        Some(size) if size > app.config.http_max_size => {
            Refusal::too_large(app.config.http_max_size).into_response()
        }
        _ => next.run(request).await,
    }
}

/// One line and one count for each request. Bodies are never logged: key files and passwords come
/// this way.
pub(crate) async fn record(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let query = redacted(request.uri().query().unwrap_or(""));
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |route| route.as_str().to_owned());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let response = next.run(request).await;
    observe::answered(&observe::Answered {
        method: &method,
        path: &path,
        route: &route,
        query: &query,
        peer,
        status: response.status(),
        took: began.elapsed(),
    });
    response
}

/// A query with the value of every name that speaks of a password taken out.
fn redacted(query: &str) -> String {
    query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if name.to_lowercase().contains("password") => {
                format!("{name}=REDACTED")
            }
            _ => pair.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("&")
}

/// A handler that panics answers 500; the node goes on.
pub(crate) async fn catch_panics(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            observe::panicked(&path);
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the node met a mistake of its own while answering; its log has the details",
            )
            .into_response()
        }
    }
}

/// Gives up on a request that takes too long; what it began in the database is rolled back.
pub(crate) async fn time_out(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let limit = app.config.write_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "this took longer than {limit:?} (WebServer.HTTPWriteTimeout) and was given up"
            ),
        )
        .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_queries_are_not_logged() {
        assert_eq!(
            redacted("oldpassword=s3cret&evmChainID=1&newPassword=other"),
            "oldpassword=REDACTED&evmChainID=1&newPassword=REDACTED"
        );
    }
}
