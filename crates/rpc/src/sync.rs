//! Whether an endpoint is where it should be. Decisions only; nothing here talks to anybody.

use std::time::Duration;

use crate::status::NodeState;

/// When an endpoint counts as out of sync.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SyncLimits {
    /// Zero: not looked at.
    pub(crate) no_new_heads: Duration,
    /// Zero: not looked at.
    pub(crate) no_new_finalized: Duration,
    /// Blocks; 0: not looked at.
    pub(crate) behind: u64,
}

/// What is known about how far an endpoint is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) highest: Option<u64>,
    /// Since its head rose last.
    pub(crate) since_risen: Duration,
    /// Its highest finalized block, and since when; none where it does not tell.
    pub(crate) finalized: Option<(u64, Duration)>,
    /// What it says about its own syncing, in words.
    pub(crate) syncing: Option<String>,
    /// What it says while it answers that it is asked too much.
    pub(crate) throttled: Option<String>,
    /// The highest head of the alive endpoints.
    pub(crate) best: Option<u64>,
    /// The usual time between two blocks, once it is known.
    pub(crate) block_time: Option<Duration>,
}

/// Looks in a row without any cause before an endpoint is alive again.
const GOOD_LOOKS: u32 = 2;
/// So many blocks behind and without a new head for two and a half block times, but no less than
/// this, an endpoint is stuck.
const STUCK_BEHIND: u64 = 2;
const SHORTEST_STUCK: Duration = Duration::from_secs(1);

/// The state an answering endpoint should be in, and why; none if it stays as it is. `good_looks`
/// counts those in a row that found nothing.
pub(crate) fn judged(
    state: NodeState,
    progress: &Progress,
    limits: SyncLimits,
    good_looks: &mut u32,
) -> Option<(NodeState, Option<String>)> {
    if !matches!(
        state,
        NodeState::Alive | NodeState::OutOfSync | NodeState::Syncing
    ) {
        return None;
    }
    // Leaving takes the limit, coming back takes half of it: whoever is just at the limit does not
    // come and go all the time.
    let limits = match state {
        NodeState::Alive => limits,
        _ => SyncLimits {
            behind: limits.behind.div_ceil(2),
            ..limits
        },
    };
    let bad = match (&progress.throttled, &progress.syncing) {
        (Some(words), _) => Some((
            NodeState::OutOfSync,
            format!("it is out of quota, so its head is not known: {words}"),
        )),
        (None, Some(words)) => Some((NodeState::Syncing, words.clone())),
        (None, None) => out_of_sync(progress, limits).map(|why| (NodeState::OutOfSync, why)),
    };
    match bad {
        Some((to, why)) => {
            *good_looks = 0;
            Some((to, Some(why)))
        }
        None if state == NodeState::Alive => None,
        None => {
            *good_looks += 1;
            (*good_looks >= GOOD_LOOKS).then_some((NodeState::Alive, None))
        }
    }
}

/// Why an endpoint is out of sync, as a sentence; none if it is not.
fn out_of_sync(progress: &Progress, limits: SyncLimits) -> Option<String> {
    let over = |since: Duration, limit: Duration| !limit.is_zero() && since > limit;
    if over(progress.since_risen, limits.no_new_heads) {
        let at = progress
            .highest
            .map(|highest| format!(" (the last is {highest})"))
            .unwrap_or_default();
        return Some(format!(
            "no new head for {} s{at}",
            progress.since_risen.as_secs()
        ));
    }
    if let Some((number, since)) = progress.finalized
        && over(since, limits.no_new_finalized)
    {
        return Some(format!(
            "no new finalized block for {} s (the last is {number})",
            since.as_secs()
        ));
    }
    let (highest, best) = (progress.highest?, progress.best?);
    let behind = best.saturating_sub(highest);
    // Stuck: nothing for some block times, while others went on by more than a late message.
    if let Some(block_time) = progress.block_time
        && limits.behind > 0
        && behind >= STUCK_BEHIND
        && progress.since_risen > (block_time * 5 / 2).max(SHORTEST_STUCK)
    {
        return Some(format!(
            "its head stands still: no new one for {:.1} s while others went on from {highest} to {best}",
            progress.since_risen.as_secs_f64()
        ));
    }
    (limits.behind > 0 && behind > limits.behind).then(|| {
        format!("it is {behind} blocks behind the best endpoint ({highest} instead of {best})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeState::{Alive, Forked, InvalidChainId, OutOfSync, Syncing, Undialed, Unreachable};

    const LIMITS: SyncLimits = SyncLimits {
        no_new_heads: Duration::from_secs(60),
        no_new_finalized: Duration::from_secs(600),
        behind: 5,
    };

    fn at(highest: u64, best: u64) -> Progress {
        Progress {
            highest: Some(highest),
            best: Some(best),
            ..Progress::default()
        }
    }

    #[test]
    fn out_of_sync_is_said_with_its_reason_and_only_when_looked_at() {
        assert_eq!(out_of_sync(&at(10, 15), LIMITS), None);
        let why = |progress: Progress| out_of_sync(&progress, LIMITS).unwrap();
        assert!(why(at(10, 16)).contains("6 blocks behind"));
        let silent = |heads, finalized| Progress {
            since_risen: Duration::from_secs(heads),
            finalized: Some((7, Duration::from_secs(finalized))),
            ..at(10, 10)
        };
        assert!(why(silent(61, 0)).contains("no new head for 61 s"));
        assert!(why(silent(0, 601)).contains("no new finalized block for 601 s (the last is 7)"));
        assert_eq!(out_of_sync(&silent(60, 600), LIMITS), None);
        let unknown = Progress {
            highest: None,
            ..at(10, 16)
        };
        assert_eq!(out_of_sync(&unknown, LIMITS), None);
        let stuck = |millis, behind: u64| Progress {
            since_risen: Duration::from_millis(millis),
            block_time: Some(Duration::from_secs(2)),
            ..at(10, 10 + behind)
        };
        assert!(why(stuck(5001, 2)).contains("its head stands still: no new one for 5.0 s"));
        assert_eq!(out_of_sync(&stuck(5001, 1), LIMITS), None, "a late message");
        assert_eq!(out_of_sync(&stuck(4999, 2), LIMITS), None);
        let off = SyncLimits {
            no_new_heads: Duration::ZERO,
            no_new_finalized: Duration::ZERO,
            behind: 0,
        };
        assert_eq!(out_of_sync(&silent(9999, 9999), off), None);
        assert_eq!(out_of_sync(&at(1, 999), off), None);
    }

    #[test]
    fn leaving_takes_the_limit_and_coming_back_takes_half_of_it_twice() {
        let mut good = 0;
        let mut judge = |state, progress: &Progress| {
            judged(state, progress, LIMITS, &mut good).map(|(state, _)| state)
        };
        assert_eq!(judge(Alive, &at(10, 15)), None);
        assert_eq!(judge(Alive, &at(10, 16)), Some(OutOfSync));
        // Within the limit, and not far enough within it.
        assert_eq!(judge(OutOfSync, &at(12, 16)), Some(OutOfSync));
        assert_eq!(judge(OutOfSync, &at(13, 16)), None);
        assert_eq!(judge(OutOfSync, &at(12, 16)), Some(OutOfSync));
        assert_eq!(judge(OutOfSync, &at(14, 16)), None);
        assert_eq!(judge(OutOfSync, &at(16, 16)), Some(Alive));
        let syncing = Progress {
            syncing: Some("it says that it is syncing".to_owned()),
            ..at(16, 16)
        };
        assert_eq!(judge(Alive, &syncing), Some(Syncing));
        assert_eq!(judge(Syncing, &at(16, 16)), None);
        assert_eq!(judge(Syncing, &at(16, 16)), Some(Alive));
        let throttled = Progress {
            throttled: Some("HTTP 429".to_owned()),
            ..at(16, 16)
        };
        assert_eq!(
            judged(Alive, &throttled, LIMITS, &mut 0),
            Some((
                OutOfSync,
                Some("it is out of quota, so its head is not known: HTTP 429".to_owned())
            ))
        );
        for state in [Unreachable, InvalidChainId, Forked, Undialed] {
            assert_eq!(judge(state, &at(1, 999)), None);
        }
    }
}
