//! Maps by the names of methods: short, and so few that nobody can fill a map with names that
//! fall into one place. A hash that withstands an attacker would cost more than the look-up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type ByName<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

#[derive(Default)]
pub(crate) struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        // Odd, with about as many bits set as not.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        for eight in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            self.0 = (self.0.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(SPREAD);
        }
    }

    fn finish(&self) -> u64 {
        // The map looks at the highest and at the lowest bits.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher as _;

    #[test]
    fn names_fall_into_places_of_their_own() {
        let hasher = BuildHasherDefault::<Quick>::default();
        let names = [
            "eth_call",
            "eth_getBalance",
            "eth_getBlockByNumber",
            "net_version",
        ];
        let mut places: Vec<u64> = names
            .iter()
            .map(|name| hasher.hash_one(name) % 64)
            .collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), names.len());
        assert_eq!(
            hasher.hash_one("eth_call"),
            hasher.hash_one(String::from("eth_call"))
        );
    }
}
