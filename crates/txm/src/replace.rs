//! Replacing what was signed, at the same nonce.

use alloy::primitives::{Bytes, U256};
use dodona_model::ChainId;
use dodona_rpc::Pool;
use dodona_runtime::clock;
use dodona_store::txs::{Attempt, Fee, Tx};
use dodona_store::{Leader, txs};

use crate::fees::{self, CannotBump, Market};
use crate::observe;
use crate::signing::{Signer, Unsigned};
use crate::{Config, Estimator};

/// Gas of a transfer to oneself, with room for chains that charge a little more.
const CANCEL_GAS: u64 = 50_000;

/// What a replacement carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrying {
    /// The transaction's present payload.
    Payload,
    /// Nothing, to oneself: it only uses the nonce.
    Nothing,
}

/// Everything that signs for one chain.
pub(crate) struct Workshop<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) config: &'a Config,
    pub(crate) estimator: &'a Estimator,
    pub(crate) signer: &'a dyn Signer,
}

impl Workshop<'_> {
    pub(crate) fn chain(&self) -> ChainId {
        self.config.chain_id
    }

    /// The first attempt of a transaction.
    pub(crate) fn first(
        &self,
        tx: &Tx,
        nonce: u64,
        market: &Market,
        head: Option<u64>,
    ) -> Unsigned {
        let fee = fees::first(
            &self.config.fees,
            market,
            self.config.price_max(tx.spec.from),
        );
        unsigned(tx, nonce, fee, Carrying::Payload, head)
    }

    /// Signs and stores an attempt that outbids every earlier one of this nonce. It is sent by whoever
    /// reads the row. `Ok(None)`: the cap forbids it; the reason was told.
    pub(crate) async fn outbid(
        &self,
        lead: &Leader,
        tx: &Tx,
        attempts: &[Attempt],
        carrying: Carrying,
        head: Option<u64>,
        why: &str,
    ) -> anyhow::Result<Option<Attempt>> {
        let (Some(nonce), Some(highest)) = (tx.nonce, highest(attempts)) else {
            return Ok(None);
        };
        let market = self.estimator.market(self.pool, lead.store()).await?;
        let cap = self.config.price_max(tx.spec.from);
        let fee = match fees::bump(&self.config.fees, &market, &highest, cap) {
            Ok(fee) => fee,
            Err(refused @ CannotBump::AtCap { .. }) => {
                observe::bump_refused(self.chain(), tx.id, &refused.to_string());
                return Ok(None);
            }
        };
        let signed = unsigned(tx, nonce, fee, carrying, head)
            .sign(self.signer)
            .await?;
        let mut leader_tx = lead.begin().await?;
        txs::insert_attempt(&mut leader_tx, &signed, clock::now()).await?;
        leader_tx.commit().await?;
        observe::bumped(self.chain(), tx.id, why);
        let mut conn = lead.store().read().await?;
        Ok(txs::attempts(&mut conn, tx.id).await?.pop())
    }
}

fn unsigned(tx: &Tx, nonce: u64, fee: Fee, carrying: Carrying, head: Option<u64>) -> Unsigned {
    let spec = &tx.spec;
    // A transaction that was given up carries nothing whoever replaces it.
    let carrying = if tx.payload_version == 0 {
        Carrying::Nothing
    } else {
        carrying
    };
    let (to, payload, value_wei, version, gas_limit) = match carrying {
        Carrying::Payload => (
            spec.to,
            spec.payload.clone(),
            spec.value_wei,
            tx.payload_version,
            spec.gas_limit,
        ),
        Carrying::Nothing => (
            spec.from,
            Bytes::new(),
            U256::ZERO,
            0,
            spec.gas_limit.min(CANCEL_GAS),
        ),
    };
    Unsigned {
        tx_id: tx.id,
        chain: spec.chain_id,
        from: spec.from,
        to,
        payload,
        payload_version: version,
        value_wei,
        gas_limit,
        nonce,
        fee,
        head,
    }
}

/// The most that any attempt offers, field by field: endpoints compare with whichever they hold.
fn highest(attempts: &[Attempt]) -> Option<Fee> {
    attempts
        .iter()
        .map(|attempt| attempt.signed.fee)
        .reduce(|a, b| match (a, b) {
            (Fee::Legacy { gas_price: a }, Fee::Legacy { gas_price: b }) => Fee::Legacy {
                gas_price: a.max(b),
            },
            (
                Fee::Dynamic {
                    fee_cap: a,
                    tip_cap: ta,
                },
                Fee::Dynamic {
                    fee_cap: b,
                    tip_cap: tb,
                },
            ) => Fee::Dynamic {
                fee_cap: a.max(b),
                tip_cap: ta.max(tb),
            },
            // The configured type changed in between: replacements keep the type of the newest.
            (_, newest) => newest,
        })
}
