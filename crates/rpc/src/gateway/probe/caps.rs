//! What a client limits by itself: the gas of a call, the fee of a transaction.

use serde_json::{Value, json};

use super::Line;
use crate::error::RpcError;

/// What became of a transaction that offers a hundred whole coins as its fee, from an account that
/// has nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeeCap {
    /// Refused for another reason: fees of that size are let through.
    Lifted,
    /// In the client's words.
    Capped(String),
}

/// Most gas a call gets: a contract that is created for one call and says how much it has left.
pub(super) async fn gas_cap(line: &Line<'_>) -> Option<u64> {
    /// `GAS PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN`
    const TELLS_GAS: &str = "0x5a60005260206000f3";
    const ASKED: u64 = 0xffff_ffff_ffff;
    let call = json!([{"data": TELLS_GAS, "gas": format!("{ASKED:#x}")}, "latest"]);
    let word = line.ask::<String>("eth_call", call).await.ok()?;
    let left = u64::try_from(crate::quantity::parse(&word)?).ok()?;
    // What creating costs was taken off; half of what was asked is no cap any more.
    (left < ASKED / 2).then_some(left)
}

/// Offers a fee of a hundred coins from an account made for this, which has none of them.
pub(super) async fn fee_cap(line: &Line<'_>, chain_id: u64) -> Option<FeeCap> {
    use alloy::consensus::{SignableTransaction, TxLegacy};
    use alloy::eips::eip2718::Encodable2718;
    use alloy::primitives::{Address, TxKind, U256};
    use alloy::signers::SignerSync;

    const GAS: u64 = 21_000;
    const COINS: u128 = 100_000_000_000_000_000_000;
    let transaction = TxLegacy {
        chain_id: Some(chain_id),
        nonce: 0,
        gas_price: COINS / u128::from(GAS),
        gas_limit: GAS,
        to: TxKind::Call(Address::ZERO),
        value: U256::ZERO,
        input: Default::default(),
    };
    let signer = alloy::signers::local::PrivateKeySigner::random();
    let signature = signer.sign_hash_sync(&transaction.signature_hash()).ok()?;
    let raw = transaction.into_signed(signature).encoded_2718();
    let raw = alloy::primitives::Bytes::from(raw);
    match line.ask::<Value>("eth_sendRawTransaction", [raw]).await {
        Ok(_) => Some(FeeCap::Lifted),
        Err(RpcError::Refused { message, .. }) => {
            let lower = message.to_lowercase();
            Some(match lower.contains("cap") && lower.contains("exceed") {
                true => FeeCap::Capped(message),
                false => FeeCap::Lifted,
            })
        }
        Err(_) => None,
    }
}
