//! How an upstream did over the last half hour, drawn: its state as a band, its latency as a line,
//! its lag as an area, looks with failed calls as marks.

use maud::html;

use super::super::history::{KEPT, Sample};
use super::class;
use crate::status::NodeState;

/// Units of the drawing: one look is one wide.
const HEIGHT: f64 = 48.0;
/// Blocks the drawing of a lag reaches up to, at least.
const LEAST_SCALE: u64 = 5;

/// The last half hour of one upstream.
pub(super) fn drawing(name: &str, samples: &[Sample]) -> maud::Markup {
    let slowest = samples
        .iter()
        .filter_map(|sample| sample.latency)
        .map(|latency| latency.as_secs_f64() * 1000.0)
        .fold(1.0, f64::max);
    let furthest = samples
        .iter()
        .filter_map(|sample| sample.lag)
        .max()
        .unwrap_or(0);
    // Of one scale, so that a block or two do not look like a disaster.
    let scale = furthest.max(LEAST_SCALE);
    let (latency, lag) = (latency_line(samples, slowest), lag_area(samples, scale));
    let first = KEPT - samples.len().min(KEPT);
    html! {
        tr.drawn { td colspan="9" {
            svg viewBox=(format!("0 0 {KEPT} 64")) preserveAspectRatio="none" role="img"
                aria-label=(format!("{} over the last half hour", name)) {
                @for (from, length, state) in runs(samples) {
                    rect class=(format!("s-{}", class(state))) x=(first + from) y="0" width=(length) height="6" {}
                }
                line.base x1="0" y1="63" x2=(KEPT) y2="63" {}
                path.lag d=(lag) {}
                path.lat d=(latency) {}
                @for (at, sample) in samples.iter().enumerate() {
                    @if sample.failures > 0 { rect.err x=(first + at) y="58" width="1" height="6" {} }
                }
            }
            small {
                @if samples.iter().any(|sample| sample.latency.is_some()) { "up to " (format!("{slowest:.1}")) " ms" }
                @if samples.iter().any(|sample| sample.lag.is_some()) { ", up to " (furthest) " blocks behind" }
            }
        } }
    }
}

/// Looks in a row that saw the same state: from where, how many.
fn runs(samples: &[Sample]) -> Vec<(usize, usize, NodeState)> {
    let mut runs: Vec<(usize, usize, NodeState)> = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        match runs.last_mut() {
            Some((_, length, state)) if *state == sample.state => *length += 1,
            _ => runs.push((at, 1, sample.state)),
        }
    }
    runs
}

fn latency_line(samples: &[Sample], slowest: f64) -> String {
    let first = KEPT - samples.len().min(KEPT);
    let (mut path, mut pen_down) = (String::new(), false);
    for (at, sample) in samples.iter().enumerate() {
        let Some(latency) = sample.latency else {
            pen_down = false;
            continue;
        };
        let y = 62.0 - HEIGHT * latency.as_secs_f64() * 1000.0 / slowest;
        path.push_str(&format!(
            "{}{} {y:.1}",
            if pen_down { "L" } else { "M" },
            first + at
        ));
        pen_down = true;
    }
    path
}

#[allow(clippy::cast_precision_loss, reason = "blocks on a drawing")]
fn lag_area(samples: &[Sample], furthest: u64) -> String {
    if furthest == 0 {
        return String::new();
    }
    let first = KEPT - samples.len().min(KEPT);
    let mut path = format!("M{first} 63");
    for (at, sample) in samples.iter().enumerate() {
        let y = 63.0 - HEIGHT * sample.lag.unwrap_or(0) as f64 / furthest as f64;
        path.push_str(&format!("L{} {y:.1}L{} {y:.1}", first + at, first + at + 1));
    }
    path.push_str(&format!("L{KEPT} 63Z"));
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(state: NodeState, lag: u64, latency: Option<u64>) -> Sample {
        Sample {
            state,
            lag: Some(lag),
            latency: latency.map(Duration::from_millis),
            calls: 1,
            failures: 0,
        }
    }

    #[test]
    fn what_was_seen_is_drawn_at_the_right_edge_and_a_silence_leaves_a_hole() {
        let samples = [
            sample(NodeState::Alive, 0, Some(10)),
            sample(NodeState::Alive, 5, None),
            sample(NodeState::Unreachable, 10, Some(20)),
        ];
        assert_eq!(
            runs(&samples),
            [(0, 2, NodeState::Alive), (2, 1, NodeState::Unreachable)]
        );
        assert_eq!(latency_line(&samples, 20.0), "M357 38.0M359 14.0");
        assert_eq!(
            lag_area(&samples, 10),
            "M357 63L357 63.0L358 63.0L358 39.0L359 39.0L359 15.0L360 15.0L360 63Z"
        );
        assert_eq!(lag_area(&samples[..1], 0), "");
    }
}
