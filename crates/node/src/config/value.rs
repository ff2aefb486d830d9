//! How values are written: durations, sizes, amounts, addresses.
//!
//! The notations are those of the Chainlink node, so that files move over
//! unchanged. An amount that cannot be represented exactly is refused, never
//! rounded.

use std::net::IpAddr;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use url::Url;

use super::secret_url::masked;

/// A value as it stands in a file or a variable, before anybody knew what it should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    Bool(bool),
    /// Digits as written, with sign and underscores.
    Integer(String),
    Float(String),
    Text(String),
    List(Vec<Raw>),
    /// A date, or a table where a value was expected.
    Other(&'static str),
}

impl Raw {
    /// What a person would call it.
    pub fn type_word(&self) -> &'static str {
        match self {
            Raw::Bool(_) => "true/false",
            Raw::Integer(_) => "a whole number",
            Raw::Float(_) => "a number",
            Raw::Text(_) => "text",
            Raw::List(_) => "a list",
            Raw::Other(word) => word,
        }
    }

    /// As it would be written in a file.
    pub fn to_toml(&self) -> String {
        match self {
            Raw::Bool(value) => value.to_string(),
            Raw::Integer(digits) | Raw::Float(digits) => digits.clone(),
            Raw::Text(text) => quoted(text),
            Raw::List(items) => format!(
                "[{}]",
                items
                    .iter()
                    .map(Raw::to_toml)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Raw::Other(word) => quoted(word),
        }
    }

    /// As it is quoted in a message: without quotation marks.
    pub fn shown(&self) -> String {
        match self {
            Raw::Text(text) => text.clone(),
            other => other.to_toml(),
        }
    }
}

/// Single quotes where that is enough, as in the Chainlink node's own files.
fn quoted(text: &str) -> String {
    if text.contains(['\'', '\n', '\r', '\t']) || text.chars().any(char::is_control) {
        format!("{text:?}")
    } else {
        format!("'{text}'")
    }
}

/// What a value means.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(u64),
    Float(f64),
    Text(String),
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// Wei or juels.
    Amount(U256),
    Address(Address),
    Url(Url),
    Ip(IpAddr),
    List(Vec<String>),
}

/// What a key's value must look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Bool,
    Int {
        min: u64,
        max: u64,
    },
    Float,
    Text,
    /// Text that is never shown.
    Secret,
    Choice(&'static [&'static str]),
    Duration,
    Size,
    Wei,
    Link,
    Address,
    /// An address on the net with one of these schemes.
    Url(&'static [&'static str]),
    Ip,
    List,
    ChainId,
    /// Not looked at.
    Any,
}

impl Kind {
    /// The word for it on the reference page.
    pub fn word(&self) -> String {
        match self {
            Kind::Bool => "true or false".into(),
            Kind::Int { min, max: u64::MAX }
            | Kind::Int {
                min,
                max: 0xffff_ffff,
            } => {
                if *min == 0 {
                    "whole number".into()
                } else {
                    format!("whole number from {min}")
                }
            }
            Kind::Int { min, max } => format!("whole number from {min} to {max}"),
            Kind::Float => "number".into(),
            Kind::Text => "text".into(),
            Kind::Secret => "secret text".into(),
            Kind::Choice(words) => words.join(", "),
            Kind::Duration => "duration".into(),
            Kind::Size => "size".into(),
            Kind::Wei => "amount in wei".into(),
            Kind::Link => "amount in LINK".into(),
            Kind::Address => "address".into(),
            Kind::Url(schemes) => format!("{} address", schemes.join(" or ")),
            Kind::Ip => "IP address".into(),
            Kind::List => "list of texts".into(),
            Kind::ChainId => "chain id".into(),
            Kind::Any => "any".into(),
        }
    }

    /// Reads a value from a file; the error is the end of a sentence that begins with the value.
    pub fn read(&self, raw: &Raw) -> Result<Value, String> {
        match (self, raw) {
            (Kind::Any, _) => Ok(Value::Text(raw.shown())),
            (Kind::Bool, Raw::Bool(value)) => Ok(Value::Bool(*value)),
            (Kind::Bool, _) => Err(wrong_type("true or false", raw)),
            (Kind::List, Raw::List(items)) => items
                .iter()
                .map(list_item)
                .collect::<Result<_, _>>()
                .map(Value::List),
            (Kind::List, _) => Err(wrong_type("a list of texts, as in ['a', 'b']", raw)),
            (Kind::Int { .. } | Kind::ChainId | Kind::Size, Raw::Integer(digits)) => {
                self.read_text(digits)
            }
            (Kind::ChainId | Kind::Size, Raw::Text(text)) => self.read_text(text),
            (Kind::Int { .. }, _) => Err(wrong_type("a whole number, without quotes", raw)),
            (Kind::Float, Raw::Integer(text) | Raw::Float(text) | Raw::Text(text)) => {
                self.read_text(text)
            }
            (Kind::Wei | Kind::Link, Raw::Integer(text) | Raw::Text(text)) => self.read_text(text),
            (Kind::Duration, Raw::Integer(digits)) if digits == "0" => {
                Ok(Value::Duration(Duration::ZERO))
            }
            (Kind::Duration, Raw::Integer(digits)) => {
                Err(format!("has no unit: write '{digits}s' for seconds"))
            }
            (_, Raw::Text(text)) => self.read_text(text),
            (_, _) => Err(wrong_type("text in quotes", raw)),
        }
    }

    /// Reads a value from a variable or a default, where everything is text.
    pub fn read_text(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Kind::Bool => bool_word(text).map(Value::Bool),
            Kind::Int { min, max } => whole_number(text, *min, *max).map(Value::Int),
            Kind::ChainId => whole_number(text, 1, u64::MAX).map(Value::Int),
            Kind::Float => match text.replace('_', "").parse::<f64>() {
                Ok(number) if number.is_finite() && number >= 0.0 => Ok(Value::Float(number)),
                _ => Err("is not a number of 0 or more".into()),
            },
            Kind::Text | Kind::Secret | Kind::Any => Ok(Value::Text(text.to_owned())),
            Kind::Choice(words) => {
                match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                    Some(word) => Ok(Value::Text((*word).to_owned())),
                    None => Err(format!("is not one of {}", words.join(", "))),
                }
            }
            Kind::Duration => duration(text).map(Value::Duration),
            Kind::Size => size(text).map(Value::Size),
            Kind::Wei => amount(text, WEI_UNITS).map(Value::Amount),
            Kind::Link => amount(text, LINK_UNITS).map(Value::Amount),
            Kind::Address => address(text).map(Value::Address),
            Kind::Url(schemes) => net_address(text, schemes).map(Value::Url),
            Kind::Ip => text
                .parse()
                .map(Value::Ip)
                .map_err(|_| "is not an IP address".into()),
            Kind::List => Ok(Value::List(list(text))),
        }
    }

    /// How a value of this kind may be shown to people: whole, masked or not at all.
    pub fn shown(&self, raw: &Raw) -> Raw {
        match (self, raw) {
            (Kind::Secret, _) => Raw::Text("xxxxx".into()),
            (Kind::Url(_), Raw::Text(text)) => match Url::parse(text) {
                Ok(url) if url.has_host() => Raw::Text(masked(&url)),
                _ if text.contains(['/', '@', '?']) => Raw::Text("•••".into()),
                _ => raw.clone(),
            },
            (_, raw) => raw.clone(),
        }
    }

    /// A variable's or default's text as the file would hold it.
    pub fn raw_of(&self, text: &str) -> Raw {
        let text = text.trim();
        match self {
            Kind::Bool => bool_word(text).map_or_else(|_| Raw::Text(text.into()), Raw::Bool),
            Kind::Int { .. } => match self.read_text(text) {
                Ok(Value::Int(number)) => Raw::Integer(number.to_string()),
                _ => Raw::Text(text.into()),
            },
            Kind::List => Raw::List(list(text).into_iter().map(Raw::Text).collect()),
            _ => Raw::Text(text.into()),
        }
    }
}

fn wrong_type(wanted: &str, raw: &Raw) -> String {
    format!("is {}, where {wanted} is expected", raw.type_word())
}

fn list_item(raw: &Raw) -> Result<String, String> {
    match raw {
        Raw::Text(text) => Ok(text.clone()),
        other => Err(format!(
            "holds {}, where texts in quotes are expected",
            other.type_word()
        )),
    }
}

/// `a,b` or `['a', 'b']`.
fn list(text: &str) -> Vec<String> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let items = inner
        .split(',')
        .map(|item| item.trim().trim_matches(['\'', '"']));
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The words Go knows.
fn bool_word(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("is neither true nor false".into()),
    }
}

fn whole_number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let digits = text.replace('_', "");
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse::<u64>(),
    };
    match number {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        Ok(_) if max == u64::MAX => Err(format!("is below the smallest allowed value, {min}")),
        Ok(_) => Err(format!("is outside {min} to {max}")),
        Err(_) if digits.starts_with('-') => {
            Err(format!("is negative; the smallest allowed value is {min}"))
        }
        Err(_) => Err("is not a whole number".into()),
    }
}

/// Go's notation: `1h30m`, `500ms`, `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: &[(&str, u128)] = &[
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    let wrong = || "is not a duration such as 500ms, 15s or 1h30m".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err("is a negative duration".into());
    }
    let (mut rest, mut total) = (text, 0_u128);
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| {
                if rest.len() == text.len() {
                    format!("has no unit: write {text}s for seconds")
                } else {
                    wrong()
                }
            })?;
        let (number, tail) = rest.split_at(end);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let (_, nanos) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        let amount = scaled_floor(number, *nanos).ok_or_else(wrong)?;
        total = total.checked_add(amount).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    let too_long = || "is longer than a duration can be".to_owned();
    u64::try_from(total)
        .map(Duration::from_nanos)
        .map_err(|_| too_long())
}

/// `number` (with a decimal point at most) times `unit`, fractions of one dropped.
fn scaled_floor(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        total = total.checked_add(u128::from(digit - b'0') * place)?;
    }
    Some(total)
}

/// The way durations are printed: `1h30m0s`, `500ms`, `0s`.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanos = duration.subsec_nanos();
    if seconds == 0 {
        return match nanos {
            0 => "0s".into(),
            n if n % 1_000_000 == 0 => format!("{}ms", n / 1_000_000),
            n if n % 1_000 == 0 => format!("{}µs", n / 1_000),
            n => format!("{n}ns"),
        };
    }
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if nanos == 0 {
        String::new()
    } else {
        format!(".{}", format!("{nanos:09}").trim_end_matches('0'))
    };
    match (hours, minutes) {
        (0, 0) => format!("{rest}{fraction}s"),
        (0, minutes) => format!("{minutes}m{rest}{fraction}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}{fraction}s"),
    }
}

/// Decimal units: `32.77kb` is 32,770 bytes.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u128)] = &[
        ("tb", 1_000_000_000_000),
        ("gb", 1_000_000_000),
        ("mb", 1_000_000),
        ("kb", 1_000),
        ("b", 1),
    ];
    let lower = text.to_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| lower.strip_suffix(name).map(|number| (number, *unit)))
        .unwrap_or((lower.as_str(), 1));
    let number = number.trim().replace('_', "");
    let bytes = scaled_floor(&number, unit).and_then(|bytes| u64::try_from(bytes).ok());
    bytes.ok_or_else(|| "is not a size such as 32768, 100kb or 5.12gb".into())
}

/// Unit names with the power of ten they stand for.
type Units = &'static [(&'static str, usize)];

const WEI_UNITS: Units = &[
    ("wei", 0),
    ("kwei", 3),
    ("mwei", 6),
    ("gwei", 9),
    ("micro", 12),
    ("milli", 15),
    ("ether", 18),
    ("kether", 21),
    ("mether", 24),
    ("gether", 27),
    ("tether", 30),
];

const LINK_UNITS: Units = &[("juels", 0), ("link", 18)];

/// An exact amount in the smallest unit.
fn amount(text: &str, units: Units) -> Result<U256, String> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (number, unit) = (number.trim().replace('_', ""), unit.trim().to_lowercase());
    let smallest = units[0].0;
    let power = match units.iter().find(|(name, _)| *name == unit) {
        Some((_, power)) => *power,
        None if unit.is_empty() => 0,
        None => {
            let known: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "has the unknown unit {unit:?}; units are {}",
                known.join(", ")
            ));
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number.as_str(), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        let example = if smallest == "wei" {
            "20 gwei"
        } else {
            "0.1 link"
        };
        return Err(format!("is not an amount such as '{example}'"));
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > power {
        return Err(format!("is finer than one {smallest}"));
    }
    let all = format!("{whole}{fraction}{}", "0".repeat(power - fraction.len()));
    let all = all.trim_start_matches('0');
    if all.is_empty() {
        return Ok(U256::ZERO);
    }
    U256::from_str_radix(all, 10).map_err(|_| format!("is more than 2^256 - 1 {smallest}"))
}

/// The way amounts of wei are printed: in gwei where that is exact and readable.
pub(super) fn show_wei(amount: U256) -> String {
    let gwei = U256::from(1_000_000_000_u64);
    if !amount.is_zero() && (amount % gwei).is_zero() {
        format!("{} gwei", amount / gwei)
    } else {
        format!("{amount} wei")
    }
}

fn address(text: &str) -> Result<Address, String> {
    let address: Address = text
        .parse()
        .map_err(|_| "is not an address of 20 bytes in hex")?;
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mixed = digits.bytes().any(|byte| byte.is_ascii_uppercase())
        && digits.bytes().any(|byte| byte.is_ascii_lowercase());
    let checksummed = address.to_checksum(None);
    if mixed && checksummed[2..] != *digits {
        return Err(format!(
            "has a wrong checksum (EIP-55): a letter may be mistyped; {checksummed} would be right"
        ));
    }
    Ok(address)
}

fn net_address(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let schemes_text = schemes.join(" or ");
    let url = Url::parse(text)
        .map_err(|_| format!("is not an address such as {}://host:port", schemes[0]))?;
    if !schemes.contains(&url.scheme()) {
        return Err(format!("must begin with {schemes_text}"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("names no host".into());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> f64 {
        duration(text).unwrap().as_secs_f64()
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(seconds("1h30m"), 5400.0);
        assert_eq!(seconds("1.5h"), 5400.0);
        assert_eq!(seconds("500ms"), 0.5);
        assert_eq!(seconds("0"), 0.0);
        assert_eq!(seconds("1m0s"), 60.0);
        assert!(duration("15").unwrap_err().contains("write 15s"));
        assert!(
            duration("-1s").is_err()
                && duration("1x").is_err()
                && duration("").is_err()
                && duration(".s").is_err()
        );
    }

    #[test]
    fn durations_are_shown_so_that_they_read_back() {
        for text in [
            "0s", "500ms", "1s", "1m0s", "1h30m0s", "168h0m0s", "1.5s", "250µs",
        ] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_have_decimal_units() {
        assert_eq!(size("32.77kb"), Ok(32_770));
        assert_eq!(size("5.12gb"), Ok(5_120_000_000));
        assert_eq!(size("5120mb"), Ok(5_120_000_000));
        assert_eq!(size("32768b"), Ok(32_768));
        assert_eq!(size("0"), Ok(0));
        assert!(size("big").is_err());
    }

    #[test]
    fn amounts_are_exact_or_refused() {
        let wei = |text| amount(text, WEI_UNITS);
        assert_eq!(wei("20 gwei"), Ok(U256::from(20_000_000_000_u64)));
        assert_eq!(wei("20gwei"), wei("20000000000"));
        assert_eq!(wei("100 mwei"), Ok(U256::from(100_000_000_u64)));
        assert_eq!(wei("0.5 wei"), Err("is finer than one wei".into()));
        assert_eq!(wei("18.446744073709551615 ether"), Ok(U256::from(u64::MAX)));
        let all = "115792089237316195423570985008687907853269984665.640564039457584007913129639935 tether";
        assert_eq!(wei(all), Ok(U256::MAX));
        assert!(wei("1 gwie").unwrap_err().contains("gwei"));
        assert!(wei("115792089237316195423570985008687907853269984666 tether").is_err());
        assert_eq!(
            amount("0.1 link", LINK_UNITS),
            Ok(U256::from(10_u64.pow(17)))
        );
        assert_eq!(
            amount("10000000000000 juels", LINK_UNITS),
            Ok(U256::from(10_u64.pow(13)))
        );
    }

    #[test]
    fn an_address_with_a_mistyped_letter_is_refused() {
        assert!(address("0x514910771AF9Ca656af840dff83E8264EcF986CA").is_ok());
        assert!(address("0x514910771af9ca656af840dff83e8264ecf986ca").is_ok());
        assert!(
            address("0x514910771AF9Ca656af840dff83E8264EcF986Ca")
                .unwrap_err()
                .contains("checksum")
        );
        assert!(address("0x5149").is_err());
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let bool_from = |raw| Kind::Bool.read(&raw).unwrap_err();
        assert_eq!(
            bool_from(Raw::Text("yes".into())),
            "is text, where true or false is expected"
        );
        assert!(
            Kind::Int { min: 0, max: 10 }
                .read(&Raw::Text("3".into()))
                .is_err()
        );
        assert!(
            Kind::Duration
                .read(&Raw::Integer("15".into()))
                .unwrap_err()
                .contains("'15s'")
        );
        assert_eq!(
            Kind::ChainId.read(&Raw::Text("1".into())),
            Ok(Value::Int(1))
        );
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(
            Kind::Secret.shown(&Raw::Text("hunter2".into())),
            Raw::Text("xxxxx".into())
        );
        let url = Raw::Text("wss://rpc.example.org/key".into());
        assert_eq!(
            Kind::Url(&["wss"]).shown(&url),
            Raw::Text("wss://rpc.example.org/•••".into())
        );
    }
}
