//! What one can ask of a running anvil, and do to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use alloy::{
    primitives::{Address, B256, Bytes, U64, U256},
    rpc::types::{Block, Transaction, TransactionReceipt},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::Options;
use crate::until;

/// Enough for any call our tests make; a smaller figure than the whole block lets many share one.
const GAS: u64 = 2_000_000;
const GAS_TO_DEPLOY: u64 = 8_000_000;
const LEGACY_PRICE_WEI: u64 = 2_000_000_000;
const BEFORE_BASE_FEES: [&str; 4] = ["byzantium", "istanbul", "muirglacier", "berlin"];

/// A handle on a running chain; clones speak to the same one.
#[derive(Debug, Clone)]
pub struct Chain {
    http: reqwest::Client,
    host: String,
    /// Whether a transaction that was sent is mined without further ado.
    mines_by_itself: Arc<AtomicBool>,
    accounts: Arc<Vec<Address>>,
    /// Named where the chain knows no base fee: its own signer would offer one all the same.
    gas_price: Option<U256>,
}

/// What the chain said no with.
#[derive(Debug, Clone, Deserialize)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
    pub data: Option<Value>,
}

/// A call of a contract, not sent yet.
#[derive(Debug, Clone)]
pub struct Call {
    pub to: Address,
    pub data: Bytes,
    /// Limit of the transaction.
    pub gas: u64,
    pub value_wei: U256,
}

impl Call {
    pub fn new(to: Address, data: impl Into<Bytes>) -> Self {
        Self {
            to,
            data: data.into(),
            gas: GAS,
            value_wei: U256::ZERO,
        }
    }
}

impl Chain {
    pub(super) async fn new(host: String, options: &Options) -> Self {
        let mut chain = Self {
            http: crate::http(),
            host,
            mines_by_itself: Arc::new((options.automine || options.block_time.is_some()).into()),
            accounts: Arc::default(),
            gas_price: options
                .hardfork
                .is_some_and(|name| BEFORE_BASE_FEES.contains(&name))
                .then_some(U256::from(LEGACY_PRICE_WEI)),
        };
        let accounts = until("anvil answers", || async {
            chain
                .try_rpc::<Vec<Address>>("eth_accounts", json!([]))
                .await
                .ok()
        });
        chain.accounts = Arc::new(accounts.await);
        chain
    }

    pub fn http_url(&self) -> String {
        format!("http://{}", self.host)
    }

    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.host)
    }

    /// Ten accounts with 10,000 ETH each that the chain signs for. The first one owns our contracts.
    pub fn accounts(&self) -> &[Address] {
        &self.accounts
    }

    /// Any JSON-RPC call.
    ///
    /// # Panics
    /// When the chain says no or the answer is not a `T`.
    pub async fn rpc<T: DeserializeOwned>(&self, method: &str, params: impl Serialize) -> T {
        self.try_rpc(method, params)
            .await
            .unwrap_or_else(|error| panic!("{method}: {error:?}"))
    }

    /// Any JSON-RPC call that may be refused; an unreachable chain is a refusal with code 0.
    pub async fn try_rpc<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, RpcError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            result: Value,
            error: Option<RpcError>,
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Result<Answer, reqwest::Error> = async {
            self.http
                .post(self.http_url())
                .json(&body)
                .send()
                .await?
                .json()
                .await
        }
        .await;
        match answer {
            Ok(Answer {
                error: Some(error), ..
            }) => Err(error),
            Ok(Answer { result, .. }) => {
                Ok(serde_json::from_value(result)
                    .unwrap_or_else(|error| panic!("{method}: {error}")))
            }
            Err(error) => Err(RpcError {
                code: 0,
                message: format!("{error:?}"),
                data: None,
            }),
        }
    }

    // ---- looking

    pub async fn block_number(&self) -> u64 {
        self.rpc::<U64>("eth_blockNumber", json!([])).await.to()
    }

    /// A block with its whole transactions.
    pub async fn block(&self, number: u64) -> Option<Block> {
        self.rpc("eth_getBlockByNumber", json!([U64::from(number), true]))
            .await
    }

    /// Seconds since 1970 according to the newest block.
    pub async fn timestamp(&self) -> u64 {
        let newest: Block = self
            .rpc("eth_getBlockByNumber", json!(["latest", false]))
            .await;
        newest.header.timestamp
    }

    /// Transactions of this account that were mined: the nonce of its next one.
    pub async fn nonce(&self, of: Address) -> u64 {
        self.rpc::<U64>("eth_getTransactionCount", json!([of, "latest"]))
            .await
            .to()
    }

    pub async fn balance_wei(&self, of: Address) -> U256 {
        self.rpc("eth_getBalance", json!([of, "latest"])).await
    }

    pub async fn receipt(&self, transaction: B256) -> Option<TransactionReceipt> {
        self.rpc("eth_getTransactionReceipt", json!([transaction]))
            .await
    }

    pub async fn transaction(&self, hash: B256) -> Option<Transaction> {
        self.rpc("eth_getTransactionByHash", json!([hash])).await
    }

    /// The signed bytes of a transaction, to mine it again after a [`Chain::reorg`].
    pub async fn raw_transaction(&self, hash: B256) -> Bytes {
        self.rpc("eth_getRawTransactionByHash", json!([hash])).await
    }

    /// Every mined transaction of this account, oldest first, with its receipt. Walks the whole chain.
    pub async fn transactions_from(&self, from: Address) -> Vec<TransactionReceipt> {
        let mut found = Vec::new();
        for number in 0..=self.block_number().await {
            let receipts: Option<Vec<TransactionReceipt>> = self
                .rpc("eth_getBlockReceipts", json!([U64::from(number)]))
                .await;
            found.extend(
                receipts
                    .into_iter()
                    .flatten()
                    .filter(|receipt| receipt.from == from),
            );
        }
        found
    }

    /// Transactions that wait to be mined, and those that cannot be yet.
    pub async fn pending_transactions(&self) -> usize {
        #[derive(Deserialize)]
        struct Pool {
            pending: U64,
            queued: U64,
        }
        let pool: Pool = self.rpc("txpool_status", json!([])).await;
        (pool.pending + pool.queued).to()
    }

    /// What a call returns at the newest block.
    pub async fn call(&self, call: &Call) -> Result<Bytes, RpcError> {
        self.try_rpc(
            "eth_call",
            json!([{ "to": call.to, "data": call.data }, "latest"]),
        )
        .await
    }

    // ---- sending from an account that the chain signs for

    /// Puts a transaction into the pool and returns its hash.
    pub async fn send(&self, from: Address, call: &Call) -> Result<B256, RpcError> {
        let transaction = json!({
            "from": from, "to": call.to, "data": call.data, "gas": U64::from(call.gas), "value": call.value_wei,
        });
        self.send_transaction(transaction).await
    }

    async fn send_transaction(&self, mut transaction: Value) -> Result<B256, RpcError> {
        if let Some(price) = self.gas_price {
            transaction["gasPrice"] = json!(price);
        }
        self.try_rpc("eth_sendTransaction", json!([transaction]))
            .await
    }

    /// Sends and returns the receipt, whatever its status; mines a block where none would come by itself.
    pub async fn execute(&self, from: Address, call: &Call) -> TransactionReceipt {
        let hash = self.send(from, call).await;
        self.mined(hash.unwrap_or_else(|error| panic!("refused: {error:?}")))
            .await
    }

    /// [`Chain::execute`] for what has to succeed.
    pub async fn must_execute(&self, from: Address, call: &Call) -> TransactionReceipt {
        let receipt = self.execute(from, call).await;
        if !receipt.status() {
            let reason = self.call(call).await;
            panic!("a call of {} was reverted: {reason:?}", call.to);
        }
        receipt
    }

    /// Creates a contract from its code with encoded constructor arguments.
    pub async fn deploy(&self, from: Address, code: &Bytes, arguments: &[u8]) -> Address {
        let data = Bytes::from([code, arguments].concat());
        let transaction = json!({ "from": from, "data": data, "gas": U64::from(GAS_TO_DEPLOY) });
        let hash = self.send_transaction(transaction).await;
        let hash = hash.unwrap_or_else(|error| panic!("refused: {error:?}"));
        let receipt = self.mined(hash).await;
        assert!(receipt.status(), "the constructor was reverted");
        receipt
            .contract_address
            .expect("a transaction without receiver creates a contract")
    }

    /// The receipt of a transaction that was sent; mines a block where none would come by itself.
    pub async fn mined(&self, transaction: B256) -> TransactionReceipt {
        if !self.mines_by_itself.load(Relaxed) {
            self.mine(1).await;
        }
        until("the transaction is mined", async || {
            self.receipt(transaction).await
        })
        .await
    }

    // ---- time and blocks

    /// Mines blocks at once, the first of them with what waits in the pool.
    pub async fn mine(&self, blocks: u64) {
        self.rpc::<Value>("anvil_mine", json!([U64::from(blocks)]))
            .await;
    }

    pub async fn set_automine(&self, on: bool) {
        self.rpc::<Value>("evm_setAutomine", json!([on])).await;
        self.mines_by_itself.store(on, Relaxed);
    }

    /// Blocks at this interval from now on (whole seconds), or none by themselves.
    pub async fn set_interval(&self, interval: Option<Duration>) {
        let seconds = interval.map_or(0, |interval| interval.as_secs().max(1));
        self.rpc::<Value>("evm_setIntervalMining", json!([seconds]))
            .await;
        self.mines_by_itself.store(seconds > 0, Relaxed);
    }

    /// No block until [`Chain::mine`] or one of the two above.
    pub async fn hold_blocks(&self) {
        self.set_automine(false).await;
        self.set_interval(None).await;
    }

    /// Moves the clock of the blocks to come.
    pub async fn increase_time(&self, by: Duration) {
        self.rpc::<Value>("evm_increaseTime", json!([by.as_secs()]))
            .await;
    }

    /// Seconds since 1970 of the next block; must be later than the newest one's.
    pub async fn set_next_block_timestamp(&self, timestamp: u64) {
        self.rpc::<Value>("evm_setNextBlockTimestamp", json!([timestamp]))
            .await;
    }

    pub async fn set_next_block_base_fee(&self, wei: u64) {
        self.rpc::<Value>("anvil_setNextBlockBaseFeePerGas", json!([U64::from(wei)]))
            .await;
    }

    /// Remembers the present state; good for one [`Chain::revert`].
    pub async fn snapshot(&self) -> U256 {
        self.rpc("evm_snapshot", json!([])).await
    }

    /// Goes back to a snapshot, blocks and all: for a node that looks on, a reorganisation to a shorter chain.
    pub async fn revert(&self, snapshot: U256) {
        assert!(
            self.rpc::<bool>("evm_revert", json!([snapshot])).await,
            "no such snapshot"
        );
    }

    /// Replaces the newest `depth` blocks by as many other ones: empty but for these signed transactions, each with
    /// the index (from 0) of the new block it goes into. What was in the old blocks is forgotten, not pooled again.
    pub async fn reorg(&self, depth: u64, transactions: &[(Bytes, u64)]) {
        self.rpc::<Value>("anvil_reorg", json!([depth, transactions]))
            .await;
    }

    /// Takes a transaction that was not mined yet out of the pool; says whether it was there.
    pub async fn drop_transaction(&self, hash: B256) -> bool {
        self.rpc::<Option<B256>>("anvil_dropTransaction", json!([hash]))
            .await
            .is_some()
    }

    pub async fn drop_all_transactions(&self) {
        self.rpc::<Value>("anvil_dropAllTransactions", json!([]))
            .await;
    }

    // ---- accounts

    pub async fn set_balance(&self, of: Address, wei: U256) {
        self.rpc::<Value>("anvil_setBalance", json!([of, wei]))
            .await;
    }

    pub async fn set_nonce(&self, of: Address, nonce: u64) {
        self.rpc::<Value>("anvil_setNonce", json!([of, U64::from(nonce)]))
            .await;
    }

    /// Lets anybody send from this account, a contract for example.
    pub async fn impersonate(&self, account: Address) {
        self.rpc::<Value>("anvil_impersonateAccount", json!([account]))
            .await;
    }
}
