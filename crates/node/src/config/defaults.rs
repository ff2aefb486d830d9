//! What holds when nobody says anything: for all chains, and for known ones.

use std::path::Path;
use std::sync::LazyLock;

use super::problem::{Origin, Problems, Root};
use super::registry::{CONFIG, Schema, list_identity};
use super::tree::{self, Item, Leaf, Table};

static CHAINS: LazyLock<Table> = LazyLock::new(|| {
    let mut problems = Problems::default();
    let table = tree::read(
        include_str!("chains.toml"),
        "chain defaults",
        &CONFIG,
        Root::Configuration,
        &mut problems,
    );
    debug_assert!(problems.is_empty(), "{problems}");
    table
});

/// Defaults of known chains: the built-in ones and those of a `CL_CHAIN_DEFAULTS` directory, which win.
pub(super) struct ChainDefaults {
    more: Table,
}

impl ChainDefaults {
    /// Reads a directory of TOML files with one chain each, as the Chainlink node has them.
    pub(super) fn read(directory: Option<&Path>, problems: &mut Problems) -> Self {
        let mut more = Table::default();
        let Some(directory) = directory else {
            return Self { more };
        };
        let at = |source: &Path| {
            Some(Origin {
                source: source.display().to_string().into(),
                line: None,
            })
        };
        let mut files = match std::fs::read_dir(directory) {
            Ok(entries) => entries
                .flatten()
                .map(|entry| entry.path())
                .collect::<Vec<_>>(),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                problems.add(Root::Environment, "CL_CHAIN_DEFAULTS", what, at(directory));
                Vec::new()
            }
        };
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "toml")
        });
        files.sort();
        for file in files {
            match std::fs::read_to_string(&file) {
                // Such a file is one entry of `[[EVM]]` without its header.
                Ok(text) => {
                    let name = file.display().to_string();
                    let chain = tree::read_section(
                        &text,
                        &name,
                        &CONFIG,
                        "EVM",
                        Root::Configuration,
                        problems,
                    );
                    let items = [("EVM".to_owned(), Item::List(vec![chain]))].into();
                    more.merge(Table { items, at: None }, "");
                }
                Err(error) => problems.add(
                    Root::Environment,
                    "CL_CHAIN_DEFAULTS",
                    format!("cannot be read: {error}"),
                    at(&file),
                ),
            }
        }
        Self { more }
    }

    fn of(&self, chain_id: &str) -> impl Iterator<Item = &Table> {
        let wanted = move |table: &&Table| {
            table
                .leaf("ChainID")
                .is_some_and(|leaf| leaf.raw.shown() == chain_id)
        };
        self.more
            .list("EVM")
            .iter()
            .chain(CHAINS.list("EVM"))
            .filter(wanted)
    }

    /// The chain's built-in type, which nobody may change.
    pub(super) fn chain_type(&self, chain_id: &str) -> Option<String> {
        self.of(chain_id)
            .find_map(|table| table.leaf("ChainType"))
            .map(|leaf| leaf.raw.shown())
    }

    /// Whether anything is known about the chain.
    pub(super) fn knows(&self, chain_id: &str) -> bool {
        self.of(chain_id).next().is_some()
    }

    /// Fills in everything that was left open.
    pub(super) fn complete(&self, settings: &mut Table) {
        settings.fill(&fallback(&CONFIG, ""));
        let (chain, node) = (fallback(&CONFIG, "EVM"), fallback(&CONFIG, "EVM.Nodes"));
        for entry in settings.list_mut("EVM") {
            if let Some(id) = entry.leaf("ChainID").map(|leaf| leaf.raw.shown()) {
                self.of(&id).for_each(|known| entry.fill(known));
            }
            entry.fill(&chain);
            entry
                .list_mut("Nodes")
                .iter_mut()
                .for_each(|entry| entry.fill(&node));
        }
    }
}

/// The defaults of the keys that do something, below a section and outside of lists in it.
fn fallback(schema: &Schema, section: &str) -> Table {
    let mut table = Table::default();
    let at = Origin {
        source: "default".into(),
        line: None,
    };
    for key in schema
        .keys()
        .iter()
        .filter(|key| key.is_used() && list_around(&key.path) == section)
    {
        if let Some(default) = &key.default {
            let inside = key
                .path
                .strip_prefix(section)
                .unwrap_or(&key.path)
                .trim_start_matches('.');
            table.set(
                inside,
                Leaf {
                    raw: key.kind.raw_of(default),
                    at: at.clone(),
                },
            );
        }
    }
    table
}

/// The innermost list that a key belongs to; empty for none.
fn list_around(path: &str) -> &str {
    let mut rest = path;
    while let Some((section, _)) = rest.rsplit_once('.') {
        if list_identity(section).is_some() {
            return section;
        }
        rest = section;
    }
    ""
}

/// The ids of all chains with built-in defaults, for the reference page.
pub(super) fn known_chains() -> impl Iterator<Item = &'static Table> {
    CHAINS.list("EVM").iter()
}

/// The leaves of a table with their dotted names.
pub(super) fn leaves(table: &Table) -> Vec<(String, &Leaf)> {
    let mut out = Vec::new();
    for (name, item) in &table.items {
        match item {
            Item::Leaf(leaf) => out.push((name.clone(), leaf)),
            Item::Table(inner) => out.extend(
                leaves(inner)
                    .into_iter()
                    .map(|(rest, leaf)| (format!("{name}.{rest}"), leaf)),
            ),
            Item::List(_) => {}
        }
    }
    out
}
