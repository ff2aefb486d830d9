//! Every key there is: what it looks like, what it is when nobody says anything, what it does here.
//!
//! A key without an entry is a typing error, and the operator is told the nearest one that exists.

mod dodona;
mod evm;
mod gas;
mod node;
mod secrets;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::value::Kind;

/// One setting.
#[derive(Debug, Clone)]
pub struct Key {
    /// Dotted, without the numbers of list entries: `EVM.Nodes.Name`.
    pub path: String,
    pub kind: Kind,
    /// In the notation of the file; `None` where nothing is a meaningful answer.
    pub default: Option<String>,
    /// What the Chainlink node takes instead, where ours is another.
    pub default_there: Option<&'static str>,
    /// One sentence for the reference page, with the unit.
    pub doc: &'static str,
    /// The variables of the Chainlink node 0.10 to 1.13 that mean this key, newest first.
    pub variables: Vec<String>,
    pub effect: Effect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Used,
    /// Accepted so that existing files work; the text says why it does nothing.
    Without(String),
}

impl Key {
    pub(super) fn new(path: &str, kind: Kind, default: &str, doc: &'static str) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            default: (!default.is_empty()).then(|| default.to_owned()),
            default_there: None,
            doc,
            variables: Vec::new(),
            effect: Effect::Used,
        }
    }

    pub(super) fn old(mut self, names: &[&str]) -> Self {
        self.variables = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    pub(super) fn there(mut self, default: &'static str) -> Self {
        self.default_there = Some(default);
        self
    }

    pub(super) fn without_effect(mut self, why: &str) -> Self {
        self.effect = Effect::Without(why.to_owned());
        self
    }

    /// The part before the last dot; empty at the top.
    pub fn section(&self) -> &str {
        self.path
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// The part after the last dot.
    pub fn name(&self) -> &str {
        self.path
            .rsplit_once('.')
            .map_or(self.path.as_str(), |(_, name)| name)
    }

    pub fn is_used(&self) -> bool {
        self.effect == Effect::Used
    }
}

/// Sections that are lists of tables, and the key that tells their entries apart ("" = none).
const LISTS: &[(&str, &str)] = &[
    ("EVM", "ChainID"),
    ("EVM.Nodes", "Name"),
    ("EVM.KeySpecific", "Key"),
    ("TelemetryIngress.Endpoints", ""),
    ("Capabilities.GatewayConnector.Gateways", ""),
];

/// A set of keys that may stand in one kind of file, with their sections.
pub struct Schema {
    keys: Vec<Key>,
    by_path: BTreeMap<String, usize>,
    /// Every prefix of a key.
    sections: BTreeMap<String, ()>,
}

/// What a name inside a section stands for.
pub enum Entry<'a> {
    Key(&'a Key),
    /// A table, or a list of tables.
    Section(String),
    Unknown,
}

impl Schema {
    fn new(keys: Vec<Key>) -> Self {
        let mut by_path = BTreeMap::new();
        let mut sections = BTreeMap::new();
        for (index, key) in keys.iter().enumerate() {
            let twice = by_path.insert(key.path.clone(), index);
            debug_assert!(twice.is_none(), "{} is listed twice", key.path);
            let mut rest = key.path.as_str();
            while let Some((section, _)) = rest.rsplit_once('.') {
                sections.insert(section.to_owned(), ());
                rest = section;
            }
        }
        Self {
            keys,
            by_path,
            sections,
        }
    }

    /// All keys, section by section, in the order of the reference page.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub fn key(&self, path: &str) -> Option<&Key> {
        self.by_path.get(path).map(|index| &self.keys[*index])
    }

    /// The keys below a section, its subsections included.
    pub fn below(&self, section: &str) -> impl Iterator<Item = &Key> {
        let prefix = format!("{section}.");
        self.keys
            .iter()
            .filter(move |key| key.path.starts_with(&prefix))
    }

    /// Looks a name up as TOML libraries for Go do: capitals do not matter, the exact spelling wins.
    pub fn entry(&self, section: &str, name: &str) -> Entry<'_> {
        let path = join(section, name);
        if let Some(key) = self.key(&path) {
            return Entry::Key(key);
        }
        if self.sections.contains_key(&path) {
            return Entry::Section(path);
        }
        let same = |other: &String| other.eq_ignore_ascii_case(&path);
        if let Some(index) = self
            .by_path
            .iter()
            .find_map(|(other, index)| same(other).then_some(*index))
        {
            return Entry::Key(&self.keys[index]);
        }
        match self.sections.keys().find(|other| same(other)) {
            Some(section) => Entry::Section(section.clone()),
            None => Entry::Unknown,
        }
    }

    /// The key or section that a misspelt name most likely meant.
    pub fn nearest(&self, section: &str, name: &str) -> &str {
        let wanted = join(section, name).to_lowercase().replace('.', "");
        let last = name.to_lowercase();
        let likeness = |known: &&str| {
            let useful = if self.key(known).is_some_and(Key::is_used) {
                0.05
            } else {
                0.0
            };
            let known = known.to_lowercase();
            let (home, leaf) = known.rsplit_once('.').unwrap_or(("", known.as_str()));
            let neighbour = if home == section.to_lowercase() {
                0.12
            } else {
                0.0
            };
            let whole = strsim::normalized_damerau_levenshtein(&wanted, &known.replace('.', ""));
            let name = strsim::normalized_damerau_levenshtein(&last, leaf);
            let flat = if section.is_empty() { whole } else { 0.0 };
            ((0.3 * whole + 0.7 * name).max(flat) + neighbour + useful) * 1e6
        };
        let names = self
            .by_path
            .keys()
            .chain(self.sections.keys())
            .map(String::as_str);
        names
            .max_by_key(|known| likeness(known) as u64)
            .unwrap_or("none")
    }
}

/// The identity key of a list of tables, if the section is one.
pub fn list_identity(section: &str) -> Option<&'static str> {
    LISTS
        .iter()
        .find(|(list, _)| *list == section)
        .map(|(_, identity)| *identity)
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// What may stand in a configuration file.
pub static CONFIG: LazyLock<Schema> = LazyLock::new(|| {
    let mut keys = node::keys();
    keys.extend(evm::keys());
    keys.extend(dodona::keys());
    keys.extend(keys_without_effect(include_str!("without_effect.txt")));
    Schema::new(keys)
});

/// What may stand in a secrets file.
pub static SECRETS: LazyLock<Schema> = LazyLock::new(|| Schema::new(secrets::keys()));

/// Reads the list of keys that do nothing here; its head explains the notation.
fn keys_without_effect(list: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let (mut section, mut why) = ("", "");
    for line in list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some((name, reason)) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "))
        {
            (section, why) = (name, reason);
            continue;
        }
        let (name, rest) = line
            .split_once('=')
            .expect("every line of the list is `Key = default`");
        let (default, variables) = rest.split_once('|').unwrap_or((rest, ""));
        let variables: Vec<&str> = variables.split_whitespace().collect();
        let path = join(section, name.trim());
        keys.push(
            Key::new(&path, Kind::Any, default.trim(), "")
                .old(&variables)
                .without_effect(why),
        );
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_own_kind() {
        for key in CONFIG
            .keys()
            .iter()
            .chain(SECRETS.keys())
            .filter(|key| key.is_used())
        {
            if let Some(default) = &key.default {
                let read = key.kind.read_text(default);
                assert!(
                    read.is_ok(),
                    "{}: {default}: {}",
                    key.path,
                    read.unwrap_err()
                );
            }
        }
    }

    #[test]
    fn every_key_that_does_something_is_explained_in_a_sentence() {
        for key in CONFIG
            .keys()
            .iter()
            .chain(SECRETS.keys())
            .filter(|key| key.is_used())
        {
            assert!(key.doc.ends_with('.'), "{}: {:?}", key.path, key.doc);
        }
    }

    #[test]
    fn a_variable_means_one_key() {
        let mut seen = BTreeMap::new();
        for key in CONFIG.keys().iter().chain(SECRETS.keys()) {
            for variable in &key.variables {
                if let Some(other) = seen.insert(variable.clone(), key.path.clone()) {
                    panic!("{variable} stands for {other} and for {}", key.path);
                }
            }
        }
    }

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        assert_eq!(CONFIG.nearest("WebServer", "HTPPort"), "WebServer.HTTPPort");
        assert_eq!(
            CONFIG.nearest("EVM", "MinIncomingConfirmation"),
            "EVM.MinIncomingConfirmations"
        );
        assert_eq!(CONFIG.nearest("", "HTTPPort"), "WebServer.HTTPPort");
        assert_eq!(
            CONFIG.nearest("EVM.GasEstimator", "PriceMn"),
            "EVM.GasEstimator.PriceMin"
        );
        assert_eq!(CONFIG.nearest("", "WebSever"), "WebServer");
        assert_eq!(CONFIG.nearest("", "LogLevel"), "Log.Level");
        assert_eq!(SECRETS.nearest("Database", "Paswort"), "Password");
        assert_eq!(SECRETS.nearest("Database", "Url1"), "Database.URL");
    }
}
