use std::future::Future;
use std::pin::Pin;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use anyhow::{Context, anyhow};
use dodona_model::ChainId;
use dodona_store::txs::{Fee, NewAttempt};

/// Whoever holds the private keys.
pub trait Signer: Send + Sync + 'static {
    /// Signs a 32-byte hash with `key`; an error says in words why not.
    fn sign_hash(
        &self,
        key: Address,
        hash: B256,
    ) -> Pin<Box<dyn Future<Output = Result<Signature, String>> + Send + '_>>;
}

/// A transaction ready to be signed.
#[derive(Debug, Clone)]
pub(crate) struct Unsigned {
    pub(crate) tx_id: i64,
    pub(crate) chain: ChainId,
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) payload: Bytes,
    pub(crate) payload_version: u32,
    pub(crate) value_wei: U256,
    pub(crate) gas_limit: u64,
    pub(crate) nonce: u64,
    pub(crate) fee: Fee,
    pub(crate) head: Option<u64>,
}

impl Unsigned {
    /// The signed bytes and their hash, to be stored before they are sent.
    pub(crate) async fn sign(&self, signer: &dyn Signer) -> anyhow::Result<NewAttempt> {
        let envelope: TxEnvelope = match self.fee {
            Fee::Legacy { gas_price } => {
                let tx = TxLegacy {
                    chain_id: Some(self.chain),
                    nonce: self.nonce,
                    gas_price: wei(gas_price)?,
                    gas_limit: self.gas_limit,
                    to: TxKind::Call(self.to),
                    value: self.value_wei,
                    input: self.payload.clone(),
                };
                let signature = self.signature(signer, tx.signature_hash()).await?;
                tx.into_signed(signature).into()
            }
            Fee::Dynamic { fee_cap, tip_cap } => {
                let tx = TxEip1559 {
                    chain_id: self.chain,
                    nonce: self.nonce,
                    gas_limit: self.gas_limit,
                    max_fee_per_gas: wei(fee_cap)?,
                    max_priority_fee_per_gas: wei(tip_cap)?,
                    to: TxKind::Call(self.to),
                    value: self.value_wei,
                    access_list: Default::default(),
                    input: self.payload.clone(),
                };
                let signature = self.signature(signer, tx.signature_hash()).await?;
                tx.into_signed(signature).into()
            }
        };
        Ok(NewAttempt {
            tx_id: self.tx_id,
            hash: *envelope.tx_hash(),
            raw: envelope.encoded_2718().into(),
            payload_version: self.payload_version,
            fee: self.fee,
            gas_limit: self.gas_limit,
            first_block: self.head,
        })
    }

    async fn signature(&self, signer: &dyn Signer, hash: B256) -> anyhow::Result<Signature> {
        signer
            .sign_hash(self.from, hash)
            .await
            .map_err(|why| anyhow!("{} cannot sign: {why}", self.from))
    }
}

fn wei(price: U256) -> anyhow::Result<u128> {
    u128::try_from(price)
        .ok()
        .context("a price beyond 2^128 wei per gas cannot be put into a transaction; set PriceMax")
}
