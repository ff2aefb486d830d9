//! Every statement, on both engines, with the same rows.

mod chain;
mod flux;
mod jobs_and_runs;
mod people;
mod txs;

use std::collections::BTreeSet;
use std::fmt::Debug;

use dodona_store::{Conn, Engine, Leader, LeaderTx, Store, Tx, statements, stats};

use crate::world::{Base, lead};

/// What one engine answered, line by line.
struct Transcript {
    store: Store,
    leader: Leader,
    lines: Vec<String>,
}

impl Transcript {
    async fn of(base: &Base) -> (Vec<String>, BTreeSet<&'static str>) {
        let store = Store::open_recording(&base.config).await.unwrap();
        let leader = lead(&store).await.unwrap();
        let mut this = Self {
            store: store.clone(),
            leader,
            lines: Vec::new(),
        };
        this.say("lead", this.leader.epoch());
        chain::play(&mut this).await;
        jobs_and_runs::play(&mut this).await;
        txs::play(&mut this).await;
        flux::play(&mut this).await;
        people::play(&mut this).await;
        chain::several_requests_at_once(&mut this).await;
        this.about_the_database().await;
        this.leader.renew().await.unwrap();
        this.leader.release().await.unwrap();
        (this.lines, store.executed())
    }

    fn say(&mut self, what: &str, value: impl Debug) {
        self.lines.push(format!("{what}: {value:?}"));
    }

    fn say_each<T: Debug>(&mut self, what: &str, values: Vec<T>) {
        self.say(what, values.len());
        for (n, value) in values.into_iter().enumerate() {
            self.lines.push(format!("{what} {n}: {value:?}"));
        }
    }

    async fn read(&self) -> Conn {
        self.store.read().await.unwrap()
    }

    async fn begin(&self) -> Tx {
        let mut tx = self.store.begin().await.unwrap();
        tx.poke_on_commit("anybody");
        tx
    }

    async fn lead(&self) -> LeaderTx {
        self.leader.begin().await.unwrap()
    }

    async fn about_the_database(&mut self) {
        let mut conn = self.read().await;
        let bytes = stats::bytes(&mut conn).await.unwrap();
        // Differs on purpose: the test server flushes nothing to disk.
        stats::is_durable(&mut conn).await.unwrap();
        let rows = stats::rows(&mut conn).await.unwrap();
        let columns = stats::columns(&mut conn).await.unwrap();
        drop(conn);
        self.say("some bytes", bytes > 10_000);
        self.say("rows", rows);
        self.say_each("column", columns);
    }
}

fn names(engine: Engine) -> BTreeSet<&'static str> {
    statements()
        .into_iter()
        .filter(|statement| statement.text(engine).is_some())
        .map(|statement| statement.name)
        .collect()
}

fn differing(sqlite: &[String], postgres: &[String]) -> String {
    let mut out = String::new();
    for n in 0..sqlite.len().max(postgres.len()) {
        let (one, other) = (sqlite.get(n), postgres.get(n));
        if one != other {
            out.push_str(&format!("\nSQLite:     {one:?}\nPostgreSQL: {other:?}\n"));
        }
    }
    out
}

#[tokio::test]
async fn both_engines_give_the_same_rows_for_every_statement() {
    let [file, server] = Base::both().await;
    let (sqlite, said_to_sqlite) = Transcript::of(&file).await;
    let (postgres, said_to_postgres) = Transcript::of(&server).await;

    let differing = differing(&sqlite, &postgres);
    assert!(sqlite.len() > 400, "{} lines", sqlite.len());
    assert!(differing.is_empty(), "the engines disagree:{differing}");
    for (engine, said) in [
        (Engine::Sqlite, said_to_sqlite),
        (Engine::Postgres, said_to_postgres),
    ] {
        let all = names(engine);
        let left_out: Vec<_> = all.difference(&said).collect();
        assert!(left_out.is_empty(), "add to the scenario: {left_out:?}");
        assert_eq!(said, all);
    }
}

#[test]
fn a_statement_has_a_name_of_its_own_and_only_a_poke_is_for_postgresql_alone() {
    let all = statements();
    let distinct: BTreeSet<_> = all.iter().map(|statement| statement.name).collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(names(Engine::Postgres), distinct);
    let alone: Vec<_> = distinct
        .difference(&names(Engine::Sqlite))
        .copied()
        .collect();
    assert_eq!(alone, ["notify.send"]);
}

#[tokio::test]
async fn both_engines_have_the_same_tables_and_columns() {
    let [file, server] = Base::both().await;
    let mut columns = Vec::new();
    for base in [&file, &server] {
        let store = base.open().await;
        let mut conn = store.read().await.unwrap();
        columns.push(stats::columns(&mut conn).await.unwrap());
    }
    assert_eq!(columns[0], columns[1]);
    assert!(columns[0].contains(&("requests".to_owned(), "payment_juels".to_owned())));
    assert!(columns[0].len() > 150, "{} columns", columns[0].len());
}
