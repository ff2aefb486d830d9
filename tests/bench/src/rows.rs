//! What a node wrote down, read straight from its database.

use std::path::Path;

use anyhow::Result;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection, Decode, PgConnection, Row, SqliteConnection, Type,
    sqlite::SqliteConnectOptions,
};

/// The tables that grow with requests; what else grows does so with blocks.
const TABLES: [&str; 6] = [
    "logs",
    "requests",
    "runs",
    "task_runs",
    "txs",
    "tx_attempts",
];

/// A node's database; nothing is ever written.
pub(crate) enum Rows {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// When the stages of one request's way were reached, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// The announcement of the block with the request reached the node.
    pub(crate) block_seen: i64,
    pub(crate) run_created: i64,
    pub(crate) execution_began: i64,
    pub(crate) source_asked: i64,
    pub(crate) source_answered: i64,
    pub(crate) tx_queued: i64,
    pub(crate) tx_signed: i64,
    /// Just before the raw transaction was handed to the chain's endpoint.
    pub(crate) tx_sent: i64,
}

/// A table's share of what is kept for all requests, indexes included.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) table: &'static str,
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
}

impl Rows {
    /// The embedded database of a node that was stopped.
    pub(crate) async fn of_file(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        Ok(Self::Sqlite(
            SqliteConnection::connect_with(&options).await?,
        ))
    }

    pub(crate) async fn of_server(url: &str) -> Result<Self> {
        Ok(Self::Postgres(PgConnection::connect(url).await?))
    }

    /// The server's own version.
    pub(crate) async fn version(&mut self) -> Result<String> {
        Ok(match self {
            Self::Sqlite(db) => {
                let version: String = sqlx::query_scalar("SELECT sqlite_version()")
                    .fetch_one(db)
                    .await?;
                format!("SQLite {version}")
            }
            Self::Postgres(db) => {
                let version: String = sqlx::query_scalar("SHOW server_version")
                    .fetch_one(db)
                    .await?;
                format!(
                    "PostgreSQL {}",
                    version.split(' ').next().unwrap_or_default()
                )
            }
        })
    }

    /// The ways of all requests that were first seen in this span of microseconds.
    pub(crate) async fn ways(&mut self, from: i64, until: i64) -> Result<Vec<Way>> {
        let rows = self
            .numbers(&format!(
                "SELECT MIN(h.created_at), MIN(r.created_at), MIN(k.created_at),
                    MIN(CASE WHEN k.type = 'http' THEN k.created_at END),
                    MAX(CASE WHEN k.type = 'http' THEN k.finished_at END),
                    MIN(t.created_at), MIN(a.created_at), MIN(t.sent_at)
                 FROM requests q
                 JOIN heads h ON h.chain_id = q.chain_id AND h.hash = q.block_hash
                 JOIN runs r ON r.id = q.run_id
                 JOIN task_runs k ON k.run_id = r.id
                 JOIN txs t ON t.request_row = q.id
                 JOIN tx_attempts a ON a.tx_id = t.id
                 WHERE q.created_at >= {from} AND q.created_at < {until} AND t.sent_at IS NOT NULL
                 GROUP BY q.id"
            ))
            .await?;
        let ways = rows.into_iter().map(|row| {
            Some(Way {
                block_seen: row[0]?,
                run_created: row[1]?,
                execution_began: row[2]?,
                source_asked: row[3]?,
                source_answered: row[4]?,
                tx_queued: row[5]?,
                tx_signed: row[6]?,
                tx_sent: row[7]?,
            })
        });
        Ok(ways.flatten().collect())
    }

    /// How many transactions were mined and reverted, were given up, or had to be replaced.
    pub(crate) async fn mishaps(&mut self) -> Result<(i64, i64, i64)> {
        let sql = "SELECT
            CAST((SELECT COUNT(*) FROM txs WHERE succeeded = 0) AS BIGINT),
            CAST((SELECT COUNT(*) FROM txs WHERE state = 'dead') AS BIGINT),
            CAST((SELECT COUNT(*) FROM tx_attempts) - (SELECT COUNT(*) FROM txs WHERE nonce IS NOT NULL) AS BIGINT)";
        let row = self.numbers(sql).await?.pop().unwrap_or_default();
        let at = |column: usize| row.get(column).copied().flatten().unwrap_or(0);
        Ok((at(0), at(1), at(2)))
    }

    /// What is kept for requests.
    pub(crate) async fn kept(&mut self) -> Result<Vec<Kept>> {
        let mut kept = Vec::with_capacity(TABLES.len());
        for table in TABLES {
            let size = match self {
                Self::Sqlite(_) => format!(
                    "SELECT SUM(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = '{table}')"
                ),
                Self::Postgres(_) => format!("SELECT pg_total_relation_size('{table}')"),
            };
            let mut one = async |sql: &str| -> Result<i64> {
                let row = self.numbers(sql).await?.pop().unwrap_or_default();
                Ok(row.first().copied().flatten().unwrap_or(0))
            };
            let rows = one(&format!("SELECT COUNT(*) FROM {table}")).await?;
            kept.push(Kept {
                table,
                rows,
                bytes: one(&size).await?,
            });
        }
        Ok(kept)
    }

    /// The process that started the one that serves us.
    pub(crate) async fn server_process(&mut self) -> Result<Option<u32>> {
        let Self::Postgres(_) = self else {
            return Ok(None);
        };
        let backend = self
            .numbers("SELECT CAST(pg_backend_pid() AS BIGINT)")
            .await?;
        let backend = backend
            .first()
            .and_then(|row| row.first().copied().flatten())
            .unwrap_or(0);
        crate::process::parent(u32::try_from(backend)?).map(Some)
    }

    async fn numbers(&mut self, sql: &str) -> Result<Vec<Vec<Option<i64>>>> {
        let query = AssertSqlSafe(sql.to_owned());
        Ok(match self {
            Self::Sqlite(db) => {
                let rows = sqlx::query(query).fetch_all(db).await?;
                rows.iter().map(all).collect::<Result<_, _>>()?
            }
            Self::Postgres(db) => {
                let rows = sqlx::query(query).fetch_all(db).await?;
                rows.iter().map(all).collect::<Result<_, _>>()?
            }
        })
    }
}

fn all<R: Row>(row: &R) -> Result<Vec<Option<i64>>, sqlx::Error>
where
    usize: ColumnIndex<R>,
    for<'r> Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
{
    (0..row.len()).map(|column| row.try_get(column)).collect()
}
