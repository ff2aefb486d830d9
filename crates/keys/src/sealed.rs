//! The ring as the database keeps it.
//!
//! JSON with a version, so that later forms can be told apart. The password becomes a key with
//! argon2id; the concatenated 32-byte scalars are encrypted with XChaCha20-Poly1305 under a fresh
//! nonce; version, cost and salt are authenticated with them, so nobody can weaken a ring unseen.

use alloy::signers::local::PrivateKeySigner;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::ring::Strength;

const VERSION: u32 = 1;
const KDF: &str = "argon2id";
const CIPHER: &str = "xchacha20-poly1305";
const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;

/// Most work a stored ring may ask for. We write far less; more is damage or an attack.
const MAX_MEMORY_KIB: u32 = 256 << 10;
const MAX_PASSES: u32 = 32;
const MAX_LANES: u32 = 4;

/// The cost of deriving a key from a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl From<Strength> for Cost {
    fn from(strength: Strength) -> Self {
        match strength {
            Strength::Standard => Self {
                memory_kib: 64 << 10,
                passes: 3,
                lanes: 1,
            },
            Strength::InsecureFast => Self {
                memory_kib: 8,
                passes: 1,
                lanes: 1,
            },
        }
    }
}

/// A key derived from the password, with what is needed to derive it again.
pub(crate) struct Lock {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Lock {
    pub(crate) fn new(password: &SecretString, strength: Strength) -> Result<Self, KeyError> {
        Self::derive(password, strength.into(), random()?)
    }

    fn derive(
        password: &SecretString,
        cost: Cost,
        salt: [u8; SALT_BYTES],
    ) -> Result<Self, KeyError> {
        let Cost {
            memory_kib,
            passes,
            lanes,
        } = cost;
        if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
            return Err(KeyError::damaged(format!(
                "it asks for {memory_kib} KiB, {passes} passes and {lanes} lanes"
            )));
        }
        let params =
            Params::new(memory_kib, passes, lanes, Some(KEY_BYTES)).map_err(KeyError::damaged)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.expose_secret().as_bytes(), &salt, key.as_mut())
            .map_err(KeyError::damaged)?;
        Ok(Self { cost, salt, key })
    }

    pub(crate) fn is_weaker_than(&self, strength: Strength) -> bool {
        let wanted = Cost::from(strength);
        self.cost.memory_kib < wanted.memory_kib || self.cost.passes < wanted.passes
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        let key: &[u8; KEY_BYTES] = &self.key;
        XChaCha20Poly1305::new(key.into())
    }

    /// What is authenticated beside the secrets.
    fn header(&self) -> Vec<u8> {
        let Cost {
            memory_kib,
            passes,
            lanes,
        } = self.cost;
        let mut header =
            format!("dodona key ring {VERSION} {KDF} {memory_kib} {passes} {lanes} {CIPHER} ")
                .into_bytes();
        header.extend_from_slice(&self.salt);
        header
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    #[serde(flatten)]
    cost: Cost,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

pub(crate) fn seal<'a>(
    lock: &Lock,
    keys: impl ExactSizeIterator<Item = &'a PrivateKeySigner>,
) -> Result<Vec<u8>, KeyError> {
    // Reserved in full: growing would leave copies of keys behind in freed memory.
    let mut secrets = Zeroizing::new(Vec::with_capacity(keys.len() * 32));
    for key in keys {
        secrets.extend_from_slice(Zeroizing::new(key.to_bytes().0).as_ref());
    }
    let nonce: [u8; NONCE_BYTES] = random()?;
    let ciphertext = lock
        .cipher()
        .encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: &secrets,
                aad: &lock.header(),
            },
        )
        .map_err(|_| KeyError::damaged("it cannot be encrypted"))?;
    let envelope = Envelope {
        version: VERSION,
        kdf: Kdf {
            name: KDF.to_owned(),
            cost: lock.cost,
            salt: BASE64.encode(lock.salt),
        },
        cipher: Cipher {
            name: CIPHER.to_owned(),
            nonce: BASE64.encode(nonce),
        },
        ciphertext: BASE64.encode(ciphertext),
    };
    serde_json::to_vec(&envelope).map_err(KeyError::damaged)
}

/// The lock and the scalars, 32 bytes each.
pub(crate) fn open(
    sealed: &[u8],
    password: &SecretString,
) -> Result<(Lock, Zeroizing<Vec<u8>>), KeyError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(sealed).map_err(KeyError::damaged)?;
    if version > VERSION {
        return Err(KeyError::NewerVersion {
            version,
            known: VERSION,
        });
    }
    let envelope: Envelope = serde_json::from_slice(sealed).map_err(KeyError::damaged)?;
    if version != VERSION || envelope.kdf.name != KDF || envelope.cipher.name != CIPHER {
        return Err(KeyError::damaged(
            "its version and its methods do not go together",
        ));
    }
    let salt = bytes::<SALT_BYTES>("salt", &envelope.kdf.salt)?;
    let nonce = bytes::<NONCE_BYTES>("nonce", &envelope.cipher.nonce)?;
    let ciphertext = BASE64
        .decode(&envelope.ciphertext)
        .map_err(|e| KeyError::damaged(format!("ciphertext: {e}")))?;

    let lock = Lock::derive(password, envelope.kdf.cost, salt)?;
    let secrets = lock
        .cipher()
        .decrypt(
            &XNonce::from(nonce),
            Payload {
                msg: &ciphertext,
                aad: &lock.header(),
            },
        )
        .map_err(|_| KeyError::WrongPassword)?;
    let secrets = Zeroizing::new(secrets);
    if secrets.len() % 32 != 0 {
        return Err(KeyError::damaged(
            "its content is not a whole number of keys",
        ));
    }
    Ok((lock, secrets))
}

fn bytes<const N: usize>(field: &str, text: &str) -> Result<[u8; N], KeyError> {
    let decoded = BASE64
        .decode(text)
        .map_err(|e| KeyError::damaged(format!("{field}: {e}")))?;
    decoded
        .try_into()
        .map_err(|_| KeyError::damaged(format!("{field} has the wrong length")))
}

/// Bytes straight from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|cause| KeyError::NoRandomness {
            cause: cause.to_string(),
        })?;
    Ok(bytes)
}
