//! `node validate`, as an operator sees it.

use crate::scripted_node::Operator;

const GOOD: &str = "[[EVM]]\nChainID = '1'\n[[EVM.Nodes]]\nName = 'main'\nHTTPURL = 'https://rpc.example.org/token'\n";

#[tokio::test]
async fn good_settings_are_shown_with_their_defaults_and_without_secrets() {
    let op = Operator::at("http://127.0.0.1:1");
    op.file("node.toml", GOOD);
    op.file(
        "secrets.toml",
        "Password.Keystore = 'a rather long password'\n",
    );
    let done = op
        .types("node -config {home}/node.toml -secrets {home}/secrets.toml validate")
        .await;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let headings: Vec<&str> = done
        .stdout
        .lines()
        .filter(|line| line.starts_with("# "))
        .collect();
    assert_eq!(
        headings,
        [
            "# Secrets:",
            "# Input Configuration:",
            "# Effective Configuration, with defaults applied:",
            "# Configuration warning:"
        ]
    );
    assert!(done.stdout.ends_with("\nValid configuration.\n"));
    assert!(
        !done.stdout.contains("long password") && !done.stdout.contains("token"),
        "{done:?}"
    );
}

#[tokio::test]
async fn bad_settings_are_a_failure_that_lists_every_fault() {
    let op = Operator::at("http://127.0.0.1:1");
    op.file("node.toml", &GOOD.replace("Name = 'main'", "Nam = 'main'"));
    let done = op.types("local -c {home}/node.toml validate").await;
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (1, "invalid configuration\n")
    );
    assert!(
        done.stdout
            .contains("Invalid configuration: invalid configuration: 2 errors:"),
        "{done:?}"
    );
    assert!(
        done.stdout
            .contains("EVM.0.Nodes.0.Nam: is not a known key; the nearest one is EVM.Nodes.Name"),
        "{done:?}"
    );
    assert!(
        done.stdout.contains("EVM.0.Nodes.0.Name: missing"),
        "{done:?}"
    );
}

#[tokio::test]
async fn files_may_stand_at_the_old_place_but_not_at_both() {
    let op = Operator::at("http://127.0.0.1:1");
    op.file("node.toml", GOOD);
    assert_eq!(op.types("-c {home}/node.toml node validate").await.code, 0);
    assert_eq!(op.types("node validate -c {home}/node.toml").await.code, 0);
    let done = op
        .types("-c {home}/node.toml node -c {home}/node.toml validate")
        .await;
    assert!(
        done.code == 1 && done.stderr.contains("use one place"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_start_with_bad_settings_ends_with_all_faults_and_touches_nothing() {
    let op = Operator::at("http://127.0.0.1:1");
    op.file(
        "node.toml",
        "RootDir = '~/root'\nWebServer.HTTPPort = 'many'\nLogg.Level = 'info'\n",
    );
    let done = op.types("node -c {home}/node.toml start").await;
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    assert!(
        done.stderr.contains("2 errors") && done.stderr.contains("Logg"),
        "{done:?}"
    );
    assert!(!op.home.path().join("root").exists());
}

#[tokio::test]
async fn the_reference_page_is_printed_by_the_program_itself() {
    let done = Operator::at("http://127.0.0.1:1")
        .types("config reference")
        .await;
    assert_eq!(done.code, 0);
    assert_eq!(done.stdout, dodona_node::config::reference::page());
    let done = Operator::at("http://127.0.0.1:1")
        .types("config validate")
        .await;
    assert!(
        done.code == 1 && done.stderr.contains("node --config FILE"),
        "{done:?}"
    );
}
