//! Opening a database, and the sentences when it cannot be opened.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use dodona_store::{DatabaseConfig, Store, StoreError, stats, users, warnings};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::world::{Base, NOW};

async fn refused(config: &DatabaseConfig) -> StoreError {
    Store::open(config, BTreeMap::new()).await.unwrap_err()
}

async fn raw_sqlite(base: &Base) -> SqliteConnection {
    let url = format!("sqlite://{}", base.file().display());
    SqliteConnection::connect(&url).await.unwrap()
}

fn server(base: &Base) -> &str {
    match &base.config {
        DatabaseConfig::Postgres { url, .. } => url,
        DatabaseConfig::Sqlite(_) => panic!("a file is no server"),
    }
}

fn at(url: &str) -> DatabaseConfig {
    DatabaseConfig::Postgres {
        url: url.to_owned(),
        max_connections: 2,
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    for base in Base::both().await {
        let store = base.open().await;
        let mut tx = store.begin().await.unwrap();
        users::insert(&mut tx, "a@b", "hash", "admin", NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        store.close().await;
        drop(store);

        let store = base.open().await;
        let mut conn = store.read().await.unwrap();
        let user = users::find(&mut conn, "a@b").await.unwrap();
        assert_eq!(user.unwrap().role, "admin");
    }
}

#[tokio::test]
async fn a_second_process_on_one_file_is_refused_with_the_first_ones_number() {
    let base = Base::sqlite();
    let store = base.open().await;
    let alias = base.file().with_file_name("alias.sqlite");
    std::os::unix::fs::symlink(base.file(), &alias).unwrap();
    for path in [base.file().to_owned(), alias] {
        let error = refused(&DatabaseConfig::Sqlite(path)).await;
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
        let me = format!("in use by process {};", std::process::id());
        assert!(error.to_string().contains(&me), "{error}");
    }
    store.close().await;
    drop(store);
    base.open().await;
}

#[tokio::test]
async fn an_acknowledged_commit_is_on_disk() {
    let base = Base::sqlite();
    let store = base.open().await;
    let mut tx = store.begin().await.unwrap();
    assert!(stats::is_durable(&mut tx).await.unwrap());
    drop(tx);
    let mut raw = raw_sqlite(&base).await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn an_undurable_server_is_seen_to_be_one() {
    let base = Base::postgres().await;
    for (setting, durable) in [("off", false), ("on", true)] {
        let mut raw = base.raw_postgres().await;
        let fsync: String = sqlx::query_scalar("SHOW fsync")
            .fetch_one(&mut raw)
            .await
            .unwrap();
        let set = format!(
            "ALTER ROLE CURRENT_USER IN DATABASE {} SET synchronous_commit = '{setting}'",
            name(&mut raw).await
        );
        raw.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
        let store = base.open().await;
        let mut conn = store.read().await.unwrap();
        let seen = stats::is_durable(&mut conn).await.unwrap();
        assert_eq!(seen, durable && fsync == "on");
    }
}

async fn name(raw: &mut sqlx::PgConnection) -> String {
    sqlx::query_scalar("SELECT CAST(current_database() AS TEXT)")
        .fetch_one(raw)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_new_file_is_for_its_owner_alone() {
    let base = Base::sqlite();
    let store = base.open().await;
    let mut tx = store.begin().await.unwrap();
    warnings::set(&mut tx, "a", "b", NOW).await.unwrap();
    tx.commit().await.unwrap();
    for ending in ["sqlite", "sqlite-wal"] {
        let path = base.file().with_extension(ending);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_as_it_was() {
    for (table, word) in [("goose_migrations", "Chainlink"), ("invoices", "invoices")] {
        let [file, server] = Base::both().await;
        let make = format!("CREATE TABLE {table} (id INTEGER)");
        let make = || sqlx::AssertSqlSafe(make.clone());
        std::fs::File::create(file.file()).unwrap();
        raw_sqlite(&file).await.execute(make()).await.unwrap();
        server.raw_postgres().await.execute(make()).await.unwrap();
        for base in [&file, &server] {
            let error = refused(&base.config).await.to_string();
            assert!(error.contains(word), "{error}");
            assert!(error.contains("nothing was written"), "{error}");
        }
        let names = "SELECT name FROM sqlite_master WHERE type = 'table'";
        let left: Vec<String> = sqlx::query_scalar(names)
            .fetch_all(&mut raw_sqlite(&file).await)
            .await
            .unwrap();
        assert_eq!(left, [table]);
        let names =
            "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema()";
        let left: Vec<String> = sqlx::query_scalar(names)
            .fetch_all(&mut server.raw_postgres().await)
            .await
            .unwrap();
        assert_eq!(left, [table]);
    }
}

#[tokio::test]
async fn a_file_that_another_program_has_locked_is_named_with_the_remedy() {
    let base = Base::sqlite();
    let store = base.open().await;
    let mut other = raw_sqlite(&base).await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    let error = store.begin().await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains(&base.file().display().to_string()),
        "{error}"
    );
    assert_eq!(error.matches("locked").count(), 1, "{error}");
    other.execute("ROLLBACK").await.unwrap();
    store.begin().await.unwrap();
}

/// As a later version would have left it.
const NEWER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    SELECT version + 40, 'later', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1
    UNION ALL SELECT version + 41, 'later still', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_with_both_numbers() {
    let [file, server] = Base::both().await;
    for base in [&file, &server] {
        let store = base.open().await;
        store.close().await;
    }
    raw_sqlite(&file).await.execute(NEWER).await.unwrap();
    server.raw_postgres().await.execute(NEWER).await.unwrap();
    for base in [file, server] {
        let error = refused(&base.config).await;
        let StoreError::Newer { found, known, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((*found, *known), (42, 3));
        let sentence = error.to_string();
        assert!(
            sentence.contains("schema 42, this version knows 3"),
            "{sentence}"
        );
    }
}

#[tokio::test]
async fn a_step_that_was_changed_after_it_ran_is_refused() {
    for base in Base::both().await {
        base.open().await.close().await;
        let tamper = "UPDATE _sqlx_migrations SET description = 'first', checksum = CAST('x' AS ";
        match &base.config {
            DatabaseConfig::Sqlite(_) => {
                let sql = sqlx::AssertSqlSafe(format!("{tamper}BLOB)"));
                raw_sqlite(&base).await.execute(sql).await.unwrap();
            }
            DatabaseConfig::Postgres { .. } => {
                let sql = sqlx::AssertSqlSafe(format!("{tamper}BYTEA)"));
                base.raw_postgres().await.execute(sql).await.unwrap();
            }
        }
        let error = refused(&base.config).await;
        assert!(matches!(error, StoreError::Migrate { .. }), "{error}");
    }
}

#[tokio::test]
async fn two_replicas_may_start_on_a_new_database_together() {
    let base = Base::postgres().await;
    let (one, two, three) = tokio::join!(base.open(), base.open(), base.open());
    for store in [one, two, three] {
        let mut conn = store.read().await.unwrap();
        assert!(warnings::list(&mut conn).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let base = Base::sqlite();
    let text = "this is somebody's diary, not a database. ".repeat(100);
    std::fs::write(base.file(), &text).unwrap();
    let error = refused(&base.config).await.to_string();
    assert!(error.contains("cannot open the database"), "{error}");
    assert!(error.contains("file is not a database"), "{error}");
    assert!(error.contains("move it away"), "{error}");
    assert_eq!(std::fs::read_to_string(base.file()).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let error = refused(&DatabaseConfig::Sqlite("/proc/none/dodona.sqlite".into())).await;
    assert!(error.to_string().contains("/proc/none"), "{error}");
}

#[tokio::test]
async fn a_server_that_nobody_runs_is_said_to_be_missing() {
    // Bound and closed again: nobody else was given this port just now.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = at(&format!("postgres://me:hunter2@127.0.0.1:{port}/dodona"));
    let error = refused(&config).await.to_string();
    let place = format!("PostgreSQL dodona at 127.0.0.1:{port}");
    assert!(error.contains(&place), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    assert!(error.contains("start the server"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_with_a_sentence_and_not_repeated() {
    let base = Base::postgres().await;
    let (_, place) = server(&base).split_once('@').unwrap();
    let config = at(&format!("postgres://dodona:hunter2@{place}"));
    let error = refused(&config).await.to_string();
    assert!(error.contains("password authentication failed"), "{error}");
    assert!(
        error.contains("correct the user and the password"),
        "{error}"
    );
    for shown in [error, format!("{config:?}"), config.describe()] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn a_missing_database_and_an_unreadable_url_are_named() {
    let base = Base::postgres().await;
    let (address, _) = server(&base).rsplit_once('/').unwrap();
    let error = refused(&at(&format!("{address}/nowhere")))
        .await
        .to_string();
    assert!(error.contains("\"nowhere\" does not exist"), "{error}");
    assert!(error.contains("create it"), "{error}");

    let error = refused(&at("postgres://me:hunter2@host:port/x"))
        .await
        .to_string();
    assert!(error.contains("the URL cannot be read"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_column_that_a_newer_version_added_does_not_stop_this_one() {
    let base = Base::postgres().await;
    let store = base.open().await;
    let insert = async |name: &str| {
        let mut tx = store.begin().await.unwrap();
        users::insert(&mut tx, name, "hash", "admin", NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    insert("a@b").await;
    let mut outside = store.read().await.unwrap();
    users::list(&mut outside).await.unwrap();
    let mut inside = store.begin().await.unwrap();
    users::list(&mut inside).await.unwrap();
    drop(inside);

    let add = "ALTER TABLE users ADD COLUMN added TEXT";
    base.raw_postgres().await.execute(add).await.unwrap();
    assert_eq!(users::list(&mut outside).await.unwrap().len(), 1);
    // Inside a transaction it fails at most once per connection: the next round gets on.
    for _ in 0..6 {
        let mut tx = store.begin().await.unwrap();
        let _ = users::list(&mut tx).await;
    }
    let mut tx = store.begin().await.unwrap();
    assert_eq!(users::list(&mut tx).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn connections_that_the_server_ended_are_replaced() {
    let base = Base::postgres().await;
    let store = base.open().await;
    for _ in 0..3 {
        let mut conn = store.read().await.unwrap();
        warnings::list(&mut conn).await.unwrap();
    }
    let mut raw = base.raw_postgres().await;
    raw.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await
    .unwrap();
    dodona_testkit::until("the store works again", async || {
        let mut conn = store.read().await.ok()?;
        warnings::list(&mut conn).await.ok()
    })
    .await;
}
