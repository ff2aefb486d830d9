//! Costs grow with the work to do, never with history: nothing reads a whole growing table unless it is
//! named here, with the reason.

use dodona_store::{Engine, Statement, statements};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use crate::world::Base;

/// Tables that grow with every request.
const GROWING: [&str; 9] = [
    "heads",
    "logs",
    "requests",
    "runs",
    "task_runs",
    "txs",
    "tx_attempts",
    "jobs",
    "job_topics",
];

/// Indexes that hold only rows something still has to happen to: reading one whole is the work to do.
const OF_WORK: [&str; 8] = [
    "logs_pending",
    "runs_waiting",
    "txs_queued",
    "txs_in_flight",
    "txs_mined",
    "txs_awaited",
    "jobs_by_contract",
    "heads_canonical",
];

/// Asked by people, seldom, with a page's limit; or a number over everything, by its nature.
const WHOLE: [&str; 18] = [
    // pages, newest first: the limit bounds them
    "jobs.list",
    "requests.list",
    "runs.list",
    "txs.list",
    "txs.list_attempted",
    "txs.list_attempts",
    // numbers over everything
    "jobs.count",
    "runs.count",
    "runs.count_by_job_and_state",
    "runs.count_unfinished_tasks",
    "requests.count_by_state",
    "txs.count_attempted",
    "txs.count_attempts",
    "stats.rows",
    "stats.bytes",
    "stats.columns",
    // there are as many as an operator wrote
    "jobs.mentioning",
    "jobs.delete_topics",
];

fn judged() -> impl Iterator<Item = &'static Statement> {
    statements()
        .into_iter()
        .filter(|statement| !WHOLE.contains(&statement.name))
}

/// `chain_id` alone narrows nothing down on a node with one chain.
fn narrows(condition: &str) -> bool {
    let bare: String = condition
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '(' && *c != ')')
        .collect();
    !bare.is_empty()
        && bare != "chain_id=?"
        && !(bare.starts_with("chain_id=$") && bare.len() <= 12)
}

/// What is wrong with one line of SQLite's plan: `SCAN t`, `SEARCH t USING INDEX i (a=? AND b>?)`.
fn complaint(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let verb = words.next()?;
    if verb != "SCAN" && verb != "SEARCH" {
        return None;
    }
    let table = words.next()?;
    if line.contains("VIRTUAL TABLE") || line.contains("CONSTANT ROW") {
        return None;
    }
    if OF_WORK
        .iter()
        .any(|index| line.contains(&format!("INDEX {index}")))
    {
        return None;
    }
    let condition = line.split_once('(').map_or("", |(_, rest)| rest);
    let fine = verb == "SEARCH" && narrows(condition);
    let small = !GROWING.contains(&table) && table.len() > 2;
    (!fine && !small).then(|| line.to_owned())
}

#[tokio::test]
async fn sqlite_finds_every_row_by_an_index() {
    let base = Base::sqlite();
    base.open().await.close().await;
    let url = format!("sqlite://{}", base.file().display());
    let mut raw = SqliteConnection::connect(&url).await.unwrap();
    let mut complaints = Vec::new();
    for statement in judged() {
        let Some(text) = statement.text(Engine::Sqlite) else {
            continue;
        };
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}")))
            .fetch_all(&mut raw)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", statement.name));
        let lines = plan.iter().map(|row| row.get::<String, _>("detail"));
        complaints.extend(
            lines
                .filter_map(|line| complaint(&line))
                .map(|line| format!("{}: {line}", statement.name)),
        );
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Nodes of PostgreSQL's plan that read a growing table without narrowing it down.
fn whole_reads(node: &Value, table: Option<&str>, found: &mut Vec<String>) {
    let text = |key: &str| node[key].as_str().unwrap_or_default();
    let table = node["Relation Name"].as_str().or(table);
    let growing = table.is_some_and(|table| GROWING.contains(&table));
    let of_work = OF_WORK.contains(&text("Index Name"));
    let fine = match text("Node Type") {
        "Seq Scan" => false,
        "Index Scan" | "Index Only Scan" | "Bitmap Index Scan" => {
            of_work || narrows(text("Index Cond"))
        }
        _ => true,
    };
    if growing && !fine {
        found.push(format!(
            "{} on {table:?} {} {}",
            text("Node Type"),
            text("Index Name"),
            text("Index Cond")
        ));
    }
    let children = node["Plans"].as_array().into_iter().flatten();
    children.for_each(|child| whole_reads(child, table, found));
}

fn parameters(text: &str) -> usize {
    let numbers = text.split('$').skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    numbers.max().unwrap_or(0)
}

async fn plan(raw: &mut PgConnection, statement: &Statement, text: &str) -> Value {
    let name = format!("\"{}\"", statement.name);
    let nulls = vec!["NULL"; parameters(text)].join(", ");
    let arguments = if nulls.is_empty() {
        nulls
    } else {
        format!("({nulls})")
    };
    let prepare = AssertSqlSafe(format!("PREPARE {name} AS {text}"));
    let explain = AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) EXECUTE {name}{arguments}"));
    let failed = |error: sqlx::Error| panic!("{}: {error}", statement.name);
    sqlx::raw_sql(prepare)
        .execute(&mut *raw)
        .await
        .unwrap_or_else(failed);
    let row = sqlx::raw_sql(explain).fetch_one(raw).await.unwrap();
    let json: String = row.try_get_unchecked(0).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// Thousands of rows that history left behind: over an empty table every plan is a good plan.
async fn fill(raw: &mut PgConnection, table: &str) {
    const COLUMNS: &str =
        "SELECT CAST(column_name AS TEXT), CAST(data_type AS TEXT) FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = $1";
    let columns: Vec<(String, String)> = sqlx::query_as(COLUMNS)
        .bind(table)
        .fetch_all(&mut *raw)
        .await
        .unwrap();
    let over = match table {
        "logs" => "'consumed'",
        "requests" => "'fulfilled'",
        "runs" => "'completed'",
        _ => "'final'",
    };
    let values = columns.iter().map(|(name, kind)| match kind.as_str() {
        _ if name == "chain_id" => "1",
        _ if name == "state" => over,
        "bigint" => "n",
        "bytea" => "INT8SEND(n)",
        "text" => "CAST(n AS TEXT)",
        other => panic!("{table} has a column of type {other}"),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    let fill = format!(
        "INSERT INTO {table} ({names}) SELECT {values} FROM GENERATE_SERIES(CAST(10 AS BIGINT), 20000) AS n; ANALYZE {table}"
    );
    sqlx::raw_sql(AssertSqlSafe(fill))
        .execute(raw)
        .await
        .unwrap();
}

#[tokio::test]
async fn postgresql_finds_every_row_by_an_index() {
    let base = Base::postgres().await;
    base.open().await;
    let mut raw = base.raw_postgres().await;
    for table in GROWING {
        fill(&mut raw, table).await;
    }
    // Values unknown, as with our prepared statements; no sequential scan where anything else would do.
    for setting in [
        "plan_cache_mode = force_generic_plan",
        "enable_seqscan = off",
    ] {
        let set = AssertSqlSafe(format!("SET {setting}"));
        sqlx::raw_sql(set).execute(&mut raw).await.unwrap();
    }
    let mut complaints = Vec::new();
    for statement in judged() {
        let Some(text) = statement.text(Engine::Postgres) else {
            continue;
        };
        let plan = plan(&mut raw, statement, text).await;
        let mut found = Vec::new();
        whole_reads(&plan[0]["Plan"], None, &mut found);
        complaints.extend(
            found
                .iter()
                .map(|line| format!("{}: {line}", statement.name)),
        );
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn the_judge_of_plans_knows_good_from_bad() {
    for bad in [
        "SCAN txs",
        "SCAN t",
        "SEARCH requests USING INDEX requests_by_block (chain_id=?)",
        "SCAN logs USING INDEX logs_by_block",
    ] {
        assert!(complaint(bad).is_some(), "{bad}");
    }
    for good in [
        "SEARCH txs USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH logs USING INDEX logs_by_block (chain_id=? AND block_number>?)",
        "SCAN runs USING COVERING INDEX runs_waiting",
        "SCAN warnings",
        "USE TEMP B-TREE FOR ORDER BY",
    ] {
        assert!(complaint(good).is_none(), "{good}");
    }
}
