//! One pass of any [`Rule`] over slices, and what is done to gradients and parameters beside a step.
//!
//! In: slices of one length. Out: the same, changed in place, element by element; chunks go to the threads of a team.

use super::in_chunks;
use super::rules::{Rule, Step};
use crate::dense::{Shared, ViewMut};
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::{Each, Kernel, MAX_LANES, Vector, all_of, run};
use crate::{Real, padded};

struct Pass<T, S> {
    step: S,
    n: usize,
    p: *mut T,
    g: *const T,
    /// Null where there is none.
    memories: [*mut T; 3],
}

impl<T: Real, S: Step> Kernel<T> for Pass<T, S> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        // SAFETY: the caller's word.
        unsafe { all_of::<V, _>(&self, self.n) }
    }
}

impl<T: Real, S: Step> Each<T> for Pass<T, S> {
    fn contended(&self) -> *mut T {
        self.p
    }

    #[inline(always)]
    unsafe fn each<V: Vector<Elem = T>>(&self, i: usize, n: usize) {
        // SAFETY: `i + n` is at most `self.n`, for which the caller vouches; a memory that is not null is as long.
        unsafe {
            let (p, g) = (V::load_up_to(self.p.add(i), n), V::load_up_to(self.g.add(i), n));
            let mut memory = [V::zero(); 3];
            for (memory, from) in memory.iter_mut().zip(self.memories) {
                if !from.is_null() {
                    *memory = V::load_up_to(from.add(i), n);
                }
            }
            self.step.step(p, g, &mut memory).store_up_to(self.p.add(i), n);
            for (memory, to) in memory.into_iter().zip(self.memories) {
                if !to.is_null() {
                    memory.store_up_to(to.add(i), n);
                }
            }
        }
    }
}

/// One step of a rule on p, given its gradient g and the memories that [`Rule`] names; the others are empty.
///
/// # Panics
/// When the lengths differ.
pub fn step<T: Real>(isa: Isa, team: &Team, rule: Rule, p: &mut [T], g: &[T], memories: [&mut [T]; 3]) {
    match rule {
        Rule::AdamW(one) => pass(isa, team, rule, one, p, g, memories),
        Rule::RmsProp(one) => pass(isa, team, rule, one, p, g, memories),
        Rule::Adagrad(one) => pass(isa, team, rule, one, p, g, memories),
        Rule::Adadelta(one) => pass(isa, team, rule, one, p, g, memories),
        Rule::Adamax(one) => pass(isa, team, rule, one, p, g, memories),
        Rule::Nadam(one) => pass(isa, team, rule, one, p, g, memories),
        Rule::Lion(one) => pass(isa, team, rule, one, p, g, memories),
        Rule::RAdam(one) => pass(isa, team, rule, one, p, g, memories),
        Rule::Rprop(one) => pass(isa, team, rule, one, p, g, memories),
        Rule::LambDirection(one) => pass(isa, team, rule, one, p, g, memories),
    }
}

fn pass<T: Real, S: Step>(isa: Isa, team: &Team, rule: Rule, step: S, p: &mut [T], g: &[T], memories: [&mut [T]; 3]) {
    let n = p.len();
    assert_eq!(n, g.len(), "parameters and gradient");
    for (memory, needed) in memories.iter().zip(rule.memories()) {
        assert_eq!(memory.len(), if needed { n } else { 0 }, "parameters and memory");
    }
    let is_there = rule.memories();
    let (p, gradient) = (Shared(p.as_mut_ptr()), g);
    let memories = memories.map(|memory| Shared(memory.as_mut_ptr()));
    in_chunks(team, n, n as u64 / 2, |start, n| {
        let at = |shared: Shared<T>| shared.get().wrapping_add(start);
        let mut of_chunk = [std::ptr::null_mut(); 3];
        for ((to, from), is_there) in of_chunk.iter_mut().zip(memories).zip(is_there) {
            if is_there {
                *to = at(from);
            }
        }
        let g = gradient[start..].as_ptr();
        // SAFETY: chunks lie within the slices, whose lengths were compared above, and apart from each other.
        unsafe { run(isa, Pass { step, n, p: at(p), g, memories: of_chunk }) }
    });
}

/// What a [`Alter`] does to each element.
#[derive(Clone, Copy)]
enum How {
    /// y <- a y
    Scale(f64),
    /// y <- y, moved to the nearest of -a and a where it lies beyond
    Clamp(f64),
    /// y <- y + a (x - y)
    Towards(f64),
    /// y <- a x + b y
    Blend(f64, f64),
}

struct Alter<T> {
    how: How,
    n: usize,
    /// Null where only y counts.
    x: *const T,
    y: *mut T,
}

impl<T: Real> Kernel<T> for Alter<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        // SAFETY: the caller's word.
        unsafe { all_of::<V, _>(&self, self.n) }
    }
}

impl<T: Real> Each<T> for Alter<T> {
    #[inline(always)]
    unsafe fn each<V: Vector<Elem = T>>(&self, i: usize, n: usize) {
        // SAFETY: `i + n` is at most `self.n`, for which the caller vouches; x is there where the change reads it.
        unsafe {
            let y = V::load_up_to(self.y.add(i), n);
            let x = || V::load_up_to(self.x.add(i), n);
            let changed = match self.how {
                How::Scale(a) => V::num(a).mul(y),
                // The limits stand first, so that NaN stays.
                How::Clamp(a) => V::num(a).min(V::num(-a).max(y)),
                How::Towards(a) => V::num(a).fma(x().sub(y), y),
                How::Blend(a, b) => V::num(a).fma(x(), V::num(b).mul(y)),
            };
            changed.store_up_to(self.y.add(i), n);
        }
    }
}

fn change<T: Real>(isa: Isa, team: &Team, how: How, x: Option<&[T]>, y: &mut [T]) {
    let n = y.len();
    assert!(x.is_none_or(|x| x.len() == n), "x and y");
    let y = Shared(y.as_mut_ptr());
    in_chunks(team, n, n as u64 / 8, |start, n| {
        let x = x.map_or(std::ptr::null(), |x| x[start..].as_ptr());
        let y = y.get().wrapping_add(start);
        // SAFETY: chunks lie within the slices and apart from each other.
        unsafe { run(isa, Alter { how, n, x, y }) }
    });
}

/// `x <- factor x`
pub fn scale<T: Real>(isa: Isa, team: &Team, factor: f64, x: &mut [T]) {
    change(isa, team, How::Scale(factor), None, x);
}

/// `x <- min(limit, max(-limit, x))`; NaN stays.
pub fn clamp<T: Real>(isa: Isa, team: &Team, limit: f64, x: &mut [T]) {
    change(isa, team, How::Clamp(limit), None, x);
}

/// `mean <- mean + share (x - mean)`
///
/// # Panics
/// When the lengths differ.
pub fn move_towards<T: Real>(isa: Isa, team: &Team, share: f64, x: &[T], mean: &mut [T]) {
    change(isa, team, How::Towards(share), Some(x), mean);
}

/// `y <- a x + b y`
///
/// # Panics
/// When the lengths differ.
pub fn blend<T: Real>(isa: Isa, team: &Team, a: f64, x: &[T], b: f64, y: &mut [T]) {
    change(isa, team, How::Blend(a, b), Some(x), y);
}

struct LimitColumns<T> {
    rows: usize,
    /// Padded, unless they are turned.
    columns: usize,
    stride: usize,
    /// Whether it is the rows of what lies there that are columns.
    turned: bool,
    w: *mut T,
    limit: f64,
}

impl<T: Real> Kernel<T> for LimitColumns<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let limit = V::num(self.limit);
        for j in (0..self.columns).step_by(T::LANES) {
            // A column is one lane, added up in the order of the rows.
            let mut squares = V::zero();
            for i in 0..self.rows {
                // SAFETY: the caller's word.
                let w = unsafe { self.load::<V>(i, j) };
                squares = w.fma(w, squares);
            }
            let norm = squares.sqrt();
            let factor = V::select(limit.lt(norm), limit.div(norm), V::num(1.0));
            let mut lost = V::select(norm.lt(V::num(f64::INFINITY)), V::zero(), V::num(1.0));
            if self.limit < tiny_norm::<T>() {
                lost = V::select(norm.lt(V::num(tiny_norm::<T>())), V::num(1.0), lost);
            }
            let factor = V::select(V::zero().lt(lost), V::num(1.0), factor);
            for i in 0..self.rows {
                // SAFETY: as above.
                unsafe { self.store(i, j, self.load::<V>(i, j).mul(factor)) }
            }
            if lost.max_lane() > T::ZERO {
                // SAFETY: these are columns of ours.
                unsafe { self.by_the_largest(j, lost) }
            }
        }
    }
}

/// Below this the squares of a column may have lost what counts of them.
fn tiny_norm<T: Real>() -> f64 {
    if T::NAME == "float32" { 1e-15 } else { 1e-140 }
}

impl<T: Real> LimitColumns<T> {
    /// The elements of row i in the columns from j on.
    ///
    /// # Safety
    /// As for `run`; row and columns are among its own.
    #[inline(always)]
    unsafe fn load<V: Vector<Elem = T>>(&self, i: usize, j: usize) -> V {
        // SAFETY: the caller's word; rows that are not turned are padded.
        unsafe {
            if self.turned { V::load(self.collected(i, j).as_ptr()) } else { V::load(self.w.add(i * self.stride + j)) }
        }
    }

    /// # Safety
    /// As for `load`.
    #[inline(always)]
    unsafe fn store<V: Vector<Elem = T>>(&self, i: usize, j: usize, w: V) {
        // SAFETY: as in `load`.
        unsafe { if self.turned { self.spread(i, j, w.to_lanes()) } else { w.store(self.w.add(i * self.stride + j)) } }
    }

    /// # Safety
    /// As for `load`.
    // Not inlined, as `spread`: they take no vectors, and would be in the library once for each set.
    #[inline(never)]
    unsafe fn collected(&self, i: usize, j: usize) -> [T; MAX_LANES] {
        let mut lanes = [T::ZERO; MAX_LANES];
        for (o, lane) in lanes.iter_mut().enumerate().take(T::LANES.min(self.columns - j)) {
            // SAFETY: the caller's word.
            *lane = unsafe { *self.w.add((j + o) * self.stride + i) };
        }
        lanes
    }

    /// # Safety
    /// As for `load`.
    #[inline(never)]
    unsafe fn spread(&self, i: usize, j: usize, lanes: [T; MAX_LANES]) {
        for (o, lane) in lanes.into_iter().enumerate().take(T::LANES.min(self.columns - j)) {
            // SAFETY: the caller's word.
            unsafe { *self.w.add((j + o) * self.stride + i) = lane }
        }
    }

    /// The columns from j on where `lost` is not 0, because their squares overflow or vanish: as multiples of their
    /// largest element, whose squares do neither.
    ///
    /// # Safety
    /// As for `run`; j is one of its columns.
    #[inline(always)]
    unsafe fn by_the_largest<V: Vector<Elem = T>>(&self, j: usize, lost: V) {
        let (mut largest, mut squares) = (V::zero(), V::zero());
        for i in 0..self.rows {
            // SAFETY: the caller's word.
            largest = largest.max(unsafe { self.load::<V>(i, j) }.abs());
        }
        for i in 0..self.rows {
            // SAFETY: as above.
            let share = unsafe { self.load::<V>(i, j) }.div(largest);
            squares = share.fma(share, squares);
        }
        // The norm is largest root, a product that may overflow itself.
        let (limit, root) = (V::num(self.limit), squares.sqrt());
        let is_longer = V::select(limit.div(largest).lt(root), lost, V::zero());
        for i in 0..self.rows {
            // SAFETY: as above.
            unsafe {
                let w = self.load::<V>(i, j);
                let shorter = w.div(largest).mul(limit.div(root));
                self.store(i, j, V::select(V::zero().lt(is_longer), shorter, w));
            }
        }
    }
}

/// Shrinks every column of w whose Euclidean norm is above `limit` to that norm; the others keep their bits.
///
/// # Shapes
/// w is (rows, columns) and padded; where it is `turned`, its rows are the columns.
///
/// # Panics
/// When the shape does not fit the data.
pub fn limit_column_norms<T: Real>(isa: Isa, limit: f64, turned: bool, w: ViewMut<T>) {
    w.check(padded::<T>(w.columns));
    let (rows, columns) = if turned { (w.columns, w.rows) } else { (w.rows, padded::<T>(w.columns)) };
    let (stride, w) = (w.stride, w.data.as_mut_ptr());
    // SAFETY: the shape was checked above.
    unsafe { run(isa, LimitColumns { rows, columns, stride, turned, w, limit }) }
}
