//! An aggregator that does as it is told, behind an endpoint that may be away.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, I256, U256, hex};
use alloy::sol;
use alloy::sol_types::{SolCall, SolEvent};
use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use dodona_rpc::{NodeConfig, Pool, PoolConfig};
use dodona_store::logs::Log;
use serde_json::{Value, json};

use crate::scene::{CHAIN, KEY, bare_log};

pub(crate) const FEED: Address = Address::repeat_byte(0xfe);
pub(crate) const FLAGS: Address = Address::repeat_byte(0xf1);
/// Another oracle.
pub(crate) const OTHER: Address = Address::repeat_byte(0x07);

sol! {
    interface Aggregator {
        event NewRound(uint256 indexed roundId, address indexed startedBy, uint256 startedAt);
        event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);
        event FlagRaised(address indexed subject);

        function getOracles() external view returns (address[] memory);
        function minSubmissionValue() external view returns (int256);
        function maxSubmissionValue() external view returns (int256);
        function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
        function oracleRoundState(address oracle, uint32 queriedRoundId) external view
            returns (bool, uint32, int256, uint64, uint64, uint128, uint8, uint128);
        function getFlags(address[] calldata subjects) external view returns (bool[] memory);
        function submit(uint256 roundId, int256 submission) external;
    }
}

/// What the aggregator says now.
#[derive(Debug, Clone)]
struct Script {
    away: bool,
    open: bool,
    round: u32,
    /// Seconds since 1970; 0: nobody began the round.
    began: u64,
    last_submission: i64,
    payment_juels: u64,
    available_juels: u64,
    latest: Option<i64>,
    flagged: bool,
    looks: Vec<u32>,
}

/// An aggregator whose oracles are [`KEY`] and [`OTHER`]; it takes answers from 1 to a million.
pub(crate) struct Feed {
    pub(crate) pool: Pool,
    script: Arc<Mutex<Script>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Feed {
    /// Round 5 was answered with 100 by everybody; it pays 10 juels and can pay a thousand times.
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script {
            away: false,
            open: true,
            round: 6,
            began: 0,
            last_submission: 100,
            payment_juels: 10,
            available_juels: 20_000,
            latest: Some(100),
            flagged: false,
            looks: Vec::new(),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/", post(serve))
            .with_state(Arc::clone(&script));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        drop(dodona_testkit::http());
        let config = PoolConfig {
            request_timeout: Duration::from_secs(5),
            ..PoolConfig::new(CHAIN, vec![NodeConfig::primary("a", url.parse().unwrap())])
        };
        Self {
            pool: Pool::new(config).unwrap(),
            script,
            serving,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    // ---- what happens

    /// Somebody begins a round: the log, and from now on the round is the one to answer.
    pub(crate) fn begins(&self, round: u32, by: Address) -> Log {
        let began = 1_700_000_000 + u64::from(round);
        let mut script = self.lock();
        (script.open, script.round, script.began) = (true, round, began);
        let event = Aggregator::NewRound {
            roundId: U256::from(round),
            startedBy: by,
            startedAt: U256::from(began),
        };
        let topics = event.encode_topics();
        Log {
            address: FEED,
            ..bare_log(
                topics.into_iter().map(|topic| topic.0).collect(),
                event.encode_data().into(),
            )
        }
    }

    /// The round takes no answers any more.
    pub(crate) fn closes(&self) {
        self.lock().open = false;
    }

    pub(crate) fn pays(&self, juels: u64) {
        self.lock().payment_juels = juels;
    }

    pub(crate) fn holds(&self, juels: u64) {
        self.lock().available_juels = juels;
    }

    /// Raises or lowers the flags: the log that says so.
    pub(crate) fn flag(&self, raised: bool) -> Log {
        self.lock().flagged = raised;
        let lowered = dodona_model::flux::FLAG_LOWERED;
        let topic = if raised {
            Aggregator::FlagRaised::SIGNATURE_HASH
        } else {
            lowered
        };
        Log {
            address: FLAGS,
            ..bare_log(vec![topic, FEED.into_word()], Bytes::new())
        }
    }

    /// The endpoint answers nothing until it is back.
    pub(crate) fn is_away(&self, away: bool) {
        self.lock().away = away;
    }

    /// The rounds it was asked about since the last look.
    pub(crate) fn looks(&self) -> Vec<u32> {
        std::mem::take(&mut self.lock().looks)
    }
}

/// Round and answer of a submission's call data.
pub(crate) fn submission(payload: &[u8]) -> (u64, i64) {
    let call = Aggregator::submitCall::abi_decode(payload).unwrap();
    (
        call.roundId.to(),
        i64::try_from(call.submission).expect("a number of ours fits"),
    )
}

impl Script {
    fn called(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let selector: [u8; 4] = data.get(..4)?.try_into().ok()?;
        let number = |n: i64| I256::try_from(n).expect("every i64 fits");
        Some(match selector {
            Aggregator::getOraclesCall::SELECTOR => {
                Aggregator::getOraclesCall::abi_encode_returns(&vec![KEY, OTHER])
            }
            Aggregator::minSubmissionValueCall::SELECTOR => {
                Aggregator::minSubmissionValueCall::abi_encode_returns(&number(1))
            }
            Aggregator::maxSubmissionValueCall::SELECTOR => {
                Aggregator::maxSubmissionValueCall::abi_encode_returns(&number(1_000_000))
            }
            Aggregator::latestRoundDataCall::SELECTOR => {
                let answer = number(self.latest?);
                words(&[
                    U256::from(5),
                    answer.into_raw(),
                    U256::from(1_699_999_000),
                    U256::from(1_699_999_001),
                    U256::from(5),
                ])
            }
            Aggregator::getFlagsCall::SELECTOR => {
                let asked = Aggregator::getFlagsCall::abi_decode(data).ok()?;
                let raised = vec![self.flagged; asked.subjects.len()];
                Aggregator::getFlagsCall::abi_encode_returns(&raised)
            }
            Aggregator::oracleRoundStateCall::SELECTOR => {
                let asked = Aggregator::oracleRoundStateCall::abi_decode(data).ok()?;
                self.looks.push(asked.queriedRoundId);
                let current =
                    matches!(asked.queriedRoundId, 0) || asked.queriedRoundId == self.round;
                let round = if asked.queriedRoundId == 0 {
                    self.round
                } else {
                    asked.queriedRoundId
                };
                words(&[
                    U256::from(u8::from(self.open && current)),
                    U256::from(round),
                    number(self.last_submission).into_raw(),
                    U256::from(self.began),
                    U256::ZERO,
                    U256::from(self.available_juels),
                    U256::from(2),
                    U256::from(self.payment_juels),
                ])
            }
            _ => return None,
        })
    }

    fn answer(&mut self, question: &Value) -> Value {
        let params = &question["params"];
        let result = match question["method"].as_str().unwrap() {
            "eth_chainId" => json!(format!("{CHAIN:#x}")),
            "web3_clientVersion" => json!("scripted/1"),
            "eth_getBlockByNumber" => json!({
                "number": "0x64", "hash": B256::repeat_byte(1), "parentHash": B256::repeat_byte(2),
                "timestamp": "0x6553f100", "baseFeePerGas": "0x1", "gasLimit": "0x1c9c380",
            }),
            "eth_call" => {
                let data = params[0]["data"].as_str().or(params[0]["input"].as_str());
                let data = hex::decode(data.unwrap()).unwrap();
                match self.called(&data) {
                    Some(words) => json!(hex::encode_prefixed(words)),
                    None => {
                        return json!({ "jsonrpc": "2.0", "id": question["id"], "error": { "code": 3, "message": "execution reverted", "data": "0x" } });
                    }
                }
            }
            other => {
                return json!({ "jsonrpc": "2.0", "id": question["id"], "error": { "code": -32601, "message": format!("the method {other} does not exist") } });
            }
        };
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
    }
}

fn words(words: &[U256]) -> Vec<u8> {
    words
        .iter()
        .flat_map(|word| word.to_be_bytes::<32>())
        .collect()
}

async fn serve(State(script): State<Arc<Mutex<Script>>>, body: Body) -> (StatusCode, String) {
    let mut script = script.lock().unwrap();
    if script.away {
        return (StatusCode::SERVICE_UNAVAILABLE, "away".to_owned());
    }
    let answer = match serde_json::from_slice(&body).unwrap() {
        Value::Array(batch) => Value::Array(
            batch
                .iter()
                .map(|question| script.answer(question))
                .collect(),
        ),
        question => script.answer(&question),
    };
    (StatusCode::OK, answer.to_string())
}
