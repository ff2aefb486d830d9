//! What commands ask of a node and what they print.

use serde_json::{Value, json};

use crate::scripted_node::{Operator, ScriptedNode, mode};

/// A node, and somebody who is logged in there.
async fn logged_in() -> (ScriptedNode, Operator) {
    let node = ScriptedNode::start().await;
    let op = Operator::of(&node);
    op.logs_in().await;
    (node, op)
}

fn job(id: &str) -> Value {
    let source = "decode_log [type=ethabidecodelog]\nfetch [type=http url=\"http://x\"]\ndecode_log -> fetch";
    json!({"type": "jobs", "id": id, "attributes": {
        "name": "Get > Uint256", "type": "directrequest", "schemaVersion": 1, "externalJobID": "0eec7e1d-d0d2-476c-a1a8-72dfb6633f46",
        "directRequestSpec": {"contractAddress": "0x0", "createdAt": "2026-11-23T09:12:00Z"},
        "cronSpec": null,
        "pipelineSpec": {"id": "1", "jobID": id, "dotDagSource": source},
        "errors": [{"id": 1, "description": "no key", "occurrences": 3, "createdAt": "2026-11-23T09:12:00Z", "updatedAt": "2026-11-23T10:00:00Z"}],
    }})
}

fn run(id: &str, error: Option<&str>) -> Value {
    json!({"type": "pipelineRun", "id": id, "attributes": {
        "outputs": ["42"], "errors": [error], "allErrors": [error], "fatalErrors": [error], "inputs": {},
        "taskRuns": [
            {"type": "http", "dotId": "fetch", "createdAt": "2026-11-23T09:12:00Z", "finishedAt": "2026-11-23T09:12:01Z", "output": "{\"a\":1}", "error": null},
            {"type": "jsonparse", "dotId": "parse", "createdAt": "2026-11-23T09:12:01Z", "finishedAt": "2026-11-23T09:12:01Z", "output": null, "error": error},
        ],
        "createdAt": "2026-11-23T09:12:00Z", "finishedAt": "2026-11-23T09:12:01Z",
        "pipelineSpec": {"id": 1, "jobID": 7, "dotDagSource": ""},
    }})
}

fn key() -> Value {
    json!({"type": "eTHKeys", "id": "31337/0xd31961E1f62A2FaB824AC3C1A7a332daF8B11eE0", "attributes": {
        "evmChainID": "31337", "address": "0xd31961E1f62A2FaB824AC3C1A7a332daF8B11eE0", "ethBalance": "1.000000000000000000",
        "linkBalance": null, "disabled": false, "createdAt": "2026-11-23T09:12:00Z", "updatedAt": "2026-11-23T09:12:00Z", "maxGasPriceWei": null,
    }})
}

#[tokio::test]
async fn jobs_are_listed_with_a_row_for_each_task() {
    let (node, op) = logged_in().await;
    node.answers(
        "GET",
        "/v2/jobs",
        200,
        json!({"data": [job("1"), job("2")], "meta": {"count": 30}}),
    );
    let done = op.types("jobs list --page 1").await;
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(node.asked("GET", "/v2/jobs").query, "page=1");
    assert!(done.stderr.contains("2 of 30 shown"), "{done:?}");
    insta::assert_snapshot!(done.stdout);
}

#[tokio::test]
async fn a_job_is_shown_with_its_errors() {
    let (node, op) = logged_in().await;
    node.answers("GET", "/v2/jobs/1", 200, json!({"data": job("1")}));
    let done = op.types("jobs show 1").await;
    assert!(done.stdout.starts_with("╔ Jobs\n"), "{done:?}");
    assert!(
        done.stdout
            .ends_with("error (3 times, last 2026-11-23T10:00:00Z): no key\n"),
        "{done:?}"
    );
}

#[tokio::test]
async fn json_is_the_thing_without_its_envelope() {
    let (node, op) = logged_in().await;
    node.answers("GET", "/v2/jobs/1", 200, json!({"data": job("1")}));
    for line in [
        "--json jobs show 1",
        "jobs show 1 --json",
        "-j jobs show 1",
        "-json jobs show 1",
    ] {
        let done = op.types(line).await;
        let printed: Value =
            serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
        assert_eq!(
            (&printed["id"], &printed["name"]),
            (&"1".into(), &"Get > Uint256".into())
        );
        assert!(printed.get("attributes").is_none());
    }
}

#[tokio::test]
async fn a_job_is_created_from_a_file_and_from_its_text() {
    let (node, op) = logged_in().await;
    node.answers("POST", "/v2/jobs", 200, json!({"data": job("1")}));
    let spec = "type = \"directrequest\"\nschemaVersion = 1\n";
    op.file("job.toml", spec);
    for arguments in [
        vec!["jobs", "create", "~/job.toml"],
        vec!["jobs", "create", spec],
    ] {
        let done = op.runs(&arguments).await;
        assert!(
            done.code == 0 && done.stdout.starts_with("Job created\n╔ Jobs\n"),
            "{done:?}"
        );
        let body: Value = serde_json::from_str(&node.asked("POST", "/v2/jobs").body).unwrap();
        assert_eq!(body, json!({"toml": spec}));
    }
    let done = op.types("jobs create {home}/gone.toml").await;
    assert!(
        done.code == 1
            && done
                .stderr
                .contains("neither a TOML specification nor the name of a file"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_refused_job_is_a_failure_with_the_nodes_words() {
    let (node, op) = logged_in().await;
    node.answers(
        "POST",
        "/v2/jobs",
        400,
        json!({"errors": [{"detail": "unknown task type: htp"}, {"detail": "and more"}]}),
    );
    let done = op.runs(&["jobs", "create", "type = 'directrequest'"]).await;
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (1, "", "unknown task type: htp\nand more\n")
    );
}

#[tokio::test]
async fn a_job_is_run_with_a_body_and_deleted() {
    let (node, op) = logged_in().await;
    node.answers(
        "POST",
        "/v2/jobs/7/runs",
        200,
        json!({"data": run("3", None)}),
    );
    node.answers_raw("DELETE", "/v2/jobs/7", 204, &[], String::new());
    let done = op.runs(&["jobs", "run", "7", r#"{"data": [1, 2]}"#]).await;
    assert!(done.stdout.starts_with("╔ Pipeline Run\n"), "{done:?}");
    assert_eq!(
        node.asked("POST", "/v2/jobs/7/runs").body,
        r#"{"data": [1, 2]}"#
    );
    let done = op.types("jobs delete 7").await;
    assert_eq!((done.code, done.stdout.as_str()), (0, "Job 7 Deleted\n"));
}

#[tokio::test]
async fn a_run_that_failed_or_waits_says_so() {
    let (node, op) = logged_in().await;
    let failed = run("4", Some("path \"data\" not found"));
    let mut waits = run("5", None);
    waits["attributes"]["state"] = json!("suspended");
    for (answer, words) in [
        (failed, "run 4 failed: task "),
        (waits, "run 5 is suspended; see: dodona runs show 5"),
    ] {
        node.answers("POST", "/v2/jobs/7/runs", 200, json!({"data": answer}));
        let done = op.types("jobs run 7").await;
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stderr.contains(words), "{words}: {done:?}");
    }
}

#[tokio::test]
async fn runs_are_listed_and_one_is_shown_with_its_tasks() {
    let (node, op) = logged_in().await;
    let failed = run("4", Some("path \"data\" not found"));
    node.answers(
        "GET",
        "/v2/pipeline/runs",
        200,
        json!({"data": [failed.clone(), run("3", None)], "meta": {"count": 2}}),
    );
    node.answers(
        "GET",
        "/v2/jobs/7/runs",
        200,
        json!({"data": [run("3", None)]}),
    );
    node.answers("GET", "/v2/pipeline/runs/4", 200, json!({"data": failed}));
    let all = op.types("runs list").await;
    assert_eq!(all.code, 0, "{all:?}");
    insta::assert_snapshot!("runs_list", all.stdout);
    assert!(
        !op.types("runs list --job 7")
            .await
            .stdout
            .contains("errored")
    );
    insta::assert_snapshot!("runs_show", op.types("runs show 4").await.stdout);
}

#[tokio::test]
async fn keys_are_listed_and_created() {
    let (node, op) = logged_in().await;
    node.answers("GET", "/v2/keys/evm", 200, json!({"data": [key()]}));
    node.answers("POST", "/v2/keys/evm", 200, json!({"data": key()}));
    insta::assert_snapshot!("keys_list", op.types("keys eth list").await.stdout);
    let done = op.types("keys eth create --evm-chain-id 31337").await;
    assert!(
        done.stdout
            .starts_with("ETH key created.\n\n🔑 New key\n\n---"),
        "{done:?}"
    );
    assert_eq!(node.asked("POST", "/v2/keys/evm").query, "evmChainID=31337");
}

#[tokio::test]
async fn a_key_is_imported_with_the_password_of_a_file() {
    let (node, op) = logged_in().await;
    node.answers("POST", "/v2/keys/evm/import", 201, json!({"data": key()}));
    op.file("key.json", r#"{"version":3}"#);
    op.file("old", "geheim & mehr\n");
    for flag in ["--old-password", "-p", "--oldpassword", "-oldpassword"] {
        let done = op
            .types(&format!(
                "keys eth import {{home}}/key.json {flag} {{home}}/old --evmChainID 1"
            ))
            .await;
        assert!(
            done.code == 0 && done.stdout.starts_with("🔑 Imported ETH key\n"),
            "{flag}: {done:?}"
        );
        let asked = node.asked("POST", "/v2/keys/evm/import");
        assert_eq!(
            (asked.query.as_str(), asked.body.as_str()),
            (
                "evmChainID=1&oldpassword=geheim+%26+mehr",
                r#"{"version":3}"#
            )
        );
    }
    let done = op.types("keys eth import {home}/old -p {home}/old").await;
    assert!(
        done.code == 1 && done.stderr.contains("not a Web3 secret storage file"),
        "{done:?}"
    );
    let done = op.types("keys eth import {home}/key.json").await;
    assert!(
        done.code == 1 && done.stderr.contains("give --old-password FILE"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_key_is_exported_into_a_new_file_that_is_ours_alone() {
    let (node, op) = logged_in().await;
    node.answers_raw(
        "POST",
        "/v2/keys/evm/export/0xabc",
        200,
        &[],
        r#"{"version":3,"crypto":{}}"#.into(),
    );
    op.file("new", "a new password\n");
    let line = "keys eth export 0xabc --new-password {home}/new --output {home}/out/key.json";
    let done = op.types(line).await;
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{done:?}");
    assert!(done.stderr.starts_with("🔑 Exported ETH key 0xabc to "));
    let file = op.home.path().join("out/key.json");
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        r#"{"version":3,"crypto":{}}"#
    );
    assert_eq!(mode(&file), 0o600);
    assert_eq!(
        node.asked("POST", "/v2/keys/evm/export/0xabc").query,
        "newpassword=a+new+password"
    );

    let again = op.types(line).await;
    assert!(
        again.code == 1 && again.stderr.contains("exists already"),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_password_in_the_query_never_shows_in_a_message() {
    let op = Operator::at("http://127.0.0.1:1");
    op.file("new", "top secret word\n");
    let done = op
        .types("keys eth export 0xabc -p {home}/new -o {home}/key.json")
        .await;
    assert_eq!(done.code, 1);
    assert!(
        !done.stderr.contains("top") && done.stderr.contains("http://127.0.0.1:1:"),
        "{done:?}"
    );

    let (node, op) = logged_in().await;
    op.file("new", "top secret word\n");
    node.answers_raw(
        "POST",
        "/v2/keys/evm/export/0xabc",
        200,
        &[],
        "<html>".into(),
    );
    let done = op
        .types("keys eth export 0xabc -p {home}/new -o {home}/key.json")
        .await;
    assert!(done.code == 1 && !done.stderr.contains("top"), "{done:?}");
    assert!(!op.home.path().join("key.json").exists());
}

#[tokio::test]
async fn deleting_a_key_needs_a_yes() {
    let (node, op) = logged_in().await;
    node.answers("DELETE", "/v2/keys/evm/0xabc", 200, json!({"data": key()}));
    let done = op.types("keys eth delete 0xabc").await;
    assert!(
        done.code == 1 && done.stderr.contains("add --yes"),
        "{done:?}"
    );
    let done = op.types("keys eth delete 0xabc --yes").await;
    assert!(
        done.code == 0 && done.stdout.starts_with("🔑 Deleted ETH key: 0xabc\n"),
        "{done:?}"
    );
}

#[tokio::test]
async fn bridges_are_created_listed_shown_and_destroyed() {
    let (node, op) = logged_in().await;
    let bridge = json!({"type": "bridges", "id": "price", "attributes": {"name": "price", "url": "http://10.0.0.9:8080", "confirmations": 0, "outgoingToken": "out", "minimumContractPayment": "0"}});
    let mut created = bridge.clone();
    created["attributes"]["incomingToken"] = "in".into();
    node.answers("POST", "/v2/bridge_types", 200, json!({"data": created}));
    node.answers(
        "GET",
        "/v2/bridge_types",
        200,
        json!({"data": [bridge.clone()], "meta": {"count": 1}}),
    );
    node.answers(
        "GET",
        "/v2/bridge_types/price",
        200,
        json!({"data": bridge.clone()}),
    );
    node.answers(
        "DELETE",
        "/v2/bridge_types/price",
        200,
        json!({"data": bridge}),
    );

    let done = op
        .runs(&[
            "bridges",
            "create",
            r#"{"name": "price", "url": "http://10.0.0.9:8080"}"#,
        ])
        .await;
    assert!(
        done.code == 0 && done.stdout.contains("Incoming Token (shown only now): in"),
        "{done:?}"
    );
    assert_eq!(
        node.asked("POST", "/v2/bridge_types").body,
        r#"{"name": "price", "url": "http://10.0.0.9:8080"}"#
    );
    insta::assert_snapshot!("bridges_list", op.types("bridges list").await.stdout);
    insta::assert_snapshot!("bridges_show", op.types("bridges show price").await.stdout);
    assert_eq!(op.types("bridges destroy price").await.code, 0);
    node.asked("DELETE", "/v2/bridge_types/price");
}

#[tokio::test]
async fn transactions_and_attempts_are_listed_with_or_without_evm() {
    let (node, op) = logged_in().await;
    let tx = json!({"type": "evm_transactions", "id": "1/0xaa", "attributes": {"state": "confirmed", "from": "0xfrom", "to": "0xto", "nonce": "5",
        "gasPrice": "20000000000", "hash": "0xaa", "sentAt": "100", "value": "0", "gasLimit": "500000", "data": "0x", "rawHex": "0x", "evmChainID": "1"}});
    node.answers(
        "GET",
        "/v2/transactions/evm",
        200,
        json!({"data": [tx.clone()], "meta": {"count": 1}}),
    );
    node.answers(
        "GET",
        "/v2/tx_attempts/evm",
        200,
        json!({"data": [tx.clone()], "meta": {"count": 1}}),
    );
    node.answers("GET", "/v2/transactions/evm/0xaa", 200, json!({"data": tx}));
    let listed = op.types("txs list").await.stdout;
    insta::assert_snapshot!("txs_list", listed);
    assert_eq!(op.types("txs evm list").await.stdout, listed);
    assert_eq!(op.types("attempts list").await.stdout, listed);
    assert_eq!(op.types("txas list").await.stdout, listed);
    insta::assert_snapshot!("txs_show", op.types("txs evm show 0xaa").await.stdout);
}

#[tokio::test]
async fn health_prints_every_check_and_ends_well_also_when_one_fails() {
    let node = ScriptedNode::start().await;
    let checks = json!({"data": [
        {"type": "checks", "id": "EVM.1.HeadTracker", "attributes": {"name": "EVM.1.HeadTracker", "status": "failing", "output": "no heads for 3m\nsecond line"}},
        {"type": "checks", "id": "JobSpawner", "attributes": {"name": "JobSpawner", "status": "passing", "output": ""}},
    ]});
    node.answers("GET", "/health", 207, checks);
    let op = Operator::of(&node);
    let done = op.types("health").await;
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (
            0,
            "!  EVM.1.HeadTracker\n\tno heads for 3m\n\tsecond line\nok JobSpawner\n"
        )
    );
    assert_eq!(
        op.types("health --failing").await.stdout,
        "!  EVM.1.HeadTracker\n\tno heads for 3m\n\tsecond line\n"
    );
    assert!(
        op.types("admin status")
            .await
            .stdout
            .contains("Status: failing\nOutput: no heads")
    );
}

#[tokio::test]
async fn status_is_one_screen_for_people_and_the_whole_answer_for_programs() {
    let (node, op) = logged_in().await;
    let status = json!({"version": "0.1.0", "uptimeSeconds": 61, "database": {"engine": "sqlite"}, "leader": [], "chains": [], "keys": [], "jobs": [], "warnings": []});
    node.answers("GET", "/v2/status", 200, status.clone());
    let done = op.types("status").await;
    assert!(
        done.stdout.starts_with(&format!(
            "dodona 0.1.0 at {}, up 1m1s, sqlite database\n",
            node.url
        )),
        "{done:?}"
    );
    let printed: Value = serde_json::from_str(&op.types("status -j").await.stdout).unwrap();
    assert_eq!(printed, status);
}

#[tokio::test]
async fn names_that_would_leave_their_place_in_the_address_are_refused() {
    let (_node, op) = logged_in().await;
    for id in ["../users", "a/b", "1?x=y", "", "..", "%2e%2e"] {
        let done = op.runs(&["jobs", "show", id]).await;
        assert!(
            done.code == 1 && done.stderr.contains("cannot be the name or number"),
            "{id}: {done:?}"
        );
    }
}

#[tokio::test]
async fn help_is_an_answer_and_a_mistake_is_a_failure() {
    let op = Operator::at("http://127.0.0.1:1");
    let help = op.types("--help").await;
    assert!(
        help.code == 0 && help.stdout.contains("Run a node:"),
        "{help:?}"
    );
    assert_eq!(op.types("-help").await.stdout, help.stdout);
    for flag in ["--version", "-v", "-version"] {
        let version = op.types(flag).await;
        assert_eq!(
            (version.code, version.stdout.as_str()),
            (0, "dodona 0.1.0@unset\n")
        );
    }
    let all = op.types("help-all").await;
    assert!(
        all.stdout.contains("keys eth import # Import a key file"),
        "{all:?}"
    );
    let wrong = op.types("jobs lst").await;
    assert!(
        wrong.code == 1 && wrong.stdout.is_empty() && wrong.stderr.contains("list"),
        "{wrong:?}"
    );
    let nothing = op.runs(&[]).await;
    assert!(
        nothing.code == 1 && nothing.stderr.contains("Run a node:"),
        "{nothing:?}"
    );
    let half = op.types("keys eth").await;
    assert!(half.code == 1 && half.stderr.contains("import"), "{half:?}");
}

/// A file of this repository.
fn testdata(name: &str) -> String {
    format!("{}/../../testdata/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn specifications_are_checked_without_a_node() {
    let op = Operator::of(&ScriptedNode::start().await);
    let file = testdata("specs/get-uint256.toml");
    let done = op.types(&format!("jobs lint {file}")).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stdout.contains("[unrestricted-requester-url]")
            && done.stdout.contains("1 file: 0 errors"),
        "{done:?}"
    );
    let done = op.types(&format!("jobs lint --strict {file}")).await;
    assert_eq!(done.code, 1, "{done:?}");
    let done = op.types(&format!("jobs lint --format sarif {file}")).await;
    let sarif: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
}

#[tokio::test]
async fn a_document_that_cannot_be_read_is_told_from_one_that_is_not_there() {
    let op = Operator::of(&ScriptedNode::start().await);
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("b.toml");
    std::fs::write(&binary, b"type = \"webhook\"\n\xff").unwrap();
    let (binary, good) = (binary.display(), testdata("specs/get-uint256.toml"));
    // One that cannot be read keeps nobody from hearing about the others.
    let done = op
        .types(&format!("jobs lint {binary} missing.toml {good}"))
        .await;
    assert_eq!(done.code, 1, "{done:?}");
    for words in [
        "it has a byte at 17 (counted from 0) that is not UTF-8",
        "missing.toml cannot be read: No such file",
        "[unrestricted-requester-url]",
        "3 files: 2 errors",
    ] {
        assert!(done.stdout.contains(words), "{words}: {done:?}");
    }
    for (line, words) in [
        (format!("jobs test {binary}"), "that is not UTF-8"),
        (
            format!("jobs test {good} --input {{\"a\":1e400}}"),
            "1e400 is out of range",
        ),
        (format!("jobs test {good} --input [1"), "\"[1\" is not JSON"),
        (
            "jobs run 1 nothing".to_owned(),
            "\"nothing\" is neither JSON nor the name of a file",
        ),
    ] {
        let done = op.types(&line).await;
        assert!(
            done.code == 1 && done.stderr.contains(words),
            "{line}: {done:?}"
        );
    }
    let huge = dir.path().join("huge.toml");
    std::fs::write(&huge, format!("a = \"{}\"", "x".repeat(10_000_000))).unwrap();
    let done = op.types(&format!("jobs create {}", huge.display())).await;
    assert!(
        done.code == 1 && done.stderr.contains("more than the 524288 that are read"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_specification_is_rehearsed_without_a_node() {
    let op = Operator::of(&ScriptedNode::start().await);
    let dir = tempfile::tempdir().unwrap();
    let (input, sources, svg) = (
        dir.path().join("i.json"),
        dir.path().join("s.toml"),
        dir.path().join("p.svg"),
    );
    std::fs::write(
        &input,
        r#"{"get": "https://prices.example/eth", "path": "usd", "times": 100}"#,
    )
    .unwrap();
    std::fs::write(
        &sources,
        "[[http]]\nurl = 'https://prices.example/eth'\nbody = '{\"usd\": 2000.5}'",
    )
    .unwrap();
    let file = testdata("specs/get-uint256.toml");
    let line = format!(
        "jobs test {file} --input {} --sources {} --svg {}",
        input.display(),
        sources.display(),
        svg.display()
    );
    let done = op.types(&line).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stdout.contains("200050") && done.stdout.contains("would send one transaction"),
        "{done:?}"
    );
    assert!(std::fs::read_to_string(svg).unwrap().starts_with("<svg"));
    let done = op
        .types(&format!("jobs test {file} --input {}", input.display()))
        .await;
    assert!(
        done.code == 1 && done.stderr.contains("The run fails"),
        "{done:?}"
    );
}

#[tokio::test]
async fn an_old_job_is_shown_and_created_where_asked() {
    let (node, op) = logged_in().await;
    let file = testdata("legacy/price-uint256.json");
    let done = op.types(&format!("jobs import {file}")).await;
    assert!(
        done.code == 1 && done.stderr.contains("--evm-chain-id"),
        "{done:?}"
    );
    let done = op
        .types(&format!("jobs import {file} --evm-chain-id 1"))
        .await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stdout
            .contains("externalJobID = \"4c7b7ffb-66b3-44fb-aa64-995af81e3fd4\""),
        "{done:?}"
    );
    node.answers(
        "GET",
        "/v2/bridge_types",
        200,
        json!({"data": [], "meta": {"count": 0}}),
    );
    node.answers("POST", "/v2/jobs", 200, json!({"data": job("7")}));
    let done = op
        .types(&format!("jobs import {file} --evm-chain-id 1 --create"))
        .await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        node.asked("POST", "/v2/jobs")
            .body
            .contains("4c7b7ffb-66b3-44fb-aa64-995af81e3fd4")
    );
}

#[tokio::test]
async fn jobs_are_compared_with_files_and_with_the_node() {
    let (node, op) = logged_in().await;
    let (a, b) = (
        testdata("specs/get-uint256.toml"),
        testdata("specs/bridge.toml"),
    );
    let done = op.types(&format!("jobs diff {a} {a}")).await;
    assert_eq!((done.code, done.stdout.as_str()), (0, "No difference.\n"));
    let done = op.types(&format!("jobs diff {a} {b}")).await;
    assert!(
        done.code == 1 && done.stdout.contains("task fetch"),
        "{done:?}"
    );
    let mut running = job("7");
    running["attributes"]["pipelineSpec"]["dotDagSource"] =
        json!("fetch [type=http url=\"http://x\"]");
    node.answers("GET", "/v2/jobs/7", 200, json!({"data": running}));
    let done = op.types(&format!("jobs diff {a} 7")).await;
    assert!(
        done.code == 1 && done.stdout.contains("+ Get > Uint256"),
        "{done:?}"
    );
}

#[tokio::test]
async fn the_page_of_tasks_is_printed() {
    let op = Operator::of(&ScriptedNode::start().await);
    let done = op.types("tasks reference").await;
    assert_eq!(done.stdout, dodona_pipeline::reference::page());
}
