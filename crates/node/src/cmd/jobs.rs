//! `dodona jobs …`.

use dodona_pipeline::MAX_SPEC_BYTES;
use serde_json::Value;

use super::{Out, document, job_tools, page_query, runs, segment};
use crate::cli::JobsCommand;
use crate::client::{Body, Client};
use crate::jsonapi::{Document, Resource, shown};
use crate::table::Table;

pub(super) async fn run(
    command: JobsCommand,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    match command {
        JobsCommand::List(page) => {
            let query = page_query(&page);
            let query: Vec<(&str, &str)> = query
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let answer = client.get("/v2/jobs", &query).await?;
            out.show(&answer, |jobs| table("Jobs (V2)", jobs))
        }
        JobsCommand::Show { id } => {
            let answer = client
                .get(&format!("/v2/jobs/{}", segment(&id)?), &[])
                .await?;
            out.show(&answer, |job| table("Jobs", job) + &errors(job))
        }
        JobsCommand::Create { spec } => {
            let is_spec = |text: &str| {
                text.parse::<toml::Table>()
                    .is_ok_and(|table| !table.is_empty())
            };
            let spec = document(&spec, "a TOML specification", is_spec)?;
            // The node would end the connection in the middle of it, which says nothing.
            anyhow::ensure!(
                spec.len() <= MAX_SPEC_BYTES,
                "the job spec has {} bytes, more than the {MAX_SPEC_BYTES} that are read",
                spec.len()
            );
            let answer = client
                .post(
                    "/v2/jobs",
                    &[],
                    Body::Json(serde_json::json!({"toml": spec})),
                )
                .await?;
            out.line("Job created")?;
            out.show(&answer, |job| table("Jobs", job))?;
            // A misspelt setting has no effect, and nobody would ever know.
            let created = answer.document()?;
            for job in created.items() {
                for warning in job.list("warnings") {
                    out.hint(&format!("warning: {}", shown(warning)))?;
                }
            }
            Ok(())
        }
        JobsCommand::Delete { id } => {
            client
                .delete(&format!("/v2/jobs/{}", segment(&id)?))
                .await?;
            out.line(&format!("Job {id} Deleted"))
        }
        JobsCommand::Run { id, body } => {
            let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
            let body = body
                .map(|body| document(&body, "JSON", is_json))
                .transpose()?;
            let body = body.map_or(Body::Nothing, Body::Raw);
            let answer = client
                .post(&format!("/v2/jobs/{}/runs", segment(&id)?), &[], body)
                .await?;
            out.show(&answer, runs::one)?;
            for run in answer.document()?.items() {
                if let Some(line) = runs::not_well(run) {
                    out.hint(&line)?;
                }
            }
            Ok(())
        }
        JobsCommand::Lint(arguments) => job_tools::lint(&arguments, out),
        JobsCommand::Test(arguments) => job_tools::test(&arguments, out).await,
        JobsCommand::Diff { left, right } => job_tools::compare(&left, &right, client, out).await,
        JobsCommand::Import(arguments) => job_tools::import(&arguments, client, out).await,
    }
}

/// One row for each task of each job.
pub(super) fn table(title: &str, jobs: &Document) -> String {
    let mut table =
        Table::new(title, &["ID", "Name", "Type", "Tasks", "Created At"]).merging_repeats();
    for job in jobs.items() {
        let tasks = tasks(job);
        let tasks = if tasks.is_empty() {
            vec![String::new()]
        } else {
            tasks
        };
        for task in tasks {
            table.row([
                job.id.clone(),
                job.text("name"),
                job.text("type"),
                task,
                created_at(job),
            ]);
        }
    }
    table.render()
}

/// When the job was created stands with the part that belongs to its type.
fn created_at(job: &Resource) -> String {
    let mut parts = job
        .attributes
        .iter()
        .filter(|(name, value)| name.ends_with("Spec") && value.is_object());
    let of = |value: &Value| {
        value
            .get("createdAt")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    parts
        .find_map(|(_, value)| of(value))
        .or_else(|| job.optional("createdAt"))
        .unwrap_or_default()
}

fn tasks(job: &Resource) -> Vec<String> {
    let source = job
        .attributes
        .get("pipelineSpec")
        .and_then(|spec| spec.get("dotDagSource"))
        .and_then(Value::as_str);
    tasks_of(source.unwrap_or_default())
}

/// `name type` for each task of a pipeline, in the order they stand there.
///
/// Looks for `name [ … type=word … ]` outside of quotes; it does not check anything, the node did.
fn tasks_of(source: &str) -> Vec<String> {
    let (mut tasks, mut name) = (Vec::new(), String::new());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(inside) = rest.strip_prefix('[') {
            let (attributes, after) = bracket(inside);
            if let Some(kind) = attribute(&attributes, "type") {
                tasks.push(format!("{name} {kind}"));
            }
            name.clear();
            rest = after;
        } else {
            match c {
                c if c.is_alphanumeric() || c == '_' => name.push(c),
                // The name stays until something else than its bracket begins.
                c if c.is_whitespace() && rest.trim_start().starts_with('[') => {}
                _ => name.clear(),
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    tasks
}

/// The words of an attribute list with quoted texts emptied, and what follows its end.
fn bracket(inside: &str) -> (String, &str) {
    let (mut words, mut quote, mut depth) = (String::new(), None, 0_u32);
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some('"'), '"') if !escaped => quote = None,
            (Some('<'), '<') => depth += 1,
            (Some('<'), '>') if depth > 0 => depth -= 1,
            (Some('<'), '>') => quote = None,
            (Some('"'), c) => words.push(c),
            (Some(_), _) => {}
            (None, '"' | '<') => quote = Some(c),
            (None, ']') => return (words, &inside[at + 1..]),
            (None, c) => words.push(c),
        }
        escaped = false;
    }
    (words, "")
}

fn attribute(words: &str, wanted: &str) -> Option<String> {
    let at = words.match_indices(wanted).find(|(at, _)| {
        let before = words[..*at].chars().next_back();
        let after = words[*at + wanted.len()..].trim_start();
        before.is_none_or(|c| c.is_whitespace() || c == ',' || c == ';') && after.starts_with('=')
    })?;
    let value = words[at.0 + wanted.len()..]
        .trim_start()
        .strip_prefix('=')?
        .trim_start();
    let end = value
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(value.len());
    (end > 0).then(|| value[..end].to_owned())
}

/// What went wrong with the job so far.
fn errors(job: &Document) -> String {
    let mut text = String::new();
    for job in job.items() {
        for error in job.list("errors") {
            let of = |name: &str| error.get(name).map(shown).unwrap_or_default();
            text.push_str(&format!(
                "error ({} times, last {}): {}\n",
                of("occurrences"),
                of("updatedAt"),
                of("description")
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_of_a_pipeline_are_found_whatever_stands_in_their_texts() {
        let source = r#"
            // fetch [type=nothing]
            decode_log   [type="ethabidecodelog" abi="OracleRequest(bytes32 indexed specId, address[] x)"]
            fetch [type=http method=GET url="https://example.org/[a]" requestData=<{"type": [1, "]"], "x": "<b>"}>]
            parse [type = jsonparse,
                   path="data,result"]
            decode_log -> fetch -> parse
        "#;
        assert_eq!(
            tasks_of(source),
            [
                "decode_log ethabidecodelog",
                "fetch http",
                "parse jsonparse"
            ]
        );
    }
}
