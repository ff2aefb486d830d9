//! Looking settings up by name, as the types they stand for.

use std::net::IpAddr;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use secrecy::SecretString;
use url::Url;

use super::problem::Origin;
use super::registry::Schema;
use super::secret_url::SecretUrl;
use super::tree::{Leaf, Table};
use super::value::Value;

/// One table of settings with its place among all of them.
#[derive(Clone)]
pub(super) struct View<'a> {
    pub table: &'a Table,
    schema: &'static Schema,
    /// As the list of keys has it: `EVM.Nodes`.
    section: String,
    /// As people read it: `EVM.0.Nodes.1`.
    shown: String,
}

impl<'a> View<'a> {
    pub(super) fn new(table: &'a Table, schema: &'static Schema) -> Self {
        Self {
            table,
            schema,
            section: String::new(),
            shown: String::new(),
        }
    }

    /// The entries of a list below this table.
    pub(super) fn list(&self, name: &str) -> Vec<View<'a>> {
        let below = |index: usize, table: &'a Table| View {
            table,
            schema: self.schema,
            section: joined(&self.section, name),
            shown: joined(&self.shown, &format!("{name}.{index}")),
        };
        self.table
            .list(name)
            .iter()
            .enumerate()
            .map(|(index, table)| below(index, table))
            .collect()
    }

    /// The dotted path for messages.
    pub(super) fn path(&self, name: &str) -> String {
        joined(&self.shown, name)
    }

    pub(super) fn leaf(&self, name: &str) -> Option<&'a Leaf> {
        self.table.leaf(name)
    }

    /// Where a value stands; for a missing one, where its table begins.
    pub(super) fn at(&self, name: &str) -> Option<Origin> {
        self.leaf(name)
            .map(|leaf| leaf.at.clone())
            .or_else(|| self.table.at.clone())
    }

    /// The value, unless it is missing or was already found to be unreadable.
    pub(super) fn get<T: FromValue>(&self, name: &str) -> Option<T> {
        let path = joined(&self.section, name);
        let key = self
            .schema
            .key(&path)
            .unwrap_or_else(|| panic!("{path} is in the list of keys"));
        let value = key.kind.read(&self.leaf(name)?.raw).ok()?;
        let shape = format!("{value:?}");
        Some(
            T::from_value(value).unwrap_or_else(|| {
                panic!("{path} is listed as what it is read as, not as {shape}")
            }),
        )
    }

    /// A value that has a default, once everything was checked.
    pub(super) fn must<T: FromValue>(&self, name: &str) -> T {
        self.get(name)
            .unwrap_or_else(|| panic!("{} has a default and was checked", self.path(name)))
    }
}

fn joined(left: &str, right: &str) -> String {
    if left.is_empty() {
        right.to_owned()
    } else {
        format!("{left}.{right}")
    }
}

/// Types that settings come in.
pub(super) trait FromValue: Sized {
    /// `None` when the list of keys says another kind: a slip of ours, found by the tests.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty: $pattern:pat => $value:expr;)*) => {
        $(impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $pattern => $value,
                    _ => None,
                }
            }
        })*
    };
}

from_value! {
    bool: Value::Bool(value) => Some(value);
    u64: Value::Int(value) | Value::Size(value) => Some(value);
    u32: Value::Int(value) => value.try_into().ok();
    u16: Value::Int(value) => value.try_into().ok();
    u8: Value::Int(value) => value.try_into().ok();
    usize: Value::Int(value) => value.try_into().ok();
    f64: Value::Float(value) => Some(value);
    String: Value::Text(value) => Some(value);
    SecretString: Value::Text(value) => Some(SecretString::from(value));
    Duration: Value::Duration(value) => Some(value);
    U256: Value::Amount(value) => Some(value);
    Address: Value::Address(value) => Some(value);
    Url: Value::Url(value) => Some(value);
    SecretUrl: Value::Url(value) => Some(SecretUrl::new(value));
    IpAddr: Value::Ip(value) => Some(value);
    Vec<String>: Value::List(value) => Some(value);
}
