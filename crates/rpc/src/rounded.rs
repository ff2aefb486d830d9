//! Lengths of time as people read them.

use std::fmt;
use std::time::Duration;

/// A length of time, as exact as somebody wants to know it: `250 ms`, `2.5 s`, `37 s`.
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_secs_f64() * 1000.0;
        let tenths = (millis / 100.0).round() / 10.0;
        match millis {
            ..9.95 => write!(f, "{} ms", (millis * 10.0).round() / 10.0),
            ..999.5 => write!(f, "{millis:.0} ms"),
            ..9_950.0 => write!(f, "{tenths} s"),
            _ => write!(f, "{:.0} s", millis / 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_exactly_as_somebody_wants_to_know_it() {
        for (nanos, shown) in [
            (0, "0 ms"),
            (432_100, "0.4 ms"),
            (200_000_000, "200 ms"),
            (999_700_000, "1 s"),
            (2_999_996_274, "3 s"),
            (2_540_000_000, "2.5 s"),
            (9_999_000_000, "10 s"),
            (61_400_000_000, "61 s"),
        ] {
            assert_eq!(Rounded(Duration::from_nanos(nanos)).to_string(), shown);
        }
    }
}
