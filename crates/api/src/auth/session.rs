//! Sessions: a random id in a cookie, its hash in a row.

use std::time::Duration;

use dodona_runtime::clock;
use dodona_store::{StoreError, users};
use rand::Rng;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::password::one_spelling;
use super::{Identity, Role};
use crate::observe;
use crate::server::App;

/// The row is touched at most this often: a page that refreshes itself must not write each time.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

fn hash(id: &str) -> String {
    hex::encode(Sha256::digest(id))
}

/// Opens a session for whoever knows the password. `None`: wrong e-mail or password; which of the two
/// shows neither in the answer nor in the time it takes.
pub(crate) async fn log_in(
    app: &App,
    email: &str,
    password: SecretString,
) -> Result<Option<String>, StoreError> {
    let email = &one_spelling(email);
    let user = users::find(&mut app.store.read().await?, email).await?;
    let stored = user.map(|user| user.password_hash);
    let known = stored.is_some();
    if !app.passwords.fits(stored, password).await {
        observe::log_in_refused(email, known);
        return Ok(None);
    }
    let mut random = [0u8; 32];
    rand::rng().fill_bytes(&mut random);
    let id = hex::encode(random);
    let mut tx = app.store.begin().await?;
    users::open_session(&mut tx, &hash(&id), email, clock::now()).await?;
    prune(app, &mut tx).await?;
    tx.commit().await?;
    observe::logged_in(email);
    Ok(Some(id))
}

/// Ends a session.
pub(crate) async fn log_out(app: &App, identity: &Identity) -> Result<(), StoreError> {
    let mut tx = app.store.begin().await?;
    if let Some(session) = &identity.session {
        users::close_session(&mut tx, session).await?;
    }
    prune(app, &mut tx).await?;
    tx.commit().await?;
    observe::logged_out(&identity.email);
    Ok(())
}

async fn prune(app: &App, tx: &mut dodona_store::Tx) -> Result<(), StoreError> {
    let keep = app.config.session_timeout + app.config.session_reaper;
    users::prune_sessions(tx, clock::now().minus(keep))
        .await
        .map(drop)
}

/// Whose living session this is; using it keeps it alive.
pub(super) async fn owner(app: &App, id: &str) -> Result<Option<Identity>, StoreError> {
    let session = hash(id);
    let mut conn = app.store.read().await?;
    let Some((email, last_used)) = users::session(&mut conn, &session).await? else {
        return Ok(None);
    };
    let (now, timeout) = (clock::now(), app.config.session_timeout);
    let idle = now.since(last_used);
    if idle >= timeout {
        return Ok(None);
    }
    let Some(user) = users::find(&mut conn, &email).await? else {
        return Ok(None);
    };
    drop(conn);
    if idle >= TOUCH_EVERY.min(timeout / 10) {
        let mut tx = app.store.begin().await?;
        users::use_session(&mut tx, &session, now, now.minus(timeout)).await?;
        tx.commit().await?;
    }
    Ok(Some(Identity {
        email,
        role: Role::of(&user.role),
        session: Some(session),
    }))
}
