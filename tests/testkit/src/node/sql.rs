//! A node's database, touched by somebody else.

use std::path::Path;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, sqlite::SqliteConnectOptions};

use super::Engine;

pub(super) async fn run(engine: &Engine, file: &Path, text: &str) {
    let done = match engine {
        Engine::Sqlite => sqlite(file, text).await,
        Engine::Postgres(url) => postgres(url, text).await,
    };
    done.unwrap_or_else(|error| panic!("{text}: {error}"));
}

async fn sqlite(file: &Path, text: &str) -> sqlx::Result<()> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await?;
    sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(&mut connection)
        .await?;
    connection.close().await
}

async fn postgres(url: &str, text: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(&mut connection)
        .await?;
    connection.close().await
}
