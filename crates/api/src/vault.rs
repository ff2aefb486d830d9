//! The door to the node's keys. What stands behind it is the node's business.

use dodona_model::{Address, ChainId};
use futures_util::future::BoxFuture;
use secrecy::SecretString;

/// The node's unlocked key ring and the rows that belong to it.
///
/// A change is durable when its future is done: the ring is sealed and stored and the key's state on
/// its chain is a row, both or neither. A future may be dropped before that (a client went away),
/// which must leave one or the other.
pub trait Vault: Send + Sync + 'static {
    /// Makes a key and enables it on `chain`.
    fn create(&self, chain: ChainId) -> BoxFuture<'_, Result<Address, VaultError>>;

    /// Takes the key of a Web3 secret storage file over and enables it on `chain`.
    fn import(
        &self,
        chain: ChainId,
        json: String,
        password: SecretString,
    ) -> BoxFuture<'_, Result<Address, VaultError>>;

    /// A key as a Web3 secret storage file under a password of its own.
    fn export(
        &self,
        address: Address,
        password: SecretString,
    ) -> BoxFuture<'_, Result<String, VaultError>>;

    /// Forgets a key and its states, for good.
    fn delete(&self, address: Address) -> BoxFuture<'_, Result<(), VaultError>>;
}

/// Why the vault did not do it. No variant carries key material or a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// There is no such key.
    #[error("there is no key {0} in the key ring")]
    Unknown(Address),
    /// What was asked for cannot be done: a wrong password, a file that is no key file, a key that is
    /// here already. The sentence says what to do.
    #[error("{0}")]
    Refused(String),
    /// It should have worked.
    #[error("{0}")]
    Failed(String),
}
