//! Why a request was not done, in the words of its answer.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dodona_store::StoreError;
use serde_json::json;

use crate::observe;

/// An answer that says no: `{"errors":[{"detail":"…"}]}`.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    details: Vec<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            details: vec![detail.into()],
            headers: Vec::new(),
        }
    }

    /// Several faults at once.
    pub(crate) fn faults(status: StatusCode, details: Vec<String>) -> Self {
        Self {
            status,
            details,
            headers: Vec::new(),
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(crate) fn not_logged_in() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "session missing or expired, please login again",
        )
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the request body is larger than {limit} bytes (WebServer.HTTPMaxSize); nothing of it was read"
            ),
        )
        .with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status.as_u16(), self.details.join("; "))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        observe::database_failed(&error);
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let errors: Vec<_> = self
            .details
            .iter()
            .map(|detail| json!({ "detail": detail }))
            .collect();
        let mut response = (self.status, Json(json!({ "errors": errors }))).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
