//! Jobs that run by the clock.

use dodona_model::Timestamp;
use dodona_runtime::clock;
use dodona_store::schedules;
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Node, on_both_engines};

on_both_engines! {
    a_cron_job_is_shown_with_its_schedule_and_has_a_first_tick,
    a_five_field_schedule_works_and_is_pointed_out,
}

fn spec(schedule: &str) -> serde_json::Value {
    let toml = format!(
        "type = \"cron\"\nschemaVersion = 1\nname = \"clock\"\nschedule = \"{schedule}\"\nevmChainID = 31337\nobservationSource = \"a [type=memo value=1]\""
    );
    json!({ "toml": toml })
}

async fn a_cron_job_is_shown_with_its_schedule_and_has_a_first_tick(node: Node) {
    let editor = node.user("edit").await;
    let created = editor.post("/v2/jobs", &spec("@every 1h30m")).await;
    let cron = created.attributes()["cronSpec"].clone();
    assert_eq!(cron["schedule"], "@every 1h30m");
    assert_eq!(cron["evmChainID"], "31337");
    let id: i64 = created.id().parse().unwrap();
    for shown in [
        editor.get(&format!("/v2/jobs/{id}")).await.json()["data"].clone(),
        editor.get("/v2/jobs").await.json()["data"][0].clone(),
    ] {
        assert_eq!(shown["attributes"]["type"], "cron");
        assert_eq!(
            shown["attributes"]["cronSpec"]["schedule"], "@every 1h30m",
            "{shown}"
        );
        assert!(shown["attributes"]["directRequestSpec"].is_null());
    }
    let first = schedules::next(&mut node.store.read().await.unwrap())
        .await
        .unwrap()
        .expect("a first tick");
    let wait = first.since(clock::now()).as_secs();
    assert!((5_300..=5_400).contains(&wait), "{wait}");

    let deleted = editor.delete(&format!("/v2/jobs/{id}")).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let left: Option<Timestamp> = schedules::next(&mut node.store.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(left, None);
}

async fn a_five_field_schedule_works_and_is_pointed_out(node: Node) {
    let editor = node.user("edit").await;
    let created = editor
        .post("/v2/jobs", &spec("CRON_TZ=Asia/Tokyo 0 9 * * *"))
        .await;
    let warnings = created.attributes()["warnings"].to_string();
    assert!(warnings.contains("0 0 9 * * *"), "{warnings}");
    let refused = editor.post("/v2/jobs", &spec("0 9 * * *")).await;
    refused.refused(400, "CRON_TZ=UTC");
}
