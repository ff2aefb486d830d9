//! "Too cheap" is no answer: what endpoints refuse for its fee is outbid at once, a few times.

use alloy::primitives::Address;
use dodona_rpc::SendOutcome;
use dodona_store::txs::Attempt;
use dodona_store::{Leader, txs};

use crate::outgoing::{self, Handed};
use crate::replace::{Carrying, Workshop};

/// Replacements tried at once; the next round goes on.
const QUICK_BUMPS: usize = 5;

/// Replaces what endpoints find too cheap and what can never be mined. Returns what is refused still.
pub(crate) async fn insist(
    workshop: &Workshop<'_>,
    lead: &Leader,
    key: Address,
    mut refused: Vec<Handed>,
) -> anyhow::Result<Vec<Handed>> {
    for _ in 0..QUICK_BUMPS {
        let mut replaced = Vec::new();
        let mut rest = Vec::new();
        for handed in refused {
            match replacement(workshop, lead, &handed).await? {
                Some(attempt) => replaced.push(attempt),
                None => rest.push(handed),
            }
        }
        if replaced.is_empty() {
            return Ok(rest);
        }
        let again = outgoing::hand_out(workshop.pool, lead, key, replaced).await?;
        rest.extend(outgoing::refused(again));
        refused = rest;
    }
    Ok(refused)
}

async fn replacement(
    workshop: &Workshop<'_>,
    lead: &Leader,
    handed: &Handed,
) -> anyhow::Result<Option<Attempt>> {
    let refused = &handed.attempt.signed;
    let why = match &handed.outcome {
        SendOutcome::Underpriced
        | SendOutcome::FeeOutOfRange
        | SendOutcome::ReplacementUnderpriced => "endpoints find its fee too low".to_owned(),
        SendOutcome::Fatal(text) | SendOutcome::TerminallyStuck(text)
            if refused.payload_version != 0 =>
        {
            let why = format!(
                "it can never be mined as signed ({text}); its nonce is used up by a transfer of nothing"
            );
            let mut leader_tx = lead.begin().await?;
            txs::give_up(&mut leader_tx, refused.tx_id, &why).await?;
            leader_tx.commit().await?;
            why
        }
        _ => return Ok(None),
    };
    let (tx, attempts) = {
        let mut conn = lead.store().read().await?;
        let Some(tx) = txs::find(&mut conn, refused.tx_id).await? else {
            return Ok(None);
        };
        (tx, txs::attempts(&mut conn, refused.tx_id).await?)
    };
    let carrying = match refused.payload_version {
        0 => Carrying::Nothing,
        _ => Carrying::Payload,
    };
    workshop
        .outbid(lead, &tx, &attempts, carrying, refused.first_block, &why)
        .await
}
