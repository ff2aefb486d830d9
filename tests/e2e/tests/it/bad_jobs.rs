//! Job specifications that cannot work, given on the command line: a sentence, a failure, and nothing created.

use crate::{
    scene::{Db, Scene},
    specs::Spec,
};

#[tokio::test]
async fn a_spec_that_cannot_work_is_refused_in_a_sentence_and_nothing_is_created() {
    let scene = Scene::on(Db::Sqlite).await;
    let good = Spec::get_uint256(scene.world.operator);
    let oracle = scene.world.operator.to_string();
    let mut wrong_case: Vec<u8> = oracle.clone().into_bytes();
    let letter = wrong_case[2..]
        .iter()
        .position(u8::is_ascii_alphabetic)
        .map(|at| at + 2);
    wrong_case[letter.expect("an address has letters")] ^= 0x20;
    let wrong_case = String::from_utf8(wrong_case).unwrap();

    let cases: [(&str, Spec, &[&str]); 7] = [
        (
            "malformed TOML",
            good.clone()
                .with("schemaVersion = 1", "schemaVersion = = 1"),
            &["line 10", "extra `=`"],
        ),
        (
            "a cycle",
            good.clone()
                .with("request -> asked ->", "send -> request -> asked ->"),
            &["cycle"],
        ),
        (
            "an unknown task",
            good.clone().with("type=jsonparse", "type=jsonpars"),
            &["jsonpars", "jsonparse"],
        ),
        (
            "a wrong ABI",
            good.clone().with("(uint256 value)", "(uint257 value)"),
            &["uint257"],
        ),
        (
            "a wrong checksum",
            good.clone().with(
                &format!("contractAddress = \"{oracle}\""),
                &format!("contractAddress = \"{wrong_case}\""),
            ),
            &["contractAddress", "checksum"],
        ),
        (
            "another chain",
            good.clone()
                .with("evmChainID = \"31337\"", "evmChainID = \"1\""),
            &["chain 1", "31337"],
        ),
        (
            "a missing bridge",
            Spec::bridge(scene.world.operator),
            &["weather", "bridges create"],
        ),
    ];
    for (name, spec, words) in cases {
        scene.node.rewrite("job.toml", spec.text());
        let output = scene.node.cli(&["jobs", "create", "job.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{name} was accepted");
        for word in words {
            assert!(
                said.contains(word),
                "{name}: {said:?} does not say {word:?}"
            );
        }
        assert!(
            said.trim_end().lines().count() <= 6,
            "{name}: not a sentence: {said}"
        );
    }
    let listed = scene.node.cli(&["--json", "jobs", "list"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "[]");

    scene.node.rewrite("job.toml", good.text());
    let output = scene.node.cli(&["jobs", "create", "job.toml"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_misspelt_setting_is_warned_about_as_it_has_no_effect() {
    let scene = Scene::on(Db::Sqlite).await;
    let spec = Spec::get_uint256(scene.world.operator).with("maxTaskDuration", "maxTaskDurration");
    scene.node.rewrite("job.toml", spec.text());
    let output = scene.node.cli(&["jobs", "create", "job.toml"]);
    // Accepted, as the Chainlink node does.
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for word in ["warning", "maxTaskDurration"] {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
}
