//! `dodona jobs lint`, `test`, `diff` and `import`: what helps with writing jobs. The thinking is in
//! the pipeline crate; here files are read and results printed. Only `import --create` and
//! `diff` with a job of a node talk to anybody; `test --live` asks data sources.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use dodona_pipeline::diff::{Change, Side, diff};
use dodona_pipeline::draw::{self, Mark};
use dodona_pipeline::egress::EgressClient;
use dodona_pipeline::legacy::{self, BridgeFacts, Import, Options};
use dodona_pipeline::lint::{self, Facts, Level};
use dodona_pipeline::rehearsal::{Rehearsal, Report, Sources, shown};
use dodona_pipeline::{JobSpec, Pipeline, decimal};
use serde_json::{Value, json};

use super::{Out, document, jobs, segment};
use crate::cli::{ImportArgs, LintArgs, LintFormat, TestArgs};
use crate::client::{Body, Client};
use crate::jsonapi::Document;
use crate::table::Table;

/// Longest text of a value in a table; `--json` shows all of it.
const MAX_SHOWN: usize = 100;

pub(super) fn lint(arguments: &LintArgs, out: &mut Out<'_>) -> anyhow::Result<()> {
    let facts = Facts {
        gas_price_wei: arguments
            .gas_price_gwei
            .map(|gwei| u128::from(gwei) * 1_000_000_000),
        ether_per_link: arguments
            .ether_per_link
            .as_deref()
            .map(decimal::parse)
            .transpose()
            .map_err(anyhow::Error::msg)
            .context("--ether-per-link")?,
    };
    let mut found = Vec::new();
    for file in &arguments.files {
        // One that cannot be read keeps nobody from hearing about the others.
        let findings = match document(file, "a file", |_| false) {
            Ok(text) => lint::lint(&text, &facts),
            Err(error) => vec![lint::unreadable(&format!("{error:#}"))],
        };
        found.push((file.as_str(), findings));
    }
    let files: Vec<lint::Checked<'_>> = found
        .iter()
        .map(|(file, findings)| (*file, findings.as_slice()))
        .collect();
    let format = if out.json {
        LintFormat::Json
    } else {
        arguments.format
    };
    let page = match format {
        LintFormat::Text => lint::text(&files),
        LintFormat::Json => pretty(&lint::json(&files))?,
        LintFormat::Sarif => pretty(&lint::sarif(&files, crate::version::VERSION))?,
    };
    out.stdout
        .write_all(page.as_bytes())
        .context("the output cannot be written")?;
    let refused = if arguments.strict {
        Level::Warning
    } else {
        Level::Error
    };
    let bad = found
        .iter()
        .flat_map(|(_, findings)| findings)
        .filter(|f| f.level >= refused)
        .count();
    let what = match refused {
        Level::Error => "error",
        _ => "error or warning",
    };
    anyhow::ensure!(
        bad == 0,
        "{bad} {what}{} found",
        if bad == 1 { "" } else { "s" }
    );
    Ok(())
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    let text =
        serde_json::to_string_pretty(value).context("the result cannot be printed as JSON")?;
    Ok(text + "\n")
}

pub(super) async fn test(arguments: &TestArgs, out: &mut Out<'_>) -> anyhow::Result<()> {
    let toml = document(&arguments.file, "a file", |_| false)?;
    let spec = JobSpec::parse(&toml)?;
    // What looks like an object is one, and the rehearsal says what is wrong with it.
    let is_json = |text: &str| {
        text.trim_start().starts_with('{') || serde_json::from_str::<Value>(text).is_ok()
    };
    let input = match &arguments.input {
        Some(input) => document(input, "JSON", is_json)?,
        None => String::new(),
    };
    let sources = match &arguments.sources {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            Sources::read(&text)?
        }
        None => Sources::default(),
    };
    let live = arguments
        .live
        .then(EgressClient::new)
        .transpose()
        .context("the HTTP client cannot be set up")?;
    let rehearsal = Rehearsal {
        spec: &spec,
        input: &input,
        sources,
        live,
    };
    let report = rehearsal.run().await.map_err(anyhow::Error::msg)?;
    if let Some(path) = &arguments.svg {
        let drawn = draw::svg(&spec.pipeline, |id| report.label(id))
            .context("the pipeline has too many tasks for a picture")?;
        std::fs::write(path, drawn)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        out.hint(&format!("picture: {}", path.display()))?;
    }
    out.value(&report_json(&report))?;
    out.text(&report_text(&spec, &report))?;
    anyhow::ensure!(report.is_good(), "{}", report.verdict());
    Ok(())
}

fn report_text(spec: &JobSpec, report: &Report) -> String {
    let mut table = Table::new("Rehearsal", &["Task", "Type", "Time", "Output"]);
    for line in &report.lines {
        let time = match line.mark {
            Mark::Waiting => String::new(),
            _ => shown(line.took),
        };
        let sign = match line.mark {
            Mark::Failed => "✘ ",
            _ => "",
        };
        let text = clipped(&format!("{sign}{}", line.text.replace('\n', " ")));
        table.row([line.dot_id.clone(), line.kind.to_owned(), time, text]);
    }
    let drawn = draw::text(&spec.pipeline, |id| report.label(id));
    format!("{}\n{drawn}\n{}\n", table.render(), report.verdict())
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn report_json(report: &Report) -> Value {
    let tasks: Vec<Value> = report
        .lines
        .iter()
        .map(|line| {
            let state = match line.mark {
                Mark::Done => "completed",
                Mark::Failed => "errored",
                Mark::Waiting | Mark::Plain => "waiting",
            };
            json!({"task": line.dot_id, "type": line.kind, "state": state, "text": line.text,
                   "microseconds": u64::try_from(line.took.as_micros()).unwrap_or(u64::MAX)})
        })
        .collect();
    json!({"verdict": report.verdict(), "good": report.is_good(), "tasks": tasks})
}

pub(super) async fn compare(
    left: &str,
    right: &str,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    let mut left = side(left, client).await?;
    let mut right = side(right, client).await?;
    // A node gives every job an id; a file that leaves it open is no different for that.
    for key in ["externalJobID"] {
        if !left.fields.contains_key(key) || !right.fields.contains_key(key) {
            left.fields.remove(key);
            right.fields.remove(key);
        }
    }
    let changes = diff(&left, &right);
    let list: Vec<Value> = changes
        .iter()
        .map(|c| json!({"what": c.what, "left": c.left, "right": c.right}))
        .collect();
    out.value(&Value::Array(list))?;
    out.text(&changes.iter().map(change_text).collect::<String>())?;
    if changes.is_empty() {
        return out.line("No difference.");
    }
    anyhow::bail!("{}", plural(changes.len(), "difference"))
}

fn change_text(change: &Change) -> String {
    let line = |sign: char, text: &Option<String>| match text {
        Some(text) => format!("  {sign} {}\n", text.trim().replace('\n', "\n    ")),
        None => String::new(),
    };
    format!(
        "{}\n{}{}",
        change.what,
        line('-', &change.left),
        line('+', &change.right)
    )
}

/// A file if there is one of that name, else a job of the node.
async fn side(argument: &str, client: &Client) -> anyhow::Result<Side> {
    if Path::new(argument).exists() || argument == "-" {
        let text = document(argument, "a file", |_| false)?;
        let mut side = Side::of_spec(&text).with_context(|| argument.to_owned())?;
        side.fields.retain(|key, value| !is_default(key, value));
        return Ok(side);
    }
    let id = segment(argument)
        .with_context(|| format!("{argument} is no file and no number or id of a job"))?;
    let answer = client.get(&format!("/v2/jobs/{id}"), &[]).await?;
    side_of_job(&answer.document()?)
}

/// Keys of a specification as the API shows them, wherever it puts them.
const SPEC_KEYS: &[&str] = &[
    "type",
    "schemaVersion",
    "name",
    "externalJobID",
    "maxTaskDuration",
    "gasLimit",
    "forwardingAllowed",
    "contractAddress",
    "evmChainID",
    "minIncomingConfirmations",
    "minContractPaymentLinkJuels",
    "requesters",
    "schedule",
    "threshold",
    "absoluteThreshold",
    "pollTimerPeriod",
    "pollTimerDisabled",
    "idleTimerPeriod",
    "idleTimerDisabled",
    "drumbeatEnabled",
    "drumbeatSchedule",
    "drumbeatRandomDelay",
    "minPayment",
];

fn side_of_job(job: &Document) -> anyhow::Result<Side> {
    let jobs = job.items();
    let job = jobs.first().context("the node answered without a job")?;
    let mut fields = BTreeMap::new();
    let parts = job.attributes.iter().filter(|(name, value)| {
        name.ends_with("Spec") && value.is_object() && name.as_str() != "pipelineSpec"
    });
    let inner = parts.flat_map(|(_, part)| part.as_object().into_iter().flatten());
    for (key, value) in job.attributes.iter().chain(inner) {
        let known = SPEC_KEYS.iter().find(|k| k.eq_ignore_ascii_case(key));
        let Some(known) = known else { continue };
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if !is_default(known, &text) {
            fields.insert((*known).to_owned(), text);
        }
    }
    let source = job
        .attributes
        .get("pipelineSpec")
        .and_then(|spec| spec.get("dotDagSource"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let pipeline =
        Pipeline::parse(source).context("the node's job has a pipeline that cannot be read")?;
    let listed = job
        .attributes
        .get("webhookSpec")
        .and_then(|spec| spec.get("externalInitiators"))
        .and_then(Value::as_array);
    let initiators = listed.into_iter().flatten().map(|it| {
        let text = |key: &str| it.get(key).and_then(Value::as_str).unwrap_or_default();
        (text("name").to_owned(), text("spec").to_owned())
    });
    Ok(Side::new(fields, pipeline).listing(initiators))
}

/// Said or not said, it means the same.
fn is_default(key: &str, value: &str) -> bool {
    match key {
        "maxTaskDuration" | "drumbeatRandomDelay" | "pollTimerPeriod" | "idleTimerPeriod" => {
            matches!(value, "0" | "0s" | "0ns")
        }
        "forwardingAllowed" | "pollTimerDisabled" | "idleTimerDisabled" | "drumbeatEnabled" => {
            value == "false"
        }
        "requesters" => value == "[]",
        "threshold" | "absoluteThreshold" => matches!(value, "0" | "0.0"),
        _ => false,
    }
}

pub(super) async fn import(
    arguments: &ImportArgs,
    client: &Client,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok_and(|v| v.is_object());
    let old = document(&arguments.file, "a 0.x job spec", is_json)?;
    let bridges = match (&arguments.bridges, arguments.create) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            let list: Value = serde_json::from_str(&text)
                .with_context(|| format!("{} is no JSON", file.display()))?;
            Some(bridge_facts(&list).context("--bridges")?)
        }
        (None, true) => {
            let answer = client.get("/v2/bridge_types", &[("size", "1000")]).await?;
            Some(bridge_facts(&answer.document()?.flat())?)
        }
        (None, false) => None,
    };
    let options = Options {
        evm_chain_id: arguments.evm_chain_id,
        contract_address: arguments
            .contract_address
            .as_deref()
            .map(str::parse)
            .transpose()
            .context("--contract-address")?,
        function_signature: arguments.function.clone(),
        bridges,
        now: SystemTime::now(),
    };
    let import = legacy::import(&old, &options);
    out.value(&import_json(&import))?;
    for warning in &import.warnings {
        out.hint(&format!("warning: {warning}"))?;
    }
    for job in &import.jobs {
        if import.jobs.len() > 1 {
            out.line(&format!("# ---- {} ----", job.kind))?;
        }
        out.text(&job.toml)?;
        for warning in &job.warnings {
            out.hint(&format!("warning: {warning}"))?;
        }
    }
    for refusal in &import.refusals {
        out.hint(&format!("cannot be converted: {refusal}"))?;
    }
    anyhow::ensure!(
        import.refusals.is_empty(),
        "{} of the spec cannot be converted, nothing was created",
        plural(import.refusals.len(), "part")
    );
    if !arguments.create {
        return Ok(());
    }
    for job in &import.jobs {
        let body = Body::Json(json!({"toml": job.toml}));
        let answer = client.post("/v2/jobs", &[], body).await?;
        out.line("Job created")?;
        if !out.json {
            out.show(&answer, |job| jobs::table("Jobs", job))?;
        }
    }
    Ok(())
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn import_json(import: &Import) -> Value {
    let jobs: Vec<Value> = import
        .jobs
        .iter()
        .map(|j| json!({"type": j.kind, "externalJobID": j.external_job_id, "toml": j.toml, "warnings": j.warnings}))
        .collect();
    let refusals: Vec<Value> = import
        .refusals
        .iter()
        .map(|r| json!({"place": r.place, "reason": r.reason, "instead": r.instead}))
        .collect();
    json!({"jobs": jobs, "warnings": import.warnings, "refusals": refusals})
}

/// A list of bridges as `bridges list --json` prints it, of this node or of the old one.
fn bridge_facts(list: &Value) -> anyhow::Result<BTreeMap<String, BridgeFacts>> {
    let data = list.get("data").unwrap_or(list);
    let items = match data {
        Value::Array(items) => items.clone(),
        one @ Value::Object(_) => vec![one.clone()],
        _ => anyhow::bail!("expected a list of bridges"),
    };
    items
        .iter()
        .map(|item| {
            let item = item.get("attributes").unwrap_or(item);
            let text = |key: &str| match item.get(key) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(n)) => Some(n.to_string()),
                _ => None,
            };
            let name = text("name").context("a bridge has no name")?;
            let payment = text("minimumContractPayment")
                .filter(|t| !t.is_empty())
                .unwrap_or_else(|| "0".into());
            let facts = BridgeFacts {
                confirmations: text("confirmations")
                    .and_then(|t| t.parse().ok())
                    .unwrap_or(0),
                minimum_payment_juels: payment
                    .parse()
                    .with_context(|| format!("minimumContractPayment of the bridge {name}"))?,
            };
            Ok((name.to_lowercase(), facts))
        })
        .collect()
}
