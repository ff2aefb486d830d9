//! Filters that live here and not in any endpoint: a cursor into the journal and what is wanted.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use futures_util::StreamExt;
use futures_util::stream;
use rand::RngExt;
use serde_json::value::RawValue;

use super::Core;
use super::access::Caller;
use super::block::{LogsOf, LogsQuestion, Tags};
use super::budget::Purse;
use super::chain::{Change, Cursor, Gap, Kept};
use super::completeness::AHEAD;
use super::envelope::Answer;
use super::interests::{Keeping, LooksFor, client_keeps};
use super::log::RawLog;
use super::quota::Whose;
use crate::pending::Wanted;

/// A filter nobody asks about for so long is gone, as at clients.
const IDLE: Duration = Duration::from_secs(300);
/// A client may have one part in so many of all filters, and these at least.
const SHARES: usize = 10;
const LEAST_SHARE: usize = 16;

/// Addresses and topics that take a while to look for.
const MANY: usize = 100;
/// Bytes the ends of a filter's range may be written in.
const END_BYTES: usize = 100;
/// Stands for every block that is not named by its number.
const MOVES: u64 = u64::MAX;

#[derive(Default)]
pub(crate) struct Filters {
    map: Mutex<HashMap<u128, Filter>>,
    /// What filters and subscriptions look for.
    pub(crate) keeping: Keeping,
}

struct Filter {
    wants: Wants,
    /// Who made it; whoever knows its id may use it.
    of: Whose,
    /// Who asks for changes has it until they are found: nobody is told the same ones meanwhile.
    told: Arc<tokio::sync::Mutex<Told>>,
    used: Instant,
}

/// How far a filter was told.
struct Told {
    cursor: Cursor,
    /// In what was told of waiting transactions.
    place: u64,
}

#[derive(Clone)]
enum Wants {
    Blocks,
    Logs(Arc<OfLogs>),
    /// Kept for as long as the filter is there.
    Pending {
        _wanted: Arc<Wanted>,
    },
}

/// Logs that are wanted: what was understood of a filter, and no more than that.
struct OfLogs {
    looks_for: LooksFor,
    of: LogsOf,
    /// The ends of the range as they were written, for `eth_getFilterLogs`: tags mean what they mean
    /// when it is asked.
    ends: [Option<Box<str>>; 2],
}

impl OfLogs {
    /// Whether its blocks are these.
    fn is_about(&self, number: u64, hash: B256) -> bool {
        match self.of {
            LogsOf::Hash(wanted) => wanted == hash,
            LogsOf::Range(first, last) => (first == MOVES || first <= number) && number <= last,
        }
    }

    fn wants(&self, log: &RawLog) -> bool {
        self.looks_for.criteria.matches(log)
    }

    /// The parameters of the `eth_getLogs` it stands for.
    fn asks(&self) -> Arc<str> {
        let mut text = String::from("[{");
        if let LogsOf::Hash(hash) = self.of {
            let _ = write!(text, "\"blockHash\":\"{hash}\",");
        }
        for (name, end) in ["fromBlock", "toBlock"].into_iter().zip(&self.ends) {
            if let Some(end) = end {
                let _ = write!(text, "\"{name}\":{end},");
            }
        }
        text.push_str(&self.looks_for.criteria.members());
        text.push_str("}]");
        text.into()
    }
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

/// Said to whoever wants more of filters or subscriptions to be kept than may be.
pub(crate) fn too_much(held: usize) -> Answer {
    let kib = client_keeps(held) >> 10;
    let text = format!(
        "too much to look for: {kib} KiB of addresses and topics for each client, and as much as there is room for; uninstall filters or unsubscribe"
    );
    Answer::error(-32005, &text)
}

fn not_found() -> Answer {
    Answer::error(-32000, "filter not found")
}

impl Filters {
    fn map(&self) -> MutexGuard<'_, HashMap<u128, Filter>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
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
        let anything = Tags {
            latest: MOVES,
            safe: Some(MOVES),
            finalized: Some(MOVES),
        };
        let question = match LogsQuestion::read(params, anything) {
            Ok(question) => question,
            Err(refused) => return refused,
        };
        if let Err(wrong) = question.looks_for.may_be_kept() {
            return Answer::error(-32602, &wrong);
        }
        let ends: [Option<Box<str>>; 2] =
            question.ends.map(|end| end.map(|end| Box::from(end.get())));
        if ends.iter().flatten().any(|end| end.len() > END_BYTES) {
            return Answer::error(-32602, "invalid params: a block is a number or a tag");
        }
        let criteria = (*question.looks_for).clone();
        let bytes = size_of::<OfLogs>() + criteria.bytes() + 2 * END_BYTES;
        let (_, has) = self.filters_of(&mut self.filters.map(), caller);
        let held = self.config.max_held_bytes;
        let Some(keeps) = self.filters.keeping.take(bytes, has, held) else {
            return too_much(held);
        };
        let wants = OfLogs {
            looks_for: LooksFor { criteria, keeps },
            of: question.of,
            ends,
        };
        self.install(Wants::Logs(Arc::new(wants)), caller)
    }

    /// How many filters this caller has, and how many bytes these keep. Those nobody asks about are
    /// gone then.
    fn filters_of(&self, filters: &mut HashMap<u128, Filter>, caller: &Caller) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        filters.retain(|_, filter| {
            let lives = filter.used.elapsed() < IDLE;
            if lives && filter.of == caller.whose {
                count += 1;
                if let Wants::Logs(wants) = &filter.wants {
                    bytes += wants.looks_for.keeps.bytes;
                }
            }
            lives
        });
        (count, bytes)
    }

    fn install(&self, wants: Wants, caller: &Caller) -> Answer {
        let mut filters = self.filters.map();
        let (of_caller, _) = self.filters_of(&mut filters, caller);
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
                told: Arc::new(tokio::sync::Mutex::new(Told {
                    cursor: self.chain.now(),
                    place: self.pool.0.pending.now(),
                })),
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
        let (wants, told) = {
            let mut filters = self.filters.map();
            match filters.get_mut(&id) {
                Some(filter) if filter.used.elapsed() < IDLE => {
                    filter.used = Instant::now();
                    (filter.wants.clone(), Arc::clone(&filter.told))
                }
                _ => return not_found(),
            }
        };
        let mut told = told.lock().await;
        if let Wants::Pending { .. } = wants {
            let (hashes, place) = self.pool.0.pending.since(told.place, usize::MAX);
            told.place = place;
            return Answer::json(&hashes);
        }
        let (changes, next) = match self.chain.since(told.cursor, usize::MAX) {
            Ok(came) => came,
            Err(Gap) => {
                self.filters.map().remove(&id);
                return Answer::error(
                    -32000,
                    "filter not found: the gateway lost the thread of the chain since; make a new one and look back with eth_getLogs",
                );
            }
        };
        let list = match &wants {
            Wants::Blocks => changes
                .iter()
                .filter_map(|change| match change {
                    Change::Add(block) => Some(format!("\"{}\"", block.head.hash)),
                    Change::Remove(_) => None,
                })
                .collect::<Vec<_>>()
                .join(","),
            Wants::Logs(wants) => match self.logs_in(&changes, wants).await {
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
        told.cursor = next;
        Answer::Result(format!("[{list}]").into())
    }

    /// What the changes mean for a filter; none if some logs cannot be had now.
    async fn logs_in(&self, changes: &[Change], wants: &OfLogs) -> Option<String> {
        let mut list = String::new();
        let mut push = |raw: &[u8]| {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(&String::from_utf8_lossy(raw));
        };
        // Those of the next blocks are fetched beside one another: one after the other, who is behind would
        // wait for the sum of it.
        let mut fetching = Vec::new();
        for change in due(changes, wants).await {
            fetching.push(async move {
                let kept = match change {
                    Change::Add(block) => self.logs_of(block).await,
                    Change::Remove(block) => block.logs.lock().await.clone(),
                };
                (change, kept)
            });
        }
        let mut fetched = stream::iter(fetching).buffered(AHEAD);
        while let Some(came) = fetched.next().await {
            match came {
                (Change::Add(_), Kept::All(logs)) => logs
                    .list
                    .iter()
                    .filter(|log| wants.wants(log))
                    .for_each(|log| push(&log.raw)),
                (Change::Add(_), Kept::NotYet) => return None,
                (Change::Remove(_), Kept::All(logs)) => logs
                    .list
                    .iter()
                    .rev()
                    .filter(|log| wants.wants(log))
                    .for_each(|log| push(&log.removed())),
                (_, Kept::Untold) | (Change::Remove(_), Kept::NotYet) => {}
            }
        }
        Some(list)
    }

    pub(crate) async fn filter_logs(self: &Arc<Self>, params: &str, purse: Purse) -> Answer {
        match self.filter_asks(params) {
            Some(asks) => self.logs(&asks, None, purse).await.answer,
            None => not_found(),
        }
    }

    /// The question about logs a filter stands for.
    pub(crate) fn filter_asks(&self, params: &str) -> Option<Arc<str>> {
        let id = read_id(params)?;
        match &self.filters.map().get(&id)?.wants {
            Wants::Logs(wants) => Some(wants.asks()),
            Wants::Blocks | Wants::Pending { .. } => None,
        }
    }
}

/// The changes that may have something for a filter.
async fn due<'a>(changes: &'a [Change], wants: &OfLogs) -> Vec<&'a Change> {
    let criteria = &wants.looks_for.criteria;
    let mut due = Vec::new();
    for change in changes {
        let (Change::Add(block) | Change::Remove(block)) = change;
        if !wants.is_about(block.head.number, block.head.hash) {
            continue;
        }
        if criteria.items() > MANY {
            // All of them are looked for in each block's bloom: others have their turn meanwhile.
            tokio::task::yield_now().await;
        }
        let bloom = block.head.logs_bloom.as_deref();
        let has_none = bloom.is_some_and(|bloom| !bloom.is_zero() && !criteria.may_be_in(bloom));
        if matches!(change, Change::Remove(_)) || !has_none {
            due.push(change);
        }
    }
    due
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
