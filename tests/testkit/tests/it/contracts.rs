use std::time::Duration;

use alloy::primitives::{Address, B256, U256, b256};
use dodona_testkit::{
    anvil::{Anvil, Options},
    contracts::{Consumer, Operator, Oracle, SpecId, World},
};
use uuid::Uuid;

const JOB: Uuid = Uuid::from_u128(0xb1d42cd5_4a3a_4200_b1f7_25a68e48aad8);

async fn world() -> (Anvil, World) {
    let chain = Anvil::start(Options::default()).await;
    let world = World::deploy(&chain).await;
    (chain, world)
}

#[test]
fn a_job_has_two_spec_ids() {
    let ascii = b256!("6231643432636435346133613432303062316637323561363865343861616438");
    assert_eq!(SpecId::from(JOB), SpecId(ascii));
    let bytes = b256!("b1d42cd54a3a4200b1f725a68e48aad800000000000000000000000000000000");
    assert_eq!(SpecId::bytes(JOB), SpecId(bytes));
}

#[tokio::test]
async fn a_request_is_answered_once_by_whoever_is_authorised() {
    let (chain, world) = world().await;
    let (node, stranger) = (chain.accounts()[1], chain.accounts()[2]);
    world.set_authorized(&[node]).await;

    let request = world
        .request_uint256(JOB, "http://source/", "a,b", 100)
        .await;
    assert_eq!(request.event.specId, SpecId::from(JOB).0);
    assert_eq!(
        (request.event.requester, request.oracle),
        (world.consumer, world.operator)
    );
    assert_eq!(request.event.payment, world.payment_juels);
    // get → http://source/, path → a,b, times → 100, as CBOR without the map around it
    let cbor = b"\x63get\x6ehttp://source/\x64path\x63a,b\x65times\x18\x64";
    assert_eq!(request.event.data.as_ref(), cbor);
    assert_eq!(world.answer(request.id).await, None);

    let answer = world.fulfillment_call(&request, U256::from(42));
    assert!(!chain.execute(stranger, &answer).await.status());
    assert!(chain.execute(node, &answer).await.status());
    assert!(
        !chain.execute(node, &answer).await.status(),
        "it was answered already"
    );
    assert_eq!(world.answer(request.id).await, Some(U256::from(42)));
    assert_eq!(
        (
            world.answers_count(request.id).await,
            world.answers_total().await
        ),
        (1, 1)
    );
    assert_eq!(
        world
            .view(world.operator, Oracle::withdrawableCall {})
            .await,
        world.payment_juels
    );
}

#[tokio::test]
async fn the_older_oracle_contracts_are_asked_and_answer_too() {
    let (chain, world) = world().await;
    let node = chain.accounts()[1];
    for oracle in [world.oracle_v04().await, world.oracle_v06().await] {
        world.ask_oracle(oracle).await;
        world.permit(oracle, node).await;
        let request = world
            .request_uint256(SpecId::bytes(JOB), "u", "p", -1)
            .await;
        assert_eq!(
            (request.oracle, request.event.specId),
            (oracle, SpecId::bytes(JOB).0)
        );
        assert!(
            chain
                .execute(node, &world.fulfillment_call(&request, U256::from(7)))
                .await
                .status()
        );
        assert_eq!(world.answer(request.id).await, Some(U256::from(7)));
    }
}

#[tokio::test]
async fn many_requests_fit_into_one_transaction() {
    let (_chain, world) = world().await;
    let requests = world
        .request_many(50, JOB, "http://127.0.0.1:12345/", "value", 1)
        .await;
    let ids: std::collections::HashSet<B256> = requests.iter().map(|it| it.id).collect();
    assert_eq!(ids.len(), 50);
    assert!(requests.iter().all(|it| it.tx == requests[0].tx));
}

#[tokio::test]
async fn two_words_and_a_text_are_answers_as_well() {
    use alloy::sol_types::{SolCall, SolValue};
    let (chain, world) = world().await;
    let node = chain.accounts()[1];
    world.set_authorized(&[node]).await;

    let prices = world
        .request_bid_ask(JOB, ("http://b", "b"), ("http://a", "a"))
        .await;
    let weather = world.request_report(JOB, "Ioannina").await;
    for (request, data) in [
        (
            &prices,
            (prices.id, U256::from(1), U256::from(2)).abi_encode_params(),
        ),
        (
            &weather,
            (weather.id, "sunny".to_owned()).abi_encode_params(),
        ),
    ] {
        assert_eq!(request.event.dataVersion, U256::from(2));
        let call = Operator::fulfillOracleRequest2Call {
            requestId: request.id,
            payment: request.event.payment,
            callbackAddress: request.event.callbackAddr,
            callbackFunctionId: request.event.callbackFunctionId,
            expiration: request.event.cancelExpiration,
            data: data.into(),
        };
        let call = dodona_testkit::anvil::Call::new(world.operator, call.abi_encode());
        assert!(chain.execute(node, &call).await.status());
    }
    assert_eq!(
        world.bid_ask(prices.id).await,
        Some((U256::from(1), U256::from(2)))
    );
    assert_eq!(world.report(weather.id).await.as_deref(), Some("sunny"));
}

#[tokio::test]
async fn a_consumer_that_refuses_its_answer_pays_all_the_same() {
    let (chain, world) = world().await;
    let node = chain.accounts()[1];
    world.set_authorized(&[node]).await;
    for behaviour in [Consumer::Callback::Revert, Consumer::Callback::BurnAllGas] {
        world.set_callback(behaviour).await;
        let request = world.request_uint256(JOB, "u", "p", 1).await;
        let receipt = chain
            .execute(node, &world.fulfillment_call(&request, U256::from(7)))
            .await;
        assert!(receipt.status());
        assert_eq!(world.answer(request.id).await, None);
    }
}

#[tokio::test]
async fn an_expired_request_can_be_cancelled_and_not_earlier() {
    let (chain, world) = world().await;
    let before = world.link_balance_juels(world.consumer).await;
    let request = world.request_raw(JOB, vec![0xff, 0x00]).await;
    assert_eq!(request.event.data.as_ref(), [0xff, 0x00]);
    assert_eq!(
        world.link_balance_juels(world.consumer).await,
        before - world.payment_juels
    );

    let snapshot = chain.snapshot().await;
    chain.increase_time(Duration::from_secs(301)).await;
    world.cancel(&request).await;
    assert_eq!(world.link_balance_juels(world.consumer).await, before);

    chain.revert(snapshot).await;
    let early = tokio::spawn(async move { world.cancel(&request).await }).await;
    assert!(early.is_err());
}

#[tokio::test]
async fn a_forwarder_answers_for_a_key_that_the_operator_does_not_know() {
    use alloy::sol_types::SolCall;
    use dodona_testkit::contracts::AuthorizedForwarder;
    let (chain, world) = world().await;
    let node = chain.accounts()[1];
    let forwarder = world.deploy_forwarder(&[node]).await;
    world.set_authorized(&[forwarder]).await;
    let request = world.request_uint256(JOB, "u", "p", 1).await;

    let answer = world.fulfillment_call(&request, U256::from(9));
    assert!(!chain.execute(node, &answer).await.status());
    let forward = AuthorizedForwarder::forwardCall {
        to: answer.to,
        data: answer.data.clone(),
    };
    let through = dodona_testkit::anvil::Call::new(forwarder, forward.abi_encode());
    assert!(chain.execute(node, &through).await.status());
    assert_eq!(world.answer(request.id).await, Some(U256::from(9)));
}

#[tokio::test]
async fn any_account_can_be_given_native_coin() {
    let (chain, world) = world().await;
    let key = Address::repeat_byte(0x5e);
    world.fund(key, U256::from(12)).await;
    world.fund(key, U256::from(30)).await;
    assert_eq!(chain.balance_wei(key).await, U256::from(42));
    chain.set_balance(key, U256::ZERO).await;
    assert_eq!(chain.balance_wei(key).await, U256::ZERO);
}
