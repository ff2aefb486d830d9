//! Keys on the command line, and a warning about one that owns too much.

use std::process::Output;

use alloy::primitives::{Address, U256};
use dodona_testkit::{contracts::Oracle, until};
use serde_json::Value;

use crate::{
    scene::{Db, ETHER, Scene, some_cents, status},
    specs::Spec,
};

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn must(output: Output) -> String {
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn addresses(scene: &Scene) -> Vec<Address> {
    let listed = must(scene.node.cli(&["--json", "keys", "eth", "list"]));
    let listed: Value = serde_json::from_str(&listed).expect("--json prints JSON");
    let keys = listed.as_array().expect("a list of keys").iter();
    keys.map(|key| {
        key["address"]
            .as_str()
            .and_then(|it| it.parse().ok())
            .expect("a key has an address")
    })
    .collect()
}

#[tokio::test]
async fn a_key_that_is_exported_deleted_and_imported_is_the_same_key_and_answers() {
    let scene = Scene::on(Db::Sqlite).await;
    let job = scene.price_job().await;
    let key = scene.key.to_string();
    scene.node.rewrite("password", "the file's own password\n");

    must(scene.node.cli(&[
        "keys", "eth", "export", &key, "-p", "password", "-o", "key.json",
    ]));
    let file = std::fs::read_to_string(scene.node.root().join("key.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(file["version"], 3, "Web3 secret storage");
    // Another program's reader of Web3 secret storage opens it too.
    let cast = std::env::var("DODONA_CAST").expect("script/test names cast in DODONA_CAST");
    let opened = std::process::Command::new(cast)
        .args(["wallet", "address", "--keystore"])
        .arg(scene.node.root().join("key.json"))
        .args(["--password", "the file's own password"])
        .output()
        .expect("cast runs");
    assert_eq!(must(opened).trim(), key);
    must(scene.node.cli(&["keys", "eth", "delete", &key, "--yes"]));
    assert!(addresses(&scene).is_empty());

    scene.node.rewrite("wrong", "not the file's password\n");
    let refused = scene
        .node
        .cli(&["keys", "eth", "import", "key.json", "-p", "wrong"]);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("password"), "{}", said(&refused));
    assert!(addresses(&scene).is_empty());

    must(
        scene
            .node
            .cli(&["keys", "eth", "import", "key.json", "-p", "password"]),
    );
    assert_eq!(addresses(&scene), [scene.key]);

    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    scene.assert_sent(1).await;
}

#[tokio::test]
async fn a_key_is_created_and_listed_on_the_command_line() {
    let scene = Scene::on(Db::Sqlite).await;
    let created = must(scene.node.cli(&["keys", "eth", "create"]));
    let keys = addresses(&scene);
    assert_eq!(keys.len(), 2);
    let new = keys
        .iter()
        .find(|key| **key != scene.key)
        .expect("a second key");
    assert!(created.contains(&new.to_string()), "{created}");
}

#[tokio::test]
async fn a_price_limit_that_has_its_place_elsewhere_creates_no_key() {
    let scene = Scene::on(Db::Sqlite).await;
    let refused = scene
        .node
        .cli(&["keys", "eth", "create", "--max-gas-price-gwei", "5"]);
    assert!(!refused.status.success(), "{}", said(&refused));
    for part in ["maxGasPriceGWei", "KeySpecific", "PriceMax"] {
        assert!(said(&refused).contains(part), "{}", said(&refused));
    }
    assert_eq!(addresses(&scene), [scene.key]);
}

#[tokio::test]
async fn a_disabled_key_sends_what_it_has_and_gets_nothing_more() {
    let scene = Scene::on(Db::Sqlite).await;
    let job = scene.price_job().await;
    let cents = some_cents();
    scene.serve_price(cents);
    let request = scene.ask_without_funds(&job, "/price").await;
    let key = scene.key.to_string();
    must(
        scene
            .node
            .cli(&["keys", "eth", "chain", "--address", &key, "--disable"]),
    );
    scene.world.fund(scene.key, U256::from(ETHER)).await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));

    // What is asked from now on is answered by the other key.
    let other = scene.api().create_key().await;
    scene.world.fund(other, U256::from(ETHER)).await;
    scene.world.set_authorized(&[scene.key, other]).await;
    let request = scene.ask(&job, "/price").await;
    assert_eq!(scene.answer_to(&request).await, U256::from(cents));
    for key in [scene.key, other] {
        assert_eq!(scene.anvil.transactions_from(key).await.len(), 1, "{key}");
    }
}

/// An oracle contract that the node's key owns.
async fn oracle_of_the_node(scene: &Scene) -> Address {
    let oracle = scene.world.oracle_v06().await;
    let to = scene.key;
    let given = Oracle::transferOwnershipCall { to };
    scene.world.execute(oracle, given).await;
    oracle
}

async fn warning(scene: &Scene) -> String {
    until("the status warns", || async {
        let status = status(scene.api()).await;
        status["warnings"][0].as_str().map(str::to_owned)
    })
    .await
}

async fn no_warning(scene: &Scene) {
    until("the warning is gone", || async {
        let status = status(scene.api()).await;
        status["warnings"].as_array()?.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_sending_key_that_owns_the_oracle_contract_is_warned_about_until_it_does_not() {
    let scene = Scene::on(Db::Sqlite).await;
    let oracle = oracle_of_the_node(&scene).await;
    scene.create(&Spec::get_uint256(oracle)).await;

    let warning = warning(&scene).await;
    for part in [
        &oracle.to_string(),
        &scene.key.to_string(),
        "transferOwnership",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
    let screen = must(scene.node.cli(&["status"]));
    assert!(screen.contains(&warning), "{screen}");

    // Given back, as the warning asks; the next look (here: another job) takes it away.
    scene.anvil.impersonate(scene.key).await;
    let back = alloy::sol_types::SolCall::abi_encode(&Oracle::transferOwnershipCall {
        to: scene.world.owner,
    });
    let back = dodona_testkit::anvil::Call::new(oracle, back);
    scene.anvil.must_execute(scene.key, &back).await;
    scene
        .create(&Spec::get_uint256(oracle).under_a_new_id())
        .await;
    no_warning(&scene).await;
}

#[tokio::test]
async fn a_warning_about_an_owner_goes_with_the_last_job_of_its_contract() {
    let scene = Scene::on(Db::Sqlite).await;
    let oracle = oracle_of_the_node(&scene).await;
    let job = scene.create(&Spec::get_uint256(oracle)).await;
    warning(&scene).await;
    scene.api().delete(&format!("/v2/jobs/{}", job.id)).await;
    no_warning(&scene).await;
}
