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
