//! Penalties of weights: their sums, and the gradient of both.
//!
//! In: parameters. Out: sums of |p| and p^2, and the gradient with that of the penalty added, in one pass. The order of
//! the sums depends on how many parameters there are, never on threads or the set.

use crate::Real;
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::{Kernel, Vector, run};

/// Parameters that are summed in one go at least, and parts at most.
const PART: usize = 8 * 1024;
const PARTS: usize = 16;
/// Vectors whose lanes are summed up in the type itself, before their sums join the others in `f64`: 32 roundings of float32
/// are as exact as the loss. With sums in `f64` alone, a number took 0.95 ns instead of 0.1.
const TOGETHER: usize = 32;

/// The sums of |p| and p^2.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Of |p|.
    pub magnitudes: f64,
    /// Of p^2.
    pub squares: f64,
}

impl Sums {
    fn plus(self, other: Sums) -> Sums {
        Sums { magnitudes: self.magnitudes + other.magnitudes, squares: self.squares + other.squares }
    }
}

struct Penalty<T> {
    n: usize,
    l1: f64,
    l2: f64,
    p: *const T,
    /// Null where the sums alone are asked for.
    g: *mut T,
}

impl<T: Real> Kernel<T> for Penalty<T> {
    /// The sums, and whether the squares of the gradient have a finite sum.
    type Output = (Sums, bool);

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> (Sums, bool) {
        let lanes = T::LANES;
        let mut sums = Sums::default();
        let mut of_gradient = V::zero();
        for start in (0..self.n).step_by(TOGETHER * lanes) {
            let end = self.n.min(start + TOGETHER * lanes);
            let whole = start + (end - start) / lanes * lanes;
            let mut found = [V::zero(), V::zero(), of_gradient];
            // SAFETY: `end` is at most `self.n`, for which the caller vouches.
            let part = unsafe {
                for i in (start..whole).step_by(lanes) {
                    found = self.vector(i, lanes, found);
                }
                if whole < end {
                    found = self.vector(whole, end - whole, found);
                }
                let part = Sums { magnitudes: found[0].sum_lanes(), squares: found[1].sum_lanes() };
                if (part.magnitudes + part.squares).is_finite() { part } else { self.in_f64(start, end) }
            };
            of_gradient = found[2];
            sums = sums.plus(part);
        }
        (sums, of_gradient.sum_lanes().is_finite())
    }
}

impl<T: Real> Penalty<T> {
    /// Elements `i..i + n`, which join the sums of |p|, of p^2, and of the squares of the gradient.
    ///
    /// # Safety
    /// They are there, `n` at most the lanes.
    #[inline(always)]
    unsafe fn vector<V: Vector<Elem = T>>(&self, i: usize, n: usize, sums: [V; 3]) -> [V; 3] {
        let [magnitudes, squares, mut of_gradient] = sums;
        // SAFETY: the caller's word.
        unsafe {
            let p = V::load_up_to(self.p.add(i), n);
            if !self.g.is_null() {
                let g = V::load_up_to(self.g.add(i), n);
                // |p|' is the sign of p, and 0 at 0.
                let sign = V::select(p.abs().le(V::zero()), V::zero(), V::num(self.l1).with_sign_of(p));
                let g = V::num(2.0 * self.l2).fma(p, g.add(sign));
                g.store_up_to(self.g.add(i), n);
                of_gradient = g.fma(g, of_gradient);
            }
            [magnitudes.add(p.abs()), p.fma(p, squares), of_gradient]
        }
    }

    /// The sums of numbers whose squares the type has no room for.
    ///
    /// # Safety
    /// Elements `start..end` are there.
    #[cold]
    unsafe fn in_f64(&self, start: usize, end: usize) -> Sums {
        (start..end).fold(Sums::default(), |sums, i| {
            // SAFETY: the caller's word.
            let x = unsafe { *self.p.add(i) }.to_f64();
            sums.plus(Sums { magnitudes: x.abs(), squares: x * x })
        })
    }
}

/// Whatever is to be done with all of them, in parts that threads take.
fn in_parts<T: Real>(isa: Isa, team: &Team, l1: f64, l2: f64, p: &[T], g: Option<&mut [T]>) -> (Sums, bool) {
    struct Part<T>(Penalty<T>, (Sums, bool));
    // SAFETY: parts are apart from each other, and each is taken by one thread.
    unsafe impl<T: Real> Send for Part<T> {}

    let size = PART.max(p.len().div_ceil(PARTS).next_multiple_of(T::LANES));
    let g = g.map_or(std::ptr::null_mut(), <[T]>::as_mut_ptr);
    let mut parts: [Part<T>; PARTS] = std::array::from_fn(|i| {
        let start = p.len().min(i * size);
        let n = size.min(p.len() - start);
        let g = if g.is_null() { g } else { g.wrapping_add(start) };
        Part(Penalty { n, l1, l2, p: p[start..].as_ptr(), g }, (Sums::default(), true))
    });
    let count = p.len().div_ceil(size);
    team.run_each(&mut parts[..count], p.len() as u64 / 4, |_, Part(part, found)| {
        let Penalty { n, l1, l2, p, g } = *part;
        // SAFETY: the part lies within slices of one length.
        *found = unsafe { run(isa, Penalty { n, l1, l2, p, g }) };
    });
    parts[..count].iter().fold((Sums::default(), true), |(sums, finite), Part(_, (part, is_finite))| {
        (sums.plus(*part), finite && *is_finite)
    })
}

/// `g <- g + l1 sign(p) + 2 l2 p`: the gradient of the penalty `l1 sum |p| + l2 sum p^2`. Returns these sums, and whether the
/// squares of the gradient have a finite sum.
///
/// # Panics
/// When the lengths differ.
pub fn add_penalty_gradient<T: Real>(isa: Isa, team: &Team, l1: f64, l2: f64, p: &[T], g: &mut [T]) -> (Sums, bool) {
    assert_eq!(p.len(), g.len(), "parameters and gradient");
    in_parts(isa, team, l1, l2, p, Some(g))
}

/// The sums of [`add_penalty_gradient`], to the bit.
pub fn penalty_sums<T: Real>(isa: Isa, team: &Team, p: &[T]) -> Sums {
    in_parts(isa, team, 0.0, 0.0, p, None).0
}
