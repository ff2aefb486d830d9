//! Who is asked: how good a choice each endpoint is for a question, and whether to believe what it
//! says.

use std::cell::LazyCell;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Core;
use super::block::{Needs, Tags};
use super::method::At;
use super::question::{LooksFor, Question};
use crate::dice::Dice;
use crate::node::Node;
use crate::status::NodeState;

/// One in so many questions goes to who came back lately.
const PROBATION_SHARE: usize = 10;
/// An empty list of logs is doubted over at most so many blocks, when a header makes it so unlikely.
const DOUBTED_BLOCKS: u64 = 64;
const SUSPICIOUS: f64 = 0.05;

/// The time, once somebody wants to know it.
pub(super) type Now = LazyCell<Instant>;

/// How good a choice an endpoint is; the lowest is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Well, has the block, and is fit for the method.
    Good,
    /// The same, and came back so lately that it gets a part only.
    OnProbation,
    /// The same, and asked as much as it may be.
    Full,
    /// Out of sync or syncing, but has the block.
    Degraded,
    /// Has the block, and failed the method lately or asked us to hold back.
    Unfit,
    /// Is not known to have the block.
    Behind,
    /// Cannot be reached as far as we know.
    Lost,
}

/// Two of those that were offered, each pair as likely as any other, and in either order.
#[derive(Default)]
struct Drawn {
    two: [usize; 2],
    offered: usize,
}

impl Drawn {
    fn offer(&mut self, index: usize, dice: &Dice) {
        self.offered += 1;
        let place = match self.offered {
            1 => 0,
            2 => {
                // Of two alike the first is taken, so which one that is has to be chance as well.
                if dice.random_range(0..2) == 0 {
                    self.two.swap(0, 1);
                    0
                } else {
                    1
                }
            }
            offered => dice.random_range(0..offered),
        };
        if let Some(drawn) = self.two.get_mut(place) {
            *drawn = index;
        }
    }
}

impl Core {
    /// The best endpoint not tried yet: best rank, then lowest order, then the better of two drawn
    /// at random by answering time and load.
    pub(super) fn choose(&self, question: &Question, tried: &[usize]) -> Option<(&Node, Rank)> {
        let now = Now::new(Instant::now);
        let tags = self.chain.tags().unwrap_or_default();
        let mut best: Option<(Rank, u32)> = None;
        let mut drawn = Drawn::default();
        for node in &self.pool.0.nodes {
            if node.send_only || tried.contains(&node.index) {
                continue;
            }
            let Some(rank) = self.rank(node, question, tags, &now) else {
                continue;
            };
            let key = (rank, node.order);
            if best.is_none_or(|best| key < best) {
                best = Some(key);
                drawn = Drawn::default();
            }
            if best == Some(key) {
                drawn.offer(node.index, &self.pool.0.dice);
            }
        }
        let (rank, order) = best?;
        let nodes = &self.pool.0.nodes;
        let picked = match (drawn.offered, rank, question.needs) {
            (1, _, _) => drawn.two[0],
            // A block nobody is known to have: whoever is furthest.
            (_, Rank::Behind, _) => {
                let behind = nodes.iter().filter(|node| {
                    !node.send_only
                        && node.order == order
                        && !tried.contains(&node.index)
                        && self.rank(node, question, tags, &now) == Some(Rank::Behind)
                });
                let furthest = behind.max_by_key(|node| {
                    let condition = node.condition();
                    condition.head.map(|head| head.number)
                });
                furthest.map_or(drawn.two[0], |node| node.index)
            }
            _ => {
                let [first, second] = drawn.two;
                let cost = |at: usize| {
                    let node = &nodes[at];
                    (node.latency_micros() + 1)
                        .saturating_mul(u64::from(node.fitness.in_flight()) + 1)
                };
                if cost(second) < cost(first) {
                    second
                } else {
                    first
                }
            }
        };
        Some((&nodes[picked], rank))
    }

    pub(super) fn rank(
        &self,
        node: &Node,
        question: &Question,
        tags: Tags,
        now: &Now,
    ) -> Option<Rank> {
        let (state, head) = {
            let condition = node.condition();
            (condition.state, condition.head)
        };
        let well = match state {
            NodeState::InvalidChainId | NodeState::Forked => return None,
            NodeState::Alive => true,
            NodeState::OutOfSync | NodeState::Syncing => false,
            _ => return Some(Rank::Lost),
        };
        let at = head.map_or(0, |head| head.number);
        let has_block = match question.needs {
            Needs::Nothing => true,
            _ if node.fitness.strays() => false,
            Needs::Number(number) => at >= number && self.is_on_our_branch(head, tags),
            Needs::Tip | Needs::Pending | Needs::Hash => {
                at >= tags.latest && self.is_on_our_branch(head, tags)
            }
        };
        let fit = (node.fitness.is_unblemished() || node.fitness.is_fit(question.name(), **now))
            && (question.span <= 1 || question.span <= node.log_range());
        Some(match (has_block, well, fit) {
            (false, _, _) => Rank::Behind,
            (true, _, false) => Rank::Unfit,
            (true, false, true) => Rank::Degraded,
            (true, true, true) if node.gate.is_full() => Rank::Full,
            (true, true, true) if node.fitness.is_on_probation() => {
                match self.pool.0.dice.random_range(0..PROBATION_SHARE) {
                    0 => Rank::Good,
                    _ => Rank::OnProbation,
                }
            }
            (true, true, true) => Rank::Good,
        })
    }

    /// False only where we know better: the endpoint stands on another block at a height of ours.
    fn is_on_our_branch(&self, head: Option<crate::node::Spot>, tags: Tags) -> bool {
        let Some(head) = head else { return false };
        if head.number != tags.latest {
            return true;
        }
        self.chain
            .hash_at(head.number)
            .is_none_or(|hash| hash == head.hash)
    }

    /// How long everybody who could be asked wants to be left alone; none if somebody does not.
    pub(super) fn all_hold_back(&self, question: &Question, tried: &[usize]) -> Option<Duration> {
        let now = Now::new(Instant::now);
        let tags = self.chain.tags().unwrap_or_default();
        let mut shortest: Option<Duration> = None;
        for node in &self.pool.0.nodes {
            if node.send_only || tried.contains(&node.index) {
                continue;
            }
            match self.rank(node, question, tags, &now) {
                Some(Rank::Unfit) => {
                    let wait = node.fitness.held_back(*now)?;
                    shortest = Some(shortest.map_or(wait, |shortest| shortest.min(wait)));
                }
                None | Some(Rank::Behind | Rank::Lost) => {}
                Some(_) => return None,
            }
        }
        shortest
    }

    /// Whether somebody not asked yet is known to take a range as wide as this.
    pub(super) fn takes_more(&self, question: &Question, tried: &[usize]) -> bool {
        question.span > 1
            && self.choose(question, tried).is_some_and(|(node, rank)| {
                rank <= Rank::Degraded && node.log_range() >= question.span
            })
    }

    /// Whether questions about the newest block go to an endpoint at present.
    pub(crate) fn reads_from(&self, node: &Node) -> bool {
        let (state, head) = {
            let condition = node.condition();
            (condition.state, condition.head)
        };
        if node.send_only || state != NodeState::Alive {
            return false;
        }
        self.chain.tags().is_none_or(|tags| {
            !node.fitness.strays()
                && head.is_some_and(|head| head.number >= tags.latest)
                && self.is_on_our_branch(head, tags)
        })
    }

    /// Makes sure that some endpoint was asked for its chain.
    pub(crate) async fn meet_somebody(&self) {
        let mut nodes: Vec<&Node> = self.pool.0.nodes.iter().collect();
        nodes.retain(|node| !node.send_only);
        nodes.sort_by_key(|node| (!node.state().is_readable(), node.order));
        for node in nodes {
            if node.ensure_verified().await.is_ok() {
                return;
            }
        }
    }

    /// Whether an endpoint is as good a choice as any for a question.
    pub(crate) fn is_good(&self, node: &Node, question: &Question) -> bool {
        let tags = self.chain.tags().unwrap_or_default();
        self.rank(node, question, tags, &Now::new(Instant::now)) == Some(Rank::Good)
    }

    /// Who would be asked, if they are good.
    pub(crate) fn best_of_good(&self, question: &Question) -> Option<&Node> {
        let (node, rank) = self.choose(question, &[])?;
        (rank == Rank::Good).then_some(node)
    }

    /// `null` from an endpoint that should have had something to say.
    pub(crate) fn is_doubtful(&self, question: &Question, node: &Node, result: &Bytes) -> bool {
        if let (b"[]", Some(looks_for)) = (&result[..], &question.looks_for) {
            return self.should_have_logs(looks_for);
        }
        if &result[..] != b"null" {
            return false;
        }
        if question.method.at == At::Hash {
            return true;
        }
        let Some(tags) = self.chain.tags() else {
            return false;
        };
        match question.method.at {
            At::Transaction => {
                let head = node.condition().head;
                head.is_none_or(|head| head.number < tags.latest)
            }
            // That a block has no such uncle or transaction is an answer.
            At::Param(0) if question.method.name.ends_with("AndIndex") => false,
            At::Param(0) => {
                matches!(question.needs, Needs::Number(number) if number <= tags.latest)
                    || question.needs == Needs::Hash
            }
            _ => false,
        }
    }

    /// Whether a header we know speaks of logs where there should be none.
    fn should_have_logs(&self, wanted: &LooksFor) -> bool {
        if wanted.last - wanted.first >= DOUBTED_BLOCKS {
            return false;
        }
        let mut blocks = (wanted.first..=wanted.last).filter_map(|at| self.chain.block_at(at));
        blocks.any(|block| {
            let bloom = block.head.logs_bloom.as_deref();
            bloom.filter(|bloom| !bloom.is_zero()).is_some_and(|bloom| {
                wanted.criteria.may_be_in(bloom)
                    && wanted.criteria.chance_of_error(bloom) < SUSPICIOUS
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn of_any_number_of_endpoints_each_pair_is_drawn_as_often_as_any_other() {
        let dice = Dice::seeded(7);
        for count in [2, 3, 5, 20] {
            let mut times = BTreeMap::new();
            const ROUNDS: usize = 40_000;
            for _ in 0..ROUNDS {
                let mut drawn = Drawn::default();
                (0..count).for_each(|index| drawn.offer(index, &dice));
                assert_eq!(drawn.offered, count);
                *times.entry(drawn.two).or_insert(0) += 1;
            }
            let pairs = count * (count - 1);
            assert_eq!(times.len(), pairs);
            let usual = ROUNDS / pairs;
            for (pair, times) in times {
                assert!((usual / 2..usual * 2).contains(&times), "{pair:?}: {times}");
            }
        }
    }

    #[test]
    fn however_many_endpoints_are_as_good_as_each_other_each_of_them_is_asked() {
        const COUNT: usize = 80;
        let node = |n: usize| {
            let url = format!("http://127.0.0.1:{}", 10_000 + n).parse().unwrap();
            crate::config::NodeConfig::primary(format!("n{n}"), url)
        };
        let pool = crate::config::PoolConfig::new(1, (0..COUNT).map(node).collect());
        let core = Core::library(crate::endpoints::Endpoints::new(pool).unwrap());
        let method = super::super::method::find("eth_gasPrice");
        let question = Question::new(&core, method, method.name, Needs::Nothing, "[]");
        let mut asked = [false; COUNT];
        for _ in 0..100 * COUNT {
            let (node, rank) = core.choose(&question, &[]).unwrap();
            assert_eq!(rank, Rank::Lost);
            asked[node.index] = true;
        }
        assert_eq!(asked, [true; COUNT]);
    }
}
