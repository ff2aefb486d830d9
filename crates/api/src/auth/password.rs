//! Passwords of people: the rule for new ones, hashing, and looking at one without telling whether
//! the user exists.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use dodona_runtime::clock;
use dodona_store::{Store, StoreError, users};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::Role;
use crate::observe;

/// Fewest characters of a new password.
const FEWEST: usize = 16;
/// Most characters of a new password.
const MOST: usize = 50;
/// Passwords looked at, at the same time: each look takes 19 MiB for some 30 ms.
const LOOKS_AT_ONCE: usize = 2;

/// What is compared when there is no such user: the same work, and no password fits it.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmUh$bm8gcGFzc3dvcmQgaGFzaGVzIHRvIHRoaXMgdmFsdWU";

/// Why a new password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRule {
    /// Too short or too long.
    #[error("the password has {chars} characters; it needs {FEWEST} to {MOST}")]
    Length {
        /// What it has.
        chars: usize,
    },
    /// White space at an end gets lost too easily.
    #[error("the password begins or ends with white space; remove it")]
    OuterWhiteSpace,
    /// Whoever guesses starts there.
    #[error("the password contains the e-mail address; choose one that does not")]
    ContainsEmail,
}

/// The rule for new passwords. Old ones go on working whatever they look like.
pub fn check_password(password: &SecretString, email: &str) -> Result<(), PasswordRule> {
    let text = password.expose_secret();
    if text.trim() != text {
        return Err(PasswordRule::OuterWhiteSpace);
    }
    let chars = text.chars().count();
    if !(FEWEST..=MOST).contains(&chars) {
        return Err(PasswordRule::Length { chars });
    }
    if text.to_lowercase().contains(&email.to_lowercase()) {
        return Err(PasswordRule::ContainsEmail);
    }
    Ok(())
}

/// The slow work, a bounded number at a time and off the threads that answer requests.
#[derive(Debug, Clone)]
pub(crate) struct PasswordWork(Arc<Semaphore>);

impl Default for PasswordWork {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKS_AT_ONCE)))
    }
}

impl PasswordWork {
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let slot = Arc::clone(&self.0).acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            // Held to the end of the work, also when nobody waits for it any more.
            let _slot = slot;
            work()
        })
        .await
        .expect("hashing does not panic and is not cancelled")
    }

    /// Whether the password fits the hash. Without a hash (no such user) it takes as long and does not.
    pub(crate) async fn fits(&self, hash: Option<String>, password: SecretString) -> bool {
        self.run(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
            let fits = PasswordHash::new(&hash).is_ok_and(|parsed| {
                Argon2::default()
                    .verify_password(password.expose_secret().as_bytes(), &parsed)
                    .is_ok()
            });
            fits && known
        })
        .await
    }

    /// A new hash in PHC form.
    pub(crate) async fn hash(&self, password: SecretString) -> String {
        self.run(move || {
            Argon2::default()
                .hash_password(password.expose_secret().as_bytes())
                .expect(
                    "the default parameters are valid and the operating system has random bytes",
                )
                .to_string()
        })
        .await
    }
}

/// Why the first user was not created.
#[derive(Debug, thiserror::Error)]
pub enum FirstUserError {
    /// Not an address.
    #[error("{0:?} is not an e-mail address; write one such as ops@example.com")]
    Email(String),
    /// See [`PasswordRule`].
    #[error(transparent)]
    Password(#[from] PasswordRule),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates the first user, an admin, where there is none yet. `false`: somebody is there already, and
/// nothing changed, whoever it is.
pub async fn ensure_first_user(
    store: &Store,
    email: &str,
    password: &SecretString,
) -> Result<bool, FirstUserError> {
    if !users::list(&mut store.read().await?).await?.is_empty() {
        return Ok(false);
    }
    check_first_user(email, password)?;
    let email = &one_spelling(email);
    let hash = PasswordWork::default().hash(password.clone()).await;
    let mut tx = store.begin().await?;
    // Another replica may have been quicker while this one hashed.
    if !users::list(&mut tx).await?.is_empty() {
        return Ok(false);
    }
    match users::insert(&mut tx, email, &hash, Role::Admin.as_str(), clock::now()).await {
        Err(error) if error.is_duplicate() => return Ok(false),
        other => other?,
    }
    tx.commit().await?;
    observe::first_user(email);
    Ok(true)
}

/// Whether a user can be made of this; touches nothing.
pub fn check_first_user(email: &str, password: &SecretString) -> Result<(), FirstUserError> {
    if !is_email(email) {
        return Err(FirstUserError::Email(email.to_owned()));
    }
    Ok(check_password(password, email)?)
}

/// An address is the same in any letter case.
pub(super) fn one_spelling(email: &str) -> String {
    email.trim().to_lowercase()
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty()
            && !host.is_empty()
            && !host.contains('@')
            && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), PasswordRule> {
        check_password(&SecretString::from(password), "ops@example.com")
    }

    #[test]
    fn a_new_password_has_sixteen_to_fifty_characters_and_not_the_address_in_it() {
        assert_eq!(check("sixteen chars ok"), Ok(()));
        assert_eq!(check("short"), Err(PasswordRule::Length { chars: 5 }));
        assert_eq!(
            check(&"x".repeat(51)),
            Err(PasswordRule::Length { chars: 51 })
        );
        assert_eq!(
            check(" sixteen chars ok"),
            Err(PasswordRule::OuterWhiteSpace)
        );
        assert_eq!(
            check("my OPS@example.com password"),
            Err(PasswordRule::ContainsEmail)
        );
    }

    #[test]
    fn what_stands_in_for_nobody_costs_as_much_as_a_real_hash() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let real = Argon2::default().hash_password(b"any").unwrap();
        assert_eq!(nobody.algorithm, real.algorithm);
        assert_eq!(nobody.params, real.params);
        assert_eq!(
            nobody.hash.unwrap().as_ref().len(),
            real.hash.unwrap().as_ref().len()
        );
    }

    #[tokio::test]
    async fn nobody_fits_no_password() {
        let work = PasswordWork::default();
        assert!(!work.fits(None, SecretString::from("nobody is here!")).await);
        let hash = work.hash(SecretString::from("a password")).await;
        assert!(
            work.fits(Some(hash.clone()), SecretString::from("a password"))
                .await
        );
        assert!(!work.fits(Some(hash), SecretString::from("another")).await);
    }

    #[test]
    fn an_address_has_a_name_and_a_host() {
        assert!(is_email("ops@example.com"));
        for wrong in ["ops", "@example.com", "ops@", "a b@c", "a@b@c"] {
            assert!(!is_email(wrong), "{wrong}");
        }
    }
}
