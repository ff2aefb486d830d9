//! Request bodies: bounded, and read as JSON whatever their content type says.

use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::Refusal;
use crate::server::App;

/// A whole body within the configured size.
pub(crate) struct Payload(pub(crate) Bytes);

/// Which status a body gets that is no JSON of the wanted shape.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unreadable {
    BadRequest,
    Unprocessable,
}

impl FromRequest<Arc<App>> for Payload {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let limit = app.config.http_max_size;
        to_bytes(request.into_body(), limit)
            .await
            .map(Self)
            .map_err(|error| {
                let too_long = std::error::Error::source(&error)
                    .is_some_and(|cause| cause.to_string().contains("length limit exceeded"));
                if too_long {
                    Refusal::too_large(limit)
                } else {
                    Refusal::bad_request("the request ended before its body was complete")
                }
            })
    }
}

impl Payload {
    /// The body as `T`.
    pub(crate) fn json<T: DeserializeOwned>(&self, otherwise: Unreadable) -> Result<T, Refusal> {
        serde_json::from_slice(&self.0).map_err(|error| {
            let status = match otherwise {
                Unreadable::BadRequest => StatusCode::BAD_REQUEST,
                Unreadable::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            };
            Refusal::new(
                status,
                format!("the body is not the JSON expected here: {error}"),
            )
        })
    }
}
