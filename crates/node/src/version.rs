//! Which build this is.

/// As in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, where the build was told (`DODONA_COMMIT`); builds from a plain clone are not.
pub const COMMIT: &str = match option_env!("DODONA_COMMIT") {
    Some(commit) => commit,
    None => "unset",
};

/// `0.1.0@abcdef0`
pub fn short() -> String {
    format!("{VERSION}@{}", COMMIT.get(..7).unwrap_or(COMMIT))
}
