//! Pages made from the program are the ones in the repository.
//!
//! To bring them up to date: `DODONA_UPDATE_PAGES=1 cargo test -p dodona`.

use std::path::Path;

fn holds(page: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference")
        .join(page);
    if std::env::var_os("DODONA_UPDATE_PAGES").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = held
        .lines()
        .zip(made.lines())
        .find(|(held, made)| held != made);
    assert!(
        held == made,
        "docs/reference/{page} is out of date; run DODONA_UPDATE_PAGES=1 cargo test -p dodona\nfirst difference: {differs:#?}"
    );
}

#[test]
fn the_page_of_settings_is_the_one_the_program_prints() {
    holds("configuration.md", &dodona_node::config::reference::page());
}

#[test]
fn the_page_of_commands_is_the_one_the_program_knows() {
    holds("cli.md", &dodona_node::help::reference());
}
