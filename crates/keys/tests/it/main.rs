//! The key ring and key files as their users see them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod keyfile;
mod ring;

use secrecy::SecretString;

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}
