//! Which block a question is about, and the same question about a block by number.
//!
//! Tags move on each endpoint by itself. The gateway says which block it means: it replaces
//! `latest`, `safe` and `finalized` by the number it stands on, so that answers never go back and
//! never jump ahead of what the caller was told, whichever endpoint gives them.

use std::borrow::Cow;
use std::sync::Arc;

use alloy::primitives::B256;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::Answer;
use super::log::Criteria;
use super::method::At;
use crate::plain;
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
    let (block, count) = element(params, at)?;
    let Some(block) = block.filter(|raw| *raw != "null") else {
        // Only the very next parameter can be added without inventing others.
        if !add || count != at || at == 0 {
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
    pinned.push('"');
    quantity::push(&mut pinned, number);
    pinned.push('"');
    pinned.push_str(&params[start + block.len()..]);
    Some(Pinned {
        needs: Needs::Number(number),
        params: Cow::Owned(pinned),
    })
}

/// One element of a list, if there are so many, and how many there are.
fn element(list: &str, at: usize) -> Option<(Option<&str>, usize)> {
    let (mut found, mut count) = (None, 0);
    let is_plain = plain::elements(list.as_bytes(), |element| {
        if count == at {
            found = Some(element);
        }
        count += 1;
        true
    });
    if is_plain {
        return Some((found.and_then(|found| plain::of(list, found)), count));
    }
    let list: Vec<&RawValue> = serde_json::from_str(list).ok()?;
    Some((list.get(at).map(|raw| raw.get()), list.len()))
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
    if let Some(text) = raw.strip_prefix('"').and_then(|it| it.strip_suffix('"'))
        && !text.contains(['\\', '"'])
    {
        return named(text);
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogsOf {
    /// Of the block with this hash.
    Hash(B256),
    /// First and last.
    Range(u64, u64),
}

/// A filter whose tags are numbers, and the rest of it as it was.
#[derive(Debug)]
pub(crate) struct LogsQuestion<'a> {
    pub(crate) of: LogsOf,
    pub(crate) looks_for: Arc<Criteria>,
    /// The ends of its range as they were written.
    pub(crate) ends: [Option<&'a RawValue>; 2],
    /// Members of the filter other than its blocks, each once.
    rest: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// Members clients know in a filter.
const MEMBERS: [&str; 5] = ["fromBlock", "toBlock", "blockHash", "address", "topics"];

impl<'a> LogsQuestion<'a> {
    /// Reads the filter of `eth_getLogs` or `eth_newFilter`, as most clients do: of a member that is
    /// there twice the last one counts. The error is what the caller gets. Nothing that is not
    /// understood is left to an endpoint, which may understand it as a range without end.
    pub(crate) fn read(params: &'a str, tags: Tags) -> Result<Self, Answer> {
        let invalid = |what: &str| Answer::error(-32602, &format!("invalid params: {what}"));
        let list: Vec<&RawValue> =
            serde_json::from_str(params).map_err(|_| invalid("a list with one filter is due"))?;
        let [filter] = list.as_slice() else {
            return Err(invalid("exactly one filter is due"));
        };
        let mut rest =
            well_spelled(filter.get()).ok_or_else(|| invalid("a filter is an object"))?;
        let mut take = |wanted: &str| {
            let at = rest.iter().position(|(name, _)| name == wanted)?;
            let (_, value) = rest.remove(at);
            (value.get() != "null").then_some(value)
        };
        let ends = [
            ("fromBlock", take("fromBlock")),
            ("toBlock", take("toBlock")),
        ];
        let hash = take("blockHash");
        let looks_for = Criteria::read(&object(&rest)).map_err(|wrong| invalid(&wrong))?;
        let of = match hash {
            Some(_) if ends.iter().any(|(_, end)| end.is_some()) => {
                return Err(invalid("blockHash goes without fromBlock and toBlock"));
            }
            Some(hash) => LogsOf::Hash(
                serde_json::from_str(hash.get())
                    .map_err(|_| invalid("blockHash is no hash of a block"))?,
            ),
            None => {
                let mut numbers = [tags.latest; 2];
                for (number, (name, end)) in numbers.iter_mut().zip(ends) {
                    let Some(end) = end else { continue };
                    *number = end_of_range(name, end, tags)?;
                }
                LogsOf::Range(numbers[0], numbers[1])
            }
        };
        Ok(Self {
            of,
            looks_for: Arc::new(looks_for),
            ends: ends.map(|(_, end)| end),
            rest,
        })
    }

    /// Blocks it spans, the first one not counted.
    pub(crate) fn span(&self) -> u64 {
        match self.of {
            LogsOf::Hash(_) => 0,
            LogsOf::Range(first, last) => last.saturating_sub(first),
        }
    }

    /// The parameters for a part of the range.
    pub(crate) fn part(&self, first: u64, last: u64) -> String {
        self.with(&format!(
            r#""fromBlock":"{first:#x}","toBlock":"{last:#x}""#
        ))
    }

    /// The parameters for a block by its hash.
    pub(crate) fn of_block(&self, hash: B256) -> String {
        self.with(&format!(r#""blockHash":"{hash}""#))
    }

    fn with(&self, blocks: &str) -> String {
        let mut text = format!("[{{{blocks}");
        for (name, value) in &self.rest {
            text.push(',');
            push_member(&mut text, name, value);
        }
        text.push_str("}]");
        text
    }
}

/// Blocks that the first parameter spans, a filter of a method whose answers are not put together
/// here; the first one not counted. `from` is where the range begins if nothing is said. The error is
/// what the caller gets.
pub(crate) fn spanned(params: &str, tags: Tags, from: u64) -> Result<u64, Answer> {
    let invalid = |what: &str| Answer::error(-32602, &format!("invalid params: {what}"));
    let list: Vec<&RawValue> =
        serde_json::from_str(params).map_err(|_| invalid("a list with a filter is due"))?;
    let filter = list.first().map_or("{}", |filter| filter.get());
    let members = well_spelled(filter).ok_or_else(|| invalid("a filter is an object"))?;
    let member = |wanted: &str| {
        let (_, value) = members.iter().find(|(name, _)| name == wanted)?;
        (value.get() != "null").then_some(*value)
    };
    if member("blockHash").is_some() {
        return Ok(0);
    }
    let end = |name, missing| {
        let said = member(name).map(|end| end_of_range(name, end, tags));
        said.unwrap_or(Ok(missing))
    };
    Ok(end("toBlock", tags.latest)?.saturating_sub(end("fromBlock", from)?))
}

/// The block that an end of a range names.
fn end_of_range(name: &str, end: &RawValue, tags: Tags) -> Result<u64, Answer> {
    let known = match reference(end.get()) {
        Some(Reference::Number(number)) => Some(number),
        // Nobody can have logs of what comes after the newest block.
        Some(Reference::Latest | Reference::Pending) => Some(tags.latest),
        Some(Reference::Earliest) => Some(0),
        Some(Reference::Safe) => tags.safe,
        Some(Reference::Finalized) => tags.finalized,
        Some(Reference::Hash) | None => {
            let text = format!("invalid params: {name} is no number and no tag");
            return Err(Answer::error(-32602, &text));
        }
    };
    let unknown = || Answer::error(-32000, &format!("the block of {name} is not known yet"));
    known.ok_or_else(unknown)
}

/// The members of a filter, each once, by the names clients know them by.
fn well_spelled(filter: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    let members = members(filter)?;
    let mut once: Vec<(Cow<'_, str>, &RawValue)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        let name = match MEMBERS.into_iter().find(|known| is_spelled(known, &name)) {
            Some(known) => Cow::Borrowed(known),
            None => name,
        };
        match once.iter_mut().find(|(other, _)| *other == name) {
            Some(member) => member.1 = value,
            None => once.push((name, value)),
        }
    }
    Some(once)
}

/// Whether a client may take a member's name for this one: most look past capitals, Go past two
/// letters more that only look like others.
fn is_spelled(known: &str, name: &str) -> bool {
    let folded = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    known.chars().map(folded).eq(name.chars().map(folded))
}

fn object(members: &[(Cow<'_, str>, &RawValue)]) -> String {
    let mut text = String::from("{");
    for (name, value) in members {
        if text.len() > 1 {
            text.push(',');
        }
        push_member(&mut text, name, value);
    }
    text.push('}');
    text
}

pub(crate) fn push_member(text: &mut String, name: &str, value: &RawValue) {
    if name
        .bytes()
        .any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\'))
    {
        text.push_str(&serde_json::Value::from(name).to_string());
    } else {
        text.push('"');
        text.push_str(name);
        text.push('"');
    }
    text.push(':');
    text.push_str(value.get());
}

/// The members of an object, in order.
pub(crate) fn members(raw: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    /// As it is meant, whatever is escaped in it.
    #[derive(Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
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
            while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                list.push((name, value));
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

    fn read(filter: &str) -> Result<LogsOf, String> {
        let read = LogsQuestion::read(filter, TAGS).map(|question| question.of);
        read.map_err(|answer| match answer {
            Answer::Error(error) => String::from_utf8(error.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_filter_is_read_with_its_tags_and_can_be_asked_in_parts() {
        let hash = B256::repeat_byte(7);
        for (filter, of) in [
            ("{}".to_owned(), LogsOf::Range(100, 100)),
            (
                r#"{"fromBlock":"0x1","toBlock":"safe"}"#.to_owned(),
                LogsOf::Range(1, 90),
            ),
            (
                r#"{"fromBlock":"0x1","toBlock":"pending"}"#.to_owned(),
                LogsOf::Range(1, 100),
            ),
            (
                r#"{"fromBlock":null,"toBlock":null}"#.to_owned(),
                LogsOf::Range(100, 100),
            ),
            (format!(r#"{{"blockHash":"{hash}"}}"#), LogsOf::Hash(hash)),
            (
                format!(r#"{{"blockHash":"{hash}","fromBlock":null}}"#),
                LogsOf::Hash(hash),
            ),
        ] {
            assert_eq!(read(&format!("[{filter}]")), Ok(of), "{filter}");
        }
        let address = alloy::primitives::Address::repeat_byte(1);
        let params = format!(
            r#"[{{"topics":[null,"{hash}"],"fromBlock":"earliest","address":"{address}","x\"y":1}}]"#
        );
        let question = LogsQuestion::read(&params, TAGS).unwrap();
        assert_eq!(
            question.part(3, 4),
            format!(
                r#"[{{"fromBlock":"0x3","toBlock":"0x4","topics":[null,"{hash}"],"address":"{address}","x\"y":1}}]"#
            )
        );
        assert_eq!(question.span(), 100);
    }

    #[test]
    fn however_a_filter_spells_its_blocks_no_client_reads_others_in_it() {
        // Escaped, in other capitals, with letters that only look alike, twice: as Go reads it.
        for filter in [
            r#"{"fromBlock":"0x1"}"#,
            r#"{"from\u0042lock":"0x1","toBlock":"latest"}"#,
            r#"{"FROMBLOCK":"0x1"}"#,
            "{\"fromBloc\u{212a}\":\"0x1\"}",
            r#"{"fromBlock":"0x9","fromBlock":"0x1"}"#,
            r#"{"fromBlock":"0x9","fromblock":"0x1","toBlock":"0x2","TOBLOCK":null}"#,
        ] {
            let params = format!("[{filter}]");
            let question = LogsQuestion::read(&params, TAGS).unwrap();
            assert_eq!(question.of, LogsOf::Range(1, 100), "{filter}");
            assert_eq!(
                question.part(1, 2),
                r#"[{"fromBlock":"0x1","toBlock":"0x2"}]"#,
                "{filter}"
            );
        }
        let hash = B256::repeat_byte(7);
        let params = format!(r#"[{{"blockHash":"{hash}","topics":[],"Topics":["{hash}"]}}]"#);
        let question = LogsQuestion::read(&params, TAGS).unwrap();
        assert_eq!(
            question.of_block(hash),
            format!(r#"[{{"blockHash":"{hash}","topics":["{hash}"]}}]"#)
        );
        // A hash that is taken back is none.
        let params = format!(r#"[{{"blockHash":"{hash}","BlockHash":null,"fromBlock":"0x1"}}]"#);
        assert_eq!(read(&params), Ok(LogsOf::Range(1, 100)));
    }

    #[test]
    fn what_is_no_filter_is_refused_in_words_and_asked_of_nobody() {
        let hash = B256::repeat_byte(7);
        for (params, words) in [
            ("[]", "exactly one filter is due"),
            ("{}", "a list with one filter is due"),
            ("[{},1]", "exactly one filter is due"),
            ("[7]", "a filter is an object"),
            ("[null]", "a filter is an object"),
            (r#"[{"fromBlock":"nonsense"}]"#, "fromBlock is no number"),
            (r#"[{"toBlock":{}}]"#, "toBlock is no number"),
            (
                &format!(r#"[{{"toBlock":"{hash}"}}]"#),
                "toBlock is no number",
            ),
            (r#"[{"blockHash":"0x1"}]"#, "blockHash is no hash"),
            (
                &format!(r#"[{{"blockHash":"{hash}","toBlock":"0x1"}}]"#),
                "goes without",
            ),
            (r#"[{"address":"0x1"}]"#, "invalid filter"),
            (r#"[{"topics":["0x1"]}]"#, "invalid filter"),
        ] {
            let refused = read(params).unwrap_err();
            assert!(
                refused.contains("-32602") && refused.contains(words),
                "{params}: {refused}"
            );
        }
        let unknown = read(r#"[{"toBlock":"finalized"}]"#).unwrap_err();
        assert!(unknown.contains("-32000"), "{unknown}");
    }
}
