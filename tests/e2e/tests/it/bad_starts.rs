//! Starts that cannot work: one sentence on stderr that names the thing and the remedy, a failure, nothing half written.

use std::net::TcpListener;

use dodona_testkit::{
    anvil::{self, Anvil},
    node::{Engine, Node, Options},
    postgres,
    source::{Behaviour, Source},
};

/// What a start that cannot work said last.
async fn refusal(node: &mut Node) -> String {
    let status = node.run_to_its_end().await;
    let log = node.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    log.lines().last().unwrap_or_default().to_owned()
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
}

fn assert_untouched(node: &Node) {
    let root = node.root().join("root");
    assert!(!root.exists(), "{} was made", root.display());
}

async fn chain() -> Anvil {
    Anvil::start(anvil::Options::default()).await
}

#[tokio::test]
async fn an_unknown_setting_is_refused_with_the_nearest_known_one() {
    let chain = chain().await;
    let options = Options::on(&chain).with_config("[WebServer]\nHTTPPrt = 6688");
    let mut node = Node::prepare(&options);
    let said = refusal(&mut node).await;
    assert_says(&said, &["WebServer.HTTPPrt", "HTTPPort", "more.toml:"]);
    assert_untouched(&node);
}

#[tokio::test]
async fn malformed_toml_is_refused_with_its_place() {
    let chain = chain().await;
    let mut node = Node::prepare(&Options::on(&chain));
    node.rewrite("more.toml", "[WebServer]\nHTTPPort = = 1\n");
    let said = refusal(&mut node).await;
    assert_says(&said, &["more.toml", "2"]);
    assert_untouched(&node);
}

#[tokio::test]
async fn where_logs_are_json_the_reason_of_a_failed_start_is_json_too() {
    let chain = chain().await;
    let json = Options::on(&chain).with_config("[Log]\nJSONConsole = true");
    let mut node = Node::start(&json).await;
    node.api().create_key().await;
    node.stop().await;
    node.rewrite(
        "secrets.toml",
        "[Password]\nKeystore = 'not that of before'\n",
    );
    let said = refusal(&mut node).await;
    let said: serde_json::Value = serde_json::from_str(&said).expect("every line is JSON");
    assert_eq!(said["level"], "crit", "{said}");
    assert_says(
        said["msg"].as_str().unwrap_or_default(),
        &["key ring", "password"],
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_at_the_second_start() {
    let chain = chain().await;
    let mut node = Node::start(&Options::on(&chain)).await;
    let key = node.api().create_key().await;
    node.stop().await;
    let right = std::fs::read_to_string(node.root().join("secrets.toml")).unwrap();
    node.rewrite(
        "secrets.toml",
        "[Password]\nKeystore = 'not the password of before'\n",
    );
    let said = refusal(&mut node).await;
    assert_says(&said, &["key ring", "password"]);

    node.rewrite("secrets.toml", &right);
    node.start_again().await;
    assert_eq!(node.api().keys().await, [key]);
}

#[tokio::test]
async fn a_port_in_use_is_refused_by_its_number() {
    let chain = chain().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = Options {
        port: Some(port),
        ..Options::on(&chain)
    };
    let mut node = Node::prepare(&options);
    let said = refusal(&mut node).await;
    assert_says(
        &said,
        &[
            &format!("127.0.0.1:{port}"),
            "another program uses this port",
            "HTTPPort",
        ],
    );
    assert!(
        !node.database_file().exists(),
        "a database was made for a node that cannot start"
    );
}

async fn a_newer_database_is_left_alone(engine: Engine) {
    let chain = chain().await;
    let mut node = Node::start(&Options::on(&chain).with_engine(engine)).await;
    node.stop().await;
    let columns = "version, description, installed_on, success, checksum, execution_time";
    let from_the_future = format!(
        "INSERT INTO _sqlx_migrations ({columns}) SELECT 999, 'from the future', installed_on, success, checksum, 1 FROM _sqlx_migrations LIMIT 1"
    );
    node.sql(&from_the_future).await;
    let said = refusal(&mut node).await;
    assert_says(&said, &["newer version", "999", "restore"]);

    // Nothing was changed: without that mark it is the database of before.
    node.sql("DELETE FROM _sqlx_migrations WHERE version = 999")
        .await;
    node.start_again().await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone_on_sqlite() {
    a_newer_database_is_left_alone(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone_on_postgresql() {
    let database = postgres::fresh().await;
    a_newer_database_is_left_alone(Engine::Postgres(database.url.clone())).await;
}

#[tokio::test]
async fn a_second_node_on_one_sqlite_file_is_refused_with_the_name_of_the_first() {
    let chain = chain().await;
    let mut first = Node::start(&Options::on(&chain)).await;
    let root = first.root().join("root");
    let options = Options::on(&chain).with_config(&format!("RootDir = '{}'", root.display()));
    let mut second = Node::prepare(&options);
    let said = refusal(&mut second).await;
    assert_says(
        &said,
        &["in use", &format!("process {}", first.pid()), "RootDir"],
    );
    assert!(first.is_running() && first.api().ready().await);
}

#[tokio::test]
async fn an_rpc_url_that_is_down_is_refused_by_its_name() {
    let chain = chain().await;
    let options = Options {
        http_url: "http://127.0.0.1:9".into(),
        ws_url: None,
        ..Options::on(&chain)
    };
    let mut node = Node::prepare(&options);
    let said = refusal(&mut node).await;
    assert_says(&said, &["anvil", "127.0.0.1:9", "EVM.Nodes"]);
    assert_untouched(&node);
}

#[tokio::test]
async fn an_rpc_url_of_another_chain_is_refused_with_both_numbers() {
    let chain = chain().await;
    let options = Options {
        chain_id: 1337,
        ..Options::on(&chain)
    };
    let mut node = Node::prepare(&options);
    let said = refusal(&mut node).await;
    assert_says(&said, &["1337", "31337", "anvil"]);
    assert_untouched(&node);
}

#[tokio::test]
async fn a_websocket_url_of_another_chain_beside_a_right_http_url_is_refused_by_its_name() {
    let chain = chain().await;
    let other = Anvil::start(anvil::Options {
        chain_id: 99,
        ..anvil::Options::default()
    })
    .await;
    let options = Options {
        ws_url: Some(other.ws_url()),
        ..Options::on(&chain)
    };
    let mut node = Node::prepare(&options);
    let said = refusal(&mut node).await;
    assert_says(
        &said,
        &["99", "31337", other.ws_url().trim_end_matches('/')],
    );
    assert_untouched(&node);
}

#[tokio::test]
async fn a_url_that_does_not_speak_json_rpc_is_refused() {
    let chain = chain().await;
    let page = Source::start().await;
    page.on(
        "/",
        Behaviour::Status(200, "<html>Welcome to nginx</html>".into()),
    );
    let options = Options {
        http_url: page.url_of("/"),
        ws_url: None,
        ..Options::on(&chain)
    };
    let mut node = Node::prepare(&options);
    let said = refusal(&mut node).await;
    assert_says(&said, &["anvil", "JSON-RPC"]);
    assert_untouched(&node);
}

#[tokio::test]
async fn a_database_server_that_is_not_there_is_named_without_its_password() {
    let chain = chain().await;
    let url = "postgresql://dodona:a-long-secret-password-9@127.0.0.1:9/dodona";
    let mut node = Node::prepare(&Options::on(&chain).with_engine(Engine::Postgres(url.into())));
    let said = refusal(&mut node).await;
    assert_says(&said, &["dodona at 127.0.0.1:9", "start the server"]);
    assert!(!node.log().contains("a-long-secret-password"));
}

#[tokio::test]
async fn a_node_without_a_first_user_says_how_to_name_one() {
    let chain = chain().await;
    let mut node = Node::prepare(&Options::on(&chain));
    node.rewrite("apicredentials", "only-one-line@example.org\n");
    let said = refusal(&mut node).await;
    assert_says(&said, &["apicredentials", "two lines"]);
    assert!(!node.root().join("root/dodona.sqlite").exists());
}
