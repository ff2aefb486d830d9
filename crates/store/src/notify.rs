//! Pokes between replicas: PostgreSQL's `NOTIFY`, one per commit, carrying only channel names.

use std::collections::BTreeSet;

use sqlx::postgres::PgListener;

use crate::engine::{Conn, Pools};
use crate::sql::{args, declare};
use crate::{Result, Store, StoreError};

/// PostgreSQL's channel that all pokes of a database share.
const CHANNEL: &str = "dodona";

declare! {
    // Replicas exist on PostgreSQL only.
    SEND = "notify.send" => "", "SELECT CAST(pg_notify('dodona', $1) AS TEXT) AS sent";
}

pub(crate) async fn send(conn: &mut Conn, channels: &BTreeSet<&'static str>) -> Result<()> {
    let payload = channels.iter().copied().collect::<Vec<_>>().join(",");
    conn.rows(&SEND, args![payload]).await?;
    Ok(())
}

/// Turns other replicas' commits into pokes of this process; returns only with an error. On SQLite
/// there are no others, so it waits for ever.
pub async fn listen(store: &Store) -> Result<()> {
    let Pools::Postgres(pool) = &store.0.pools else {
        return std::future::pending().await;
    };
    let failed = |cause| StoreError::Transaction {
        what: "listen for pokes",
        cause,
    };
    let mut listener = PgListener::connect_with(pool).await.map_err(failed)?;
    listener.listen(CHANNEL).await.map_err(failed)?;
    // What was committed before we listened, or while the connection was lost, was told to nobody here.
    store.poke_all();
    loop {
        match listener.try_recv().await.map_err(failed)? {
            Some(note) => note
                .payload()
                .split(',')
                .for_each(|channel| store.poke(channel)),
            None => store.poke_all(),
        }
    }
}
