//! What can go wrong with keys: one variant per thing somebody might do about it.

use alloy::primitives::Address;

/// No variant carries key material or a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Or somebody changed a byte: an authenticated cipher cannot tell the two apart.
    #[error("the password is wrong (or what it should open has been altered)")]
    WrongPassword,
    #[error("the stored key ring is damaged: {what}; restore it from a backup")]
    Damaged { what: String },
    #[error(
        "the stored key ring has format version {version}, and this program knows up to {known}: use the newer program that wrote it"
    )]
    NewerVersion { version: u32, known: u32 },
    #[error("this is not a key file (Web3 secret storage, version 3): {what}")]
    NotAKeyFile { what: String },
    /// A key file that asks for absurd amounts of memory or time is an attack or a mistake.
    #[error("the key file asks for more work than we are willing to do: {what}")]
    TooCostly { what: String },
    #[error("the key file says it is for {stated}, but its key belongs to {actual}")]
    AddressMismatch { stated: Address, actual: Address },
    #[error("the key {address} is already here; it was not changed")]
    Exists { address: Address },
    #[error("there is no key {address} in the key ring")]
    Unknown { address: Address },
    #[error("the operating system gave no random bytes: {cause}")]
    NoRandomness { cause: String },
    #[error("the key {address} could not sign: {cause}")]
    Signing { address: Address, cause: String },
}

impl KeyError {
    pub(crate) fn damaged(what: impl ToString) -> Self {
        Self::Damaged {
            what: what.to_string(),
        }
    }

    pub(crate) fn not_a_key_file(what: impl ToString) -> Self {
        Self::NotAKeyFile {
            what: what.to_string(),
        }
    }
}
