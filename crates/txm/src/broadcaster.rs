use std::sync::Arc;

use alloy::primitives::Address;
use anyhow::Context;
use dodona_rpc::{BlockTag, Pool, SendOutcome};
use dodona_runtime::{Service, clock};
use dodona_store::txs::Signing;
use dodona_store::{Leader, heads, keys, txs};
use serde::Serialize;

use crate::insist::insist;
use crate::outgoing::{self, Handed};
use crate::replace::Workshop;
use crate::{Config, Estimator, Signer, observe, open_check};

/// Transactions signed in one database transaction, at most.
const BATCH: u32 = 64;

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
    // Rows may hold signed bytes that nobody took yet: a predecessor's, or those that were refused.
    unsent: bool,
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
            unsent: true,
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
        if let Some(state) = keys::find(&mut tx, chain, self.key).await? {
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
            let queued = txs::queued(&mut conn, chain, self.key, clock::now(), BATCH).await?;
            if queued.is_empty() {
                return Ok(0);
            }
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
            let queued: Vec<_> = queued.into_iter().take(free as usize).collect();
            let state = keys::find(&mut conn, chain, self.key).await?;
            (queued, state, heads::cursor(&mut conn, chain).await?)
        };
        let Some(state) = state else { return Ok(0) };
        let head = head.map(|cursor| cursor.block.number);
        let ready = open_check::sift(&self.pool, lead, queued, head).await?;
        if ready.is_empty() {
            return Ok(0);
        }
        let market = self.estimator.market(&self.pool, lead.store()).await?;
        let mut signed = Vec::with_capacity(ready.len());
        for (tx, nonce) in ready.iter().zip(state.next_nonce..) {
            let attempt = self.workshop().first(tx, nonce, &market, head);
            let attempt = attempt.sign(&*self.signer).await?;
            signed.push(Signing { tx, nonce, attempt });
        }
        let now = clock::now();
        let next = state.next_nonce + signed.len() as u64;
        let mut leader_tx = lead.begin().await?;
        anyhow::ensure!(
            keys::take_nonces(&mut leader_tx, chain, self.key, state.next_nonce, next).await?,
            "the next nonce of {} moved meanwhile; looking again",
            self.key
        );
        anyhow::ensure!(
            txs::sign_each(&mut leader_tx, &signed, now).await?,
            "a transaction of {} changed while it was signed; looking again",
            self.key
        );
        leader_tx.commit().await?;
        observe::signed(chain, self.key, state.next_nonce, signed.len());
        Ok(signed.len())
    }

    /// Hands out what is signed and was taken by nobody yet, but for `except`. Returns how many there were,
    /// and which of them are refused.
    async fn hand_out(
        &self,
        lead: &Leader,
        except: &[Handed],
    ) -> anyhow::Result<(usize, Vec<Handed>)> {
        let chain = self.config.chain_id;
        let mut attempts =
            txs::newest_attempts_signed(&mut lead.store().read().await?, chain, self.key).await?;
        let tried = |id| except.iter().any(|it| it.attempt.signed.tx_id == id);
        attempts.retain(|attempt| !tried(attempt.signed.tx_id));
        let count = attempts.len();
        let handed = outgoing::hand_out(&self.pool, lead, self.key, attempts).await?;
        let refused = outgoing::refused(handed);
        let stuck = insist(&self.workshop(), lead, self.key, refused).await?;
        Ok((count, stuck))
    }
}

impl Service<Leader> for Broadcaster {
    type Report = Round;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Round> {
        let chain = self.config.chain_id;
        self.sync_nonce(lead).await?;
        // First what a predecessor signed and may or may not have sent: the same bytes again.
        let (mut total, mut stuck) = match std::mem::replace(&mut self.unsent, true) {
            true => self.hand_out(lead, &[]).await?,
            false => (0, Vec::new()),
        };
        let lost = |handed: &Handed| handed.outcome == SendOutcome::NonceTooLow;
        // Somebody else uses this key: do not walk into each of their nonces one by one.
        if stuck.iter().any(lost) {
            self.synced = false;
            self.sync_nonce(lead).await?;
        }
        // What would come behind a nonce that does not move could not be mined, and would grow old signed.
        let mut signed = 0;
        if stuck.iter().all(lost) {
            signed = self.sign_queued(lead).await?;
        }
        if signed > 0 {
            let (fresh, refused) = self.hand_out(lead, &stuck).await?;
            total += fresh;
            stuck.extend(refused);
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
        // Whatever fails on the way here is looked at again.
        self.unsent = !stuck.is_empty();
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
