//! `eth_getLogs` over ranges that no single endpoint would answer: split, asked in order of the
//! blocks, put together as one array.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::timeout;

use super::Core;
use super::block::{LogsOf, LogsQuestion, Needs, Tags};
use super::budget::Purse;
use super::class::Class;
use super::envelope::Answer;
use super::handle::too_wide;
use super::log::BlockLogs;
use super::method::{self, Method};
use super::question::{Asked, Question};
use super::quoted;
use crate::error::RpcError;
use crate::node::Node;
use crate::send_errors::Overrides;
use crate::wire;

/// Parts of one question under way.
const PARTS: usize = 4;
/// A range that ends just above the tip may be waited for.
const FUTURE: Duration = Duration::from_secs(2);
/// All parts of one question together.
const ALL_WITHIN: Duration = Duration::from_secs(60);
/// Largest answer put together from parts.
const MOST_BYTES: usize = 256 << 20;

impl Core {
    /// `view`: the blocks tags stand for, if that is decided already.
    pub(crate) async fn logs(
        self: &Arc<Self>,
        params: &str,
        view: Option<Tags>,
        purse: Purse,
    ) -> Asked {
        let known = match view {
            Some(tags) => Some(tags),
            None => self.tags().await,
        };
        let Some(mut tags) = known else {
            return self.nobody(&[]).into();
        };
        let question = match LogsQuestion::read(params, tags) {
            Ok(question) => question,
            Err(refused) => return refused.into(),
        };
        let method = method::find("eth_getLogs");
        let of = (method, purse);
        let (first, last) = match question.of {
            LogsOf::Range(first, last) => (first, last),
            LogsOf::Hash(hash) => {
                if let Some(logs) = self.proven_logs_of(hash) {
                    return Answer::Result(logs.answer(&question.looks_for)).into();
                }
                let params = question.of_block(hash);
                // Of a block of ours it is known who has it, and what its header says.
                let asked = match self.chain.number_of(hash) {
                    None => Question::new(self, method, method.name, Needs::Hash, &params),
                    Some(number) => {
                        let needs = Needs::Number(number);
                        Question::new(self, method, method.name, needs, &params)
                            .within(number, Arc::clone(&question.looks_for))
                    }
                };
                let asked = asked.paid_from(purse);
                let came = self.ask(&asked, true).await;
                return match asked.needs {
                    Needs::Hash => self.up_to_the_tip(method, Needs::Hash, came).await,
                    _ => came,
                };
            }
        };
        if first > last {
            return Answer::error(-32602, "invalid block range params").into();
        }
        if last > tags.latest {
            let mut changed = self.chain.changed();
            let reached = async {
                while self.chain.tags().is_some_and(|tags| tags.latest < last) {
                    if changed.changed().await.is_err() {
                        return;
                    }
                }
            };
            // Only the next block or two can come in time.
            if last <= tags.latest + 2 {
                let _ = timeout(FUTURE, reached).await;
            }
            tags = self.chain.tags().unwrap_or(tags);
            if last > tags.latest {
                let text = "block range extends beyond current head block";
                return Answer::error(-32602, text).into();
            }
        }
        if last - first >= self.config.max_log_range {
            return too_wide(self.config.max_log_range).into();
        }
        let end = self.chain.hash_at(last);
        let all = async {
            let answer = self.parts(of, &question, first, last).await;
            if end.is_some() && self.chain.hash_at(last) != end {
                // The chain changed under the question: what was put together may be of two branches.
                return self.parts(of, &question, first, last).await;
            }
            answer
        };
        // However many parts there are: nobody is worked for without end.
        timeout(ALL_WITHIN, all).await.unwrap_or_else(|_| {
            let text = "request timed out: upstreams take few blocks at once; ask for fewer";
            Answer::error(-32002, text).into()
        })
    }

    /// The logs of a block of ours that a subscriber or filter needed, if they are proven.
    fn proven_logs_of(&self, hash: B256) -> Option<Arc<BlockLogs>> {
        let block = self.chain.block_at(self.chain.number_of(hash)?)?;
        self.proven_logs(&block).filter(|_| block.head.hash == hash)
    }

    /// Blocks the most generous endpoint takes at once.
    fn widest_range(&self) -> u64 {
        let ranges = self.readable().map(Node::log_range);
        ranges.max().unwrap_or(1).max(1)
    }

    async fn parts(
        self: &Arc<Self>,
        of: (&'static Method, Purse),
        question: &LogsQuestion<'_>,
        first: u64,
        last: u64,
    ) -> Asked {
        let width = self.widest_range();
        if last - first < width {
            return self.part(of, question, first, last).await;
        }
        let starts = (0..=(last - first) / width).map(|n| first + n * width);
        let mut parts = stream::iter(starts)
            .map(|start| self.part(of, question, start, last.min(start + width - 1)))
            .buffered(PARTS);
        let mut merged = Merged::default();
        while let Some(part) = parts.next().await {
            let Answer::Result(result) = &part.answer else {
                return part;
            };
            if let Err(answer) = merged.add(result) {
                return answer.into();
            }
        }
        merged.done().into()
    }

    /// A part, halved as often as endpoints find it too large.
    async fn part(
        self: &Arc<Self>,
        (method, purse): (&'static Method, Purse),
        question: &LogsQuestion<'_>,
        first: u64,
        last: u64,
    ) -> Asked {
        let mut merged = Merged::default();
        let mut open = vec![(first, last)];
        while let Some((first, last)) = open.pop() {
            let params = question.part(first, last);
            let asked = Question::new(self, method, method.name, Needs::Number(last), &params)
                .spanning(first, last, Arc::clone(&question.looks_for))
                .paid_from(purse);
            let came = self.ask(&asked, true).await;
            match &came.answer {
                Answer::Result(_) if open.is_empty() && merged.is_empty() => return came,
                Answer::Result(result) => {
                    if let Err(answer) = merged.add(result) {
                        return answer.into();
                    }
                }
                error if last > first && is_too_large(error, &asked) && !self.gives_up(&came) => {
                    // What was learned from the refusal, and less in any case.
                    let width = self.widest_range().min((last - first).div_ceil(2)).max(1);
                    let mut start = last + 1;
                    while start > first {
                        let end = start - 1;
                        start = first.max((end + 1).saturating_sub(width));
                        open.push((start, end));
                    }
                }
                _ => return came,
            }
        }
        merged.done().into()
    }

    /// Whoever has set a time of their own learns at once that it was not enough, and asks for less.
    fn gives_up(&self, came: &Asked) -> bool {
        self.patience.is_some() && matches!(came.lost.as_deref(), Some(RpcError::Timeout { .. }))
    }
}

fn is_too_large(answer: &Answer, asked: &Question) -> bool {
    let Answer::Error(error) = answer else {
        return false;
    };
    // An answer that was too large has no refusal but ours.
    let refusal = wire::refusal(error);
    let (class, _) = quoted::class(asked, &refusal, &Overrides::default());
    class == Class::RangeTooLarge
}

/// Arrays put together as bytes.
#[derive(Default)]
struct Merged(BytesMut);

impl Merged {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, array: &Bytes) -> Result<(), Answer> {
        let text = array.trim_ascii();
        let inner = text
            .strip_prefix(b"[")
            .and_then(|rest| rest.strip_suffix(b"]"))
            .ok_or_else(|| {
                Answer::error(-32603, "an upstream answered eth_getLogs without a list")
            })?
            .trim_ascii();
        if self.0.len() + inner.len() > MOST_BYTES {
            return Err(Answer::error(-32003, "response too large"));
        }
        if self.0.is_empty() {
            self.0.put_u8(b'[');
        } else if !inner.is_empty() && self.0.len() > 1 {
            self.0.put_u8(b',');
        }
        self.0.put_slice(inner);
        Ok(())
    }

    fn done(mut self) -> Answer {
        if self.0.is_empty() {
            self.0.put_u8(b'[');
        }
        self.0.put_u8(b']');
        Answer::Result(self.0.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_put_together_in_order_and_empty_ones_leave_no_trace() {
        let mut merged = Merged::default();
        for part in ["[]", " [ {\"a\":1} , 2 ] ", "[]", "[3]"] {
            merged.add(&Bytes::from_static(part.as_bytes())).unwrap();
        }
        let Answer::Result(whole) = merged.done() else {
            panic!("no result")
        };
        assert_eq!(&whole[..], br#"[{"a":1} , 2,3]"#);
        let Answer::Result(none) = Merged::default().done() else {
            panic!("no result")
        };
        assert_eq!(&none[..], b"[]");
        assert!(Merged::default().add(&Bytes::from_static(b"null")).is_err());
    }
}
