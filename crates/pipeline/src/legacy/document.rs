//! The shape of a 0.x document: initiators, tasks, and a few fields beside them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::primitives::U256;
use uuid::Uuid;

use super::{Import, MAX_DOCUMENT_BYTES, Refusal};
use crate::error::excerpt;
use crate::value::{Value, go_float, read_json};

pub(super) type Fields = BTreeMap<String, Value>;

pub(super) const MAX_TASKS: usize = 200;
const MAX_INITIATORS: usize = 20;

/// A whole spec.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) name: Option<String>,
    pub(super) id: Option<Uuid>,
    pub(super) min_payment: Option<U256>,
    start_at: Option<String>,
    end_at: Option<String>,
    pub(super) initiators: Vec<Step>,
    pub(super) tasks: Vec<Step>,
    pub(super) warnings: Vec<String>,
}

/// An initiator or a task.
#[derive(Debug)]
pub(super) struct Step {
    /// Lower case.
    pub(super) kind: String,
    pub(super) confirmations: u32,
    pub(super) params: Fields,
    /// `tasks[0] (httpget)`
    pub(super) place: String,
}

impl Document {
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        let refuse = |reason: String| {
            Refusal::new(
                "document",
                reason,
                "give the JSON of one 0.x job spec, as it was created or exported",
            )
        };
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(refuse(format!(
                "it is longer than {MAX_DOCUMENT_BYTES} bytes"
            )));
        }
        let whole = read_json(text).map_err(|e| refuse(e.to_string()))?;
        let Value::Map(mut fields) = whole else {
            return Err(refuse(format!("it is {}, not a JSON object", whole.kind())));
        };
        // As the old node's API exported it.
        if let Some(Value::Map(mut data)) = fields.remove("data") {
            let id = data.remove("id");
            if let Some(Value::Map(attributes)) = data.remove("attributes") {
                fields = attributes;
                if let Some(id) = id {
                    fields.entry("id".to_owned()).or_insert(id);
                }
            }
        }
        let mut warnings = Vec::new();
        let steps = |name: &str, most: usize, warnings: &mut Vec<String>| match field(&fields, name)
        {
            Some(Value::List(items)) if items.len() <= most => items
                .iter()
                .enumerate()
                .map(|(n, item)| step(name, n, item, warnings))
                .collect::<Result<Vec<_>, _>>(),
            Some(Value::List(items)) => Err(refuse(format!(
                "it has {} {name}, more than {most}",
                items.len()
            ))),
            _ => Err(refuse(format!("it has no list of {name}"))),
        };
        let initiators = steps("initiators", MAX_INITIATORS, &mut warnings)?;
        let tasks = steps("tasks", MAX_TASKS, &mut warnings)?;
        if initiators.is_empty() {
            return Err(refuse("it has no initiator".into()));
        }
        let min_payment = match field(&fields, "minPayment") {
            None | Some(Value::Null) => None,
            Some(value) => match plain(value).and_then(|t| juels(&t)) {
                Some(amount) => Some(amount),
                None => {
                    return Err(Refusal::new(
                        "minPayment",
                        format!(
                            "{} is no amount of juels",
                            excerpt(&value.to_output_json(), 60)
                        ),
                        "write it as a whole number in quotes",
                    ));
                }
            },
        };
        let id = match field(&fields, "id").and_then(plain) {
            None => None,
            Some(text) if text.is_empty() => None,
            Some(text) => Some(Uuid::parse_str(&text).map_err(|_| {
                Refusal::new(
                    "id",
                    format!("{:?} is not a job id", excerpt(&text, 60)),
                    "write the 32 hexadecimal digits of the old job's id",
                )
            })?),
        };
        let known = [
            "name",
            "initiators",
            "tasks",
            "startAt",
            "endAt",
            "minPayment",
            "id",
            "createdAt",
            "updatedAt",
            "errors",
            "earnings",
        ];
        for key in fields.keys() {
            if !known.iter().any(|k| k.eq_ignore_ascii_case(key)) {
                warnings.push(format!(
                    "the field {:?} means nothing in a 0.x spec and is left out",
                    excerpt(key, 60)
                ));
            }
        }
        Ok(Self {
            name: field(&fields, "name")
                .and_then(plain)
                .filter(|n| !n.is_empty()),
            id,
            min_payment,
            start_at: field(&fields, "startAt")
                .and_then(plain)
                .filter(|t| !t.is_empty()),
            end_at: field(&fields, "endAt")
                .and_then(plain)
                .filter(|t| !t.is_empty()),
            initiators,
            tasks,
            warnings,
        })
    }

    /// Today's jobs neither begin nor end at a time.
    pub(super) fn check_times(&self, now: SystemTime, result: &mut Import) {
        if let Some(end) = &self.end_at {
            result.refusals.push(Refusal::new(
                "endAt",
                format!("jobs do not end by themselves today ({})", excerpt(end, 40)),
                "remove endAt and delete the job when its time has come",
            ));
        }
        let Some(start) = &self.start_at else { return };
        match rfc3339(start) {
            Some(at) if at <= now && self.end_at.is_none() => result
                .warnings
                .push(format!("startAt ({start}) is in the past and is left out")),
            Some(at) if at <= now => {}
            Some(_) => result.refusals.push(Refusal::new(
                "startAt",
                format!("jobs do not wait for a time today ({start})"),
                "create the job when its time has come, without startAt",
            )),
            None => result.refusals.push(Refusal::new(
                "startAt",
                format!("{:?} is not a time", excerpt(start, 40)),
                "remove it, or write it like 2020-01-31T12:00:00Z",
            )),
        }
    }

    /// Which initiator's job keeps the id: contracts know it, so the first `runlog` if there is one.
    pub(super) fn keeper_of_the_id(&self) -> usize {
        self.initiators
            .iter()
            .position(|i| i.kind == "runlog")
            .unwrap_or(0)
    }
}

/// Keys of a step that are not its parameters when these stand beside the type, as in old specs.
const BESIDE: &[&str] = &[
    "type",
    "confirmations",
    "params",
    "id",
    "createdAt",
    "updatedAt",
    "deletedAt",
    "minimumConfirmations",
    "jobSpecId",
];

fn step(list: &str, n: usize, item: &Value, warnings: &mut Vec<String>) -> Result<Step, Refusal> {
    let at = format!("{list}[{n}]");
    let Value::Map(fields) = item else {
        return Err(Refusal::new(
            at,
            format!("it is {}, not an object", item.kind()),
            "write {\"type\": …, \"params\": {…}}",
        ));
    };
    let kind = field(fields, "type")
        .and_then(plain)
        .unwrap_or_default()
        .to_lowercase();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if kind.is_empty() || !kind.chars().all(legal) {
        return Err(Refusal::new(
            at,
            format!("its type {:?} is not a name", excerpt(&kind, 60)),
            "names have letters, digits, - and _",
        ));
    }
    let place = format!("{at} ({})", excerpt(&kind, 60));
    let mut params: Fields = fields
        .iter()
        .filter(|(key, _)| !BESIDE.iter().any(|b| b.eq_ignore_ascii_case(key)))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    match field(fields, "params") {
        Some(Value::Map(given)) => params.extend(given.clone()),
        None | Some(Value::Null) => {}
        Some(other) => {
            return Err(Refusal::new(
                place,
                format!("its params are {}, not an object", other.kind()),
                "write them as {\"name\": value}",
            ));
        }
    }
    let confirmations = match field(fields, "confirmations") {
        None | Some(Value::Null) => 0,
        Some(value) => plain(value).and_then(|t| t.parse().ok()).ok_or_else(|| {
            Refusal::new(
                place.clone(),
                "its confirmations are not a whole number",
                "write a number",
            )
        })?,
    };
    if params.values().any(loses_digits) {
        warnings.push(format!(
            "{place}: a number there has more digits than a floating-point number keeps: check it in the converted job"
        ));
    }
    Ok(Step {
        kind,
        confirmations,
        params,
        place,
    })
}

fn loses_digits(value: &Value) -> bool {
    match value {
        Value::Float(f) => go_float(*f).bytes().filter(u8::is_ascii_digit).count() >= 16,
        Value::List(items) => items.iter().any(loses_digits),
        Value::Map(entries) => entries.values().any(loses_digits),
        _ => false,
    }
}

/// A field by its name in any letter case, as Go reads JSON; the exact name wins.
pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).or_else(|| {
        fields
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

/// A scalar as text.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Int(_) | Value::Uint(_) | Value::BigInt(_) | Value::Bool(_) => {
            Some(value.to_output_json())
        }
        Value::Float(f) => crate::decimal::parse(&format!("{f:e}"))
            .ok()
            .map(|d| crate::decimal::to_text(&d)),
        _ => None,
    }
}

pub(super) fn juels(text: &str) -> Option<U256> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| U256::from_str_radix(text, 10).ok())
        .flatten()
}

/// `2020-01-31T12:00:00[.5](Z|+01:00)`; nothing for what is no such time or before 1970.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let b = text.as_bytes();
    if !text.is_ascii() || b.len() < 20 || b.len() > 40 {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse().ok())
            .flatten()
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| b[*at] != *mark) || !matches!(b[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let rest = text[19..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset_minutes = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 6;
            let size = number(at + 1, at + 3)? * 60 + number(at + 4, at + 6)?;
            if *sign == b'-' { -size } else { size }
        }
        _ => return None,
    };
    // Days since 1970, counting years from March so that the leap day is the last.
    let (y, m) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset_minutes * 60;
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_offset() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2020-02-29T12:30:00.25Z", 1_582_979_400),
            ("2020-02-29T13:30:00+01:00", 1_582_979_400),
        ] {
            assert_eq!(
                rfc3339(text),
                Some(UNIX_EPOCH + Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "2020",
            "2020-02-29",
            "2020-13-01T00:00:00Z",
            "2020-01-01T00:00:00",
            "2020-01-01T00:00:00+0100",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }
}
