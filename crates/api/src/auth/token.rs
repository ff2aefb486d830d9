//! API tokens: an access key and a secret in two headers, one token for each user.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dodona_store::{StoreError, users};
use rand::Rng;
use sha3::{Digest, Sha3_256};
use subtle::ConstantTimeEq;

use super::{Identity, Role};
use crate::server::App;

/// A token as its owner sees it, once.
pub(crate) struct NewToken {
    /// 32 hex digits.
    pub(crate) access_key: String,
    /// 64 characters of base64.
    pub(crate) secret: String,
    /// Goes into the hash; stored beside it.
    pub(crate) salt: String,
}

impl NewToken {
    pub(crate) fn random() -> Self {
        Self {
            access_key: hex::encode(random::<16>()),
            secret: STANDARD.encode(random::<48>()),
            salt: STANDARD.encode(random::<48>()),
        }
    }

    /// What is stored instead of the secret.
    pub(crate) fn hashed(&self) -> String {
        hash(&self.access_key, &self.secret, &self.salt)
    }
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

pub(super) fn hash(key: &str, secret: &str, salt: &str) -> String {
    hex::encode(Sha3_256::digest(format!("v0-{key}-{secret}-{salt}")))
}

/// Whose token the headers carry.
pub(super) async fn owner(app: &App, headers: &HeaderMap) -> Result<Option<Identity>, StoreError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(key), Some(secret)) = (header("x-api-key"), header("x-api-secret")) else {
        return Ok(None);
    };
    let Some(user) = users::by_token(&mut app.store.read().await?, key).await? else {
        return Ok(None);
    };
    let Some((salt, stored)) = &user.token else {
        return Ok(None);
    };
    let given = hash(key, secret, salt);
    let same: bool = given.as_bytes().ct_eq(stored.as_bytes()).into();
    Ok(same.then(|| Identity {
        role: Role::of(&user.role),
        email: user.email,
        session: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_shape_clients_know() {
        let token = NewToken::random();
        assert_eq!(token.access_key.len(), 32);
        assert_eq!(token.secret.len(), 64);
        assert_eq!(token.hashed().len(), 64);
        assert_ne!(token.hashed(), NewToken::random().hashed());
    }
}
