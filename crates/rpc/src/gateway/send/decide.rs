//! What several refusals of one transaction mean together.

use std::time::Duration;

use alloy::primitives::B256;

use crate::broadcast::Said;
use crate::send::{SendOutcome, SendRefusal};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Taken {
        /// What the first one that took it calls it.
        hash: Option<B256>,
    },
    Refused {
        refusal: SendRefusal,
        /// The nonce is used: by this transaction perhaps.
        nonce_used: bool,
    },
    /// No endpoint said anything about it.
    Nobody {
        /// How long the first of those that are there wants not to be asked, if they do.
        wait: Option<Duration>,
    },
}

impl Decision {
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Taken { .. })
    }

    /// Whether an endpoint that comes back should be told of it.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.is_taken() || matches!(self, Self::Nobody { .. })
    }
}

/// How final a refusal is; the lowest is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Finality {
    Overloaded,
    Underpriced,
    Nonce,
    Funds,
    Invalid,
}

fn finality(outcome: &SendOutcome) -> Finality {
    match outcome {
        SendOutcome::Accepted
        | SendOutcome::AlreadyKnown
        | SendOutcome::PoolFull
        | SendOutcome::Retryable(_) => Finality::Overloaded,
        SendOutcome::Underpriced
        | SendOutcome::ReplacementUnderpriced
        | SendOutcome::FeeOutOfRange
        | SendOutcome::ExceedsNodeFeeCap => Finality::Underpriced,
        SendOutcome::NonceTooLow | SendOutcome::NonceTooHigh => Finality::Nonce,
        SendOutcome::InsufficientFunds => Finality::Funds,
        SendOutcome::Fatal(_)
        | SendOutcome::TerminallyStuck(_)
        | SendOutcome::Unsupported(_)
        | SendOutcome::Unknown(_) => Finality::Invalid,
    }
}

/// What most endpoints say, if most say the same; else what is least final. The words are those of
/// the first endpoint that says so. `said` comes in a fixed order, without successes unless there
/// is one, and `asked` is how many were asked.
pub(super) fn decide(said: impl IntoIterator<Item = Said>, asked: usize) -> Decision {
    let mut refusals: Vec<(Finality, bool, SendRefusal)> = Vec::new();
    let mut taken: Option<Option<B256>> = None;
    let mut wait: Option<Duration> = None;
    for said in said {
        wait = said.wait.into_iter().chain(wait).min();
        if said.outcome.is_success() {
            taken = Some(taken.flatten().or(said.hash));
        }
        if let Some(refusal) = said.refusal {
            let nonce_used = said.outcome == SendOutcome::NonceTooLow;
            refusals.push((finality(&said.outcome), nonce_used, refusal));
        }
    }
    if let Some(hash) = taken {
        return Decision::Taken { hash };
    }
    let majority = refusals.iter().map(|(finality, ..)| *finality).find(|one| {
        let count = refusals.iter().filter(|(other, ..)| other == one).count();
        *one > Finality::Overloaded && 2 * count > asked
    });
    let least = refusals.iter().map(|(finality, ..)| *finality).min();
    let Some(chosen) = majority.or(least) else {
        return Decision::Nobody { wait };
    };
    let nonce_used = refusals.iter().any(|(_, used, _)| *used);
    let words = refusals.into_iter().find(|(it, ..)| *it == chosen);
    match words {
        Some((_, _, refusal)) => Decision::Refused {
            refusal,
            nonce_used,
        },
        None => Decision::Nobody { wait },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(outcome: SendOutcome, words: &str) -> Said {
        Said {
            outcome,
            refusal: (!words.is_empty()).then(|| SendRefusal {
                code: -32000,
                message: words.to_owned(),
                data: None,
            }),
            wait: None,
            hash: None,
        }
    }

    fn words(list: Vec<Said>) -> String {
        let asked = list.len();
        match decide(list, asked) {
            Decision::Refused { refusal, .. } => refusal.message,
            other => format!("{other:?}"),
        }
    }

    fn funds() -> Said {
        said(SendOutcome::InsufficientFunds, "funds")
    }

    fn nonce() -> Said {
        said(SendOutcome::NonceTooLow, "nonce")
    }

    fn full() -> Said {
        said(SendOutcome::PoolFull, "full")
    }

    fn lost() -> Said {
        said(SendOutcome::Retryable("x".to_owned()), "")
    }

    #[test]
    fn one_success_is_success_whatever_the_others_say() {
        let known = said(SendOutcome::AlreadyKnown, "known");
        assert_eq!(words(vec![funds(), known, nonce()]), "Taken { hash: None }");
    }

    #[test]
    fn the_hash_is_what_the_first_that_took_it_calls_it() {
        let known = || said(SendOutcome::AlreadyKnown, "known");
        let took = |byte: u8| Said {
            hash: Some(B256::repeat_byte(byte)),
            ..SendOutcome::Accepted.into()
        };
        let silent = || Said::from(SendOutcome::Accepted);
        let hash = |list: Vec<Said>| decide(list, 3);
        let named = |byte: u8| Decision::Taken {
            hash: Some(B256::repeat_byte(byte)),
        };
        assert_eq!(hash(vec![took(1), took(2)]), named(1));
        assert_eq!(hash(vec![known(), funds(), took(2)]), named(2));
        assert_eq!(hash(vec![silent(), took(2)]), named(2));
        assert_eq!(hash(vec![known()]), Decision::Taken { hash: None });
    }

    #[test]
    fn what_most_say_is_the_answer_and_else_what_is_least_final() {
        assert_eq!(words(vec![nonce(), funds(), funds()]), "funds");
        assert_eq!(words(vec![full(), full(), funds()]), "full");
        assert_eq!(words(vec![funds(), nonce()]), "nonce");
        assert_eq!(words(vec![funds(), full(), nonce()]), "full");
        assert_eq!(words(vec![lost(), funds(), lost()]), "funds");
        assert_eq!(words(vec![lost(), lost()]), "Nobody { wait: None }");
        assert_eq!(words(vec![]), "Nobody { wait: None }");
        let invalid = said(SendOutcome::Fatal("x".to_owned()), "invalid");
        assert_eq!(words(vec![invalid, nonce()]), "nonce");
    }

    #[test]
    fn where_nobody_says_anything_about_it_the_shortest_wait_is_told() {
        let busy = |seconds| Said {
            wait: Some(Duration::from_secs(seconds)),
            ..lost()
        };
        let seconds = |list: Vec<Said>| match decide(list, 3) {
            Decision::Nobody { wait } => wait.map(|wait| wait.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(seconds(vec![busy(7), busy(3), lost()]), Some(3));
        assert_eq!(seconds(vec![lost()]), None);
        assert_eq!(words(vec![busy(3), funds()]), "funds");
    }

    #[test]
    fn that_somebody_says_the_nonce_is_used_is_never_forgotten() {
        for list in [vec![funds(), nonce()], vec![full(), nonce()]] {
            let decision = decide(list, 2);
            assert!(matches!(
                decision,
                Decision::Refused {
                    nonce_used: true,
                    ..
                }
            ));
        }
    }
}
