//! `dodona runs …`.

use serde_json::Value;

use super::{Out, page_query, segment};
use crate::cli::RunsCommand;
use crate::client::Client;
use crate::jsonapi::{Document, Resource, shown};
use crate::table::Table;

pub(super) async fn run(
    command: RunsCommand,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    match command {
        RunsCommand::List { job, page } => {
            let query = page_query(&page);
            let query: Vec<(&str, &str)> = query
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let path = match job {
                Some(job) => format!("/v2/jobs/{}/runs", segment(&job)?),
                None => "/v2/pipeline/runs".to_owned(),
            };
            let answer = client.get(&path, &query).await?;
            out.show(&answer, many)
        }
        RunsCommand::Show { id } => {
            let answer = client
                .get(&format!("/v2/pipeline/runs/{}", segment(&id)?), &[])
                .await?;
            out.show(&answer, |run| one(run) + &details(run))
        }
    }
}

/// As `jobs run` prints it.
pub(super) fn one(run: &Document) -> String {
    let mut table = Table::new("Pipeline Run", &["ID", "Created At", "Finished At"]);
    for run in run.items() {
        table.row([
            run.id.clone(),
            run.text("createdAt"),
            run.text("finishedAt"),
        ]);
    }
    table.render()
}

fn many(runs: &Document) -> String {
    let mut table = Table::new(
        "Pipeline Runs",
        &[
            "ID",
            "Job ID",
            "State",
            "Created At",
            "Finished At",
            "Error",
        ],
    );
    for run in runs.items() {
        let job = run
            .attributes
            .get("pipelineSpec")
            .and_then(|spec| spec.get("jobID"))
            .map(shown)
            .unwrap_or_default();
        let error = errors(run).into_iter().next().unwrap_or_default();
        table.row([
            run.id.clone(),
            job,
            state(run),
            run.text("createdAt"),
            run.text("finishedAt"),
            error,
        ]);
    }
    table.render()
}

/// Nodes that do not say it leave it to be seen.
fn state(run: &Resource) -> String {
    let seen = match (run.optional("finishedAt").is_some(), errors(run).is_empty()) {
        (false, _) => "running",
        (true, true) => "completed",
        (true, false) => "errored",
    };
    run.optional("state").unwrap_or_else(|| seen.to_owned())
}

/// What the table of one run leaves out: that it failed, or that it is not over.
pub(super) fn not_well(run: &Resource) -> Option<String> {
    let (id, state) = (&run.id, state(run));
    // The first task that failed says more than the last, which only says that others did.
    let failed = run.list("taskRuns").iter().find_map(|task| {
        let of = |name: &str| task.get(name).filter(|it| !it.is_null()).map(shown);
        Some(format!("task {}: {}", of("dotId")?, of("error")?))
    });
    match state.as_str() {
        "completed" => None,
        "errored" => {
            let why = failed.or_else(|| errors(run).into_iter().next());
            Some(format!("run {id} failed: {}", why.unwrap_or_default()))
        }
        _ => Some(format!("run {id} is {state}; see: dodona runs show {id}")),
    }
}

fn errors(run: &Resource) -> Vec<String> {
    run.list("fatalErrors")
        .iter()
        .filter(|error| !error.is_null())
        .map(shown)
        .collect()
}

/// The tasks with what they gave or why they failed.
fn details(run: &Document) -> String {
    let mut text = String::new();
    for run in run.items() {
        let mut table = Table::new("Tasks", &["Task", "Type", "Finished At", "Output", "Error"]);
        for task in run.list("taskRuns") {
            let of = |name: &str| task.get(name).map(shown).unwrap_or_default();
            table.row([
                of("dotId"),
                of("type"),
                of("finishedAt"),
                clipped(&of("output")),
                clipped(&of("error")),
            ]);
        }
        text.push_str(&table.render());
        let outputs: Vec<String> = run
            .list("outputs")
            .iter()
            .filter(|value| !value.is_null())
            .map(Value::to_string)
            .collect();
        if !outputs.is_empty() {
            text.push_str(&format!("outputs: {}\n", outputs.join(", ")));
        }
        errors(run)
            .iter()
            .for_each(|error| text.push_str(&format!("error: {error}\n")));
    }
    text
}

/// Long values would break the table; `--json` has them whole.
fn clipped(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}
