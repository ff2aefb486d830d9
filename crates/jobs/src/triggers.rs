use std::sync::Arc;

use dodona_model::oracle::{CANCEL_ORACLE_REQUEST, ORACLE_REQUEST};
use dodona_model::request::{Event, State};
use dodona_model::{Timestamp, tx};
use dodona_pipeline::Inputs;
use dodona_runtime::{Service, clock};
use dodona_store::heads::Cursor;
use dodona_store::jobs::Job;
use dodona_store::logs::Log;
use dodona_store::requests::{NewRequest, Request};
use dodona_store::{LeadError, Leader, LeaderTx, heads, jobs, logs, requests, runs, txs};
use serde::Serialize;

use crate::TriggerConfig;
use crate::demands::Demands;
use crate::gathered::Gathered;
use crate::inputs;
use crate::log::{self, Asked};
use crate::observe;
use crate::request::{self, Decision, Terms};

/// Logs decided in one database transaction, at most.
const BATCH: u32 = 256;

/// What one round did.
#[derive(Debug, Default, Serialize)]
pub struct Round {
    runs: usize,
    consumed: usize,
    waiting: usize,
}

/// Decides what each confirmed, canonical log of one chain means.
pub struct Triggers {
    config: TriggerConfig,
    /// What bridges ask, read anew in each round.
    demands: Demands,
}

impl Triggers {
    /// Triggers of one chain.
    pub fn new(config: TriggerConfig) -> Self {
        Self {
            config,
            demands: Demands::default(),
        }
    }

    async fn consider(
        &self,
        tx: &mut LeaderTx,
        log: &Log,
        cursor: &Cursor,
        together: &mut Gathered,
        round: &mut Round,
    ) -> anyhow::Result<()> {
        let note = match log.topics.first() {
            Some(&ORACLE_REQUEST) => self.request(tx, log, cursor, together, round).await?,
            Some(&CANCEL_ORACLE_REQUEST) => Some(self.cancelled(tx, log, together).await?),
            _ => Some("nothing to do".to_owned()),
        };
        match note {
            Some(note) => {
                together.consume(log, note);
                round.consumed += 1;
            }
            None => round.waiting += 1,
        }
        Ok(())
    }

    /// A request. Returns the note for its log, or `None` to look at it again later.
    async fn request(
        &self,
        tx: &mut LeaderTx,
        log: &Log,
        cursor: &Cursor,
        together: &mut Gathered,
        round: &mut Round,
    ) -> anyhow::Result<Option<String>> {
        let chain = self.config.chain_id;
        let Some(topic) = log.topics.get(1) else {
            return Ok(Some("the log names no job".to_owned()));
        };
        let Some(job) = together.job((log.address, *topic)) else {
            observe::unknown_job(chain, log.address, *topic);
            if let Ok(asked) = log::asked(log) {
                self.known(tx, log, &asked, None, together).await?;
            }
            return Ok(Some("no job of this node has that id".to_owned()));
        };
        let bridges = self.demands.of(&job.spec.dot);
        let wanted = self
            .config
            .min_confirmations
            .max(job.spec.min_confirmations.unwrap_or(0))
            .max(bridges.confirmations);
        if !request::confirmed(log.block.number, wanted, cursor.block.number) {
            return Ok(None);
        }
        let asked = match log::asked(log) {
            Ok(asked) => asked,
            Err(what) => {
                jobs::note_error(tx, job.id, &what, clock::now()).await?;
                return Ok(Some(what));
            }
        };
        let terms = Terms {
            min_payment_juels: job
                .spec
                .min_payment_juels
                .unwrap_or(self.config.min_payment_juels)
                .max(bridges.payment_juels),
            requesters: job.spec.requesters.clone(),
        };
        let at = asked.incarnation(log);
        let (newest, gone) = self.known(tx, log, &asked, Some(&job), together).await?;
        let decision = request::decide(&asked, &at, newest.as_ref(), gone, &terms);
        self.act(tx, log, &job, &asked, newest, decision, together, round)
            .await
    }

    /// What we know about the request of this log, and whether the place where we knew it left the chain.
    ///
    /// It may have left without being an orphan: an answer that was mined again may be seen before the
    /// request's new log is considered, and says that the request is there. A reorganisation may change the order of two questions, and
    /// the consumer's next one then has the id of another: an orphan whose id asks something else is closed, so
    /// that nothing that was fetched, computed or signed for it answers the new question.
    async fn known(
        &self,
        tx: &mut LeaderTx,
        log: &Log,
        asked: &Asked,
        job: Option<&Job>,
        together: &mut Gathered,
    ) -> anyhow::Result<(Option<Request>, bool)> {
        let (chain, id) = (self.config.chain_id, asked.request_id);
        let newest = together.newest_life(tx, chain, (log.address, id), clock::now());
        let Some(known) = newest.await? else {
            return Ok((None, false));
        };
        if known.state != State::Orphaned
            && (request::is_at(&known, &asked.incarnation(log)) || self.stands(tx, &known).await?)
        {
            return Ok((Some(known), false));
        }
        let run = match known.run_id {
            Some(run) => runs::find(tx, run).await?,
            None => None,
        };
        let same_job = job.is_some_and(|job| job.id == known.job_id);
        let same_question = run.is_none_or(|run| {
            Inputs::read(&run.inputs).is_ok_and(|it| inputs::ask_the_same(&it, asked))
        });
        let (now, why) = (clock::now(), "its block left the canonical chain");
        requests::apply(tx, known.id, Event::Orphaned, why, now).await?;
        if same_job && same_question {
            return Ok((requests::find(tx, known.id).await?, true));
        }
        let why = "it left the chain with its block, and its id stands for another question now";
        self.close(tx, &known, why).await?;
        observe::displaced(id, log.block);
        Ok((requests::find(tx, known.id).await?, false))
    }

    /// Whether the block where we knew a request is on the chain, as far as we still know.
    async fn stands(&self, tx: &mut LeaderTx, known: &Request) -> anyhow::Result<bool> {
        let block = known.incarnation.block.hash;
        let head = heads::by_hash(tx, self.config.chain_id, block).await?;
        Ok(head.is_none_or(|head| head.canonical))
    }

    /// The request is over, and nothing may be sent for it any more. `false`: it was over already.
    async fn close(&self, tx: &mut LeaderTx, known: &Request, why: &str) -> anyhow::Result<bool> {
        let now = clock::now();
        if requests::apply(tx, known.id, Event::Cancelled, why, now)
            .await?
            .is_none()
        {
            return Ok(false);
        }
        // What is signed already is the confirmer's: it uses the nonce up.
        for answer in txs::of_request(tx, known.id).await? {
            if answer.state == tx::State::Queued {
                txs::die(tx, &answer, tx::Event::Refused, why).await?;
            }
        }
        Ok(true)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the facts of one case, gathered one line above its only call"
    )]
    async fn act(
        &self,
        tx: &mut LeaderTx,
        log: &Log,
        job: &Arc<Job>,
        asked: &Asked,
        newest: Option<Request>,
        decision: Decision,
        together: &mut Gathered,
        round: &mut Round,
    ) -> anyhow::Result<Option<String>> {
        let now = clock::now();
        let at = asked.incarnation(log);
        let new = |life, state, reason: &str| NewRequest {
            chain_id: self.config.chain_id,
            oracle: log.address,
            request_id: asked.request_id,
            life,
            state,
            reason: reason.to_owned(),
            job_id: job.id,
            run_id: None,
            requester: asked.requester,
            incarnation: at.clone(),
        };
        match (decision, newest) {
            (Decision::Run { life }, _) => {
                let chain = self.config.chain_id;
                let head = together.head(tx, chain, log.block.hash).await?;
                let inputs = Inputs::new(&inputs::of_request(job, log, asked, head)).to_text();
                let run = Some((Arc::clone(job), inputs));
                together.begin(new(life, State::Open, ""), run);
                round.runs += 1;
            }
            (Decision::Refuse { life, reason }, _) => {
                together.begin(new(life, State::Refused, &reason), None);
                observe::refused(job, asked.request_id, &reason);
                return Ok(Some(reason));
            }
            (Decision::RunAgain, Some(known)) => {
                requests::reincarnate(tx, known.id, State::Orphaned, State::Open, &at, now).await?;
                self.begin_run(tx, log, job, asked, known.id, now).await?;
                round.runs += 1;
            }
            (Decision::MovedOn, Some(known)) => {
                requests::reincarnate(tx, known.id, State::Orphaned, State::Open, &at, now).await?;
                observe::moved(asked.request_id, log.block);
                if self.is_answered(tx, &known).await? {
                    let why = "its answer is on the chain";
                    requests::apply(tx, known.id, Event::Answered, why, now).await?;
                } else if self.answer_is_lost(tx, &known).await? {
                    self.encode_anew(tx, log, job, asked, &known).await?;
                    round.runs += 1;
                }
            }
            (Decision::Settled, Some(known)) => {
                let state = known.state;
                requests::reincarnate(tx, known.id, state, state, &at, now).await?;
                observe::moved(asked.request_id, log.block);
            }
            (Decision::EncodeAnew, Some(known)) => {
                requests::reincarnate(tx, known.id, State::Orphaned, State::Open, &at, now).await?;
                observe::encoded_anew(asked.request_id, log.block);
                self.encode_anew(tx, log, job, asked, &known).await?;
                round.runs += 1;
            }
            (Decision::Known, _) => return Ok(Some("known".to_owned())),
            (Decision::Wait, _) => return Ok(None),
            // `decide` returns these only for a request it was shown.
            (
                Decision::RunAgain | Decision::MovedOn | Decision::Settled | Decision::EncodeAnew,
                None,
            ) => {
                return Ok(None);
            }
        }
        Ok(Some(String::new()))
    }

    async fn begin_run(
        &self,
        tx: &mut LeaderTx,
        log: &Log,
        job: &Job,
        asked: &Asked,
        row: i64,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let head = heads::by_hash(tx, self.config.chain_id, log.block.hash).await?;
        let inputs = Inputs::new(&inputs::of_request(job, log, asked, head.as_ref())).to_text();
        let run = runs::insert(tx, job.id, &inputs, now).await?;
        requests::set_run(tx, row, run).await?;
        observe::triggered(job, run, asked.request_id, log.block);
        Ok(())
    }

    /// The same run, with what it fetched and under the same task-run ids, for the new incarnation.
    async fn encode_anew(
        &self,
        tx: &mut LeaderTx,
        log: &Log,
        job: &Job,
        asked: &Asked,
        known: &Request,
    ) -> anyhow::Result<()> {
        let Some(run) = known.run_id else {
            return Ok(());
        };
        // What became of the old answer is nothing the run that makes the new one should be told.
        for answer in txs::of_request(tx, known.id).await? {
            txs::signalled(tx, answer.id).await?;
        }
        let head = heads::by_hash(tx, self.config.chain_id, log.block.hash).await?;
        let mut inputs = Inputs::new(&inputs::of_request(job, log, asked, head.as_ref()));
        match runs::find(tx, run).await? {
            Some(old) => {
                inputs.seed = Inputs::read(&old.inputs)?.seed;
                runs::run_again(tx, run, &inputs.to_text()).await?;
            }
            // The run was dropped or pruned: a fresh one.
            None => {
                let run = runs::insert(tx, job.id, &inputs.to_text(), clock::now()).await?;
                requests::set_run(tx, known.id, run).await?;
            }
        }
        Ok(())
    }

    /// Whether an answer to this request is on the chain.
    async fn is_answered(&self, tx: &mut LeaderTx, known: &Request) -> anyhow::Result<bool> {
        for answer in txs::of_request(tx, known.id).await? {
            if let Some(mined) = answer.mined.filter(|mined| mined.succeeded) {
                let chain = self.config.chain_id;
                let head = heads::by_hash(tx, chain, mined.block.hash).await?;
                if head.is_some_and(|head| head.canonical) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether nothing that is or will be on chain answers this request, although its run is over.
    async fn answer_is_lost(&self, tx: &mut LeaderTx, known: &Request) -> anyhow::Result<bool> {
        let Some(run) = known.run_id else {
            return Ok(false);
        };
        let still_at_work = match runs::find(tx, run).await? {
            Some(run) => {
                !run.state.is_finished() && run.state != dodona_model::run::State::Suspended
            }
            None => false,
        };
        if still_at_work {
            return Ok(false);
        }
        let answers = txs::of_request(tx, known.id).await?;
        Ok(!answers.iter().any(|answer| match answer.state {
            tx::State::Dead => false,
            tx::State::Mined | tx::State::Final => {
                answer.mined.as_ref().is_some_and(|mined| mined.succeeded)
            }
            tx::State::Queued | tx::State::Signed | tx::State::Sent => true,
        }))
    }

    /// The requester took the payment back: nothing may be sent any more.
    async fn cancelled(
        &self,
        tx: &mut LeaderTx,
        log: &Log,
        together: &mut Gathered,
    ) -> anyhow::Result<String> {
        let Some(request_id) = log.topics.get(1) else {
            return Ok("the log names no request".to_owned());
        };
        let (chain, name) = (self.config.chain_id, (log.address, *request_id));
        let newest = together.newest_life(tx, chain, name, clock::now());
        let Some(known) = newest.await? else {
            return Ok("a request of no job here".to_owned());
        };
        let reason = "the requester cancelled it";
        if !self.close(tx, &known, reason).await? {
            return Ok(format!("the request is {}", known.state.as_str()));
        }
        observe::cancelled(*request_id);
        Ok(reason.to_owned())
    }
}

impl Triggers {
    /// Decides some logs in one database transaction; an error leaves all of them as they were.
    async fn decide_together(
        &self,
        lead: &Leader,
        logs: &[Log],
        cursor: &Cursor,
    ) -> anyhow::Result<Round> {
        let mut round = Round::default();
        let mut tx = lead.begin().await?;
        let mut together = Gathered::of(&mut tx, self.config.chain_id, logs).await?;
        for log in logs {
            self.consider(&mut tx, log, cursor, &mut together, &mut round)
                .await?;
        }
        together.write(&mut tx, clock::now()).await?;
        if round.runs > 0 {
            tx.poke_on_commit("runs");
        }
        tx.commit().await?;
        Ok(round)
    }

    /// As [`Triggers::decide_together`]; where one of them cannot be decided, the others must not suffer.
    /// The error is the first one's.
    async fn decide_each(
        &self,
        lead: &Leader,
        logs: &[Log],
        cursor: &Cursor,
        round: &mut Round,
    ) -> anyhow::Result<()> {
        match self.decide_together(lead, logs, cursor).await {
            Ok(decided) => {
                round.add(decided);
                return Ok(());
            }
            // Nobody else's turn either: we do not lead, or there is no other one.
            Err(cause) if logs.len() == 1 || cause.is::<LeadError>() => return Err(cause),
            Err(_) => {}
        }
        let mut failed = Ok(());
        for log in logs {
            match self
                .decide_together(lead, std::slice::from_ref(log), cursor)
                .await
            {
                Ok(decided) => round.add(decided),
                Err(cause) if cause.is::<LeadError>() => return Err(cause),
                Err(cause) => failed = failed.and(Err(cause)),
            }
        }
        failed
    }
}

impl Round {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.consumed += other.consumed;
        self.waiting += other.waiting;
    }
}

impl Service<Leader> for Triggers {
    type Report = Round;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Round> {
        let chain = self.config.chain_id;
        let cursor = heads::cursor(&mut lead.store().read().await?, chain).await?;
        let mut round = Round::default();
        let Some(cursor) = cursor else {
            return Ok(round);
        };
        let least = u64::from(self.config.min_confirmations.max(1)) - 1;
        let until = cursor.block.number.saturating_sub(least);
        let mut failed = Ok(());
        let mut pending = {
            let mut conn = lead.store().read().await?;
            self.demands = Demands::read(&mut conn).await?;
            logs::pending(&mut conn, chain, until, BATCH).await?
        };
        // To the end, past those that wait for more confirmations: nobody waits behind them.
        while let Some(last) = pending.last() {
            let after = (last.block.number, last.log_index);
            let full = pending.len() == BATCH as usize;
            match self.decide_each(lead, &pending, &cursor, &mut round).await {
                Err(cause) if cause.is::<LeadError>() => return Err(cause),
                other => failed = failed.and(other),
            }
            if !full {
                break;
            }
            let mut conn = lead.store().read().await?;
            pending = logs::pending_after(&mut conn, chain, until, after, BATCH).await?;
        }
        failed.map(|()| round)
    }

    fn worked(round: &Round) -> bool {
        round.consumed > 0
    }
}
