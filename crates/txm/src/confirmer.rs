use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alloy::primitives::{Address, B256};
use anyhow::Context;
use dodona_model::request::{Event as RequestEvent, State as RequestState};
use dodona_model::run::State as RunState;
use dodona_model::tx::{Event as TxEvent, State};
use dodona_model::{ChainId, TxId};
use dodona_rpc::{BlockTag, Pool, Receipt};
use dodona_runtime::{Service, clock};
use dodona_store::heads::Cursor;
use dodona_store::requests::Happened;
use dodona_store::txs::{Attempt, Included, Tx};
use dodona_store::{Conn, Leader, LeaderTx, heads, requests, runs, txs};
use futures_util::future::try_join_all;
use serde::Serialize;

use crate::insist::insist;
use crate::push::{Facts, Push, decide};
use crate::replace::{Carrying, Workshop};
use crate::{Config, Estimator, Signer, inclusion, observe, outgoing, waiting};

/// Ended transactions whose tasks are told in one round, at most.
const TOLD_AT_ONCE: u32 = 200;
/// Different heads at which a used nonce without any receipt of ours must be seen before we believe
/// that somebody else used it: receipts can lag behind counts.
const HEADS_BEFORE_LOST: u32 = 3;
/// As many where an endpoint says that it has one of our transactions: it tells of its receipt later, or keeps
/// what it took for longer than is good.
const HEADS_BEFORE_LOST_ALTHOUGH_KNOWN: u32 = 50;

/// What one round did.
#[derive(Debug, Default, Serialize)]
pub struct Round {
    mined: usize,
    finalized: usize,
    reorged: usize,
    told: usize,
    replaced: usize,
    resent: usize,
    waiting: usize,
}

/// Finds out what became of what was sent, replaces what does not move, tells who waits.
pub struct Confirmer {
    pool: Pool,
    config: Config,
    estimator: Arc<Estimator>,
    signer: Arc<dyn Signer>,
    // Nonces used by nobody we know: how many heads have shown it, and the last of them.
    unexplained: HashMap<TxId, (u32, u64)>,
    // Transactions whose requests have left the chain, in the same way.
    orphaned: HashMap<TxId, (u32, u64)>,
}

impl Confirmer {
    /// A confirmer of one chain.
    pub fn new(
        pool: Pool,
        config: Config,
        estimator: Arc<Estimator>,
        signer: Arc<dyn Signer>,
    ) -> Self {
        Self {
            pool,
            config,
            estimator,
            signer,
            unexplained: HashMap::new(),
            orphaned: HashMap::new(),
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

    /// Looks for the receipts of what was sent. Returns what is still unmined.
    async fn look_for_receipts(
        &mut self,
        lead: &Leader,
        cursor: &Cursor,
        round: &mut Round,
    ) -> anyhow::Result<Vec<Pending>> {
        let chain = self.config.chain_id;
        let (unfinished, mut attempts) = {
            let mut conn = lead.store().read().await?;
            let unfinished = txs::unfinished(&mut conn, chain).await?;
            let mut by_tx: HashMap<TxId, Vec<Attempt>> = HashMap::new();
            if !unfinished.is_empty() {
                for attempt in txs::attempts_unfinished(&mut conn, chain).await? {
                    by_tx.entry(attempt.signed.tx_id).or_default().push(attempt);
                }
            }
            (unfinished, by_tx)
        };
        if unfinished.is_empty() {
            self.unexplained.clear();
            return Ok(Vec::new());
        }
        let counts = self.counts(&unfinished).await?;
        let pending: Vec<Pending> = unfinished
            .into_iter()
            .map(|tx| {
                let used = tx.nonce.is_some_and(|nonce| {
                    counts
                        .get(&tx.spec.from)
                        .is_some_and(|count| nonce < *count)
                });
                let attempts = attempts.remove(&tx.id).unwrap_or_default();
                Pending { tx, attempts, used }
            })
            .collect();
        let (used, unmined): (Vec<Pending>, Vec<Pending>) =
            pending.into_iter().partition(|pending| pending.used);
        self.include(lead, cursor, used, round).await?;
        Ok(unmined)
    }

    /// How many transactions of each key the chain has mined.
    async fn counts(&self, unfinished: &[Tx]) -> anyhow::Result<BTreeMap<Address, u64>> {
        let mut keys: Vec<Address> = unfinished.iter().map(|tx| tx.spec.from).collect();
        keys.dedup();
        let counts = try_join_all(
            keys.iter()
                .map(|key| self.pool.transaction_count(*key, BlockTag::Latest)),
        );
        let counts = counts.await.context("asking for transaction counts")?;
        Ok(keys.into_iter().zip(counts).collect())
    }

    async fn include(
        &mut self,
        lead: &Leader,
        cursor: &Cursor,
        used: Vec<Pending>,
        round: &mut Round,
    ) -> anyhow::Result<()> {
        if used.is_empty() {
            return Ok(());
        }
        let hashes: Vec<B256> = used
            .iter()
            .flat_map(|pending| pending.attempts.iter().map(|attempt| attempt.signed.hash))
            .collect();
        let receipts = self
            .pool
            .receipts(&hashes)
            .await
            .context("asking for receipts")?;
        let receipts: HashMap<B256, Receipt> = receipts
            .into_iter()
            .flatten()
            .map(|receipt| (receipt.tx_hash, receipt))
            .collect();
        let mut lost = Vec::new();
        for pending in &used {
            let found = |attempt: &Attempt| receipts.contains_key(&attempt.signed.hash);
            if !pending.attempts.iter().any(found) && self.is_lost(pending, cursor).await? {
                lost.push(pending.tx.id);
            }
        }
        let now = clock::now();
        let mut leader_tx = lead.begin().await?;
        let mut included: BTreeMap<TxId, (Included<'_>, &Pending)> = BTreeMap::new();
        let mut settled: HashMap<B256, bool> = HashMap::new();
        for pending in &used {
            let found = pending.attempts.iter().find_map(|attempt| {
                receipts
                    .get(&attempt.signed.hash)
                    .map(|receipt| (attempt, receipt))
            });
            let Some((attempt, receipt)) = found else {
                if lost.contains(&pending.tx.id) {
                    give_up_nonce(&mut leader_tx, pending).await?;
                }
                continue;
            };
            self.unexplained.remove(&pending.tx.id);
            // Believed only once the scanner stands on that very block: one view of the chain for all.
            let settled = match settled.get(&receipt.block_hash) {
                Some(settled) => *settled,
                None => {
                    let is =
                        is_settled(&mut leader_tx, cursor, self.config.chain_id, receipt).await?;
                    settled.insert(receipt.block_hash, is);
                    is
                }
            };
            if settled {
                let (inclusion, remark) = inclusion::of(&pending.tx, attempt, receipt);
                let tx = &pending.tx;
                let it = Included {
                    tx,
                    inclusion,
                    remark,
                };
                included.insert(tx.id, (it, pending));
            }
        }
        let all: Vec<Included<'_>> = included.values().map(|(it, _)| it.clone()).collect();
        let mined = txs::include_each(&mut leader_tx, &all, now).await?;
        included.retain(|id, _| mined.binary_search(id).is_ok());
        let answered = included.values().filter(|(it, _)| it.inclusion.succeeded);
        let answered: Vec<Happened> = answered
            .filter_map(|(it, _)| {
                Some(Happened {
                    request: it.tx.spec.request_row?,
                    event: RequestEvent::Answered,
                    reason: it.remark.clone(),
                })
            })
            .collect();
        requests::apply_each(&mut leader_tx, &answered, now).await?;
        leader_tx.commit().await?;
        round.mined += included.len();
        for (it, pending) in included.values() {
            let Included {
                tx,
                inclusion,
                remark,
            } = it;
            let seconds = now.since(tx.sent_at.unwrap_or(tx.created_at)).as_secs_f64();
            let first_block = pending
                .attempts
                .first()
                .and_then(|first| first.signed.first_block);
            let blocks = first_block.map(|first| inclusion.block.number.saturating_sub(first));
            observe::mined(tx, inclusion, remark, seconds, blocks);
        }
        Ok(())
    }

    /// Whether a used nonce without a receipt of ours was used by somebody else.
    async fn is_lost(&mut self, pending: &Pending, cursor: &Cursor) -> anyhow::Result<bool> {
        let heads = seen_at(&mut self.unexplained, pending.tx.id, cursor.block.number);
        if heads < HEADS_BEFORE_LOST {
            return Ok(false);
        }
        if heads < HEADS_BEFORE_LOST_ALTHOUGH_KNOWN {
            for attempt in &pending.attempts {
                let known = self.pool.transaction_by_hash(attempt.signed.hash).await;
                if known.context("asking for a transaction")?.is_some() {
                    return Ok(false);
                }
            }
        }
        self.unexplained.remove(&pending.tx.id);
        Ok(true)
    }

    /// Follows what is mined until it is final, or back when its block is gone. Tells who waits.
    async fn follow_mined(
        &self,
        lead: &Leader,
        cursor: &Cursor,
        round: &mut Round,
    ) -> anyhow::Result<()> {
        let chain = self.config.chain_id;
        let (mined, ended, gone, unsaid) = {
            let mut conn = lead.store().read().await?;
            let mined =
                txs::mined_due(&mut conn, chain, cursor.finalized, cursor.block.number).await?;
            let (mut gone, mut unsaid) = (Vec::new(), Vec::new());
            let mut last: Option<(u64, B256, bool)> = None;
            for tx in &mined {
                let Some(at) = tx.mined.as_ref().map(|mined| mined.block) else {
                    continue;
                };
                let lost = match last {
                    Some((number, hash, lost)) if number == at.number && hash == at.hash => lost,
                    _ => match heads::by_hash(&mut conn, chain, at.hash).await? {
                        Some(head) => !head.canonical,
                        // Forgotten because final long ago, or never seen: only depth can tell.
                        None => false,
                    },
                };
                last = Some((at.number, at.hash, lost));
                if lost {
                    gone.push(tx.id);
                } else if is_unsaid(&mut conn, tx).await? {
                    unsaid.push(tx.id);
                }
            }
            let ended = txs::awaited_dead(&mut conn, chain, TOLD_AT_ONCE).await?;
            (mined, ended, gone, unsaid)
        };
        let due: Vec<(&Tx, Step)> = mined
            .iter()
            .filter_map(|tx| {
                let step = match unsaid.contains(&tx.id) {
                    true => Some(Step::SayAgain),
                    false => step(tx, cursor, gone.contains(&tx.id)),
                };
                step.map(|step| (tx, step))
            })
            .collect();
        if due.is_empty() && ended.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        let mut leader_tx = lead.begin().await?;
        let mut happened = Vec::new();
        let (mut to_finalize, mut to_tell) = (Vec::new(), Vec::new());
        for (tx, step) in due {
            match step {
                Step::Reorged => {
                    if txs::reorged(&mut leader_tx, tx).await? {
                        let answered = tx.mined.as_ref().is_some_and(|mined| mined.succeeded);
                        if let Some(request) = tx.spec.request_row.filter(|_| answered) {
                            happened.push(Happened {
                                request,
                                event: RequestEvent::AnswerOrphaned,
                                reason: "the block of its answer left the canonical chain"
                                    .to_owned(),
                            });
                        }
                        round.reorged += 1;
                        observe::reorged(tx);
                    }
                }
                Step::SayAgain => {
                    // Its task has it superseded by this one.
                    if txs::queue_again(&mut leader_tx, tx, now).await? {
                        leader_tx.poke_on_commit("txs");
                        observe::said_again(tx);
                    }
                }
                Step::Finalize => to_finalize.push(tx),
                Step::Tell => to_tell.push(tx.clone()),
            }
        }
        let finalized = txs::finalize_each(&mut leader_tx, &to_finalize).await?;
        for tx in to_finalize {
            if finalized.binary_search(&tx.id).is_err() {
                continue;
            }
            happened.extend(end_of_request(tx));
            round.finalized += 1;
            observe::finalized(tx);
            to_tell.push(Tx {
                state: State::Final,
                ..tx.clone()
            });
        }
        requests::apply_each(&mut leader_tx, &happened, now).await?;
        let answers = to_tell.iter().chain(&ended);
        let answers = answers.filter_map(|tx| Some((tx, waiting::answer(tx, cursor)?)));
        round.told += waiting::tell_each(&mut leader_tx, answers.collect(), now).await?;
        leader_tx.commit().await?;
        Ok(())
    }

    /// Outbids or repeats what was sent and does not get mined.
    async fn push(
        &mut self,
        lead: &Leader,
        cursor: &Cursor,
        unmined: Vec<Pending>,
        round: &mut Round,
    ) -> anyhow::Result<()> {
        round.waiting = unmined.len();
        let head = cursor.block.number;
        let now = clock::now();
        let asked: Vec<_> = unmined
            .iter()
            .filter_map(|pending| pending.tx.spec.request_row)
            .collect();
        let states = match asked.is_empty() {
            true => HashMap::new(),
            false => requests::states(&mut lead.store().read().await?, &asked).await?,
        };
        let state_of = |tx: &Tx| {
            tx.spec
                .request_row
                .and_then(|row| states.get(&row))
                .copied()
        };
        let mut orphaned = std::mem::take(&mut self.orphaned);
        orphaned.retain(|id, _| {
            let mut all = unmined.iter().map(|pending| &pending.tx);
            all.any(|tx| tx.id == *id && state_of(tx) == Some(RequestState::Orphaned))
        });
        self.orphaned = orphaned;
        let mut outgoing: BTreeMap<Address, Vec<Attempt>> = BTreeMap::new();
        for pending in unmined {
            let Pending { tx, attempts, .. } = &pending;
            // What never left is the broadcaster's, unless it carries an outdated answer.
            let request = state_of(tx);
            let facts = Facts {
                head,
                request,
                orphaned_at: match request {
                    Some(RequestState::Orphaned) => seen_at(&mut self.orphaned, tx.id, head),
                    _ => 0,
                },
                bump_threshold: self.config.bump_threshold,
                // What a reorganisation dropped was not sent to this chain at all.
                due_again: tx.last_sent_at.is_none_or(|sent| {
                    !self.config.resend_after.is_zero()
                        && now.since(sent) >= self.config.resend_after
                }),
            };
            let push = decide(tx, attempts, &facts);
            if push.says_the_answer() && is_made_anew(lead, tx).await? {
                continue;
            }
            let (carrying, why) = match push {
                Push::Wait => continue,
                Push::Again => {
                    outgoing
                        .entry(tx.spec.from)
                        .or_default()
                        .extend(attempts.last().cloned());
                    round.resent += 1;
                    continue;
                }
                Push::Outbid(carrying, why) => (carrying, why),
            };
            let replaced = self
                .workshop()
                .outbid(lead, tx, attempts, carrying, Some(head), why)
                .await?;
            round.replaced += usize::from(replaced.is_some());
            // Where the cap forbids a higher fee, the old bytes are worth repeating, unless outdated.
            let again = replaced.or_else(|| {
                (carrying == Carrying::Payload)
                    .then(|| attempts.last().cloned())
                    .flatten()
            });
            outgoing.entry(tx.spec.from).or_default().extend(again);
        }
        for (key, attempts) in outgoing {
            let handed = outgoing::hand_out(&self.pool, lead, key, attempts).await?;
            insist(&self.workshop(), lead, key, outgoing::refused(handed)).await?;
        }
        Ok(())
    }

    /// Gives up what waits to be signed and never will be, because its request is gone for good.
    async fn give_up_stranded(&self, lead: &Leader, cursor: &Cursor) -> anyhow::Result<()> {
        let chain = self.config.chain_id;
        let stranded = {
            let mut conn = lead.store().read().await?;
            txs::stranded(&mut conn, chain, cursor.finalized, TOLD_AT_ONCE).await?
        };
        if stranded.is_empty() {
            return Ok(());
        }
        let mut leader_tx = lead.begin().await?;
        for tx in &stranded {
            let Some(row) = tx.spec.request_row else {
                continue;
            };
            // As it is now: it may have come back since.
            let why = match requests::find(&mut leader_tx, row).await? {
                Some(request) if request.state == RequestState::Orphaned => {
                    "its request left the chain and did not come back".to_owned()
                }
                Some(request)
                    if !matches!(request.state, RequestState::Open | RequestState::Answered) =>
                {
                    let state = request.state.as_str();
                    format!("its request is {state}: {}", request.reason)
                }
                _ => continue,
            };
            observe::died(chain, tx.id, &why);
            txs::die(&mut leader_tx, tx, TxEvent::Refused, &why).await?;
        }
        leader_tx.commit().await?;
        Ok(())
    }
}

/// A signed transaction, its attempts, and whether the chain has used its nonce.
struct Pending {
    tx: Tx,
    attempts: Vec<Attempt>,
    used: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Reorged,
    SayAgain,
    Finalize,
    Tell,
}

fn step(tx: &Tx, cursor: &Cursor, gone: bool) -> Option<Step> {
    let mined = tx.mined.as_ref()?;
    if gone {
        return Some(Step::Reorged);
    }
    if mined.block.number <= cursor.finalized {
        return Some(Step::Finalize);
    }
    waiting::answer(tx, cursor).map(|_| Step::Tell)
}

/// At how many different heads something about a transaction was seen, this one included.
fn seen_at(seen: &mut HashMap<TxId, (u32, u64)>, tx: TxId, head: u64) -> u32 {
    let entry = seen.entry(tx).or_insert((0, 0));
    if entry.0 == 0 || entry.1 != head {
        *entry = (entry.0 + 1, head);
    }
    entry.0
}

/// Whether the answer is being encoded anew right now (a run that waits for its transaction does not run), or was since
/// the row was read. What would be sent is outdated then and would only revert.
async fn is_made_anew(lead: &Leader, tx: &Tx) -> anyhow::Result<bool> {
    let Some(run) = tx.spec.run_id.filter(|_| tx.spec.request_row.is_some()) else {
        return Ok(false);
    };
    let mut conn = lead.store().read().await?;
    let run = runs::find(&mut conn, run).await?;
    if run.is_some_and(|run| run.state == RunState::Running) {
        return Ok(true);
    }
    // In this order: the answer is stored together with the end of the run's work.
    let now = txs::find(&mut conn, tx.id).await?;
    Ok(now.is_none_or(|now| now.payload_version != tx.payload_version))
}

/// Whether the scanner stands on the block of a receipt.
async fn is_settled(
    conn: &mut Conn,
    cursor: &Cursor,
    chain: ChainId,
    receipt: &Receipt,
) -> anyhow::Result<bool> {
    let head = heads::by_hash(conn, chain, receipt.block_hash).await?;
    Ok(match head {
        Some(head) => head.canonical,
        None => receipt.block_number <= cursor.finalized,
    })
}

/// What the request of a final transaction comes to.
fn end_of_request(tx: &Tx) -> Option<Happened> {
    let request = tx.spec.request_row.filter(|_| !tx.superseded)?;
    let succeeded = tx.mined.as_ref().is_some_and(|mined| mined.succeeded);
    Some(Happened {
        request,
        event: match succeeded {
            true => RequestEvent::AnswerFinal,
            false => RequestEvent::Failed,
        },
        reason: tx.reason.clone(),
    })
}

/// Whether the nonce went to something else than the present answer (nothing, because the request had left
/// the chain, or the answer on older terms) while the request is there and waits for it.
async fn is_unsaid(conn: &mut Conn, tx: &Tx) -> anyhow::Result<bool> {
    let (Some(mined), Some(request)) = (&tx.mined, tx.spec.request_row) else {
        return Ok(false);
    };
    let given_up = tx.payload_version == 0;
    if mined.succeeded || tx.superseded || given_up || tx.spec.task_run_id.is_none() {
        return Ok(false);
    }
    let request = requests::find(conn, request).await?;
    if request.is_none_or(|request| request.state != RequestState::Open) {
        return Ok(false);
    }
    let attempts = txs::attempts(conn, tx.id).await?;
    let attempt = attempts.iter().find(|it| it.signed.hash == mined.hash);
    Ok(attempt.is_some_and(|it| it.signed.payload_version != tx.payload_version))
}

/// Somebody else used the nonce: the transaction is queued again under a new one.
async fn give_up_nonce(leader_tx: &mut LeaderTx, pending: &Pending) -> anyhow::Result<()> {
    let tx = &pending.tx;
    let nonce = tx.nonce.unwrap_or_default();
    observe::nonce_lost(tx.spec.chain_id, tx.spec.from, tx.id, nonce);
    let why =
        format!("nonce {nonce} was used by a transaction that is not this node's; queued again");
    // What another transaction took over, or what can never be mined, needs no other nonce.
    let needed = !tx.superseded && tx.payload_version != 0;
    if txs::die(leader_tx, tx, TxEvent::NonceLost, &why).await?
        && needed
        && txs::queue_again(leader_tx, tx, clock::now()).await?
    {
        leader_tx.poke_on_commit("txs");
    }
    Ok(())
}

impl Service<Leader> for Confirmer {
    type Report = Round;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Round> {
        let mut round = Round::default();
        let cursor = heads::cursor(&mut lead.store().read().await?, self.config.chain_id).await?;
        let Some(cursor) = cursor else {
            return Ok(round);
        };
        let unmined = self.look_for_receipts(lead, &cursor, &mut round).await?;
        self.give_up_stranded(lead, &cursor).await?;
        self.follow_mined(lead, &cursor, &mut round).await?;
        self.push(lead, &cursor, unmined, &mut round).await?;
        Ok(round)
    }

    fn worked(round: &Round) -> bool {
        round.mined + round.reorged + round.told > 0
    }

    fn again(round: &Round) -> bool {
        round.mined > 0
    }
}
