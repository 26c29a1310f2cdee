//! Penalties of weights: their sums, and the gradient of both.
//!
//! In: parameters. Out: sums of |p| and p^2 in `f64`, and the gradient with that of the penalty added, in one pass. The
//! order of the sums depends on how many parameters there are, never on threads or the set.

use crate::Real;
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::{Kernel, Vector, run};

/// Parameters that are summed in one go at least, and parts at most.
const PART: usize = 8 * 1024;
const PARTS: usize = 16;
/// Numbers that go together: as many sums side by side, each of its place in a group.
const GROUP: usize = 16;

/// The sums of |p| and p^2.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Of |p|.
    pub magnitudes: f64,
    /// Of p^2.
    pub squares: f64,
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
        let (mut magnitudes, mut squares) = ([0.0f64; GROUP], [0.0f64; GROUP]);
        let mut of_gradient = V::zero();
        for start in (0..self.n).step_by(GROUP) {
            let n = GROUP.min(self.n - start);
            let mut group = [T::ZERO; GROUP];
            // SAFETY: `start + n` is at most `self.n`, for which the caller vouches.
            unsafe {
                if n == GROUP {
                    group = self.p.add(start).cast::<[T; GROUP]>().read();
                } else {
                    std::ptr::copy_nonoverlapping(self.p.add(start), group.as_mut_ptr(), n);
                }
                for lane in (0..if self.g.is_null() { 0 } else { n }).step_by(T::LANES) {
                    of_gradient = self.gradient(start + lane, T::LANES.min(n - lane), of_gradient);
                }
            }
            for i in 0..GROUP {
                let x = group[i].to_f64();
                magnitudes[i] += x.abs();
                squares[i] += x * x;
            }
        }
        let total = |sums: [f64; GROUP]| sums.into_iter().fold(0.0, |total, sum| total + sum);
        let sums = Sums { magnitudes: total(magnitudes), squares: total(squares) };
        (sums, of_gradient.sum_lanes().is_finite())
    }
}

impl<T: Real> Penalty<T> {
    /// Elements `i..i + n` of the gradient, whose squares join the others.
    ///
    /// # Safety
    /// They are there, `n` at most the lanes.
    #[inline(always)]
    unsafe fn gradient<V: Vector<Elem = T>>(&self, i: usize, n: usize, squares: V) -> V {
        let (l1, two_l2) = (V::num(self.l1), V::num(2.0 * self.l2));
        // SAFETY: the caller's word.
        unsafe {
            let p = V::load_up_to(self.p.add(i), n);
            let g = V::load_up_to(self.g.add(i), n);
            // |p|' is the sign of p, and 0 at 0.
            let sign = V::select(p.abs().le(V::zero()), V::zero(), l1.with_sign_of(p));
            let g = two_l2.fma(p, g.add(sign));
            g.store_up_to(self.g.add(i), n);
            g.fma(g, squares)
        }
    }
}

/// Whatever is to be done with all of them, in parts that threads take.
fn in_parts<T: Real>(isa: Isa, team: &Team, l1: f64, l2: f64, p: &[T], g: Option<&mut [T]>) -> (Sums, bool) {
    struct Part<T>(Penalty<T>, (Sums, bool));
    // SAFETY: parts are apart from each other, and each is taken by one thread.
    unsafe impl<T: Real> Send for Part<T> {}

    let size = PART.max(p.len().div_ceil(PARTS).next_multiple_of(GROUP));
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
        let magnitudes = sums.magnitudes + part.magnitudes;
        (Sums { magnitudes, squares: sums.squares + part.squares }, finite && *is_finite)
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
