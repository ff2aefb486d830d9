//! The typed questions a pool answers.

use std::ops::RangeInclusive;

use alloy::primitives::{Address, B256, Bytes, U256};

use crate::error::{CallError, RpcError};
use crate::head::{BlockTag, Head};
use crate::log::{Blocks, Log, LogFilter, WireLog};
use crate::pool::Pool;
use crate::quantity::{Big, Small};
use crate::refusal;
use crate::transaction::{
    CallRequest, FeeHistory, KnownTransaction, MaybeReceipt, Receipt, WireFeeHistory,
};

impl Pool {
    /// The newest block of the chain. While the pool is run, never one that is lower than one given
    /// before, unless the chain was reorganised or everybody who had it is gone for half a minute.
    pub async fn latest_block(&self) -> Result<Head, RpcError> {
        match self.known(BlockTag::Latest) {
            Some(head) => Ok(head),
            None => {
                self.ask("eth_getBlockByNumber", (BlockTag::Latest, false))
                    .await
            }
        }
    }

    /// None if there is no such block (yet).
    pub async fn block_by_number(
        &self,
        block: impl Into<BlockTag>,
    ) -> Result<Option<Head>, RpcError> {
        let tag = block.into();
        if let Some(head) = self.known(tag) {
            return Ok(Some(head));
        }
        match tag {
            BlockTag::Hash(hash) => self.ask("eth_getBlockByHash", (hash, false)).await,
            tag => self.ask("eth_getBlockByNumber", (tag, false)).await,
        }
    }

    /// None if the endpoints do not know the block.
    pub async fn block_by_hash(&self, hash: B256) -> Result<Option<Head>, RpcError> {
        self.block_by_number(BlockTag::Hash(hash)).await
    }

    /// The blocks of a range, in batches, in order; ends early at the first one that does not exist.
    pub async fn blocks_by_number(
        &self,
        range: RangeInclusive<u64>,
    ) -> Result<Vec<Head>, RpcError> {
        let tags: Vec<BlockTag> = range.map(BlockTag::Number).collect();
        let mut known: Vec<Option<Head>> = tags.iter().map(|tag| self.known(*tag)).collect();
        let unknown: Vec<usize> = (0..tags.len()).filter(|at| known[*at].is_none()).collect();
        let params: Vec<_> = unknown.iter().map(|at| (tags[*at], false)).collect();
        let asked = self.ask_many("eth_getBlockByNumber", &params).await?;
        for (at, head) in unknown.into_iter().zip(asked) {
            known[at] = head?;
        }
        Ok(known.into_iter().map_while(|head| head).collect())
    }

    /// The logs of mined blocks, in the endpoint's order (block, then position in it).
    ///
    /// [`RpcError::TooManyResults`] asks for a smaller range, and stands for a time-out too where
    /// there is more than one block; [`RpcError::UnknownBlock`] means that no asked endpoint has
    /// the block yet, or that the range goes beyond their newest one.
    pub async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, RpcError> {
        let several = matches!(filter.blocks, Blocks::Range(first, last) if last > first);
        let wire: Vec<WireLog> = match self.ask_logs(filter).await {
            Err(RpcError::Timeout { node, after, .. }) if several => {
                return Err(RpcError::TooManyResults {
                    node,
                    message: format!("no answer within {}", crate::rounded::Rounded(after)),
                });
            }
            Err(RpcError::TooLarge { node, limit, .. }) if several => {
                return Err(RpcError::TooManyResults {
                    node,
                    message: format!("the answer has more than {limit} bytes"),
                });
            }
            other => other?,
        };
        Ok(wire.into_iter().filter_map(WireLog::mined).collect())
    }

    /// Executes a call and gives back what it returned.
    pub async fn call(&self, tx: &CallRequest, block: BlockTag) -> Result<Bytes, CallError> {
        self.ask("eth_call", (tx, block))
            .await
            .map_err(refusal::of_call)
    }

    /// Executes several calls in batches; each has its own result.
    pub async fn call_many(
        &self,
        calls: Vec<CallRequest>,
        block: BlockTag,
    ) -> Result<Vec<Result<Bytes, CallError>>, RpcError> {
        let params: Vec<_> = calls.iter().map(|call| (call, block)).collect();
        let answers = self.ask_many("eth_call", &params).await?;
        Ok(answers
            .into_iter()
            .map(|answer| answer.map_err(refusal::of_call))
            .collect())
    }

    /// The gas a transaction would need at the latest block.
    pub async fn estimate_gas(&self, tx: &CallRequest) -> Result<u64, CallError> {
        self.ask("eth_estimateGas", [tx])
            .await
            .map(|Small(gas)| gas)
            .map_err(refusal::of_call)
    }

    /// Wei per gas, as the endpoint suggests for legacy transactions.
    pub async fn gas_price(&self) -> Result<u128, RpcError> {
        self.ask("eth_gasPrice", [(); 0]).await.map(|Big(wei)| wei)
    }

    /// Wei per gas, the tip the endpoint suggests.
    pub async fn max_priority_fee_per_gas(&self) -> Result<u128, RpcError> {
        self.ask("eth_maxPriorityFeePerGas", [(); 0])
            .await
            .map(|Big(wei)| wei)
    }

    /// Base fees and tips of the last `blocks` blocks up to `newest`, tips at these percentiles.
    pub async fn fee_history(
        &self,
        blocks: u64,
        newest: BlockTag,
        percentiles: &[f64],
    ) -> Result<FeeHistory, RpcError> {
        let wire: WireFeeHistory = self
            .ask(
                "eth_feeHistory",
                (format!("{blocks:#x}"), newest, percentiles),
            )
            .await?;
        Ok(wire.into())
    }

    /// The native balance in wei.
    pub async fn balance(&self, account: Address) -> Result<U256, RpcError> {
        self.ask("eth_getBalance", (account, BlockTag::Latest))
            .await
    }

    /// Native balances in wei, one batch, in the order of the accounts.
    pub async fn balances(&self, accounts: &[Address]) -> Result<Vec<U256>, RpcError> {
        let params: Vec<_> = accounts
            .iter()
            .map(|account| (account, BlockTag::Latest))
            .collect();
        self.ask_many("eth_getBalance", &params)
            .await?
            .into_iter()
            .collect()
    }

    /// How many transactions the account has had mined (`Latest`) or mined and pooled (`Pending`).
    pub async fn transaction_count(&self, account: Address, at: BlockTag) -> Result<u64, RpcError> {
        self.ask("eth_getTransactionCount", (account, at))
            .await
            .map(|Small(count)| count)
    }

    /// Receipts in batches, in the order of the hashes; none for what is not mined.
    pub async fn receipts(&self, hashes: &[B256]) -> Result<Vec<Option<Receipt>>, RpcError> {
        let params: Vec<_> = hashes.iter().map(|hash| [hash]).collect();
        let answers = self.ask_many("eth_getTransactionReceipt", &params).await?;
        answers
            .into_iter()
            .map(|answer| answer.map(|MaybeReceipt(receipt)| receipt))
            .collect()
    }

    /// None if the endpoint does not know the transaction, neither mined nor pooled.
    pub async fn transaction_by_hash(
        &self,
        hash: B256,
    ) -> Result<Option<KnownTransaction>, RpcError> {
        self.ask("eth_getTransactionByHash", [hash]).await
    }

    /// The code at an address; empty for an ordinary account.
    pub async fn code(&self, address: Address) -> Result<Bytes, RpcError> {
        self.ask("eth_getCode", (address, BlockTag::Latest)).await
    }

    /// What an endpoint calls itself.
    pub async fn client_version(&self) -> Result<String, RpcError> {
        self.ask("web3_clientVersion", [(); 0]).await
    }

    /// Any question, for what has no function of its own.
    pub async fn request_raw(
        &self,
        method: &str,
        params: serde_json::Value,
    ) -> Result<serde_json::Value, RpcError> {
        self.ask(method, params).await
    }
}
