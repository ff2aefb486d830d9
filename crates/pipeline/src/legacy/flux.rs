//! `fluxmonitor` initiators: several feeds, their median, a submission when it moves.

use std::fmt::Write as _;

use super::chain::Chain;
use super::document::{Document, Step, field, plain};
use super::initiators::{Head, address, chain_id, finish};
use super::{ImportedJob, Options, Refusal, write};
use crate::duration::parse_duration;
use crate::value::Value;

const MAX_FEEDS: usize = 100;

pub(super) fn convert(
    document: &Document,
    initiator: &Step,
    head: Head,
    options: &Options,
) -> Result<ImportedJob, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut warnings = Vec::new();
    let mut keys = String::new();
    let place = &initiator.place;
    let param = |name: &str| field(&initiator.params, name).filter(|v| **v != Value::Null);

    match chain_id(options, "fluxmonitor jobs") {
        Ok(id) => {
            let _ = writeln!(keys, "evmChainID = \"{id}\"");
        }
        Err(refusal) => refusals.push(refusal),
    }
    match param("address").and_then(plain).map(|t| address(place, &t)) {
        Some(Ok(contract)) => {
            let _ = writeln!(keys, "contractAddress = \"{}\"", contract.to_checksum(None));
        }
        Some(Err(refusal)) => refusals.push(refusal),
        None => refusals.push(Refusal::new(
            place,
            "it names no aggregator",
            "add \"address\" to its params",
        )),
    }
    let triggers = param("valueTriggers").and_then(|v| match v {
        Value::Map(map) => Some(map),
        _ => None,
    });
    for (name, old) in [("threshold", "relative"), ("absoluteThreshold", "absolute")] {
        let value = param(name).or_else(|| triggers.and_then(|t| field(t, name).or(field(t, old))));
        match value.map(|v| (plain(v).and_then(|t| t.parse::<f64>().ok()), v)) {
            Some((Some(number), _)) if number.is_finite() && number >= 0.0 => {
                let _ = writeln!(keys, "{name} = {number:?}");
            }
            Some((_, v)) => refusals.push(Refusal::new(
                place,
                format!("its {name} is {}, not a number", v.to_output_json()),
                "write a number",
            )),
            None => {}
        }
    }
    timer(
        &initiator.place,
        &mut keys,
        "poll",
        param("pollTimer"),
        "period",
        param("pollingInterval"),
        Some("1m"),
        &mut refusals,
    );
    timer(
        &initiator.place,
        &mut keys,
        "idle",
        param("idleTimer"),
        "duration",
        param("idleThreshold"),
        None,
        &mut refusals,
    );

    let precision = match param("precision") {
        None => 0,
        Some(value) => match plain(value)
            .and_then(|t| t.parse::<u32>().ok())
            .filter(|p| *p <= 77)
        {
            Some(precision) => precision,
            None => {
                refusals.push(Refusal::new(
                    place,
                    "its precision is not a number from 0 to 77",
                    "write how many decimal places the answer has",
                ));
                0
            }
        },
    };
    tasks(document, precision, &mut warnings, &mut refusals);
    let source = match feeds(initiator, precision, &mut warnings) {
        Ok(source) => source,
        Err(more) => {
            refusals.extend(more);
            String::new()
        }
    };
    if !refusals.is_empty() {
        return Err(refusals);
    }
    if let Some(payment) = document.min_payment {
        let _ = writeln!(keys, "minPayment = \"{payment}\"");
    }
    finish("fluxmonitor", head, &keys, source, warnings)
}

/// A timer in its newer form (an object) or its older one (a duration).
#[expect(
    clippy::too_many_arguments,
    reason = "two timers, two old forms, one rule"
)]
fn timer(
    place: &str,
    keys: &mut String,
    name: &str,
    newer: Option<&Value>,
    length: &str,
    older: Option<&Value>,
    default: Option<&str>,
    refusals: &mut Vec<Refusal>,
) {
    let (mut disabled, mut period) = (false, older.and_then(plain));
    if let Some(Value::Map(timer)) = newer {
        disabled = matches!(field(timer, "disabled"), Some(Value::Bool(true)));
        period = field(timer, length).and_then(plain).or(period);
    }
    if disabled {
        let _ = writeln!(keys, "{name}TimerDisabled = true");
        return;
    }
    let period = period
        .filter(|p| !p.is_empty())
        .or(default.map(str::to_owned));
    match period {
        Some(text) => match parse_duration(&text) {
            Ok(d) if d.is_zero() => {
                let _ = writeln!(keys, "{name}TimerDisabled = true");
            }
            Ok(_) => {
                let _ = writeln!(keys, "{name}TimerPeriod = \"{text}\"");
            }
            Err(why) => refusals.push(Refusal::new(
                place,
                format!("its {name} timer: {why}"),
                "write a duration",
            )),
        },
        None => {
            let _ = writeln!(keys, "{name}TimerDisabled = true");
        }
    }
}

fn feeds(
    initiator: &Step,
    precision: u32,
    warnings: &mut Vec<String>,
) -> Result<String, Vec<Refusal>> {
    let place = &initiator.place;
    let one = |refusal| vec![refusal];
    let feeds = match field(&initiator.params, "feeds") {
        Some(Value::List(feeds)) if (1..=MAX_FEEDS).contains(&feeds.len()) => feeds,
        _ => {
            return Err(one(Refusal::new(
                place,
                format!("it has no list of 1 to {MAX_FEEDS} feeds"),
                "add \"feeds\": URLs, or {\"bridge\": name}",
            )));
        }
    };
    let data = match field(&initiator.params, "requestData") {
        None | Some(Value::Null) => None,
        Some(map @ Value::Map(_)) => {
            Some(write::json(&write::json_literal(place, map).map_err(one)?))
        }
        Some(Value::String(text)) => match crate::value::read_json(text) {
            Ok(map @ Value::Map(_)) => {
                Some(write::json(&write::json_literal(place, &map).map_err(one)?))
            }
            _ => {
                return Err(one(Refusal::new(
                    place,
                    "its requestData is no JSON object",
                    "write an object",
                )));
            }
        },
        Some(_) => {
            return Err(one(Refusal::new(
                place,
                "its requestData is no JSON object",
                "write an object",
            )));
        }
    };
    let mut chain = Chain::default();
    let mut refusals = Vec::new();
    for (n, feed) in feeds.iter().enumerate() {
        let at = format!("{place}, feed {}", n + 1);
        let mut attributes = Vec::new();
        let kind = match feed {
            Value::String(url) => {
                match url::Url::parse(url) {
                    Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => {}
                    _ => {
                        refusals.push(Refusal::new(
                            &at,
                            format!("{url:?} is no http URL"),
                            "correct it",
                        ));
                        continue;
                    }
                }
                attributes.push(("method", "POST".to_owned()));
                match write::text(&at, url) {
                    Ok(text) => attributes.push(("url", text)),
                    Err(refusal) => {
                        refusals.push(refusal);
                        continue;
                    }
                }
                attributes.push(("allowUnrestrictedNetworkAccess", "true".to_owned()));
                "http"
            }
            Value::Map(map) => match field(map, "bridge").and_then(plain) {
                Some(name) => {
                    attributes.push(("name", write::quoted(&name.to_lowercase())));
                    "bridge"
                }
                None => {
                    refusals.push(Refusal::new(
                        &at,
                        "it names no bridge",
                        "write {\"bridge\": name}",
                    ));
                    continue;
                }
            },
            other => {
                refusals.push(Refusal::new(
                    &at,
                    format!("it is {}", other.kind()),
                    "write a URL or {\"bridge\": name}",
                ));
                continue;
            }
        };
        if let Some(data) = &data {
            attributes.push(("requestData", data.clone()));
        }
        let ask = chain.place("ask", kind, &attributes);
        let pick = chain.place(
            "pick",
            "jsonparse",
            &[("path", write::quoted("data,result"))],
        );
        chain.line(format!("  {ask} -> {pick} -> answer"));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    if feeds.iter().any(|f| matches!(f, Value::String(_))) {
        warnings.push("feeds given as URLs were the operator's own adapters: they may be reached on private addresses".into());
    }
    // 0.x gave up when half of the feeds failed; a median of today goes on with a single one.
    let faults = (feeds.len() - 1) / 2;
    chain.place("answer", "median", &[("allowedFaults", faults.to_string())]);
    if precision > 0 {
        let times = format!("1{}", "0".repeat(precision as usize));
        chain.place("scaled", "multiply", &[("times", times)]);
        chain.line("  answer -> scaled".to_owned());
    }
    Ok(chain.source())
}

/// What 0.x did with an answer before it was submitted, which the job type does by itself today.
fn tasks(
    document: &Document,
    precision: u32,
    warnings: &mut Vec<String>,
    refusals: &mut Vec<Refusal>,
) {
    let scale = format!("1{}", "0".repeat(precision as usize));
    let mut multiplies = false;
    for task in &document.tasks {
        match task.kind.as_str() {
            "multiply" => {
                multiplies = true;
                let times = field(&task.params, "times").and_then(plain).unwrap_or_else(|| "1".into());
                let same = crate::decimal::parse(&times).is_ok_and(|t| crate::decimal::to_text(&t) == scale);
                if !same {
                    refusals.push(Refusal::new(
                        &task.place,
                        format!("it multiplies by {times}, and the precision says {scale}"),
                        "make both say the same",
                    ));
                }
            }
            "ethint256" | "ethuint256" | "ethtx" | "noop" => {}
            other => refusals.push(Refusal::new(
                &task.place,
                format!("a {other} task between the answer and its submission has no place in a fluxmonitor job"),
                "do its work in the feeds",
            )),
        }
    }
    if !multiplies && precision > 0 {
        warnings.push(format!(
            "no multiply task: the answer is multiplied by {scale} because of the precision"
        ));
    }
}
