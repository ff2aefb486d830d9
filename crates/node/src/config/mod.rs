//! What the operator said.
//!
//! One list of keys ([`registry`]) says which settings exist, what they look
//! like, what they are when nobody says anything, and what they do here. Reading
//! files, reading the old variables, finding the nearest name for a typing
//! error, printing the effective settings and the reference page all follow
//! from that list. Everything is checked, and every fault reported at once,
//! before the node touches anything.

mod secret_url;
mod types;

pub use secret_url::{SecretUrl, masked};
pub use types::*;
