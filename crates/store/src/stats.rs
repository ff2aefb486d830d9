//! Counts over several tables, for `status`, metrics and the benchmark.

use crate::sql::{args, declare};
use crate::{Conn, Result};

declare! {
    SIZE = "stats.bytes" =>
        "SELECT page_count * page_size AS n FROM pragma_page_count(), pragma_page_size()",
        "SELECT pg_database_size(current_database()) AS n";
    ROWS = "stats.rows" =>
        "SELECT (SELECT COUNT(*) FROM logs) + (SELECT COUNT(*) FROM requests) + (SELECT COUNT(*) FROM runs)
            + (SELECT COUNT(*) FROM task_runs) + (SELECT COUNT(*) FROM txs) + (SELECT COUNT(*) FROM tx_attempts) AS n";
    DURABLE = "stats.durable" =>
        "SELECT CAST(synchronous >= 2 AS INTEGER) AS durable FROM pragma_synchronous()",
        "SELECT CAST(CASE WHEN 'off' IN (current_setting('synchronous_commit'), current_setting('fsync')) THEN 0 ELSE 1 END AS BIGINT) AS durable";
    SCHEMA_COLUMNS = "stats.columns" =>
        "SELECT m.name AS table_name, c.name AS column_name FROM sqlite_schema m, pragma_table_info(m.name) c
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.name",
        "SELECT CAST(table_name AS TEXT) AS table_name, CAST(column_name AS TEXT) AS column_name FROM information_schema.columns
         WHERE table_schema = current_schema() ORDER BY table_name COLLATE \"C\", column_name COLLATE \"C\"";
}

/// Size of the database in bytes.
pub async fn bytes(conn: &mut Conn) -> Result<u64> {
    conn.one(&SIZE, args![]).await?.get("n")
}

/// Whether a commit that was acknowledged survives a power cut of the database's machine.
pub async fn is_durable(conn: &mut Conn) -> Result<bool> {
    conn.one(&DURABLE, args![]).await?.get("durable")
}

/// Rows that requests leave behind.
pub async fn rows(conn: &mut Conn) -> Result<u64> {
    conn.one(&ROWS, args![]).await?.get("n")
}

/// Every table and column, sorted: the two engines must say the same.
pub async fn columns(conn: &mut Conn) -> Result<Vec<(String, String)>> {
    conn.rows(&SCHEMA_COLUMNS, args![])
        .await?
        .iter()
        .map(|row| Ok((row.get("table_name")?, row.get("column_name")?)))
        .collect()
}
