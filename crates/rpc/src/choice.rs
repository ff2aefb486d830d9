//! Which endpoint answers a read. Decisions only; nothing here talks to anybody.

use std::cmp::Reverse;
use std::time::Duration;

use crate::status::NodeState;

/// What counts about an endpoint for the choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) index: usize,
    pub(crate) state: NodeState,
    pub(crate) highest: Option<u64>,
    pub(crate) order: u32,
}

/// The endpoints to ask, best first: the one in use while it is alive, then the highest head, then
/// the lowest order, then the order of the configuration. Endpoints of another chain are never
/// among them. If none is alive the others follow, because the last endpoint is never given up, and
/// because what is finished during a shutdown still needs one.
pub(crate) fn ranked(mut candidates: Vec<Candidate>, in_use: Option<usize>) -> Vec<usize> {
    candidates.retain(|candidate| candidate.state != NodeState::InvalidChainId);
    candidates.sort_by_key(|candidate| {
        let usable = match candidate.state {
            NodeState::Alive => 0,
            NodeState::OutOfSync => 1,
            NodeState::Dialed | NodeState::Undialed => 2,
            _ => 3,
        };
        let elsewhere = candidate.state != NodeState::Alive || in_use != Some(candidate.index);
        (
            usable,
            elsewhere,
            Reverse(candidate.highest),
            candidate.order,
            candidate.index,
        )
    });
    candidates
        .into_iter()
        .map(|candidate| candidate.index)
        .collect()
}

/// When an endpoint counts as out of sync.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SyncLimits {
    /// Zero: not looked at.
    pub(crate) no_new_heads: Duration,
    /// Blocks; 0: not looked at.
    pub(crate) behind: u64,
}

/// Why an endpoint is out of sync, as a sentence; none if it is not. `best` is the highest head
/// of the alive endpoints.
pub(crate) fn out_of_sync(
    highest: Option<u64>,
    since_risen: Duration,
    best: Option<u64>,
    limits: SyncLimits,
) -> Option<String> {
    if !limits.no_new_heads.is_zero() && since_risen > limits.no_new_heads {
        let at = highest
            .map(|highest| format!(" (the last is {highest})"))
            .unwrap_or_default();
        return Some(format!("no new head for {} s{at}", since_risen.as_secs()));
    }
    let (highest, best) = (highest?, best?);
    let behind = best.saturating_sub(highest);
    (limits.behind > 0 && behind > limits.behind).then(|| {
        format!("it is {behind} blocks behind the best endpoint ({highest} instead of {best})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeState::{Alive, InvalidChainId, OutOfSync, Undialed, Unreachable};

    fn of(list: &[(NodeState, Option<u64>, u32)]) -> Vec<Candidate> {
        list.iter()
            .enumerate()
            .map(|(index, &(state, highest, order))| Candidate {
                index,
                state,
                highest,
                order,
            })
            .collect()
    }

    #[test]
    fn the_highest_head_wins_then_the_lowest_order_then_the_list() {
        let nodes = of(&[
            (Alive, Some(9), 1),
            (Alive, Some(10), 100),
            (Alive, Some(10), 5),
            (Alive, Some(10), 5),
        ]);
        assert_eq!(ranked(nodes, None), [2, 3, 1, 0]);
    }

    #[test]
    fn the_endpoint_in_use_stays_in_use_while_it_is_alive() {
        assert_eq!(
            ranked(of(&[(Alive, Some(9), 1), (Alive, Some(10), 1)]), Some(0)),
            [0, 1]
        );
        assert_eq!(
            ranked(
                of(&[(OutOfSync, Some(11), 1), (Alive, Some(10), 1)]),
                Some(0)
            ),
            [1, 0]
        );
    }

    #[test]
    fn the_last_endpoint_is_never_given_up_but_one_of_another_chain_is() {
        assert_eq!(
            ranked(
                of(&[
                    (Unreachable, None, 1),
                    (OutOfSync, Some(3), 1),
                    (Undialed, None, 1)
                ]),
                None
            ),
            [1, 2, 0]
        );
        assert_eq!(
            ranked(of(&[(InvalidChainId, Some(99), 1)]), Some(0)),
            [0; 0]
        );
    }

    #[test]
    fn out_of_sync_is_said_with_its_reason_and_only_when_looked_at() {
        let limits = SyncLimits {
            no_new_heads: Duration::from_secs(60),
            behind: 5,
        };
        let now = Duration::ZERO;
        assert_eq!(out_of_sync(Some(10), now, Some(15), limits), None);
        assert!(
            out_of_sync(Some(10), now, Some(16), limits)
                .unwrap()
                .contains("6 blocks behind")
        );
        assert!(
            out_of_sync(Some(10), Duration::from_secs(61), Some(10), limits)
                .unwrap()
                .contains("no new head for 61 s")
        );
        assert_eq!(out_of_sync(None, now, Some(16), limits), None);
        let off = SyncLimits {
            no_new_heads: Duration::ZERO,
            behind: 0,
        };
        assert_eq!(
            out_of_sync(Some(1), Duration::from_secs(9999), Some(999), off),
            None
        );
    }
}
