//! The notations themselves: Go's words and durations, decimal sizes, exact amounts, EIP-55 addresses.
//!
//! Every error is the end of a sentence that begins with the value.

use std::time::Duration;

use alloy::primitives::{Address, U256};
use url::Url;

/// The words Go knows.
pub(super) fn bool_word(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("is neither true nor false".into()),
    }
}

pub(super) fn whole_number(text: &str, min: u64, max: u64) -> Result<u64, String> {
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
pub(super) fn size(text: &str) -> Result<u64, String> {
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
pub(super) type Units = &'static [(&'static str, usize)];

pub(super) const WEI_UNITS: Units = &[
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

pub(super) const LINK_UNITS: Units = &[("juels", 0), ("link", 18)];

/// An exact amount in the smallest unit.
pub(super) fn amount(text: &str, units: Units) -> Result<U256, String> {
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

pub(super) fn address(text: &str) -> Result<Address, String> {
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

pub(super) fn net_address(text: &str, schemes: &[&str]) -> Result<Url, String> {
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
}
