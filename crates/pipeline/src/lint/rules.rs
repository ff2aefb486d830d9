//! The rules, one function each.

use std::collections::{BTreeSet, HashMap};

use alloy::primitives::U256;
use bigdecimal::BigDecimal;
use num_bigint::BigInt;

use super::{Facts, Finding, Level, SourceMap};
use crate::abi::{Type, signature};
use crate::convert::parse_bool;
use crate::decimal;
use crate::dot::Place;
use crate::graph::{Pipeline, TaskDef};
use crate::params::whole_expression;
use crate::spec::{JobKind, JobSpec};
use crate::task_type::{Nature, TaskType};
use crate::value::{JsonReader, Value};

pub(super) fn all(spec: &JobSpec, map: &SourceMap<'_>, facts: &Facts) -> Vec<Finding> {
    let mut look = Look {
        spec,
        map,
        found: Vec::new(),
    };
    look.said_by_the_parser();
    look.inputs();
    look.requester_urls();
    look.confirmations();
    look.checksums();
    look.products();
    look.conditions();
    look.aggregates();
    look.payment(facts);
    look.outputs();
    look.found
}

struct Look<'a> {
    spec: &'a JobSpec,
    map: &'a SourceMap<'a>,
    found: Vec<Finding>,
}

impl Look<'_> {
    fn tasks(&self) -> &[TaskDef] {
        self.spec.pipeline.defs()
    }

    fn say(&mut self, level: Level, rule: &'static str, place: Place, message: String) {
        self.found.push(Finding {
            level,
            rule,
            message,
            place,
        });
    }

    fn at(&self, task: &TaskDef) -> Place {
        self.map.source_place(Some(task.place))
    }

    /// What was noticed when the spec was read.
    fn said_by_the_parser(&mut self) {
        for text in &self.spec.warnings {
            let task = text
                .split_once('`')
                .filter(|(before, _)| before.ends_with("task "))
                .and_then(|(_, rest)| rest.split_once('`'))
                .and_then(|(id, _)| self.spec.pipeline.task(id));
            let rule = match text.as_str() {
                t if t.contains("has no attribute") => "unknown-attribute",
                t if t.contains("is inside your own network") => "private-url",
                t if t.contains("mixes text with $(...)") => "no-interpolation",
                t if t.contains("cannot be read") => "unreadable-json",
                t if t.contains("unknown key") || t.starts_with("minConfirmations") => {
                    "unknown-key"
                }
                t if t.contains("checksum") => "missing-checksum",
                _ => "notation",
            };
            let key = text
                .strip_prefix("unknown key ")
                .and_then(|rest| rest.split(' ').next())
                .or_else(|| text.split([' ', ':']).next())
                .unwrap_or_default();
            let place = task.map_or_else(|| self.map.key(key), |task| self.at(task));
            self.found.push(Finding {
                level: Level::Warning,
                rule,
                message: text.clone(),
                place,
            });
        }
    }

    /// Edges deliver inputs, and most tasks take one at most. The node accepts such a job; every run fails.
    fn inputs(&mut self) {
        for n in 0..self.tasks().len() {
            let task = &self.tasks()[n];
            let count = task.inputs().len();
            let message = match inputs_of(task.kind) {
                (_, most) if count > most => format!(
                    "task `{}`: {count} edges lead into it and a {} task takes {most} input: the task will fail; name what it needs as $(task) in an attribute and remove the edges beyond that",
                    task.dot_id,
                    task.type_name()
                ),
                (least, _) if count < least => format!(
                    "task `{}`: no edge leads into it and a {} task works on one: the task will fail; draw an edge to it",
                    task.dot_id,
                    task.type_name()
                ),
                _ => continue,
            };
            let place = self.at(task);
            self.say(Level::Warning, "wrong-inputs", place, message);
        }
    }

    /// A URL that comes from the request, through tasks that only compute.
    fn requester_urls(&mut self) {
        for n in 0..self.tasks().len() {
            let task = &self.tasks()[n];
            if task.kind != TaskType::Http {
                continue;
            }
            let url = task.attribute("url").unwrap_or_default();
            let unrestricted = truth(task, "allowUnrestrictedNetworkAccess");
            let literal = whole_expression(url).is_none();
            let chosen = task.url_from_request;
            let id = task.dot_id.clone();
            let place = self.at(task);
            match (chosen, literal) {
                (true, _) => {
                    if unrestricted {
                        self.say(Level::Warning, "unrestricted-requester-url", place, format!(
                            "task `{id}`: the URL comes from the request and allowUnrestrictedNetworkAccess is true: whoever makes a request reaches services inside your network; remove that attribute"
                        ));
                    } else {
                        self.say(Level::Note, "requester-url", place, format!(
                            "task `{id}`: the URL comes from the request: under the strict egress profile it is fetched only as a public https GET"
                        ));
                    }
                }
                (_, true)
                    if url.trim().starts_with("http://")
                        && !unrestricted
                        && crate::check::private_host(url).is_none() =>
                {
                    self.say(Level::Note, "plain-http", place, format!(
                        "task `{id}`: {} is asked without TLS, so its answer can be changed on the way; use https",
                        crate::error::excerpt(url.trim(), 100)
                    ));
                }
                _ => {}
            }
        }
    }

    fn confirmations(&mut self) {
        let JobKind::DirectRequest(direct) = &self.spec.kind else {
            return self.reverts();
        };
        if direct.min_incoming_confirmations == Some(0) {
            // The oracle contract itself takes no answer to a request that is gone.
            let elsewhere = |t: &TaskDef| {
                let to = t.attribute("to").unwrap_or_default().trim();
                let oracle = direct.contract_address.to_string();
                t.kind == TaskType::EthTx && !to.eq_ignore_ascii_case(&oracle)
            };
            let effect = self
                .tasks()
                .iter()
                .find(|t| crate::tasks::is_effect(t) || elsewhere(t));
            if let Some(effect) = effect {
                let message = format!(
                    "task `{}` changes something outside that a reorganisation does not undo, and minIncomingConfirmations is 0: write 1 or more, enough for this chain",
                    effect.dot_id
                );
                let place = self.map.key("minIncomingConfirmations");
                self.say(Level::Warning, "zero-confirmations", place, message);
            }
        }
        self.reverts();
    }

    fn reverts(&mut self) {
        for n in 0..self.tasks().len() {
            let task = &self.tasks()[n];
            let zero = task.attribute("minConfirmations").map(str::trim) == Some("0");
            if task.kind == TaskType::EthTx && zero {
                let strict = truth(task, "failOnRevert");
                let message = format!(
                    "task `{}`: with minConfirmations=0 the run ends before the transaction is mined{}",
                    task.dot_id,
                    if strict {
                        ", so failOnRevert has no effect"
                    } else {
                        ", and a revert shows only in the list of transactions"
                    }
                );
                let level = if strict { Level::Warning } else { Level::Note };
                let place = self.at(task);
                self.say(level, "unwatched-revert", place, message);
            }
        }
    }

    /// Addresses in the pipeline, where nothing else would notice a typing error.
    fn checksums(&mut self) {
        for n in 0..self.tasks().len() {
            let task = &self.tasks()[n];
            let mut wrong = Vec::new();
            for name in ["to", "contract", "from"] {
                for word in addresses_in(task.attribute(name).unwrap_or_default()) {
                    let Ok(address) = word.parse::<alloy::primitives::Address>() else {
                        continue;
                    };
                    let right = address.to_checksum(None);
                    let mixed = word[2..].contains(|c: char| c.is_ascii_uppercase())
                        && word[2..].contains(|c: char| c.is_ascii_lowercase());
                    let no_letters = !word[2..].contains(|c: char| c.is_ascii_alphabetic());
                    if word != right && !no_letters {
                        let what = if mixed {
                            "has a wrong checksum"
                        } else {
                            "has no checksum"
                        };
                        wrong.push(format!("task `{}`: {name}: {word} {what}: if the address is right, write {right}", task.dot_id));
                    }
                }
            }
            let place = self.at(task);
            for message in wrong {
                self.say(Level::Warning, "missing-checksum", place, message);
            }
        }
    }

    /// `multiply` by a constant, encoded as a type that even one times the constant overflows.
    fn products(&mut self) {
        let factors = constant_factors(&self.spec.pipeline);
        let mut said = Vec::new();
        for task in self.tasks() {
            let function = match task.kind {
                TaskType::EthAbiEncode => {
                    signature::function(task.attribute("abi").unwrap_or_default())
                }
                TaskType::EthAbiEncode2 => {
                    signature::json_function(task.attribute("abi").unwrap_or_default())
                }
                _ => continue,
            };
            let Ok(function) = function else { continue };
            let data = task.attribute("data").unwrap_or_default();
            // Each expression becomes a text that names it, so that it can be told from a literal.
            let lookup = |path: &str| Ok(Value::String(format!("$({path})")));
            let Ok(Value::Map(data)) = JsonReader::with_expressions(data, &lookup).first() else {
                continue;
            };
            for argument in &function.arguments {
                let most: BigInt = match argument.ty {
                    Type::Uint(bits) => (BigInt::from(1) << bits) - 1,
                    Type::Int(bits) => (BigInt::from(1) << (bits - 1)) - 1,
                    _ => continue,
                };
                let factor = match data.get(&argument.name) {
                    Some(Value::String(text)) => match whole_expression(text) {
                        Some(path) => factors.get(path).cloned(),
                        None => decimal::parse(text).ok(),
                    },
                    Some(value) => decimal::from_value(value).ok(),
                    None => None,
                };
                if let Some(factor) = factor
                    && decimal::truncate(&factor).magnitude() > most.magnitude()
                {
                    said.push((self.at(task), format!(
                        "task `{}`: `{}` is multiplied by {} and does not fit {}: use a larger type or a smaller factor",
                        task.dot_id, argument.name, crate::error::excerpt(&decimal::to_text(&factor), 60), argument.ty
                    )));
                }
            }
        }
        for (place, message) in said {
            self.say(Level::Warning, "abi-overflow", place, message);
        }
    }

    /// A condition nobody waits for, and sources whose failure is carried to the end.
    fn conditions(&mut self) {
        let sends: BTreeSet<usize> = self
            .tasks()
            .iter()
            .enumerate()
            .filter(|(_, t)| t.kind == TaskType::EthTx)
            .map(|(n, _)| n)
            .collect();
        let before: BTreeSet<usize> = sends
            .iter()
            .flat_map(|n| ancestors(self.tasks(), *n))
            .collect();
        let mut said = Vec::new();
        for (n, task) in self.tasks().iter().enumerate() {
            if task.fail_early {
                continue;
            }
            if task.kind == TaskType::Conditional {
                let guards = before.contains(&n);
                if !sends.is_empty() && !guards {
                    said.push((Level::Warning, self.at(task), format!(
                        "task `{}`: the condition stops nothing: no transaction waits for it and it has no failEarly=\"true\"",
                        task.dot_id
                    )));
                } else {
                    said.push((Level::Note, self.at(task), format!(
                        "task `{}`: without failEarly=\"true\" the tasks behind it still run and fail one after another",
                        task.dot_id
                    )));
                }
            } else if before.contains(&n)
                && task.nature() == Nature::Source
                && !tolerated(self.tasks(), n)
                && task.kind != TaskType::Any
            {
                said.push((Level::Note, self.at(task), format!(
                    "task `{}`: the transaction needs this source and it has no failEarly: when it fails, everything behind it is tried in vain before the run ends",
                    task.dot_id
                )));
            }
        }
        for (level, place, message) in said {
            self.say(level, "no-fail-early", place, message);
        }
    }

    fn aggregates(&mut self) {
        for n in 0..self.tasks().len() {
            let task = &self.tasks()[n];
            let many = matches!(
                task.kind,
                TaskType::Median | TaskType::Mean | TaskType::Mode | TaskType::Sum
            );
            let unset = task
                .attribute("allowedFaults")
                .is_none_or(|t| t.trim().is_empty());
            let values = task.waits_for().len();
            if many && unset && values > 1 {
                let level = if task.kind == TaskType::Sum {
                    Level::Warning
                } else {
                    Level::Note
                };
                let message = format!(
                    "task `{}`: {} of {values} values may fail and the {} of the rest is taken: write allowedFaults=\"{}\" or what you can stand",
                    task.dot_id,
                    values - 1,
                    task.type_name(),
                    values / 2
                );
                let place = self.at(task);
                self.say(level, "one-source-is-enough", place, message);
            }
        }
    }

    fn payment(&mut self, facts: &Facts) {
        let JobKind::DirectRequest(direct) = &self.spec.kind else {
            return;
        };
        let sends = self
            .tasks()
            .iter()
            .filter(|t| t.kind == TaskType::EthTx)
            .count();
        if sends == 0 {
            return;
        }
        let place = self.map.key("minContractPaymentLinkJuels");
        if direct.min_contract_payment_juels == Some(U256::ZERO) && direct.requesters.is_empty() {
            self.say(Level::Warning, "payment-below-cost", place, "minContractPaymentLinkJuels is 0 and anybody may ask: each answer costs you gas and earns nothing; ask for a payment or list requesters".to_owned());
            return;
        }
        let (Some(price), Some(rate)) = (facts.gas_price_wei, &facts.ether_per_link) else {
            return;
        };
        // Of the task, else of the job; `None` where a task only knows it when it runs.
        let limit = |t: &TaskDef| match t.attribute("gasLimit").map(str::trim) {
            None | Some("") => Some(self.spec.gas_limit.map_or(DEFAULT_GAS, u64::from)),
            Some(text) => text.parse::<u64>().ok(),
        };
        let limits = self.tasks().iter().filter(|t| t.kind == TaskType::EthTx);
        let gas: u64 = limits
            .filter_map(limit)
            .fold(0, |sum: u64, gas| sum.saturating_add(gas));
        let payment = direct.min_contract_payment_juels.map(|p| p.to_string());
        if let (Some(payment), true) = (payment.and_then(|p| decimal::parse(&p).ok()), gas > 0) {
            let cost = BigDecimal::from(gas) * BigDecimal::from(price);
            let earned = &payment * rate;
            if earned < cost {
                let ether = |wei: &BigDecimal| {
                    decimal::to_text(
                        &decimal::divide(wei, &BigDecimal::from(1_000_000_000_000_000_000u64), 9)
                            .unwrap_or_default(),
                    )
                };
                self.say(
                    Level::Warning,
                    "payment-below-cost",
                    place,
                    format!(
                        "an answer may cost {} ether ({gas} gas) and the least payment is worth {}",
                        ether(&cost),
                        ether(&earned)
                    ),
                );
            }
        }
    }

    fn outputs(&mut self) {
        let mut seen: HashMap<i32, &str> = HashMap::new();
        let mut said = None;
        for task in self.tasks().iter().filter(|t| t.is_terminal()) {
            if let Some(first) = seen.insert(task.index, &task.dot_id) {
                said.get_or_insert((self.at(task), format!(
                    "the tasks `{first}` and `{}` are both outputs of the run with index {}: give each its own index, else their order is that of their numbers here and undefined elsewhere",
                    task.dot_id, task.index
                )));
            }
        }
        if let Some((place, message)) = said {
            self.say(Level::Note, "unordered-outputs", place, message);
        }
    }
}

/// Of a transaction whose task and job name no limit: `EVM.GasEstimator.LimitDefault`, unless a node says otherwise.
const DEFAULT_GAS: u64 = 500_000;

/// How many inputs a task takes, at least and at most.
fn inputs_of(kind: TaskType) -> (usize, usize) {
    use TaskType::*;
    match kind {
        Lookup => (1, 1),
        Base64Decode | Base64Encode | Conditional | EthAbiDecode | HexDecode | HexEncode
        | JsonParse | Length | LessThan | Lowercase | Memo | Merge | Multiply | Uppercase => (0, 1),
        _ => (0, usize::MAX),
    }
}

fn truth(task: &TaskDef, name: &str) -> bool {
    task.attribute(name)
        .map(str::trim)
        .and_then(parse_bool)
        .unwrap_or(false)
}

/// By task: the product of the constants its value was multiplied by on the way.
fn constant_factors(pipeline: &Pipeline) -> HashMap<&str, BigDecimal> {
    let defs = pipeline.defs();
    let mut factors: HashMap<&str, BigDecimal> = HashMap::new();
    for task in defs.iter().filter(|t| t.kind == TaskType::Multiply) {
        let Some(times) = task
            .attribute("times")
            .and_then(|t| decimal::parse(t.trim()).ok())
        else {
            continue;
        };
        let input = task.attribute("input").unwrap_or_default();
        let before = match whole_expression(input) {
            Some(path) => factors.get(path).cloned(),
            None if input.trim().is_empty() => task
                .inputs()
                .first()
                .and_then(|n| factors.get(defs[*n].dot_id.as_str()).cloned()),
            None => decimal::parse(input.trim()).ok(),
        };
        let product = before.unwrap_or_else(|| BigDecimal::from(1)) * times;
        if decimal::fits(&product) {
            factors.insert(&task.dot_id, product);
        }
    }
    factors
}

fn ancestors(tasks: &[TaskDef], of: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = tasks[of].waits_for().to_vec();
    while let Some(n) = open.pop() {
        if found.insert(n) {
            open.extend(tasks[n].waits_for());
        }
    }
    found
}

/// Somebody behind it can do without it.
fn tolerated(tasks: &[TaskDef], of: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = tasks[of].feeds().to_vec();
    while let Some(n) = open.pop() {
        use TaskType::*;
        if matches!(tasks[n].kind, Median | Mean | Mode | Sum | Any | Coalesce) {
            return true;
        }
        if seen.insert(n) {
            open.extend(tasks[n].feeds());
        }
    }
    false
}

/// Every `0x` and 40 hexadecimal digits in a text.
fn addresses_in(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("0x").filter_map(|(at, _)| {
        let word = text.get(at..at + 42)?;
        let whole = word[2..].bytes().all(|b| b.is_ascii_hexdigit());
        let ends = !text[at + 42..].starts_with(|c: char| c.is_ascii_hexdigit());
        (whole && ends).then_some(word)
    })
}
