//! A single row through one stage: vectors run over the outputs, or over the inputs where the weights lie turned.
//!
//! In: pointers and sizes that the entries have checked; tables of one row are vectors of units, padded. Out: the same.
//! Forward has the bits of `tile.rs` and `narrow.rs` up to the `KC` inputs of one of their pieces. The gradient of a weight is
//! one product, and an input gradient a chain over the outputs where weights lie turned, else a sum in the lanes of a vector,
//! the same on every set.

use super::network::{Stage, TinyLoss};
use super::pass::Wanted;
use crate::narrow::{DOTS_INPUTS, NARROW};
use crate::simd::{MAX_LANES, Vector, starts};
use crate::update::Sgd;
use crate::{Real, math, padded};

/// A stage, and where its weights lie.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, T> {
    pub stage: &'a Stage,
    pub w: *const T,
}

impl<T: Real> Row<'_, T> {
    /// z = bias + x w
    ///
    /// # Safety
    /// The weights are there, with padding; x and z are padded too, and z is not x.
    #[inline(always)]
    pub(super) unsafe fn forward<V: Vector<Elem = T>>(&self, x: *const T, z: *mut T) {
        let n_out = padded::<T>(self.stage.n_out);
        // SAFETY: the caller's word.
        unsafe {
            if self.stage.is_turned {
                return self.forward_turned::<V>(x, z);
            }
            let mut j = 0;
            while V::TILE_VECTORS > 1 && j + 4 * T::LANES <= n_out {
                self.outputs::<V, 4>(j, x, z);
                j += 4 * T::LANES;
            }
            while V::TILE_VECTORS > 1 && j + 2 * T::LANES <= n_out {
                self.outputs::<V, 2>(j, x, z);
                j += 2 * T::LANES;
            }
            while j < n_out {
                self.outputs::<V, 1>(j, x, z);
                j += T::LANES;
            }
        }
    }

    #[inline(always)]
    fn bias(&self) -> *const T {
        self.w.wrapping_add(self.stage.n_weights())
    }

    /// Vectors of outputs from j on.
    ///
    /// # Safety
    /// As for [`Row::forward`]; there are so many.
    #[inline(always)]
    unsafe fn outputs<V: Vector<Elem = T>, const NV: usize>(&self, j: usize, x: *const T, z: *mut T) {
        let mut sums = [V::zero(); NV];
        // SAFETY: the caller's word.
        unsafe {
            if self.stage.use_bias {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(self.bias().add(j + v * T::LANES));
                }
            }
            let mut w = self.w.wrapping_add(j);
            for k in 0..self.stage.n_in {
                let x = V::splat(*x.add(k));
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = x.fma(V::load(w.add(v * T::LANES)), *sum);
                }
                w = w.wrapping_add(self.stage.stride);
            }
            for (v, sum) in sums.iter().enumerate() {
                // Padding stays 0, also where an input is infinite.
                let start = j + v * T::LANES;
                V::select(V::first_lanes(T::LANES.min(self.stage.n_out - start)), *sum, V::zero()).store(z.add(start));
            }
        }
    }

    /// # Safety
    /// As for [`Row::forward`]; the weights lie turned.
    #[inline(always)]
    unsafe fn forward_turned<V: Vector<Elem = T>>(&self, x: *const T, z: *mut T) {
        let &Stage { n_in, n_out, stride, use_bias, .. } = self.stage;
        // The last output once more where there is no other.
        let w = |o: usize| self.w.wrapping_add(o.min(n_out - 1) * stride);
        // SAFETY: the caller's word; padding of weights is zero.
        unsafe {
            let bias = if use_bias { V::load(self.bias()) } else { V::zero() };
            if n_in < DOTS_INPUTS {
                // A vector whose lanes are outputs, its weights put together from one row each.
                let mut sum = bias;
                for k in 0..n_in {
                    let mut of_input = V::splat(*w(n_out - 1).add(k));
                    for o in (0..n_out - 1).rev() {
                        of_input = V::select(V::first_lanes(o + 1), V::splat(*w(o).add(k)), of_input);
                    }
                    sum = V::splat(*x.add(k)).fma(of_input, sum);
                }
                V::select(V::first_lanes(n_out), sum, V::zero()).store(z);
                return;
            }
            let mut sums = [V::zero(); 8];
            for k in starts::<T>(n_in) {
                let x = V::load(x.add(k));
                for (o, sum) in sums.iter_mut().enumerate().take(if V::CALLS { n_out } else { NARROW }) {
                    *sum = x.fma(V::load(w(o).add(k)), *sum);
                }
            }
            let mut of_outputs = [T::ZERO; MAX_LANES];
            of_outputs[..8].copy_from_slice(&V::sum_each(sums));
            let sum = bias.add(V::load(of_outputs.as_ptr()));
            V::select(V::first_lanes(n_out), sum, V::zero()).store(z);
        }
    }

    /// Whether all of the gradient is sure to have squares that are finite: none is above |x|^2 |delta|^2, those of weights,
    /// and none above |delta|^2, those of the bias. What is infinite times 0 is not finite either.
    ///
    /// # Safety
    /// As for [`Row::forward`]; delta is padded with zeros.
    #[inline(always)]
    pub(super) unsafe fn has_squares<V: Vector<Elem = T>>(&self, x: *const T, delta: *const T) -> bool {
        let zero = V::zero();
        let (mut of_x, mut of_delta) = (zero, zero);
        // SAFETY: the caller's word.
        unsafe {
            for j in starts::<T>(self.stage.n_out) {
                let d = V::load(delta.add(j));
                of_delta = d.fma(d, of_delta);
            }
            for k in starts::<T>(self.stage.n_in) {
                let x = self.inputs::<V>(x, k);
                of_x = x.fma(x, of_x);
            }
        }
        let [x, delta, ..] = V::sum_each([of_x, of_delta, zero, zero, zero, zero, zero, zero]);
        // A quarter leaves room for rounding.
        let (x, delta) = (x.to_f64(), delta.to_f64());
        delta <= T::LARGEST / 4.0 && x * delta <= T::LARGEST / 4.0
    }

    /// A vector of inputs from k on, and zeros where there are no more: padding may have come out of an activation.
    ///
    /// # Safety
    /// As for [`Row::forward`].
    #[inline(always)]
    unsafe fn inputs<V: Vector<Elem = T>>(&self, x: *const T, k: usize) -> V {
        // SAFETY: the caller's word.
        unsafe { V::select(V::first_lanes(T::LANES.min(self.stage.n_in - k)), V::load(x.add(k)), V::zero()) }
    }

    /// dL/dw of the weights and dL/db of the bias, for what is to become of them: `to` is where weights, or their gradient,
    /// lie.
    ///
    /// # Safety
    /// As for [`Row::forward`]; delta is padded with zeros, and at `to` there is room for the weights and the bias.
    #[inline(always)]
    pub(super) unsafe fn gradient<V: Vector<Elem = T>>(
        &self,
        x: *const T,
        delta: *const T,
        becomes: Becomes<T>,
        to: *mut T,
    ) {
        let &Stage { n_in, n_out, stride, is_turned, use_bias, learns_weights, learns_bias, .. } = self.stage;
        // SAFETY: the caller's word.
        unsafe {
            if learns_weights && is_turned {
                for k in starts::<T>(n_in) {
                    let x = self.inputs::<V>(x, k);
                    for o in 0..n_out {
                        put(to.add(o * stride + k), V::splat(*delta.add(o)).mul(x), becomes);
                    }
                }
            }
            // The bias is the weight of one more input, which is 1.
            let first = if learns_weights && !is_turned { 0 } else { n_in };
            for k in first..n_in + usize::from(learns_bias && use_bias) {
                let (x, at) = if k < n_in { (*x.add(k), k * stride) } else { (T::ONE, self.stage.n_weights()) };
                let mut j = 0;
                // Once at least, so that a layer of one vector has no loop.
                loop {
                    put(to.add(at + j), V::splat(x).mul(V::load(delta.add(j))), becomes);
                    j += T::LANES;
                    if j >= n_out {
                        break;
                    }
                }
            }
        }
    }

    /// dL/dx = w delta
    ///
    /// # Safety
    /// As for [`Row::forward`]; delta is padded with zeros.
    #[inline(always)]
    pub(super) unsafe fn input_gradient<V: Vector<Elem = T>>(&self, delta: *const T, dx: *mut T) {
        let &Stage { n_in, n_out, stride, is_turned, .. } = self.stage;
        // SAFETY: the caller's word.
        unsafe {
            for k in starts::<T>(n_in) {
                if is_turned {
                    let mut sum = V::zero();
                    for o in 0..n_out {
                        sum = V::splat(*delta.add(o)).fma(V::load(self.w.add(o * stride + k)), sum);
                    }
                    sum.store(dx.add(k));
                    continue;
                }
                let mut sums = [T::ZERO; MAX_LANES];
                for (half, to) in sums.chunks_exact_mut(8).enumerate().take(T::LANES.div_ceil(8)) {
                    let first = k + half * 8;
                    if first >= n_in {
                        break;
                    }
                    let mut of_inputs = [V::zero(); 8];
                    for j in starts::<T>(padded::<T>(n_out)) {
                        let d = V::load(delta.add(j));
                        for (i, sum) in of_inputs.iter_mut().enumerate().take(if V::CALLS { n_in - first } else { 8 }) {
                            // The last one once more where there is no other.
                            let row = (first + i).min(n_in - 1);
                            *sum = d.fma(V::load(self.w.add(row * stride + j)), *sum);
                        }
                    }
                    to.copy_from_slice(&V::sum_each(of_inputs));
                }
                let sums = V::load(sums.as_ptr());
                V::select(V::first_lanes(T::LANES.min(n_in - k)), sums, V::zero()).store(dx.add(k));
            }
        }
    }
}

/// The loss of the row and dL/da of the last stage, or dL/dz where the loss is that of a softmax.
///
/// # Safety
/// y and delta have `n_out` numbers, padded, and the loss is wanted of one row with so many targets.
#[inline(always)]
pub(super) unsafe fn finish_row<V: Vector>(
    wanted: &Wanted<V::Elem>,
    n_out: usize,
    y: *const V::Elem,
    delta: *mut V::Elem,
) {
    let lanes = V::Elem::LANES;
    let width = |j: usize| lanes.min(n_out - j);
    // SAFETY: the caller's word.
    unsafe {
        let scale = V::splat(*wanted.scale);
        let mut value = V::zero();
        if wanted.loss == TinyLoss::Squared {
            for j in starts::<V::Elem>(n_out) {
                let d = V::load(y.add(j)).sub(wanted.targets.load::<V>(0, j, width(j)));
                let d = V::select(V::first_lanes(width(j)), d, V::zero());
                value = d.fma(d, value);
                d.add(d).mul(scale).store(delta.add(j));
            }
            *wanted.losses = sum_of(value).to_f64();
            return;
        }
        let mut largest = V::splat(*y);
        for j in 1..n_out {
            // The second operand where either is NaN; a NaN shows in the sum below.
            largest = largest.max(V::splat(*y.add(j)));
        }
        let (mut sum, mut weight) = (V::zero(), V::zero());
        for j in starts::<V::Elem>(n_out) {
            let e = math::exp(V::load(y.add(j)).sub(largest));
            let e = V::select(V::first_lanes(width(j)), e, V::zero());
            e.store(delta.add(j));
            sum = sum.add(e);
            weight = weight.add(wanted.targets.load::<V>(0, j, width(j)));
        }
        let zero = V::zero();
        let [sum, weight, ..] = V::sum_each([sum, weight, zero, zero, zero, zero, zero, zero]);
        let (sum, weight) = (V::splat(sum), V::splat(weight));
        let (log_sum, part) = (math::log(sum), weight.div(sum));
        for j in starts::<V::Elem>(n_out) {
            let t = wanted.targets.load::<V>(0, j, width(j));
            value = value.add(minus_log_of(t, log_sum.add(largest.sub(V::load(y.add(j))))));
            V::load(delta.add(j)).fms(part, t).mul(scale).store(delta.add(j));
        }
        // Softmax of what is not finite is NaN, whether or not a target asks for it.
        let value = V::select(sum.not_nan(), value, sum);
        *wanted.losses = sum_of(value).to_f64();
    }
}

/// What a class with the target t adds to a cross entropy, given minus the logarithm of its probability. 0 ln 0 is 0, also
/// where a probability is so small that its logarithm overflows.
#[inline(always)]
pub(super) fn minus_log_of<V: Vector>(t: V, minus_log: V) -> V {
    V::select(t.abs().le(V::zero()), V::zero(), t.mul(minus_log))
}

/// What becomes of a gradient.
#[derive(Clone, Copy)]
pub(super) enum Becomes<T> {
    /// It takes the place of what is there.
    Written,
    /// It is added to that.
    Added,
    /// What is there takes a step of gradient descent along it.
    Descended(Descent<T>),
}

/// A step of gradient descent: its rule and rate, where the parameters begin, and where the velocity does.
#[derive(Clone, Copy)]
pub(super) struct Descent<T> {
    pub rule: Sgd,
    pub rate: f64,
    pub params: *const T,
    pub velocity: *mut T,
}

/// Puts a vector of a gradient where it belongs.
///
/// # Safety
/// There is room for it.
#[inline(always)]
unsafe fn put<V: Vector>(to: *mut V::Elem, g: V, becomes: Becomes<V::Elem>) {
    /// Compiled once on a set that calls its functions: with all it may become, it is long there.
    #[inline(never)]
    unsafe fn called<V: Vector>(to: *mut V::Elem, g: V, becomes: Becomes<V::Elem>) {
        // SAFETY: the caller's word.
        unsafe { inlined(to, g, becomes) }
    }
    #[inline(always)]
    unsafe fn inlined<V: Vector>(to: *mut V::Elem, g: V, becomes: Becomes<V::Elem>) {
        // SAFETY: the caller's word; the velocity, where the rule has one, lies as the parameters do.
        unsafe {
            match becomes {
                Becomes::Written => g.store(to),
                Becomes::Added => V::load(to).add(g).store(to),
                Becomes::Descended(Descent { rule, rate, params, velocity }) => {
                    let velocity = velocity.wrapping_offset(to.cast_const().offset_from(params));
                    rule.step(V::num(rate), g, to, velocity, V::Elem::LANES);
                }
            }
        }
    }
    // SAFETY: the caller's word.
    unsafe { if V::CALLS { called(to, g, becomes) } else { inlined(to, g, becomes) } }
}

/// The sum of the lanes.
#[inline(always)]
fn sum_of<V: Vector>(x: V) -> V::Elem {
    let zero = V::zero();
    V::sum_each([x, zero, zero, zero, zero, zero, zero, zero])[0]
}
