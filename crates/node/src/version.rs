//! Which build this is.

use std::sync::LazyLock;

/// As in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, where the build was told (`DODONA_COMMIT`); builds from a plain clone are not.
pub const COMMIT: &str = match option_env!("DODONA_COMMIT") {
    Some(commit) => commit,
    None => "unset",
};

static LONG: LazyLock<String> = LazyLock::new(|| format!("{VERSION}@{COMMIT}"));
static SHORT: LazyLock<String> =
    LazyLock::new(|| format!("{VERSION}@{}", COMMIT.get(..7).unwrap_or(COMMIT)));

/// `0.1.0@<commit>`, as `--version` shows it.
pub fn long() -> &'static str {
    &LONG
}

/// `0.1.0@abcdef0`, as log lines carry it.
pub fn short() -> &'static str {
    &SHORT
}
