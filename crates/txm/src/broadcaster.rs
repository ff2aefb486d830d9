use std::sync::Arc;

use alloy::primitives::Address;
use anyhow::Context;
use dodona_rpc::{BlockTag, Pool, SendOutcome};
use dodona_runtime::{Service, clock};
use dodona_store::txs::Attempt;
use dodona_store::{Leader, heads, keys, txs};
use serde::Serialize;

use crate::outgoing::{self, Handed};
use crate::replace::{Carrying, Workshop};
use crate::{Config, Estimator, Signer, observe, open_check};

/// Transactions signed in one database transaction, at most.
const BATCH: u32 = 64;
/// Replacements tried at once when endpoints find a fee too low; the next round goes on.
const QUICK_BUMPS: usize = 5;

/// What one round did.
#[derive(Debug, Serialize)]
pub struct Round {
    signed: usize,
    handed_over: usize,
    /// Why the key does not move; empty while it does.
    waiting: String,
    more: bool,
}

/// Gives queued transactions of one key their nonces and sends them. One per key and chain, so that
/// no key waits for another.
pub struct Broadcaster {
    pool: Pool,
    config: Config,
    estimator: Arc<Estimator>,
    signer: Arc<dyn Signer>,
    key: Address,
    synced: bool,
    // What the key's row says, so that it is written only when it changes.
    told: Option<String>,
}

impl Broadcaster {
    /// A broadcaster of one key.
    pub fn new(
        pool: Pool,
        config: Config,
        estimator: Arc<Estimator>,
        signer: Arc<dyn Signer>,
        key: Address,
    ) -> Self {
        Self {
            pool,
            config,
            estimator,
            signer,
            key,
            synced: false,
            told: None,
        }
    }

    fn workshop(&self) -> Workshop<'_> {
        Workshop {
            pool: &self.pool,
            config: &self.config,
            estimator: &self.estimator,
            signer: &*self.signer,
        }
    }

    /// The chain may know more transactions of this key than we do; never the other way round, as
    /// what is signed here is remembered.
    async fn sync_nonce(&mut self, lead: &Leader) -> anyhow::Result<()> {
        if self.synced || !self.config.nonce_auto_sync {
            return Ok(());
        }
        let chain = self.config.chain_id;
        let theirs = self
            .pool
            .transaction_count(self.key, BlockTag::Pending)
            .await
            .context("asking for the key's transaction count")?;
        let mut tx = lead.begin().await?;
        if let Some(state) = keys::of_chain(&mut tx, chain)
            .await?
            .iter()
            .find(|state| state.address == self.key)
        {
            let known = txs::highest_nonce(&mut tx, chain, self.key)
                .await?
                .map_or(0, |nonce| nonce + 1);
            let next = theirs.max(known).max(state.next_nonce);
            if next != state.next_nonce {
                if state.next_nonce > 0 || known > 0 {
                    observe::used_elsewhere(chain, self.key, state.next_nonce, next);
                }
                keys::take_nonces(&mut tx, chain, self.key, state.next_nonce, next).await?;
            }
        }
        tx.commit().await?;
        self.synced = true;
        Ok(())
    }

    /// Signs what may be signed now. Returns how many.
    async fn sign_queued(&self, lead: &Leader) -> anyhow::Result<usize> {
        let chain = self.config.chain_id;
        let (queued, state, head) = {
            let mut conn = lead.store().read().await?;
            let free = match self.config.max_in_flight {
                0 => BATCH,
                limit => {
                    let used = txs::in_flight(&mut conn, chain, self.key).await?;
                    u32::try_from(u64::from(limit).saturating_sub(used))
                        .unwrap_or(0)
                        .min(BATCH)
                }
            };
            if free == 0 {
                return Ok(0);
            }
            let queued = txs::queued(&mut conn, chain, self.key, clock::now(), free).await?;
            let states = keys::of_chain(&mut conn, chain).await?;
            let state = states.into_iter().find(|state| state.address == self.key);
            (queued, state, heads::cursor(&mut conn, chain).await?)
        };
        let Some(state) = state else { return Ok(0) };
        let ready = open_check::sift(&self.pool, lead, queued).await?;
        if ready.is_empty() {
            return Ok(0);
        }
        let market = self.estimator.market(&self.pool, lead.store()).await?;
        let head = head.map(|cursor| cursor.block.number);
        let mut signed = Vec::with_capacity(ready.len());
        for (tx, nonce) in ready.iter().zip(state.next_nonce..) {
            signed.push((
                tx,
                nonce,
                self.workshop()
                    .first(tx, nonce, &market, head)
                    .sign(&*self.signer)
                    .await?,
            ));
        }
        let now = clock::now();
        let next = state.next_nonce + signed.len() as u64;
        let mut leader_tx = lead.begin().await?;
        anyhow::ensure!(
            keys::take_nonces(&mut leader_tx, chain, self.key, state.next_nonce, next).await?,
            "the next nonce of {} moved meanwhile; looking again",
            self.key
        );
        for (tx, nonce, attempt) in &signed {
            anyhow::ensure!(
                txs::sign(&mut leader_tx, tx, *nonce, attempt, now).await?,
                "transaction {} changed while it was signed; looking again",
                tx.id
            );
        }
        leader_tx.commit().await?;
        observe::signed(chain, self.key, state.next_nonce, signed.len());
        Ok(signed.len())
    }

    /// Replaces what endpoints find too cheap and what can never be mined, a few times at once.
    async fn insist(&self, lead: &Leader, mut refused: Vec<Handed>) -> anyhow::Result<Vec<Handed>> {
        for _ in 0..QUICK_BUMPS {
            let mut replaced = Vec::new();
            let mut rest = Vec::new();
            for handed in refused {
                match self.replacement(lead, &handed).await? {
                    Some(attempt) => replaced.push(attempt),
                    None => rest.push(handed),
                }
            }
            if replaced.is_empty() {
                return Ok(rest);
            }
            let again = outgoing::hand_out(&self.pool, lead, self.key, replaced).await?;
            rest.extend(
                again
                    .into_iter()
                    .filter(|handed| !handed.outcome.is_success()),
            );
            refused = rest;
        }
        Ok(refused)
    }

    async fn replacement(&self, lead: &Leader, handed: &Handed) -> anyhow::Result<Option<Attempt>> {
        let id = handed.attempt.signed.tx_id;
        let why = match &handed.outcome {
            SendOutcome::Underpriced
            | SendOutcome::FeeOutOfRange
            | SendOutcome::ReplacementUnderpriced => "endpoints find its fee too low".to_owned(),
            SendOutcome::Fatal(text) | SendOutcome::TerminallyStuck(text)
                if handed.attempt.signed.payload_version != 0 =>
            {
                let why = format!(
                    "it can never be mined as signed ({text}); its nonce is used up by a transfer of nothing"
                );
                let mut leader_tx = lead.begin().await?;
                txs::give_up(&mut leader_tx, id, &why).await?;
                leader_tx.commit().await?;
                why
            }
            _ => return Ok(None),
        };
        let (tx, attempts) = {
            let mut conn = lead.store().read().await?;
            let Some(tx) = txs::find(&mut conn, id).await? else {
                return Ok(None);
            };
            (tx, txs::attempts(&mut conn, id).await?)
        };
        let head = handed.attempt.signed.first_block;
        self.workshop()
            .outbid(lead, &tx, &attempts, Carrying::Payload, head, &why)
            .await
    }
}

impl Service<Leader> for Broadcaster {
    type Report = Round;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Round> {
        let chain = self.config.chain_id;
        self.sync_nonce(lead).await?;
        let signed = self.sign_queued(lead).await?;
        // Also what a predecessor signed and may or may not have sent: the same bytes again.
        let attempts =
            txs::newest_attempts_signed(&mut lead.store().read().await?, chain, self.key).await?;
        let total = attempts.len();
        let handed = outgoing::hand_out(&self.pool, lead, self.key, attempts).await?;
        let refused: Vec<Handed> = handed
            .into_iter()
            .filter(|handed| !handed.outcome.is_success())
            .collect();
        let stuck = self.insist(lead, refused).await?;
        // Somebody else uses this key: do not walk into each of their nonces one by one.
        if stuck
            .iter()
            .any(|handed| handed.outcome == SendOutcome::NonceTooLow)
        {
            self.synced = false;
        }
        let waiting = stuck
            .first()
            .map(|handed| outgoing::in_words(&handed.outcome).0)
            .unwrap_or_default();
        if self.told.as_ref() != Some(&waiting) {
            let mut tx = lead.begin().await?;
            keys::set_reason(&mut tx, chain, self.key, &waiting).await?;
            tx.commit().await?;
            self.told = Some(waiting.clone());
        }
        let more = signed == BATCH as usize;
        Ok(Round {
            signed,
            handed_over: total - stuck.len(),
            waiting,
            more,
        })
    }

    fn worked(round: &Round) -> bool {
        round.handed_over > 0
    }

    fn again(round: &Round) -> bool {
        round.more
    }
}
