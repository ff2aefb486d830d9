//! The receipts of a block, and whether they make the root its header names. If they do, their logs
//! are all there are and none is invented, whoever gave them: the root is a hash over every status,
//! every gas used and every log, in order.
//!
//! Not in the root, and so an endpoint's word: the hash of the transaction a log belongs to. Where a
//! log is (block, transaction, number) follows from where its receipt is, and has to say so.

use std::borrow::Cow;
use std::collections::HashMap;

use alloy::consensus::proofs::ordered_trie_root_encoded;
use alloy::primitives::{Address, B256, Bloom, BloomInput, Bytes as Data, Log, LogData, keccak256};
use alloy_rlp::{Encodable, Header, list_length};
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::log::{BlockLogs, RawLog};
use crate::head::Head;
use crate::quantity::Small;

/// Transactions that come from the chain below, on chains built with the OP stack.
const DEPOSIT: u64 = 0x7e;

/// The block whose receipts are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    number: u64,
    hash: B256,
    root: B256,
}

impl From<&Head> for Wanted {
    fn from(head: &Head) -> Self {
        Self {
            number: head.number,
            hash: head.hash,
            root: head.receipts_root,
        }
    }
}

/// What an answer to `eth_getBlockReceipts` is.
#[derive(Debug)]
pub(crate) enum Proof {
    /// It makes the root: these are the block's logs.
    Fits(BlockLogs),
    /// Of another block than the wanted one.
    OtherBlock,
    /// A list without an entry, of a block that has some.
    Empty,
    /// It is not what the header says; the words complete "receipts that …".
    Wrong(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    #[serde(rename = "type", default)]
    kind: Option<Small>,
    #[serde(default)]
    block_hash: Option<B256>,
    #[serde(default)]
    transaction_hash: Option<B256>,
    cumulative_gas_used: Small,
    #[serde(default)]
    status: Option<Small>,
    /// Instead of a status, before the Byzantium fork: the state after the transaction.
    #[serde(borrow, default)]
    root: Option<Cow<'a, str>>,
    #[serde(default)]
    deposit_nonce: Option<Small>,
    #[serde(default)]
    deposit_receipt_version: Option<Small>,
    #[serde(borrow, default)]
    logs: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    address: Address,
    topics: Vec<B256>,
    data: Data,
    block_number: Small,
    block_hash: B256,
    transaction_hash: B256,
    transaction_index: Small,
    log_index: Small,
    #[serde(default)]
    removed: bool,
}

/// Looks whether these bytes are the receipts of a block, and takes the logs out of them.
pub(crate) fn prove(wanted: Wanted, result: &[u8]) -> Proof {
    let Ok(receipts) = serde_json::from_slice::<Vec<Receipt<'_>>>(result) else {
        return Proof::Wrong("cannot be read");
    };
    if receipts.is_empty() {
        return Proof::Empty;
    }
    let is_of_another =
        |receipt: &Receipt<'_>| receipt.block_hash.is_some_and(|it| it != wanted.hash);
    if receipts.iter().any(is_of_another) {
        return Proof::OtherBlock;
    }
    let mut encoded = Vec::with_capacity(receipts.len());
    let mut given = Given::default();
    let mut blooms = Blooms::default();
    for (index, receipt) in receipts.iter().enumerate() {
        let Some(logs) = given.read(wanted, index as u64, receipt) else {
            return Proof::Wrong("cannot be read");
        };
        let Some(leaf) = leaf(receipt, &logs, &blooms.of(&logs)) else {
            return Proof::Wrong("cannot be read");
        };
        encoded.push(leaf);
    }
    if ordered_trie_root_encoded(&encoded) != wanted.root {
        return Proof::Wrong("do not make the root in its header");
    }
    if !given.are_in_place {
        return Proof::Wrong("say of logs that they are elsewhere than they are");
    }
    Proof::Fits(given.done())
}

/// The logs of all receipts so far.
struct Given<'a> {
    logs: Vec<(&'a RawValue, Log, B256)>,
    /// Whether each says of itself where it is.
    are_in_place: bool,
}

impl Default for Given<'_> {
    fn default() -> Self {
        Self {
            logs: Vec::new(),
            are_in_place: true,
        }
    }
}

impl<'a> Given<'a> {
    /// The logs of the next receipt.
    fn read(&mut self, wanted: Wanted, index: u64, receipt: &Receipt<'a>) -> Option<Vec<Log>> {
        let raws = receipt.logs.as_deref().unwrap_or_default();
        let mut logs = Vec::with_capacity(raws.len());
        for raw in raws {
            let wire: WireLog = serde_json::from_str(raw.get()).ok()?;
            self.are_in_place &= !wire.removed
                && wire.block_hash == wanted.hash
                && wire.block_number.0 == wanted.number
                && wire.transaction_index.0 == index
                && wire.log_index.0 == self.logs.len() as u64
                && receipt
                    .transaction_hash
                    .is_none_or(|hash| hash == wire.transaction_hash);
            let log = Log {
                address: wire.address,
                data: LogData::new(wire.topics, wire.data)?,
            };
            self.logs.push((raw, log.clone(), wire.transaction_hash));
            logs.push(log);
        }
        Some(logs)
    }

    /// In memory of their own: they are kept longer than what came with them.
    fn done(self) -> BlockLogs {
        let length = self.logs.iter().map(|(raw, ..)| raw.get().len()).sum();
        let mut kept = BytesMut::with_capacity(length);
        let mut list = Vec::with_capacity(self.logs.len());
        for (index, (raw, log, transaction)) in (0..).zip(self.logs) {
            kept.extend_from_slice(raw.get().as_bytes());
            list.push(RawLog::new(kept.split().freeze(), log, index, transaction));
        }
        BlockLogs::proven(list)
    }
}

/// What stands for a receipt in the tree whose root the header has. None if it is no receipt.
fn leaf(receipt: &Receipt<'_>, logs: &[Log], bloom: &Bloom) -> Option<Vec<u8>> {
    // Both are there at no client we know; then the status is what is younger than 2017.
    let state = match receipt.status {
        Some(_) => None,
        None => Some(receipt.root.as_deref()?.parse::<B256>().ok()?),
    };
    let outcome: &dyn Encodable = match (&state, &receipt.status) {
        (Some(root), _) => root,
        (None, Some(Small(status))) => status,
        (None, None) => return None,
    };
    let gas = receipt.cumulative_gas_used.0;
    let kind = receipt.kind.map_or(0, |Small(kind)| kind);
    // Deposits are numbered in their receipts since the Canyon fork, which also made them say so.
    let deposit = match (kind, receipt.deposit_receipt_version) {
        (DEPOSIT, Some(Small(version))) => Some([receipt.deposit_nonce?.0, version]),
        _ => None,
    };
    let more = deposit.as_ref().map_or(&[][..], |both| &both[..]);
    let payload_length = outcome.length()
        + gas.length()
        + bloom.length()
        + list_length(logs)
        + more.iter().map(Encodable::length).sum::<usize>();
    let mut out = Vec::with_capacity(payload_length + 8);
    if kind != 0 {
        out.push(u8::try_from(kind).ok()?);
    }
    Header {
        list: true,
        payload_length,
    }
    .encode(&mut out);
    outcome.encode(&mut out);
    gas.encode(&mut out);
    bloom.encode(&mut out);
    alloy_rlp::encode_list(logs, &mut out);
    more.iter().for_each(|number| number.encode(&mut out));
    Some(out)
}

/// Makes blooms. Most addresses and topics of a block are there many times, and hashing them is what
/// takes longest.
#[derive(Default)]
struct Blooms {
    addresses: HashMap<Address, B256>,
    topics: HashMap<B256, B256>,
}

impl Blooms {
    fn of(&mut self, logs: &[Log]) -> Bloom {
        let mut bloom = Bloom::ZERO;
        for log in logs {
            let hash = self.addresses.entry(log.address);
            bloom.accrue(BloomInput::Hash(
                *hash.or_insert_with(|| keccak256(log.address)),
            ));
            for topic in log.data.topics() {
                let hash = self.topics.entry(*topic);
                bloom.accrue(BloomInput::Hash(*hash.or_insert_with(|| keccak256(topic))));
            }
        }
        bloom
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::consensus::proofs::calculate_receipt_root;
    use alloy::consensus::{Eip658Value, ReceiptEnvelope};
    use serde_json::{Value, json};

    const HASH: B256 = B256::repeat_byte(7);

    /// Log `index` of a block, in its transaction.
    fn log(index: u64, transaction: u64) -> Value {
        json!({
            "address": Address::repeat_byte(0x11),
            "topics": (0..index % 5).map(|topic| B256::with_last_byte(topic as u8)).collect::<Vec<_>>(),
            "data": format!("0x{}", "ab".repeat(usize::try_from(index % 90).unwrap())),
            "blockNumber": "0x5",
            "blockHash": HASH,
            "blockTimestamp": "0x65",
            "transactionHash": B256::with_last_byte(transaction as u8),
            "transactionIndex": format!("{transaction:#x}"),
            "logIndex": format!("{index:#x}"),
            "removed": false,
        })
    }

    /// Receipts of all types, each with as many logs as its number, as endpoints give them.
    fn receipts(count: u64) -> Vec<Value> {
        let mut next = 0;
        let mut receipts = Vec::new();
        for index in 0..count {
            let logs: Vec<Value> = (next..next + index % 4).map(|at| log(at, index)).collect();
            next += index % 4;
            receipts.push(json!({
                "type": format!("{:#x}", index % 5),
                "status": format!("{:#x}", index % 2),
                "cumulativeGasUsed": format!("{:#x}", 21_000 * (index + 1)),
                "blockHash": HASH,
                "transactionHash": B256::with_last_byte(index as u8),
                "logsBloom": "0x",
                "logs": logs,
            }));
        }
        receipts
    }

    /// The root of receipts by alloy's own types and encoding.
    fn root_of(receipts: &[Value]) -> B256 {
        let number = |of: &Value| crate::quantity::parse(of.as_str().unwrap()).unwrap() as u64;
        let all: Vec<ReceiptEnvelope> = receipts
            .iter()
            .map(|shown| {
                let logs = shown["logs"].as_array().unwrap().iter();
                let receipt = alloy::consensus::Receipt {
                    status: match shown["root"].as_str() {
                        Some(root) => Eip658Value::PostState(root.parse().unwrap()),
                        None => Eip658Value::Eip658(number(&shown["status"]) == 1),
                    },
                    cumulative_gas_used: number(&shown["cumulativeGasUsed"]),
                    logs: logs
                        .map(|log| serde_json::from_value(log.clone()).unwrap())
                        .collect(),
                }
                .with_bloom();
                match number(&shown["type"]) {
                    0 => ReceiptEnvelope::Legacy(receipt),
                    1 => ReceiptEnvelope::Eip2930(receipt),
                    2 => ReceiptEnvelope::Eip1559(receipt),
                    3 => ReceiptEnvelope::Eip4844(receipt),
                    _ => ReceiptEnvelope::Eip7702(receipt),
                }
            })
            .collect();
        calculate_receipt_root(&all)
    }

    fn wanted(root: B256) -> Wanted {
        Wanted {
            number: 5,
            hash: HASH,
            root,
        }
    }

    fn looked_at(root: B256, receipts: &[Value]) -> Proof {
        prove(wanted(root), json!(receipts).to_string().as_bytes())
    }

    fn wrong(proof: Proof) -> &'static str {
        match proof {
            Proof::Wrong(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn receipts_of_every_type_make_the_root_and_their_logs_are_given_to_the_byte() {
        // Around the numbers where keys in the tree and lengths change their form.
        for count in [1, 2, 3, 16, 17, 127, 128, 129, 200, 300] {
            let receipts = receipts(count);
            let Proof::Fits(logs) = looked_at(root_of(&receipts), &receipts) else {
                panic!("{count} receipts do not fit");
            };
            let given: Vec<String> = receipts
                .iter()
                .flat_map(|receipt| receipt["logs"].as_array().unwrap())
                .map(Value::to_string)
                .collect();
            let kept = logs.list.iter().map(|log| &log.raw[..]);
            assert!(kept.eq(given.iter().map(String::as_bytes)), "{count}");
            assert!(logs.are_proven && logs.is_without_gap());
        }
    }

    #[test]
    fn whatever_is_left_out_or_changed_the_root_tells() {
        let all = receipts(8);
        let root = root_of(&all);
        let changed = |change: &dyn Fn(&mut Vec<Value>)| {
            let mut changed = all.clone();
            change(&mut changed);
            wrong(looked_at(root, &changed))
        };
        for why in [
            // The very last log, which leaves no gap in the numbers.
            changed(&|all| drop(all[7]["logs"].as_array_mut().unwrap().pop())),
            changed(&|all| drop(all.pop())),
            changed(&|all| drop(all.remove(0))),
            changed(&|all| all[3]["logs"][0]["data"] = json!("0x01")),
            changed(&|all| all[3]["logs"][1]["address"] = json!(Address::ZERO)),
            changed(&|all| all[3]["cumulativeGasUsed"] = json!("0x1")),
            changed(&|all| all[3]["status"] = json!("0x0")),
            changed(&|all| all[3]["type"] = json!("0x2")),
            changed(&|all| all.swap(1, 2)),
        ] {
            assert_eq!(why, "do not make the root in its header");
        }
        // Not in the root: where a log says that it is.
        for (member, value) in [
            ("logIndex", json!("0x9")),
            ("blockHash", json!(B256::ZERO)),
            ("blockNumber", json!("0x6")),
            ("transactionIndex", json!("0x0")),
            ("transactionHash", json!(B256::ZERO)),
            ("removed", json!(true)),
        ] {
            let why = changed(&|all| all[3]["logs"][0][member] = value.clone());
            assert_eq!(
                why, "say of logs that they are elsewhere than they are",
                "{member}"
            );
        }
        let bare = changed(&|all| drop(all[3].as_object_mut().unwrap().remove("status")));
        assert_eq!(bare, "cannot be read");
        for result in ["{}", "[1]", "\"\"", "[{}]", "[null]"] {
            assert_eq!(
                wrong(prove(wanted(root), result.as_bytes())),
                "cannot be read",
                "{result}"
            );
        }
        assert!(matches!(looked_at(root, &[]), Proof::Empty));
        let mut other = all.clone();
        other[0]["blockHash"] = json!(B256::ZERO);
        assert!(matches!(looked_at(root, &other), Proof::OtherBlock));
    }

    #[test]
    fn receipts_from_before_byzantium_have_a_state_instead_of_a_status() {
        let mut all = receipts(3);
        for (n, receipt) in all.iter_mut().enumerate() {
            receipt["type"] = json!("0x0");
            receipt["status"] = Value::Null;
            receipt["root"] = json!(B256::with_last_byte(n as u8 + 1));
        }
        let root = root_of(&all);
        assert!(matches!(looked_at(root, &all), Proof::Fits(_)));
        // Old clients say nothing of types.
        for receipt in &mut all {
            receipt.as_object_mut().unwrap().remove("type");
        }
        assert!(matches!(looked_at(root, &all), Proof::Fits(_)));
        all[1]["root"] = json!(B256::ZERO);
        assert!(matches!(looked_at(root, &all), Proof::Wrong(_)));
    }

    #[test]
    fn a_deposit_of_the_op_stack_is_numbered_since_canyon_and_not_before() {
        let shown = |version: Value| {
            json!({
                "type": "0x7e", "status": "0x1", "cumulativeGasUsed": "0xb741", "logs": [],
                "depositNonce": "0x3d3bbf", "depositReceiptVersion": version, "blockHash": HASH,
            })
        };
        let bloom = "00".repeat(256);
        for (version, bytes) in [
            (
                json!("0x1"),
                format!("7ef9010d0182b741b90100{bloom}c0833d3bbf01"),
            ),
            (Value::Null, format!("7ef901080182b741b90100{bloom}c0")),
        ] {
            let text = shown(version).to_string();
            let receipt: Receipt<'_> = serde_json::from_str(&text).unwrap();
            let leaf = leaf(&receipt, &[], &Bloom::ZERO).unwrap();
            assert_eq!(alloy::primitives::hex::encode(&leaf), bytes);
            let root = ordered_trie_root_encoded(&[leaf]);
            let list = format!("[{text}]");
            assert!(matches!(
                prove(wanted(root), list.as_bytes()),
                Proof::Fits(_)
            ));
        }
    }
}
