//! The logs of a block, read just enough to be matched against filters.

use alloy::primitives::{Address, B256, Bloom, BloomInput, Log};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::quantity::Small;

/// All logs of one block.
#[derive(Debug, Default)]
pub(crate) struct BlockLogs {
    pub(crate) list: Vec<RawLog>,
    /// Whether the block's header proves that these are all of them.
    pub(crate) are_proven: bool,
}

#[derive(Debug)]
pub(crate) struct RawLog {
    /// The endpoint's bytes.
    pub(crate) raw: Bytes,
    address: Address,
    topics: Vec<B256>,
    place: Place,
}

/// Which log of its block it is; none where that is not told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    index: Option<u64>,
    transaction: Option<B256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    address: Address,
    #[serde(default)]
    topics: Vec<B256>,
    #[serde(default)]
    log_index: Option<Small>,
    #[serde(default)]
    transaction_hash: Option<B256>,
}

impl BlockLogs {
    /// Reads the result of `eth_getLogs`; in memory of its own, because it is kept for long and what an
    /// answer came in may be much larger.
    pub(crate) fn read(result: &[u8]) -> Option<Self> {
        let result = Bytes::copy_from_slice(result);
        let list: Vec<&RawValue> = serde_json::from_slice(&result).ok()?;
        let logs = list.into_iter().map(|raw| {
            let wire: Wire = serde_json::from_str(raw.get()).ok()?;
            Some(RawLog {
                raw: result.slice_ref(raw.get().as_bytes()),
                address: wire.address,
                topics: wire.topics,
                place: Place {
                    index: wire.log_index.map(|Small(index)| index),
                    transaction: wire.transaction_hash,
                },
            })
        });
        Some(Self {
            list: logs.collect::<Option<_>>()?,
            are_proven: false,
        })
    }

    pub(crate) fn proven(list: Vec<RawLog>) -> Self {
        Self {
            list,
            are_proven: true,
        }
    }

    /// Those a filter looks for, as `eth_getLogs` gives them.
    pub(crate) fn answer(&self, criteria: &Criteria) -> Bytes {
        let mut out = BytesMut::new();
        for log in self.list.iter().filter(|log| criteria.matches(log)) {
            out.put_u8(if out.is_empty() { b'[' } else { b',' });
            out.put_slice(&log.raw);
        }
        if out.is_empty() {
            out.put_u8(b'[');
        }
        out.put_u8(b']');
        out.freeze()
    }

    /// Whether, of all logs of a block, none is missing before the last one. True where they are not
    /// numbered.
    pub(crate) fn is_without_gap(&self) -> bool {
        let indices = self.list.iter().filter_map(|log| log.place.index);
        indices.zip(0..).all(|(index, due)| index == due)
    }

    /// Whether these are some of the other's logs and not all: the same numbers of the same
    /// transactions, as far as they are told.
    pub(crate) fn are_part_of(&self, other: &Self) -> bool {
        let (some, all) = (self.identities(), other.identities());
        let mut rest = all.iter();
        some.len() < all.len() && some.iter().all(|one| rest.any(|it| it == one))
    }

    /// Whether these are the other's logs.
    pub(crate) fn are_those_of(&self, other: &Self) -> bool {
        self.identities() == other.identities()
    }

    fn identities(&self) -> Vec<(Place, Address, &[B256])> {
        let mut all: Vec<_> = self.list.iter().map(RawLog::identity).collect();
        all.sort();
        all
    }

    /// The bloom these logs make; if the header's has more, logs are missing.
    pub(crate) fn bloom(&self) -> Bloom {
        let mut bloom = Bloom::ZERO;
        for log in &self.list {
            bloom.accrue(BloomInput::Raw(log.address.as_slice()));
            for topic in &log.topics {
                bloom.accrue(BloomInput::Raw(topic.as_slice()));
            }
        }
        bloom
    }
}

impl RawLog {
    /// Log `index` of its block.
    pub(crate) fn new(raw: Bytes, log: Log, index: u64, transaction: B256) -> Self {
        Self {
            raw,
            address: log.address,
            topics: log.data.topics().to_vec(),
            place: Place {
                index: Some(index),
                transaction: Some(transaction),
            },
        }
    }

    /// All that it can be found by.
    pub(crate) fn marks(&self) -> impl Iterator<Item = Mark> {
        let topics = self.topics.iter().enumerate();
        let topics = topics.map(|(at, topic)| Mark::Topic(at, *topic));
        topics.chain([Mark::Address(self.address)])
    }

    fn identity(&self) -> (Place, Address, &[B256]) {
        (self.place, self.address, &self.topics)
    }

    /// The same log as one that left the chain.
    pub(crate) fn removed(&self) -> Bytes {
        let text = String::from_utf8_lossy(&self.raw);
        if let Some(at) = text.find("\"removed\"") {
            let rest = &text[at + 9..];
            if let Some(value) = rest.find("false")
                && rest[..value].chars().all(|c| c == ':' || c.is_whitespace())
            {
                let start = at + 9 + value;
                return format!("{}true{}", &text[..start], &text[start + 5..]).into();
            }
            return self.raw.clone();
        }
        match text.rfind('}') {
            Some(end) => format!("{},\"removed\":true}}", &text[..end]).into(),
            None => self.raw.clone(),
        }
    }
}

/// What a subscriber wants of the logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Criteria {
    /// Any of them, in order; empty: all.
    addresses: Vec<Address>,
    /// By position: any of them, in order; empty: whatever is there.
    topics: Vec<Vec<B256>>,
}

/// Addresses or topics one filter may name.
const ITEMS: usize = 10_000;
/// Addresses, and topics for one position, that a filter may name which is kept; as at geth.
const KEPT_ITEMS: usize = 1000;

/// What a log is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    Address(Address),
    /// At this position.
    Topic(usize, B256),
}

impl Mark {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Address(address) => address.as_slice(),
            Self::Topic(_, topic) => topic.as_slice(),
        }
    }
}

impl Criteria {
    /// Reads the filter object of `eth_subscribe` or `eth_newFilter`; the error says what is wrong.
    pub(crate) fn read(raw: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany<T> {
            Many(Vec<T>),
            One(T),
        }
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            address: Option<OneOrMany<Address>>,
            #[serde(default)]
            topics: Option<Vec<Option<OneOrMany<Option<B256>>>>>,
        }
        let wire: Wire =
            serde_json::from_str(raw).map_err(|cause| format!("invalid filter: {cause}"))?;
        let mut addresses = match wire.address {
            None => Vec::new(),
            Some(OneOrMany::One(address)) => vec![address],
            Some(OneOrMany::Many(list)) => list,
        };
        let mut topics = Vec::new();
        for position in wire.topics.unwrap_or_default() {
            topics.push(match position {
                None | Some(OneOrMany::One(None)) => Vec::new(),
                Some(OneOrMany::One(Some(topic))) => vec![topic],
                // A null among alternatives makes the position free.
                Some(OneOrMany::Many(list)) => list
                    .into_iter()
                    .collect::<Option<Vec<_>>>()
                    .unwrap_or_default(),
            });
        }
        if topics.len() > 4 {
            return Err("invalid filter: a log has at most four topics".to_owned());
        }
        if addresses.len() + topics.iter().map(Vec::len).sum::<usize>() > ITEMS {
            return Err(format!(
                "invalid filter: more than {ITEMS} addresses and topics"
            ));
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.shrink_to_fit();
        for alternatives in &mut topics {
            alternatives.sort_unstable();
            alternatives.dedup();
            alternatives.shrink_to_fit();
        }
        Ok(Self { addresses, topics })
    }

    /// Whether a filter or subscription may keep it; the error says why not.
    pub(crate) fn may_be_kept(&self) -> Result<(), String> {
        let most = self
            .topics
            .iter()
            .map(Vec::len)
            .chain([self.addresses.len()]);
        match most.max().is_some_and(|most| most > KEPT_ITEMS) {
            false => Ok(()),
            true => Err(format!(
                "invalid filter: more than {KEPT_ITEMS} addresses, or topics for one position"
            )),
        }
    }

    /// Addresses and topics it names.
    pub(crate) fn items(&self) -> usize {
        self.addresses.len() + self.topics.iter().map(Vec::len).sum::<usize>()
    }

    /// Bytes it takes while it is kept.
    pub(crate) fn bytes(&self) -> usize {
        let topics = self
            .topics
            .iter()
            .map(|it| size_of_val(it) + size_of_val(&it[..]));
        size_of::<Self>() + size_of_val(&self.addresses[..]) + topics.sum::<usize>()
    }

    /// The marks of which a log has one to be wanted: of the first thing that is asked of it. None
    /// where nothing is.
    pub(crate) fn marks(&self) -> Box<dyn Iterator<Item = Mark> + '_> {
        if !self.addresses.is_empty() {
            return Box::new(self.addresses.iter().copied().map(Mark::Address));
        }
        let topics = self.topics.iter().enumerate();
        match topics.into_iter().find(|(_, wanted)| !wanted.is_empty()) {
            Some((at, wanted)) => Box::new(wanted.iter().map(move |it| Mark::Topic(at, *it))),
            None => Box::new(std::iter::empty()),
        }
    }

    /// Its members of a filter object.
    pub(crate) fn members(&self) -> String {
        let listed = |list: Vec<String>| format!("[{}]", list.join(","));
        let quoted = |item: &dyn std::fmt::LowerHex| format!("\"{item:#x}\"");
        let mut text = String::from("\"topics\":");
        let topics = self.topics.iter().map(|wanted| match wanted.is_empty() {
            true => "null".to_owned(),
            false => listed(wanted.iter().map(|it| quoted(it)).collect()),
        });
        text.push_str(&listed(topics.collect()));
        if !self.addresses.is_empty() {
            let addresses = self.addresses.iter().map(|it| quoted(it)).collect();
            text.push_str(",\"address\":");
            text.push_str(&listed(addresses));
        }
        text
    }

    pub(crate) fn matches(&self, log: &RawLog) -> bool {
        (self.addresses.is_empty() || self.addresses.binary_search(&log.address).is_ok())
            && self.topics.len() <= log.topics.len()
            && self
                .topics
                .iter()
                .zip(&log.topics)
                .all(|(wanted, topic)| wanted.is_empty() || wanted.binary_search(topic).is_ok())
    }

    /// How likely this bloom is to let us through although the block has no log for us. Zero where
    /// nothing is wanted in particular: any bloom at all then means logs.
    pub(crate) fn chance_of_error(&self, bloom: &Bloom) -> f64 {
        let bits: u32 = bloom.iter().map(|byte| byte.count_ones()).sum();
        let fill = f64::from(bits) / 2048.0;
        let wanted = std::iter::once(self.addresses.len()).chain(self.topics.iter().map(Vec::len));
        let mut chance = 1.0;
        let mut restricted = false;
        for alternatives in wanted.filter(|alternatives| *alternatives > 0) {
            restricted = true;
            let alternatives = u32::try_from(alternatives).unwrap_or(u32::MAX);
            chance *= (f64::from(alternatives) * fill.powi(3)).min(1.0);
        }
        if restricted { chance } else { 0.0 }
    }

    /// Whether a block with this bloom can have a log for us.
    pub(crate) fn may_be_in(&self, bloom: &Bloom) -> bool {
        let has = |item: &[u8]| bloom.contains_input(BloomInput::Raw(item));
        (self.addresses.is_empty() || self.addresses.iter().any(|address| has(address.as_slice())))
            && self
                .topics
                .iter()
                .all(|wanted| wanted.is_empty() || wanted.iter().any(|topic| has(topic.as_slice())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(list: serde_json::Value) -> BlockLogs {
        BlockLogs::read(list.to_string().as_bytes()).unwrap()
    }

    fn log(address: u8, topics: &[u8]) -> serde_json::Value {
        serde_json::json!({
            "address": Address::repeat_byte(address),
            "topics": topics.iter().map(|n| B256::repeat_byte(*n)).collect::<Vec<_>>(),
            "removed": false,
        })
    }

    fn wants(filter: serde_json::Value) -> Criteria {
        Criteria::read(&filter.to_string()).unwrap()
    }

    #[test]
    fn filters_match_as_clients_do() {
        let all = logs(serde_json::json!([
            log(1, &[1, 2]),
            log(1, &[1]),
            log(2, &[])
        ]));
        let bloom = all.bloom();
        let (one, two) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let a = Address::repeat_byte(1);
        for (filter, expected) in [
            (serde_json::json!({}), 3),
            (serde_json::json!({"address": null, "topics": null}), 3),
            (serde_json::json!({"address": a}), 2),
            (
                serde_json::json!({"address": [a, Address::repeat_byte(2)]}),
                3,
            ),
            (serde_json::json!({"topics": [one]}), 2),
            (serde_json::json!({"topics": [null, two]}), 1),
            (serde_json::json!({"topics": [[two, one]]}), 2),
            (serde_json::json!({"topics": [two]}), 0),
            (serde_json::json!({"topics": [null, null]}), 1),
            (serde_json::json!({"address": Address::repeat_byte(9)}), 0),
        ] {
            let criteria = wants(filter.clone());
            let found = all.list.iter().filter(|log| criteria.matches(log)).count();
            assert_eq!(found, expected, "{filter}");
            assert!(found == 0 || criteria.may_be_in(&bloom), "{filter}");
        }
        assert!(!wants(serde_json::json!({"address": Address::repeat_byte(9)})).may_be_in(&bloom));
    }

    #[test]
    fn what_is_understood_of_a_filter_says_the_same_when_it_is_written_again() {
        let (one, two) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let a = Address::repeat_byte(1);
        for filter in [
            serde_json::json!({}),
            serde_json::json!({"address": [a, a, Address::ZERO], "x": "y"}),
            serde_json::json!({"topics": [null, [two, one, two], null]}),
        ] {
            let criteria = wants(filter);
            let again = format!("{{{}}}", criteria.members());
            assert_eq!(Criteria::read(&again).unwrap(), criteria, "{again}");
        }
    }

    #[test]
    fn a_nearly_empty_bloom_proves_much_and_a_full_one_little() {
        let mut bloom = logs(serde_json::json!([log(1, &[1])])).bloom();
        let a = Address::repeat_byte(1);
        let one = wants(serde_json::json!({"address": a}));
        let two = wants(serde_json::json!({"address": a, "topics": [null, B256::ZERO]}));
        assert!(one.chance_of_error(&bloom) < 1e-6);
        assert!(wants(serde_json::json!({})).chance_of_error(&bloom) < 1e-9);
        bloom.iter_mut().take(205).for_each(|byte| *byte = 0xff);
        assert!((0.45..0.6).contains(&one.chance_of_error(&bloom)));
        assert!((0.2..0.36).contains(&two.chance_of_error(&bloom)));
    }

    #[test]
    fn a_log_that_left_the_chain_says_so_and_is_otherwise_the_same() {
        let of = |text: &str| {
            let log = RawLog {
                raw: text.to_owned().into(),
                address: Address::ZERO,
                topics: vec![],
                place: Place::default(),
            };
            String::from_utf8(log.removed().to_vec()).unwrap()
        };
        assert_eq!(
            of(r#"{"removed":false,"data":"0x"}"#),
            r#"{"removed":true,"data":"0x"}"#
        );
        assert_eq!(of(r#"{"removed" : false}"#), r#"{"removed" : true}"#);
        assert_eq!(of(r#"{"data":"0x"}"#), r#"{"data":"0x","removed":true}"#);
    }

    #[test]
    fn a_bloom_with_more_than_the_logs_make_tells_of_missing_ones() {
        let all = logs(serde_json::json!([log(1, &[1]), log(2, &[2])]));
        let some = logs(serde_json::json!([log(1, &[1])]));
        assert_ne!(all.bloom(), some.bloom());
        assert!(Criteria::read(r#"{"topics":["0x1"]}"#).is_err());
        assert!(Criteria::read(r#"{"topics":[null,null,null,null,null]}"#).is_err());
    }

    #[test]
    fn a_gap_in_the_numbers_tells_of_a_missing_log_that_the_bloom_does_not_show() {
        let twin = |index: u64| {
            let mut log = log(1, &[1]);
            log["logIndex"] = serde_json::json!(format!("{index:#x}"));
            log["transactionHash"] = serde_json::json!(B256::repeat_byte(9));
            log
        };
        let of = |list: &[u64]| logs(list.iter().map(|index| twin(*index)).collect());
        let both = of(&[0, 1]);
        assert_eq!(both.bloom(), of(&[1]).bloom());
        assert!(both.is_without_gap() && of(&[0]).is_without_gap());
        assert!(!of(&[1]).is_without_gap() && !of(&[0, 2]).is_without_gap());
        // Where nothing is numbered nothing is missing.
        assert!(logs(serde_json::json!([log(1, &[1]), log(1, &[1])])).is_without_gap());
        // The last one leaves no gap; somebody else has it.
        assert!(of(&[0]).are_part_of(&both) && of(&[1]).are_part_of(&both));
        assert!(of(&[]).are_part_of(&both));
        assert!(!both.are_part_of(&both) && both.are_those_of(&of(&[1, 0])));
        assert!(!of(&[2]).are_part_of(&both) && !of(&[0, 2]).are_those_of(&both));
    }
}
