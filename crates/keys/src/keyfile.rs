//! Single keys as wallets and other nodes exchange them: Web3 secret storage, version 3.
//!
//! Our own reading and writing rather than a ready-made crate's: those known write to disk, fix
//! the cost of scrypt and trust the numbers in the file.

use std::fmt;

use aes::cipher::{KeyIvInit, StreamCipher};
use alloy::primitives::{Address, keccak256};
use alloy::signers::local::PrivateKeySigner;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::ring::Strength;
use crate::sealed::random;

const CIPHER: &str = "aes-128-ctr";
const KEY_BYTES: usize = 32;
/// Longest key file read; a real one has about 500 bytes.
const MAX_FILE_BYTES: usize = 64 << 10;
/// The memory scrypt may take: twice what the usual strongest files need.
const MAX_SCRYPT_BYTES: u64 = 512 << 20;
/// The work scrypt may take (N · r · p): eight times the usual strongest files.
const MAX_SCRYPT_WORK: u64 = 1 << 24;
/// The rounds pbkdf2 may take; the usual strongest files have 262,144.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;

/// One unlocked key outside the ring, on its way in or out. Wiped when dropped.
pub struct PlainKey(PrivateKeySigner);

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainKey({})", self.address())
    }
}

impl PlainKey {
    pub(crate) fn random() -> Result<Self, KeyError> {
        // All but one in 2^128 of random scalars are keys; the loop is for the proof.
        loop {
            let scalar = Zeroizing::new(random::<KEY_BYTES>()?);
            if let Ok(key) = PrivateKeySigner::from_slice(scalar.as_ref()) {
                return Ok(Self(key));
            }
        }
    }

    pub(crate) fn copy_of(key: &PrivateKeySigner) -> Self {
        Self(key.clone())
    }

    pub(crate) fn into_signer(self) -> PrivateKeySigner {
        self.0
    }

    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// Reads a key file (scrypt or pbkdf2). Slow on purpose; memory and time are bounded.
    pub fn from_file(json: &str, password: &SecretString) -> Result<Self, KeyError> {
        if json.len() > MAX_FILE_BYTES {
            return Err(KeyError::not_a_key_file(format!(
                "it has {} bytes",
                json.len()
            )));
        }
        let file: KeyFile = serde_json::from_str(json).map_err(KeyError::not_a_key_file)?;
        if file.version != 3 {
            return Err(KeyError::not_a_key_file(format!(
                "it says version {}",
                file.version
            )));
        }
        let stated = file
            .address
            .as_deref()
            .map(stated_address)
            .transpose()?
            .flatten();
        let crypto = &file.crypto;
        if crypto.cipher != CIPHER {
            return Err(KeyError::not_a_key_file(format!(
                "cipher {:?} instead of {CIPHER:?}",
                crypto.cipher
            )));
        }
        let iv: [u8; 16] = crypto
            .cipherparams
            .iv
            .0
            .as_slice()
            .try_into()
            .map_err(|_| KeyError::not_a_key_file("the iv has not 16 bytes"))?;
        let mut scalar = Zeroizing::new(crypto.ciphertext.0.clone());
        if scalar.is_empty() || scalar.len() > KEY_BYTES {
            return Err(KeyError::not_a_key_file(format!(
                "its key has {} bytes",
                scalar.len()
            )));
        }

        let key = derive(crypto, password)?;
        if !bool::from(
            mac(&key, &crypto.ciphertext.0)
                .as_slice()
                .ct_eq(&crypto.mac.0),
        ) {
            return Err(KeyError::WrongPassword);
        }
        apply_aes(&key, &iv, &mut scalar);

        // Some writers drop leading zeros of the scalar.
        let mut padded = Zeroizing::new([0; KEY_BYTES]);
        padded[KEY_BYTES - scalar.len()..].copy_from_slice(&scalar);
        let key = PrivateKeySigner::from_slice(padded.as_ref())
            .map_err(|_| KeyError::not_a_key_file("its content is not a private key"))?;
        match stated {
            Some(stated) if stated != key.address() => Err(KeyError::AddressMismatch {
                stated,
                actual: key.address(),
            }),
            _ => Ok(Self(key)),
        }
    }

    /// Writes a key file under a password of its own. Slow on purpose with [`Strength::Standard`].
    pub fn to_file(&self, password: &SecretString, strength: Strength) -> Result<String, KeyError> {
        let n = match strength {
            Strength::Standard => 1 << 18,
            Strength::InsecureFast => 2,
        };
        let iv: [u8; 16] = random()?;
        let mut crypto = Crypto {
            cipher: CIPHER.to_owned(),
            ciphertext: Hex(Vec::new()),
            cipherparams: CipherParams {
                iv: Hex(iv.to_vec()),
            },
            kdf: "scrypt".to_owned(),
            kdfparams: KdfParams {
                dklen: 32,
                n: Some(n),
                p: Some(1),
                r: Some(8),
                salt: Hex(random::<32>()?.to_vec()),
                ..KdfParams::default()
            },
            mac: Hex(Vec::new()),
        };
        let key = derive(&crypto, password)?;
        let mut scalar = Zeroizing::new(self.0.to_bytes().0);
        apply_aes(&key, &iv, scalar.as_mut());
        crypto.ciphertext = Hex(scalar.to_vec());
        crypto.mac = Hex(mac(&key, scalar.as_ref()).to_vec());

        let address = self.address();
        let mut id = [0; 16];
        id.copy_from_slice(&address[..16]);
        let file = KeyFile {
            address: Some(hex::encode(address)),
            crypto,
            id: Some(uuid::Uuid::from_bytes(id).to_string()),
            version: 3,
        };
        serde_json::to_string(&file).map_err(KeyError::not_a_key_file)
    }
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    ciphertext: Hex,
    cipherparams: CipherParams,
    kdf: String,
    kdfparams: KdfParams,
    mac: Hex,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    iv: Hex,
}

/// The parameters of both functions; `kdf` says which of them count.
#[derive(Default, Serialize, Deserialize)]
struct KdfParams {
    dklen: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prf: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<u32>,
    salt: Hex,
}

/// Bytes in hex, with or without `0x`.
#[derive(Default)]
struct Hex(Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        hex::decode(without_0x(&text))
            .map(Hex)
            .map_err(serde::de::Error::custom)
    }
}

fn without_0x(text: &str) -> &str {
    text.strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text)
}

/// None for an empty field, which some wallets write to hide the address.
fn stated_address(text: &str) -> Result<Option<Address>, KeyError> {
    let digits = without_0x(text.trim());
    if digits.is_empty() {
        return Ok(None);
    }
    let mut address = Address::ZERO;
    hex::decode_to_slice(digits, address.as_mut_slice()).map_err(|_| {
        KeyError::not_a_key_file(format!("its address field {text:?} is not an address"))
    })?;
    Ok(Some(address))
}

/// The key behind the password: first half for the cipher, second half for the check.
fn derive(
    crypto: &Crypto,
    password: &SecretString,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let params = &crypto.kdfparams;
    // Both functions give the same first 32 bytes whatever the length; shorter cannot work.
    if !(32..=1024).contains(&params.dklen) {
        return Err(KeyError::not_a_key_file(format!(
            "dklen {} instead of 32",
            params.dklen
        )));
    }
    let password = password.expose_secret().as_bytes();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    match crypto.kdf.as_str() {
        "scrypt" => {
            let params = scrypt_params(params)?;
            scrypt::scrypt(password, &crypto.kdfparams.salt.0, &params, key.as_mut())
                .map_err(KeyError::not_a_key_file)?;
        }
        "pbkdf2" => {
            let rounds = pbkdf2_rounds(params)?;
            pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password, &params.salt.0, rounds, key.as_mut());
        }
        other => {
            return Err(KeyError::not_a_key_file(format!(
                "kdf {other:?} instead of scrypt or pbkdf2"
            )));
        }
    }
    Ok(key)
}

fn scrypt_params(params: &KdfParams) -> Result<scrypt::Params, KeyError> {
    let (Some(n), Some(r), Some(p)) = (params.n, params.r, params.p) else {
        return Err(KeyError::not_a_key_file("scrypt needs n, r and p"));
    };
    if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
        return Err(KeyError::not_a_key_file(format!(
            "scrypt cannot work with n={n}, r={r}, p={p}"
        )));
    }
    // n < 2^64, r and p < 2^32: 128 bits hold the products with room to spare.
    let (wide_n, wide_r, wide_p) = (u128::from(n), u128::from(r), u128::from(p));
    let memory = 128 * wide_r * (wide_n + wide_p);
    if memory > MAX_SCRYPT_BYTES.into() || wide_n * wide_r > u128::from(MAX_SCRYPT_WORK) / wide_p {
        return Err(KeyError::TooCostly {
            what: format!("scrypt with n={n}, r={r}, p={p}"),
        });
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(KeyError::not_a_key_file)?;
    scrypt::Params::new(log_n, r, p).map_err(KeyError::not_a_key_file)
}

fn pbkdf2_rounds(params: &KdfParams) -> Result<u32, KeyError> {
    let (Some(rounds), Some(prf)) = (params.c, params.prf.as_deref()) else {
        return Err(KeyError::not_a_key_file("pbkdf2 needs c and prf"));
    };
    if prf != "hmac-sha256" {
        return Err(KeyError::not_a_key_file(format!(
            "prf {prf:?} instead of \"hmac-sha256\""
        )));
    }
    match rounds {
        0 => Err(KeyError::not_a_key_file("pbkdf2 with c=0")),
        rounds if rounds > MAX_PBKDF2_ROUNDS => Err(KeyError::TooCostly {
            what: format!("pbkdf2 with c={rounds}"),
        }),
        rounds => Ok(rounds),
    }
}

fn mac(key: &[u8; KEY_BYTES], ciphertext: &[u8]) -> [u8; 32] {
    let mut input = Zeroizing::new(Vec::with_capacity(16 + ciphertext.len()));
    input.extend_from_slice(&key[16..]);
    input.extend_from_slice(ciphertext);
    keccak256(&*input).0
}

/// Encrypts or decrypts in place: in counter mode both are the same.
fn apply_aes(key: &[u8; KEY_BYTES], iv: &[u8; 16], bytes: &mut [u8]) {
    let mut half = Zeroizing::new([0; 16]);
    half.copy_from_slice(&key[..16]);
    let half: &[u8; 16] = &half;
    ctr::Ctr128BE::<aes::Aes128>::new(half.into(), iv.into()).apply_keystream(bytes);
}
