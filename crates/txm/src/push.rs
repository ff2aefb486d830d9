//! Whether what was sent and is not mined is waited for, repeated or outbid.

use dodona_model::request::State as RequestState;
use dodona_model::tx::State;
use dodona_store::txs::{Attempt, Tx};

use crate::replace::Carrying;

/// Different heads at which a request must be seen orphaned before its nonce is used up by a transfer of nothing. Seen, and
/// not blocks passed: after a pause many blocks come at once, and the request may be in one of them.
const ORPHAN_PATIENCE: u32 = 3;

/// What `decide` needs to know beside the rows.
pub(crate) struct Facts {
    pub(crate) head: u64,
    pub(crate) request: Option<RequestState>,
    /// Different heads at which its request was seen orphaned, without a break.
    pub(crate) orphaned_at: u32,
    pub(crate) bump_threshold: u64,
    pub(crate) due_again: bool,
}

/// What a transaction that is not mined needs now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Push {
    Wait,
    Again,
    Outbid(Carrying, &'static str),
}

impl Push {
    pub(crate) fn says_the_answer(&self) -> bool {
        matches!(self, Self::Again | Self::Outbid(Carrying::Payload, _))
    }
}

/// Decides it; touches nothing.
pub(crate) fn decide(tx: &Tx, attempts: &[Attempt], facts: &Facts) -> Push {
    let Some(last) = attempts.last() else {
        return Push::Wait;
    };
    let age = facts
        .head
        .saturating_sub(last.signed.first_block.unwrap_or(facts.head));
    let carried = last.signed.payload_version;
    // The answer would only revert. An orphaned request is given a few blocks to come back; then, and at
    // once where there is nothing to come back, the nonces behind it are freed.
    let (gone, patience) = match facts.request {
        _ if tx.superseded => (Some("another transaction took over its task"), 0),
        _ if tx.payload_version == 0 => (Some("it was given up"), 0),
        Some(RequestState::Orphaned) => (Some("its request left the chain"), ORPHAN_PATIENCE),
        Some(state) if state.is_closed() => (Some("its request is closed"), 0),
        _ => (None, 0),
    };
    if let Some(why) = gone {
        return match carried {
            0 if tx.state == State::Signed => Push::Wait,
            0 if too_old(last, age, facts) => Push::Outbid(
                Carrying::Nothing,
                "the transfer of nothing in its place is not mined",
            ),
            0 if facts.due_again => Push::Again,
            0 => Push::Wait,
            _ if facts.orphaned_at >= patience => Push::Outbid(Carrying::Nothing, why),
            _ => Push::Wait,
        };
    }
    if carried != tx.payload_version {
        return Push::Outbid(Carrying::Payload, "its answer was encoded anew");
    }
    if tx.state == State::Signed {
        return Push::Wait;
    }
    if tx.last_sent_at.is_some() && too_old(last, age, facts) {
        return Push::Outbid(Carrying::Payload, "it was not mined in time");
    }
    if facts.due_again || !last.accepted {
        Push::Again
    } else {
        Push::Wait
    }
}

/// Whether a higher fee may help. What nobody took is repeated as it is, or each round without money or
/// without an endpoint would make it dearer; what is refused for its fee is outbid when that is heard.
fn too_old(last: &Attempt, age: u64, facts: &Facts) -> bool {
    facts.bump_threshold > 0 && age >= facts.bump_threshold && last.accepted
}
