//! What `docs/howto/migrate-jobs.md` says to do with a spec of today, done with those of `testdata/migrate`: each is
//! linted and rehearsed on recorded answers, and what comes of it stands beside it.
//!
//! To bring these up to date: `DODONA_UPDATE_PAGES=1 cargo test -p dodona-pipeline`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dodona_pipeline::JobSpec;
use dodona_pipeline::lint::{self, Facts, Level};
use dodona_pipeline::rehearsal::{Rehearsal, Sources};

fn dir() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/migrate"
    ))
}

/// The specs: every TOML file that holds no answers.
fn specs() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.ends_with(".toml") && !name.ends_with(".answers.toml")
        })
        .collect();
    all.sort();
    all
}

fn beside(spec: &Path, ending: &str) -> String {
    std::fs::read_to_string(spec.with_extension(ending)).unwrap_or_default()
}

/// What an operator sees who follows the guide, without the times.
async fn page(path: &Path) -> (String, &'static str) {
    let toml = std::fs::read_to_string(path).unwrap();
    let findings = lint::lint(&toml, &Facts::default());
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        findings.iter().all(|it| it.level < Level::Error),
        "{name}: {findings:#?}"
    );
    let mut page = lint::text(&[(name, findings.as_slice())]);
    let spec = JobSpec::parse(&toml).unwrap();
    let rehearsal = Rehearsal {
        spec: &spec,
        input: &beside(path, "json"),
        sources: Sources::read(&beside(path, "answers.toml")).unwrap(),
        live: None,
    };
    let report = rehearsal.run().await.unwrap();
    assert!(report.is_good(), "{name}: {report:#?}");
    page.push('\n');
    for line in &report.lines {
        let _ = writeln!(page, "{}: {}", line.dot_id, line.text);
    }
    let _ = writeln!(page, "\n{}", report.verdict());
    (page, spec.kind.name())
}

#[tokio::test]
async fn every_spec_of_the_guide_is_linted_and_rehearsed_as_it_stands_beside_it() {
    let specs = specs();
    assert!(specs.len() >= 10, "{} specs", specs.len());
    let mut kinds = BTreeSet::new();
    for path in specs {
        let (new, kind) = page(&path).await;
        kinds.insert(kind);
        if std::env::var_os("DODONA_UPDATE_PAGES").is_some() {
            std::fs::write(path.with_extension("txt"), &new).unwrap();
        }
        assert_eq!(
            new,
            beside(&path, "txt"),
            "{} is seen differently: run DODONA_UPDATE_PAGES=1 cargo test -p dodona-pipeline",
            path.display()
        );
    }
    let every_kind = ["cron", "directrequest", "fluxmonitor", "webhook"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), every_kind);
}
