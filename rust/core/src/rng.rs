//! Random numbers by address: (seed, purpose, index) names a stream, so nothing depends on who drew before.
//!
//! ChaCha with 8 rounds: its output is specified, so it is the same on every machine and in every version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for. The numbers are part of the promise of same bits: never reuse one.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// First weights; the index is the layer.
    Weights = 1,
    /// First biases; the index is the layer.
    Biases = 2,
    /// The order of the rows; the index is the epoch.
    Shuffle = 3,
    /// The division of rows into training and validation; the index is 0.
    Split = 4,
    /// Noise of a layer while the network learns; the index is the layer. Its numbers are those of a [`key`].
    Noise = 5,
}

/// The stream of this name.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    key[16..24].copy_from_slice(&index.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// The key of a counter-based generator (`noise.rs` of the kernels) for the stream of this name.
pub fn key(seed: u64, purpose: Purpose, index: u64) -> u64 {
    stream(seed, purpose, index).next_u64()
}

/// A number in [0, 1): the upper 53 bits of a draw.
pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (0.5f64).powi(53)
}

/// Puts `items` in a random order, every order as likely (Durstenfeld's shuffle).
pub fn shuffle(items: &mut [u32], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        // The upper half of the 128-bit product: as likely as can be, to 1 in 2^64 / last.
        let pick = ((u128::from(rng.next_u64()) * (last as u128 + 1)) >> 64) as usize;
        items.swap(last, pick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_frozen() {
        // Recorded from this implementation: a change breaks the promise of the same bits for the same seed.
        let mut order: Vec<u32> = (0..8).collect();
        shuffle(&mut order, &mut stream(0, Purpose::Shuffle, 0));
        let draw = stream(7, Purpose::Weights, 3).next_u64();
        assert_eq!((order, draw), (vec![2, 5, 1, 3, 7, 4, 6, 0], 5851584255930404047));
    }

    #[test]
    fn streams_of_different_names_differ() {
        let draw = |seed, purpose, index| stream(seed, purpose, index).next_u64();
        let first = draw(0, Purpose::Weights, 0);
        assert_eq!(first, draw(0, Purpose::Weights, 0));
        assert_ne!(first, draw(1, Purpose::Weights, 0));
        assert_ne!(first, draw(0, Purpose::Biases, 0));
        assert_ne!(first, draw(0, Purpose::Weights, 1));
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_uniform_is_below_one() {
        let mut order: Vec<u32> = (0..1000).collect();
        let mut rng = stream(1, Purpose::Shuffle, 0);
        shuffle(&mut order, &mut rng);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000) && !order.iter().copied().eq(0..1000));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&uniform(&mut rng))));
    }
}
