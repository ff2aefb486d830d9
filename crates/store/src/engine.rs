//! The two engines behind one door.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction};

use dodona_runtime::Poke;

use crate::lock::FileLock;
use crate::sql::Recorder;
use crate::{Result, StoreError, migrate, notify, open};

/// Which database to open.
#[derive(Clone)]
pub enum DatabaseConfig {
    /// A file, for a single node.
    Sqlite(PathBuf),
    /// A server, for one node or several.
    Postgres {
        /// `postgres://user:password@host/database?…`
        url: String,
        /// Upper bound of connections this process shares; each scope it leads holds one more.
        max_connections: u32,
    },
}

impl DatabaseConfig {
    /// Whether opening it would create a file. What a server has is known only once it is asked.
    pub fn is_new_file(&self) -> bool {
        matches!(self, Self::Sqlite(path) if !path.exists())
    }

    /// The database in words, without secrets.
    pub fn describe(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres { url, .. } => open::describe_url(url),
        }
    }
}

impl std::fmt::Debug for DatabaseConfig {
    /// As [`DatabaseConfig::describe`]: the URL holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatabaseConfig({})", self.describe())
    }
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
        let (pools, lock) = open::pools(config).await?;
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
        let failed = |cause| self.failed("give a connection", cause);
        let raw = match &self.0.pools {
            Pools::Sqlite { readers, .. } => {
                Held::SqliteConn(readers.acquire().await.map_err(failed)?)
            }
            Pools::Postgres(pool) => Held::PgConn(pool.acquire().await.map_err(failed)?),
        };
        Ok(Conn {
            held: raw,
            store: self.clone(),
            spoiled: false,
        })
    }

    /// Begins a transaction for writes that need no lead (intents from the API, users, run results).
    pub async fn begin(&self) -> Result<Tx> {
        let failed = |cause| self.failed("begin a transaction", cause);
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
                spoiled: false,
            },
            pokes: BTreeSet::new(),
        })
    }

    fn failed(&self, what: &'static str, cause: sqlx::Error) -> StoreError {
        if self.engine() == Engine::Sqlite && open::is_locked(&cause) {
            let file = self.describe().to_owned();
            return StoreError::Locked { file };
        }
        StoreError::Transaction { what, cause }
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

    /// Pokes everybody in this process who listens to any channel.
    pub(crate) fn poke_all(&self) {
        self.0.pokes.values().for_each(Poke::poke);
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

/// A connection, inside a transaction or not.
pub struct Conn {
    held: Held,
    pub(crate) store: Store,
    /// A statement failed on it: a transaction here can no longer commit.
    spoiled: bool,
}

enum Held {
    SqliteConn(PoolConnection<Sqlite>),
    SqliteTx(Transaction<'static, Sqlite>),
    PgConn(PoolConnection<Postgres>),
    PgTx(Transaction<'static, Postgres>),
    /// Outside the pool: its end is the end of a session, not a return.
    PgOwn(PgConnection),
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
            Held::PgOwn(conn) => Raw::Postgres(conn),
        }
    }

    /// Takes the connection out of the pool: dropped, its session on the server ends.
    pub(crate) fn into_session(self) -> Self {
        let held = match self.held {
            Held::PgConn(conn) => Held::PgOwn(conn.detach()),
            other => other,
        };
        Self { held, ..self }
    }

    /// Whether a failed statement here can simply be said again.
    pub(crate) fn is_outside_transaction(&self) -> bool {
        !matches!(self.held, Held::SqliteTx(_) | Held::PgTx(_))
    }

    pub(crate) fn spoil(&mut self) {
        self.spoiled = true;
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
    ///
    /// After a failed statement this is an error on both engines and nothing was written. (PostgreSQL
    /// would roll back and call that a success.)
    pub async fn commit(mut self) -> Result<()> {
        if self.conn.spoiled {
            return Err(StoreError::Spoiled);
        }
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
            Held::SqliteConn(_) | Held::PgConn(_) | Held::PgOwn(_) => {}
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
