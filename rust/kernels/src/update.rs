//! Optimizer steps on slices: parameters, their gradient and the optimizer's memory, one pass.
//!
//! In: slices of one length and the constants of a step. Out: the parameters and the memory after the step.
//! They never see a layer: which slices are stepped, and with which rate, is the caller's decision.
//! SGD and Adam stand here; the others are in `update/rules.rs`, each a formula that `update/pass.rs` runs over slices.

mod pass;
mod penalty;
mod rules;

pub use pass::{blend, clamp, limit_column_norms, move_towards, scale, step};
pub use penalty::{Sums, add_penalty_gradient, penalty_sums};
pub use rules::{Adadelta, Adagrad, AdamW, Adamax, LambDirection, Lion, Nadam, RAdam, RmsProp, Rprop, Rule};

use crate::Real;
use crate::dense::Shared;
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::{Each, Kernel, Vector, all_of, run};
use std::sync::atomic::{AtomicBool, Ordering};

/// Stochastic gradient descent; t counts the steps, g is the gradient, p the parameter, v the velocity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sgd {
    /// p <- p - rate g
    Plain,
    /// v <- momentum v - rate g; p <- p + v
    Momentum(f64),
    /// v <- momentum v - rate g; p <- p + momentum v - rate g
    Nesterov(f64),
    /// v <- momentum v + (1 - momentum) g; p <- p - rate v
    Dampened(f64),
}

/// The constants of one step of Adam: p <- p - size m / (sqrt(v) scale + epsilon).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of m, the mean of the gradients.
    pub beta_1: f64,
    /// Decay of v, the mean of their squares.
    pub beta_2: f64,
    /// The rate with its corrections of this step.
    pub size: f64,
    /// What the root is multiplied by before epsilon is added.
    pub scale: f64,
    /// Keeps the quotient finite.
    pub epsilon: f64,
}

/// What an optimizer remembers is set to 0 when it falls below this: the moment of a parameter whose gradient has become
/// 0 decays for ever, and arithmetic on subnormal numbers takes a hundred times as long (measured: a network with dead
/// rectifiers fell from 320 to 550 us a step after 800 steps of Adam). A step so small moves nothing: it is divided by
/// epsilon at most, and 1e-30 of a float32 parameter is less than its rounding.
fn forgotten<T: Real>() -> f64 {
    if T::NAME == "float32" { 1e-30 } else { 1e-290 }
}

/// Nanoseconds of work that are handed to a thread at least. The hand-over itself takes 0.5 us, but what one core has
/// written reaches another slowly. On two threads Adam with 16 us makes a step of 128-128-128-10 at 16 rows take 56 us,
/// with 8 us 51; with 4 us one of 100-100-100-10 at 4 rows takes 36, where one thread takes 22.
const CHUNK_NANOSECONDS: u64 = 8_000;
/// The same where threads share the rows of a step. Then half of an update each, in two chunks, halves what has to be brought
/// over as well: a step of the digits on two threads falls from 14.0 to 12.1 us, one of 12 layers of 64 at 128 rows from
/// 101 to 96, and from 132 to 121 where the processors are far apart.
const SHARED_CHUNK_NANOSECONDS: u64 = 1_000;

/// A loop over chunks of `n` elements on the team, `chunk(start, length)`; `nanoseconds` is a guess of the whole work.
fn in_chunks(team: &Team, n: usize, nanoseconds: u64, chunk: impl Fn(usize, usize) + Sync) {
    let least = if team.shares_rows() { SHARED_CHUNK_NANOSECONDS } else { CHUNK_NANOSECONDS };
    let shortest = (n as u64).saturating_mul(least) / nanoseconds.max(1);
    let shortest = usize::try_from(shortest).unwrap_or(usize::MAX);
    if team.threads() == 1 || n / 2 <= shortest {
        return chunk(0, n);
    }
    // A thread takes several chunks at once where there are many, so that it walks through memory.
    let of_a_thread = if nanoseconds < 4 * CHUNK_NANOSECONDS { 1 } else { 4 };
    let size = n.div_ceil(of_a_thread * team.threads()).max(shortest).next_multiple_of(1024);
    team.run(n.div_ceil(size), nanoseconds, |i| chunk(i * size, size.min(n - i * size)));
}

/// One step of an optimizer that works element by element, with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Gradient descent with this rate. The memory is the velocity, where the rule has one.
    Sgd(Sgd, f64),
    /// The memories are m, v and, for AMSGrad, the largest v.
    Adam(Adam),
    /// The memories are those that [`Rule`] names.
    Rule(Rule),
}

/// The step of p along its gradient g; memories that are not needed are empty.
///
/// # Panics
/// When the lengths differ.
pub fn change<T: Real>(isa: Isa, team: &Team, change: Change, p: &mut [T], g: &[T], memories: [&mut [T]; 3]) {
    let [first, second, third] = memories;
    match change {
        Change::Sgd(rule, rate) => sgd(isa, team, rule, rate, p, g, first),
        Change::Adam(rule) => adam(isa, team, rule, p, g, first, second, third),
        Change::Rule(rule) => step(isa, team, rule, p, g, [first, second, third]),
    }
}

/// One of gradient descent, of `n` parameters along their gradient; a velocity where the rule has one.
pub(crate) struct SgdStep<T> {
    pub rule: Sgd,
    pub n: usize,
    pub rate: f64,
    pub p: *mut T,
    pub g: *const T,
    pub v: *mut T,
}

impl<T: Real> Kernel<T> for SgdStep<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        // SAFETY: the caller's word.
        unsafe { all_of::<V, _>(&self, self.n) }
    }
}

impl<T: Real> Each<T> for SgdStep<T> {
    fn contended(&self) -> *mut T {
        self.p
    }

    #[inline(always)]
    unsafe fn each<V: Vector<Elem = T>>(&self, i: usize, n: usize) {
        // SAFETY: `i + n` is at most `self.n`, for which the caller vouches; v is there where the rule has momentum.
        unsafe {
            let (g, rate) = (V::load_up_to(self.g.add(i), n), V::num(self.rate));
            self.rule.step(rate, g, self.p.add(i), self.v.wrapping_add(i), n);
        }
    }
}

impl Sgd {
    /// The step of `n` parameters along g, a vector of them at most.
    ///
    /// # Safety
    /// There are so many at p, and at v where the rule has a velocity.
    #[inline(always)]
    pub(crate) unsafe fn step<V: Vector>(self, rate: V, g: V, at_p: *mut V::Elem, at_v: *mut V::Elem, n: usize) {
        let forgotten = V::num(forgotten::<V::Elem>());
        // SAFETY: the caller's word.
        unsafe {
            let p = V::load_up_to(at_p, n);
            let v = if self == Sgd::Plain { V::zero() } else { V::load_up_to(at_v, n) };
            let (p, v) = match self {
                Sgd::Plain => (rate.fnma(g, p), v),
                Sgd::Momentum(m) => {
                    let v = V::num(m).fma(v, rate.mul(g).neg()).flushed(forgotten);
                    (p.add(v), v)
                }
                Sgd::Nesterov(m) => {
                    let step = rate.mul(g).neg();
                    let v = V::num(m).fma(v, step).flushed(forgotten);
                    (p.add(V::num(m).fma(v, step)), v)
                }
                Sgd::Dampened(m) => {
                    let v = V::num(m).fma(v, V::num(1.0 - m).mul(g)).flushed(forgotten);
                    (rate.fnma(v, p), v)
                }
            };
            p.store_up_to(at_p, n);
            if self != Sgd::Plain {
                v.store_up_to(at_v, n);
            }
        }
    }
}

/// One step of gradient descent; `velocity` is empty for [`Sgd::Plain`].
///
/// # Panics
/// When the lengths differ.
pub fn sgd<T: Real>(isa: Isa, team: &Team, rule: Sgd, rate: f64, p: &mut [T], g: &[T], velocity: &mut [T]) {
    assert_eq!(p.len(), g.len(), "parameters and gradient");
    assert!(rule == Sgd::Plain || velocity.len() == p.len(), "parameters and velocity");
    let (n, p, v) = (p.len(), Shared(p.as_mut_ptr()), Shared(velocity.as_mut_ptr()));
    let gradient = g;
    in_chunks(team, n, n as u64 / 6, |start, n| {
        let g = gradient[start..].as_ptr();
        let (p, v) = (p.get().wrapping_add(start), v.get().wrapping_add(start));
        // SAFETY: chunks lie within the slices and apart from each other.
        unsafe { run(isa, SgdStep { rule, n, rate, p, g, v }) }
    });
}

/// One of Adam, of `n` parameters along their gradient.
#[derive(Clone, Copy)]
pub(crate) struct AdamStep<T> {
    pub rule: Adam,
    n: usize,
    p: *mut T,
    g: *const T,
    m: *mut T,
    v: *mut T,
    /// Null unless AMSGrad is wanted.
    largest: *mut T,
}

impl<T> AdamStep<T> {
    pub fn new(rule: Adam, n: usize, p: *mut T, g: *const T, [m, v]: [*mut T; 2]) -> AdamStep<T> {
        AdamStep { rule, n, p, g, m, v, largest: std::ptr::null_mut() }
    }
}

impl<T: Real> Kernel<T> for AdamStep<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        // SAFETY: the caller's word.
        unsafe { all_of::<V, _>(&self, self.n) }
    }
}

impl<T: Real> Each<T> for AdamStep<T> {
    fn contended(&self) -> *mut T {
        self.p
    }

    #[inline(always)]
    unsafe fn each<V: Vector<Elem = T>>(&self, i: usize, n: usize) {
        let Adam { beta_1, beta_2, size, scale, epsilon } = self.rule;
        let (b1, b2) = (V::num(beta_1), V::num(beta_2));
        let (c1, c2) = (V::num(1.0 - beta_1), V::num(1.0 - beta_2));
        let (size, scale, epsilon) = (V::num(size), V::num(scale), V::num(epsilon));
        let amsgrad = !self.largest.is_null();
        let (forgotten, square_forgotten) = (V::num(forgotten::<T>()), V::num(forgotten::<T>().sqrt()));
        // SAFETY: `i + n` is at most `self.n`, for which the caller vouches.
        unsafe {
            let g = V::load_up_to(self.g.add(i), n);
            let m = b1.fma(V::load_up_to(self.m.add(i), n), c1.mul(g)).flushed(forgotten);
            // The square of what is not flushed here is a normal number.
            let g = g.flushed(square_forgotten);
            let v = b2.fma(V::load_up_to(self.v.add(i), n), c2.mul(g.mul(g)));
            // A mean of squares has no sign.
            let mut v = V::select(v.lt(forgotten), V::zero(), v);
            m.store_up_to(self.m.add(i), n);
            v.store_up_to(self.v.add(i), n);
            if amsgrad {
                v = v.max(V::load_up_to(self.largest.add(i), n));
                v.store_up_to(self.largest.add(i), n);
            }
            let root = v.sqrt().fma(scale, epsilon);
            let p = V::load_up_to(self.p.add(i), n);
            p.sub(size.mul(m).div(root)).store_up_to(self.p.add(i), n);
        }
    }
}

/// A step of a small network: gradient descent at a rate, or Adam without the largest v.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the sentence above names them")]
pub enum TinyStep {
    Sgd(Sgd, f64),
    Adam(Adam),
}

/// One step of Adam; `largest` (the largest v so far) is empty unless AMSGrad is wanted.
///
/// # Panics
/// When the lengths differ.
pub fn adam<T: Real>(
    isa: Isa,
    team: &Team,
    rule: Adam,
    p: &mut [T],
    g: &[T],
    m: &mut [T],
    v: &mut [T],
    largest: &mut [T],
) {
    let n = p.len();
    assert!(g.len() == n && m.len() == n && v.len() == n, "parameters, gradient and moments");
    assert!(largest.is_empty() || largest.len() == n, "parameters and largest moments");
    let amsgrad = !largest.is_empty();
    let (p, m, v) = (Shared(p.as_mut_ptr()), Shared(m.as_mut_ptr()), Shared(v.as_mut_ptr()));
    let (largest, gradient) = (Shared(largest.as_mut_ptr()), g);
    in_chunks(team, n, n as u64 / 2, |start, n| {
        let at = |shared: Shared<T>| shared.get().wrapping_add(start);
        let largest = if amsgrad { at(largest) } else { std::ptr::null_mut() };
        let g = gradient[start..].as_ptr();
        // SAFETY: chunks lie within the slices and apart from each other.
        unsafe { run(isa, AdamStep { rule, n, p: at(p), g, m: at(m), v: at(v), largest }) }
    });
}

struct AddInOrder<'a, T> {
    n: usize,
    sum: *mut T,
    others: &'a [&'a [T]],
    start: usize,
}

impl<T: Real> Kernel<T> for AddInOrder<'_, T> {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> bool {
        let whole = self.n / T::LANES * T::LANES;
        let mut squares = V::zero();
        // SAFETY: vectors lie within `self.n`; the entry has compared the lengths.
        unsafe {
            for i in (0..whole).step_by(T::LANES) {
                squares = self.add(i, T::LANES, squares);
            }
            if whole < self.n {
                squares = self.add(whole, self.n - whole, squares);
            }
        }
        squares.sum_lanes().is_finite()
    }
}

impl<T: Real> AddInOrder<'_, T> {
    /// Elements `i..i + n`, whose squares join the others.
    ///
    /// # Safety
    /// As for `run`; the elements are among its own, `n` at most the lanes.
    #[inline(always)]
    unsafe fn add<V: Vector<Elem = T>>(&self, i: usize, n: usize, squares: V) -> V {
        // SAFETY: the caller's word.
        unsafe {
            let mut sum = V::load_up_to(self.sum.add(i), n);
            for other in self.others {
                sum = sum.add(V::load_up_to(other.as_ptr().add(self.start + i), n));
            }
            sum.store_up_to(self.sum.add(i), n);
            sum.fma(sum, squares)
        }
    }
}

/// `sum <- ((sum + others[0]) + others[1]) + ...`, empty ones left out. Returns whether the squares are finite.
///
/// # Panics
/// When the lengths differ.
pub fn add_in_order<T: Real>(isa: Isa, team: &Team, sum: &mut [T], others: &[&[T]]) -> bool {
    let n = sum.len();
    let there = others.iter().position(|other| other.is_empty()).unwrap_or(others.len());
    let others = &others[..there];
    assert!(others.iter().all(|other| other.len() == n), "lengths of the gradients");
    let (sum, finite) = (Shared(sum.as_mut_ptr()), AtomicBool::new(true));
    in_chunks(team, n, n as u64 / 8, |start, n| {
        let sum = sum.get().wrapping_add(start);
        // SAFETY: chunks lie within the slices and apart from each other.
        if !unsafe { run(isa, AddInOrder { n, sum, others, start }) } {
            finite.store(false, Ordering::Relaxed);
        }
    });
    finite.into_inner()
}
