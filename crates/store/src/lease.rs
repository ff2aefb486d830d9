//! Leading is something you hold.
//!
//! A lease is a row with an epoch that only grows and a random token drawn at each acquisition. The
//! proof is inside the write: [`Leader::begin`] opens a transaction that takes a shared lock on the
//! epoch row and compares both; a challenger must update that row, so it waits for us, and afterwards
//! our `begin` fails. A lease is free when its holder's database session is gone (killed) or its time
//! on the database's clock ran out (frozen, cut off).

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use tracing::{debug, info};

use crate::engine::{Conn, Engine, Tx};
use crate::sql::{args, declare};
use crate::{Result, Store, StoreError};

declare! {
    CREATE = "lease.create" =>
        "INSERT INTO lease_epochs (scope, epoch, token, holder) VALUES ($1, 0, $2, '') ON CONFLICT (scope) DO NOTHING";
    LOOK = "lease.look" =>
        // The file lock already says that we are alone: what a row says is left over from before.
        "SELECT 1 AS taken FROM lease_heartbeats WHERE scope = $1 AND expires_at > $2",
        // A session of another database user shows its pid only; its time on the clock still counts.
        "SELECT CAST(1 AS BIGINT) AS taken FROM lease_heartbeats h WHERE h.scope = $1
            AND h.expires_at > $2 + CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)
            AND EXISTS (SELECT 1 FROM pg_stat_activity a
                WHERE CAST(a.pid AS TEXT) = SPLIT_PART(h.session, ' ', 1)
                AND COALESCE(CAST(CAST(EXTRACT(EPOCH FROM a.backend_start) * 1000000 AS BIGINT) AS TEXT)
                    = SPLIT_PART(h.session, ' ', 3), TRUE))";
    LOCK = "lease.lock" =>
        "SELECT epoch FROM lease_epochs WHERE scope = $1",
        "SELECT epoch FROM lease_epochs WHERE scope = $1 FOR UPDATE";
    TAKE = "lease.take" =>
        "UPDATE lease_epochs SET epoch = epoch + 1, token = $2, holder = $3 WHERE scope = $1 RETURNING epoch";
    SESSION = "lease.session" =>
        "SELECT 'the only process' AS session",
        "SELECT CAST(pid AS TEXT) || ' since ' || CAST(CAST(EXTRACT(EPOCH FROM backend_start) * 1000000 AS BIGINT) AS TEXT) AS session
            FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    BEAT_FIRST = "lease.beat_first" =>
        "INSERT INTO lease_heartbeats (scope, token, session, expires_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (scope) DO UPDATE SET token = excluded.token, session = excluded.session, expires_at = excluded.expires_at",
        "INSERT INTO lease_heartbeats (scope, token, session, expires_at)
            VALUES ($1, $2, $3, $4 + CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT))
            ON CONFLICT (scope) DO UPDATE SET token = excluded.token, session = excluded.session, expires_at = excluded.expires_at";
    BEAT = "lease.beat" =>
        // Nobody else counts the time here: only whether it is still ours.
        "SELECT 1 AS kept FROM lease_heartbeats WHERE scope = $1 AND token = $2 AND session = $3 AND expires_at = $4",
        "UPDATE lease_heartbeats
            SET session = $3, expires_at = $4 + CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)
            WHERE scope = $1 AND token = $2 RETURNING CAST(1 AS BIGINT) AS kept";
    RELEASE = "lease.release" =>
        "DELETE FROM lease_heartbeats WHERE scope = $1 AND token = $2";
    PROVE = "lease.prove" =>
        "SELECT epoch, token FROM lease_epochs WHERE scope = $1",
        "SELECT epoch, token FROM lease_epochs WHERE scope = $1 FOR SHARE";
}

/// SQLite's session: there is one process.
const ALONE: &str = "the only process";

/// What one replica leads: `chain:<id>` or `schedule`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// All work that touches one chain.
    pub fn chain(chain: dodona_model::ChainId) -> Self {
        Self(format!("chain:{chain}"))
    }

    /// Timers that must fire once for all replicas.
    pub fn schedule() -> Self {
        Self("schedule".to_owned())
    }

    /// The scope's word in rows and logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a lease lasts without renewal, and how often it is renewed.
#[derive(Debug, Clone, Copy)]
pub struct LeaseConfig {
    /// Time on the database's clock after which a silent holder has lost it.
    pub duration: Duration,
    /// Pause between renewals, and between a challenger's looks.
    pub refresh: Duration,
}

impl Default for LeaseConfig {
    /// The Chainlink node's values: 10 s and 1 s.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            refresh: Duration::from_secs(1),
        }
    }
}

/// Why leader-only work did not happen.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// Another replica leads the scope now; stop quietly, it looks at the same rows.
    #[error("this replica no longer leads {0}")]
    Deposed(Scope),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Proof that this replica led `scope` when it was asked last. Every write proves it again.
#[derive(Debug)]
pub struct Leader {
    store: Store,
    scope: Scope,
    epoch: i64,
    token: Vec<u8>,
    duration: Duration,
    released: AtomicBool,
    /// PostgreSQL: lives as long as we lead; others see when it ends. Lost, it is replaced.
    session: tokio::sync::Mutex<Option<Session>>,
}

/// A connection of its own and what the database calls it.
#[derive(Debug)]
struct Session {
    conn: Conn,
    name: String,
}

impl Session {
    async fn open(store: &Store) -> Result<Self> {
        let mut conn = store.read().await?;
        let name = conn.one(&SESSION, args![]).await?.get("session")?;
        Ok(Self { conn, name })
    }

    /// Worth keeping only where others can see it end; SQLite's few readers are for everybody.
    fn kept(self, engine: Engine) -> Option<Self> {
        (engine == Engine::Postgres).then(|| Self {
            conn: self.conn.into_session(),
            name: self.name,
        })
    }
}

impl Leader {
    /// Takes the lease if it is free; `None` while another replica holds it. `holder` is what others
    /// will read about us.
    pub async fn try_acquire(
        store: &Store,
        scope: &Scope,
        holder: &str,
        config: &LeaseConfig,
    ) -> Result<Option<Self>> {
        let mut token = vec![0u8; 16];
        rand::rng().fill_bytes(&mut token);
        let mut session = Session::open(store).await?;
        let taken_at = match store.engine() {
            Engine::Sqlite => i64::MAX,
            Engine::Postgres => 0,
        };
        if session
            .conn
            .row(&LOOK, args![scope.as_str(), taken_at])
            .await?
            .is_some()
        {
            return Ok(None);
        }
        // Before anybody can read its name: from here on it ends when we drop it.
        let session = session.kept(store.engine());
        let name = session
            .as_ref()
            .map_or(ALONE, |session| session.name.as_str());
        let mut tx = store.begin().await?;
        tx.run(&CREATE, args![scope.as_str(), token.clone()])
            .await?;
        tx.one(&LOCK, args![scope.as_str()]).await?;
        // Somebody else may have taken it while we waited for the row.
        if tx
            .row(&LOOK, args![scope.as_str(), taken_at])
            .await?
            .is_some()
        {
            return Ok(None);
        }
        let epoch = tx
            .one(&TAKE, args![scope.as_str(), token.clone(), holder])
            .await?
            .get("epoch")?;
        let expires = lease_end(store.engine(), config.duration);
        tx.run(
            &BEAT_FIRST,
            args![scope.as_str(), token.clone(), name, expires],
        )
        .await?;
        tx.commit().await?;
        info!(scope = %scope, epoch, "leading {scope} (epoch {epoch})");
        Ok(Some(Self {
            store: store.clone(),
            scope: scope.clone(),
            epoch,
            token,
            duration: config.duration,
            released: AtomicBool::new(false),
            session: tokio::sync::Mutex::new(session),
        }))
    }

    /// What is led.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Grows with every acquisition by anybody.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The database the lease is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Extends the lease by its duration. The session whose end gives it up is opened anew where it
    /// was lost and nobody took over meanwhile. Takes at most the lease's duration.
    pub async fn renew(&self) -> std::result::Result<(), LeadError> {
        match tokio::time::timeout(self.duration, self.beat()).await {
            Ok(done) => done,
            Err(_) => {
                // It hangs: the next renewal tries another one.
                self.session.lock().await.take();
                Err(LeadError::Store(StoreError::Transaction {
                    what: "renew a lease in time",
                    cause: sqlx::Error::PoolTimedOut,
                }))
            }
        }
    }

    async fn beat(&self) -> std::result::Result<(), LeadError> {
        if self.released.load(Ordering::Acquire) {
            return Err(LeadError::Deposed(self.scope.clone()));
        }
        let engine = self.store.engine();
        let mut held = self.session.lock().await;
        let mut fresh = None;
        let session = match held.as_mut() {
            Some(session) => session,
            None => fresh.insert(Session::open(&self.store).await?),
        };
        let args = args![
            self.scope.as_str(),
            self.token.clone(),
            &session.name,
            lease_end(engine, self.duration)
        ];
        match session.conn.row(&BEAT, args).await {
            Ok(Some(_)) => {
                if let Some(session) = fresh {
                    *held = session.kept(engine);
                }
                Ok(())
            }
            Ok(None) => {
                held.take();
                Err(LeadError::Deposed(self.scope.clone()))
            }
            Err(cause) => {
                held.take();
                Err(cause.into())
            }
        }
    }

    /// Gives the lease back so that a successor need not wait for it to expire. From here on this
    /// value is deposed, also where the database did not hear of it.
    pub async fn release(&self) -> Result<()> {
        debug!(scope = %self.scope, "giving the lead of {} back", self.scope);
        self.released.store(true, Ordering::Release);
        let told = self.tell_release().await;
        self.session.lock().await.take();
        told
    }

    async fn tell_release(&self) -> Result<()> {
        let mut tx = self.store.begin().await?;
        tx.run(&RELEASE, args![self.scope.as_str(), self.token.clone()])
            .await?;
        tx.commit().await
    }

    /// Says whether we still lead, at this moment and no longer: for what is done outside the database and
    /// is harmless when repeated. Writes belong into [`Leader::begin`].
    pub async fn prove(&self) -> std::result::Result<(), LeadError> {
        let mut conn = self.store.read().await?;
        self.compare(&mut conn).await
    }

    async fn compare(&self, conn: &mut Conn) -> std::result::Result<(), LeadError> {
        let row = conn.row(&PROVE, args![self.scope.as_str()]).await?;
        let ours = match row {
            Some(row) => {
                row.get::<i64>("epoch")? == self.epoch && row.get::<Vec<u8>>("token")? == self.token
            }
            None => false,
        };
        match ours && !self.released.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err(LeadError::Deposed(self.scope.clone())),
        }
    }

    /// Begins a transaction that can commit only while we lead.
    pub async fn begin(&self) -> std::result::Result<LeaderTx, LeadError> {
        if self.released.load(Ordering::Acquire) {
            return Err(LeadError::Deposed(self.scope.clone()));
        }
        let mut tx = self.store.begin().await?;
        self.compare(&mut tx).await?;
        Ok(LeaderTx(tx))
    }
}

/// `BEAT*` on PostgreSQL add the database's own clock; on SQLite the lease has no end.
fn lease_end(engine: Engine, duration: Duration) -> i64 {
    match engine {
        Engine::Sqlite => i64::MAX,
        Engine::Postgres => i64::try_from(duration.as_micros()).unwrap_or(i64::MAX),
    }
}

/// A database transaction that can commit only while we lead its scope. Keep it short: a challenger
/// waits for it, and an idle timeout ends one whose owner froze.
#[derive(Debug)]
pub struct LeaderTx(Tx);

impl LeaderTx {
    /// Makes everything written here true at once, then pokes.
    pub async fn commit(self) -> Result<()> {
        self.0.commit().await
    }
}

impl Deref for LeaderTx {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.0
    }
}

impl DerefMut for LeaderTx {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.0
    }
}
