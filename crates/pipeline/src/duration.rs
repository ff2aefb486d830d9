//! Durations as job specs write them: `300ms`, `1.5s`, `1h30m`.

use std::time::Duration;

/// Nanoseconds of each unit.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a Go duration text. Negative durations, which nothing here can use, are refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = |why: &str| {
        Err(format!(
            "{:?} is not a duration ({why}): write for example \"30s\" or \"1h30m\"",
            crate::error::excerpt(text, 40)
        ))
    };
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.starts_with('-') {
        return refuse("it is negative");
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return refuse("it is empty");
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let whole_end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (whole, after) = rest.split_at(whole_end);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(tail) => tail.split_at(
                tail.find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(tail.len()),
            ),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return refuse("a number is missing");
        }
        let unit_end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return refuse(if unit.is_empty() {
                "its unit is missing"
            } else {
                "its unit is unknown"
            });
        };
        let size = u128::from(*size);
        let Ok(count) = (if whole.is_empty() {
            Ok(0)
        } else {
            whole.parse::<u64>()
        }) else {
            return refuse("it is too long");
        };
        nanos += u128::from(count) * size;
        // Digits beyond the 18th are below a nanosecond of any unit.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let digits = fraction.parse::<u128>().map_err(|e| e.to_string())?;
            nanos += digits * size / 10u128.pow(fraction.len() as u32);
        }
        if nanos > i64::MAX as u128 {
            return refuse("it is too long");
        }
        rest = next;
    }
    Ok(Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("0", 0),
            ("0s", 0),
            (".5s", 500),
            ("1m0.5s", 60_500),
            ("300ms", 300),
            ("+1s", 1000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("7µs"), Ok(Duration::from_micros(7)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "10",
            "s",
            "1x",
            "-1s",
            "1 s",
            "1.s2",
            "999999999999h",
            "1s.",
            "99999999999999999999s",
            ".",
        ] {
            assert!(parse_duration(text).is_err(), "{text} was accepted");
        }
    }
}
