//! What external initiators are told.

use dodona_jobs::Notifier;
use dodona_runtime::{Service, clock};
use dodona_store::notices::{self, NewNotice};
use dodona_testkit::source::{Behaviour, Source};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::world::World;

async fn told_to(world: &World, initiator: i64, source: &Source) {
    let mut tx = world.store.begin().await.unwrap();
    for (method, path, body) in [
        ("POST", "/jobs", Some("{\"jobId\":\"7\"}".to_owned())),
        ("DELETE", "/jobs/7", None),
    ] {
        let new = NewNotice {
            initiator_id: initiator,
            external_job_id: Uuid::from_u128(7),
            method: method.to_owned(),
            url: source.url_of(path),
            body,
        };
        notices::insert(&mut tx, &new, clock::now()).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn an_initiator_that_fails_is_told_again_and_in_order() {
    for world in World::both().await {
        let source = Source::start().await;
        source.on("/jobs", Behaviour::Status(503, "not now".to_owned()));
        source.on("/jobs/7", Behaviour::Answer(json!(null)));
        let initiator = world.initiator(&source.url_of("/jobs")).await;
        told_to(&world, initiator, &source).await;
        let lead = world.lead().await;
        let mut notifier = Notifier::new(world.outside());
        notifier.tick(&lead).await.unwrap();
        notifier.tick(&lead).await.unwrap();
        assert_eq!(source.hits(), 1, "it is not hurried");

        source.on("/jobs", Behaviour::Answer(json!({})));
        let began = std::time::Instant::now();
        while source.hits() < 3 {
            assert!(began.elapsed().as_secs() < 30, "it is told again");
            notifier.tick(&lead).await.unwrap();
            tokio::task::yield_now().await;
        }
        // The last answer is noted by the round that got it.
        let received = source.received();
        assert_eq!(received[1].method, Method::POST);
        assert_eq!(received[1].json(), json!({ "jobId": "7" }));
        assert_eq!(
            (&received[2].method, received[2].target.as_str()),
            (&Method::DELETE, "/jobs/7")
        );
        for one in &received {
            assert_eq!(one.headers["x-chainlink-ea-accesskey"], "our token");
            assert_eq!(one.headers["x-chainlink-ea-secret"], "our secret");
        }
        let mut conn = world.store.read().await.unwrap();
        let later = clock::now().plus(std::time::Duration::from_secs(9_999));
        assert_eq!(notices::due(&mut conn, later, 9).await.unwrap(), []);
    }
}

#[tokio::test]
async fn who_cannot_be_told_is_given_up_after_a_few_times() {
    for world in World::both().await {
        let source = Source::start().await;
        let initiator = world.initiator(&source.url_of("/jobs")).await;
        told_to(&world, initiator, &source).await;
        let lead = world.lead().await;
        let mut notifier = Notifier::new(world.outside());
        let later = clock::now().plus(std::time::Duration::from_secs(99_999));
        let mut tried = 0;
        loop {
            notifier.tick(&lead).await.unwrap();
            let due = notices::due(&mut world.store.read().await.unwrap(), later, 9).await;
            let due = due.unwrap();
            if due.is_empty() {
                break;
            }
            tried += 1;
            assert!(tried < 20, "{due:?}");
            // Time passes.
            let mut tx = lead.begin().await.unwrap();
            for notice in due.iter().filter(|notice| notice.attempts > 0) {
                notices::postpone(&mut tx, notice.id, clock::now())
                    .await
                    .unwrap();
            }
            tx.commit().await.unwrap();
        }
        assert!((2..=10).contains(&source.hits()), "{}", source.hits());
    }
}
