//! The unlocked keys of a node.

use std::collections::BTreeMap;
use std::fmt;

use alloy::primitives::{Address, B256, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use secrecy::SecretString;

use crate::error::KeyError;
use crate::keyfile::{self, PlainKey};
use crate::sealed::{self, Lock};

/// How much work stands between a stolen ring or key file and somebody guessing passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// For tests and the development profile only: guessing costs next to nothing.
    InsecureFast,
    /// Opening the ring takes 64 MiB and some 100 ms, opening an exported file about a second.
    Standard,
}

/// The keys of a node, unlocked. Wiped from memory when dropped; prints addresses only.
///
/// Changes live in memory until [`seal`](Self::seal)ed bytes are stored by the caller.
pub struct KeyRing {
    keys: BTreeMap<Address, PrivateKeySigner>,
    /// Derived from the password once, so that sealing again is quick.
    lock: Lock,
    strength: Strength,
    sealed_weaker: bool,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    /// An empty ring under this password. Takes the time [`Strength::Standard`] states.
    pub fn new(password: &SecretString) -> Result<Self, KeyError> {
        Self::new_with(password, Strength::Standard)
    }

    /// An empty ring with a chosen strength.
    pub fn new_with(password: &SecretString, strength: Strength) -> Result<Self, KeyError> {
        let lock = Lock::new(password, strength)?;
        Ok(Self {
            keys: BTreeMap::new(),
            lock,
            strength,
            sealed_weaker: false,
        })
    }

    /// Opens what [`seal`](Self::seal) made.
    pub fn open(sealed: &[u8], password: &SecretString) -> Result<Self, KeyError> {
        Self::open_with(sealed, password, Strength::Standard)
    }

    /// Opens a sealed ring. If it was sealed weaker than `strength`, a stronger lock is put on at
    /// once and [`should_be_stored_again`](Self::should_be_stored_again) says so.
    pub fn open_with(
        sealed: &[u8],
        password: &SecretString,
        strength: Strength,
    ) -> Result<Self, KeyError> {
        let (mut lock, secrets) = sealed::open(sealed, password)?;
        let mut keys = BTreeMap::new();
        for secret in secrets.chunks_exact(32) {
            let key = PrivateKeySigner::from_slice(secret)
                .map_err(|_| KeyError::damaged("an entry is not a private key"))?;
            keys.insert(key.address(), key);
        }
        let sealed_weaker = strength == Strength::Standard && lock.is_weaker_than(strength);
        if sealed_weaker {
            lock = Lock::new(password, strength)?;
        }
        Ok(Self {
            keys,
            lock,
            strength,
            sealed_weaker,
        })
    }

    /// The ring was opened from a weaker form than asked for: seal it and store it now.
    pub fn should_be_stored_again(&self) -> bool {
        self.sealed_weaker
    }

    /// The ring encrypted for the database: versioned JSON, different each time. Quick.
    pub fn seal(&self) -> Result<Vec<u8>, KeyError> {
        sealed::seal(&self.lock, self.keys.values())
    }

    /// Adds a fresh key made from the operating system's randomness.
    pub fn create(&mut self) -> Result<Address, KeyError> {
        self.add(PlainKey::random()?)
    }

    /// Adds a key that was read from a file; see [`PlainKey::from_file`] for the slow part.
    pub fn add(&mut self, key: PlainKey) -> Result<Address, KeyError> {
        let address = key.address();
        if self.keys.contains_key(&address) {
            return Err(KeyError::Exists { address });
        }
        self.keys.insert(address, key.into_signer());
        Ok(address)
    }

    /// Adds the key of a Web3 secret storage file. Takes about a second and 256 MiB for files of
    /// usual strength; a caller who holds a lock reads with [`PlainKey::from_file`] first.
    pub fn import(&mut self, json: &str, password: &SecretString) -> Result<Address, KeyError> {
        self.add(PlainKey::from_file(json, password)?)
    }

    /// One key as a Web3 secret storage file under a password of its own. As slow as importing.
    pub fn export(
        &self,
        address: Address,
        new_password: &SecretString,
    ) -> Result<String, KeyError> {
        self.plain(address)?.to_file(new_password, self.strength)
    }

    /// A copy of one key, to be exported without holding the ring.
    pub fn plain(&self, address: Address) -> Result<PlainKey, KeyError> {
        self.keys
            .get(&address)
            .map(keyfile::PlainKey::copy_of)
            .ok_or(KeyError::Unknown { address })
    }

    /// How strongly this ring is sealed and its exports are encrypted.
    pub fn strength(&self) -> Strength {
        self.strength
    }

    /// Forgets a key. For good, once the ring is sealed and stored.
    pub fn delete(&mut self, address: Address) -> Result<(), KeyError> {
        self.keys
            .remove(&address)
            .map(drop)
            .ok_or(KeyError::Unknown { address })
    }

    /// All addresses, ascending.
    pub fn addresses(&self) -> Vec<Address> {
        self.keys.keys().copied().collect()
    }

    pub fn contains(&self, address: Address) -> bool {
        self.keys.contains_key(&address)
    }

    /// Signs a hash as it is. The same key and hash always give the same signature (RFC 6979).
    pub fn sign_hash(&self, address: Address, hash: B256) -> Result<Signature, KeyError> {
        let key = self
            .keys
            .get(&address)
            .ok_or(KeyError::Unknown { address })?;
        key.sign_hash_sync(&hash)
            .map_err(|cause| KeyError::Signing {
                address,
                cause: cause.to_string(),
            })
    }
}
