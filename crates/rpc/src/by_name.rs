//! Maps by the names of methods: short, and so few that nobody can fill a map with names that
//! fall into one place. A hash that withstands an attacker would cost more than the look-up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type ByName<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

#[derive(Default)]
pub(crate) struct Quick(u64);

impl Quick {
    fn add(&mut self, word: u64) {
        // Odd, with about as many bits set as not.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        while let Some((eight, behind)) = left.split_first_chunk() {
            self.add(u64::from_le_bytes(*eight));
            left = behind;
        }
        // The last eight once more are cheaper than what is left by itself.
        match bytes.last_chunk() {
            Some(_) if left.is_empty() => {}
            Some(eight) => self.add(u64::from_le_bytes(*eight)),
            None => left.iter().for_each(|byte| self.write_u8(*byte)),
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
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
            // The last eight of them are the same.
            "aeth_getBlockByNumber",
            "eth",
            "eth_",
        ];
        let mut places: Vec<u64> = names
            .iter()
            .map(|name| hasher.hash_one(name) % 1024)
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
