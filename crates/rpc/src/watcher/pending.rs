//! Transactions that wait, asked for while somebody wants to know of them.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use crate::endpoints::Shared;
use crate::node::Node;
use crate::ws::{Connection, WsEndpoint};

/// Asked for so often where no subscription brings them.
const PENDING_POLL: Duration = Duration::from_secs(1);
/// After an endpoint refused to tell of them.
const PENDING_PAUSE: Duration = Duration::from_secs(60);

/// Subscribes to waiting transactions while somebody wants to know of them.
pub(super) async fn subscribe_pending(
    pool: &Shared,
    node: &Node,
    ws: &WsEndpoint,
    connection: &Connection,
) -> Infallible {
    loop {
        pool.pending.wanted(true).await;
        let subscribed = node
            .ask_on::<serde_json::Value>(
                ws,
                connection,
                "eth_subscribe",
                ["newPendingTransactions"],
            )
            .await;
        let Ok(subscription) = subscribed else {
            sleep(PENDING_PAUSE).await;
            continue;
        };
        pool.pending.wanted(false).await;
        // If it does not understand, it goes on telling, and nobody listens.
        let _ = node
            .ask_on::<serde_json::Value>(ws, connection, "eth_unsubscribe", [subscription])
            .await;
    }
}

/// Asks an endpoint without a subscription for waiting transactions, by a filter of its own.
pub(super) async fn poll_pending(pool: &Shared, node: &Node) {
    loop {
        pool.pending.wanted(true).await;
        let filter = match node.state().is_readable() {
            true => {
                node.ask::<serde_json::Value>("eth_newPendingTransactionFilter", [(); 0])
                    .await
            }
            false => {
                sleep(PENDING_POLL).await;
                continue;
            }
        };
        let Ok(filter) = filter else {
            sleep(PENDING_PAUSE).await;
            continue;
        };
        loop {
            tokio::select! {
                () = sleep(PENDING_POLL) => {}
                () = pool.pending.wanted(false) => break,
            }
            let changes = node
                .ask::<Vec<serde_json::Value>>("eth_getFilterChanges", [&filter])
                .await;
            // Lost, as filters are when their owner restarts: make a new one.
            let Ok(changes) = changes else { break };
            for hash in changes {
                if let Ok(hash) = serde_json::from_value(hash) {
                    pool.pending.saw(hash);
                }
            }
        }
        let _ = node
            .ask::<serde_json::Value>("eth_uninstallFilter", [&filter])
            .await;
    }
}
