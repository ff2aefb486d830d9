//! One document's top-level keys, each taken once and checked as it is taken.

use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use bigdecimal::BigDecimal;
use num_traits::Signed;
use toml::{Table, Value as Toml};
use uuid::Uuid;

use super::{InitiatorSpec, SpecError};
use crate::duration::parse_duration;
use crate::error::excerpt;
use crate::nearest::nearest;

/// Keys that other releases read and that change nothing here.
const WITHOUT_EFFECT: &[&str] = &["streamID"];

/// Keys that are also read in Pascal and in lower case.
const IN_ANY_CASE: &[&str] = &[
    "maxTaskDuration",
    "pollTimerPeriod",
    "pollTimerDisabled",
    "idleTimerPeriod",
    "idleTimerDisabled",
    "drumbeatSchedule",
    "drumbeatRandomDelay",
    "drumbeatEnabled",
    "minPayment",
];

pub(super) struct Fields {
    table: Table,
    known: Vec<&'static str>,
    warnings: Vec<String>,
}

impl Fields {
    pub(super) fn read(toml: &str) -> Result<Self, SpecError> {
        let table = toml
            .parse::<Table>()
            .map_err(|error| SpecError::Toml(error.to_string().trim_end().to_owned()))?;
        Ok(Self {
            table,
            known: WITHOUT_EFFECT.to_vec(),
            warnings: Vec::new(),
        })
    }

    /// Takes a key, in the letter cases that are read.
    fn take(&mut self, key: &'static str) -> Option<Toml> {
        self.known.push(key);
        if let Some(value) = self.table.remove(key) {
            return Some(value);
        }
        if !IN_ANY_CASE.contains(&key) {
            return None;
        }
        let (first, rest) = key.split_at(1);
        [first.to_uppercase() + rest, key.to_lowercase()]
            .iter()
            .find_map(|spelling| self.table.remove(spelling))
    }

    fn wrong(key: &'static str, problem: impl Into<String>) -> SpecError {
        SpecError::Field {
            key,
            problem: problem.into(),
        }
    }

    fn expected(key: &'static str, what: &str, found: &Toml) -> SpecError {
        let found = excerpt(found.to_string().trim(), 60);
        Self::wrong(key, format!("expected {what}, found {found}"))
    }

    pub(super) fn string(&mut self, key: &'static str) -> Result<Option<String>, SpecError> {
        match self.take(key) {
            None => Ok(None),
            Some(Toml::String(text)) => Ok(Some(text)),
            Some(other) => Err(Self::expected(key, "a string", &other)),
        }
    }

    pub(super) fn bool(&mut self, key: &'static str) -> Result<Option<bool>, SpecError> {
        match self.take(key) {
            None => Ok(None),
            Some(Toml::Boolean(value)) => Ok(Some(value)),
            Some(other) => Err(Self::expected(key, "true or false", &other)),
        }
    }

    pub(super) fn u32(&mut self, key: &'static str) -> Result<Option<u32>, SpecError> {
        match self.take(key) {
            None => Ok(None),
            Some(Toml::Integer(n)) => u32::try_from(n)
                .map(Some)
                .map_err(|_| Self::wrong(key, format!("{n} is not between 0 and {}", u32::MAX))),
            Some(other) => Err(Self::expected(key, "a whole number", &other)),
        }
    }

    /// A number that is not negative, exactly as written; zero without the key.
    pub(super) fn threshold(&mut self, key: &'static str) -> Result<BigDecimal, SpecError> {
        let number = match self.take(key) {
            None => return Ok(BigDecimal::from(0)),
            Some(Toml::Integer(n)) => Some(BigDecimal::from(n)),
            // Shortest digits that read back the same: the number as it was written.
            Some(Toml::Float(f)) if f.is_finite() => crate::decimal::parse(&format!("{f:e}")).ok(),
            Some(other) => return Err(Self::expected(key, "a number", &other)),
        };
        number
            .filter(|number| !number.is_negative())
            .ok_or_else(|| Self::wrong(key, "it must be a number that is not negative"))
    }

    pub(super) fn schema_version(&mut self) -> Result<(), SpecError> {
        match self.take("schemaVersion") {
            Some(Toml::Integer(1)) => Ok(()),
            None => Err(SpecError::SchemaVersion("missing".into())),
            Some(other) => Err(SpecError::SchemaVersion(excerpt(
                other.to_string().trim(),
                40,
            ))),
        }
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, SpecError> {
        let text = self.string(key)?;
        text.map(|text| parse_duration(&text).map_err(|e| Self::wrong(key, e)))
            .transpose()
    }

    pub(super) fn external_job_id(&mut self) -> Result<Option<Uuid>, SpecError> {
        const KEY: &str = "externalJobID";
        let Some(text) = self.string(KEY)? else {
            return Ok(None);
        };
        let id = Uuid::parse_str(&text)
            .map_err(|_| Self::wrong(KEY, format!("{:?} is not a UUID", excerpt(&text, 60))))?;
        if id.is_nil() {
            return Err(Self::wrong(KEY, "it must not be all zeros"));
        }
        Ok(Some(id))
    }

    /// An integer or a decimal text.
    pub(super) fn chain_id(&mut self, key: &'static str) -> Result<Option<u64>, SpecError> {
        let id = match self.take(key) {
            None => return Ok(None),
            Some(Toml::Integer(n)) => u64::try_from(n).ok(),
            Some(Toml::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Toml::String(text)) => only_digits(&text).and_then(|t| t.parse().ok()),
            Some(other) => return Err(Self::expected(key, "a chain id such as \"1\"", &other)),
        };
        match id {
            Some(0) | None => Err(Self::wrong(
                key,
                "it is not a chain id: write a positive whole number",
            )),
            Some(id) => Ok(Some(id)),
        }
    }

    pub(super) fn juels(&mut self, key: &'static str) -> Result<Option<U256>, SpecError> {
        let amount = match self.take(key) {
            None => return Ok(None),
            Some(Toml::Integer(n)) => u64::try_from(n).ok().map(U256::from),
            Some(Toml::String(text)) => {
                only_digits(&text).and_then(|t| U256::from_str_radix(t, 10).ok())
            }
            Some(other) => {
                return Err(Self::expected(
                    key,
                    "a decimal text such as \"1000\"",
                    &other,
                ));
            }
        };
        let problem = "it is not an amount: write a whole number of juels in quotes, for example \"100000000000000000\" for 0.1 LINK";
        amount.map(Some).ok_or_else(|| Self::wrong(key, problem))
    }

    /// An address whose letter case is its checksum.
    pub(super) fn checksummed_address(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Address>, SpecError> {
        let Some(text) = self.string(key)? else {
            return Ok(None);
        };
        let address = parse_address(&text).ok_or_else(|| {
            Self::wrong(key, format!("{:?} is not an address", excerpt(&text, 60)))
        })?;
        let right = address.to_checksum(None);
        if text != right {
            return Err(Self::wrong(
                key,
                format!("the checksum of {text} is wrong: if the address is right, write {right}"),
            ));
        }
        Ok(Some(address))
    }

    pub(super) fn addresses(&mut self, key: &'static str) -> Result<Vec<Address>, SpecError> {
        let items = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Toml::Array(items)) => items,
            Some(other) => return Err(Self::expected(key, "a list of addresses", &other)),
        };
        items
            .iter()
            .map(|item| {
                let text = item.as_str().ok_or_else(|| Self::expected(key, "an address in quotes", item))?;
                let address = parse_address(text)
                    .ok_or_else(|| Self::wrong(key, format!("{:?} is not an address", excerpt(text, 60))))?;
                let has_case = text[2..].chars().any(char::is_uppercase) && text[2..].chars().any(char::is_lowercase);
                if has_case && text != address.to_checksum(None) {
                    self.warnings.push(format!("{key}: the checksum of {text} is wrong; check that it is the address you mean"));
                }
                Ok(address)
            })
            .collect()
    }

    /// A list of `{ name = "…", spec = "<JSON>" }`.
    pub(super) fn external_initiators(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<InitiatorSpec>, SpecError> {
        let items = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Toml::Array(items)) => items,
            Some(other) => return Err(Self::expected(key, "a list of initiators", &other)),
        };
        let mut known: Vec<InitiatorSpec> = Vec::with_capacity(items.len());
        let mut names = HashSet::new();
        for item in &items {
            let text = |name: &str| item.get(name).and_then(Toml::as_str).map(str::trim);
            let (Some(name), spec) = (text("name"), text("spec").unwrap_or_default()) else {
                let wanted = "{ name = \"…\", spec = \"…\" }";
                return Err(Self::expected(key, wanted, item));
            };
            let spec = if spec.is_empty() { "null" } else { spec };
            if let Err(error) = serde_json::from_str::<serde_json::Value>(spec) {
                return Err(Self::wrong(
                    key,
                    format!("the spec of {:?} is not JSON: {error}", excerpt(name, 60)),
                ));
            }
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(Self::wrong(
                    key,
                    format!("{:?} is listed twice", excerpt(name, 60)),
                ));
            }
            known.push(InitiatorSpec {
                name: name.to_owned(),
                spec: spec.to_owned(),
            });
        }
        Ok(known)
    }

    /// Something the author of the spec should know.
    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// About every key nobody took.
    pub(super) fn warnings(&self) -> Vec<String> {
        let unknown = self
            .table
            .keys()
            .filter(|key| !WITHOUT_EFFECT.contains(&key.as_str()));
        let about = unknown.map(|key| {
            let shown = excerpt(key, 60);
            if key == "minConfirmations" {
                return "minConfirmations has no effect at the top level: write minIncomingConfirmations for confirmations of the request, or minConfirmations on the ethtx task for those of the answer".to_owned();
            }
            match nearest(key, self.known.iter().copied()) {
                Some(meant) => format!("unknown key {shown} is ignored; did you mean {meant}?"),
                None => format!("unknown key {shown} is ignored"),
            }
        });
        self.warnings.iter().cloned().chain(about).collect()
    }
}

fn only_digits(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

fn parse_address(text: &str) -> Option<Address> {
    (text.len() == 42 && text.starts_with("0x")).then(|| Address::from_str(text).ok())?
}
