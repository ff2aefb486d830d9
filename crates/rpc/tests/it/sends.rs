//! Sending signed transactions, and what several endpoints' answers mean together.

use std::time::{Duration, Instant};

use alloy::primitives::{B256, Bytes};
use dodona_rpc::{NodeConfig, Pool, SendOutcome, SendReport};
use dodona_testkit::until;
use serde_json::json;

use crate::scripted::Scripted;
use crate::{nodes_of, pool, pool_of};

const METHOD: &str = "eth_sendRawTransaction";

fn raw() -> Bytes {
    Bytes::from_static(&[0x02, 0xf8, 0x01])
}

fn of<'a>(report: &'a SendReport, node: &str) -> &'a SendOutcome {
    &report
        .per_node
        .iter()
        .find(|(name, _)| &**name == node)
        .unwrap()
        .1
}

async fn taking() -> Scripted {
    let server = Scripted::start().await;
    server.answers(METHOD, json!(B256::ZERO));
    server
}

async fn refusing(message: &str) -> Scripted {
    let server = Scripted::start().await;
    server.refuses(METHOD, -32000, message);
    server
}

#[tokio::test]
async fn a_transaction_reaches_every_primary_and_every_send_only_endpoint() {
    let (one, two, three) = (taking().await, taking().await, taking().await);
    let mut nodes = nodes_of(&[&one, &two]);
    nodes.push(NodeConfig {
        send_only: true,
        ..NodeConfig::primary("s", three.http())
    });
    let report = pool(nodes).send_raw(&raw()).await;
    assert_eq!(report.outcome, SendOutcome::Accepted);
    for server in [&one, &two, &three] {
        until("everybody has it", || async {
            (server.asked(METHOD) == 1).then_some(())
        })
        .await;
        assert_eq!(server.last_params(METHOD), json!(["0x02f801"]));
    }
}

#[tokio::test]
async fn one_success_is_enough_and_is_not_waited_past() {
    let (good, hanging) = (taking().await, taking().await);
    let pool = pool_of(&[&hanging, &good]);
    pool.verify().await;
    hanging.hangs();
    let started = Instant::now();
    let report = pool.send_raw(&raw()).await;
    assert_eq!(report.outcome, SendOutcome::Accepted);
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn sending_goes_on_when_the_caller_gives_up() {
    let server = taking().await;
    let pool = pool_of(&[&server]);
    let raw = raw();
    let waiting = pool.send_raw(&raw);
    // Polled once and dropped.
    tokio::select! {
        biased;
        _ = waiting => {}
        () = std::future::ready(()) => {}
    }
    until("it is sent all the same", || async {
        (server.asked(METHOD) == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn refusals_are_ranked_whoever_answers_first() {
    for (one, two, expected) in [
        ("nonce too low", "already known", SendOutcome::AlreadyKnown),
        (
            "insufficient funds for gas * price + value",
            "intrinsic gas too low",
            SendOutcome::Fatal("intrinsic gas too low".to_owned()),
        ),
        (
            "transaction underpriced",
            "insufficient funds",
            SendOutcome::Underpriced,
        ),
        (
            "txpool is full",
            "replacement transaction underpriced",
            SendOutcome::ReplacementUnderpriced,
        ),
        (
            "503 service unavailable",
            "nonce too high",
            SendOutcome::NonceTooHigh,
        ),
    ] {
        let (a, b) = (refusing(one).await, refusing(two).await);
        for servers in [[&a, &b], [&b, &a]] {
            assert_eq!(
                pool_of(&servers).send_raw(&raw()).await.outcome,
                expected,
                "{one} and {two}"
            );
        }
    }
}

#[tokio::test]
async fn no_endpoint_at_all_means_try_again_with_the_cause() {
    let server = taking().await;
    server.says(503, "maintenance");
    let SendReport {
        outcome: SendOutcome::Retryable(why),
        ..
    } = pool_of(&[&server]).send_raw(&raw()).await
    else {
        panic!("not retryable")
    };
    assert!(why.contains("503 Service Unavailable"), "{why}");
}

#[tokio::test]
async fn an_endpoint_of_another_chain_gets_nothing() {
    let (good, foreign) = (taking().await, taking().await);
    foreign.belongs_to(5);
    let pool = pool_of(&[&good, &foreign]);
    pool.verify().await;
    assert_eq!(pool.send_raw(&raw()).await.outcome, SendOutcome::Accepted);
    let only_foreign = pool_of(&[&foreign]);
    assert!(matches!(
        only_foreign.send_raw(&raw()).await.outcome,
        SendOutcome::Retryable(_)
    ));
    assert_eq!(foreign.asked(METHOD), 0);
}

#[tokio::test]
async fn a_send_only_endpoints_answer_does_not_count() {
    let (primary, send_only) = (refusing("transaction underpriced").await, taking().await);
    let pool = pool(vec![
        NodeConfig {
            send_only: true,
            ..NodeConfig::primary("s", send_only.http())
        },
        NodeConfig::primary("a", primary.http()),
    ]);
    pool.verify().await;
    let report = pool.send_raw(&raw()).await;
    assert_eq!(report.outcome, SendOutcome::Underpriced);
    assert_eq!(of(&report, "a"), &SendOutcome::Underpriced);
    until("the send-only endpoint has it", || async {
        (send_only.asked(METHOD) == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_url_for_sending_is_used_too() {
    let (main, extra) = (
        refusing("the method is not allowed here").await,
        taking().await,
    );
    let node = NodeConfig {
        http_url_extra_write: Some(extra.http()),
        ..NodeConfig::primary("a", main.http())
    };
    let report = pool(vec![node]).send_raw(&raw()).await;
    assert_eq!(report.outcome, SendOutcome::Accepted);
    assert_eq!((main.asked(METHOD), extra.asked(METHOD)), (1, 1));
}

#[tokio::test]
async fn several_transactions_go_as_one_batch_and_have_reports_of_their_own() {
    let server = taking().await;
    server.takes_batches_of(2);
    let pool = pool_of(&[&server]);
    let reports = pool
        .send_raw_many(&[raw(), raw(), raw(), raw(), raw()])
        .await;
    assert_eq!(reports.len(), 5);
    assert!(
        reports
            .iter()
            .all(|report| report.outcome == SendOutcome::Accepted)
    );
    assert!(pool.send_raw_many(&[]).await.is_empty());
}

#[tokio::test]
async fn words_nobody_knows_are_counted_per_endpoint_and_text() {
    let server = refusing("the stars are not right").await;
    let pool = pool_of(&[&server]);
    for _ in 0..2 {
        let report = pool.send_raw(&raw()).await;
        assert_eq!(
            report.outcome,
            SendOutcome::Unknown("the stars are not right".to_owned())
        );
    }
    assert_eq!(
        pool.unknown_send_errors(),
        [("a".into(), "the stars are not right".to_owned(), 2)]
    );
    server.refuses_with(
        METHOD,
        json!({ "code": -32010, "message": "rejected", "data": "OldNonce" }),
    );
    assert_eq!(
        pool.send_raw(&raw()).await.outcome,
        SendOutcome::NonceTooLow
    );
}

#[tokio::test]
async fn sending_works_over_a_web_socket_alone() {
    let server = taking().await;
    let pool = crate::watched(pool(vec![NodeConfig::primary("a", server.ws())]));
    assert_eq!(pool.send_raw(&raw()).await.outcome, SendOutcome::Accepted);
    let reports = Pool::send_raw_many(&pool, &[raw(), raw()]).await;
    assert!(
        reports
            .iter()
            .all(|report| report.outcome == SendOutcome::Accepted)
    );
}
