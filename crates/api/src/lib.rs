//! What operators see and touch over HTTP: the REST API, log-in, the first page, health and metrics.
//!
//! It shows rows and writes intents. No stage is reachable from here: a job that is created is a
//! row, and whoever leads its chain finds it. So any replica can answer any request, and an answer
//! is as true as the database it was read from.
//!
//! Shapes (documents, status codes, headers, the order in which things are refused) are those of the
//! Chainlink node, so that its command line, dashboards and scripts find what they know. Where that
//! node has a defect we do what its documents promise.

mod auth;
mod config;
mod facts;
mod http;
mod observe;
mod page;
mod routes;
mod server;
mod vault;
mod written;

pub use auth::{FirstUserError, PasswordRule, check_first_user, check_password, ensure_first_user};
pub use config::{AllowOrigins, ApiConfig, ChainView, Parts, RateLimits};
pub use server::{Api, ApiError, take_port};
pub use vault::{Vault, VaultError};
