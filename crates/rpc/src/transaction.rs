//! Receipts, transactions as the chain knows them, and calls.

use alloy::primitives::{Address, B256, Bytes, U256};
use serde::de::Error as _;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::log::{Log, WireLog};
use crate::quantity::{self, Small};

/// What became of a mined transaction.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub tx_hash: B256,
    pub block_number: u64,
    pub block_hash: B256,
    pub tx_index: u64,
    /// False: it was mined and reverted. Chains too old to say count as true.
    pub status: bool,
    pub gas_used: u64,
    /// Wei per gas really paid; 0 where the endpoint does not say.
    pub effective_gas_price: u128,
    pub logs: Vec<Log>,
    pub from: Address,
    pub to: Option<Address>,
    pub contract_address: Option<Address>,
    /// The endpoint's own bytes.
    pub raw: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireReceipt {
    transaction_hash: B256,
    block_number: Option<Small>,
    block_hash: Option<B256>,
    #[serde(default, deserialize_with = "quantity::maybe_small")]
    transaction_index: Option<u64>,
    #[serde(default, deserialize_with = "quantity::maybe_small")]
    status: Option<u64>,
    #[serde(default, deserialize_with = "quantity::small")]
    gas_used: u64,
    #[serde(default, deserialize_with = "quantity::maybe_big")]
    effective_gas_price: Option<u128>,
    #[serde(default)]
    logs: Vec<WireLog>,
    from: Address,
    #[serde(default)]
    to: Option<Address>,
    #[serde(default)]
    contract_address: Option<Address>,
}

impl Receipt {
    /// Reads a receipt; none while its transaction is pending, which some endpoints show as a
    /// receipt without a block or with a zero one.
    fn read(raw: Box<RawValue>) -> serde_json::Result<Option<Self>> {
        let wire: WireReceipt = serde_json::from_str(raw.get())?;
        let (Some(Small(block_number)), Some(block_hash)) = (wire.block_number, wire.block_hash)
        else {
            return Ok(None);
        };
        if block_number == 0 || block_hash.is_zero() {
            return Ok(None);
        }
        Ok(Some(Self {
            tx_hash: wire.transaction_hash,
            block_number,
            block_hash,
            tx_index: wire.transaction_index.unwrap_or_default(),
            status: wire.status.is_none_or(|status| status != 0),
            gas_used: wire.gas_used,
            effective_gas_price: wire.effective_gas_price.unwrap_or_default(),
            logs: wire.logs.into_iter().filter_map(WireLog::mined).collect(),
            from: wire.from,
            to: wire.to,
            contract_address: wire.contract_address,
            raw,
        }))
    }
}

/// A receipt, or none while there is none.
pub(crate) struct MaybeReceipt(pub(crate) Option<Receipt>);

impl<'de> Deserialize<'de> for MaybeReceipt {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Option::<Box<RawValue>>::deserialize(d)? {
            Some(raw) => Receipt::read(raw)
                .map(MaybeReceipt)
                .map_err(D::Error::custom),
            None => Ok(MaybeReceipt(None)),
        }
    }
}

/// A transaction an endpoint knows, mined or pooled.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownTransaction {
    pub hash: B256,
    pub from: Address,
    #[serde(default)]
    pub to: Option<Address>,
    #[serde(deserialize_with = "quantity::small")]
    pub nonce: u64,
    #[serde(default)]
    pub input: Bytes,
    /// Wei.
    #[serde(default)]
    pub value: U256,
    /// None while it waits in a pool.
    #[serde(default, deserialize_with = "quantity::maybe_small")]
    pub block_number: Option<u64>,
    #[serde(default)]
    pub block_hash: Option<B256>,
}

/// A call to execute without sending it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallRequest {
    pub from: Option<Address>,
    pub to: Option<Address>,
    pub gas: Option<u64>,
    /// Wei per gas.
    pub gas_price: Option<u128>,
    /// Wei.
    pub value: Option<U256>,
    pub data: Bytes,
}

impl CallRequest {
    /// A plain read of a contract.
    pub fn to(to: Address, data: impl Into<Bytes>) -> Self {
        Self {
            to: Some(to),
            data: data.into(),
            ..Self::default()
        }
    }
}

impl Serialize for CallRequest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_map(None)?;
        if let Some(from) = &self.from {
            out.serialize_entry("from", from)?;
        }
        if let Some(to) = &self.to {
            out.serialize_entry("to", to)?;
        }
        if let Some(gas) = self.gas {
            out.serialize_entry("gas", &format_args!("{gas:#x}"))?;
        }
        if let Some(price) = self.gas_price {
            out.serialize_entry("gasPrice", &format_args!("{price:#x}"))?;
        }
        if let Some(value) = &self.value {
            out.serialize_entry("value", &format_args!("{value:#x}"))?;
        }
        // `data` rather than the younger `input`: every client understands it.
        out.serialize_entry("data", &self.data)?;
        out.end()
    }
}

/// The answer of `eth_feeHistory`.
#[derive(Debug, Clone, PartialEq)]
pub struct FeeHistory {
    pub oldest_block: u64,
    /// Wei per block, oldest first, and one more for the block to come.
    pub base_fee_per_gas: Vec<u128>,
    pub gas_used_ratio: Vec<f64>,
    /// Per block the tips, in wei, at the percentiles asked for; empty if none were.
    pub reward: Vec<Vec<u128>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireFeeHistory {
    #[serde(deserialize_with = "quantity::small")]
    oldest_block: u64,
    #[serde(default)]
    base_fee_per_gas: Vec<quantity::Big>,
    #[serde(default)]
    gas_used_ratio: Option<Vec<f64>>,
    #[serde(default)]
    reward: Option<Vec<Vec<quantity::Big>>>,
}

impl From<WireFeeHistory> for FeeHistory {
    fn from(wire: WireFeeHistory) -> Self {
        let numbers = |list: Vec<quantity::Big>| list.into_iter().map(|n| n.0).collect();
        Self {
            oldest_block: wire.oldest_block,
            base_fee_per_gas: numbers(wire.base_fee_per_gas),
            gas_used_ratio: wire.gas_used_ratio.unwrap_or_default(),
            reward: wire
                .reward
                .unwrap_or_default()
                .into_iter()
                .map(numbers)
                .collect(),
        }
    }
}
