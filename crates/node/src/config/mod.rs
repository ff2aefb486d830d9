//! What the operator said.
//!
//! One list of keys ([`registry`]) says which settings exist, what they look
//! like, what they are when nobody says anything, and what they do here. Reading
//! files, reading the old variables, finding the nearest name for a typing
//! error, printing the effective settings and the reference page all follow
//! from that list. Everything is checked, and every fault reported at once,
//! before the node touches anything.

mod check;
mod defaults;
mod environment;
mod load;
mod notation;
mod print;
mod problem;
pub mod reference;
pub mod registry;
mod secret_url;
mod tree;
mod typed;
mod types;
mod value;
mod view;

pub use dodona_rpc::masked;
pub use load::{Examined, Inputs, examine, load};
pub use notation::{duration, show_duration};
pub use print::to_toml;
pub use problem::{Origin, Problem, Problems, Root};
pub use secret_url::SecretUrl;
pub use tree::Table;
pub use types::*;
pub use value::Kind;
