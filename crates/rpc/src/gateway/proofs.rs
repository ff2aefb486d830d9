//! What is known of whether the logs of blocks can be proven on this chain, and of whom to ask for
//! receipts and how. Decides and asks nobody; `proving` asks.
//!
//! | what happens | what is done |
//! |---|---|
//! | an endpoint lacks `eth_getBlockReceipts` | another one is asked; this one again after a while |
//! | it takes a block's number only | it is asked so, and the receipts have to name the block |
//! | its receipts do not fit, another's do | it is named and not asked for a while |
//! | nobody's fit, in block after block | the chain makes its root in another way: looked at again now and then |
//! | nobody gives any | the header's bloom and the numbers of logs have to do, and it is counted |

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many blocks in a row whose receipts fit at no endpoint at all, and nothing can be proven here.
const MISFITS: u32 = 5;
/// The same where somebody did not show any, and so does not say either.
const MISFITS_OF_SOME: u32 = 50;
/// Where receipts have fitted before, all endpoints have to be wrong for so long.
const MISFITS_AFTER_FITS: u32 = 20;
/// On a chain where nothing can be proven it is tried again at each block with a multiple of this.
pub(super) const AGAIN: u64 = 64;
/// An endpoint without the method is asked again after this.
const LACKS_FOR: Duration = Duration::from_secs(600);
/// Blocks that come faster than one in a second, give or take what heads are late, are not worth it.
const TOO_FAST: Duration = Duration::from_millis(900);

/// How logs for subscribers and filters are made sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogsMode {
    /// Verified, unless blocks come faster than once a second.
    #[default]
    ByBlockTime,
    /// By the receipts of the block, which have to make the root in its header.
    Verified,
    /// By the bloom in the header and the numbers of the logs, from `eth_getLogs`.
    Derive,
}

/// Why logs are not proven now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Settings,
    TooFast,
    NoRoot,
    NobodyHasThem,
    DoNotFit,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settings => "logs_mode says so",
            Self::TooFast => "blocks come faster than one in a second",
            Self::NoRoot => "this chain's headers name no root of receipts",
            Self::NobodyHasThem => "no upstream has eth_getBlockReceipts",
            Self::DoNotFit => "this chain's receipts do not make the root in its headers",
        })
    }
}

/// How an endpoint is asked for the receipts of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ByHash,
    ByNumber,
    /// Not at all, until then.
    Lacks(Instant),
}

/// Whether this chain's receipts make the root in its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// Nothing seen, or so many blocks whose receipts fit nowhere.
    Untried {
        misfits: u32,
    },
    Can {
        misfits: u32,
    },
    Cannot,
}

impl Chain {
    /// Nobody's receipts fitted. `all`: everybody who has receipts showed some.
    fn misfitted(self, all: bool) -> Self {
        match self {
            Self::Untried { misfits } => {
                let misfits = misfits + 1;
                let enough = if all { MISFITS } else { MISFITS_OF_SOME };
                match misfits >= enough {
                    true => Self::Cannot,
                    false => Self::Untried { misfits },
                }
            }
            // Whoever is not there may be the one who tells the truth.
            Self::Can { misfits } if all => match misfits + 1 >= MISFITS_AFTER_FITS {
                true => Self::Cannot,
                false => Self::Can {
                    misfits: misfits + 1,
                },
            },
            unchanged => unchanged,
        }
    }
}

pub(crate) struct Proofs(Mutex<Known>);

struct Known {
    chain: Chain,
    ways: HashMap<usize, Way>,
    counts: Counts,
    /// What was said last of how logs are made sure of.
    said: Option<Option<Why>>,
}

/// Blocks whose logs somebody needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) proven: u64,
    pub(crate) unproven: u64,
}

impl Default for Proofs {
    fn default() -> Self {
        Self(Mutex::new(Known {
            chain: Chain::Untried { misfits: 0 },
            ways: HashMap::new(),
            counts: Counts::default(),
            said: None,
        }))
    }
}

/// What the decision whether to prove depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) mode: LogsMode,
    pub(crate) block_time: Option<Duration>,
    /// Whether the header names a root.
    pub(crate) has_root: bool,
    /// Endpoints that are read from.
    pub(crate) nodes: &'a [usize],
    pub(crate) now: Instant,
}

impl Proofs {
    /// Why logs are not proven; none if they are.
    pub(crate) fn why_not(&self, at: Circumstances<'_>) -> Option<Why> {
        let known = self.known();
        let lacks = |node: &usize| known.lacks(*node, at.now);
        match at.mode {
            LogsMode::Derive => return Some(Why::Settings),
            LogsMode::ByBlockTime if at.block_time.is_some_and(|time| time < TOO_FAST) => {
                return Some(Why::TooFast);
            }
            LogsMode::ByBlockTime | LogsMode::Verified => {}
        }
        if !at.has_root {
            return Some(Why::NoRoot);
        }
        if !at.nodes.is_empty() && at.nodes.iter().all(lacks) {
            return Some(Why::NobodyHasThem);
        }
        (known.chain == Chain::Cannot).then_some(Why::DoNotFit)
    }

    /// True if that was not the case before, so that somebody has to be told.
    pub(super) fn is_news(&self, why: Option<Why>) -> bool {
        let mut known = self.known();
        let news = known.said != Some(why);
        known.said = Some(why);
        news
    }

    pub(super) fn way(&self, node: usize, now: Instant) -> Way {
        let known = self.known();
        match known.ways.get(&node) {
            Some(Way::Lacks(until)) if *until <= now => Way::ByHash,
            Some(way) => *way,
            None => Way::ByHash,
        }
    }

    pub(super) fn takes_numbers(&self, node: usize) {
        self.known().ways.insert(node, Way::ByNumber);
    }

    pub(super) fn lacks(&self, node: usize, now: Instant) {
        self.known().ways.insert(node, Way::Lacks(now + LACKS_FOR));
    }

    /// Somebody's receipts made the root.
    pub(super) fn fitted(&self) {
        let mut known = self.known();
        known.chain = Chain::Can { misfits: 0 };
        known.counts.proven += 1;
    }

    /// The block has no receipts, which its header proves.
    pub(super) fn none_needed(&self) {
        self.known().counts.proven += 1;
    }

    /// The logs of a block could not be proven. `wrong`: of these endpoints that are read from,
    /// those whose receipts do not make the root.
    pub(super) fn failed(&self, nodes: &[usize], wrong: &[usize], now: Instant) {
        let mut known = self.known();
        known.counts.unproven += 1;
        if wrong.is_empty() {
            return;
        }
        let all = nodes
            .iter()
            .all(|node| wrong.contains(node) || known.lacks(*node, now));
        known.chain = known.chain.misfitted(all);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.known().counts
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn lacks(&self, node: usize, now: Instant) -> bool {
        matches!(self.ways.get(&node), Some(Way::Lacks(until)) if *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &[usize] = &[0, 1];

    fn circumstances(mode: LogsMode) -> Circumstances<'static> {
        Circumstances {
            mode,
            block_time: Some(Duration::from_secs(12)),
            has_root: true,
            nodes: NODES,
            now: Instant::now(),
        }
    }

    #[test]
    fn a_chain_where_nobodys_receipts_ever_fit_is_found_out_and_believed_again_when_they_do() {
        let (proofs, at) = (Proofs::default(), circumstances(LogsMode::Verified));
        for _ in 1..MISFITS {
            proofs.failed(NODES, NODES, at.now);
            assert_eq!(proofs.why_not(at), None);
        }
        proofs.failed(NODES, NODES, at.now);
        assert_eq!(proofs.why_not(at), Some(Why::DoNotFit));
        proofs.fitted();
        assert_eq!(proofs.why_not(at), None);
        let counts = proofs.counts();
        assert_eq!((counts.proven, counts.unproven), (1, 5));
    }

    #[test]
    fn where_receipts_have_fitted_those_who_are_away_are_not_counted_with_the_liars() {
        let (proofs, at) = (Proofs::default(), circumstances(LogsMode::Verified));
        proofs.fitted();
        for _ in 0..1000 {
            proofs.failed(NODES, &[0], at.now);
        }
        assert_eq!(proofs.why_not(at), None);
        // Who lacks them cannot tell the truth about them.
        proofs.lacks(1, at.now);
        for _ in 0..MISFITS_AFTER_FITS {
            assert_eq!(proofs.why_not(at), None);
            proofs.failed(NODES, &[0], at.now);
        }
        assert_eq!(proofs.why_not(at), Some(Why::DoNotFit));
    }

    #[test]
    fn one_who_is_away_from_the_start_does_not_keep_a_chain_untried_for_ever() {
        let (proofs, at) = (Proofs::default(), circumstances(LogsMode::Verified));
        for _ in 0..MISFITS_OF_SOME {
            assert_eq!(proofs.why_not(at), None);
            proofs.failed(NODES, &[0], at.now);
        }
        assert_eq!(proofs.why_not(at), Some(Why::DoNotFit));
    }

    #[test]
    fn a_block_without_any_receipts_at_hand_says_nothing_about_the_chain() {
        let (proofs, at) = (Proofs::default(), circumstances(LogsMode::Verified));
        for _ in 0..1000 {
            proofs.failed(NODES, &[], at.now);
        }
        assert_eq!(proofs.why_not(at), None);
    }

    #[test]
    fn endpoints_without_the_method_are_asked_again_after_a_while() {
        let (proofs, at) = (Proofs::default(), circumstances(LogsMode::Verified));
        proofs.takes_numbers(0);
        assert_eq!(proofs.way(0, at.now), Way::ByNumber);
        proofs.lacks(0, at.now);
        assert_eq!(proofs.why_not(at), None);
        proofs.lacks(1, at.now);
        assert_eq!(proofs.why_not(at), Some(Why::NobodyHasThem));
        let later = at.now + LACKS_FOR;
        assert_eq!(proofs.way(0, later), Way::ByHash);
        assert_eq!(proofs.why_not(Circumstances { now: later, ..at }), None);
    }

    #[test]
    fn settings_and_the_time_between_blocks_decide_before_anything_is_tried() {
        let proofs = Proofs::default();
        let fast = |mode| Circumstances {
            block_time: Some(Duration::from_millis(250)),
            ..circumstances(mode)
        };
        for (at, why) in [
            (circumstances(LogsMode::ByBlockTime), None),
            (circumstances(LogsMode::Derive), Some(Why::Settings)),
            (fast(LogsMode::ByBlockTime), Some(Why::TooFast)),
            (fast(LogsMode::Verified), None),
            (
                Circumstances {
                    block_time: None,
                    ..circumstances(LogsMode::ByBlockTime)
                },
                None,
            ),
            (
                Circumstances {
                    has_root: false,
                    ..circumstances(LogsMode::Verified)
                },
                Some(Why::NoRoot),
            ),
        ] {
            assert_eq!(proofs.why_not(at), why, "{at:?}");
        }
        assert!(proofs.is_news(None) && !proofs.is_news(None));
        assert!(proofs.is_news(Some(Why::TooFast)));
    }
}
