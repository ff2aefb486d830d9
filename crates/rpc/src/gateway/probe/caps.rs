//! What a client limits by itself: the gas of a call, the fee of a transaction.

use serde_json::{Value, json};

use super::Line;
use crate::error::RpcError;
use crate::send::SendOutcome;
use crate::send_errors;

/// What became of a transaction that offers a hundred whole coins as its fee, from an account that
/// has nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeeCap {
    /// Refused for want of funds: fees of that size are let through.
    Lifted,
    /// In the client's words.
    Capped(String),
    /// It takes no transactions at all. In its words.
    NoTransactions(String),
    /// Refused in words that say nothing about it.
    Untold(String),
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
        Err(RpcError::Refused { code, message, .. }) => Some(understand(code, message)),
        Err(_) => None,
    }
}

/// What a refusal of that transaction says. Only who has looked at the funds has let the fee pass.
fn understand(code: i64, message: String) -> FeeCap {
    const NO_METHOD: i64 = -32601;
    const CLOSED: &[&str] = &[
        "method not found",
        "does not exist",
        "not supported",
        "unsupported",
        "not available",
        "disabled",
        "not allowed",
        "not permitted",
        "not whitelisted",
        "forbidden",
        "unauthorized",
        "read-only",
        "read only",
    ];
    let lower = message.to_lowercase();
    let outcome = send_errors::outcome(&message, "", &send_errors::Overrides::default());
    let capped = lower.contains("cap") && lower.contains("exceed");
    if code == NO_METHOD {
        FeeCap::NoTransactions(message)
    } else if capped || outcome == SendOutcome::ExceedsNodeFeeCap {
        FeeCap::Capped(message)
    } else if outcome == SendOutcome::InsufficientFunds {
        FeeCap::Lifted
    } else if CLOSED.iter().any(|words| lower.contains(words)) {
        FeeCap::NoTransactions(message)
    } else {
        FeeCap::Untold(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_for_want_of_funds_says_that_there_is_no_cap() {
        let of = |code: i64, words: &str| understand(code, words.to_owned());
        for words in [
            "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1",
            "Insufficient funds for gas * price + value",
        ] {
            assert_eq!(of(-32000, words), FeeCap::Lifted, "{words}");
        }
        for words in [
            "tx fee (100.00 ether) exceeds the configured cap (1.00 ether)",
            "Transaction fee cap exceeded",
        ] {
            assert!(matches!(of(-32000, words), FeeCap::Capped(_)), "{words}");
        }
        for (code, words) in [
            (-32601, "whatever"),
            (
                -32000,
                "the method eth_sendRawTransaction does not exist/is not available",
            ),
            (-32004, "Method eth_sendRawTransaction is not supported"),
            (-32000, "sending transactions is disabled on this plan"),
            (403, "Forbidden"),
        ] {
            assert!(
                matches!(of(code, words), FeeCap::NoTransactions(_)),
                "{words}"
            );
        }
        assert!(matches!(of(-32000, "something else"), FeeCap::Untold(_)));
    }
}
