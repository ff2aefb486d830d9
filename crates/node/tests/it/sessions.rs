//! Logging in, staying logged in, and what is said when that does not work.

use serde_json::json;

use crate::scripted_node::{EMAIL, Operator, ScriptedNode, mode};

#[tokio::test]
async fn a_session_is_kept_for_the_next_command_in_a_file_that_is_ours_alone() {
    let node = ScriptedNode::start().await;
    node.answers("GET", "/v2/keys/evm", 200, json!({"data": []}));
    let op = Operator::of(&node);

    let done = op
        .runs(&[
            "admin",
            "login",
            "--file",
            &op.credentials().display().to_string(),
        ])
        .await;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    assert!(
        done.stdout
            .starts_with("Successfully logged in to http://127.0.0.1:")
    );

    assert_eq!(op.types("keys eth list").await.code, 0);
    let cookies = op.cookies();
    assert_eq!((cookies.len(), mode(&cookies[0])), (1, 0o600));
    assert_eq!(mode(cookies[0].parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_wrong_password_is_refused_with_the_nodes_own_words() {
    let node = ScriptedNode::start().await;
    let op = Operator::of(&node);
    op.file("wrong", &format!("{EMAIL}\nanother password\n"));
    let done = op.types("admin login -f {home}/wrong").await;
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    assert_eq!(
        done.stderr,
        format!("{} refuses to log you in: Invalid password\n", node.url)
    );
    assert!(op.cookies().is_empty());
}

#[tokio::test]
async fn without_a_session_the_remedy_is_named() {
    let node = ScriptedNode::start().await;
    let done = Operator::of(&node).types("jobs list").await;
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    assert!(
        done.stderr.contains("session missing or expired")
            && done.stderr.contains("dodona admin login"),
        "{done:?}"
    );
}

#[tokio::test]
async fn an_ended_session_is_opened_again_once_where_a_credentials_file_is_named() {
    let node = ScriptedNode::start().await;
    node.answers("GET", "/v2/jobs", 200, json!({"data": []}));
    let op = Operator::of(&node);
    op.credentials();
    for expected in 1..=2 {
        node.forget_sessions();
        let done = op
            .types("--admin-credentials-file {home}/api jobs list")
            .await;
        assert_eq!((done.code, node.logins()), (0, expected), "{done:?}");
    }
    assert_eq!(
        op.types("jobs list").await.code,
        0,
        "the new session is kept"
    );

    let done = op
        .types("jobs list --admin-credentials-file {home}/nowhere")
        .await;
    assert_eq!(
        done.code, 0,
        "a file that is not there is ignored: {done:?}"
    );
}

#[tokio::test]
async fn logging_out_removes_the_cookie() {
    let node = ScriptedNode::start().await;
    node.answers("DELETE", "/sessions", 200, json!({"data": {"type": "session", "id": "sessionID", "attributes": {"authenticated": false}}}));
    let op = Operator::of(&node);
    op.logs_in().await;
    assert_eq!(op.types("admin logout").await.code, 0);
    assert!(op.cookies().is_empty());
    node.asked("DELETE", "/sessions");
}

#[tokio::test]
async fn a_cookie_is_shown_to_its_own_node_only() {
    let (one, other) = (ScriptedNode::start().await, ScriptedNode::start().await);
    other.answers("GET", "/v2/jobs", 200, json!({"data": []}));
    let op = Operator::of(&one);
    op.logs_in().await;
    let done = op
        .types(&format!("--remote-node-url {} jobs list", other.url))
        .await;
    assert_eq!(done.code, 1, "{done:?}");
}

#[tokio::test]
async fn a_node_of_another_version_is_noted_and_not_refused() {
    let node = ScriptedNode::start().await;
    node.answers(
        "GET",
        "/v2/build_info",
        200,
        json!({"version": "99.0.0", "versionTag": "v99", "commitSHA": "x"}),
    );
    let op = Operator::of(&node);
    op.credentials();
    let done = op.types("admin login -f {home}/api").await;
    assert!(done.code == 0 && done.stderr.contains("99.0.0"), "{done:?}");
    let done = op
        .types("admin login -f {home}/api --bypass-version-check")
        .await;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn a_node_that_is_not_there_is_named_with_what_to_do() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let done = Operator::at(&url).types("jobs list").await;
    assert_eq!(done.code, 1);
    assert!(
        done.stderr.contains(&format!("no node answers at {url}")),
        "{done:?}"
    );
    assert!(
        done.stderr.contains("refused") && done.stderr.contains("dodona node start"),
        "{done:?}"
    );
}

#[tokio::test]
async fn something_else_on_the_port_is_recognised() {
    let node = ScriptedNode::start().await;
    node.answers_raw(
        "GET",
        "/v2/jobs",
        200,
        &[],
        "<html>a router's login page</html>".into(),
    );
    let op = Operator::of(&node);
    op.logs_in().await;
    let done = op.types("jobs list").await;
    assert!(
        done.code == 1
            && done.stderr.contains("not a node's answer")
            && done.stderr.contains("router's"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_refusal_that_names_no_role_is_told_apart_from_a_missing_session() {
    let node = ScriptedNode::start().await;
    node.answers(
        "DELETE",
        "/v2/jobs/1",
        401,
        json!({"errors": [{"detail": "Unauthorized"}]}),
    );
    let op = Operator::of(&node);
    op.logs_in().await;
    let done = op.types("jobs delete 1").await;
    assert!(
        done.code == 1 && done.stderr.contains("role") && !done.stderr.contains("admin login"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_role_that_is_too_low_is_told_which_one_it_needs() {
    let node = ScriptedNode::start().await;
    let headers = [
        ("forbidden-required-role", "admin"),
        ("forbidden-provided-role", "view"),
        ("forbidden-provided-email", EMAIL),
    ];
    node.answers_raw(
        "DELETE",
        "/v2/keys/evm/0xabc",
        403,
        &headers,
        json!({"errors": [{"detail": "Forbidden"}]}).to_string(),
    );
    let op = Operator::of(&node);
    op.logs_in().await;
    let done = op.types("keys eth delete 0xabc --yes").await;
    assert_eq!(done.code, 1);
    assert_eq!(
        done.stderr,
        format!("this needs the role admin; {EMAIL} has the role view\n")
    );
}
