//! Creating, showing and deleting jobs.

use std::time::Duration;

use dodona_runtime::clock;
use dodona_store::jobs;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Answer, CHAIN, Caller, Node, config, on_both_engines};
use crate::rows;

on_both_engines! {
    a_job_is_created_shown_listed_and_deleted,
    creating_a_job_pokes_whoever_watches_jobs,
    an_external_id_belongs_to_one_living_job,
    counted_errors_are_shown_and_dismissed,
    lists_come_in_pages,
}

pub(crate) const EXTERNAL_ID: &str = "b1d42cd5-4a3a-4200-b1f7-25a68e48aad8";
const CONTRACT: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

/// A job that answers with a constant.
pub(crate) fn spec(extra: &str) -> String {
    format!(
        r#"type = "directrequest"
schemaVersion = 1
name = "get > uint256"
contractAddress = "{CONTRACT}"
evmChainID = "{CHAIN}"
{extra}
observationSource = """
    fetch [type="http" method=GET url="https://example.com/price"]
    parse [type="jsonparse" path="price" data="$(fetch)"]
    fetch -> parse
"""
"#
    )
}

pub(crate) async fn create(caller: &Caller, toml: &str) -> Answer {
    caller.post("/v2/jobs", &json!({ "toml": toml })).await
}

async fn a_job_is_created_shown_listed_and_deleted(node: Node) {
    let admin = node.admin().await;
    let extra = format!(
        "externalJobID = \"{EXTERNAL_ID}\"\nminIncomingConfirmations = 3\nminContractPaymentLinkJuels = \"100000000000000000000000000\"\nrequesters = [\"{CONTRACT}\"]\ngasLimit = 700000\nmaxTaskDuration = \"90s\"\nforwardingAllowed = false\nfoo = 1"
    );
    let made = create(&admin, &spec(&extra)).await;
    assert_eq!(made.status, StatusCode::OK);
    insta::assert_snapshot!("job_created", made.shown());

    let by_number = admin.get(&format!("/v2/jobs/{}", made.id())).await;
    insta::assert_snapshot!("job_shown", by_number.shown());
    let by_uuid = admin.get(&format!("/v2/jobs/{EXTERNAL_ID}")).await;
    assert_eq!(by_uuid.text, by_number.text);
    let list = admin.get("/v2/jobs").await.json();
    assert_eq!(list["data"][0], by_number.json()["data"]);
    assert_eq!(list["meta"]["count"], 1);

    let gone = admin.delete(&format!("/v2/jobs/{}", made.id())).await;
    assert_eq!(
        (gone.status, gone.text.as_str()),
        (StatusCode::NO_CONTENT, "")
    );
    for id in [made.id().as_str(), EXTERNAL_ID] {
        admin
            .get(&format!("/v2/jobs/{id}"))
            .await
            .refused(404, "there is no job");
        admin
            .delete(&format!("/v2/jobs/{id}"))
            .await
            .refused(404, "there is no job");
    }
    assert_eq!(admin.get("/v2/jobs").await.json()["data"], json!([]));
}

async fn creating_a_job_pokes_whoever_watches_jobs(mut node: Node) {
    let admin = node.admin().await;
    create(&admin, &spec("")).await;
    let poked = tokio::time::timeout(Duration::from_secs(5), node.job_pokes.wait()).await;
    assert!(poked.is_ok());
}

async fn an_external_id_belongs_to_one_living_job(node: Node) {
    let admin = node.admin().await;
    let toml = spec(&format!("externalJobID = \"{EXTERNAL_ID}\""));
    let first = create(&admin, &toml).await;
    assert_eq!(first.status, StatusCode::OK);
    let words = format!("externalJobID {EXTERNAL_ID} belongs to job {}", first.id());
    create(&admin, &toml).await.refused(409, &words);
    admin.delete(&format!("/v2/jobs/{EXTERNAL_ID}")).await;
    assert_eq!(create(&admin, &toml).await.status, StatusCode::OK);
}

async fn counted_errors_are_shown_and_dismissed(node: Node) {
    let admin = node.admin().await;
    let job = rows::job(&node.store, "x", "").await;
    let mut tx = node.store.begin().await.unwrap();
    for _ in 0..2 {
        jobs::note_error(&mut tx, job, "the contract does not exist", clock::now())
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let shown = admin.get(&format!("/v2/jobs/{job}")).await.attributes();
    assert_eq!(shown["errors"][0]["occurrences"], 2);
    assert_eq!(
        shown["errors"][0]["description"],
        "the contract does not exist"
    );
    assert_eq!(
        admin.get("/v2/jobs").await.json()["data"][0]["attributes"]["errors"],
        shown["errors"]
    );

    let path = format!("/v2/pipeline/job_spec_errors/{}", shown["errors"][0]["id"]);
    assert_eq!(admin.delete(&path).await.status, StatusCode::NO_CONTENT);
    admin.delete(&path).await.refused(404, "no counted error");
    admin
        .delete("/v2/pipeline/job_spec_errors/x")
        .await
        .refused(422, "not the number");
    assert_eq!(
        admin.get("/v2/jobs").await.json()["data"][0]["attributes"]["errors"],
        json!([])
    );
}

async fn lists_come_in_pages(node: Node) {
    let admin = node.admin().await;
    for n in 0..5 {
        rows::job(&node.store, &format!("job {n}"), "").await;
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["data"].as_array().unwrap().iter();
        items
            .map(|job| job["attributes"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = admin.get("/v2/jobs?size=2").await.json();
    assert_eq!(names(&first), ["job 0", "job 1"]);
    assert_eq!(first["links"], json!({ "next": "/v2/jobs?page=2&size=2" }));
    assert_eq!(first["meta"], json!({ "count": 5 }));
    let middle = admin.get("/v2/jobs?page=2&size=2").await.json();
    assert_eq!(middle["links"]["prev"], "/v2/jobs?page=1&size=2");
    let last = admin.get("/v2/jobs?page=3&size=2").await.json();
    assert_eq!(names(&last), ["job 4"]);
    assert_eq!(last["links"], json!({ "prev": "/v2/jobs?page=2&size=2" }));
    let all = admin.get("/v2/jobs").await.json();
    assert_eq!((names(&all).len(), all.get("links")), (5, None));
    for wrong in ["size=0", "page=0", "size=x", "page=-3"] {
        let answer = admin.get(&format!("/v2/jobs?{wrong}")).await;
        answer.refused(422, "write a whole number from 1");
    }
}

#[tokio::test]
async fn what_is_no_job_spec_is_refused_with_the_reason() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    for (status, words, toml) in [
        (422, "not valid TOML", "type = ".to_owned()),
        (
            422,
            "did you mean \"directrequest\"",
            spec("").replace("directrequest", "directrequst"),
        ),
        (
            400,
            "not supported by this version",
            spec("").replace("directrequest", "keeper"),
        ),
        (
            400,
            "schemaVersion must be 1",
            spec("").replace("schemaVersion = 1", "schemaVersion = 2"),
        ),
        (400, "checksum", spec("").replace("5FbDB", "5fbDB")),
        (
            400,
            "observationSource",
            spec("").replace("fetch -> parse", "fetch -> parse -> fetch"),
        ),
        (
            400,
            "observationSource is missing",
            "type = \"directrequest\"\nschemaVersion = 1".to_owned(),
        ),
        (
            400,
            "evmChainID: chain 5 is not configured (this node works on 31337)",
            spec("").replace("\"31337\"", "\"5\""),
        ),
        (
            400,
            "there is no bridge \"prices\"; create it first",
            spec("").replace("type=\"http\"", "type=\"bridge\" name=\"prices\""),
        ),
    ] {
        create(&admin, &toml).await.refused(status, words);
    }
    let both = spec("")
        .replace("\"31337\"", "5")
        .replace("type=\"http\"", "type=\"bridge\" name=\"prices\"");
    let answer = create(&admin, &both).await;
    assert_eq!(
        answer.json()["errors"].as_array().unwrap().len(),
        2,
        "all faults together: {}",
        answer.text
    );
    admin
        .post("/v2/jobs", &json!({ "spec": "x" }))
        .await
        .refused(422, "missing field `toml`");
    assert_eq!(
        admin.get("/v2/jobs").await.json()["data"],
        json!([]),
        "nothing was written"
    );
}

#[tokio::test]
async fn a_job_that_could_not_answer_yet_is_created_with_a_warning() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    let warnings = create(&admin, &spec("")).await.attributes()["warnings"].clone();
    assert!(
        warnings
            .to_string()
            .contains("no key is enabled on chain 31337"),
        "{warnings}"
    );
    admin.send("POST", "/v2/keys/evm", "").await;
    let made = create(&admin, &spec("")).await.attributes();
    assert_eq!(made.get("warnings"), None);
}

#[tokio::test]
async fn an_id_that_is_neither_number_nor_uuid_is_refused() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    for path in ["/v2/jobs/abc", "/v2/jobs/abc/runs", "/v2/jobs/1.5"] {
        admin
            .get(path)
            .await
            .refused(422, "neither a job's number nor its external id");
    }
    admin
        .get("/v2/jobs/99")
        .await
        .refused(404, "there is no job 99");
    let put = admin.send("PUT", "/v2/jobs/1", "{}").await;
    put.refused(405, "does not understand this method");
}
