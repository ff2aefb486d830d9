//! Which block a question is about, and the same question about a block by number.
//!
//! Tags move on each endpoint by itself. The gateway says which block it means: it replaces
//! `latest`, `safe` and `finalized` by the number it stands on, so that answers never go back and
//! never jump ahead of what the caller was told, whichever endpoint gives them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use alloy::primitives::B256;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::log::Criteria;
use super::method::At;
use crate::quantity;

/// Bytes a block's number has at most, written as a parameter.
const NUMBER: usize = 20;

/// The blocks the tags stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) latest: u64,
    pub(crate) safe: Option<u64>,
    pub(crate) finalized: Option<u64>,
}

/// What an endpoint has to have to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing in particular.
    Nothing,
    /// The block of this number.
    Number(u64),
    /// The block of this hash; we cannot know who has it.
    Hash,
    /// The tip, and what comes after it if it has that.
    Tip,
    /// What the endpoint thinks comes after the tip, which is its own affair.
    Pending,
}

/// A question as it is put.
#[derive(Debug)]
pub(crate) struct Pinned<'a> {
    pub(crate) needs: Needs,
    pub(crate) params: Cow<'a, str>,
}

pub(crate) fn pin<'a>(at: At, params: &'a str, tags: Tags) -> Pinned<'a> {
    let as_it_is = |needs| Pinned {
        needs,
        params: Cow::Borrowed(params),
    };
    match at {
        At::Nowhere => as_it_is(Needs::Nothing),
        At::Tip | At::Transaction | At::Filter => as_it_is(Needs::Tip),
        At::Hash => as_it_is(Needs::Hash),
        At::Param(at) => param(params, at, true, tags).unwrap_or_else(|| as_it_is(Needs::Tip)),
        At::Optional(at) => param(params, at, false, tags).unwrap_or_else(|| as_it_is(Needs::Tip)),
    }
}

/// None where the parameters are not what the method takes: the endpoint will say so.
fn param<'a>(params: &'a str, at: usize, add: bool, tags: Tags) -> Option<Pinned<'a>> {
    let list: Vec<&RawValue> = serde_json::from_str(params).ok()?;
    let Some(block) = list
        .get(at)
        .map(|raw| raw.get())
        .filter(|raw| *raw != "null")
    else {
        // Only the very next parameter can be added without inventing others.
        if !add || list.len() != at || at == 0 {
            return None;
        }
        let end = params.rfind(']')?;
        return Some(Pinned {
            needs: Needs::Number(tags.latest),
            params: Cow::Owned(format!("{},\"{:#x}\"]", &params[..end], tags.latest)),
        });
    };
    let keep = |needs| {
        Some(Pinned {
            needs,
            params: Cow::Borrowed(params),
        })
    };
    let number = match reference(block)? {
        Reference::Number(number) => return keep(Needs::Number(number)),
        Reference::Hash => return keep(Needs::Hash),
        Reference::Earliest => return keep(Needs::Nothing),
        Reference::Pending => return keep(Needs::Pending),
        Reference::Latest => tags.latest,
        Reference::Safe => match tags.safe {
            Some(number) => number,
            None => return keep(Needs::Tip),
        },
        Reference::Finalized => match tags.finalized {
            Some(number) => number,
            None => return keep(Needs::Tip),
        },
    };
    let start = block.as_ptr() as usize - params.as_ptr() as usize;
    let mut pinned = String::with_capacity(params.len() + NUMBER);
    pinned.push_str(&params[..start]);
    let _ = write!(pinned, "\"{number:#x}\"");
    pinned.push_str(&params[start + block.len()..]);
    Some(Pinned {
        needs: Needs::Number(number),
        params: Cow::Owned(pinned),
    })
}

/// A block as a parameter names it.
#[derive(Debug, PartialEq, Eq)]
enum Reference {
    Number(u64),
    Hash,
    Latest,
    Safe,
    Finalized,
    Pending,
    Earliest,
}

fn reference(raw: &str) -> Option<Reference> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ByMember<'a> {
        #[serde(borrow, default)]
        block_number: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        block_hash: Option<Cow<'a, str>>,
    }
    if raw.starts_with('{') {
        let by: ByMember<'_> = serde_json::from_str(raw).ok()?;
        return match (by.block_hash, by.block_number) {
            (Some(_), _) => Some(Reference::Hash),
            (None, Some(number)) => named(&number),
            (None, None) => None,
        };
    }
    if raw.starts_with('"') {
        return named(&serde_json::from_str::<Cow<'_, str>>(raw).ok()?);
    }
    serde_json::from_str(raw).ok().map(Reference::Number)
}

fn named(text: &str) -> Option<Reference> {
    Some(match text {
        "latest" | "" => Reference::Latest,
        "safe" => Reference::Safe,
        "finalized" => Reference::Finalized,
        "pending" => Reference::Pending,
        "earliest" => Reference::Earliest,
        hash if hash.len() == 66 => Reference::Hash,
        number => Reference::Number(u64::try_from(quantity::parse(number)?).ok()?),
    })
}

/// The blocks of an `eth_getLogs` filter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogsOf {
    /// Of the block with this hash, if that can be read.
    Hash(Option<B256>),
    /// First and last.
    Range(u64, u64),
    /// Up to `pending`, or not understood: left to the endpoint.
    Left,
}

/// A filter whose tags are numbers, and the rest of it as it was.
pub(crate) struct LogsQuestion<'a> {
    pub(crate) of: LogsOf,
    /// Members of the filter other than its blocks, with a comma before each.
    rest: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> LogsQuestion<'a> {
    /// Reads the filter of `eth_getLogs` or `eth_newFilter`.
    pub(crate) fn read(params: &'a str, tags: Tags) -> Option<Self> {
        let list: Vec<&RawValue> = serde_json::from_str(params).ok()?;
        let [filter] = list.as_slice() else {
            return None;
        };
        let members = members(filter.get())?;
        let mut ends = [Reference::Latest, Reference::Latest];
        let mut by_hash = None;
        let mut rest = Vec::new();
        for (name, value) in members {
            match &*name {
                "fromBlock" | "toBlock" if value.get() == "null" => {}
                "fromBlock" => ends[0] = reference(value.get())?,
                "toBlock" => ends[1] = reference(value.get())?,
                "blockHash" if value.get() == "null" => {}
                "blockHash" => {
                    by_hash = Some(serde_json::from_str(value.get()).ok());
                    rest.push((name, value));
                }
                _ => rest.push((name, value)),
            }
        }
        let number = |reference: &Reference| match reference {
            Reference::Number(number) => Some(*number),
            Reference::Latest => Some(tags.latest),
            Reference::Safe => tags.safe,
            Reference::Finalized => tags.finalized,
            Reference::Earliest => Some(0),
            Reference::Pending | Reference::Hash => None,
        };
        let of = match (by_hash, number(&ends[0]), number(&ends[1])) {
            (Some(hash), _, _) => LogsOf::Hash(hash),
            (None, Some(first), Some(last)) => LogsOf::Range(first, last),
            _ => LogsOf::Left,
        };
        Some(Self { of, rest })
    }

    /// What it looks for, if that can be understood.
    pub(crate) fn criteria(&self) -> Option<Arc<Criteria>> {
        let part = self.part(0, 0);
        let filter = part.strip_prefix('[')?.strip_suffix(']')?;
        Criteria::read(filter).ok().map(Arc::new)
    }

    /// The parameters for a part of the range.
    pub(crate) fn part(&self, first: u64, last: u64) -> String {
        let mut text = format!(r#"[{{"fromBlock":"{first:#x}","toBlock":"{last:#x}""#);
        for (name, value) in &self.rest {
            text.push_str(",\"");
            text.push_str(name);
            text.push_str("\":");
            text.push_str(value.get());
        }
        text.push_str("}]");
        text
    }
}

/// The members of an object, in order.
pub(crate) fn members(raw: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    struct Members;
    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some((name, value)) = map.next_entry::<&'de str, &'de RawValue>()? {
                list.push((Cow::Borrowed(name), value));
            }
            Ok(list)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(raw);
    serde::Deserializer::deserialize_map(&mut reader, Members).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: Tags = Tags {
        latest: 100,
        safe: Some(90),
        finalized: None,
    };

    fn pinned(at: At, params: &str) -> (Needs, String) {
        let pinned = pin(at, params, TAGS);
        (pinned.needs, pinned.params.into_owned())
    }

    #[test]
    fn tags_become_the_numbers_the_gateway_stands_on_and_all_else_is_kept() {
        let call = |block: &str| pinned(At::Param(1), &format!(r#"[ {{"to":"0x1"}} , {block} ]"#));
        assert_eq!(
            call(r#""latest""#),
            (
                Needs::Number(100),
                r#"[ {"to":"0x1"} , "0x64" ]"#.to_owned()
            )
        );
        assert_eq!(
            call(r#""safe""#),
            (Needs::Number(90), r#"[ {"to":"0x1"} , "0x5a" ]"#.to_owned())
        );
        for (block, needs) in [
            (r#""0x10""#, Needs::Number(16)),
            ("16", Needs::Number(16)),
            (r#""earliest""#, Needs::Nothing),
            (r#""pending""#, Needs::Pending),
            (r#""finalized""#, Needs::Tip),
            (r#"{"blockNumber":"0x7"}"#, Needs::Number(7)),
            (
                r#"{"blockHash":"0x12","requireCanonical":true}"#,
                Needs::Hash,
            ),
            (r#""nonsense""#, Needs::Tip),
        ] {
            let (seen, params) = call(block);
            assert_eq!(seen, needs, "{block}");
            assert!(params.contains(block), "{params}");
        }
    }

    #[test]
    fn a_missing_block_means_latest_where_it_can_be_said() {
        assert_eq!(
            pinned(At::Param(1), r#"[{"to":"0x1"}]"#),
            (Needs::Number(100), r#"[{"to":"0x1"},"0x64"]"#.to_owned())
        );
        assert_eq!(
            pinned(At::Optional(1), r#"[{"to":"0x1"}]"#),
            (Needs::Tip, r#"[{"to":"0x1"}]"#.to_owned())
        );
        for params in ["[]", "{}", "[1]", "[[]"] {
            assert_eq!(
                pinned(At::Param(2), params),
                (Needs::Tip, params.to_owned())
            );
        }
    }

    #[test]
    fn a_filter_is_read_with_its_tags_and_can_be_asked_in_parts() {
        let read = |filter: &str| LogsQuestion::read(&format!("[{filter}]"), TAGS).map(|q| q.of);
        assert_eq!(read("{}"), Some(LogsOf::Range(100, 100)));
        assert_eq!(
            read(r#"{"fromBlock":"0x1","toBlock":"safe"}"#),
            Some(LogsOf::Range(1, 90))
        );
        assert_eq!(read(r#"{"blockHash":"0x1"}"#), Some(LogsOf::Hash(None)));
        let hash = B256::repeat_byte(7);
        assert_eq!(
            read(&format!(r#"{{"blockHash":"{hash}"}}"#)),
            Some(LogsOf::Hash(Some(hash)))
        );
        assert_eq!(read(r#"{"toBlock":"pending"}"#), Some(LogsOf::Left));
        assert_eq!(read("7"), None);
        let params = r#"[{"topics":[null,"0x2"],"fromBlock":"earliest","address":"0x1"}]"#;
        let question = LogsQuestion::read(params, TAGS).unwrap();
        assert_eq!(
            question.part(3, 4),
            r#"[{"fromBlock":"0x3","toBlock":"0x4","topics":[null,"0x2"],"address":"0x1"}]"#
        );
    }
}
