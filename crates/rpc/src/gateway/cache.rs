//! Answers kept for as long as they are true, and no clock that decides it.
//!
//! An answer about a block is kept under that block's hash: when the chain is reorganised, the same
//! question has another key. An answer about the newest block is kept under the tip's hash and is
//! never found again once the tip moves. A transaction's receipt is given only while the block it
//! names is on our chain. What an endpoint said that is found on another branch afterwards is
//! thrown away, finalized blocks excepted.

use alloy::primitives::B256;
use bytes::Bytes;
use highway::{HighwayHash, HighwayHasher};
use quick_cache::Weighter;
use quick_cache::sync::Cache as Quick;
use serde::Deserialize;

use super::block::{Needs, Tags};
use super::chain::ChainView;
use super::method::{At, Kind, Method};

/// Larger answers are not kept.
const LARGEST: usize = 4 << 20;
/// What a kept answer costs beside its bytes.
const OVERHEAD: usize = 128;
/// How many answers are expected; only a first guess.
const EXPECTED: usize = 16_384;
/// Answers about the newest block that change with nothing but the block.
const OF_THE_TIP: &[&str] = &[
    "eth_blobBaseFee",
    "eth_gasPrice",
    "eth_maxPriorityFeePerGas",
];

/// What an answer hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// A block on our chain, which may still leave it.
    Block(u64, B256),
    /// A finalized block, or something named by its hash.
    Fixed,
    /// The block a transaction turns out to be in.
    Transaction,
}

/// A question's name in the cache: 128 bits under a secret of this process, so that nobody is
/// known to be able to make two questions share one.
pub(crate) type Key = u128;

pub(crate) struct Cache {
    /// None: switched off.
    kept: Option<Quick<Key, Kept, ByBytes>>,
    secret: highway::Key,
}

#[derive(Clone)]
struct Kept {
    result: Bytes,
    /// Who said it, and how often they had been found on another chain by then.
    node: usize,
    convicted: u32,
    /// The block it depends on, unless that is final.
    block: Option<(u64, B256)>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Kept> for ByBytes {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        (kept.result.len() + OVERHEAD) as u64
    }
}

impl Cache {
    /// Of at most so many bytes; 0 switches it off.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            kept: (bytes > 0).then(|| Quick::with_weighter(EXPECTED, bytes, ByBytes)),
            secret: highway::Key(rand::random()),
        }
    }

    /// The name of a question about a block or the tip.
    pub(crate) fn key(&self, method: &str, params: &str, of: Option<B256>) -> Key {
        let params = compact(params);
        let mut name = HighwayHasher::new(self.secret);
        // What comes first is of known lengths, so that nothing is taken for its neighbour.
        let lengths = u64::from(of.is_some()) << 32 | method.len() as u64;
        name.append(&lengths.to_le_bytes());
        if let Some(of) = of {
            name.append(of.as_slice());
        }
        name.append(method.as_bytes());
        name.append(params.as_bytes());
        let [low, high] = name.finalize128();
        u128::from(high) << 64 | u128::from(low)
    }

    /// What is kept, if it is still true. `convictions`: how often an endpoint was found to be of
    /// another chain; nothing it said before that is believed any more, whatever it is about.
    pub(crate) fn get(
        &self,
        key: Key,
        chain: &ChainView,
        convictions: impl Fn(usize) -> u32,
    ) -> Option<Bytes> {
        let kept = self.kept.as_ref()?.get(&key)?;
        if convictions(kept.node) != kept.convicted {
            return None;
        }
        let holds = match kept.block {
            None => true,
            Some((number, hash)) => stands(chain, number, hash),
        };
        holds.then_some(kept.result)
    }

    /// Keeps an answer if it may be kept.
    pub(crate) fn keep(
        &self,
        key: Key,
        anchor: Anchor,
        result: &Bytes,
        (node, convicted): (usize, u32),
        chain: &ChainView,
    ) {
        let Some(cache) = &self.kept else { return };
        let finalized = chain.tags().and_then(|tags| tags.finalized);
        let is_final = |number: u64| finalized.is_some_and(|finalized| number <= finalized);
        if result.len() > LARGEST || &result[..] == b"null" {
            return;
        }
        let block = match anchor {
            Anchor::Fixed => None,
            Anchor::Block(number, hash) => {
                let empty = matches!(&result[..], b"[]" | b"\"0x\"" | b"{}");
                if empty || !stands(chain, number, hash) {
                    return;
                }
                Some((number, hash))
            }
            Anchor::Transaction => match block_named(result) {
                Some((number, hash)) if stands(chain, number, hash) => Some((number, hash)),
                _ => return,
            },
        };
        let kept = Kept {
            // A small answer must not hold on to the large buffer it came in.
            result: Bytes::copy_from_slice(result),
            node,
            convicted,
            block: block.filter(|(number, _)| !is_final(*number)),
        };
        cache.insert(key, kept);
    }

    /// Throws away what an endpoint said about blocks that are not final.
    pub(crate) fn forget(&self, node: usize) {
        if let Some(cache) = &self.kept {
            cache.retain(|_, kept| kept.node != node || kept.block.is_none());
        }
    }

    /// Throws away all that is kept: the chain is another one.
    pub(crate) fn forget_all(&self) {
        if let Some(cache) = &self.kept {
            cache.clear();
        }
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept.as_ref().map_or(0, Quick::weight)
    }
}

/// Whether a block is on our chain, as far as is known.
fn stands(chain: &ChainView, number: u64, hash: B256) -> bool {
    chain.hash_at(number) == Some(hash)
}

/// What the answer to a question hangs on; none if it is not kept. With it the hash that belongs to
/// its key.
pub(crate) fn anchor(
    method: &Method,
    name: &str,
    params: &str,
    needs: Needs,
    tags: Tags,
    chain: &ChainView,
) -> Option<(Anchor, Option<B256>)> {
    if !matches!(method.kind, Kind::Light | Kind::Call | Kind::Trace) {
        return None;
    }
    if method.at == At::Transaction {
        return Some((Anchor::Transaction, None));
    }
    match needs {
        Needs::Number(number) if tags.finalized.is_some_and(|at| number <= at) => {
            Some((Anchor::Fixed, None))
        }
        Needs::Number(number) => {
            let hash = chain.hash_at(number)?;
            Some((Anchor::Block(number, hash), Some(hash)))
        }
        // Whether a block is canonical is not in its hash.
        Needs::Hash if params.contains("requireCanonical") => None,
        Needs::Hash => Some((Anchor::Fixed, None)),
        Needs::Tip if OF_THE_TIP.contains(&name) => {
            let hash = chain.hash_at(tags.latest)?;
            Some((Anchor::Block(tags.latest, hash), Some(hash)))
        }
        Needs::Tip | Needs::Pending | Needs::Nothing => None,
    }
}

/// The block a receipt or a transaction says it is in.
pub(crate) fn block_named(result: &[u8]) -> Option<(u64, B256)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct In {
        block_hash: B256,
        #[serde(deserialize_with = "crate::quantity::small")]
        block_number: u64,
    }
    let within: In = serde_json::from_slice(result).ok()?;
    Some((within.block_number, within.block_hash))
}

/// The same parameters without the space between them.
fn compact(params: &str) -> std::borrow::Cow<'_, str> {
    // Looks at all of them, which is many at once and so quicker than to stop at the first.
    let any = |any: u8, byte: u8| any | u8::from(byte <= b' ');
    if params.bytes().fold(0, any) == 0 {
        return params.into();
    }
    let (mut text, mut in_text, mut escaped) = (String::with_capacity(params.len()), false, false);
    for c in params.chars() {
        if !in_text && c.is_ascii_whitespace() {
            continue;
        }
        text.push(c);
        match c {
            '"' if !escaped => in_text = !in_text,
            _ => {}
        }
        escaped = in_text && c == '\\' && !escaped;
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::super::chain::tests::block;
    use super::super::method;
    use super::*;

    fn chain() -> ChainView {
        let view = ChainView::default();
        view.begin(block(10, 0));
        view.advance(10, (11..=20).map(|n| block(n, 0)).collect());
        view.finality(None, Some(12));
        view
    }

    fn kept(cache: &Cache, chain: &ChainView, number: u64, result: &'static str) -> Option<Bytes> {
        let hash = chain.hash_at(number);
        let key = cache.key("eth_call", "[]", hash);
        let anchor = Anchor::Block(number, hash.unwrap());
        cache.keep(
            key,
            anchor,
            &Bytes::from_static(result.as_bytes()),
            (0, 0),
            chain,
        );
        cache.get(key, chain, |_| 0)
    }

    #[test]
    fn an_answer_is_kept_under_its_block_and_gone_with_it() {
        let (cache, chain) = (Cache::new(1 << 20), chain());
        assert!(kept(&cache, &chain, 18, "\"0x1\"").is_some());
        let key = cache.key("eth_call", "[]", chain.hash_at(18));
        chain.advance(16, (17..=21).map(|n| block(n, 1)).collect());
        assert_eq!(cache.get(key, &chain, |_| 0), None);
        assert_ne!(cache.key("eth_call", "[]", chain.hash_at(18)), key);
        // And there again when the branch is.
        chain.advance(16, (17..=21).map(|n| block(n, 0)).collect());
        assert!(cache.get(key, &chain, |_| 0).is_some());
    }

    #[test]
    fn no_two_questions_share_a_name_and_space_makes_no_other_one() {
        let cache = Cache::new(0);
        let of = chain().hash_at(18);
        let names = [
            cache.key("eth_call", "[1]", None),
            cache.key("eth_call", "[1]", of),
            cache.key("eth_call[", "1]", None),
            cache.key("eth_cal", "l[1]", None),
            cache.key("eth_call", "[1,\" 1\"]", None),
            cache.key("eth_call", "[1,\"1\"]", None),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{at}");
        }
        assert_eq!(cache.key("eth_call", " [ 1 ]\n", None), names[0]);
        // Under another secret everything is called something else.
        assert_ne!(Cache::new(0).key("eth_call", "[1]", None), names[0]);
    }

    #[test]
    fn null_and_what_is_empty_so_far_are_not_kept() {
        let (cache, chain) = (Cache::new(1 << 20), chain());
        for result in ["null", "[]", "\"0x\"", "{}"] {
            assert_eq!(kept(&cache, &chain, 18, result), None, "{result}");
        }
        let key = cache.key("eth_getLogs", "[]", None);
        cache.keep(
            key,
            Anchor::Fixed,
            &Bytes::from_static(b"[]"),
            (0, 0),
            &chain,
        );
        assert!(cache.get(key, &chain, |_| 0).is_some(), "empty for good");
        let off = Cache::new(0);
        assert_eq!(kept(&off, &chain, 18, "\"0x1\""), None);
    }

    #[test]
    fn a_receipt_is_given_while_its_block_is_on_the_chain() {
        let (cache, chain) = (Cache::new(1 << 20), chain());
        let receipt = |number: u64, branch: u8| -> Bytes {
            let hash = block(number, branch).head.hash;
            format!(r#"{{"blockNumber":"{number:#x}","blockHash":"{hash}"}}"#).into()
        };
        let key = cache.key("eth_getTransactionReceipt", "[\"0x1\"]", None);
        cache.keep(key, Anchor::Transaction, &receipt(18, 1), (0, 0), &chain);
        assert_eq!(cache.get(key, &chain, |_| 0), None, "of another branch");
        cache.keep(key, Anchor::Transaction, &receipt(18, 0), (0, 0), &chain);
        assert!(cache.get(key, &chain, |_| 0).is_some());
        chain.advance(16, (17..=21).map(|n| block(n, 1)).collect());
        assert_eq!(cache.get(key, &chain, |_| 0), None);
        let waiting = Bytes::from_static(br#"{"blockNumber":null,"blockHash":null}"#);
        cache.keep(key, Anchor::Transaction, &waiting, (0, 0), &chain);
        assert_eq!(cache.get(key, &chain, |_| 0), None);
    }

    #[test]
    fn what_a_stray_said_is_forgotten_unless_it_is_final() {
        let (cache, chain) = (Cache::new(1 << 20), chain());
        assert!(kept(&cache, &chain, 18, "\"0x1\"").is_some());
        assert!(kept(&cache, &chain, 12, "\"0x2\"").is_some());
        cache.forget(1);
        cache.forget(0);
        let of = |number| cache.key("eth_call", "[]", chain.hash_at(number));
        assert_eq!(cache.get(of(18), &chain, |_| 0), None);
        assert!(cache.get(of(12), &chain, |_| 0).is_some());
        // Of one that turned out to be of another chain nothing is final.
        assert_eq!(cache.get(of(12), &chain, |_| 1), None);
    }

    #[test]
    fn what_hangs_on_what() {
        let chain = chain();
        let tags = chain.tags().unwrap();
        let of = |name: &str, params: &str, needs| {
            anchor(method::find(name), name, params, needs, tags, &chain).map(|(anchor, _)| anchor)
        };
        let at_20 = Anchor::Block(20, block(20, 0).head.hash);
        for (name, params, needs, expected) in [
            ("eth_call", "[]", Needs::Number(20), Some(at_20)),
            ("eth_call", "[]", Needs::Number(12), Some(Anchor::Fixed)),
            ("eth_call", "[]", Needs::Number(21), None),
            ("eth_call", "[]", Needs::Pending, None),
            ("eth_call", "[]", Needs::Hash, Some(Anchor::Fixed)),
            (
                "eth_call",
                r#"[{"requireCanonical":true}]"#,
                Needs::Hash,
                None,
            ),
            ("eth_gasPrice", "[]", Needs::Tip, Some(at_20)),
            ("eth_estimateGas", "[]", Needs::Tip, None),
            ("txpool_status", "[]", Needs::Tip, None),
            ("bor_getAuthor", "[]", Needs::Tip, None),
            (
                "eth_getTransactionReceipt",
                "[]",
                Needs::Tip,
                Some(Anchor::Transaction),
            ),
        ] {
            assert_eq!(of(name, params, needs), expected, "{name} {needs:?}");
        }
    }

    #[test]
    fn space_between_parameters_makes_no_other_question() {
        let cache = Cache::new(0);
        let key = |params: &str| cache.key("m", params, None);
        assert_eq!(key(r#"[ {"a" : "b c"} , 1 ]"#), key(r#"[{"a":"b c"},1]"#));
        assert_eq!(key(r#"["\" " , 1]"#), key(r#"["\" ",1]"#));
        assert_ne!(key(r#"["b c"]"#), key(r#"["bc"]"#));
        assert_ne!(key("[1]"), key("[2]"));
    }
}
