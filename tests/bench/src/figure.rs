//! One number, what it means, and what was going on when it was measured.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

/// A measured number as other programs read it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: Cow<'static, str>,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What was asked of the node meanwhile, and on what.
    pub(crate) load: Value,
    #[serde(skip)]
    pub(crate) target: Option<Target>,
}

/// What we want a figure to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    Below(f64),
    AtMost(f64),
}

impl Figure {
    /// Rounded to four significant digits: more would be noise.
    pub(crate) fn new(
        name: impl Into<Cow<'static, str>>,
        value: f64,
        unit: &'static str,
        load: &Value,
    ) -> Self {
        Self {
            name: name.into(),
            value: four_digits(value),
            unit,
            load: load.clone(),
            target: None,
        }
    }

    pub(crate) fn at_least(self, value: f64) -> Self {
        Self {
            target: Some(Target::AtLeast(value)),
            ..self
        }
    }

    pub(crate) fn below(self, value: f64) -> Self {
        Self {
            target: Some(Target::Below(value)),
            ..self
        }
    }

    pub(crate) fn at_most(self, value: f64) -> Self {
        Self {
            target: Some(Target::AtMost(value)),
            ..self
        }
    }

    /// The target in words.
    pub(crate) fn wanted(&self) -> String {
        match self.target {
            None => String::new(),
            Some(Target::AtLeast(value)) => format!("at least {value}"),
            Some(Target::Below(value)) => format!("below {value}"),
            Some(Target::AtMost(value)) => format!("at most {value}"),
        }
    }

    /// Whether the target is met, and by how much not.
    pub(crate) fn verdict(&self) -> String {
        let missed = match self.target {
            None => return String::new(),
            Some(Target::AtMost(value)) if self.value <= value => return "met".to_owned(),
            Some(Target::AtMost(value)) => return format!("missed by {}", self.value - value),
            Some(Target::AtLeast(value)) => (value - self.value) / value,
            Some(Target::Below(value)) if self.value < value => -1.0,
            Some(Target::Below(value)) => (self.value - value) / value,
        };
        if missed <= 0.0
            && !matches!(self.target, Some(Target::Below(value)) if self.value >= value)
        {
            "met".to_owned()
        } else {
            format!("missed by {:.0} %", missed * 100.0)
        }
    }
}

fn four_digits(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let factor = 10_f64.powi(digits.clamp(0, 12));
    (value * factor).round() / factor
}

pub(crate) fn print_lines(figures: &[Figure]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for figure in figures {
        serde_json::to_writer(&mut out, figure)?;
        writeln!(out)?;
    }
    out.flush()
}

pub(crate) fn print_table(title: &str, figures: &[Figure]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    writeln!(err, "\n{title}")?;
    for figure in figures {
        let value = figure.value.to_string();
        let wanted = match figure.wanted() {
            none if none.is_empty() => none,
            wanted => format!("{wanted}: {}", figure.verdict()),
        };
        writeln!(
            err,
            "  {:<42} {value:>10} {:<18} {wanted}",
            figure.name, figure.unit
        )?;
    }
    writeln!(err)
}

/// The value below which this share of the values lies (nearest rank); 0 of none.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(&mut values, 0.5), 2.0);
        assert_eq!(percentile(&mut values, 0.99), 4.0);
        assert_eq!(percentile(&mut [], 0.5), 0.0);
    }

    #[test]
    fn a_missed_target_says_by_how_much() {
        let figure = |value| Figure::new("x", value, "ms", &Value::Null);
        assert_eq!(figure(50.0).below(25.0).verdict(), "missed by 100 %");
        assert_eq!(figure(24.0).below(25.0).verdict(), "met");
        assert_eq!(figure(25.0).below(25.0).verdict(), "missed by 0 %");
        assert_eq!(figure(75.0).at_least(100.0).verdict(), "missed by 25 %");
        assert_eq!(figure(100.0).at_least(100.0).verdict(), "met");
    }

    #[test]
    fn figures_have_four_digits_that_mean_something() {
        let values = [123_456.0, 12.3456, 0.00123456, 0.0].map(four_digits);
        assert_eq!(values, [123_456.0, 12.35, 0.001235, 0.0]);
    }
}
