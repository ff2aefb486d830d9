//! From files and variables to settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::check;
use super::defaults::ChainDefaults;
use super::environment;
use super::problem::{Origin, Problems, Root};
use super::registry::{CONFIG, Effect, SECRETS, Schema};
use super::tree::{self, Item, Leaf, Table};
use super::typed;
use super::types::{Config, Source};

/// Where to look for settings.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// `--config`, in order: a later file overrides an earlier one.
    pub config_files: Vec<PathBuf>,
    /// `--secrets`: files that must not overlap.
    pub secrets_files: Vec<PathBuf>,
    /// The process environment.
    pub variables: BTreeMap<String, String>,
}

impl Inputs {
    /// These files and the environment of this process. Nothing else in the product reads the environment.
    pub fn of_process(config_files: Vec<PathBuf>, secrets_files: Vec<PathBuf>) -> Self {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect();
        Self {
            config_files,
            secrets_files,
            variables,
        }
    }

    /// Any file, or `CL_CONFIG`, means that the old variables are not read.
    pub fn source(&self) -> Source {
        let files = !self.config_files.is_empty() || !self.secrets_files.is_empty();
        if files || self.variable("CL_CONFIG").is_some() {
            Source::Files
        } else {
            Source::Environment
        }
    }

    /// A variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.trim().is_empty())
    }
}

/// Settings on their way: what was said, what that comes to, and what is wrong with it.
#[derive(Debug)]
pub struct Examined {
    pub input: Table,
    pub secrets: Table,
    /// With all defaults.
    pub effective: Table,
    pub result: Result<Config, Problems>,
}

/// Reads and checks settings. Nothing but the named files is touched.
pub fn load(inputs: &Inputs) -> Result<Config, Problems> {
    examine(inputs).result
}

/// As [`load`], keeping the steps for `node validate`.
pub fn examine(inputs: &Inputs) -> Examined {
    let mut problems = Problems::default();
    let mut notes = Vec::new();
    let source = inputs.source();
    let input = match source {
        Source::Files => read_files(inputs, &mut problems),
        Source::Environment => environment::settings(inputs, &mut problems, &mut notes),
    };
    let secrets = read_secrets(inputs, source, &mut problems);
    if source == Source::Files {
        notes.extend(environment::ignored(inputs));
    }
    notes.extend(without_effect(&input, &CONFIG));
    notes.extend(without_effect(&secrets, &SECRETS));

    let directory = inputs.variable("CL_CHAIN_DEFAULTS").map(Path::new);
    let chains = ChainDefaults::read(directory, &mut problems);
    let mut effective = input.clone();
    chains.complete(&mut effective);
    check::settings(&input, &effective, &chains, &mut problems);
    check::secrets(&secrets, &effective, source, &mut problems, &mut notes);

    let result = if problems.is_empty() {
        notes.extend(check::notes(&input, &effective, &secrets, &chains));
        Ok(typed::config(&effective, &secrets, inputs, source, notes))
    } else {
        problems.sort();
        Err(problems)
    };
    Examined {
        input,
        secrets,
        effective,
        result,
    }
}

fn read_files(inputs: &Inputs, problems: &mut Problems) -> Table {
    let mut settings = Table::default();
    for file in &inputs.config_files {
        settings.merge(read_file(file, &CONFIG, Root::Configuration, problems), "");
    }
    if let Some(text) = inputs.variable("CL_CONFIG") {
        settings.merge(
            tree::read(text, "CL_CONFIG", &CONFIG, Root::Configuration, problems),
            "",
        );
    }
    settings
}

fn read_file(file: &Path, schema: &Schema, root: Root, problems: &mut Problems) -> Table {
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => tree::read(&text, &name, schema, root, problems),
        Err(error) => {
            let at = Origin {
                source: name.as_str().into(),
                line: None,
            };
            problems.add(
                root,
                "",
                format!("the file cannot be read: {error}"),
                Some(at),
            );
            Table::default()
        }
    }
}

fn read_secrets(inputs: &Inputs, source: Source, problems: &mut Problems) -> Table {
    let mut secrets = Table::default();
    for file in &inputs.secrets_files {
        let read = read_file(file, &SECRETS, Root::Secrets, problems);
        secrets.merge_apart(read, "", problems);
    }
    for key in SECRETS.keys() {
        let allowed = |name: &&String| source == Source::Environment || name.starts_with("CL_");
        let Some(name) = key
            .variables
            .iter()
            .filter(allowed)
            .find(|name| inputs.variable(name).is_some())
        else {
            continue;
        };
        let raw = key.kind.raw_of(inputs.variable(name).unwrap_or_default());
        let at = environment::origin(name);
        match key.kind.read(&raw) {
            Ok(_) => secrets.set(&key.path, Leaf { raw, at }),
            Err(why) => problems.add(
                Root::Environment,
                name.as_str(),
                tree::invalid(key, &raw, &why),
                None,
            ),
        }
    }
    secrets
}

/// One note for each reason why keys that were given do nothing.
fn without_effect(table: &Table, schema: &Schema) -> Vec<String> {
    let mut given = Vec::new();
    paths(table, "", &mut given);
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for path in &given {
        let Some(Effect::Without(why)) = schema.key(path).map(|key| &key.effect) else {
            continue;
        };
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, paths)) => paths.push(path),
            None => reasons.push((why, vec![path])),
        }
    }
    let sentence = |(why, paths): (&str, Vec<&str>)| {
        format!("{}: accepted without effect, {why}", paths.join(", "))
    };
    reasons.into_iter().map(sentence).collect()
}

/// The keys that were given, without the numbers of list entries, each once.
fn paths(table: &Table, section: &str, out: &mut Vec<String>) {
    for (name, item) in &table.items {
        let path = if section.is_empty() {
            name.clone()
        } else {
            format!("{section}.{name}")
        };
        match item {
            Item::Leaf(_) if out.contains(&path) => {}
            Item::Leaf(_) => out.push(path),
            Item::Table(inner) => paths(inner, &path, out),
            Item::List(tables) => tables.iter().for_each(|inner| paths(inner, &path, out)),
        }
    }
}
