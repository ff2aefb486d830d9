//! Settings as text again: what `validate` prints.

use super::registry::{Key, Schema, list_identity};
use super::tree::{Item, Table};

/// TOML in the order of the reference page. Secrets and access tokens are masked,
/// so the output may be pasted into a ticket.
pub fn to_toml(table: &Table, schema: &Schema) -> String {
    let mut out = String::new();
    print(table, schema, "", &mut out);
    out
}

fn print(table: &Table, schema: &Schema, section: &str, out: &mut String) {
    let names = names_in_order(schema, section);
    for (name, key) in &names {
        if let (Some(Item::Leaf(leaf)), Some(key)) = (table.items.get(*name), key) {
            out.push_str(&format!(
                "{name} = {}\n",
                key.kind.shown(&leaf.raw).to_toml()
            ));
        }
    }
    for (name, _) in &names {
        let path = if section.is_empty() {
            (*name).to_owned()
        } else {
            format!("{section}.{name}")
        };
        match table.items.get(*name) {
            Some(Item::Table(inner)) => {
                if inner
                    .items
                    .values()
                    .any(|item| matches!(item, Item::Leaf(_)))
                {
                    header(out, &format!("[{path}]"));
                }
                print(inner, schema, &path, out);
            }
            Some(Item::List(tables)) => {
                for inner in tables {
                    header(out, &format!("[[{path}]]"));
                    print(inner, schema, &path, out);
                }
            }
            _ => {}
        }
    }
}

fn header(out: &mut String, text: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(text);
    out.push('\n');
}

/// The names directly below a section, as the list of keys has them, each once; keys come with their entry.
fn names_in_order<'a>(schema: &'a Schema, section: &str) -> Vec<(&'a str, Option<&'a Key>)> {
    let prefix = if section.is_empty() {
        String::new()
    } else {
        format!("{section}.")
    };
    let mut names: Vec<(&str, Option<&Key>)> = Vec::new();
    for key in schema.keys() {
        let Some(rest) = key.path.strip_prefix(&prefix) else {
            continue;
        };
        let (name, is_key) = rest
            .split_once('.')
            .map_or((rest, true), |(name, _)| (name, false));
        if !names.iter().any(|(known, _)| *known == name) {
            names.push((name, is_key.then_some(key)));
        }
    }
    // Plain sections before lists of tables: TOML would otherwise attach them to the last entry.
    names.sort_by_key(|(name, _)| list_identity(&format!("{prefix}{name}")).is_some());
    names
}
