//! The WebSocket of an endpoint: kept connected, verified and subscribed to heads.

use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use super::Pause;
use super::pending::subscribe_pending;
use crate::endpoints::Shared;
use crate::error::RpcError;
use crate::head::Head;
use crate::node::Node;
use crate::quantity::Small;
use crate::status::NodeState;
use crate::ws::{Connection, Link, WsEndpoint};

/// How long until the beginnings of both addresses are compared again when one was not told.
const COMPARE_AGAIN: Duration = Duration::from_secs(10);

/// Keeps one verified, subscribed connection to the endpoint.
pub(super) async fn keep_connected(pool: &Shared, node: &Node, ws: &WsEndpoint) {
    let mut pause = Pause::default();
    let mut told = Told::default();
    loop {
        let cause = match connected(pool, node, ws, &mut pause, &mut told).await {
            Err(error) => {
                // Beside an HTTP URL of our chain, only the socket is not used.
                if node.http.is_none() && matches!(error, RpcError::WrongChain { .. }) {
                    node.turn(NodeState::InvalidChainId, Some(error.to_string()));
                }
                if node.http.is_none() && matches!(error, RpcError::RateLimited { .. }) {
                    node.lost(&error);
                }
                let cause = error.cause();
                node.meters.subscription_lost(&cause, told.is_news(&cause));
                cause
            }
            Ok(cause) => {
                let is_news = told.is_news_that_it_ended(&cause);
                node.meters.subscription_lost(&cause, is_news);
                cause
            }
        };
        ws.set(Link::Down(Some(cause)));
        pause.wait(&pool.dice).await;
        sleep(node.wants_to_be_left()).await;
    }
}

/// One connection from its beginning to its end; says why it ended.
async fn connected(
    pool: &Shared,
    node: &Node,
    ws: &WsEndpoint,
    pause: &mut Pause,
    told: &mut Told,
) -> Result<String, RpcError> {
    let dialed = ws.connect().await;
    node.meters.dialed(dialed.is_ok());
    let (connection, driver) = dialed?;
    let mut driving = pin!(driver.run(|content| {
        // A head is an object, a waiting transaction a text.
        if content.starts_with('"') {
            if let Ok(hash) = serde_json::from_str(content) {
                pool.pending.saw(hash);
            }
            return;
        }
        match serde_json::from_str::<Head>(content) {
            Ok(head) => {
                ws.notified(head.number);
                pool.head_seen(node, &head);
            }
            Err(cause) => {
                let cause = node.mask.hide_in(cause.to_string());
                node.meters.unreadable_head(&cause);
            }
        }
    }));
    let prepare = async {
        let Small(chain_id) = node.ask_on(ws, &connection, "eth_chainId", [(); 0]).await?;
        node.same_chain(chain_id)?;
        let compared = node.compare_socket(ws, &connection).await?;
        if !pool.config.new_heads_poll_interval.is_zero() {
            return Ok((compared, false));
        }
        let subscribed = node
            .ask_on::<serde_json::Value>(ws, &connection, "eth_subscribe", ["newHeads"])
            .await;
        if let (Err(error @ RpcError::Refused { .. }), None) = (&subscribed, &node.http) {
            // Still good for calls, and for polling heads.
            let cause = error.cause();
            node.meters.subscription_lost(&cause, told.is_news(&cause));
            return Ok((compared, false));
        }
        subscribed?;
        // Asked after subscribing, so that no block can fall between the two.
        let head = super::newest(node, ws, &connection).await?;
        ws.notified(head.number);
        pool.head_seen(node, &head);
        Ok::<(bool, bool), RpcError>((compared, true))
    };
    let (compared, subscribed) = tokio::select! {
        cause = &mut driving => return Err(ws.unreachable(cause)),
        prepared = prepare => prepared?,
    };
    *pause = Pause::default();
    if subscribed {
        *told = Told::default();
    }
    ws.set(Link::Up {
        connection: connection.clone(),
        subscribed,
    });
    tokio::select! {
        cause = driving => Ok(cause),
        cause = ws.found_silent() => Ok(cause),
        stranger = found_strange(node, ws, &connection, compared) => Err(stranger),
        never = subscribe_pending(pool, node, ws, &connection) => match never {},
    }
}

/// Waits until the socket is found to be of another chain than the HTTP address beside it.
async fn found_strange(
    node: &Node,
    ws: &WsEndpoint,
    connection: &Connection,
    mut compared: bool,
) -> RpcError {
    while !compared {
        sleep(COMPARE_AGAIN).await;
        match node.compare_socket(ws, connection).await {
            Ok(done) => compared = done,
            Err(stranger) => return stranger,
        }
    }
    std::future::pending().await
}

/// Why there is no subscription, as it was told last: an endpoint that never has one is news once.
#[derive(Default)]
struct Told(Option<String>);

impl Told {
    /// Whether somebody should read that a subscription could not be made for this cause.
    fn is_news(&mut self, cause: &str) -> bool {
        let is_news = self.0.as_deref() != Some(cause);
        self.0 = Some(cause.to_owned());
        is_news
    }

    /// The same of a connection that ended. If it brought no heads, that was told when it began.
    fn is_news_that_it_ended(&mut self, cause: &str) -> bool {
        self.0.is_none() && self.is_news(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_never_has_a_subscription_is_news_once_and_one_that_loses_it_each_time() {
        let mut told = Told::default();
        assert!(told.is_news("HTTP 404"));
        assert!(!told.is_news("HTTP 404"));
        assert!(told.is_news("Connection refused"));
        // It connects, and refuses to subscribe us: its end says nothing new.
        assert!(told.is_news("error -32601"));
        assert!(!told.is_news_that_it_ended("the endpoint closed the connection"));
        assert!(!told.is_news("error -32601"));
        for _ in 0..2 {
            let mut told = Told::default();
            assert!(told.is_news_that_it_ended("the endpoint closed the connection"));
        }
    }
}
