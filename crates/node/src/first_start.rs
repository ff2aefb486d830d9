//! What a node needs from its operator once: a password for the key ring, a first user, a first key.

use std::path::Path;

use anyhow::{Context, bail};
use dodona_api::{check_first_user, ensure_first_user};
use dodona_store::{Store, keys, users};
use secrecy::SecretString;
use tracing::info;

use crate::config::Config;
use crate::password::{self, Credentials};
use crate::role::StartOptions;
use crate::vault::NodeVault;

/// What the operator can do where nobody can be asked.
const REMEDY: &str =
    "set Password.Keystore in the secrets file (or CL_PASSWORD_KEYSTORE), or give --password FILE";

/// The password that was given with the settings; `None` where it must be asked for.
pub(crate) fn given_password(
    config: &Config,
    options: &StartOptions,
) -> anyhow::Result<Option<SecretString>> {
    use std::io::IsTerminal;
    if let Some(path) = &options.password_file {
        return Ok(Some(password::from_file(path)?));
    }
    if config.secrets.keystore_password.is_none() && !std::io::stdin().is_terminal() {
        bail!("no password for the key ring: {REMEDY}");
    }
    Ok(config.secrets.keystore_password.clone())
}

/// The key ring's password: as given, or typed. A new ring wants a good one, typed twice.
pub(crate) async fn ring_password(
    given: Option<SecretString>,
    store: &Store,
    development: bool,
) -> anyhow::Result<SecretString> {
    let new = keys::ring(&mut store.read().await?).await?.is_none();
    let password = match given {
        Some(password) => password,
        None if new => password::ask_new("New password of the key ring", REMEDY)?,
        None => password::ask("Password of the key ring", REMEDY)?,
    };
    if new {
        check_ring_password(&password, development)?;
    }
    Ok(password)
}

/// Whether a new key ring may have this password.
pub(crate) fn check_ring_password(
    password: &SecretString,
    development: bool,
) -> anyhow::Result<()> {
    if development {
        return Ok(());
    }
    dodona_keys::check_password(password).context("the key ring's password (Password.Keystore)")
}

/// What the credentials file says, read before anything is written. Only a start on a database without users
/// needs it, so what is wrong with it is an error only then.
pub(crate) fn given_credentials(options: &StartOptions) -> Option<anyhow::Result<Credentials>> {
    let path = options.api_credentials.as_deref()?;
    Some(read_credentials(path))
}

fn read_credentials(path: &Path) -> anyhow::Result<Credentials> {
    let first = password::credentials_from_file(path)?;
    check_first_user(&first.email, &first.password)
        .with_context(|| format!("the first user of {}", path.display()))?;
    Ok(first)
}

/// Who may log in: a user that is there, or the credentials of the one to be created. Writes nothing.
pub(crate) async fn whose(
    store: &Store,
    given: Option<anyhow::Result<Credentials>>,
) -> anyhow::Result<FirstUser> {
    let known = users::list(&mut store.read().await?).await?;
    if let Some(user) = known.into_iter().next() {
        return Ok(FirstUser::Known(user.email));
    }
    match given {
        Some(first) => Ok(FirstUser::New(first?)),
        None => bail!(
            "this database has no user yet: give --api FILE with two lines, the e-mail and the password of the first user"
        ),
    }
}

/// Who may log in.
pub(crate) enum FirstUser {
    Known(String),
    New(Credentials),
}

impl FirstUser {
    /// Creates the user where there is none. Returns the e-mail.
    pub(crate) async fn ensure(self, store: &Store) -> anyhow::Result<String> {
        match self {
            Self::Known(email) => Ok(email),
            Self::New(first) => {
                ensure_first_user(store, &first.email, &first.password).await?;
                Ok(first.email)
            }
        }
    }
}

/// Gives each chain without a key a fresh one, where the settings say so.
pub(crate) async fn missing_keys(config: &Config, vault: &NodeVault) -> anyhow::Result<()> {
    for chain in config
        .enabled_chains()
        .filter(|chain| chain.auto_create_key)
    {
        let id = chain.chain_id;
        let Some(address) = vault.create_first(id).await? else {
            continue;
        };
        info!(
            chain.id = id, key = %address,
            "created key {address} for chain {id}; fund it, and authorise it on your oracle contract"
        );
    }
    Ok(())
}
