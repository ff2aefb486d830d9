//! Filters that live here and not in any endpoint: a cursor into the journal and what is wanted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::value::RawValue;

use super::Core;
use super::access::Caller;
use super::block::{LogsQuestion, Tags};
use super::chain::{Change, Cursor, Gap};
use super::envelope::Answer;
use super::log::Criteria;
use super::quota::Whose;
use crate::pending::Wanted;

/// A filter nobody asks about for so long is gone, as at clients.
const IDLE: Duration = Duration::from_secs(300);
/// A client may have one part in so many of all filters, and these at least.
const SHARES: usize = 10;
const LEAST_SHARE: usize = 16;

#[derive(Default)]
pub(crate) struct Filters(Mutex<HashMap<u128, Filter>>);

#[derive(Clone)]
struct Filter {
    wants: Wants,
    /// Who made it; whoever knows its id may use it.
    of: Whose,
    cursor: Cursor,
    /// In what was told of waiting transactions.
    place: u64,
    used: Instant,
}

#[derive(Clone)]
enum Wants {
    Blocks,
    /// With the parameters as they came, for `eth_getFilterLogs`.
    Logs(Arc<Criteria>, Arc<str>),
    /// Kept for as long as the filter is there.
    Pending {
        _wanted: Arc<Wanted>,
    },
}

/// What one client may have of all filters, so that others can have some.
fn share(all: usize) -> usize {
    (all / SHARES).max(LEAST_SHARE).min(all)
}

/// An id nobody can guess.
pub(crate) fn new_id() -> u128 {
    rand::rng().random()
}

pub(crate) fn read_id(params: &str) -> Option<u128> {
    let (text,): (String,) = serde_json::from_str(params).ok()?;
    crate::quantity::parse(&text)
}

fn not_found() -> Answer {
    Answer::error(-32000, "filter not found")
}

impl Filters {
    fn map(&self) -> MutexGuard<'_, HashMap<u128, Filter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> usize {
        self.map().len()
    }
}

impl Core {
    pub(crate) fn new_block_filter(&self, caller: &Caller) -> Answer {
        self.install(Wants::Blocks, caller)
    }

    pub(crate) fn new_pending_filter(&self, caller: &Caller) -> Answer {
        let wants = Wants::Pending {
            _wanted: Arc::new(self.pool.0.pending.want()),
        };
        self.install(wants, caller)
    }

    pub(crate) fn new_log_filter(&self, params: &str, caller: &Caller) -> Answer {
        let params = match serde_json::from_str::<Vec<&RawValue>>(params).as_deref() {
            Ok([]) => "[{}]",
            _ => params,
        };
        // What may not be asked now is refused now; what its tags mean is found out when it is asked.
        let tags = self.chain.tags().unwrap_or_default();
        let known = Tags {
            safe: tags.safe.or(Some(0)),
            finalized: tags.finalized.or(Some(0)),
            ..tags
        };
        match LogsQuestion::read(params, known) {
            Ok(question) => {
                let wants = Wants::Logs(question.looks_for, params.into());
                self.install(wants, caller)
            }
            Err(refused) => refused,
        }
    }

    fn install(&self, wants: Wants, caller: &Caller) -> Answer {
        let mut filters = self.filters.map();
        let mut of_caller = 0;
        filters.retain(|_, filter| {
            let lives = filter.used.elapsed() < IDLE;
            of_caller += usize::from(lives && filter.of == caller.whose);
            lives
        });
        let share = share(self.config.max_filters);
        if of_caller >= share {
            let text = format!("too many filters: {share} for each client; uninstall some");
            return Answer::error(-32005, &text);
        }
        if filters.len() >= self.config.max_filters {
            return Answer::error(-32005, "too many filters: uninstall some");
        }
        let id = new_id();
        filters.insert(
            id,
            Filter {
                wants,
                of: caller.whose.clone(),
                cursor: self.chain.now(),
                place: self.pool.0.pending.now(),
                used: Instant::now(),
            },
        );
        Answer::text(&format!("{id:#x}"))
    }

    pub(crate) fn uninstall_filter(&self, params: &str) -> Answer {
        match read_id(params) {
            Some(id) if self.filters.map().remove(&id).is_some() => Answer::literal("true"),
            _ => Answer::literal("false"),
        }
    }

    pub(crate) async fn filter_changes(&self, params: &str) -> Answer {
        let Some(id) = read_id(params) else {
            return Answer::error(
                -32602,
                "invalid params: eth_getFilterChanges takes a filter's id",
            );
        };
        let filter = {
            let mut filters = self.filters.map();
            match filters.get_mut(&id) {
                Some(filter) if filter.used.elapsed() < IDLE => {
                    filter.used = Instant::now();
                    filter.clone()
                }
                _ => return not_found(),
            }
        };
        if let Wants::Pending { .. } = filter.wants {
            let (hashes, place) = self.pool.0.pending.since(filter.place, usize::MAX);
            if let Some(kept) = self.filters.map().get_mut(&id) {
                kept.place = place;
            }
            return Answer::json(&hashes);
        }
        let (changes, next) = match self.chain.since(filter.cursor, usize::MAX) {
            Ok(came) => came,
            Err(Gap) => {
                self.filters.map().remove(&id);
                return Answer::error(
                    -32000,
                    "filter not found: the gateway lost the thread of the chain since; make a new one and look back with eth_getLogs",
                );
            }
        };
        let list = match &filter.wants {
            Wants::Blocks => changes
                .iter()
                .filter_map(|change| match change {
                    Change::Add(block) => Some(format!("\"{}\"", block.head.hash)),
                    Change::Remove(_) => None,
                })
                .collect::<Vec<_>>()
                .join(","),
            Wants::Logs(criteria, _) => match self.logs_in(&changes, criteria).await {
                Some(list) => list,
                None => {
                    return Answer::error(
                        -32603,
                        "no upstream gives the logs of a new block yet; ask again",
                    );
                }
            },
            Wants::Pending { .. } => String::new(),
        };
        if let Some(kept) = self.filters.map().get_mut(&id) {
            kept.cursor = next;
        }
        Answer::Result(format!("[{list}]").into())
    }

    /// What the changes mean for a filter; none if some logs cannot be had now.
    async fn logs_in(&self, changes: &[Change], criteria: &Criteria) -> Option<String> {
        let mut list = String::new();
        let mut push = |raw: &[u8]| {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(&String::from_utf8_lossy(raw));
        };
        for change in changes {
            match change {
                Change::Add(block) => {
                    let bloom = block.head.logs_bloom.as_deref();
                    if bloom.is_some_and(|bloom| !bloom.is_zero() && !criteria.may_be_in(bloom)) {
                        continue;
                    }
                    let Some(logs) = self.logs_of(block).await else {
                        // Gone from the chain and from all endpoints: told nobody, missed by nobody.
                        if !self.chain.is_canonical(block) {
                            continue;
                        }
                        return None;
                    };
                    logs.list
                        .iter()
                        .filter(|log| criteria.matches(log))
                        .for_each(|log| push(&log.raw));
                }
                Change::Remove(block) => {
                    let Some(logs) = block.logs.lock().await.clone() else {
                        continue;
                    };
                    logs.list
                        .iter()
                        .rev()
                        .filter(|log| criteria.matches(log))
                        .for_each(|log| push(&log.removed()));
                }
            }
        }
        Some(list)
    }

    pub(crate) async fn filter_logs(self: &Arc<Self>, params: &str) -> Answer {
        match self.filter_asks(params) {
            Some(asks) => self.logs(&asks, None).await.answer,
            None => not_found(),
        }
    }

    /// The question about logs a filter stands for.
    pub(crate) fn filter_asks(&self, params: &str) -> Option<Arc<str>> {
        let id = read_id(params)?;
        match &self.filters.map().get(&id)?.wants {
            Wants::Logs(_, asks) => Some(Arc::clone(asks)),
            Wants::Blocks | Wants::Pending { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_tenth_of_all_filters_or_a_few_where_there_are_few() {
        for (all, one) in [(10_000, 1000), (200, 20), (100, 16), (3, 3), (0, 0)] {
            assert_eq!(share(all), one);
        }
    }
}
