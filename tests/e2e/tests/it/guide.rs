//! The guide to moving jobs (`docs/howto/migrate-jobs.md`), followed with the program: specs of today and of the 0.x
//! line, from the file to the running job.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use dodona_pipeline::legacy::{self, Options};
use dodona_pipeline::{JobSpec, Pipeline};
use dodona_testkit::anvil;
use serde_json::Value;

use crate::scene::{Db, Scene};

fn testdata(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(folder)
}

fn files(folder: &str, fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(testdata(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| fits(&path.file_name().unwrap().to_string_lossy()))
        .collect();
    all.sort();
    all
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Runs the program and wants it to be content.
fn good(scene: &Scene, arguments: &[&str]) -> String {
    let output = scene.node.cli(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A node with every bridge and initiator that these pipelines name.
async fn ready(pipelines: impl Iterator<Item = Pipeline>) -> Scene {
    let scene = Scene::build(Db::Sqlite, anvil::Options::default(), |options| {
        options.with_config("[JobPipeline]\nExternalInitiatorsEnabled = true")
    })
    .await;
    let bridges: BTreeSet<String> = pipelines
        .flat_map(|pipeline| {
            let names = pipeline.bridges().into_iter();
            names.map(str::to_lowercase).collect::<Vec<_>>()
        })
        .collect();
    for bridge in bridges {
        let url = scene.source.url_of("/bridge");
        scene.api().create_bridge(&bridge, &url).await;
    }
    for initiator in ["scheduler", "other-chain"] {
        good(
            &scene,
            &["initiators", "create", initiator, "http://127.0.0.1:9/"],
        );
    }
    scene
}

#[tokio::test]
async fn specs_of_today_are_linted_tested_created_and_found_the_same() {
    let specs = files("migrate", |name| {
        name.ends_with(".toml") && !name.ends_with(".answers.toml")
    });
    assert!(specs.len() >= 10, "{} specs", specs.len());
    let parsed = specs.iter().map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        JobSpec::parse(&text).unwrap().pipeline
    });
    let scene = ready(parsed).await;
    for path in &specs {
        let spec = path.to_str().unwrap();
        good(&scene, &["jobs", "lint", spec]);
        let (input, answers) = (
            path.with_extension("json"),
            path.with_extension("answers.toml"),
        );
        let mut test = vec!["jobs", "test", spec, "--sources", answers.to_str().unwrap()];
        if input.exists() {
            test.extend(["--input", input.to_str().unwrap()]);
        }
        let shown = good(&scene, &test);
        assert!(shown.contains("The run "), "{shown}");
        let job = good(&scene, &["--json", "jobs", "create", spec]);
        let job: Value = serde_json::from_str(&job).unwrap();
        let id = job["id"].as_str().unwrap_or_else(|| panic!("{job}"));
        assert_eq!(
            good(&scene, &["jobs", "diff", spec, id]),
            "No difference.\n"
        );
    }
    let listed = scene.api().get("/v2/jobs?size=100").await;
    assert_eq!(listed.as_array().map(Vec::len), Some(specs.len()));
}

#[tokio::test]
async fn specs_of_the_0x_line_are_converted_created_and_found_the_same() {
    let specs = files("legacy", |name| name.ends_with(".json"));
    assert!(specs.len() >= 10, "{} specs", specs.len());
    let options = Options {
        evm_chain_id: Some(31337),
        ..Options::default()
    };
    let jobs: Vec<_> = specs
        .iter()
        .map(|path| legacy::import(&std::fs::read_to_string(path).unwrap(), &options).jobs)
        .collect();
    let pipelines = jobs
        .iter()
        .flatten()
        .map(|job| JobSpec::parse(&job.toml).unwrap().pipeline);
    let scene = ready(pipelines).await;
    let mut created = 0;
    for (path, jobs) in specs.iter().zip(&jobs) {
        let spec = path.to_str().unwrap();
        good(
            &scene,
            &[
                "jobs",
                "import",
                spec,
                "--evm-chain-id",
                "31337",
                "--create",
            ],
        );
        for job in jobs {
            created += 1;
            scene.node.rewrite("new.toml", &job.toml);
            let id = created.to_string();
            let same = good(&scene, &["jobs", "diff", "new.toml", &id]);
            assert_eq!(same, "No difference.\n", "{spec}");
        }
    }
    let listed = scene.api().get("/v2/jobs?size=100").await;
    assert_eq!(listed.as_array().map(Vec::len), Some(created));
}
