//! Tokens instead of keys: who signed them, for whom, and until when they are good.
//!
//! Public keys come from PEM files or key sets (JWKS), a shared secret from a file; a token is good
//! under any of them whose algorithm fits. Issuer, audience and expiry are always required, because
//! a token without them is good everywhere and for ever.

use std::path::{Path, PathBuf};
use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Validation, decode};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;

/// Shorter secrets can be guessed from one token.
const SECRET_BYTES: usize = 32;

/// Which tokens are taken.
#[derive(Debug, Clone)]
pub struct JwtConfig {
    /// Files with public keys: PEM (RSA, P-256, Ed25519) or a key set (JSON).
    pub keys: Vec<PathBuf>,
    /// For HS256: what we share with whoever signs.
    pub secret: Option<SecretSlice<u8>>,
    pub issuer: String,
    pub audience: String,
    /// Clocks may differ by so much.
    pub leeway_seconds: u64,
}

/// Why tokens cannot be checked with these settings.
#[derive(Debug, thiserror::Error)]
pub enum JwtConfigError {
    #[error(
        "[jwt]: it names neither public keys (keys) nor a secret (secret), so nothing could be checked"
    )]
    NoKey,
    #[error("[jwt] secret: it has {0} bytes: it needs at least {SECRET_BYTES}")]
    ShortSecret(usize),
    #[error("[jwt] keys: {} cannot be read: {cause}", file.display())]
    Unreadable {
        file: PathBuf,
        cause: std::io::Error,
    },
    #[error(
        "[jwt] keys: {} holds no key for checking tokens: it has to be a public key in PEM (RSA of at least 2048 bits, P-256 or Ed25519) or a key set in JSON",
        file.display()
    )]
    NoKeyInFile { file: PathBuf },
    #[error(
        "[jwt] keys: {} holds a private key: the gateway only checks tokens and has to be given the public one",
        file.display()
    )]
    PrivateKey { file: PathBuf },
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) name: String,
    /// Seconds since 1970.
    pub(crate) expires: u64,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Everything a token is checked with.
pub(crate) struct Tokens {
    keys: Vec<Key>,
    validation: Validation,
}

impl Tokens {
    pub(crate) fn new(config: &JwtConfig) -> Result<Self, JwtConfigError> {
        install();
        let mut keys = Vec::new();
        for file in &config.keys {
            read_keys(file, &mut keys)?;
        }
        if let Some(secret) = &config.secret {
            let secret = secret.expose_secret();
            if secret.len() < SECRET_BYTES {
                return Err(JwtConfigError::ShortSecret(secret.len()));
            }
            keys.push(Key {
                id: None,
                algorithm: Algorithm::HS256,
                key: DecodingKey::from_secret(secret),
            });
        }
        if keys.is_empty() {
            return Err(JwtConfigError::NoKey);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = config.leeway_seconds;
        validation.validate_nbf = true;
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self { keys, validation })
    }

    /// Who the token speaks of. The error is for the client and says what is wrong with it.
    pub(crate) fn check(&self, token: &str) -> Result<Subject, &'static str> {
        #[derive(Deserialize)]
        struct Claims {
            sub: Option<String>,
            /// A number of seconds, which may be a fraction.
            exp: Option<f64>,
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| "this is no token")?;
        let mut said = "it is signed by nobody known here";
        for key in &self.keys {
            // The key decides which algorithm is meant, never the token.
            let other_key = matches!((&key.id, &header.kid), (Some(a), Some(b)) if a != b);
            if key.algorithm != header.alg || other_key {
                continue;
            }
            let validation = Validation {
                algorithms: vec![key.algorithm],
                ..self.validation.clone()
            };
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(good) => {
                    // Both are required above; without them nothing gets here.
                    return Ok(Subject {
                        name: good.claims.sub.unwrap_or_default(),
                        expires: whole_seconds(good.claims.exp.unwrap_or_default())
                            .saturating_add(self.validation.leeway),
                    });
                }
                Err(error) => {
                    if let Some(why) = words(error.kind()) {
                        said = why;
                    }
                }
            }
        }
        Err(said)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded down, and what is out of range becomes the end of it"
)]
fn whole_seconds(date: f64) -> u64 {
    date as u64
}

fn words(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "it is from another issuer",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "it lacks one of exp, iss, aud and sub",
        ErrorKind::InvalidSignature => return None,
        _ => "it cannot be read",
    })
}

fn read_keys(file: &Path, keys: &mut Vec<Key>) -> Result<(), JwtConfigError> {
    let bytes = std::fs::read(file).map_err(|cause| JwtConfigError::Unreadable {
        file: file.to_owned(),
        cause,
    })?;
    let before = keys.len();
    if let Ok(set) = serde_json::from_slice::<JwkSet>(&bytes) {
        keys.extend(set.keys.iter().filter_map(of_set));
    } else {
        if String::from_utf8_lossy(&bytes).contains("PRIVATE KEY") {
            return Err(JwtConfigError::PrivateKey {
                file: file.to_owned(),
            });
        }
        let ways = [
            (Algorithm::RS256, DecodingKey::from_rsa_pem(&bytes)),
            (Algorithm::ES256, DecodingKey::from_ec_pem(&bytes)),
            (Algorithm::EdDSA, DecodingKey::from_ed_pem(&bytes)),
        ];
        keys.extend(ways.into_iter().filter_map(|(algorithm, key)| {
            let key = key.ok().filter(|key| is_whole(algorithm, key))?;
            Some(Key {
                id: None,
                algorithm,
                key,
            })
        }));
    }
    if keys.len() == before {
        return Err(JwtConfigError::NoKeyInFile {
            file: file.to_owned(),
        });
    }
    Ok(())
}

fn of_set(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(params) if params.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(params) if params.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        // A shared secret does not belong into a set of public keys.
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    is_whole(algorithm, &key).then(|| Key {
        id: jwk.common.key_id.clone(),
        algorithm,
        key,
    })
}

/// A key of another length than the algorithm's would only be found out by the first token.
fn is_whole(algorithm: Algorithm, key: &DecodingKey) -> bool {
    match (algorithm, key.kind()) {
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
            point.len() == 65 && point[0] == 4
        }
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => point.len() == 32,
        (Algorithm::RS256, DecodingKeyKind::SecretOrDer(der)) => der.len() > 256,
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, .. }) => n.len() >= 256,
        _ => false,
    }
}

/// Signatures are checked by ring, which everything else here uses.
fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: no_signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Somebody else's provider does as well.
        let _ = PROVIDER.install_default();
    });
}

fn no_signer(
    _: &Algorithm,
    _: &EncodingKey,
) -> Result<Box<dyn jsonwebtoken::crypto::JwtSigner>, Error> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    match algorithm {
        Algorithm::HS256 | Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA => {
            Ok(Box::new(Checker {
                algorithm: *algorithm,
                key: key.clone(),
            }))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct Checker {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Checker {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl jsonwebtoken::signature::Verifier<Vec<u8>> for Checker {
    fn verify(
        &self,
        message: &[u8],
        signed: &Vec<u8>,
    ) -> Result<(), jsonwebtoken::signature::Error> {
        let public = |by: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(by, key).verify(message, signed)
        };
        let outcome = match (self.algorithm, self.key.kind()) {
            (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                ring::hmac::verify(&key, message, signed)
            }
            (Algorithm::RS256, DecodingKeyKind::SecretOrDer(der)) => {
                public(&RSA_PKCS1_2048_8192_SHA256, der)
            }
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signed)
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
                public(&ECDSA_P256_SHA256_FIXED, point)
            }
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => public(&ED25519, point),
            _ => Err(ring::error::Unspecified),
        };
        outcome.map_err(|_| jsonwebtoken::signature::Error::new())
    }
}
