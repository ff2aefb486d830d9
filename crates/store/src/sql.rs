//! Statements, their arguments and their rows, the same for both engines.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use alloy::primitives::{Address, B256, U256};
use dodona_model::Timestamp;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use uuid::Uuid;

use crate::engine::{Conn, Engine, Raw};
use crate::{Result, StoreError};

/// One SQL statement by name, as one would type it into the engine's own shell.
#[derive(Debug)]
pub struct Statement {
    /// What error messages and tests call it: `table.verb`.
    pub name: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

impl Statement {
    /// The same text on both engines.
    pub(crate) const fn one(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            sqlite: text,
            postgres: text,
        }
    }

    /// Where the engines must be told differently; an empty text is never said.
    pub(crate) const fn two(
        name: &'static str,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> Self {
        Self {
            name,
            sqlite,
            postgres,
        }
    }

    /// What `engine` is told; `None` where it never is.
    pub fn text(&self, engine: Engine) -> Option<&'static str> {
        let text = match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        };
        (!text.is_empty()).then_some(text)
    }
}

/// Declares a module's statements and the list `ALL` of them.
///
/// `NAME = "table.verb" => "text"` where both engines are told the same, `NAME = "table.verb" =>
/// "SQLite's text", "PostgreSQL's text"` where they are not.
macro_rules! declare {
    ($($(#[$doc:meta])* $ident:ident = $name:literal => $first:literal $(, $second:literal)? ;)*) => {
        $($(#[$doc])* static $ident: $crate::sql::Statement = declare!(@ $name, $first $(, $second)?);)*
        pub(crate) static ALL: &[&$crate::sql::Statement] = &[$(&$ident),*];
    };
    (@ $name:literal, $one:literal) => { $crate::sql::Statement::one($name, $one) };
    (@ $name:literal, $sqlite:literal, $postgres:literal) => {
        $crate::sql::Statement::two($name, $sqlite, $postgres)
    };
}
pub(crate) use declare;

/// Every statement of this crate: a test runs each on both engines.
pub fn statements() -> Vec<&'static Statement> {
    [
        crate::lease::ALL,
        crate::heads::ALL,
        crate::logs::ALL,
        crate::jobs::ALL,
        crate::requests::ALL,
        crate::flux::ALL,
        crate::runs::ALL,
        crate::txs::ALL,
        crate::txs::ATTEMPTS,
        crate::txs::MINED,
        crate::keys::ALL,
        crate::users::ALL,
        crate::bridges::ALL,
        crate::bridge_answers::ALL,
        crate::schedules::ALL,
        crate::initiators::ALL,
        crate::notices::ALL,
        crate::stats::ALL,
        crate::warnings::ALL,
        crate::notify::ALL,
    ]
    .concat()
}

/// Which statements a store has run; only a recording store (tests) keeps it.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<BTreeSet<&'static str>>);

impl Recorder {
    pub(crate) fn note(&self, name: &'static str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name);
    }

    pub(crate) fn names(&self) -> BTreeSet<&'static str> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// PostgreSQL's text has no NUL, and data sources, endpoints and strangers at the log-in page have:
/// both engines keep the replacement character instead.
pub(crate) fn clean(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// The numbers in a column, smallest first: engines return changed rows in any order.
pub(crate) fn ascending(rows: &[Row], column: &'static str) -> Result<Vec<i64>> {
    let numbers: Result<Vec<i64>> = rows.iter().map(|row| row.get(column)).collect();
    let mut numbers = numbers?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// One bound value. The type is always said, so that a NULL is typed too.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

macro_rules! arg_from {
    ($($type:ty => |$value:ident| $arg:expr;)*) => {$(
        impl From<$type> for Arg {
            fn from($value: $type) -> Self {
                $arg
            }
        }
    )*};
}

/// Saturating: a number beyond 2^63 (a block height, a gas limit) does not occur in rows we write.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

arg_from! {
    i64 => |value| Arg::Int(Some(value));
    i32 => |value| Arg::Int(Some(i64::from(value)));
    u32 => |value| Arg::Int(Some(i64::from(value)));
    u64 => |value| Arg::Int(Some(int(value)));
    bool => |value| Arg::Int(Some(i64::from(value)));
    Timestamp => |value| Arg::Int(Some(value.0));
    Option<i64> => |value| Arg::Int(value);
    Option<u32> => |value| Arg::Int(value.map(i64::from));
    Option<u64> => |value| Arg::Int(value.map(int));
    Option<bool> => |value| Arg::Int(value.map(i64::from));
    Option<Timestamp> => |value| Arg::Int(value.map(|v| v.0));
    &str => |value| Arg::Text(Some(clean(value.to_owned())));
    String => |value| Arg::Text(Some(clean(value)));
    &String => |value| Arg::Text(Some(clean(value.clone())));
    Option<String> => |value| Arg::Text(value.map(clean));
    Option<&str> => |value| Arg::Text(value.map(|v| clean(v.to_owned())));
    Uuid => |value| Arg::Text(Some(value.to_string()));
    Option<Uuid> => |value| Arg::Text(value.map(|v| v.to_string()));
    Vec<u8> => |value| Arg::Blob(Some(value));
    &[u8] => |value| Arg::Blob(Some(value.to_vec()));
    Option<Vec<u8>> => |value| Arg::Blob(value);
    Address => |value| Arg::Blob(Some(value.to_vec()));
    B256 => |value| Arg::Blob(Some(value.to_vec()));
    U256 => |value| Arg::Blob(Some(value.to_be_bytes_vec()));
    Option<Address> => |value| Arg::Blob(value.map(|v| v.to_vec()));
    Option<B256> => |value| Arg::Blob(value.map(|v| v.to_vec()));
    Option<U256> => |value| Arg::Blob(value.map(|v| v.to_be_bytes_vec()));
}

/// `args![a, b, c]`: the bind list of a statement.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Arg::from($value)),*] };
}
pub(crate) use args;

/// One row of either engine.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    fn raw<T>(&self, column: &'static str) -> Result<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(|cause| StoreError::Unreadable {
            what: column,
            text: cause.to_string(),
        })
    }

    /// The value of `column`, as the type the caller names.
    pub(crate) fn get<T: Column>(&self, column: &'static str) -> Result<T> {
        T::read(self, column)
    }
}

/// A Rust type that a column can be read as.
pub(crate) trait Column: Sized {
    fn read(row: &Row, column: &'static str) -> Result<Self>;
}

fn unreadable(column: &'static str, text: impl std::fmt::Debug) -> StoreError {
    StoreError::Unreadable {
        what: column,
        text: format!("{text:?}"),
    }
}

macro_rules! column {
    ($($type:ty, $raw:ty => |$value:ident| $read:expr;)*) => {$(
        impl Column for $type {
            fn read(row: &Row, column: &'static str) -> Result<Self> {
                let $value: $raw = row.raw(column)?;
                let read: Option<Self> = $read;
                read.ok_or_else(|| unreadable(column, "a value of another kind"))
            }
        }
        impl Column for Option<$type> {
            fn read(row: &Row, column: &'static str) -> Result<Self> {
                let raw: Option<$raw> = row.raw(column)?;
                match raw {
                    None => Ok(None),
                    Some($value) => {
                        let read: Option<$type> = $read;
                        read.map(Some).ok_or_else(|| unreadable(column, "a value of another kind"))
                    }
                }
            }
        }
    )*};
}

column! {
    i64, i64 => |value| Some(value);
    u64, i64 => |value| u64::try_from(value).ok();
    u32, i64 => |value| u32::try_from(value).ok();
    bool, i64 => |value| Some(value != 0);
    Timestamp, i64 => |value| Some(Timestamp(value));
    String, String => |value| Some(value);
    Uuid, String => |value| Uuid::parse_str(&value).ok();
    Vec<u8>, Vec<u8> => |value| Some(value);
    Address, Vec<u8> => |value| (value.len() == 20).then(|| Address::from_slice(&value));
    B256, Vec<u8> => |value| (value.len() == 32).then(|| B256::from_slice(&value));
    U256, Vec<u8> => |value| U256::try_from_be_slice(&value);
    dodona_model::tx::State, String => |value| value.parse().ok();
    dodona_model::run::State, String => |value| value.parse().ok();
    dodona_model::request::State, String => |value| value.parse().ok();
}

type Bound<T> = std::result::Result<T, sqlx::Error>;

fn bind_sqlite(args: &[Arg]) -> Bound<SqliteArguments> {
    use sqlx::Arguments as _;
    let mut bound = SqliteArguments::default();
    for arg in args {
        match arg {
            Arg::Int(value) => bound.add(*value),
            Arg::Text(value) => bound.add(value.clone()),
            Arg::Blob(value) => bound.add(value.clone()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(bound)
}

fn bind_postgres(args: &[Arg]) -> Bound<PgArguments> {
    use sqlx::Arguments as _;
    let mut bound = PgArguments::default();
    for arg in args {
        match arg {
            Arg::Int(value) => bound.add(*value),
            Arg::Text(value) => bound.add(value.as_deref()),
            Arg::Blob(value) => bound.add(value.as_deref()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(bound)
}

/// A newer version of this program added a column while we were connected: what this connection
/// prepared before no longer fits.
fn is_stale_plan(cause: &sqlx::Error) -> bool {
    matches!(cause, sqlx::Error::Database(error) if error.code().as_deref() == Some("0A000"))
}

impl Conn {
    async fn fetch(&mut self, statement: &'static Statement, args: &[Arg]) -> Bound<Vec<Row>> {
        Ok(match self.engine_mut() {
            Raw::Sqlite(conn) => {
                sqlx::query_with(AssertSqlSafe(statement.sqlite), bind_sqlite(args)?)
                    .fetch_all(conn)
                    .await?
                    .into_iter()
                    .map(Row::Sqlite)
                    .collect()
            }
            Raw::Postgres(conn) => {
                sqlx::query_with(AssertSqlSafe(statement.postgres), bind_postgres(args)?)
                    .fetch_all(conn)
                    .await?
                    .into_iter()
                    .map(Row::Postgres)
                    .collect()
            }
        })
    }

    async fn execute(&mut self, statement: &'static Statement, args: &[Arg]) -> Bound<u64> {
        Ok(match self.engine_mut() {
            Raw::Sqlite(conn) => {
                sqlx::query_with(AssertSqlSafe(statement.sqlite), bind_sqlite(args)?)
                    .execute(conn)
                    .await?
                    .rows_affected()
            }
            Raw::Postgres(conn) => {
                sqlx::query_with(AssertSqlSafe(statement.postgres), bind_postgres(args)?)
                    .execute(conn)
                    .await?
                    .rows_affected()
            }
        })
    }

    /// Forgets plans that no longer fit. `true`: the statement can be said again here and now; inside
    /// a transaction only the next one can.
    async fn refreshed(&mut self, cause: &sqlx::Error) -> bool {
        if !is_stale_plan(cause) {
            return false;
        }
        let Raw::Postgres(conn) = self.engine_mut() else {
            return false;
        };
        let cleared = conn.clear_cached_statements().await.is_ok();
        cleared && self.is_outside_transaction()
    }

    fn failed(&mut self, statement: &'static Statement, cause: sqlx::Error) -> StoreError {
        self.spoil();
        StoreError::Statement {
            statement: statement.name,
            cause,
        }
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn rows(
        &mut self,
        statement: &'static Statement,
        args: Vec<Arg>,
    ) -> Result<Vec<Row>> {
        self.note(statement.name);
        let mut done = self.fetch(statement, &args).await;
        if let Err(cause) = &done
            && self.refreshed(cause).await
        {
            done = self.fetch(statement, &args).await;
        }
        done.map_err(|cause| self.failed(statement, cause))
    }

    /// Runs a statement that returns at most one row.
    pub(crate) async fn row(
        &mut self,
        statement: &'static Statement,
        args: Vec<Arg>,
    ) -> Result<Option<Row>> {
        Ok(self.rows(statement, args).await?.into_iter().next())
    }

    /// Runs a statement that must return a row (`RETURNING`, an aggregate).
    pub(crate) async fn one(
        &mut self,
        statement: &'static Statement,
        args: Vec<Arg>,
    ) -> Result<Row> {
        self.row(statement, args)
            .await?
            .ok_or_else(|| self.failed(statement, sqlx::Error::RowNotFound))
    }

    /// Runs a statement and returns how many rows it changed.
    pub(crate) async fn run(
        &mut self,
        statement: &'static Statement,
        args: Vec<Arg>,
    ) -> Result<u64> {
        self.note(statement.name);
        let mut done = self.execute(statement, &args).await;
        if let Err(cause) = &done
            && self.refreshed(cause).await
        {
            done = self.execute(statement, &args).await;
        }
        done.map_err(|cause| self.failed(statement, cause))
    }
}
