//! The two engines behind one door.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction};

use dodona_runtime::Poke;

use crate::lock::FileLock;
use crate::sql::Recorder;
use crate::{Result, StoreError, migrate, notify};

/// Connections that read an SQLite file beside its one writer.
const SQLITE_READERS: u32 = 4;
/// How long a caller waits for a free connection before it is told.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Which database to open.
#[derive(Debug, Clone)]
pub enum DatabaseConfig {
    /// A file, for a single node.
    Sqlite(PathBuf),
    /// A server, for one node or several.
    Postgres {
        /// `postgres://user:password@host/database?…`
        url: String,
        /// Upper bound of connections this process opens.
        max_connections: u32,
    },
}

impl DatabaseConfig {
    /// The database in words, without secrets.
    pub fn describe(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres { url, .. } => describe_url(url),
        }
    }
}

fn describe_url(url: &str) -> String {
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

/// Which engine a store runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Embedded; one process.
    Sqlite,
    /// A server; several replicas.
    Postgres,
}

/// An open database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) pools: Pools,
    pokes: BTreeMap<&'static str, Poke>,
    recorder: Option<Recorder>,
    describe: String,
    // Held as long as the store lives; the file is ours alone.
    _lock: Option<FileLock>,
}

#[derive(Debug)]
pub(crate) enum Pools {
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

impl Store {
    /// Opens the database, takes an SQLite file for this process alone, and brings the schema to this
    /// version. `pokes` are the channels that commits announce.
    pub async fn open(
        config: &DatabaseConfig,
        pokes: BTreeMap<&'static str, Poke>,
    ) -> Result<Self> {
        Self::open_with(config, pokes, None).await
    }

    /// As [`Store::open`]; remembers which statements it ran. For tests.
    pub async fn open_recording(config: &DatabaseConfig) -> Result<Self> {
        Self::open_with(config, BTreeMap::new(), Some(Recorder::default())).await
    }

    async fn open_with(
        config: &DatabaseConfig,
        pokes: BTreeMap<&'static str, Poke>,
        recorder: Option<Recorder>,
    ) -> Result<Self> {
        let describe = config.describe();
        let (pools, lock) = match config {
            DatabaseConfig::Sqlite(path) => {
                let lock = FileLock::take(path)?;
                let pools = open_sqlite(path)
                    .await
                    .map_err(|cause| open_error(&describe, &cause))?;
                (pools, Some(lock))
            }
            DatabaseConfig::Postgres {
                url,
                max_connections,
            } => {
                let pool = open_postgres(url, *max_connections)
                    .await
                    .map_err(|cause| open_error(&describe, &cause))?;
                (Pools::Postgres(pool), None)
            }
        };
        migrate::run(&pools, &describe).await?;
        Ok(Self(Arc::new(Inner {
            pools,
            pokes,
            recorder,
            describe,
            _lock: lock,
        })))
    }

    /// Which engine this is.
    pub fn engine(&self) -> Engine {
        match self.0.pools {
            Pools::Sqlite { .. } => Engine::Sqlite,
            Pools::Postgres(_) => Engine::Postgres,
        }
    }

    /// The database in words, without secrets.
    pub fn describe(&self) -> &str {
        &self.0.describe
    }

    /// A connection for reading outside a transaction.
    pub async fn read(&self) -> Result<Conn> {
        let failed = |cause| StoreError::Transaction {
            what: "give a connection",
            cause,
        };
        let raw = match &self.0.pools {
            Pools::Sqlite { readers, .. } => {
                Held::SqliteConn(readers.acquire().await.map_err(failed)?)
            }
            Pools::Postgres(pool) => Held::PgConn(pool.acquire().await.map_err(failed)?),
        };
        Ok(Conn {
            held: raw,
            store: self.clone(),
        })
    }

    /// Begins a transaction for writes that need no lead (intents from the API, users, run results).
    pub async fn begin(&self) -> Result<Tx> {
        let failed = |cause| StoreError::Transaction {
            what: "begin a transaction",
            cause,
        };
        let held = match &self.0.pools {
            Pools::Sqlite { writer, .. } => {
                Held::SqliteTx(writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?)
            }
            Pools::Postgres(pool) => Held::PgTx(pool.begin().await.map_err(failed)?),
        };
        Ok(Tx {
            conn: Conn {
                held,
                store: self.clone(),
            },
            pokes: BTreeSet::new(),
        })
    }

    /// Names of the statements that ran; empty unless the store records.
    pub fn executed(&self) -> BTreeSet<&'static str> {
        self.0
            .recorder
            .as_ref()
            .map(Recorder::names)
            .unwrap_or_default()
    }

    /// Pokes whoever in this process listens to `channel`; unknown channels are nobody's.
    pub(crate) fn poke(&self, channel: &str) {
        if let Some(poke) = self.0.pokes.get(channel) {
            poke.poke();
        }
    }

    /// Closes every connection; an SQLite file's journal is folded in first.
    pub async fn close(&self) {
        match &self.0.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

fn open_error(database: &str, cause: &sqlx::Error) -> StoreError {
    StoreError::Open {
        database: database.to_owned(),
        cause: cause.to_string(),
    }
}

async fn open_sqlite(path: &std::path::Path) -> std::result::Result<Pools, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit that was acknowledged survives a power cut: money depends on it.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(256)
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

async fn open_postgres(url: &str, max: u32) -> std::result::Result<PgPool, sqlx::Error> {
    let options = url
        .parse::<PgConnectOptions>()?
        .application_name("dodona")
        .statement_cache_capacity(256)
        // A leader that froze inside a transaction must not block its successor for long.
        .options([("idle_in_transaction_session_timeout", "10000")]);
    PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_with(options)
        .await
}

/// A connection, inside a transaction or not.
pub struct Conn {
    held: Held,
    pub(crate) store: Store,
}

enum Held {
    SqliteConn(PoolConnection<Sqlite>),
    SqliteTx(Transaction<'static, Sqlite>),
    PgConn(PoolConnection<Postgres>),
    PgTx(Transaction<'static, Postgres>),
}

/// The driver's connection inside a [`Conn`].
pub(crate) enum Raw<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl Conn {
    pub(crate) fn engine_mut(&mut self) -> Raw<'_> {
        match &mut self.held {
            Held::SqliteConn(conn) => Raw::Sqlite(conn),
            Held::SqliteTx(tx) => Raw::Sqlite(tx),
            Held::PgConn(conn) => Raw::Postgres(conn),
            Held::PgTx(tx) => Raw::Postgres(tx),
        }
    }

    pub(crate) fn note(&self, name: &'static str) {
        if let Some(recorder) = &self.store.0.recorder {
            recorder.note(name);
        }
    }

    /// Which engine this connection talks to.
    pub fn engine(&self) -> Engine {
        self.store.engine()
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Conn({})", self.store.describe())
    }
}

/// A transaction that needs no lead. Dropped without [`Tx::commit`], it never happened.
#[derive(Debug)]
pub struct Tx {
    conn: Conn,
    pokes: BTreeSet<&'static str>,
}

impl Tx {
    /// Pokes `channel` once this commits: in this process, and on PostgreSQL in every replica.
    pub fn poke_on_commit(&mut self, channel: &'static str) {
        self.pokes.insert(channel);
    }

    /// Makes everything written here true at once, then pokes.
    pub async fn commit(mut self) -> Result<()> {
        if !self.pokes.is_empty() && self.conn.engine() == Engine::Postgres {
            notify::send(&mut self.conn, &self.pokes).await?;
        }
        let failed = |cause| StoreError::Transaction {
            what: "commit",
            cause,
        };
        match self.conn.held {
            Held::SqliteTx(tx) => tx.commit().await.map_err(failed)?,
            Held::PgTx(tx) => tx.commit().await.map_err(failed)?,
            Held::SqliteConn(_) | Held::PgConn(_) => {}
        }
        for channel in self.pokes {
            self.conn.store.poke(channel);
        }
        Ok(())
    }
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}
