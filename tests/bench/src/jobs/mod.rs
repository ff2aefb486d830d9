//! The job language and the machinery around it, without a chain: how many runs a second, what a job and a waiting
//! run cost, and whether many jobs make any of it dearer.

mod dispatch;
mod loopback;
mod many;
mod memory;
mod stored;
mod typical;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use dodona_runtime::Poke;
use dodona_store::{DatabaseConfig, Store};
use dodona_testkit::postgres::{self, FreshDatabase};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::figure::Figure;
use crate::{Length, machine, say};

/// Jobs that count as many.
const MANY: u32 = 10_000;
/// Jobs that count as few.
const FEW: u32 = 10;

/// In memory, or on one of the two engines.
pub(crate) async fn measure(variant: &str, length: &Length) -> Result<Vec<Figure>> {
    match variant {
        "memory" => memory::measure(length).await,
        "sqlite" | "postgres" => {
            say("runs with everything stored");
            let mut figures = stored::measure(variant, length).await?;
            say("logs of few and of many jobs");
            figures.extend(dispatch::measure(variant, length).await?);
            say("a whole node with many jobs");
            figures.extend(many::measure(variant, length).await?);
            Ok(figures)
        }
        other => bail!("there is no variant {other}: memory, sqlite or postgres"),
    }
}

fn load(engine: &str, offered: &str, window: std::time::Duration) -> Value {
    json!({
        "engine": engine,
        "offered": offered,
        "window_seconds": window.as_secs_f64(),
        "load_average": machine::load_average().unwrap_or(-1.0),
    })
}

/// An empty database that goes away with this value.
struct Base {
    config: DatabaseConfig,
    url: Option<String>,
    folder: Option<TempDir>,
    _server: Option<FreshDatabase>,
}

impl Base {
    async fn on(engine: &str) -> Result<Self> {
        if engine == "postgres" {
            let server = postgres::fresh().await;
            return Ok(Self {
                config: DatabaseConfig::Postgres {
                    url: server.url.clone(),
                    max_connections: 10,
                },
                url: Some(server.url.clone()),
                folder: None,
                _server: Some(server),
            });
        }
        let folder = tempfile::tempdir()?;
        Ok(Self {
            config: DatabaseConfig::Sqlite(folder.path().join("dodona.sqlite")),
            url: None,
            folder: Some(folder),
            _server: None,
        })
    }

    async fn open(&self, runs: &Poke) -> Result<Store> {
        let pokes = BTreeMap::from([("runs", runs.clone())]);
        Ok(Store::open(&self.config, pokes).await?)
    }

    async fn rows(&self) -> Result<crate::rows::Rows> {
        match (&self.url, &self.folder) {
            (Some(url), _) => crate::rows::Rows::of_server(url).await,
            (None, Some(folder)) => {
                crate::rows::Rows::of_file(&folder.path().join("dodona.sqlite")).await
            }
            (None, None) => bail!("a database is a file or on a server"),
        }
    }
}
