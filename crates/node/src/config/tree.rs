//! Settings as written: tables of raw values that remember where they stand.
//!
//! Reading checks names and shapes against the list of keys; merging follows
//! the rules of the Chainlink node (a later file wins, list entries meet by
//! their identity).

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problems, Root};
use super::registry::{Effect, Entry, Key, Schema, list_identity};
use super::value::Raw;

/// One value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    pub raw: Raw,
    pub at: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Leaf(Leaf),
    Table(Table),
    List(Vec<Table>),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub items: BTreeMap<String, Item>,
    pub at: Option<Origin>,
}

impl Table {
    /// The value at a dotted path that meets no list on its way.
    pub fn leaf(&self, path: &str) -> Option<&Leaf> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        match (self.items.get(first)?, rest) {
            (Item::Leaf(leaf), "") => Some(leaf),
            (Item::Table(table), rest) if !rest.is_empty() => table.leaf(rest),
            _ => None,
        }
    }

    /// The entries of a list directly below this table.
    pub fn list(&self, name: &str) -> &[Table] {
        match self.items.get(name) {
            Some(Item::List(tables)) => tables,
            _ => &[],
        }
    }

    pub fn list_mut(&mut self, name: &str) -> &mut [Table] {
        match self.items.get_mut(name) {
            Some(Item::List(tables)) => tables,
            _ => &mut [],
        }
    }

    /// Puts a value at a dotted path; a list on the way gets the value in each of its entries.
    pub fn set(&mut self, path: &str, leaf: Leaf) {
        let Some((first, rest)) = path.split_once('.') else {
            self.items.insert(path.to_owned(), Item::Leaf(leaf));
            return;
        };
        match self
            .items
            .entry(first.to_owned())
            .or_insert_with(|| Item::Table(Table::default()))
        {
            Item::Table(table) => table.set(rest, leaf),
            Item::List(tables) => tables
                .iter_mut()
                .for_each(|table| table.set(rest, leaf.clone())),
            Item::Leaf(_) => {}
        }
    }

    /// Fills in what is missing here from `other`. Lists are left alone.
    pub fn fill(&mut self, other: &Table) {
        for (name, item) in &other.items {
            match (self.items.get_mut(name), item) {
                (Some(Item::Table(mine)), Item::Table(theirs)) => mine.fill(theirs),
                (Some(_), _) => {}
                (None, item) => {
                    self.items.insert(name.clone(), item.clone());
                }
            }
        }
    }

    /// Lays a later file over this one.
    pub fn merge(&mut self, over: Table, section: &str) {
        self.at = over.at.or(self.at.take());
        for (name, item) in over.items {
            let path = if section.is_empty() {
                name.clone()
            } else {
                format!("{section}.{name}")
            };
            match (self.items.get_mut(&name), item) {
                (Some(Item::Table(mine)), Item::Table(theirs)) => mine.merge(theirs, &path),
                (Some(Item::List(mine)), Item::List(theirs)) => merge_lists(mine, theirs, &path),
                (_, item) => {
                    self.items.insert(name, item);
                }
            }
        }
    }

    /// Adds a second secrets file, where no key may be given twice.
    pub fn merge_apart(&mut self, other: Table, section: &str, problems: &mut Problems) {
        for (name, item) in other.items {
            let path = if section.is_empty() {
                name.clone()
            } else {
                format!("{section}.{name}")
            };
            match (self.items.get_mut(&name), item) {
                (Some(Item::Table(mine)), Item::Table(theirs)) => {
                    mine.merge_apart(theirs, &path, problems)
                }
                (Some(Item::Leaf(mine)), Item::Leaf(theirs)) => {
                    let what = format!(
                        "is given twice, here and in {}: secrets do not override each other",
                        mine.at
                    );
                    problems.add(Root::Secrets, path, what, Some(theirs.at));
                }
                (_, item) => {
                    self.items.insert(name, item);
                }
            }
        }
    }
}

fn merge_lists(mine: &mut Vec<Table>, theirs: Vec<Table>, path: &str) {
    let identity = list_identity(path).filter(|identity| !identity.is_empty());
    let Some(identity) = identity else {
        *mine = theirs;
        return;
    };
    let id_of = |table: &Table| table.leaf(identity).map(|leaf| leaf.raw.shown());
    for table in theirs {
        let id = id_of(&table);
        match mine
            .iter_mut()
            .find(|known| id.is_some() && id_of(known) == id)
        {
            Some(known) => known.merge(table, path),
            None => mine.push(table),
        }
    }
}

/// Reads one file. Faults are added to `problems`; what could be read comes back.
pub(super) fn read(
    text: &str,
    source: &str,
    schema: &Schema,
    root: Root,
    problems: &mut Problems,
) -> Table {
    read_section(text, source, schema, "", root, problems)
}

/// Reads a file whose top level is a section of the settings: `EVM` for a file about one chain.
pub(super) fn read_section(
    text: &str,
    source: &str,
    schema: &Schema,
    section: &str,
    root: Root,
    problems: &mut Problems,
) -> Table {
    let mut reader = Reader {
        text,
        source: source.into(),
        schema,
        root,
        problems,
    };
    match DeTable::parse(text) {
        Ok(table) => reader.table(table.get_ref(), section, "", None),
        Err(error) => {
            let at = error.span().map(|span| reader.origin(span.start));
            let what = format!("is not TOML: {}", error.message());
            reader
                .problems
                .add(root, "", what, Some(at.unwrap_or_else(|| reader.whole())));
            Table::default()
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    source: Arc<str>,
    schema: &'a Schema,
    root: Root,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn whole(&self) -> Origin {
        Origin {
            source: self.source.clone(),
            line: None,
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(offset);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Origin {
            source: self.source.clone(),
            line: Some(line),
        }
    }

    fn table(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        shown: &str,
        at: Option<Origin>,
    ) -> Table {
        let mut out = Table {
            items: BTreeMap::new(),
            at,
        };
        for (name, value) in table {
            let at = self.origin(name.span().start);
            let name: &str = name.get_ref();
            let shown_name = if shown.is_empty() {
                name.to_owned()
            } else {
                format!("{shown}.{name}")
            };
            let read = match self.schema.entry(section, name) {
                Entry::Key(key) => Some((
                    key.name().to_owned(),
                    self.key(key, value.get_ref(), &shown_name, at),
                )),
                Entry::Section(path) => {
                    let canonical = path.rsplit('.').next().unwrap_or(&path).to_owned();
                    self.section(value.get_ref(), &path, &shown_name, at)
                        .map(|item| (canonical, item))
                }
                Entry::Unknown => {
                    let nearest = self.schema.nearest(section, name);
                    let what = format!("is not a known key; the nearest one is {nearest}");
                    self.problems.add(self.root, shown_name, what, Some(at));
                    None
                }
            };
            if let Some((name, item)) = read {
                out.items.insert(name, item);
            }
        }
        out
    }

    /// A value that cannot be read stays where it is, so that nobody takes it for missing.
    fn key(&mut self, key: &Key, value: &DeValue<'_>, shown: &str, at: Origin) -> Item {
        let raw = raw(value);
        // A key that does nothing cannot be wrong: its value is another program's business.
        if key.effect == Effect::Used
            && let Err(why) = key.kind.read(&raw)
        {
            self.problems
                .add(self.root, shown, invalid(key, &raw, &why), Some(at.clone()));
        }
        Item::Leaf(Leaf { raw, at })
    }

    fn section(
        &mut self,
        value: &DeValue<'_>,
        path: &str,
        shown: &str,
        at: Origin,
    ) -> Option<Item> {
        match (value, list_identity(path)) {
            (DeValue::Table(table), None) => {
                Some(Item::Table(self.table(table, path, shown, Some(at))))
            }
            (DeValue::Array(entries), Some(identity)) => {
                let mut tables = Vec::new();
                for (index, entry) in entries.iter().enumerate() {
                    let shown = format!("{shown}.{index}");
                    let at = self.origin(entry.span().start);
                    match entry.get_ref() {
                        DeValue::Table(table) => {
                            tables.push(self.table(table, path, &shown, Some(at)))
                        }
                        _ => self
                            .problems
                            .add(self.root, shown, "is not a table", Some(at)),
                    }
                }
                self.unique(&tables, identity, shown);
                Some(Item::List(tables))
            }
            (_, Some(_)) => {
                let what = format!("is a list of tables: write [[{path}]]");
                self.problems.add(self.root, shown, what, Some(at));
                None
            }
            (_, None) => {
                self.problems.add(
                    self.root,
                    shown,
                    format!("is a table: write [{path}]"),
                    Some(at),
                );
                None
            }
        }
    }

    /// Two entries of one file with the same identity are a slip of the pen; in two files they are one entry.
    fn unique(&mut self, tables: &[Table], identity: &str, shown: &str) {
        for (index, table) in tables.iter().enumerate() {
            let Some(leaf) = table.leaf(identity) else {
                continue;
            };
            let same = |other: &Table| {
                other
                    .leaf(identity)
                    .is_some_and(|other| other.raw.shown() == leaf.raw.shown())
            };
            if tables[..index].iter().any(same) {
                let what = format!(
                    "invalid value ({}): duplicate - must be unique",
                    leaf.raw.shown()
                );
                self.problems.add(
                    self.root,
                    format!("{shown}.{index}.{identity}"),
                    what,
                    Some(leaf.at.clone()),
                );
            }
        }
    }
}

/// `invalid value (x): is …`, with secrets left out.
pub(super) fn invalid(key: &Key, raw: &Raw, why: &str) -> String {
    format!("invalid value ({}): {why}", key.kind.shown(raw).shown())
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => {
            Raw::Integer(number.as_str().to_owned())
        }
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number.to_string()),
            Err(_) => Raw::Integer(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Raw::Float(number.as_str().to_owned()),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
    }
}
