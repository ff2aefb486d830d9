//! Whether a header makes the hash its block is known by. Where it does, what it says of receipts
//! cannot have been made up by the endpoint that showed it.
//!
//! The hash is computed from the fields every Ethereum header has. Chains that hash more of them
//! (Avalanche), or forks from after this program was built, never fit; there headers are believed, as
//! long as nobody shows one that fits.

use std::sync::atomic::{AtomicU8, Ordering};

use alloy::consensus::Header;
use alloy::primitives::B256;

/// Whether headers here make their hashes.
#[derive(Default)]
pub(crate) struct Seals(AtomicU8);

impl Seals {
    const FIT: u8 = 1;
    const DO_NOT: u8 = 2;

    /// A header was looked at, and of all who showed it somebody's fitted or nobody's.
    pub(super) fn were_seen(&self, fit: bool) {
        let seen = if fit { Self::FIT } else { Self::DO_NOT };
        self.0.store(seen, Ordering::Relaxed);
    }

    /// None before any was seen.
    pub(crate) fn fit(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            seen => Some(seen == Self::FIT),
        }
    }
}

/// Whether this header (JSON, as endpoints show it) makes the hash.
pub(super) fn makes(header: &[u8], hash: B256) -> bool {
    serde_json::from_slice::<Header>(header).is_ok_and(|header| header.hash_slow() == hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_makes_its_hash_and_no_other_and_what_it_lacks_or_says_beside_it_decides_nothing() {
        let header = Header {
            number: 7,
            base_fee_per_gas: Some(9),
            withdrawals_root: Some(B256::repeat_byte(3)),
            ..Header::default()
        };
        let hash = header.hash_slow();
        let mut shown = serde_json::to_value(&header).unwrap();
        shown["l1BlockNumber"] = serde_json::json!("0x5");
        shown["hash"] = serde_json::json!(hash);
        assert!(makes(shown.to_string().as_bytes(), hash));
        shown["receiptsRoot"] = serde_json::json!(B256::repeat_byte(9));
        assert!(!makes(shown.to_string().as_bytes(), hash));
        assert!(!makes(b"{\"number\":\"0x7\"}", hash));

        let seals = Seals::default();
        assert_eq!(seals.fit(), None);
        seals.were_seen(false);
        assert_eq!(seals.fit(), Some(false));
        seals.were_seen(true);
        assert_eq!(seals.fit(), Some(true));
    }
}
