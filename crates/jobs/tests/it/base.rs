//! Databases of one's own, and databases that refuse.

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

    /// From now on the database refuses to write such rows: `what` is `INSERT` or `UPDATE`, and
    /// `condition` is about `NEW`.
    pub(crate) async fn refuse(&self, what: &str, table: &str, condition: &str) {
        let sql = match &self.config {
            DatabaseConfig::Sqlite(_) => format!(
                "CREATE TRIGGER refused BEFORE {what} ON {table} WHEN {condition}
                 BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
            ),
            DatabaseConfig::Postgres { .. } => format!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
                    AS $$ BEGIN RAISE EXCEPTION 'refused by the test'; END $$;
                 CREATE TRIGGER refused BEFORE {what} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
            ),
        };
        self.execute(&sql).await;
    }

    /// Ends [`Base::refuse`].
    pub(crate) async fn accept(&self, table: &str) {
        match &self.config {
            DatabaseConfig::Sqlite(_) => self.execute("DROP TRIGGER refused").await,
            DatabaseConfig::Postgres { .. } => {
                self.execute(&format!("DROP TRIGGER refused ON {table}"))
                    .await;
            }
        }
    }
}
