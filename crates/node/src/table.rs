//! How commands print what they found: tables and lists.
//!
//! Both layouts are those of the Chainlink node's command line, down to the
//! characters, because scripts cut them apart. (There a cell is left empty also
//! when it repeats one of another job; here every job shows its own.)

use std::fmt::Write as _;

/// A cell's text is broken at blanks into lines of this many characters, as far as its words allow.
const CELL_WIDTH: usize = 30;

/// A table with a title, headers in capitals and lines between rows.
#[derive(Debug, Clone)]
pub struct Table {
    title: String,
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
    /// In rows about the same thing (the first cell says which), cells that repeat the one above are left empty.
    merge_repeats: bool,
}

impl Table {
    pub fn new(title: impl Into<String>, headers: &[&str]) -> Self {
        let headers = headers.iter().map(|header| header.to_uppercase()).collect();
        Self {
            title: title.into(),
            headers,
            rows: Vec::new(),
            merge_repeats: false,
        }
    }

    pub fn merging_repeats(mut self) -> Self {
        self.merge_repeats = true;
        self
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The whole table with its newline.
    pub fn render(&self) -> String {
        let rows: Vec<Vec<Vec<String>>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| wrapped(cell)).collect())
            .collect();
        let widths = self.widths(&rows);
        let full = separator(&widths, |_| true);
        let mut out = format!("╔ {}\n{full}", self.title);
        let headers = self
            .headers
            .iter()
            .zip(&widths)
            .map(|(header, width)| centered(header, *width));
        let _ = writeln!(out, "║ {} ║", headers.collect::<Vec<_>>().join(" ║ "));
        out.push_str(&full);
        for (index, row) in rows.iter().enumerate() {
            let repeats = |column: usize| {
                let above = index.checked_sub(1).map(|above| &rows[above]);
                let same = |column: usize| above.is_some_and(|above| above[column] == row[column]);
                self.merge_repeats
                    && same(0)
                    && same(column)
                    && row[column].iter().any(|line| !line.is_empty())
            };
            if index > 0 {
                out.push_str(&separator(&widths, |column| !repeats(column)));
            }
            let height = row.iter().map(Vec::len).max().unwrap_or(1);
            for line in 0..height {
                let cell = |column: usize| {
                    let text = row[column].get(line).map_or("", String::as_str);
                    padded(if repeats(column) { "" } else { text }, widths[column])
                };
                let cells: Vec<String> = (0..widths.len()).map(cell).collect();
                let _ = writeln!(out, "║ {} ║", cells.join(" ║ "));
            }
        }
        if !rows.is_empty() {
            out.push_str(&full);
        }
        out
    }

    fn widths(&self, rows: &[Vec<Vec<String>>]) -> Vec<usize> {
        let widest = |column: usize| {
            let cells = rows
                .iter()
                .flat_map(|row| &row[column])
                .map(|line| line.chars().count());
            cells
                .chain([self.headers[column].chars().count()])
                .max()
                .unwrap_or(0)
        };
        (0..self.headers.len()).map(widest).collect()
    }
}

fn separator(widths: &[usize], shown: impl Fn(usize) -> bool) -> String {
    let mut line = String::from("╬");
    for (column, width) in widths.iter().enumerate() {
        line.push_str(&if shown(column) { "═" } else { " " }.repeat(width + 2));
        line.push('╬');
    }
    line.push('\n');
    line
}

fn centered(text: &str, width: usize) -> String {
    let gap = width - text.chars().count();
    let left = gap.div_ceil(2);
    format!("{}{text}{}", " ".repeat(left), " ".repeat(gap - left))
}

/// Numbers to the right, everything else to the left.
fn padded(text: &str, width: usize) -> String {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = digits.split_once('.').map_or_else(
        || is_digits(digits),
        |(whole, rest)| is_digits(whole) && is_digits(rest),
    );
    if number {
        format!("{text:>width$}")
    } else {
        format!("{text:<width$}")
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let longest = paragraph
            .split(' ')
            .map(|word| word.chars().count())
            .max()
            .unwrap_or(0);
        let width = CELL_WIDTH.max(longest);
        let mut line = String::new();
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// Items as blocks of `Label: value`, with dividers around them.
pub fn list(labels: &[&str], items: &[Vec<String>]) -> String {
    let widest = labels.iter().map(|label| label.len()).max().unwrap_or(0);
    let line = |label: &str, value: &String| {
        format!("{label}: {}{value}", " ".repeat(widest - label.len()))
    };
    let blocks: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            labels
                .iter()
                .zip(item)
                .map(|(label, value)| line(label, value))
                .collect()
        })
        .collect();
    // Bytes, not characters, as there.
    let longest = blocks
        .iter()
        .flatten()
        .flat_map(|line| line.split('\n'))
        .map(str::len)
        .max()
        .unwrap_or(0);
    let divider = "-".repeat(longest);
    let mut out = format!("\n{divider}\n");
    for block in blocks {
        let _ = writeln!(out, "{}\n{divider}", block.join("\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn a_table_of_jobs_leaves_repeated_cells_empty() {
        let mut table = Table::new("Jobs (V2)", &["ID", "Name", "Type", "Tasks", "Created At"])
            .merging_repeats();
        let at = "2026-11-23T09:12:00Z";
        table.row(row(&[
            "1",
            "Get > Uint256",
            "directrequest",
            "decode_log ethabidecodelog",
            at,
        ]));
        table.row(row(&[
            "1",
            "Get > Uint256",
            "directrequest",
            "fetch http",
            at,
        ]));
        table.row(row(&[
            "12",
            "a name that is too long to stand on one line",
            "directrequest",
            "fetch http",
            at,
        ]));
        insta::assert_snapshot!(table.render());
    }

    #[test]
    fn an_empty_table_is_its_headers() {
        insta::assert_snapshot!(Table::new("Bridges", &["Name", "URL", "Confirmations"]).render());
    }

    #[test]
    fn a_list_pads_its_labels_and_rules_as_wide_as_its_longest_line() {
        let items = [
            row(&["0x01", "31337", "1.0"]),
            row(&["0x0203", "1", "Unknown"]),
        ];
        insta::assert_snapshot!(list(&["Address", "EVM Chain ID", "ETH"], &items));
    }
}
