//! What the general server says beside answers: refusals, pages, and the heads they go under.

use std::time::Duration;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, CONTENT_TYPE, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};

use super::access::Refused;
use super::envelope::{Answer, Pieces, Writer, error_bytes};
use super::observe;
use super::server::{NO_ROOM, ROOM_WITHIN};

pub(crate) fn preflight() -> Response<Pieces> {
    let mut response = plain(StatusCode::NO_CONTENT, "");
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, GET"),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("content-type, authorization, x-api-key"),
    );
    response
}

/// Not let in, in words a program shows its operator.
pub(crate) fn turned_away(refused: Refused) -> Response<Pieces> {
    let (status, why, text) = match refused {
        Refused::Address => (
            StatusCode::FORBIDDEN,
            "address",
            "this address may not use the gateway".to_owned(),
        ),
        Refused::Nobody => (
            StatusCode::UNAUTHORIZED,
            "nobody",
            "unauthorized: show an API key or a token (Authorization: Bearer …)".to_owned(),
        ),
        Refused::Credentials(what) => (
            StatusCode::UNAUTHORIZED,
            "credentials",
            format!("unauthorized: {what}"),
        ),
    };
    observe::turned_away(why);
    let mut response = nameless(status, -32000, &text);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"dodona gateway\""),
        );
    }
    response
}

/// An error about the request as a whole, in JSON-RPC.
pub(crate) fn nameless(status: StatusCode, code: i64, text: &str) -> Response<Pieces> {
    let mut writer = Writer::default();
    writer.answer("null", Answer::Nameless(error_bytes(code, text)));
    json(status, writer.done())
}

pub(crate) fn wait_for(mut response: Response<Pieces>, wait: Duration) -> Response<Pieces> {
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    response
}

/// As `Retry-After` wants it: never too early.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

pub(crate) fn no_room() -> Response<Pieces> {
    let response = nameless(StatusCode::SERVICE_UNAVAILABLE, -32005, NO_ROOM);
    wait_for(response, ROOM_WITHIN)
}

pub(crate) fn json(status: StatusCode, pieces: Pieces) -> Response<Pieces> {
    of_type(status, "application/json", pieces)
}

pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<Pieces> {
    let pieces = match text {
        "" => Pieces::default(),
        text => Pieces::one(text),
    };
    of_type(status, "text/plain; charset=utf-8", pieces)
}

pub(crate) fn of_type(
    status: StatusCode,
    content_type: &'static str,
    pieces: Pieces,
) -> Response<Pieces> {
    let mut response = Response::new(pieces);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
