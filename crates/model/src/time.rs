use serde::{Serialize, Serializer};

/// A moment, in microseconds since the Unix epoch: the form in which both databases keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds since the Unix epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// This moment moved by `by`; saturates at the ends of the range.
    pub fn plus(self, by: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// This moment moved back by `by`.
    pub fn minus(self, by: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        let micros = self.0.saturating_sub(earlier.0);
        std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339 in UTC, as the API shows times.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_prints_as_rfc_3339() {
        assert_eq!(
            Timestamp(1_700_000_000_500_000).to_string(),
            "2023-11-14T22:13:20.5Z"
        );
    }

    #[test]
    fn time_never_runs_backwards_between_two_moments() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), std::time::Duration::ZERO);
        assert_eq!(Timestamp(9).since(Timestamp(5)).as_micros(), 4);
    }
}
