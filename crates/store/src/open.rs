//! Getting to an open database, and saying clearly why not.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, PgConnection, PgPool};

use crate::engine::{DatabaseConfig, Pools};
use crate::lock::FileLock;
use crate::{Result, StoreError};

/// Connections that read an SQLite file beside its one writer.
const SQLITE_READERS: u32 = 4;
/// How long a caller waits for a free connection before it is told, and a start for a server that is
/// still starting.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two knocks at a server that is still starting.
const KNOCK_PAUSE: Duration = Duration::from_millis(250);
/// A connection that lay idle for longer is tried before it is handed out: the server may have gone
/// and come back meanwhile.
const TRY_AFTER: Duration = Duration::from_secs(1);
/// Prepared statements each connection remembers; more than there are.
const STATEMENT_CACHE: usize = 256;

/// The connections to a database, and for a file the lock that makes it ours.
pub(crate) async fn pools(config: &DatabaseConfig) -> Result<(Pools, Option<FileLock>)> {
    let failed = |cause: String| StoreError::Open {
        database: config.describe(),
        cause,
    };
    match config {
        DatabaseConfig::Sqlite(path) => {
            let lock = FileLock::take(path)?;
            make_private(path).map_err(|cause| failed(cause.to_string()))?;
            let pools = sqlite(path)
                .await
                .map_err(|cause| match is_locked(&cause) {
                    true => StoreError::Locked {
                        file: path.display().to_string(),
                    },
                    false => failed(explain(&cause)),
                })?;
            Ok((pools, Some(lock)))
        }
        DatabaseConfig::Postgres {
            url,
            max_connections,
        } => {
            let options = postgres_options(url).map_err(|cause| failed(explain(&cause)))?;
            first_answer(&options).await.map_err(failed)?;
            Ok((Pools::Postgres(postgres(options, *max_connections)), None))
        }
    }
}

/// A new file is for its owner alone: it holds sealed keys and password hashes. SQLite gives its
/// journals the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => Err(cause),
        _ => Ok(()),
    }
}

async fn sqlite(path: &Path) -> std::result::Result<Pools, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit that was acknowledged survives a power cut: money depends on it.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(STATEMENT_CACHE)
        .pragma("cache_size", "-4000")
        .foreign_keys(false);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options.clone())
        .await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(options.read_only(true).pragma("query_only", "ON"));
    Ok(Pools::Sqlite { writer, readers })
}

fn postgres_options(url: &str) -> std::result::Result<PgConnectOptions, sqlx::Error> {
    Ok(url
        .parse::<PgConnectOptions>()?
        .application_name("dodona")
        .statement_cache_capacity(STATEMENT_CACHE)
        // A leader that froze inside a transaction must not block its successor for long.
        .options([("idle_in_transaction_session_timeout", "10000")]))
}

/// Waits until the server answers, for a server that is still starting; any other refusal is told at
/// once, in words. The pool would only say that it waited in vain.
async fn first_answer(options: &PgConnectOptions) -> std::result::Result<(), String> {
    let deadline = Instant::now() + ACQUIRE_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let cause = match tokio::time::timeout(left, PgConnection::connect_with(options)).await {
            Ok(Ok(conn)) => return conn.close().await.map_err(|cause| explain(&cause)),
            Ok(Err(cause)) => cause,
            Err(_) => {
                return Err(format!(
                    "no answer within {} s; check the address and what filters traffic on the way",
                    ACQUIRE_TIMEOUT.as_secs()
                ));
            }
        };
        if !is_starting(&cause) || Instant::now() + KNOCK_PAUSE >= deadline {
            return Err(explain(&cause));
        }
        tokio::time::sleep(KNOCK_PAUSE).await;
    }
}

fn is_starting(cause: &sqlx::Error) -> bool {
    match cause {
        sqlx::Error::Io(cause) => cause.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(cause) => cause.is_transient_in_connect_phase(),
        _ => false,
    }
}

fn postgres(options: PgConnectOptions, max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|conn, about| {
            Box::pin(async move {
                if about.idle_for > TRY_AFTER {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

/// Whether another program holds an SQLite file's lock (SQLITE_BUSY, SQLITE_LOCKED and their relatives).
pub(crate) fn is_locked(cause: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = cause else {
        return false;
    };
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

/// What the driver said, and what to do about it where we know.
fn explain(cause: &sqlx::Error) -> String {
    let advice = match cause {
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "start the server, or correct the address in the database URL"
        }
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01" | "28000") => "correct the user and the password in the database URL",
            Some("3D000") => "create it, or correct the name in the database URL",
            // SQLITE_NOTADB
            Some("26") => "move it away, or name another RootDir",
            _ => return cause.to_string(),
        },
        _ => return cause.to_string(),
    };
    format!("{cause}; {advice}")
}

/// A PostgreSQL database in words, without secrets.
pub(crate) fn describe_url(url: &str) -> String {
    let Ok(options) = url.parse::<PgConnectOptions>() else {
        return "PostgreSQL (the URL cannot be read)".to_owned();
    };
    let database = options.get_database().unwrap_or("postgres");
    format!(
        "PostgreSQL {database} at {}:{}",
        options.get_host(),
        options.get_port()
    )
}
