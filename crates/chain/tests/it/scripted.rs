//! A chain whose every block the test decides, behind an endpoint that does as it is told.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use alloy::primitives::{Bloom, BloomInput};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use dodona_model::{Address, B256, BlockRef, ChainId};
use serde_json::{Value, json};
use url::Url;

pub(crate) const CHAIN: ChainId = 1337;

/// A log to be: who says it, and something to tell it from others.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) by: Address,
    pub(crate) topic0: B256,
    pub(crate) what: u8,
}

/// A request announced by an oracle contract.
pub(crate) fn request(by: Address, what: u8) -> Said {
    Said {
        by,
        topic0: dodona_model::oracle::ORACLE_REQUEST,
        what,
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Block {
    at: BlockRef,
    parent: B256,
    logs: Vec<Said>,
}

/// A branch, from the first block to its newest.
#[derive(Debug, Clone)]
pub(crate) struct Branch(Vec<Block>);

#[derive(Default)]
struct Script {
    branch: Vec<Block>,
    /// Every block there ever was: a real client knows side branches by hash too.
    known: HashMap<B256, Block>,
    made: u64,
    /// Tells the blocks of this chain from those of every other one.
    salt: u16,
    finalized: Option<u64>,
    widest_range: Option<u64>,
    without_logs_of: HashSet<B256>,
    /// Blocks whose logs are left out of so many more answers.
    late_logs_of: HashMap<B256, u32>,
    /// What `latest` is said to be, where that is not the truth.
    pretends: Option<u64>,
    asked: Vec<(String, Value)>,
}

/// The chain and its endpoint; the endpoint ends when dropped.
pub(crate) struct Scripted {
    url: Url,
    script: Arc<Mutex<Script>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Scripted {
    /// A chain of this many empty blocks above its first one.
    pub(crate) async fn of(height: u64) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let script = Arc::new(Mutex::new(Script {
            salt: address.port(),
            ..Script::default()
        }));
        let app = Router::new()
            .route("/", post(serve))
            .with_state(Arc::clone(&script));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let chain = Self {
            url: url.parse().unwrap(),
            script,
            serving,
        };
        chain.mine(height + 1);
        chain
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    // ---- what happens

    pub(crate) fn mine(&self, blocks: u64) {
        for _ in 0..blocks {
            self.mine_with(&[]);
        }
    }

    pub(crate) fn mine_with(&self, logs: &[Said]) -> BlockRef {
        self.lock().add(logs.to_vec())
    }

    /// Replaces the newest blocks by as many empty ones.
    pub(crate) fn reorg(&self, depth: u64) {
        self.drop_newest(depth);
        self.mine(depth);
    }

    pub(crate) fn drop_newest(&self, depth: u64) {
        let mut script = self.lock();
        let left = script.branch.len() - usize::try_from(depth).unwrap();
        script.branch.truncate(left);
    }

    pub(crate) fn branch(&self) -> Branch {
        Branch(self.lock().branch.clone())
    }

    /// The chain changes its mind back.
    pub(crate) fn show(&self, branch: &Branch) {
        self.lock().branch.clone_from(&branch.0);
    }

    pub(crate) fn finalize(&self, number: u64) {
        self.lock().finalized = Some(number);
    }

    // ---- how the endpoint behaves

    /// Wider ranges of logs are refused; `None`: any is fine.
    pub(crate) fn takes_ranges_of(&self, blocks: Option<u64>) {
        self.lock().widest_range = blocks;
    }

    /// Shows the block and says that it does not know it when asked for its logs.
    pub(crate) fn has_no_logs_of(&self, block: BlockRef) {
        self.lock().without_logs_of.insert(block.hash);
    }

    /// Leaves the block's logs out of this many answers, as a client does whose log index is late.
    pub(crate) fn indexes_late(&self, block: BlockRef, answers: u32) {
        self.lock().late_logs_of.insert(block.hash, answers);
    }

    pub(crate) fn has_all_logs(&self) {
        self.lock().late_logs_of.clear();
        self.lock().without_logs_of.clear();
    }

    /// Shows an older block as its latest, as an endpoint does that is behind; `None`: the truth.
    pub(crate) fn pretends_to_be_at(&self, number: Option<u64>) {
        self.lock().pretends = number;
    }

    // ---- what there is to see

    pub(crate) fn head(&self) -> BlockRef {
        self.lock().branch.last().unwrap().at
    }

    pub(crate) fn at(&self, number: u64) -> BlockRef {
        self.lock().branch[usize::try_from(number).unwrap()].at
    }

    /// Block number and mark of everything that was said on the present branch, in order.
    pub(crate) fn said(&self) -> Vec<(u64, u8)> {
        let script = self.lock();
        let blocks = script.branch.iter();
        blocks
            .flat_map(|block| block.logs.iter().map(|said| (block.at.number, said.what)))
            .collect()
    }

    /// Parameters of the questions of this kind since the last look, oldest first.
    pub(crate) fn asked(&self, method: &str) -> Vec<Value> {
        let mut script = self.lock();
        let (these, others) = std::mem::take(&mut script.asked)
            .into_iter()
            .partition(|(asked, _)| asked == method);
        script.asked = others;
        let these: Vec<(String, Value)> = these;
        these.into_iter().map(|(_, params)| params).collect()
    }
}

impl Script {
    fn add(&mut self, logs: Vec<Said>) -> BlockRef {
        self.made += 1;
        let number = self.branch.len() as u64;
        let mut hash = B256::with_last_byte(1);
        hash[..8].copy_from_slice(&self.made.to_be_bytes());
        hash[8..16].copy_from_slice(&number.to_be_bytes());
        hash[16..18].copy_from_slice(&self.salt.to_be_bytes());
        let block = Block {
            at: BlockRef { number, hash },
            parent: self.branch.last().map_or(B256::ZERO, |below| below.at.hash),
            logs,
        };
        self.known.insert(hash, block.clone());
        self.branch.push(block);
        BlockRef { number, hash }
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, (i64, &'static str)> {
        match method {
            "eth_chainId" => Ok(json!(format!("{CHAIN:#x}"))),
            "web3_clientVersion" => Ok(json!("scripted/1")),
            "eth_getBlockByNumber" => Ok(header(self.by_tag(&params[0]))),
            "eth_getBlockByHash" => Ok(header(self.known.get(&hash(&params[0])))),
            "eth_getLogs" => self.logs(&params[0]),
            _ => Err((-32601, "the method does not exist")),
        }
    }

    fn by_tag(&self, tag: &Value) -> Option<&Block> {
        let newest = self.branch.len() as u64 - 1;
        let number = match tag.as_str().unwrap() {
            "latest" => self.pretends.unwrap_or(newest),
            "safe" | "finalized" => self.finalized?,
            number => quantity(number),
        };
        self.branch.get(usize::try_from(number).unwrap())
    }

    fn logs(&mut self, filter: &Value) -> Result<Value, (i64, &'static str)> {
        const UNKNOWN: (i64, &str) = (-32000, "unknown block");
        let blocks: Vec<&Block> = match filter.get("blockHash") {
            Some(wanted) => {
                let wanted = hash(wanted);
                if self.without_logs_of.contains(&wanted) {
                    return Err(UNKNOWN);
                }
                vec![self.known.get(&wanted).ok_or(UNKNOWN)?]
            }
            None => {
                let number = |key: &str| quantity(filter[key].as_str().unwrap());
                let (from, to) = (number("fromBlock"), number("toBlock"));
                if self.widest_range.is_some_and(|most| to - from + 1 > most) {
                    return Err((-32005, "query returned more than 10000 results"));
                }
                let range = usize::try_from(from).unwrap()..=usize::try_from(to).unwrap();
                self.branch.get(range).ok_or(UNKNOWN)?.iter().collect()
            }
        };
        let mut late = Vec::new();
        for block in &blocks {
            if let Some(answers) = self.late_logs_of.get_mut(&block.at.hash)
                && *answers > 0
            {
                *answers -= 1;
                late.push(block.at.hash);
            }
        }
        let list = |key: &str| -> Vec<String> {
            let list = filter.get(key).cloned().unwrap_or(json!([]));
            serde_json::from_value(list).unwrap()
        };
        let addresses: Vec<Address> = list("address")
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let topics0: Vec<B256> =
            serde_json::from_value(filter["topics"][0].clone()).unwrap_or_default();
        let mut found = Vec::new();
        for block in blocks {
            for (index, said) in block.logs.iter().enumerate() {
                let wanted = (addresses.is_empty() || addresses.contains(&said.by))
                    && (topics0.is_empty() || topics0.contains(&said.topic0));
                if wanted && !late.contains(&block.at.hash) {
                    found.push(log(block, index, said));
                }
            }
        }
        Ok(Value::Array(found))
    }
}

fn quantity(text: &str) -> u64 {
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

fn hash(value: &Value) -> B256 {
    value.as_str().unwrap().parse().unwrap()
}

fn header(block: Option<&Block>) -> Value {
    let Some(block) = block else {
        return Value::Null;
    };
    json!({
        "number": format!("{:#x}", block.at.number),
        "hash": block.at.hash,
        "parentHash": block.parent,
        "timestamp": format!("{:#x}", 1_700_000_000 + 12 * block.at.number),
        "baseFeePerGas": "0x3b9aca00",
        "gasLimit": "0x1c9c380",
        "logsBloom": bloom(block),
    })
}

fn bloom(block: &Block) -> Bloom {
    let mut bloom = Bloom::default();
    for said in &block.logs {
        for bytes in [
            said.by.as_slice(),
            said.topic0.as_slice(),
            B256::with_last_byte(said.what).as_slice(),
        ] {
            bloom.accrue(BloomInput::Raw(bytes));
        }
    }
    bloom
}

fn log(block: &Block, index: usize, said: &Said) -> Value {
    json!({
        "address": said.by,
        "topics": [said.topic0, B256::with_last_byte(said.what)],
        "data": format!("0x{:02x}", said.what),
        "blockNumber": format!("{:#x}", block.at.number),
        "blockHash": block.at.hash,
        "transactionHash": B256::with_last_byte(said.what),
        "transactionIndex": format!("{index:#x}"),
        "logIndex": format!("{index:#x}"),
        "removed": false,
    })
}

async fn serve(State(script): State<Arc<Mutex<Script>>>, body: Bytes) -> String {
    let mut script = script.lock().unwrap();
    let mut reply = |question: &Value| {
        let method = question["method"].as_str().unwrap().to_owned();
        let answer = script.answer(&method, &question["params"]);
        script.asked.push((method, question["params"].clone()));
        match answer {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": question["id"], "result": result }),
            Err((code, message)) => json!({
                "jsonrpc": "2.0", "id": question["id"], "error": { "code": code, "message": message },
            }),
        }
    };
    match serde_json::from_slice(&body).unwrap() {
        Value::Array(batch) => Value::Array(batch.iter().map(&mut reply).collect()).to_string(),
        question => reply(&question).to_string(),
    }
}
