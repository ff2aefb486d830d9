//! The last results, kept in `docs/benchmarks.md` between two marks; the words around them are people's.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};

use crate::figure::Figure;
use crate::machine::Machine;

/// A member of a load: between which figures half of the rounds lie.
pub(crate) const SPREAD: &str = "half_of_the_rounds_between";
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/benchmarks.md");

/// Replaces the results of this benchmark and variant.
pub(crate) fn keep(
    benchmark: &str,
    variant: &str,
    figures: &[Figure],
    machine: &Machine,
    load_after: &f64,
) -> Result<()> {
    let page = fs::read_to_string(PAGE).with_context(|| format!("reading {PAGE}"))?;
    let results = results(figures, machine, *load_after)?;
    let page = replaced(&page, &format!("{benchmark} {variant}"), &results)?;
    fs::write(Path::new(PAGE), page).with_context(|| format!("writing {PAGE}"))
}

fn results(figures: &[Figure], machine: &Machine, load_after: f64) -> Result<String> {
    let mut text = format!(
        "Measured {} at commit {} on {} ({} cores, {} MiB of memory, Linux {}, {:.2} ms to flush 8 KiB to disk), \
         {}. Load average {} before, {load_after} after.\n\n\
         | figure | value | unit | target | | load |\n|---|---:|---|---|---|---|\n",
        machine.date,
        machine.commit,
        machine.cpu,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.fsync_ms,
        machine.versions.join(", "),
        machine.load_average,
    );
    for figure in figures {
        let mut load = figure.load["offered"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if let [Some(low), Some(high)] = [0, 1].map(|at| figure.load[SPREAD][at].as_f64()) {
            write!(load, "; half of the rounds between {low:.2} and {high:.2}")?;
        }
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {load} |",
            figure.name,
            figure.value,
            figure.unit,
            figure.wanted(),
            figure.verdict()
        )?;
    }
    if let Some(figure) = figures.first() {
        let mut load = figure.load.clone();
        if let Some(load) = load.as_object_mut() {
            load.retain(|name, _| {
                !matches!(
                    name.as_str(),
                    "offered" | "window_seconds" | "load_average" | SPREAD
                )
            });
        }
        writeln!(text, "\nOf every load: `{load}`.")?;
    }
    Ok(text)
}

fn replaced(page: &str, what: &str, results: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- results: {what} -->\n"),
        format!("<!-- end: {what} -->"),
    );
    let missing = || format!("docs/benchmarks.md lacks the mark for results of {what}");
    let (before, rest) = page.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    Ok(format!("{before}{begin}{results}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = "a\n<!-- results: node x -->\nold\n<!-- end: node x -->\nb\n";
        let new = replaced(page, "node x", "new\n").unwrap();
        assert_eq!(
            new,
            "a\n<!-- results: node x -->\nnew\n<!-- end: node x -->\nb\n"
        );
        assert!(replaced(page, "node y", "new\n").is_err());
    }

    #[test]
    fn the_page_has_a_place_for_every_benchmark() {
        let page = fs::read_to_string(PAGE).unwrap();
        for what in [
            "node sqlite",
            "node postgres",
            "gateway http",
            "gateway ws",
            "gateway subscribers",
            "gateway failover",
            "jobs memory",
            "jobs sqlite",
            "jobs postgres",
        ] {
            assert!(replaced(&page, what, "").is_ok(), "{what}");
        }
    }
}
