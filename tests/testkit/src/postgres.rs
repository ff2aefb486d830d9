//! A database of one's own on a real PostgreSQL.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::workspace;

/// Names a server to use instead of starting one: a URL of a user who may create databases.
pub const URL: &str = "DODONA_TEST_POSTGRES_URL";

/// An empty database; dropped (best effort) with this value.
#[derive(Debug)]
pub struct FreshDatabase {
    pub url: String,
    name: String,
}

/// Creates an empty database on the server of [`URL`], or on one that is started once per test process.
///
/// # Panics
/// With a sentence, when there is no PostgreSQL or it refuses.
pub async fn fresh() -> FreshDatabase {
    let name = format!("dodona_test_{}", Uuid::new_v4().simple());
    run(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap_or_else(|error| panic!("cannot create a database on the server of {URL}: {error}"));
    FreshDatabase {
        url: with_database(server(), &name),
        name,
    }
}

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A thread and a runtime of its own: the test's runtime may be ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .ok()?;
            runtime.block_on(run(&sql)).ok()
        });
        let _ = dropped.join();
    }
}

async fn run(sql: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(server()).await?;
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await?;
    connection.close().await
}

fn server() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    &SERVER.get_or_init(Server::given_or_started).url
}

struct Server {
    url: String,
    /// Held so that its standard input stays open: the server goes away when that closes.
    _process: Option<Child>,
}

impl Server {
    fn given_or_started() -> Self {
        match env::var(URL) {
            Ok(url) if !url.is_empty() => Self {
                url,
                _process: None,
            },
            _ => Self::start(),
        }
    }

    fn start() -> Self {
        let script = workspace::root().join("script/throwaway-postgres");
        let mut process = Command::new(&script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
        let mut url = String::new();
        let stdout = process.stdout.take().expect("it was piped just above");
        let read = BufReader::new(stdout).read_line(&mut url);
        assert!(
            read.is_ok() && url.starts_with("postgres://"),
            "this test needs PostgreSQL and none could be started (the reason is on standard error); \
             run script/setup, or name a server in {URL}"
        );
        Self {
            url: url.trim_end().to_owned(),
            _process: Some(process),
        }
    }
}

/// The same server, another database.
fn with_database(server: &str, name: &str) -> String {
    let (address, query) = match server.split_once('?') {
        Some((address, query)) => (address, format!("?{query}")),
        None => (server, String::new()),
    };
    // After the scheme's two slashes the next one starts the database's name.
    let authority = address.find("://").map_or(0, |at| at + 3);
    let end = address[authority..]
        .find('/')
        .map_or(address.len(), |at| authority + at);
    format!("{}/{name}{query}", &address[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        for (given, expected) in [
            ("postgres://a:b@h:1/postgres", "postgres://a:b@h:1/new"),
            ("postgres://a:b@h:1", "postgres://a:b@h:1/new"),
            (
                "postgres://a@h/x?sslmode=disable&host=/run/pg",
                "postgres://a@h/new?sslmode=disable&host=/run/pg",
            ),
        ] {
            assert_eq!(with_database(given, "new"), expected);
        }
    }

    #[tokio::test]
    async fn two_fresh_databases_are_strangers_and_go_away_when_dropped() {
        let (one, other) = (fresh().await, fresh().await);
        let mut in_one = PgConnection::connect(&one.url).await.unwrap();
        sqlx::raw_sql("CREATE TABLE here (n BIGINT)")
            .execute(&mut in_one)
            .await
            .unwrap();
        let mut in_other = PgConnection::connect(&other.url).await.unwrap();
        assert!(
            sqlx::raw_sql("SELECT n FROM here")
                .execute(&mut in_other)
                .await
                .is_err()
        );

        let url = one.url.clone();
        drop(one); // although a connection is open
        let refused = PgConnection::connect(&url).await.unwrap_err().to_string();
        assert!(refused.contains("does not exist"), "{refused}");
    }
}
