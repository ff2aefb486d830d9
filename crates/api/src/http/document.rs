//! JSON:API documents.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Paging;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.api+json");

/// One thing in a document. Attributes keep their numbers digit by digit.
#[derive(Debug, Serialize)]
pub(crate) struct Resource {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: Box<RawValue>,
}

impl Resource {
    pub(crate) fn new(kind: &'static str, id: impl ToString, attributes: &impl Serialize) -> Self {
        Self {
            kind,
            id: id.to_string(),
            attributes: serde_json::value::to_raw_value(attributes)
                .expect("attributes are structs of texts, numbers and lists"),
        }
    }
}

#[derive(Serialize)]
struct Document<T> {
    data: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Links>,
}

#[derive(Serialize)]
struct Meta {
    count: u64,
}

#[derive(Serialize)]
struct Links {
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<String>,
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).expect("documents are structs of texts and numbers");
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

/// One resource, 200.
pub(crate) fn document(resource: Resource) -> Response {
    with_status(StatusCode::OK, resource)
}

/// One resource with another status.
pub(crate) fn with_status(status: StatusCode, resource: Resource) -> Response {
    answer(
        status,
        &Document {
            data: resource,
            meta: None,
            links: None,
        },
    )
}

/// Everything there is, with `status`.
pub(crate) fn list(status: StatusCode, resources: Vec<Resource>) -> Response {
    answer(
        status,
        &Document {
            data: resources,
            meta: None,
            links: None,
        },
    )
}

/// One page of `total`. `path` is where the other pages are.
pub(crate) fn page(resources: Vec<Resource>, total: u64, paging: Paging, path: &str) -> Response {
    let at = |page: u32| format!("{path}?page={page}&size={}", paging.size);
    let more = u64::from(paging.page) * u64::from(paging.size) < total;
    answer(
        StatusCode::OK,
        &Document {
            data: resources,
            meta: Some(Meta { count: total }),
            links: Some(Links {
                next: more.then(|| at(paging.page + 1)),
                prev: (paging.page > 1).then(|| at(paging.page - 1)),
            })
            .filter(|links| links.next.is_some() || links.prev.is_some()),
        },
    )
}
