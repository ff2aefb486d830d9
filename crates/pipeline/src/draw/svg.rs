//! The same as SVG: layers from top to bottom, no script, no outside reference.

use std::fmt::Write as _;

use super::{Label, Mark};
use crate::graph::Pipeline;

const BOX: (usize, usize) = (190, 46);
const GAP: (usize, usize) = (26, 40);
const MARGIN: usize = 16;
/// Text longer than this does not fit its box.
const MAX_CHARS: usize = 26;
/// More tasks than this make a picture nobody can look at.
const MAX_TASKS: usize = 400;

/// The document, or nothing when the pipeline is too large to be looked at. Solid arrows hand a
/// result on, dashed ones only order.
pub fn svg(pipeline: &Pipeline, label: impl Fn(&str) -> Option<Label>) -> Option<String> {
    let defs = pipeline.defs();
    if defs.len() > MAX_TASKS {
        return None;
    }
    let mut depth = vec![0usize; defs.len()];
    for (n, def) in defs.iter().enumerate() {
        depth[n] = def
            .waits_for()
            .iter()
            .map(|b| depth[*b] + 1)
            .max()
            .unwrap_or(0);
    }
    let layers = depth.iter().max().map_or(0, |d| d + 1);
    let mut place = vec![(0usize, 0usize); defs.len()];
    let mut widest = 0;
    for layer in 0..layers {
        let mut members: Vec<usize> = (0..defs.len()).filter(|n| depth[*n] == layer).collect();
        // Under the middle of what they wait for, so that few lines cross.
        members.sort_by_key(|n| {
            let before = defs[*n].waits_for();
            let sum: usize = before.iter().map(|b| place[*b].0).sum();
            (
                if before.is_empty() {
                    0
                } else {
                    sum * 100 / before.len()
                },
                *n,
            )
        });
        widest = widest.max(members.len());
        for (column, n) in members.iter().enumerate() {
            place[*n] = (column, layer);
        }
    }
    let x = |n: usize| MARGIN + place[n].0 * (BOX.0 + GAP.0);
    let y = |n: usize| MARGIN + place[n].1 * (BOX.1 + GAP.1);
    let width = 2 * MARGIN + widest * (BOX.0 + GAP.0) - GAP.0.min(widest * GAP.0);
    let height = 2 * MARGIN + layers * (BOX.1 + GAP.1) - GAP.1.min(layers * GAP.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n<title>pipeline of {} tasks</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#667085\"/></marker></defs>\n",
        defs.len()
    );
    for (n, def) in defs.iter().enumerate() {
        for from in def.waits_for() {
            let (x1, y1) = (x(*from) + BOX.0 / 2, y(*from) + BOX.1);
            let (x2, y2) = (x(n) + BOX.0 / 2, y(n));
            let middle = (y1 + y2) / 2;
            let dash = if def.inputs().contains(from) {
                ""
            } else {
                " stroke-dasharray=\"4 3\""
            };
            let _ = writeln!(
                out,
                "<path d=\"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}\" fill=\"none\" stroke=\"#667085\"{dash} marker-end=\"url(#tip)\"/>"
            );
        }
    }
    for (n, def) in defs.iter().enumerate() {
        let about = label(&def.dot_id);
        let (fill, stroke) = match about.as_ref().map_or(Mark::Plain, |l| l.mark) {
            Mark::Plain => ("#f2f4f7", "#98a2b3"),
            Mark::Done => ("#ecfdf3", "#12b76a"),
            Mark::Failed => ("#fef3f2", "#f04438"),
            Mark::Waiting => ("#fffaeb", "#f79009"),
        };
        let words = about.map(|l| l.words).unwrap_or_default();
        let (left, top) = (x(n), y(n));
        let second = match words.as_str() {
            "" => def.type_name().to_owned(),
            words => format!("{} · {words}", def.type_name()),
        };
        let _ = writeln!(
            out,
            "<g><rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" rx=\"7\" fill=\"{fill}\" stroke=\"{stroke}\"/><text x=\"{}\" y=\"{}\" font-weight=\"600\">{}</text><text x=\"{}\" y=\"{}\" fill=\"#475467\">{}</text></g>",
            BOX.0,
            BOX.1,
            left + 10,
            top + 19,
            escaped(&def.dot_id),
            left + 10,
            top + 36,
            escaped(&second)
        );
    }
    out.push_str("</svg>\n");
    Some(out)
}

/// Text for XML, as much of it as fits.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        match c {
            _ if n == MAX_CHARS => {
                out.push('…');
                break;
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_and_every_edge_is_in_the_picture() {
        let p = Pipeline::parse(
            "a [type=http]; b [type=jsonparse]; \"<c&>\" [type=multiply times=\"$(a)\"]; a -> b -> \"<c&>\"",
        );
        // A name in quotes and angle brackets keeps its quotes.
        let drawn = svg(&p.unwrap(), |id| {
            (id == "a").then(|| Label {
                mark: Mark::Failed,
                words: "1ms".into(),
            })
        })
        .unwrap();
        assert_eq!(drawn.matches("<g>").count(), 3);
        assert_eq!(drawn.matches("marker-end").count(), 3);
        assert_eq!(drawn.matches("stroke-dasharray").count(), 1);
        assert!(
            drawn.contains("&lt;c&amp;&gt;")
                && drawn.contains("http · 1ms")
                && drawn.contains("#f04438")
        );
        assert!(!drawn.contains("<c&>"));
    }
}
