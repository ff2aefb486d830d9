//! A whole node that finds many jobs in its database.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dodona_store::{DatabaseConfig, Store};
use dodona_testkit::anvil::{self, Anvil};
use dodona_testkit::node::{Engine, Node, Options};
use dodona_testkit::postgres;

use super::{MANY, dispatch, load};
use crate::figure::{Figure, percentile};
use crate::{Length, process};

pub(super) async fn measure(engine: &str, length: &Length) -> Result<Vec<Figure>> {
    let database = match engine {
        "postgres" => Some(postgres::fresh().await),
        _ => None,
    };
    let chain = Anvil::start(anvil::Options::default()).await;
    let options = Options::on(&chain).with_config("[Log]\nLevel = 'info'");
    let options = match &database {
        Some(database) => options.with_engine(Engine::Postgres(database.url.clone())),
        None => options,
    };
    let mut node = Node::start(&options).await;
    tokio::time::sleep(length.idle).await;
    let without = process::rss_mib(node.pid())?;
    ensure!(node.stop().await.success(), "the node did not stop cleanly");

    let config = match &database {
        Some(database) => DatabaseConfig::Postgres {
            url: database.url.clone(),
            max_connections: 2,
        },
        None => DatabaseConfig::Sqlite(node.database_file()),
    };
    let store = Store::open(&config, BTreeMap::new()).await?;
    dispatch::insert(&store, MANY).await?;
    drop(store);

    let (mut starts, mut with) = (Vec::new(), 0.0_f64);
    for n in 0..length.starts {
        let began = Instant::now();
        node.start_again().await;
        starts.push(began.elapsed().as_secs_f64() * 1e3);
        if n == 0 {
            tokio::time::sleep(length.idle).await;
            with = process::rss_mib(node.pid())?;
        }
        ensure!(node.stop().await.success(), "the node did not stop cleanly");
    }
    let load = load(engine, &format!("{MANY} jobs, no requests"), Duration::ZERO);
    Ok(vec![
        Figure::new(
            "start_to_ready_with_10000_jobs_ms",
            percentile(&mut starts, 0.5),
            "ms",
            &load,
        )
        .below(2_000.0),
        Figure::new("rss_with_10000_jobs_mib", with, "MiB", &load).below(100.0),
        Figure::new("rss_without_jobs_mib", without, "MiB", &load),
    ])
}
