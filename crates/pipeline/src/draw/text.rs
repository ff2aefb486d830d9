//! One task a line, edges as rails beside them.

use std::collections::HashMap;

use super::{Label, Mark};
use crate::graph::Pipeline;

/// More rails than this are not drawn: a terminal has no room, and nobody can follow them.
const MAX_RAILS: usize = 40;

/// The picture with its newline. Tasks stand in order of execution; a rail leads from each task to
/// those that wait for it.
pub fn text(pipeline: &Pipeline, label: impl Fn(&str) -> Option<Label>) -> String {
    let defs = pipeline.defs();
    // Each rail leads to one task.
    let mut rails: Vec<Option<usize>> = Vec::new();
    let mut lines: Vec<(String, Option<usize>)> = Vec::new();
    for (n, def) in defs.iter().enumerate() {
        let arriving: Vec<usize> = (0..rails.len()).filter(|r| rails[*r] == Some(n)).collect();
        let column = match arriving.first() {
            Some(first) => *first,
            None => free(&mut rails),
        };
        if arriving.len() > 1 {
            lines.push((joint(&rails, column, &arriving[1..], '╯'), None));
            for rail in &arriving[1..] {
                rails[*rail] = None;
            }
        }
        rails[column] = None;
        let mut line: Vec<char> = rails
            .iter()
            .map(|r| if r.is_some() { '│' } else { ' ' })
            .collect();
        let about = label(&def.dot_id);
        line[column] = match about.as_ref().map_or(Mark::Plain, |l| l.mark) {
            Mark::Plain => '●',
            Mark::Done => '✔',
            Mark::Failed => '✘',
            Mark::Waiting => '…',
        };
        lines.push((spaced(&line), Some(n)));
        let mut feeds = def.feeds().iter();
        if let Some(first) = feeds.next() {
            rails[column] = Some(*first);
        }
        let mut opened = Vec::new();
        for next in feeds {
            let rail = free(&mut rails);
            rails[rail] = Some(*next);
            opened.push(rail);
        }
        if !opened.is_empty() {
            lines.push((joint(&rails, column, &opened, '╮'), None));
        }
        while rails.last() == Some(&None) {
            rails.pop();
        }
        if rails.len() > MAX_RAILS {
            return list(pipeline, label);
        }
    }
    let width = lines
        .iter()
        .map(|(line, _)| line.chars().count())
        .max()
        .unwrap_or(0);
    let name_width = defs
        .iter()
        .map(|d| d.dot_id.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for (line, task) in lines {
        out.push_str(line.trim_end());
        if let Some(n) = task {
            let pad = " ".repeat(width - line.trim_end().chars().count() + 2);
            let def = &defs[n];
            let words = label(&def.dot_id).map(|l| l.words).unwrap_or_default();
            let text = format!(
                "{:<name_width$}  {:<16}  {words}",
                def.dot_id,
                def.type_name()
            );
            out.push_str(&pad);
            out.push_str(text.trim_end());
        }
        out.push('\n');
    }
    out
}

/// The first rail nobody uses.
fn free(rails: &mut Vec<Option<usize>>) -> usize {
    match rails.iter().position(Option::is_none) {
        Some(rail) => rail,
        None => {
            rails.push(None);
            rails.len() - 1
        }
    }
}

/// A line in which other rails join the one at `column`, or leave it.
fn joint(rails: &[Option<usize>], column: usize, others: &[usize], corner: char) -> String {
    let low = others.iter().copied().min().unwrap_or(column).min(column);
    let high = others.iter().copied().max().unwrap_or(column).max(column);
    let mirrored = if corner == '╯' { '╰' } else { '╭' };
    let mut out = String::new();
    for (rail, leads_to) in rails.iter().enumerate() {
        let used = leads_to.is_some();
        let c = if rail == column {
            match (low < column, high > column) {
                (true, true) => '┼',
                (true, false) => '┤',
                _ => '├',
            }
        } else if others.contains(&rail) {
            if rail == high {
                corner
            } else if rail == low {
                mirrored
            } else if corner == '╯' {
                '┴'
            } else {
                '┬'
            }
        } else if (low..=high).contains(&rail) {
            if used { '┼' } else { '─' }
        } else if used {
            '│'
        } else {
            ' '
        };
        out.push(c);
        out.push(if (low..high).contains(&rail) {
            '─'
        } else {
            ' '
        });
    }
    out
}

fn spaced(line: &[char]) -> String {
    line.iter().flat_map(|c| [*c, ' ']).collect()
}

/// The same in words.
fn list(pipeline: &Pipeline, label: impl Fn(&str) -> Option<Label>) -> String {
    let defs = pipeline.defs();
    let names: HashMap<usize, &str> = defs
        .iter()
        .enumerate()
        .map(|(n, d)| (n, d.dot_id.as_str()))
        .collect();
    let mut out = String::new();
    for def in defs {
        let after: Vec<&str> = def
            .waits_for()
            .iter()
            .take(8)
            .filter_map(|n| names.get(n).copied())
            .collect();
        let words = label(&def.dot_id).map(|l| l.words).unwrap_or_default();
        let after = if after.is_empty() {
            String::new()
        } else {
            format!("  after {}", after.join(", "))
        };
        out.push_str(format!("● {}  {}{after}  {words}", def.dot_id, def.type_name()).trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(source: &str) -> String {
        text(&Pipeline::parse(source).unwrap(), |_| None)
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        assert_eq!(
            picture("a [type=http]; b [type=jsonparse]; a -> b"),
            "●   a  http\n●   b  jsonparse\n"
        );
    }

    #[test]
    fn what_splits_comes_together_again() {
        let drawn = picture(
            "a [type=memo]; b [type=memo]; c [type=memo]; d [type=median]; a -> b -> d; a -> c -> d",
        );
        assert_eq!(
            drawn,
            "●     a  memo\n├─╮\n● │   b  memo\n│ ●   c  memo\n├─╯\n●     d  median\n"
        );
    }

    #[test]
    fn a_thousand_sources_of_one_median_are_drawn_in_words() {
        let mut source = String::from("m [type=median]\n");
        for n in 0..500 {
            source.push_str(&format!("s{n} [type=memo]; s{n} -> m\n"));
        }
        let drawn = picture(&source);
        assert_eq!(drawn.lines().count(), 501);
        assert!(drawn.contains("m  median  after s0, s1"));
    }
}
