//! Private keys and nothing else: one ring per node, encrypted at rest under one password.
//!
//! The rest of the node holds addresses. A key leaves this crate only as a signature, or as an
//! encrypted key file the operator asked for. Nothing is written to disk here, nothing is logged,
//! and nothing that holds a secret can be printed.
//!
//! * [`KeyRing`]: the unlocked keys; creates, deletes and signs.
//! * `sealed`: the ring as the database keeps it (argon2id, XChaCha20-Poly1305).
//! * `keyfile`: the format wallets and other nodes exchange single keys in (Web3 secret storage 3).
//!
//! What this does not do: it does not lock memory pages (a swapped-out page may hold a key) and
//! does not keep the operating system's administrator out.

mod error;
mod keyfile;
mod password;
mod ring;
mod sealed;

pub use error::KeyError;
pub use keyfile::PlainKey;
pub use password::{MIN_PASSWORD_CHARS, PasswordProblem, check_password};
pub use ring::{KeyRing, Strength};
