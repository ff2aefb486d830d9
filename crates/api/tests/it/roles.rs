//! Who may do what.

use serde_json::json;

use crate::harness::{EMAIL, Node, config};

/// Every route and the role it needs.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/v2/ping", "view"),
    ("GET", "/v2/build_info", "view"),
    ("GET", "/v2/features", "view"),
    ("GET", "/v2/status", "view"),
    ("PATCH", "/v2/user/password", "view"),
    ("POST", "/v2/user/token", "view"),
    ("POST", "/v2/user/token/delete", "view"),
    ("GET", "/v2/jobs", "view"),
    ("POST", "/v2/jobs", "edit"),
    ("GET", "/v2/jobs/1", "view"),
    ("DELETE", "/v2/jobs/1", "edit"),
    ("GET", "/v2/jobs/1/runs", "view"),
    ("POST", "/v2/jobs/1/runs", "run"),
    ("GET", "/v2/jobs/1/runs/1", "view"),
    ("GET", "/v2/pipeline/runs", "view"),
    ("GET", "/v2/pipeline/runs/1", "view"),
    ("DELETE", "/v2/pipeline/job_spec_errors/1", "edit"),
    ("GET", "/v2/bridge_types", "view"),
    ("POST", "/v2/bridge_types", "edit"),
    ("GET", "/v2/bridge_types/x", "view"),
    ("PATCH", "/v2/bridge_types/x", "edit"),
    ("DELETE", "/v2/bridge_types/x", "edit"),
    ("GET", "/v2/external_initiators", "view"),
    ("POST", "/v2/external_initiators", "edit"),
    ("DELETE", "/v2/external_initiators/x", "edit"),
    ("GET", "/v2/keys/eth", "view"),
    ("POST", "/v2/keys/eth?evmChainID=x", "edit"),
    ("DELETE", "/v2/keys/eth/x", "admin"),
    ("POST", "/v2/keys/eth/import", "admin"),
    ("POST", "/v2/keys/eth/export/x", "admin"),
    ("POST", "/v2/keys/eth/chain", "admin"),
    ("GET", "/v2/keys/evm", "view"),
    ("POST", "/v2/keys/evm?evmChainID=x", "edit"),
    ("DELETE", "/v2/keys/evm/x", "admin"),
    ("POST", "/v2/keys/evm/import", "admin"),
    ("POST", "/v2/keys/evm/export/x", "admin"),
    ("POST", "/v2/keys/evm/chain", "admin"),
    ("GET", "/v2/transactions", "view"),
    ("GET", "/v2/transactions/x", "view"),
    ("GET", "/v2/transactions/evm", "view"),
    ("GET", "/v2/transactions/evm/x", "view"),
    ("GET", "/v2/tx_attempts", "view"),
    ("GET", "/v2/tx_attempts/evm", "view"),
    ("GET", "/v2/chains", "view"),
    ("GET", "/v2/chains/evm", "view"),
    ("GET", "/v2/chains/evm/1", "view"),
    ("GET", "/v2/chains/evm/1/nodes", "view"),
    ("GET", "/v2/nodes", "view"),
    ("GET", "/v2/nodes/evm", "view"),
];

const RANKS: [&str; 4] = ["view", "run", "edit", "admin"];

fn rank(role: &str) -> usize {
    RANKS.iter().position(|known| *known == role).unwrap()
}

#[tokio::test]
async fn each_route_serves_its_role_and_those_above_it() {
    let mut config = config();
    config.external_initiators = true;
    let node = Node::on_sqlite(config).await;
    for role in RANKS {
        let caller = node.user(role).await;
        for (method, path, needed) in ROUTES {
            let answer = caller.send(method, path, "").await;
            let status = answer.status.as_u16();
            let case = format!("{role} {method} {path}: {status} {}", answer.text);
            match (rank(role) >= rank(needed), *needed) {
                (true, _) => assert!(![401, 403, 405].contains(&status) && status < 500, "{case}"),
                (false, "admin") => {
                    answer.refused(403, "Forbidden");
                    assert_eq!(answer.header("forbidden-required-role"), "admin", "{case}");
                    assert_eq!(answer.header("forbidden-provided-role"), role, "{case}");
                    assert_eq!(
                        answer.header("forbidden-provided-email"),
                        format!("{role}@example.com"),
                        "{case}"
                    );
                }
                (false, _) => answer.refused(401, "Unauthorized"),
            }
        }
    }
}

#[tokio::test]
async fn without_a_session_every_route_is_closed() {
    let node = Node::on_sqlite(config()).await;
    for (method, path, _) in ROUTES {
        let answer = node.anybody().send(method, path, "").await;
        answer.refused(401, "session missing or expired, please login again");
    }
}

#[tokio::test]
async fn a_role_this_version_does_not_know_may_only_look() {
    let node = Node::on_sqlite(config()).await;
    let stranger = node.user("superuser").await;
    assert_eq!(stranger.get("/v2/jobs").await.status, 200);
    stranger
        .post("/v2/jobs", &json!({}))
        .await
        .refused(401, "Unauthorized");
    assert_eq!(
        node.admin().await.get("/v2/jobs").await.status,
        200,
        "{EMAIL} is an admin"
    );
}
