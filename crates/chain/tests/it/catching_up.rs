//! A node that was off, or was never asked, reads everything it missed.

use alloy::primitives::Address;
use dodona_chain::{Config, Rereader};
use dodona_runtime::Service;
use serde_json::Value;

use crate::scene::{ORACLE, Scene};
use crate::scripted::{Said, request};

/// How many blocks each question for logs was about, by range, in the order asked.
fn widths(asked: &[Value]) -> Vec<u64> {
    let number = |value: &Value| u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok();
    asked
        .iter()
        .filter_map(|params| {
            Some(number(&params[0]["toBlock"])? - number(&params[0]["fromBlock"])? + 1)
        })
        .collect()
}

#[tokio::test]
async fn a_gap_of_a_thousand_blocks_is_caught_up_by_ranges() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.asked("eth_getLogs");
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(498);
        chain.mine_with(&[request(ORACLE, 2), request(ORACLE, 3)]);
        chain.mine(499);
        chain.mine_with(&[request(ORACLE, 4)]);
        view.restarts();
        view.scan().await;

        view.agrees_with(&chain).await;
        let all = [(51, 1), (550, 2), (550, 3), (1050, 4)];
        assert_eq!(view.pending().await, all);
        let asked = chain.asked("eth_getLogs");
        assert_eq!(widths(&asked), [250, 250, 250, 230]);
        assert_eq!(asked.len(), 4 + 20, "the newest blocks one by one");
        assert_eq!(view.cursor().await.finalized, 1030);
    }
}

#[tokio::test]
async fn a_range_with_too_many_results_is_halved_and_grows_again() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.asked("eth_getLogs");
        for n in 0..40 {
            chain.mine_with(&[request(ORACLE, n)]);
            chain.mine(9);
        }
        chain.takes_ranges_of(Some(70));
        view.scan().await;
        let expected: Vec<(u64, u8)> = (0..40).map(|n| (51 + 10 * u64::from(n), n)).collect();
        assert_eq!(view.pending().await, expected);
        let refused = widths(&chain.asked("eth_getLogs"));
        assert_eq!(refused[..3], [250, 125, 62], "{refused:?}");

        chain.takes_ranges_of(None);
        chain.mine(3_000);
        view.scan().await;
        let widths = widths(&chain.asked("eth_getLogs"));
        assert!(widths.contains(&250), "it never grew again: {widths:?}");
        view.agrees_with(&chain).await;
    }
}

#[tokio::test]
async fn a_short_rest_that_is_too_much_is_halved_and_not_asked_again_as_it_is() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.asked("eth_getLogs");
        chain.mine(36);
        chain.takes_ranges_of(Some(8));
        view.scan().await;
        // 16 of the 36 lie below the newest 20.
        assert_eq!(widths(&chain.asked("eth_getLogs")), [16, 8, 8]);
        view.agrees_with(&chain).await;
    }
}

#[tokio::test]
async fn a_single_block_that_is_too_much_is_said_and_not_skipped() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        chain.mine_with(&[request(ORACLE, 1)]);
        chain.mine(60);
        chain.takes_ranges_of(Some(0));
        let text = loop {
            match view.tick().await {
                Ok(round) => assert!(!round.moved),
                Err(cause) => break format!("{cause:#}"),
            }
        };
        assert!(text.contains("one block alone has too many logs"), "{text}");
        assert_eq!(view.cursor().await.block, chain.at(50));

        chain.takes_ranges_of(None);
        view.scan().await;
        assert_eq!(view.pending().await, [(51, 1)]);
    }
}

#[tokio::test]
async fn the_order_of_logs_is_that_of_the_chain() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        let many: Vec<Said> = (0..12).map(|n| request(ORACLE, n)).collect();
        chain.mine_with(&many);
        chain.mine_with(&[request(ORACLE, 99)]);
        view.scan().await;
        let mut expected: Vec<(u64, u8)> = (0..12).map(|n| (51, n)).collect();
        expected.push((52, 99));
        assert_eq!(view.pending().await, expected);
    }
}

#[tokio::test]
async fn other_events_and_other_contracts_are_not_stored() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        let transfer = Said {
            topic0: dodona_model::B256::repeat_byte(7),
            ..request(ORACLE, 1)
        };
        let stranger = request(dodona_model::Address::repeat_byte(9), 2);
        chain.mine_with(&[transfer, stranger]);
        view.scan().await;
        assert_eq!(view.pending().await, [(0, 0); 0]);
    }
}

#[tokio::test]
async fn with_a_finalized_tag_no_range_reaches_into_blocks_that_may_still_change() {
    // FinalityDepth means nothing where the chain says itself what is final.
    let adapt = |config: Config| Config {
        finality: dodona_chain::Finality {
            by_tag: true,
            depth: 1,
            offset: 0,
        },
        ..config
    };
    for Scene { chain, mut view } in Scene::both_with(50, adapt).await {
        chain.finalize(20);
        view.scan().await;
        chain.asked("eth_getLogs");
        chain.mine(200);
        chain.finalize(170);
        view.scan().await;
        let asked = chain.asked("eth_getLogs");
        let read_alone = asked.len() - widths(&asked).len();
        assert!(read_alone >= 64, "{read_alone} of 200");
        assert_eq!(view.cursor().await.finalized, 170);
    }
}

#[tokio::test]
async fn logs_that_an_endpoint_indexes_late_are_waited_for() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        let block = chain.mine_with(&[request(ORACLE, 1)]);
        chain.indexes_late(block, 3);
        view.scan().await;
        assert_eq!(view.pending().await, [(51, 1)]);
        view.agrees_with(&chain).await;
    }
}

#[tokio::test]
async fn others_logs_do_not_make_a_block_doubtful() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        let stranger = Address::repeat_byte(0x77);
        chain.mine_with(&[request(stranger, 1)]);
        chain.asked("eth_getLogs");
        view.scan().await;
        assert_eq!(chain.asked("eth_getLogs").len(), 1);
        assert_eq!(view.pending().await, []);
    }
}

#[tokio::test]
async fn logs_that_were_missing_while_a_block_was_new_are_found_once_it_is_final() {
    for Scene { chain, mut view } in Scene::both(50).await {
        view.scan().await;
        let mut second = Rereader::new(view.pool.clone(), view.config.clone());
        // What is final at the first look is where the second reading begins.
        assert_eq!(second.tick(&view.lead).await.unwrap().to, 30);
        let block = chain.mine_with(&[request(ORACLE, 1)]);
        chain.indexes_late(block, 1_000);
        view.scan().await;
        assert_eq!(view.pending().await, []);

        chain.has_all_logs();
        chain.mine(60);
        view.scan().await;
        let done = second.tick(&view.lead).await.unwrap();
        assert_eq!((done.to, done.found), (91, 1));
        assert_eq!(view.pending().await, [(51, 1)]);
        view.agrees_with(&chain).await;

        chain.mine(60);
        view.scan().await;
        let done = second.tick(&view.lead).await.unwrap();
        assert_eq!((done.to, done.found), (151, 0));
    }
}
