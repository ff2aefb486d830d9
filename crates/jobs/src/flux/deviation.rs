//! Whether a number has moved enough to be submitted: a decision, no IO.

use dodona_pipeline::FluxMonitor;
use dodona_pipeline::decimal::BigDecimal;

/// Whether `next` is far enough from `last` (this oracle's own last submission).
///
/// Both thresholds have to be met, the absolute one exceeded; both zero means that any number is. From
/// zero every other number is infinitely far in relation.
pub(crate) fn is_enough(spec: &FluxMonitor, last: &BigDecimal, next: &BigDecimal) -> bool {
    let zero = BigDecimal::from(0);
    if spec.threshold == zero && spec.absolute_threshold == zero {
        return true;
    }
    let change = (last - next).abs();
    if change <= spec.absolute_threshold {
        return false;
    }
    if *last == zero {
        return *next != zero;
    }
    // In percent, without the rounding of a division.
    change * BigDecimal::from(100) >= &spec.threshold * last.abs()
}

#[cfg(test)]
mod tests {
    use dodona_pipeline::decimal::parse;

    use super::*;
    use crate::flux::round::tests::spec;

    fn moved(threshold: &str, absolute: &str, last: &str, next: &str) -> bool {
        let spec = FluxMonitor {
            threshold: parse(threshold).unwrap(),
            absolute_threshold: parse(absolute).unwrap(),
            ..spec()
        };
        is_enough(&spec, &parse(last).unwrap(), &parse(next).unwrap())
    }

    #[test]
    fn the_relative_threshold_is_met_when_it_is_reached() {
        for (last, next, enough) in [
            ("100", "100.5", true),
            ("100", "99.5", true),
            ("100", "100.49999999999999999999", false),
            ("100", "100", false),
            ("-100", "-100.5", true),
            ("-100", "100", true),
            ("3", "3.015", true),
            ("3", "3.0149999999999999999999999999", false),
        ] {
            assert_eq!(moved("0.5", "0", last, next), enough, "{last} to {next}");
        }
    }

    #[test]
    fn the_absolute_threshold_has_to_be_exceeded() {
        for (last, next, enough) in [
            ("100", "102", false),
            ("100", "102.0000000001", true),
            ("100", "97.9", true),
            ("0", "2", false),
            ("0", "2.1", true),
        ] {
            assert_eq!(moved("0", "2", last, next), enough, "{last} to {next}");
        }
    }

    #[test]
    fn both_thresholds_have_to_be_met() {
        assert!(!moved("10", "5", "100", "106"), "absolute only");
        assert!(!moved("1", "50", "100", "106"), "relative only");
        assert!(moved("5", "5", "100", "106"));
    }

    #[test]
    fn without_thresholds_every_number_is_submitted_the_same_one_too() {
        assert!(moved("0", "0", "100", "100"));
        assert!(moved("0", "0", "0", "0"));
    }

    #[test]
    fn anything_is_far_from_zero_except_zero() {
        assert!(moved("50", "0", "0", "0.000001"));
        assert!(!moved("50", "0", "0", "0"));
    }
}
