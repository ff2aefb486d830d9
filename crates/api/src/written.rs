//! How values are written: for people, and as clients of the API expect them.

use std::time::Duration;

use dodona_model::U256;

/// A duration for people: the two largest units.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// Wei as a decimal number of ether with all 18 digits, the form of the API.
pub(crate) fn ether(wei: U256) -> String {
    let digits = format!("{wei:0>19}");
    let (whole, rest) = digits.split_at(digits.len() - 18);
    format!("{whole}.{rest}")
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `100ms`, `0s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fraction = |unit: u128, name: &str| {
        let mut text = format!("{}", nanos / unit);
        let rest = nanos % unit;
        if rest > 0 {
            let width = unit.ilog10() as usize;
            text.push('.');
            text.push_str(format!("{rest:0width$}").trim_end_matches('0'));
        }
        text + name
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => fraction(1, "ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let minutes = duration.as_secs() / 60;
            let seconds = nanos - u128::from(minutes) * 60 * 1_000_000_000;
            let mut text = String::new();
            if minutes >= 60 {
                text.push_str(&format!("{}h", minutes / 60));
            }
            if minutes > 0 {
                text.push_str(&format!("{}m", minutes % 60));
            }
            let whole = seconds / 1_000_000_000;
            let rest = format!("{:09}", seconds % 1_000_000_000);
            let rest = rest.trim_end_matches('0');
            let point = if rest.is_empty() { "" } else { "." };
            format!("{text}{whole}{point}{rest}s")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ether_has_all_its_digits() {
        for (wei, text) in [
            (U256::ZERO, "0.000000000000000000"),
            (U256::from(1), "0.000000000000000001"),
            (U256::from(10).pow(U256::from(18)), "1.000000000000000000"),
            (
                U256::from(1_234_500_000_000_000_000_000u128),
                "1234.500000000000000000",
            ),
        ] {
            assert_eq!(ether(wei), text);
        }
        assert!(ether(U256::MAX).ends_with(".584007913129639935"));
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, text) in [
            (0, "0s"),
            (100, "100ms"),
            (1_500, "1.5s"),
            (60_000, "1m0s"),
            (90_250, "1m30.25s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(1_500)), "1.5µs");
        assert_eq!(go_duration(Duration::from_nanos(7)), "7ns");
    }

    #[test]
    fn people_are_told_two_units() {
        assert_eq!(spoken(Duration::from_secs(5)), "5 s");
        assert_eq!(spoken(Duration::from_secs(3 * 3600 + 125)), "3 h 2 min");
    }
}
