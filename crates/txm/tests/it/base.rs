//! Databases of one's own.

use std::collections::BTreeMap;

use dodona_store::{DatabaseConfig, Store};
use dodona_testkit::postgres::{self, FreshDatabase};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

/// A database that goes away with this value.
pub(crate) struct Base {
    pub(crate) config: DatabaseConfig,
    _home: Home,
}

#[expect(dead_code, reason = "held until the test ends")]
enum Home {
    Folder(TempDir),
    Server(FreshDatabase),
}

impl Base {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            config: DatabaseConfig::Sqlite(folder.path().join("dodona.sqlite")),
            _home: Home::Folder(folder),
        }
    }

    pub(crate) async fn postgres() -> Self {
        let fresh = postgres::fresh().await;
        Self {
            config: DatabaseConfig::Postgres {
                url: fresh.url.clone(),
                max_connections: 8,
            },
            _home: Home::Server(fresh),
        }
    }

    /// One of each.
    pub(crate) async fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.config, BTreeMap::new()).await.unwrap()
    }

    /// Runs SQL behind the back of the store.
    pub(crate) async fn execute(&self, sql: &str) {
        match &self.config {
            DatabaseConfig::Sqlite(path) => {
                let url = format!("sqlite://{}", path.display());
                let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
                let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await;
                done.unwrap();
            }
            DatabaseConfig::Postgres { url, .. } => {
                let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
                let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await;
                done.unwrap();
            }
        }
    }
}
