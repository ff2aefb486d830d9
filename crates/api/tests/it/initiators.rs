//! External initiators: who they are, what they may start, and what they are told.

use dodona_runtime::clock;
use dodona_store::{Engine, initiators, notices};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::calls::WEBHOOK;
use crate::harness::{Answer, CHAIN, Caller, Node, chain, config};

async fn node(engine: Engine) -> Node {
    let mut config = config();
    config.external_initiators = true;
    config.write_timeout = std::time::Duration::from_millis(700);
    Node::with(engine, config, vec![chain(CHAIN)]).await
}

const BOTH: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];

async fn register(node: &Node, name: &str) -> (Answer, Caller) {
    let body = json!({ "name": name, "url": "http://outside.example/jobs" });
    let answer = node
        .admin()
        .await
        .post("/v2/external_initiators", &body)
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let shown = answer.attributes();
    let text = |name: &str| shown[name].as_str().unwrap().to_owned();
    let caller = node
        .anybody()
        .with("x-chainlink-ea-accesskey", &text("incomingAccessKey"))
        .with("x-chainlink-ea-secret", &text("incomingSecret"));
    (answer, caller)
}

fn listing(names: &[&str]) -> Value {
    let listed: Vec<String> = names
        .iter()
        .map(|name| format!("{{ name = \"{name}\", spec = '{{\"feed\": 1.10}}' }}"))
        .collect();
    let toml = format!("externalInitiators = [{}]\n{WEBHOOK}", listed.join(", "));
    json!({ "toml": toml })
}

#[tokio::test]
async fn an_initiator_may_start_only_what_lists_it() {
    for engine in BOTH {
        let node = node(engine).await;
        let (_, listed) = register(&node, "Listed").await;
        let (_, other) = register(&node, "other").await;
        let admin = node.admin().await;
        // In any letter case.
        let job = admin.post("/v2/jobs", &listing(&["lISTED"])).await;
        let path = format!(
            "/v2/jobs/{}/runs",
            job.attributes()["externalJobID"].as_str().unwrap()
        );
        let run = listed.send("POST", &path, "{}").await;
        assert_eq!(run.attributes()["state"], "running");
        other
            .send("POST", &path, "{}")
            .await
            .refused(401, "does not list");
        let wrong = listed.clone().with("x-chainlink-ea-secret", "guessed");
        wrong.send("POST", &path, "{}").await.refused(401, "login");
        // A session beside them changes nothing: whoever presents an initiator's credentials is that initiator.
        let session = admin
            .clone()
            .with("x-chainlink-ea-accesskey", "nobody")
            .with("x-chainlink-ea-secret", "x");
        assert_eq!(
            session.send("POST", &path, "{}").await.status,
            StatusCode::OK
        );

        // Nothing else is open to them, except being alive.
        assert_eq!(other.get("/v2/ping").await.status, StatusCode::OK);
        for path in ["/v2/jobs", "/v2/external_initiators", "/v2/pipeline/runs"] {
            other.get(path).await.refused(401, "login");
        }
    }
}

#[tokio::test]
async fn the_secrets_are_shown_once_and_kept_as_a_hash() {
    for engine in BOTH {
        let node = node(engine).await;
        let (created, _) = register(&node, "Substrate").await;
        insta::assert_snapshot!("initiator_created", created.shown());
        let secret = created.attributes()["incomingSecret"].clone();
        let viewer = node.user("view").await;
        let listed = viewer.get("/v2/external_initiators").await;
        insta::assert_snapshot!("initiators_listed", listed.shown());
        assert!(!listed.text.contains(secret.as_str().unwrap()));
        let mut conn = node.store.read().await.unwrap();
        let row = initiators::find(&mut conn, "substrate").await.unwrap();
        let row = format!("{row:?}");
        assert!(!row.contains(secret.as_str().unwrap()));
    }
}

#[tokio::test]
async fn an_initiator_is_told_about_jobs_through_rows() {
    for engine in BOTH {
        let node = node(engine).await;
        register(&node, "one").await;
        register(&node, "two").await;
        let admin = node.admin().await;
        let job = admin.post("/v2/jobs", &listing(&["one", "two"])).await;
        let external = job.attributes()["externalJobID"]
            .as_str()
            .unwrap()
            .to_owned();
        let due = async || {
            let mut conn = node.store.read().await.unwrap();
            notices::due(&mut conn, clock::now(), 9).await.unwrap()
        };
        let first = due().await;
        assert_eq!(first.len(), 2);
        assert_eq!(
            first[0].spec.body.as_deref(),
            Some(
                format!(
                    "{{\"jobId\":\"{external}\",\"type\":\"one\",\"params\":{{\"feed\": 1.10}}}}"
                )
                .as_str()
            )
        );
        admin
            .delete("/v2/external_initiators/one")
            .await
            .refused(409, "is listed by the jobs");
        admin.delete(&format!("/v2/jobs/{}", job.id())).await;
        assert_eq!(due().await.len(), 2, "the end waits for the beginning");
        let gone = admin.delete("/v2/external_initiators/ONE").await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        assert_eq!(due().await.len(), 1);
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_initiator_is_said() {
    let node = node(Engine::Sqlite).await;
    register(&node, "twice").await;
    let admin = node.admin().await;
    for (body, status, words) in [
        (json!({ "name": "TWICE" }), 400, "already"),
        (json!({ "name": "a b" }), 400, "letters, digits"),
        (
            json!({ "name": "x", "url": "ftp://x" }),
            400,
            "http or https",
        ),
        (json!([1]), 422, "not the JSON"),
    ] {
        let refused = admin.post("/v2/external_initiators", &body).await;
        refused.refused(status, words);
    }
    let job = admin.post("/v2/jobs", &listing(&["a", "twice", "b"])).await;
    job.refused(400, "\"a\"");
    job.refused(400, "\"b\"");
    let missing = admin.delete("/v2/external_initiators/nobody").await;
    missing.refused(404, "nobody");
    let viewer = node.user("view").await;
    let refused = viewer
        .post("/v2/external_initiators", &json!({ "name": "x" }))
        .await;
    refused.refused(401, "Unauthorized");
}

#[tokio::test]
async fn where_initiators_are_switched_off_none_is_made_and_none_is_let_in() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    let refused = admin
        .post("/v2/external_initiators", &json!({ "name": "x" }))
        .await;
    refused.refused(405, "ExternalInitiatorsEnabled");
}
