//! What a node needs from its operator once: a password for the key ring, a first user, a first key.

use anyhow::bail;
use dodona_api::{Vault, ensure_first_user};
use dodona_store::{Store, keys, users};
use secrecy::SecretString;
use tracing::info;

use crate::config::Config;
use crate::password;
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
    if new && !development {
        dodona_keys::check_password(&password)?;
    }
    Ok(password)
}

/// Creates the first user from the credentials file. Returns who may log in.
pub(crate) async fn first_user(store: &Store, options: &StartOptions) -> anyhow::Result<String> {
    let known = users::list(&mut store.read().await?).await?;
    if let Some(user) = known.first() {
        return Ok(user.email.clone());
    }
    let Some(path) = &options.api_credentials else {
        bail!(
            "this database has no user yet: give --api FILE with two lines, the e-mail and the password of the first user"
        );
    };
    let first = password::credentials_from_file(path)?;
    ensure_first_user(store, &first.email, &first.password).await?;
    Ok(first.email)
}

/// Gives each chain without a key a fresh one, where the settings say so.
pub(crate) async fn missing_keys(
    config: &Config,
    store: &Store,
    vault: &NodeVault,
) -> anyhow::Result<()> {
    let known = keys::list(&mut store.read().await?).await?;
    for chain in config
        .enabled_chains()
        .filter(|chain| chain.auto_create_key)
    {
        let id = chain.chain_id;
        if known.iter().any(|state| state.chain_id == id) {
            continue;
        }
        let address = vault.create(id).await?;
        info!(
            chain.id = id, key = %address,
            "created key {address} for chain {id}; fund it, and authorise it on your oracle contract"
        );
    }
    Ok(())
}
