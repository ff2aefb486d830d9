use std::time::{Duration, SystemTime};

use dodona_model::Timestamp;
use dodona_pipeline::{Inputs, JobFacts, Schedule};
use dodona_runtime::{Poke, Service, clock};
use dodona_store::schedules::Scheduled;
use dodona_store::{Leader, LeaderTx, jobs, runs, schedules};
use serde::Serialize;
use tokio::task::AbortHandle;

use crate::observe;

/// Ticks taken in one database transaction, at most.
const BATCH: u32 = 100;
/// How late a tick may be kept: as long as another replica needs to take over, with the usual lease.
/// What is later was missed and is not made up for.
const LATEST: Duration = Duration::from_secs(15);
/// When a schedule that cannot be read is looked at again.
const UNREADABLE: Duration = Duration::from_secs(3_600);

/// What one round did.
#[derive(Debug, Default, Serialize)]
pub struct Round {
    runs: usize,
    missed: usize,
    more: bool,
}

/// Starts the runs of cron jobs. The run and the time of the tick after it are one commit, so that a
/// tick starts one run, whichever replica leads.
pub struct Scheduler {
    alarm: Poke,
    set: Option<AbortHandle>,
}

/// What a tick comes to.
#[derive(Debug, PartialEq, Eq)]
struct Decision {
    run: bool,
    next: Timestamp,
}

impl Scheduler {
    /// `alarm` must be one of the pokes it is scheduled on: it is poked when the next tick is due.
    pub fn new(alarm: Poke) -> Self {
        Self { alarm, set: None }
    }

    async fn take(
        &self,
        tx: &mut LeaderTx,
        due: &Scheduled,
        now: Timestamp,
        round: &mut Round,
    ) -> anyhow::Result<()> {
        let decided = due
            .schedule
            .parse()
            .map_err(|error| format!("{error}"))
            .and_then(|schedule| {
                decide(&schedule, due.next_at, now).ok_or_else(|| "it has no next time".to_owned())
            });
        let decision = match decided {
            Ok(decision) => decision,
            Err(why) => {
                observe::schedule_unreadable(due.job_id, &why);
                jobs::note_error(tx, due.job_id, &format!("schedule: {why}"), now).await?;
                Decision {
                    run: false,
                    next: now.plus(UNREADABLE),
                }
            }
        };
        if !schedules::advance(tx, due.job_id, due.next_at, decision.next).await? {
            return Ok(());
        }
        let job = jobs::find(tx, due.job_id).await?;
        let Some(job) = job.filter(|job| job.deleted_at.is_none()) else {
            return Ok(schedules::delete(tx, due.job_id).await?);
        };
        if !decision.run {
            observe::tick_missed(job.id, due.next_at, decision.next);
            round.missed += 1;
            return Ok(());
        }
        let facts = JobFacts {
            id: job.id,
            external_job_id: job.spec.external_job_id,
            name: &job.spec.name,
            evm_chain_id: job.spec.chain_id,
        };
        let inputs = Inputs::new(&facts.at_a_tick()).to_text();
        let run = runs::insert(tx, job.id, &inputs, now).await?;
        observe::ticked(&job, run, due.next_at);
        round.runs += 1;
        Ok(())
    }

    /// Pokes us when the next tick is due.
    fn set_alarm(&mut self, next: Option<Timestamp>) {
        if let Some(before) = self.set.take() {
            before.abort();
        }
        let Some(next) = next else { return };
        let (alarm, pause) = (self.alarm.clone(), next.since(clock::now()));
        // One at a time; the clock of our own rounds covers a lost one.
        let waiting = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            alarm.poke();
        });
        self.set = Some(waiting.abort_handle());
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.set_alarm(None);
    }
}

/// Whether the tick at `tick` is kept at `now`, and when the next one is. `None`: there is no next one.
fn decide(schedule: &Schedule, tick: Timestamp, now: Timestamp) -> Option<Decision> {
    let after = |moment| schedule.next(system(moment)).map(clock::from_system);
    let run = now.since(tick) <= LATEST;
    let follows = if run { after(tick)? } else { after(now)? };
    // Behind by more than one: the ones between were missed.
    let next = if follows > now { follows } else { after(now)? };
    Some(Decision { run, next })
}

fn system(moment: Timestamp) -> SystemTime {
    let micros = u64::try_from(moment.micros()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

impl Service<Leader> for Scheduler {
    type Report = Round;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Round> {
        let mut round = Round::default();
        let now = clock::now();
        let due = schedules::due(&mut lead.store().read().await?, now, BATCH).await?;
        if !due.is_empty() {
            let mut tx = lead.begin().await?;
            for due in &due {
                self.take(&mut tx, due, now, &mut round).await?;
            }
            if round.runs > 0 {
                tx.poke_on_commit("runs");
            }
            tx.commit().await?;
        }
        round.more = due.len() == BATCH as usize;
        let next = schedules::next(&mut lead.store().read().await?).await?;
        self.set_alarm(next);
        Ok(round)
    }

    fn worked(round: &Round) -> bool {
        round.runs > 0
    }

    fn again(round: &Round) -> bool {
        round.more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// A full minute.
    const NOON: Timestamp = Timestamp(1_767_268_800_000_000);

    fn decided(schedule: &str, late: Duration) -> (bool, u64) {
        let schedule = schedule.parse().unwrap();
        let decision = decide(&schedule, NOON, NOON.plus(late)).unwrap();
        (decision.run, decision.next.since(NOON).as_secs())
    }

    #[test]
    fn a_tick_in_time_starts_a_run_and_the_next_one_follows() {
        assert_eq!(decided("@every 1m", Duration::ZERO), (true, 60));
        assert_eq!(decided("@every 1m", SECOND * 2), (true, 60));
        assert_eq!(
            decided("CRON_TZ=UTC 0 */5 * * * *", SECOND / 2),
            (true, 300)
        );
    }

    #[test]
    fn ticks_that_nobody_kept_are_not_made_up_for() {
        assert_eq!(
            decided("CRON_TZ=UTC 0 */5 * * * *", SECOND * 3_601),
            (false, 3_900)
        );
        // From now on, as at a start.
        assert_eq!(decided("@every 1m", SECOND * 100), (false, 160));
    }

    #[test]
    fn of_several_ticks_in_a_short_pause_one_is_kept() {
        assert_eq!(decided("@every 1s", SECOND * 10), (true, 11));
        assert_eq!(decided("CRON_TZ=UTC * * * * * *", SECOND * 10), (true, 11));
    }
}
