//! Requests that leave the node, to places it may reach and nowhere else.
//!
//! A job's URL may come from whoever pays for a request, so it must not lead into the operator's
//! own network. The decision is made on addresses, after names have been resolved, inside the very
//! resolver the connection uses: there is no second look-up that could answer differently. It is
//! made again for every redirect.

mod address;
mod client;
mod policy;
mod resolver;

pub use address::{Refusal, check as check_address};
pub(crate) use client::Destination;
pub use client::{EgressClient, EgressError};
pub use policy::{Entry, EntryError, Policy, Subject};
pub use resolver::{Resolve, SystemResolver};

use std::net::IpAddr;

pub(crate) const TIMED_OUT: &str = "http request timed out or interrupted";

/// Most redirects that are followed.
pub const MAX_REDIRECTS: usize = 10;

/// Why a request brought no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// It took longer than it may, or was given up.
    #[error("{TIMED_OUT}")]
    TimedOut,
    /// The response body is longer than allowed.
    #[error("HTTP response too large, must be less than {max_bytes} bytes")]
    TooLarge {
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// The place may not be reached.
    #[error("disallowed IP: {host} is at {address}, {refusal}")]
    Disallowed {
        /// As in the URL.
        host: String,
        /// What it resolved to.
        address: IpAddr,
        /// Why not, and what to do where it is meant.
        refusal: Refusal,
    },
    /// The strict profile has no entry for it.
    #[error(
        "not on the allow list: {method} {url}; where it is meant, add \"{who} {method} {url}\" to Dodona.Egress.Allow"
    )]
    NotListed {
        /// As it would have been sent.
        method: String,
        /// Without query and credentials.
        url: String,
        /// Whose entry it would be.
        who: String,
    },
    /// The entry allows it, but not so often.
    #[error("the allow list lets {url} be asked less often than this")]
    TooOften {
        /// Without query and credentials.
        url: String,
    },
    /// One redirect led to the next too often.
    #[error("stopped after {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    /// A redirect leads to something that is not an http or https URL.
    #[error("redirect to {location:?}, which is not an http or https URL")]
    BadRedirect {
        /// The `Location` header, shortened.
        location: String,
    },
    /// The request cannot be sent as it is, for example a header with a line break in it.
    #[error("the request is not valid: {0}")]
    Invalid(String),
    /// No connection, or it broke.
    #[error("request to {host} failed: {reason}")]
    Failed {
        /// As in the URL.
        host: String,
        /// All causes, joined.
        reason: String,
    },
}
