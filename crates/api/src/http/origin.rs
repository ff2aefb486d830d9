//! Which web pages may call us: our own, and those an operator listed.
//!
//! A request from any other page is refused on every route, before anything looks at its cookie. A
//! request without an `Origin` comes from a program, or from a browser following a link.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Refusal;
use crate::config::AllowOrigins;
use crate::server::App;

/// `PUT` is missing on purpose: clients know this list.
const METHODS: HeaderValue = HeaderValue::from_static("GET,POST,PATCH,DELETE");
/// API tokens are not for browsers of other origins.
const HEADERS: HeaderValue = HeaderValue::from_static("Origin,Content-Type,Accept");

#[derive(Debug, PartialEq, Eq)]
enum Caller {
    /// No page of another origin is involved.
    Ours,
    /// A listed origin; the value for `Access-Control-Allow-Origin`.
    Listed(HeaderValue),
    Foreign,
}

fn caller(allowed: &AllowOrigins, method: &Method, headers: &HeaderMap) -> Caller {
    let Some(origin) = headers.get(header::ORIGIN) else {
        // Browsers say where a request comes from even where they send no origin.
        let cross = headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site");
        return if cross && !method.is_safe() {
            Caller::Foreign
        } else {
            Caller::Ours
        };
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let text = origin.to_str().unwrap_or_default();
    let authority = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    if let (Some(authority), Some(host)) = (authority, host)
        && authority.eq_ignore_ascii_case(host)
    {
        return Caller::Ours;
    }
    match allowed {
        AllowOrigins::Any => Caller::Listed(HeaderValue::from_static("*")),
        AllowOrigins::These(list) if list.iter().any(|known| known == text) => {
            Caller::Listed(origin.clone())
        }
        AllowOrigins::These(_) => Caller::Foreign,
    }
}

/// Refuses pages of other origins and answers what browsers ask beforehand.
pub(crate) async fn check_origin(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let origin = match caller(
        &app.config.allow_origins,
        request.method(),
        request.headers(),
    ) {
        Caller::Ours => return next.run(request).await,
        Caller::Foreign => {
            return Refusal::new(
                StatusCode::FORBIDDEN,
                "this origin may not call the node; if it should, add it to WebServer.AllowOrigins",
            )
            .into_response();
        }
        Caller::Listed(origin) => origin,
    };
    let asks_beforehand = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks_beforehand {
        let facts = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (
                header::ACCESS_CONTROL_MAX_AGE,
                HeaderValue::from_static("2"),
            ),
        ];
        (StatusCode::NO_CONTENT, facts).into_response()
    } else {
        let mut response = next.run(request).await;
        set(
            &mut response,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("Content-Length"),
        );
        response
    };
    set(&mut response, header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    set(
        &mut response,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    set(
        &mut response,
        header::VARY,
        HeaderValue::from_static("Origin"),
    );
    response
}

fn set(response: &mut Response, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, headers: &[(&'static str, &'static str)]) -> Caller {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        let listed = AllowOrigins::These(vec!["https://ops.example.com".to_owned()]);
        caller(&listed, &method, &headers)
    }

    #[test]
    fn programs_and_our_own_pages_pass_through_any_tunnel() {
        assert_eq!(of(Method::POST, &[]), Caller::Ours);
        let tunnel = [
            ("host", "localhost:9999"),
            ("origin", "http://localhost:9999"),
        ];
        assert_eq!(of(Method::POST, &tunnel), Caller::Ours);
    }

    #[test]
    fn other_pages_do_not_pass() {
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:6689",
            "http://localhost:6688.evil.example",
        ] {
            let headers = [("host", "localhost:6688"), ("origin", origin)];
            assert_eq!(of(Method::GET, &headers), Caller::Foreign, "{origin}");
        }
        let form = [("host", "localhost:6688"), ("sec-fetch-site", "cross-site")];
        assert_eq!(of(Method::POST, &form), Caller::Foreign);
        assert_eq!(
            of(Method::GET, &form),
            Caller::Ours,
            "following a link is fine"
        );
    }

    #[test]
    fn a_listed_origin_passes_by_its_exact_name() {
        let headers = [
            ("host", "localhost:6688"),
            ("origin", "https://ops.example.com"),
        ];
        assert_eq!(
            of(Method::POST, &headers),
            Caller::Listed(HeaderValue::from_static("https://ops.example.com"))
        );
    }
}
