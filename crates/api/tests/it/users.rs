//! The first user, passwords and API tokens.

use dodona_api::{FirstUserError, PasswordRule, ensure_first_user};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::json;

use crate::harness::{EMAIL, Node, PASSWORD, config, on_both_engines};

const NEW: &str = "another good password";

on_both_engines! {
    a_changed_password_ends_the_users_other_sessions_and_nobody_elses,
    a_token_opens_the_api_until_it_is_deleted,
    a_second_first_user_changes_nothing,
}

async fn a_changed_password_ends_the_users_other_sessions_and_nobody_elses(node: Node) {
    let (here, elsewhere) = (node.admin().await, node.admin().await);
    let colleague = node.user("view").await;
    let body = json!({ "oldPassword": PASSWORD, "newPassword": NEW });
    let answer = here.patch("/v2/user/password", &body).await;
    insta::assert_snapshot!("password_changed", answer.shown());
    assert_eq!(here.get("/v2/ping").await.status, StatusCode::OK);
    assert_eq!(
        elsewhere.get("/v2/ping").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(colleague.get("/v2/ping").await.status, StatusCode::OK);
    let old = json!({ "email": EMAIL, "password": PASSWORD });
    assert_eq!(
        node.anybody().post("/sessions", &old).await.status,
        StatusCode::UNAUTHORIZED
    );
    node.log_in(EMAIL, NEW).await;
}

async fn a_token_opens_the_api_until_it_is_deleted(node: Node) {
    let editor = node.user("edit").await;
    let proof = json!({ "password": PASSWORD });
    let made = editor.post("/v2/user/token", &proof).await;
    assert_eq!(made.status, StatusCode::CREATED);
    insta::assert_snapshot!("token_created", made.shown().replace(&made.id(), "<key>"));
    let token = made.attributes();
    let program = node
        .anybody()
        .with("x-api-key", token["accessKey"].as_str().unwrap())
        .with("x-api-secret", token["secret"].as_str().unwrap());
    assert_eq!(program.get("/v2/jobs").await.status, StatusCode::OK);
    // with the role of its user
    assert_eq!(
        program.delete("/v2/keys/evm/0x00").await.status,
        StatusCode::FORBIDDEN
    );
    // and not where a session is asked for
    program
        .delete("/sessions")
        .await
        .refused(401, "session missing");
    let guess = program.clone().with("x-api-secret", "guess");
    assert_eq!(guess.get("/v2/jobs").await.status, StatusCode::UNAUTHORIZED);

    let second = editor.post("/v2/user/token", &proof).await;
    assert_eq!(
        program.get("/v2/jobs").await.status,
        StatusCode::UNAUTHORIZED,
        "replaced"
    );
    assert_ne!(second.attributes()["secret"], token["secret"]);

    let gone = editor.post("/v2/user/token/delete", &proof).await;
    assert_eq!(
        (gone.status, gone.text.as_str()),
        (StatusCode::NO_CONTENT, "")
    );
}

async fn a_second_first_user_changes_nothing(node: Node) {
    let other = SecretString::from("somebody else's choice");
    assert!(
        !ensure_first_user(&node.store, "other@example.com", &other)
            .await
            .unwrap()
    );
    let body = json!({ "email": "other@example.com", "password": "somebody else's choice" });
    assert_eq!(
        node.anybody().post("/sessions", &body).await.status,
        StatusCode::UNAUTHORIZED
    );
    node.admin().await;
}

#[tokio::test]
async fn a_token_needs_the_password_again() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    for path in ["/v2/user/token", "/v2/user/token/delete"] {
        let wrong = admin.post(path, &json!({ "password": "wrong" })).await;
        wrong.refused(401, "the password is wrong");
        admin.post(path, &json!({})).await.refused(422, "JSON");
    }
}

#[tokio::test]
async fn a_password_change_is_refused_with_the_reason() {
    let node = Node::on_sqlite(config()).await;
    let admin = node.admin().await;
    let ask = async |old: &str, new: &str| {
        let body = json!({ "oldPassword": old, "newPassword": new });
        admin.patch("/v2/user/password", &body).await
    };
    ask("wrong", NEW).await.refused(409, "old password");
    ask(PASSWORD, "short")
        .await
        .refused(422, "5 characters; it needs 16 to 50");
    ask(PASSWORD, " padded good password")
        .await
        .refused(422, "white space");
    ask(PASSWORD, "is ops@example.com good")
        .await
        .refused(422, "e-mail address");
    node.admin().await; // the old one still holds
}

#[tokio::test]
async fn a_first_user_needs_an_address_and_a_good_password() {
    let dir = tempfile::tempdir().unwrap();
    let file = dodona_store::DatabaseConfig::Sqlite(dir.path().join("db"));
    let store = dodona_store::Store::open(&file, Default::default())
        .await
        .unwrap();
    let make = async |email: &str, password: &str| {
        ensure_first_user(&store, email, &SecretString::from(password))
            .await
            .unwrap_err()
    };
    assert!(matches!(
        make("ops", PASSWORD).await,
        FirstUserError::Email(_)
    ));
    let short = make(EMAIL, "short").await;
    assert!(matches!(
        short,
        FirstUserError::Password(PasswordRule::Length { chars: 5 })
    ));
    assert!(
        ensure_first_user(&store, EMAIL, &SecretString::from(PASSWORD))
            .await
            .unwrap()
    );
}
