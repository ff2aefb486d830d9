//! `dodona health`: which checks pass.

use super::Out;
use crate::client::Client;
use crate::jsonapi::Document;

pub(super) struct Check {
    pub(super) name: String,
    pub(super) status: String,
    pub(super) output: String,
}

pub(super) fn checks(document: &Document) -> Vec<Check> {
    let check = |item: &&crate::jsonapi::Resource| Check {
        name: item.optional("name").unwrap_or_else(|| item.id.clone()),
        status: item.text("status"),
        output: item.text("output"),
    };
    document.items().iter().map(check).collect()
}

/// Exit code 0 also when checks fail: they are the answer, not a failure to get one.
pub(super) async fn run(failing: bool, client: &Client, out: &mut Out<'_>) -> anyhow::Result<()> {
    let query: &[(&str, &str)] = if failing { &[("failing", "")] } else { &[] };
    let answer = client.get("/health", query).await?;
    out.show(&answer, |document| text(&checks(document), failing))
}

/// `ok name` or `!  name`, with what a failing one says below it.
fn text(checks: &[Check], failing: bool) -> String {
    let mut text = String::new();
    for check in checks
        .iter()
        .filter(|check| !failing || check.status == "failing")
    {
        let mark = if check.status == "failing" {
            "! "
        } else {
            "ok"
        };
        text.push_str(&format!("{mark} {}\n", check.name));
        for line in check.output.lines() {
            text.push_str(&format!("\t{line}\n"));
        }
    }
    text
}
