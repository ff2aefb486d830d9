//! Where chance comes from, so that a simulation can be run again.

use std::ops::{Range, RangeInclusive};

use rand::RngExt;

pub(crate) enum Dice {
    Fair,
    #[cfg(test)]
    Seeded(Box<std::sync::Mutex<rand::rngs::StdRng>>),
}

impl Dice {
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        use rand::SeedableRng;
        let rng = rand::rngs::StdRng::seed_from_u64(seed);
        Self::Seeded(Box::new(std::sync::Mutex::new(rng)))
    }

    /// One of the numbers of a range that is not empty.
    pub(crate) fn random_range(&self, range: Range<usize>) -> usize {
        match self {
            Self::Fair => rand::rng().random_range(range),
            #[cfg(test)]
            Self::Seeded(rng) => rng.lock().expect("no panic holds it").random_range(range),
        }
    }

    /// A part of something, from a half up to the whole of it.
    pub(crate) fn half_to_whole(&self) -> f64 {
        match self {
            Self::Fair => rand::rng().random_range(0.5..1.0),
            #[cfg(test)]
            Self::Seeded(rng) => rng
                .lock()
                .expect("no panic holds it")
                .random_range(0.5..1.0),
        }
    }

    pub(crate) fn block(&self, range: RangeInclusive<u64>) -> u64 {
        match self {
            Self::Fair => rand::rng().random_range(range),
            #[cfg(test)]
            Self::Seeded(rng) => rng.lock().expect("no panic holds it").random_range(range),
        }
    }
}
