//! What the tests of the steps share: arithmetic of either type, and numbers between canaries.

use dnn_kernels::Real;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lies before and behind every slice; must still be there afterwards.
const CANARY: f64 = -12345.0;
/// Canaries before and behind: an odd number, so that no slice is aligned.
const MARGIN: usize = 19;

/// Below this a memory is set to 0, as in `update.rs`: another number there is a change of results.
pub fn forgotten<T: Real>() -> f64 {
    if T::NAME == "float32" { 1e-30 } else { 1e-290 }
}

pub fn smallest_normal<T: Real>() -> f64 {
    if T::NAME == "float32" { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE }
}

/// There is one pool: who wants several threads must not find it taken by another test.
pub fn pool() -> MutexGuard<'static, ()> {
    static POOL: Mutex<()> = Mutex::new(());
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Arithmetic of T. Sums, products, quotients and roots of float32 round in float64 as they would in float32.
pub mod plain {
    use dnn_kernels::Real;

    pub fn fma<T: Real>(a: T, b: T, c: T) -> T {
        let (x, y, z) = (a.to_f64(), b.to_f64(), c.to_f64());
        if T::NAME == "float32" {
            T::from_f64(f64::from((x as f32).mul_add(y as f32, z as f32)))
        } else {
            T::from_f64(x.mul_add(y, z))
        }
    }
    pub fn add<T: Real>(a: T, b: T) -> T {
        T::from_f64(a.to_f64() + b.to_f64())
    }
    pub fn mul<T: Real>(a: T, b: T) -> T {
        T::from_f64(a.to_f64() * b.to_f64())
    }
    pub fn div<T: Real>(a: T, b: T) -> T {
        T::from_f64(a.to_f64() / b.to_f64())
    }
    pub fn sqrt<T: Real>(a: T) -> T {
        T::from_f64(a.to_f64().sqrt())
    }
    pub fn neg<T: Real>(a: T) -> T {
        T::from_f64(-a.to_f64())
    }
    pub fn flushed<T: Real>(a: T, limit: f64) -> T {
        if a.to_f64().abs() < T::from_f64(limit).to_f64() { T::ZERO } else { a }
    }
}
/// Numbers of both signs over many magnitudes, zeros among them, with canaries before and behind.
#[derive(Clone)]
pub struct Numbers<T>(Vec<T>);

impl<T: Real> Numbers<T> {
    pub fn new(n: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 32) as f64 / (1u64 << 32) as f64
        };
        let numbers = (0..n).map(|_| {
            let (sign, magnitude) = (if draw() < 0.5 { -1.0 } else { 1.0 }, 10f64.powf(-9.0 * draw()));
            if draw() < 0.1 { 0.0 } else { sign * magnitude }
        });
        Self::of(numbers)
    }
    pub fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let margin = || std::iter::repeat_n(CANARY, MARGIN);
        Numbers(margin().chain(numbers).chain(margin()).map(T::from_f64).collect())
    }
    pub fn magnitudes(self) -> Self {
        let numbers = self.inside().iter().map(|x| x.to_f64().abs()).collect::<Vec<_>>();
        Self::of(numbers.into_iter())
    }
    pub fn inside(&self) -> &[T] {
        &self.0[MARGIN..self.0.len() - MARGIN]
    }
    pub fn inside_mut(&mut self) -> &mut [T] {
        let end = self.0.len() - MARGIN;
        &mut self.0[MARGIN..end]
    }
    pub fn assert_is(&self, twin: &[T], what: &str) {
        assert_eq!(self.inside().len(), twin.len());
        for (i, (a, b)) in self.inside().iter().zip(twin).enumerate() {
            assert!(a.to_f64().to_bits() == b.to_f64().to_bits(), "{what}: element {i} is {a}, its twin {b}");
        }
        let end = self.0.len() - MARGIN;
        let margins = self.0[..MARGIN].iter().chain(&self.0[end..]);
        assert!(margins.into_iter().all(|x| x.to_f64() == CANARY), "{what}: written outside the slice");
    }
}
