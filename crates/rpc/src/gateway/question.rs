//! A question as it goes to endpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Core;
use super::block::Needs;
use super::budget::Purse;
use super::envelope::Answer;
use super::log::Criteria;
use super::method::{At, Kind, Method};
use crate::error::RpcError;
use crate::gate::Priority;
use crate::wire;

/// Blocks so far below the tip are history, which waits for what is going on.
const HISTORY: u64 = 128;

/// Methods that also know of transactions no block has yet.
const TRANSACTIONS: &[&str] = &["eth_getTransactionByHash", "eth_getRawTransactionByHash"];

/// One question as it goes to endpoints.
pub(crate) struct Question {
    pub(crate) method: &'static Method,
    pub(crate) needs: Needs,
    /// Blocks of logs it spans; 0 if it is not about a range.
    pub(crate) span: u64,
    /// What it looks for, if it is about logs.
    pub(super) looks_for: Option<LooksFor>,
    /// Its name where the table does not know it.
    pub(super) unknown: Option<Box<str>>,
    /// What second attempts are paid from.
    pub(super) purse: Purse,
    id: u64,
    body: Bytes,
}

impl Question {
    pub(crate) fn new(
        core: &Core,
        method: &'static Method,
        name: &str,
        needs: Needs,
        params: &str,
    ) -> Self {
        let id = core.next_id.fetch_add(1, Ordering::Relaxed);
        Self {
            method,
            needs,
            span: 0,
            looks_for: None,
            purse: Purse::OURS,
            unknown: (method.name != name).then(|| name.into()),
            id,
            body: wire::encode_raw(id, name, params),
        }
    }

    /// The same for somebody.
    pub(crate) fn paid_from(self, purse: Purse) -> Self {
        Self { purse, ..self }
    }

    /// The same about the logs of a range.
    pub(crate) fn spanning(self, first: u64, last: u64, criteria: Arc<Criteria>) -> Self {
        Self {
            span: last - first + 1,
            looks_for: Some(LooksFor {
                criteria,
                first,
                last,
                waits: true,
            }),
            ..self
        }
    }

    /// The same about the logs of this one block, named by its hash: whoever asks so wants to know
    /// what there is now.
    pub(super) fn within(self, block: u64, criteria: Arc<Criteria>) -> Self {
        Self {
            looks_for: Some(LooksFor {
                criteria,
                first: block,
                last: block,
                waits: false,
            }),
            ..self
        }
    }

    /// Whether an answer that is not believed is waited for to become another one.
    pub(super) fn waits(&self) -> bool {
        self.looks_for.as_ref().is_none_or(|wanted| wanted.waits)
    }

    /// Whether another endpoint may have what this one has not: a transaction that waits is known to
    /// those who heard of it.
    pub(super) fn may_be_known_to_others(&self, result: &[u8]) -> bool {
        result == b"null" && TRANSACTIONS.contains(&self.method.name)
    }

    pub(crate) fn name(&self) -> &str {
        self.unknown.as_deref().unwrap_or(self.method.name)
    }

    /// Its id and its bytes.
    pub(crate) fn encoded(&self) -> (u64, Bytes) {
        (self.id, self.body.clone())
    }

    pub(super) fn priority(&self, latest: u64) -> Priority {
        match (self.method.kind, self.method.at, self.needs) {
            (Kind::Trace, ..) => Priority::History,
            (Kind::Logs, ..) => Priority::Logs,
            (_, At::Transaction, _) => Priority::Receipts,
            (_, _, Needs::Number(number)) if number + HISTORY < latest => Priority::History,
            _ => Priority::Reads,
        }
    }
}

pub(super) struct LooksFor {
    pub(super) criteria: Arc<Criteria>,
    pub(super) first: u64,
    pub(super) last: u64,
    waits: bool,
}

/// What came of a question.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) answer: Answer,
    /// Who gave it.
    pub(crate) from: Option<usize>,
    /// Who gave it if they stand where it was about: only then it may be kept.
    pub(crate) by: Option<usize>,
    /// Why nobody gave one.
    pub(crate) lost: Option<Box<RpcError>>,
}

impl From<Answer> for Asked {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            from: None,
            by: None,
            lost: None,
        }
    }
}
