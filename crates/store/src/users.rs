//! People and their sessions. Passwords, tokens and session ids are here as hashes only.

use dodona_model::Timestamp;

use crate::engine::Tx;
use crate::sql::{Row, args, declare};
use crate::{Conn, Result};

declare! {
    INSERT = "users.insert" =>
        "INSERT INTO users (email, password_hash, role, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)";
    FIND = "users.find" =>
        "SELECT * FROM users WHERE email = $1";
    BY_TOKEN = "users.by_token" =>
        "SELECT * FROM users WHERE token_key = $1";
    LIST = "users.list" =>
        "SELECT * FROM users ORDER BY email";
    SET_PASSWORD = "users.set_password" =>
        "UPDATE users SET password_hash = $2, updated_at = $3 WHERE email = $1";
    SET_TOKEN = "users.set_token" =>
        "UPDATE users SET token_key = $2, token_salt = $3, token_hash = $4, updated_at = $5 WHERE email = $1";
    OPEN = "users.open_session" =>
        "INSERT INTO sessions (id_hash, email, created_at, last_used) VALUES ($1, $2, $3, $3)";
    USE = "users.use_session" =>
        "UPDATE sessions SET last_used = $2 WHERE id_hash = $1 AND last_used > $3 RETURNING email";
    SESSION = "users.session" =>
        "SELECT email, last_used FROM sessions WHERE id_hash = $1";
    CLOSE_OTHERS = "users.close_other_sessions" =>
        "DELETE FROM sessions WHERE email = $1 AND id_hash <> $2";
    CLOSE = "users.close_session" =>
        "DELETE FROM sessions WHERE id_hash = $1";
    CLOSE_ALL = "users.close_sessions" =>
        "DELETE FROM sessions WHERE email = $1";
    PRUNE = "users.prune_sessions" =>
        "DELETE FROM sessions WHERE last_used < $1";
}

/// Somebody who may log in.
#[derive(Debug, Clone)]
pub struct User {
    /// Log-in name.
    pub email: String,
    /// argon2 in PHC form.
    pub password_hash: String,
    /// `admin`, `edit`, `run` or `view`.
    pub role: String,
    /// Salt and hash of the API token, where there is one.
    pub token: Option<(String, String)>,
    /// When created.
    pub created_at: Timestamp,
    /// When changed last.
    pub updated_at: Timestamp,
}

fn user(row: &Row) -> Result<User> {
    let salt: Option<String> = row.get("token_salt")?;
    let hash: Option<String> = row.get("token_hash")?;
    Ok(User {
        email: row.get("email")?,
        password_hash: row.get("password_hash")?,
        role: row.get("role")?,
        token: salt.zip(hash),
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// Creates a user; the same e-mail twice is a duplicate.
pub async fn insert(
    tx: &mut Tx,
    email: &str,
    password_hash: &str,
    role: &str,
    now: Timestamp,
) -> Result<()> {
    tx.run(&INSERT, args![email, password_hash, role, now])
        .await
        .map(drop)
}

/// A user by e-mail.
pub async fn find(conn: &mut Conn, email: &str) -> Result<Option<User>> {
    conn.row(&FIND, args![email])
        .await?
        .as_ref()
        .map(user)
        .transpose()
}

/// The user an API access key belongs to.
pub async fn by_token(conn: &mut Conn, access_key: &str) -> Result<Option<User>> {
    conn.row(&BY_TOKEN, args![access_key])
        .await?
        .as_ref()
        .map(user)
        .transpose()
}

/// All users.
pub async fn list(conn: &mut Conn) -> Result<Vec<User>> {
    conn.rows(&LIST, args![]).await?.iter().map(user).collect()
}

/// Changes a password. `false`: no such user.
pub async fn set_password(
    tx: &mut Tx,
    email: &str,
    password_hash: &str,
    now: Timestamp,
) -> Result<bool> {
    Ok(tx
        .run(&SET_PASSWORD, args![email, password_hash, now])
        .await?
        == 1)
}

/// Sets or (with `None`) removes a user's API token: access key, salt, hash of the secret.
pub async fn set_token(
    tx: &mut Tx,
    email: &str,
    token: Option<(&str, &str, &str)>,
    now: Timestamp,
) -> Result<bool> {
    let (key, salt, hash) = match token {
        Some((key, salt, hash)) => (Some(key), Some(salt), Some(hash)),
        None => (None, None, None),
    };
    Ok(tx
        .run(&SET_TOKEN, args![email, key, salt, hash, now])
        .await?
        == 1)
}

/// Opens a session under the hash of its id.
pub async fn open_session(tx: &mut Tx, id_hash: &str, email: &str, now: Timestamp) -> Result<()> {
    tx.run(&OPEN, args![id_hash, email, now]).await.map(drop)
}

/// Uses a session that was last used after `alive_after`. Returns whose it is.
pub async fn use_session(
    tx: &mut Tx,
    id_hash: &str,
    now: Timestamp,
    alive_after: Timestamp,
) -> Result<Option<String>> {
    tx.row(&USE, args![id_hash, now, alive_after])
        .await?
        .map(|row| row.get("email"))
        .transpose()
}

/// Whose session it is and when it was last used, without using it: most requests need no write.
pub async fn session(conn: &mut Conn, id_hash: &str) -> Result<Option<(String, Timestamp)>> {
    conn.row(&SESSION, args![id_hash])
        .await?
        .map(|row| Ok((row.get("email")?, row.get("last_used")?)))
        .transpose()
}

/// Ends one session.
pub async fn close_session(tx: &mut Tx, id_hash: &str) -> Result<()> {
    tx.run(&CLOSE, args![id_hash]).await.map(drop)
}

/// Ends every session of a user.
pub async fn close_sessions(tx: &mut Tx, email: &str) -> Result<u64> {
    tx.run(&CLOSE_ALL, args![email]).await
}

/// Ends every session of a user but one.
pub async fn close_other_sessions(tx: &mut Tx, email: &str, keep_id_hash: &str) -> Result<u64> {
    tx.run(&CLOSE_OTHERS, args![email, keep_id_hash]).await
}

/// Forgets sessions last used before `before`. Returns how many.
pub async fn prune_sessions(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    tx.run(&PRUNE, args![before]).await
}
