//! What started a job in 0.x, and what starts it today.

use std::fmt::Write as _;

use alloy::primitives::{Address, U256};
use uuid::Uuid;

use super::adapters::{Request, Walk};
use super::document::{Document, Step, field, plain};
use super::{ImportedJob, Options, Refusal, flux, write};
use crate::error::excerpt;
use crate::graph::Pipeline;
use crate::spec::{JobSpec, Schedule, SpecError};
use crate::value::Value;

pub(super) const REQUEST_EVENT: &str = "OracleRequest(bytes32 indexed specId, address requester, bytes32 requestId, uint256 payment, address callbackAddr, bytes4 callbackFunctionId, uint256 cancelExpiration, uint256 dataVersion, bytes data)";

/// What all jobs of a document share.
pub(super) struct Head {
    pub(super) name: String,
    pub(super) id: Option<Uuid>,
}

pub(super) fn convert(
    document: &Document,
    n: usize,
    initiator: &Step,
    keeps_id: bool,
    options: &Options,
) -> Result<ImportedJob, Vec<Refusal>> {
    let name = document.name.clone().unwrap_or_default();
    let head = Head {
        name: match (document.initiators.len(), name.as_str()) {
            (1, _) => name,
            (_, "") => initiator.kind.clone(),
            _ => format!("{name} ({} {})", initiator.kind, n + 1),
        },
        id: document.id.filter(|_| keeps_id),
    };
    let refuse =
        |reason: &str, instead: &str| Err(vec![Refusal::new(&initiator.place, reason, instead)]);
    match initiator.kind.as_str() {
        "runlog" => runlog(document, initiator, head, options),
        "web" => webhook(document, head, options, String::new(), vec![]),
        "external" => external(document, initiator, head, options),
        "cron" => cron(document, initiator, head, options),
        "fluxmonitor" => flux::convert(document, initiator, head, options),
        "randomnesslog" => refuse(
            "randomness jobs need a vrf job, which this version does not run",
            "keep the job where it is, or ask for randomness through the vendor's service",
        ),
        "runat" => refuse(
            "there is no job that runs once at a time",
            "start a webhook job from the system's own timer: dodona jobs run ID",
        ),
        "ethlog" => refuse(
            "there is no job that runs for any event of a contract",
            "let a service of yours watch the event and start a webhook job, or have the contract make a request",
        ),
        "execagreement" => refuse(
            "service agreements no longer exist",
            "make requests through an Operator contract (initiator runlog)",
        ),
        other => {
            const KNOWN: &[&str] = &["runlog", "web", "external", "cron", "fluxmonitor"];
            let hint = crate::nearest::nearest(other, KNOWN.iter().copied());
            refuse(
                "no such initiator exists",
                &hint.map_or_else(
                    || format!("use one of {}", KNOWN.join(", ")),
                    |near| format!("did you mean {near:?}?"),
                ),
            )
        }
    }
}

fn runlog(
    document: &Document,
    initiator: &Step,
    head: Head,
    options: &Options,
) -> Result<ImportedJob, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut keys = String::new();
    let contract = match field(&initiator.params, "address")
        .and_then(plain)
        .filter(|t| !t.is_empty())
    {
        Some(text) => address(&initiator.place, &text),
        None => options.contract_address.ok_or_else(|| {
            Refusal::new(
                &initiator.place,
                "it names no oracle contract (0.x then watched all contracts)",
                "say which one: --contract-address 0x…",
            )
        }),
    };
    let contract = contract.map_err(|refusal| refusals.push(refusal)).ok();
    match chain_id(options, "runlog jobs") {
        Ok(id) => {
            let _ = writeln!(keys, "evmChainID = \"{id}\"");
        }
        Err(refusal) => refusals.push(refusal),
    }
    let requesters = match field(&initiator.params, "requesters") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(items)) => items
            .iter()
            .filter_map(|item| {
                let found = address(&initiator.place, &plain(item).unwrap_or_default());
                found.map_err(|refusal| refusals.push(refusal)).ok()
            })
            .collect(),
        Some(_) => {
            refusals.push(Refusal::new(
                &initiator.place,
                "its requesters are no list",
                "write a list of addresses",
            ));
            Vec::new()
        }
    };
    let mut walk = Walk::new(options, Request::Log { contract });
    walk.all(&document.tasks);
    walk.warnings.extend(precedence(document));
    let (confirmations, payment) = sums(document, &mut walk, options);
    let Walk {
        chain,
        mut warnings,
        refusals: more,
        ..
    } = walk;
    refusals.extend(more);
    let (Some(contract), true) = (contract, refusals.is_empty()) else {
        return Err(refusals);
    };
    let _ = writeln!(keys, "contractAddress = \"{}\"", contract.to_checksum(None));
    if confirmations > 0 {
        let _ = writeln!(keys, "minIncomingConfirmations = {confirmations}");
    }
    if let Some(payment) = payment {
        let _ = writeln!(keys, "minContractPaymentLinkJuels = \"{payment}\"");
    }
    if !requesters.is_empty() {
        let list: Vec<String> = requesters
            .iter()
            .map(|a| format!("\"{}\"", a.to_checksum(None)))
            .collect();
        let _ = writeln!(keys, "requesters = [{}]", list.join(", "));
    }
    if document.id.is_none() {
        warnings.push("the spec has no id: contracts name the old job by its id, so add externalJobID with it".into());
    }
    finish("directrequest", head, &keys, chain.source(), warnings)
}

/// Who wins where spec and request say different things changed within 0.x, so it is said what was assumed.
fn precedence(document: &Document) -> Option<String> {
    let says = document.tasks.iter().any(|task| !task.params.is_empty());
    says.then(|| "assumed: where the spec gives a parameter, one of the same name in a request does not count, as in the later 0.x releases; if your node let the request win, remove it from the spec".to_owned())
}

/// Confirmations: the most any task or bridge asks for. Payment: the job's and each bridge's.
fn sums(document: &Document, walk: &mut Walk<'_>, options: &Options) -> (u32, Option<U256>) {
    let mut confirmations = document
        .tasks
        .iter()
        .map(|t| t.confirmations)
        .max()
        .unwrap_or(0);
    let mut payment = document.min_payment;
    let mut unknown = Vec::new();
    for name in &walk.bridges {
        match options.bridges.as_ref().and_then(|b| b.get(name)) {
            Some(facts) => {
                confirmations = confirmations.max(facts.confirmations);
                if !facts.minimum_payment_juels.is_zero() {
                    if payment.is_none() {
                        walk.warnings.push(format!("the spec has no minPayment: only what the bridge {name} asks for is asked, without the node's own minimum; add that if it should count"));
                    }
                    payment = Some(
                        payment
                            .unwrap_or_default()
                            .saturating_add(facts.minimum_payment_juels),
                    );
                }
            }
            None => unknown.push(name.clone()),
        }
    }
    if !unknown.is_empty() {
        walk.warnings.push(format!(
            "0.x also counted confirmations and minimumContractPayment of the bridge {}: if they are not zero, raise minIncomingConfirmations and minContractPaymentLinkJuels by hand or convert with --bridges",
            unknown.join(", ")
        ));
    }
    (confirmations, payment)
}

fn webhook(
    document: &Document,
    head: Head,
    options: &Options,
    keys: String,
    mut warnings: Vec<String>,
) -> Result<ImportedJob, Vec<Refusal>> {
    let mut walk = Walk::new(options, Request::Body);
    walk.all(&document.tasks);
    walk.warnings.extend(precedence(document));
    if document.min_payment.is_some() {
        walk.warnings
            .push("minPayment is left out: nobody pays for a webhook run".into());
    }
    if !walk.refusals.is_empty() {
        return Err(walk.refusals);
    }
    warnings.append(&mut walk.warnings);
    warnings.push("runs are started with POST /v2/jobs/<external id>/runs today, and the answer is the run; the old path /v2/specs/<id>/runs is gone".into());
    finish("webhook", head, &keys, walk.chain.source(), warnings)
}

fn external(
    document: &Document,
    initiator: &Step,
    head: Head,
    options: &Options,
) -> Result<ImportedJob, Vec<Refusal>> {
    let Some(name) = field(&initiator.params, "name")
        .and_then(plain)
        .filter(|n| !n.is_empty())
    else {
        return Err(vec![Refusal::new(
            &initiator.place,
            "it does not name the external initiator",
            "add \"name\" to its params",
        )]);
    };
    let body = match field(&initiator.params, "body") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(value) => value.to_output_json(),
    };
    let keys = format!(
        "externalInitiators = [{{ name = {}, spec = {} }}]\n",
        write::toml_text(&name),
        write::toml_text(&body)
    );
    let warning = format!(
        "the external initiator {name:?} must exist on this node before the job is created"
    );
    webhook(document, head, options, keys, vec![warning])
}

fn cron(
    document: &Document,
    initiator: &Step,
    head: Head,
    options: &Options,
) -> Result<ImportedJob, Vec<Refusal>> {
    let mut walk = Walk::new(options, Request::Nothing);
    walk.all(&document.tasks);
    let schedule = field(&initiator.params, "schedule")
        .and_then(plain)
        .unwrap_or_default();
    let trimmed = schedule.trim();
    let fields = trimmed.split_whitespace().count();
    let zoned = trimmed.starts_with("CRON_TZ=") || trimmed.starts_with("TZ=");
    let schedule = if trimmed.starts_with('@') {
        if !trimmed.starts_with("@every ") {
            walk.warnings.push(format!(
                "{trimmed} is meant in UTC today; 0.x took the time zone of its machine"
            ));
        }
        trimmed.to_owned()
    } else if let Some(rest) = trimmed.strip_prefix("TZ=") {
        format!("CRON_TZ={rest}")
    } else if zoned {
        trimmed.to_owned()
    } else if matches!(fields, 5 | 6) {
        walk.warnings.push("the schedule names no time zone: it is written for UTC; 0.x took the time zone of its machine, so write that instead if it was another".into());
        format!("CRON_TZ=UTC {trimmed}")
    } else {
        walk.refusals.push(Refusal::new(
            &initiator.place,
            format!("{:?} is no schedule", excerpt(trimmed, 60)),
            "write six fields, seconds first, or @every 1h",
        ));
        String::new()
    };
    if !schedule.is_empty()
        && let Err(why) = schedule.parse::<Schedule>()
    {
        walk.refusals.push(Refusal::new(
            &initiator.place,
            format!("its schedule: {why}"),
            "correct it",
        ));
    }
    if document.min_payment.is_some() {
        walk.warnings
            .push("minPayment is left out: nobody pays for a scheduled run".into());
    }
    if !walk.refusals.is_empty() {
        return Err(walk.refusals);
    }
    let keys = format!("schedule = {}\n", write::toml_text(&schedule));
    finish("cron", head, &keys, walk.chain.source(), walk.warnings)
}

/// Puts the job together and reads it again, as the node will.
pub(super) fn finish(
    kind: &'static str,
    head: Head,
    keys: &str,
    source: String,
    mut warnings: Vec<String>,
) -> Result<ImportedJob, Vec<Refusal>> {
    let mut toml = format!("type = \"{kind}\"\nschemaVersion = 1\n");
    if !head.name.is_empty() {
        let _ = writeln!(toml, "name = {}", write::toml_text(&head.name));
    }
    if let Some(id) = head.id {
        let _ = writeln!(toml, "externalJobID = \"{id}\"");
    }
    toml.push_str(keys);
    let _ = writeln!(toml, "observationSource = {}", write::toml_block(&source));
    let wrong = |why: String| {
        vec![Refusal::new(
            "the converted job",
            format!("it would be refused: {why}"),
            "please report this with the old spec",
        )]
    };
    let pipeline = Pipeline::parse(&source).map_err(|e| wrong(e.to_string()))?;
    match JobSpec::parse(&toml) {
        Ok(spec) => warnings.extend(spec.warnings),
        Err(SpecError::UnsupportedType(_)) => {
            warnings.push(format!("this version does not run {kind} jobs yet"));
            warnings.extend(pipeline.warnings().iter().cloned());
        }
        Err(error) => return Err(wrong(error.to_string())),
    }
    Ok(ImportedJob {
        kind,
        external_job_id: head.id,
        toml,
        warnings,
    })
}

/// An address with a right checksum or none.
pub(super) fn address(place: &str, text: &str) -> Result<Address, Refusal> {
    let refuse = |reason: String| {
        Refusal::new(
            place,
            reason,
            "write the address you mean, 0x and 40 hexadecimal digits",
        )
    };
    let address: Address = text
        .strip_prefix("0x")
        .filter(|digits| digits.len() == 40)
        .and_then(|_| text.parse().ok())
        .ok_or_else(|| refuse(format!("{:?} is no address", excerpt(text, 60))))?;
    let mixed = text[2..].contains(|c: char| c.is_ascii_uppercase())
        && text[2..].contains(|c: char| c.is_ascii_lowercase());
    if mixed && address.to_checksum(None) != text {
        return Err(refuse(format!("the checksum of {text} is wrong")));
    }
    Ok(address)
}

pub(super) fn chain_id(options: &Options, who: &str) -> Result<u64, Refusal> {
    options.evm_chain_id.ok_or_else(|| {
        Refusal::new(
            "document",
            format!("{who} need a chain today, and a 0.x spec names none"),
            "say which one: --evm-chain-id N",
        )
    })
}
