//! What has become of each task, and what that makes of the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::TaskEnd;
use crate::error::text;
use crate::graph::{Pipeline, TaskDef};
use crate::outcome::{Outcome, RunState, StoredResult, TaskResult, TxIntent};
use crate::task_type::TaskType;
use crate::tasks::{self, Done};
use crate::value::Value;
use crate::vars::{Finished, Vars};

/// What has become of each task so far.
pub(super) struct Progress<'a> {
    pipeline: &'a Pipeline,
    task_run_ids: &'a [Uuid],
    pub(super) vars: Vars,
    /// By task number: its value or error, once it has one.
    settled: Vec<Option<Finished>>,
    /// By task number: how many dependencies are not settled.
    waiting: Vec<usize>,
    /// Tasks nothing keeps from running; taken out as they are started.
    pub(super) ready: Vec<usize>,
    pending: Vec<usize>,
    results: BTreeMap<usize, TaskResult>,
    transactions: BTreeMap<usize, TxIntent>,
    dropped: bool,
}

impl<'a> Progress<'a> {
    pub(super) fn new(
        pipeline: &'a Pipeline,
        vars: BTreeMap<String, Value>,
        mut finished: BTreeMap<String, StoredResult>,
        task_run_ids: &'a [Uuid],
    ) -> Self {
        let defs = pipeline.defs();
        let mut progress = Self {
            pipeline,
            task_run_ids,
            vars: Vars::new(vars),
            settled: vec![None; defs.len()],
            waiting: defs.iter().map(|d| d.waits_for().len()).collect(),
            ready: Vec::new(),
            pending: Vec::new(),
            results: BTreeMap::new(),
            transactions: BTreeMap::new(),
            dropped: false,
        };
        for (n, def) in defs.iter().enumerate() {
            if let Some(stored) = finished.remove(&def.dot_id) {
                progress.restore(n, stored);
            }
        }
        progress.ready = (0..defs.len())
            .filter(|n| progress.waiting[*n] == 0 && progress.settled[*n].is_none())
            .collect();
        progress
    }

    fn restore(&mut self, number: usize, stored: StoredResult) {
        let def = &self.pipeline.defs()[number];
        let output = match def.kind {
            TaskType::EthTx => tasks::ethtx::receipt_result(def, stored.output),
            _ => stored.output,
        };
        if def.kind == TaskType::EthTx {
            let now = SystemTime::now();
            self.results.insert(
                number,
                TaskResult {
                    dot_id: def.dot_id.clone(),
                    task_run_id: self.task_run_ids[number],
                    task_type: def.kind.recorded_name(),
                    index: def.index,
                    output: output.as_ref().ok().cloned(),
                    error: output.as_ref().err().cloned(),
                    started_at: now,
                    finished_at: now,
                    attempts: 0,
                },
            );
        }
        let finished = output.map(Arc::new).map_err(Arc::from);
        self.settle_with(number, finished);
    }

    /// What a task gets along its explicit edges.
    pub(super) fn inputs_of(&self, def: &TaskDef) -> Vec<Finished> {
        def.inputs()
            .iter()
            .filter_map(|n| self.settled[*n].clone())
            .collect()
    }

    pub(super) fn settle(&mut self, end: TaskEnd) {
        let n = end.number;
        let def = &self.pipeline.defs()[n];
        self.dropped |= end.drops_run;
        let mut report = end.report(def, self.task_run_ids[n]);
        if end.cancelled {
            report.output = None;
        }
        let finished: Finished = match end.result {
            Ok(Done::Value(value)) => Ok(Arc::new(value)),
            Ok(Done::Pending) => {
                self.pending.push(n);
                return;
            }
            Ok(Done::Transaction(intent)) => {
                let waits = intent.min_confirmations != Some(0);
                self.transactions.insert(n, *intent);
                if waits {
                    self.pending.push(n);
                    return;
                }
                report.output = Some(Value::Null);
                Ok(Arc::new(Value::Null))
            }
            Err(error) => Err(error.to_string().into()),
        };
        self.results.insert(n, report);
        self.settle_with(n, finished);
    }

    fn settle_with(&mut self, number: usize, finished: Finished) {
        let def = &self.pipeline.defs()[number];
        self.vars.set(&def.dot_id, finished.clone());
        self.settled[number] = Some(finished);
        for &next in def.feeds() {
            self.waiting[next] -= 1;
            if self.waiting[next] == 0 && self.settled[next].is_none() && !self.dropped {
                self.ready.push(next);
            }
        }
        if self.dropped {
            self.ready.clear();
        }
    }

    pub(super) fn outcome(&mut self) -> Outcome {
        let defs = self.pipeline.defs();
        if self.dropped {
            self.cancel_the_rest();
        }
        let mut order: Vec<usize> = (0..defs.len()).collect();
        order.sort_by_key(|n| (defs[*n].index, *n));
        let error = |n: &usize| match &self.settled[*n] {
            Some(Err(error)) => Some(error.to_string()),
            _ => None,
        };
        let terminal: Vec<usize> = order
            .iter()
            .copied()
            .filter(|n| defs[*n].is_terminal())
            .collect();
        let fatal_errors: Vec<Option<String>> = terminal.iter().map(error).collect();
        let state = if self.dropped {
            RunState::Dropped
        } else if !self.pending.is_empty() {
            RunState::Suspended
        } else if fatal_errors.iter().any(Option::is_some) {
            RunState::Errored
        } else {
            RunState::Completed
        };
        let outputs = terminal
            .iter()
            .map(|n| match &self.settled[*n] {
                Some(Ok(value)) => Some(Value::clone(value)),
                _ => None,
            })
            .collect();
        let pending = match state {
            RunState::Dropped => Vec::new(),
            _ => self
                .pending
                .iter()
                .map(|n| (defs[*n].dot_id.clone(), self.task_run_ids[*n]))
                .collect(),
        };
        Outcome {
            state,
            pending,
            outputs,
            fatal_errors,
            all_errors: order.iter().map(error).collect(),
            transactions: match state {
                RunState::Dropped => Vec::new(),
                _ => std::mem::take(&mut self.transactions)
                    .into_values()
                    .collect(),
            },
            results: std::mem::take(&mut self.results).into_values().collect(),
        }
    }

    /// Everything that has no result when the run is dropped gets one that says so.
    fn cancel_the_rest(&mut self) {
        let now = SystemTime::now();
        for (n, def) in self.pipeline.defs().iter().enumerate() {
            if self.settled[n].is_some() {
                continue;
            }
            self.settled[n] = Some(Err(text::CANCELLED_FAIL_EARLY.into()));
            self.results.insert(
                n,
                TaskResult {
                    dot_id: def.dot_id.clone(),
                    task_run_id: self.task_run_ids[n],
                    task_type: def.kind.recorded_name(),
                    index: def.index,
                    output: None,
                    error: Some(text::CANCELLED_FAIL_EARLY.to_owned()),
                    started_at: now,
                    finished_at: now,
                    attempts: 0,
                },
            );
        }
    }
}
