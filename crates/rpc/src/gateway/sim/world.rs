//! The true chain, and upstreams that see it late, wrongly, or not at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use alloy::consensus::proofs::calculate_receipt_root;
use alloy::consensus::{Receipt, ReceiptEnvelope};
use alloy::primitives::{Address, B256, Bloom, BloomInput, Log, LogData};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::http::Scripted;

pub(super) const CHAIN: u64 = 4242;
/// Nothing deeper is ever replaced.
pub(super) const DEEPEST: u64 = 32;

#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) parent: B256,
    /// How many logs it has.
    pub(super) logs: u64,
}

impl Block {
    /// Whether its last log can be left out without anything telling but the receipts' root.
    pub(super) fn has_twins(self) -> bool {
        self.logs > 2
    }
}

/// Every block that ever was, and which of them count.
pub(super) struct Truth {
    blocks: HashMap<B256, Block>,
    /// What endpoints show of each, written once: blooms are dear.
    shown: HashMap<B256, Box<RawValue>>,
    /// The newest canonical block at each moment; the last is now.
    tips: Vec<B256>,
    made: u64,
}

impl Truth {
    fn new() -> Self {
        let mut truth = Self {
            blocks: HashMap::new(),
            shown: HashMap::new(),
            tips: Vec::new(),
            made: 0,
        };
        let first = truth.make(0, B256::ZERO, 0);
        truth.tips.push(first);
        for _ in 0..100 {
            truth.grow();
        }
        truth
    }

    fn make(&mut self, number: u64, parent: B256, logs: u64) -> B256 {
        self.made += 1;
        let mut hash = alloy::primitives::keccak256(self.made.to_be_bytes());
        // Readable in a failure.
        hash[..8].copy_from_slice(&number.to_be_bytes());
        let block = Block {
            number,
            hash,
            parent,
            logs,
        };
        self.blocks.insert(hash, block);
        self.shown.insert(hash, shown(block));
        hash
    }

    fn child(&mut self, parent: B256) -> B256 {
        let number = self.block(parent).number + 1;
        let logs = [0, 1, 1, 3][usize::try_from(self.made % 4).unwrap()];
        self.make(number, parent, logs)
    }

    pub(super) fn block(&self, hash: B256) -> Block {
        self.blocks[&hash]
    }

    pub(super) fn find(&self, hash: B256) -> Option<Block> {
        self.blocks.get(&hash).copied()
    }

    pub(super) fn tip(&self) -> Block {
        self.block(self.tips[self.tips.len() - 1])
    }

    /// A block is added to the chain.
    pub(super) fn grow(&mut self) {
        let tip = self.tips[self.tips.len() - 1];
        let next = self.child(tip);
        self.tips.push(next);
    }

    /// The last `depth` blocks are replaced by `length` others.
    pub(super) fn reorganise(&mut self, depth: u64, length: u64) {
        let mut at = self.tip();
        for _ in 0..depth {
            at = self.block(at.parent);
        }
        let mut hash = at.hash;
        for _ in 0..length {
            hash = self.child(hash);
        }
        self.tips.push(hash);
    }

    /// The block of a branch at a height.
    pub(super) fn ancestor(&self, of: B256, number: u64) -> Option<Block> {
        let mut at = self.find(of)?;
        while at.number > number {
            at = self.find(at.parent)?;
        }
        (at.number == number).then_some(at)
    }

    pub(super) fn is_canonical(&self, hash: B256) -> bool {
        self.find(hash).is_some_and(|block| {
            self.ancestor(self.tip().hash, block.number)
                .is_some_and(|canonical| canonical.hash == hash)
        })
    }
}

/// What an upstream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// Nothing answers.
    Down,
    Hangs,
    Slow(u64),
    /// Follows so many moments late.
    Lags(usize),
    /// Answers from where it stood.
    Frozen(B256),
    /// Builds a branch of its own.
    Strays(B256),
    HidesLogs,
    /// Leaves out a log that neither the bloom nor the numbers of the others tell of, in receipts too.
    Forgets,
    /// Answers that cannot be read.
    Babbles,
    /// Another chain answers there.
    Stranger,
}

/// How an upstream gives receipts, on good days and bad ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receipts {
    ByHash,
    /// A hash is no number to it.
    ByNumber,
    Lacks,
}

pub(super) struct World {
    pub(super) truth: Truth,
    pub(super) moods: Vec<Mood>,
    pub(super) receipts: Vec<Receipts>,
}

pub(super) type Shared = Arc<Mutex<World>>;

pub(super) fn world(receipts: Vec<Receipts>) -> Shared {
    Arc::new(Mutex::new(World {
        truth: Truth::new(),
        moods: vec![Mood::Well; receipts.len()],
        receipts,
    }))
}

impl World {
    fn head(&self, index: usize) -> B256 {
        let tips = &self.truth.tips;
        let now = tips.len() - 1;
        match self.moods[index] {
            Mood::Frozen(at) | Mood::Strays(at) => at,
            Mood::Lags(by) => tips[now.saturating_sub(by)],
            _ => tips[now],
        }
    }

    /// Those on a branch of their own build on it.
    pub(super) fn strays_grow(&mut self) {
        for index in 0..self.moods.len() {
            if let Mood::Strays(at) = self.moods[index] {
                let next = self.truth.child(at);
                self.moods[index] = Mood::Strays(next);
            }
        }
    }

    pub(super) fn freeze(&mut self, index: usize) {
        self.moods[index] = Mood::Frozen(self.head(index));
    }

    pub(super) fn stray(&mut self, index: usize) {
        self.moods[index] = Mood::Strays(self.head(index));
    }

    /// Whether anybody shows a block at this height or above and answers.
    pub(super) fn anybody_at(&self, number: u64) -> bool {
        (0..self.moods.len()).any(|index| {
            matches!(
                self.moods[index],
                Mood::Well | Mood::Slow(_) | Mood::Lags(_) | Mood::HidesLogs | Mood::Forgets
            ) && self.truth.block(self.head(index)).number >= number
        })
    }

    /// Whether it gives the true receipts of whatever it has, and soon.
    pub(super) fn proves(&self, index: usize) -> bool {
        let well = match self.moods[index] {
            Mood::Well | Mood::HidesLogs => true,
            Mood::Slow(millis) => millis < 1000,
            _ => false,
        };
        well && self.receipts[index] != Receipts::Lacks
    }

    fn answer(&self, index: usize, request: &Value) -> String {
        let method = request["method"].as_str().unwrap_or_default();
        let id = &request["id"];
        match self.result(index, method, &request["params"]) {
            Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
            Err((code, message)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
                    .to_string()
            }
        }
    }

    /// A block as an endpoint shows it.
    fn show(&self, block: Option<Block>) -> String {
        match block {
            Some(block) => self.truth.shown[&block.hash].get().to_owned(),
            None => "null".to_owned(),
        }
    }

    fn result(&self, index: usize, method: &str, params: &Value) -> Result<String, (i64, String)> {
        let head = self.truth.block(self.head(index));
        let numbered = |tag: &Value| -> Option<Block> {
            let number = match tag.as_str()? {
                "latest" | "pending" => head.number,
                "safe" => head.number.saturating_sub(DEEPEST + 2),
                "finalized" => head.number.saturating_sub(DEEPEST + 8),
                "earliest" => 0,
                number => u64::from_str_radix(number.strip_prefix("0x")?, 16).ok()?,
            };
            self.truth.ancestor(head.hash, number)
        };
        Ok(match method {
            "eth_chainId" if self.moods[index] == Mood::Stranger => "\"0x5\"".to_owned(),
            "eth_chainId" => format!("\"{CHAIN:#x}\""),
            "web3_clientVersion" => "\"Simulated/v1\"".to_owned(),
            "eth_syncing" => "false".to_owned(),
            "eth_getBlockByNumber" => self.show(numbered(&params[0])),
            "eth_getBlockByHash" => {
                let hash: B256 = params[0].as_str().unwrap().parse().unwrap();
                let block = self.truth.find(hash);
                // What is above its head it has not got yet.
                self.show(block.filter(|it| it.number <= head.number))
            }
            // Says which block it was asked about.
            "eth_call" => match numbered(&params[1]) {
                Some(block) => format!("\"{}\"", block.hash),
                None => return Err((-32000, "header not found".to_owned())),
            },
            "eth_getLogs" => {
                let hash: B256 = params[0]["blockHash"].as_str().unwrap().parse().unwrap();
                let block = self.truth.find(hash).filter(|it| it.number <= head.number);
                let Some(block) = block else {
                    return Err((-32000, "unknown block".to_owned()));
                };
                match self.moods[index] {
                    Mood::HidesLogs => "[]".to_owned(),
                    mood => {
                        let logs = (0..given(block, mood)).map(|at| log(block, at));
                        logs.collect::<Value>().to_string()
                    }
                }
            }
            "eth_getBlockReceipts" if self.receipts[index] != Receipts::Lacks => {
                let asked = params[0].as_str().unwrap();
                let by_hash = asked.len() == 66;
                if by_hash && self.receipts[index] == Receipts::ByNumber {
                    let text = "number too large to fit in target type";
                    return Err((-32602, text.to_owned()));
                }
                let block = match by_hash {
                    true => self.truth.find(asked.parse().unwrap()),
                    false => numbered(&params[0]),
                };
                match block.filter(|it| it.number <= head.number) {
                    None => "null".to_owned(),
                    Some(block) => receipts_shown(block, given(block, self.moods[index])),
                }
            }
            _ => {
                let text = format!("the method {method} does not exist/is not available");
                return Err((-32601, text));
            }
        })
    }
}

/// How many of a block's logs an upstream in this mood gives.
fn given(block: Block, mood: Mood) -> u64 {
    match mood {
        Mood::Forgets if block.has_twins() => block.logs - 1,
        _ => block.logs,
    }
}

/// The numbers of the logs of each transaction of a block: all but the first are of the second one.
fn transactions(logs: u64) -> Vec<std::ops::Range<u64>> {
    let more = (logs > 1).then_some(1..logs);
    std::iter::once(0..logs.min(1)).chain(more).collect()
}

fn root(block: Block) -> B256 {
    let receipts: Vec<ReceiptEnvelope> = (1_u64..)
        .zip(transactions(block.logs))
        .map(|(count, logs)| {
            let receipt = Receipt {
                status: true.into(),
                cumulative_gas_used: 21_000 * count,
                logs: logs
                    .map(|at| Log {
                        address: ADDRESS,
                        data: LogData::new_unchecked(vec![topic(block, at)], Default::default()),
                    })
                    .collect(),
            };
            match count {
                1 => ReceiptEnvelope::Legacy(receipt.with_bloom()),
                _ => ReceiptEnvelope::Eip1559(receipt.with_bloom()),
            }
        })
        .collect();
    calculate_receipt_root(&receipts)
}

/// Receipts with so many of the block's logs.
fn receipts_shown(block: Block, given: u64) -> String {
    let all: Value = (0_u64..)
        .zip(transactions(block.logs))
        .map(|(index, logs)| {
            json!({
                "type": format!("{:#x}", index * 2),
                "status": "0x1",
                "cumulativeGasUsed": format!("{:#x}", 21_000 * (index + 1)),
                "blockHash": block.hash,
                "transactionHash": transaction(block, index),
                "transactionIndex": format!("{index:#x}"),
                "logs": logs.filter(|at| *at < given).map(|at| log(block, at)).collect::<Value>(),
            })
        })
        .collect();
    all.to_string()
}

fn transaction(block: Block, index: u64) -> B256 {
    let mut hash = block.hash;
    hash[30] ^= u8::try_from(index + 1).unwrap();
    hash
}

fn shown(block: Block) -> Box<RawValue> {
    let mut bloom = Bloom::ZERO;
    for at in 0..block.logs {
        bloom.accrue(BloomInput::Raw(ADDRESS.as_slice()));
        bloom.accrue(BloomInput::Raw(topic(block, at).as_slice()));
    }
    let shown = json!({
        "number": format!("{:#x}", block.number),
        "hash": block.hash,
        "parentHash": block.parent,
        "timestamp": format!("{:#x}", 1_700_000_000 + block.number),
        "gasLimit": "0x1c9c380",
        "logsBloom": bloom,
        "receiptsRoot": root(block),
        "transactions": [],
    });
    RawValue::from_string(shown.to_string()).unwrap()
}

const ADDRESS: Address = Address::repeat_byte(0x11);

/// The last two of several logs are alike.
fn topic(block: Block, at: u64) -> B256 {
    let mut topic = block.hash;
    topic[31] ^= u8::try_from(at.min(1) + 1).unwrap();
    topic
}

fn log(block: Block, at: u64) -> Value {
    let index = at.min(1);
    json!({
        "address": ADDRESS,
        "topics": [topic(block, at)],
        "data": "0x",
        "blockNumber": format!("{:#x}", block.number),
        "blockHash": block.hash,
        "transactionHash": transaction(block, index),
        "transactionIndex": format!("{index:#x}"),
        "logIndex": format!("{at:#x}"),
        "removed": false,
    })
}

/// The wire to one upstream.
pub(super) struct Wire {
    pub(super) world: Shared,
    pub(super) index: usize,
}

impl Wire {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

impl Scripted for Wire {
    fn post(&self, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let mood = self.world().moods[self.index];
        let delay = match mood {
            Mood::Down => return std::future::ready(Err("refused".to_owned())).boxed(),
            Mood::Hangs => return std::future::pending().boxed(),
            Mood::Slow(millis) => millis,
            _ => 1 + self.index as u64,
        };
        let (world, index) = (Arc::clone(&self.world), self.index);
        async move {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let world = world.lock().unwrap();
            if world.moods[index] == Mood::Babbles {
                return Ok(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":"));
            }
            let request: Value = serde_json::from_slice(&body).unwrap();
            let answer = match &request {
                Value::Array(batch) => {
                    let each: Vec<_> = batch.iter().map(|one| world.answer(index, one)).collect();
                    format!("[{}]", each.join(","))
                }
                one => world.answer(index, one),
            };
            Ok(answer.into())
        }
        .boxed()
    }
}
