//! What lies above the block everybody is told is the newest.
//!
//! One endpoint may have a block before the others do. What it says about that block is given once
//! the tip is there, because the next answer might otherwise seem to go back; and if the tip does
//! not come there, as if the block did not exist yet.

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::Core;
use super::block::Needs;
use super::envelope::Answer;
use super::method::{At, Method};
use super::question::Asked;

/// The endpoint that has the block has shown it, so the tip is there in a moment or not at all.
const WITHIN: Duration = Duration::from_secs(2);
/// Where a transaction says which block it is in.
const OF_A_BLOCK: &[&str] = &[
    "blockHash",
    "blockNumber",
    "transactionIndex",
    "blockTimestamp",
];

impl Core {
    /// The same answer, unless it tells of a block above the tip.
    pub(crate) async fn up_to_the_tip(
        &self,
        method: &'static Method,
        needs: Needs,
        asked: Asked,
    ) -> Asked {
        let told = match &asked.answer {
            Answer::Result(result) => tells_of(method, needs, result),
            _ => None,
        };
        match told {
            Some(number) if !self.reaches(number).await => without(method, number, asked),
            _ => asked,
        }
    }

    /// Waits a moment for the tip to be there.
    async fn reaches(&self, number: u64) -> bool {
        let is_there = || self.chain.tags().is_none_or(|tags| tags.latest >= number);
        if is_there() {
            return true;
        }
        // Rare, so no part of what every question takes in memory.
        Box::pin(async {
            let mut changed = self.chain.changed();
            let reached = async { while !is_there() && changed.changed().await.is_ok() {} };
            let _ = timeout(WITHIN, reached).await;
        })
        .await;
        is_there()
    }
}

/// The same in a batch that stands on block `latest`: the number that is told beside it is not to be
/// exceeded, so nothing is waited for.
pub(super) fn up_to(latest: u64, method: &'static Method, needs: Needs, asked: Asked) -> Asked {
    let told = match &asked.answer {
        Answer::Result(result) => tells_of(method, needs, result),
        _ => None,
    };
    match told {
        Some(number) if number > latest => without(method, number, asked),
        _ => asked,
    }
}

fn without(method: &Method, number: u64, asked: Asked) -> Asked {
    let Answer::Result(result) = &asked.answer else {
        return asked;
    };
    Asked {
        answer: without_the_block(method, number, result),
        by: None,
        ..asked
    }
}

/// The block an answer tells of, where that is not certain to be one of ours.
fn tells_of(method: &Method, needs: Needs, result: &[u8]) -> Option<u64> {
    // Nothing is told then.
    if result == b"null" {
        return None;
    }
    match (method.at, needs) {
        (At::Transaction | At::Hash, _) => block_number_of(result),
        (At::Param(_) | At::Optional(_), Needs::Number(number)) => Some(number),
        (At::Param(0) | At::Filter, Needs::Hash) => block_number_of(result),
        _ => None,
    }
}

/// What an endpoint says that has not got the block yet.
fn without_the_block(method: &Method, number: u64, result: &Bytes) -> Answer {
    match method.at {
        At::Transaction => waiting(result).unwrap_or_else(|| Answer::literal("null")),
        At::Hash | At::Param(0) => Answer::literal("null"),
        At::Filter => Answer::error(-32000, "unknown block"),
        _ => Answer::error(-32000, &format!("header not found: {number:#x}")),
    }
}

/// A transaction as one that waits to be mined; none for a receipt, which such a one has not.
fn waiting(result: &[u8]) -> Option<Answer> {
    let mut members: Map<String, Value> = serde_json::from_slice(result).ok()?;
    members.get("nonce")?;
    for name in OF_A_BLOCK {
        if let Some(member) = members.get_mut(*name) {
            *member = Value::Null;
        }
    }
    Some(Answer::json(&members))
}

/// The number of the block a block, a receipt, a log or a transaction is, or is in; of a list, the
/// first one.
fn block_number_of(result: &[u8]) -> Option<u64> {
    let mut text = std::str::from_utf8(result).ok()?;
    let list: Vec<&RawValue>;
    if text.trim_start().starts_with('[') {
        list = serde_json::from_str(text).ok()?;
        text = list.first()?.get();
    }
    let members = super::block::members(text)?;
    let value: &RawValue = ["blockNumber", "number"].iter().find_map(|wanted| {
        let found = members.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| *value)
    })?;
    let quantity: &str = serde_json::from_str(value.get()).ok()?;
    u64::try_from(crate::quantity::parse(quantity)?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::method::find;
    use super::*;

    #[test]
    fn what_a_batch_tells_is_not_above_the_block_it_stands_on() {
        let receipt = Bytes::from_static(br#"{"blockNumber":"0x11","transactionHash":"0x00"}"#);
        let told = |latest: u64| {
            let asked = Answer::Result(receipt.clone()).into();
            let method = find("eth_getTransactionReceipt");
            match up_to(latest, method, Needs::Tip, asked).answer {
                Answer::Result(told) => told,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told(17), receipt);
        assert_eq!(told(16), &b"null"[..]);
    }

    #[test]
    fn the_block_of_a_receipt_or_a_header_is_found() {
        assert_eq!(
            block_number_of(br#"{"x":1,"blockNumber":"0x10"}"#),
            Some(16)
        );
        assert_eq!(
            block_number_of(br#"{"x":{"number":"0x9"},"number": "0x5"}"#),
            Some(5)
        );
        assert_eq!(
            block_number_of(br#"[{"blockNumber":"0x11"},{"blockNumber":"0x12"}]"#),
            Some(17)
        );
        assert_eq!(block_number_of(b"[]"), None);
        assert_eq!(block_number_of(br#"{"blockNumber":null}"#), None);
        assert_eq!(block_number_of(b"null"), None);
    }

    #[test]
    fn what_is_above_the_tip_is_told_of_as_if_it_were_not_there_yet() {
        let told = |method: &str, result: &'static str| match without_the_block(
            find(method),
            17,
            &Bytes::from_static(result.as_bytes()),
        ) {
            Answer::Result(told) | Answer::Error(told) => {
                serde_json::from_slice::<Value>(&told).unwrap()
            }
            _ => panic!("neither a result nor an error"),
        };
        assert_eq!(told("eth_getBlockByHash", "{}"), Value::Null);
        assert_eq!(told("eth_getBlockByNumber", "{}"), Value::Null);
        let receipt = r#"{"transactionHash":"0x1","blockNumber":"0x11"}"#;
        assert_eq!(told("eth_getTransactionReceipt", receipt), Value::Null);
        let mined = r#"{"hash":"0x1","nonce":"0x2","blockHash":"0x3","blockNumber":"0x11","transactionIndex":"0x0"}"#;
        assert_eq!(
            told("eth_getTransactionByHash", mined),
            serde_json::json!({"hash": "0x1", "nonce": "0x2", "blockHash": null, "blockNumber": null, "transactionIndex": null})
        );
        assert_eq!(
            told("eth_getBalance", "\"0x1\""),
            serde_json::json!({"code": -32000, "message": "header not found: 0x11"})
        );
    }
}
