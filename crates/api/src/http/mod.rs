//! How answers look and what stands in front of every handler.

mod document;
mod layers;
mod limits;
mod origin;
mod paging;
mod payload;
mod refusal;

pub(crate) use document::{Resource, document, list, page, with_status};
pub(crate) use layers::{body_limit, catch_panics, record, security_headers, time_out};
pub(crate) use limits::{Bucket, Limits, limit};
pub(crate) use origin::check_origin;
pub(crate) use paging::{LONG_LIST, Paging, SHORT_LIST};
pub(crate) use payload::{Payload, Unreadable};
pub(crate) use refusal::Refusal;

use std::net::SocketAddr;

/// The other end of the TCP connection, as an extension of every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);
