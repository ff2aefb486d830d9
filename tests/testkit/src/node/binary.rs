//! Where the program under test is.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

use crate::workspace;

/// Names the dodona program to test instead of building it.
pub const BINARY: &str = "DODONA_BIN";

/// The program; built, once per test process, unless [`BINARY`] names one.
pub(crate) fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(
        || match env::var_os(BINARY).filter(|given| !given.is_empty()) {
            Some(given) => given.into(),
            None => build(),
        },
    )
}

fn build() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", "dodona", "--bin", "dodona"])
        .current_dir(workspace::root());
    // What cargo tells us about ourselves is not for the other one: dependencies that look at it would be built
    // anew, and once more by whoever builds next.
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    let built = command.status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the node does not build: {command:?}"
    );
    // We are target/debug/deps/NAME.
    let ours = env::current_exe().expect("a test program knows where it is");
    ours.ancestors()
        .nth(2)
        .expect("cargo puts tests into deps/")
        .join("dodona")
}
