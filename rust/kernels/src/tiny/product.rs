//! The loops over tables of (units, rows): products, sums over rows, and what is done to each element.
//!
//! In: pointers and sizes that the entries have checked. Out: tables of the same kind, or rows of a weight gradient.

use crate::Real;
use crate::activation::{Activation, Curve, Visit};
use crate::simd::{Kernel, Starts, Vector, starts};
use std::marker::PhantomData;
use std::ops::Range;

/// `a = f(z)` over `tables` of `n` numbers, `stride` apart. It is a function of its own: with all activations it is large.
pub(super) struct Units<T> {
    pub activation: Activation,
    pub n: usize,
    pub tables: usize,
    pub stride: usize,
    pub z: *const T,
    pub a: *mut T,
}

impl<T: Real> Kernel<T> for Units<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        self.activation.with(EachUnit::<V>(&self, PhantomData));
    }
}

struct EachUnit<'a, V: Vector>(&'a Units<V::Elem>, PhantomData<V>);

impl<V: Vector> Visit for EachUnit<'_, V> {
    type Output = ();
    #[inline(always)]
    fn visit<C: Curve>(self, curve: C) {
        let &Units { n, tables, stride, z, a, .. } = self.0;
        for table in 0..tables {
            for i in starts::<V::Elem>(n) {
                let i = table * stride + i;
                // SAFETY: the maker vouches for n numbers of each, whole vectors of them.
                unsafe { curve.value(V::load(z.add(i))).store(a.add(i)) }
            }
        }
    }
}

/// `delta <- delta f'` over as many.
pub(super) struct Slopes<T> {
    pub activation: Activation,
    pub n: usize,
    pub tables: usize,
    pub stride: usize,
    pub a: *const T,
    pub z: *const T,
    pub delta: *mut T,
}

impl<T: Real> Kernel<T> for Slopes<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        self.activation.with(EachSlope::<V>(&self, PhantomData));
    }
}

struct EachSlope<'a, V: Vector>(&'a Slopes<V::Elem>, PhantomData<V>);

impl<V: Vector> Visit for EachSlope<'_, V> {
    type Output = ();
    #[inline(always)]
    fn visit<C: Curve>(self, curve: C) {
        let &Slopes { n, tables, stride, a, z, delta, .. } = self.0;
        for table in 0..tables {
            for i in starts::<V::Elem>(n) {
                let i = table * stride + i;
                // SAFETY: the maker vouches for n numbers of each, whole vectors of them.
                unsafe {
                    let slope = curve.slope(V::load(a.add(i)), V::load(z.add(i)));
                    V::load(delta.add(i)).mul(slope).store(delta.add(i));
                }
            }
        }
    }
}

/// `C = start + A B` with A read one element at a time and B, C of (units, rows).
#[derive(Clone, Copy)]
pub(super) struct Product<T> {
    pub m: usize,
    pub k: usize,
    pub a: *const T,
    /// Between rows of A, and between its columns.
    pub a_strides: (usize, usize),
    /// One for each row of C; null is zero.
    pub start: *const T,
    pub b: *const T,
    /// From one row of B to the next.
    pub b_stride: usize,
    pub c: *mut T,
    pub c_stride: usize,
    /// Numbers of each row of C that are computed: whole vectors, or a group.
    pub width: usize,
    /// Whether they are added to what is there.
    pub accumulate: bool,
}

impl<T: Real> Product<T> {
    /// # Safety
    /// As for `run`; the units and the vectors of the tile are among its own.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "i and v are the unit and the vector of a tile, in two arrays at once"
    )]
    unsafe fn tile<V: Vector<Elem = T>, const MR: usize, const NV: usize>(&self, i0: usize, r: usize) {
        // SAFETY: the caller vouches for MR units and NV vectors from here on.
        unsafe {
            let mut acc = [[V::zero(); NV]; MR];
            if !self.start.is_null() {
                for i in 0..MR {
                    acc[i] = [V::splat(*self.start.add(i0 + i)); NV];
                }
            }
            let mut a = self.a.wrapping_add(i0 * self.a_strides.0);
            let mut b = self.b.wrapping_add(r);
            for _ in 0..self.k {
                let mut row = [V::zero(); NV];
                for v in 0..NV {
                    row[v] = V::load(b.add(v * T::LANES));
                }
                for i in 0..MR {
                    let x = V::splat(*a.add(i * self.a_strides.0));
                    for v in 0..NV {
                        acc[i][v] = x.fma(row[v], acc[i][v]);
                    }
                }
                a = a.wrapping_add(self.a_strides.1);
                b = b.wrapping_add(self.b_stride);
            }
            for i in 0..MR {
                for v in 0..NV {
                    let to = self.c.add((i0 + i) * self.c_stride + r + v * T::LANES);
                    let sum = if self.accumulate { V::load(to).add(acc[i][v]) } else { acc[i][v] };
                    sum.store(to);
                }
            }
        }
    }

    /// # Safety
    /// As for `run`; the vectors are among its own.
    #[inline(always)]
    unsafe fn columns<V: Vector<Elem = T>, const NV: usize>(&self, r: usize) {
        // Twelve registers of sums on AVX2 (a vector is two), of 32 on AVX-512.
        const MR: usize = 6;
        let mut i = 0;
        // SAFETY: the caller's word.
        unsafe {
            if V::CALLS {
                // One tile is enough code.
                return (0..self.m).for_each(|i| self.tile::<V, 1, NV>(i, r));
            }
            while i + MR <= self.m {
                self.tile::<V, MR, NV>(i, r);
                i += MR;
            }
            let left = self.m - i;
            if left >= 4 {
                self.tile::<V, 4, NV>(i, r);
                i += 4;
            }
            match left % 4 {
                1 => self.tile::<V, 1, NV>(i, r),
                2 => self.tile::<V, 2, NV>(i, r),
                3 => self.tile::<V, 3, NV>(i, r),
                _ => {}
            }
        }
    }
}

impl<T: Real> Kernel<T> for Product<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let mut r = 0;
        // SAFETY: the caller's word.
        unsafe {
            while V::TILE_VECTORS > 1 && r + 2 * T::LANES <= self.width {
                self.columns::<V, 2>(r);
                r += 2 * T::LANES;
            }
            while r < self.width {
                self.columns::<V, 1>(r);
                r += T::LANES;
            }
        }
    }
}

/// `dw[i][j] = sum over the rows of x[i] delta[j]`, for the rows of a weight gradient.
pub(super) struct Sums<T> {
    /// (inputs, rows), and behind the last input one that is 1, for the bias.
    pub x: *const T,
    pub n_in: usize,
    /// Which inputs, `n_in` being the bias.
    pub inputs: Range<usize>,
    pub delta: *const T,
    pub n_out: usize,
    pub stride: usize,
    pub width: usize,
    pub accumulate: bool,
    pub dw: *mut T,
    /// From one input to the next, and from one output to the next.
    pub dw_strides: (usize, usize),
    /// The gradient of the bias.
    pub db: *mut T,
}

impl<T: Real> Sums<T> {
    #[inline(always)]
    fn input(&self, i: usize) -> *const T {
        self.x.wrapping_add(i * self.stride)
    }

    /// Two inputs by two outputs, or by four where the set has registers for that: sums that are still in lanes.
    ///
    /// # Safety
    /// As for `run`; the pointers are to rows of its own.
    #[inline(always)]
    unsafe fn lanes<V: Vector<Elem = T>, const NJ: usize>(&self, x: [*const T; 2], d: [*const T; NJ]) -> [[V; NJ]; 2] {
        let mut acc = [[V::zero(); NJ]; 2];
        let mut r = 0;
        while r < self.width {
            // SAFETY: the caller vouches for `width` numbers of each.
            unsafe {
                let x = [V::load(x[0].add(r)), V::load(x[1].add(r))];
                for j in 0..NJ {
                    let d = V::load(d[j].add(r));
                    acc[0][j] = x[0].fma(d, acc[0][j]);
                    acc[1][j] = x[1].fma(d, acc[1][j]);
                }
            }
            r += T::LANES;
        }
        acc
    }

    /// Some inputs by the only output: sums that are still in lanes.
    ///
    /// # Safety
    /// As for `run`; the pointers are to rows of its own.
    #[inline(always)]
    unsafe fn lanes_of_one<V: Vector<Elem = T>, const NI: usize>(&self, x: [*const T; NI]) -> [V; NI] {
        let mut acc = [V::zero(); NI];
        for r in starts::<T>(self.width) {
            // SAFETY: the caller vouches for `width` numbers of each.
            unsafe {
                let d = V::load(self.delta.add(r));
                for (acc, x) in acc.iter_mut().zip(x) {
                    *acc = V::load(x.add(r)).fma(d, *acc);
                }
            }
        }
        acc
    }

    /// Eight inputs; a missing one is the last one once more.
    #[inline(always)]
    fn eight(&self, i: usize, end: usize) -> [*const T; 8] {
        let mut x = [self.input(i); 8];
        for (q, x) in x.iter_mut().enumerate() {
            *x = self.input((i + q).min(end - 1));
        }
        x
    }

    /// All inputs, eight at a time, by the only output.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn of_one<V: Vector<Elem = T>>(&self) {
        let end = self.inputs.end;
        for i in (Starts { next: self.inputs.start, end, by: 8 }) {
            // SAFETY: the caller's word; only outputs are written.
            unsafe {
                let sums = V::sum_each(if V::TILE_VECTORS > 1 {
                    self.lanes_of_one(self.eight(i, end))
                } else {
                    let [a, b, c, d, e, f, g, h] = self.eight(i, end);
                    let ([a, b, c, d], [e, f, g, h]) =
                        (self.lanes_of_one([a, b, c, d]), self.lanes_of_one([e, f, g, h]));
                    [a, b, c, d, e, f, g, h]
                });
                for (q, &sum) in sums.iter().enumerate().take(end - i) {
                    let (to, _) = self.place(i + q, 0);
                    *to = if self.accumulate { (*to).plus(sum) } else { sum };
                }
            }
        }
    }

    /// Where the sum of an input and an output belongs, and how far the next output is from there.
    #[inline(always)]
    fn place(&self, i: usize, j: usize) -> (*mut T, usize) {
        let (of_input, of_output) = self.dw_strides;
        if i < self.n_in {
            (self.dw.wrapping_add(i * of_input + j * of_output), of_output)
        } else {
            (self.db.wrapping_add(j), 1)
        }
    }

    /// One input by eight outputs, where that is code enough.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn one_by_eight<V: Vector<Elem = T>>(&self) {
        for i in self.inputs.clone() {
            for j in (Starts { next: 0, end: self.n_out, by: 8 }) {
                let (mut sums, x) = ([V::zero(); 8], self.input(i));
                // SAFETY: the caller's word; only outputs are written.
                unsafe {
                    for (q, sum) in sums.iter_mut().enumerate().take(self.n_out - j) {
                        let delta = self.delta.wrapping_add((j + q) * self.stride);
                        for r in starts::<T>(self.width) {
                            *sum = V::load(x.add(r)).fma(V::load(delta.add(r)), *sum);
                        }
                    }
                    for (q, &sum) in V::sum_each(sums).iter().enumerate().take(self.n_out - j) {
                        let (to, _) = self.place(i, j + q);
                        *to = if self.accumulate { (*to).plus(sum) } else { sum };
                    }
                }
            }
        }
    }

    /// # Safety
    /// x, delta and dw reach as far as the sizes and strides say.
    #[inline(always)]
    pub(super) unsafe fn run<V: Vector<Elem = T>>(&self) {
        if V::CALLS {
            // SAFETY: the caller's word.
            return unsafe { self.one_by_eight::<V>() };
        }
        if self.n_out == 1 {
            // SAFETY: the caller's word.
            return unsafe { self.of_one::<V>() };
        }
        let (end, stride) = (self.inputs.end, self.stride);
        let mut i = self.inputs.start;
        while i < end {
            // A missing input or output is another one once more, whose sum nobody takes.
            let x = [self.input(i), self.input((i + 1).min(end - 1))];
            let mut j = 0;
            while j < self.n_out {
                let left = self.n_out - 1 - j;
                let d0 = self.delta.wrapping_add(j * stride);
                let (d1, d2) = (d0.wrapping_add(left.min(1) * stride), d0.wrapping_add(left.min(2) * stride));
                let d3 = d0.wrapping_add(left.min(3) * stride);
                // SAFETY: the caller's word.
                let sums = unsafe {
                    if V::TILE_VECTORS > 1 {
                        let [a, b] = self.lanes::<V, 4>(x, [d0, d1, d2, d3]);
                        V::sum_each([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
                    } else {
                        let [a, b] = self.lanes::<V, 2>(x, [d0, d1]);
                        let [c, e] = self.lanes::<V, 2>(x, [d2, d3]);
                        V::sum_each([a[0], a[1], c[0], c[1], b[0], b[1], e[0], e[1]])
                    }
                };
                // SAFETY: the caller's word; rows of dw are padded, and only outputs are written.
                unsafe {
                    self.put(i, j, sums[..4].try_into().expect("four"), left);
                    if i + 1 < end {
                        self.put(i + 1, j, sums[4..].try_into().expect("four"), left);
                    }
                }
                j += 4;
            }
            i += 2;
        }
    }

    /// Puts four sums, or the first `left + 1` of them, where input i has outputs j and those behind.
    ///
    /// # Safety
    /// As for `run`; they are inputs and outputs of its own.
    #[inline(always)]
    unsafe fn put(&self, i: usize, j: usize, sums: [T; 4], left: usize) {
        let (to, step) = self.place(i, j);
        // SAFETY: the caller's word.
        unsafe {
            if left >= 3 && step == 1 {
                let to = to.cast::<[T; 4]>();
                let old = if self.accumulate { to.read() } else { [T::ZERO; 4] };
                to.write([
                    if self.accumulate { old[0].plus(sums[0]) } else { sums[0] },
                    if self.accumulate { old[1].plus(sums[1]) } else { sums[1] },
                    if self.accumulate { old[2].plus(sums[2]) } else { sums[2] },
                    if self.accumulate { old[3].plus(sums[3]) } else { sums[3] },
                ]);
                return;
            }
            for (q, &sum) in sums.iter().enumerate().take(left + 1) {
                let to = to.add(q * step);
                *to = if self.accumulate { (*to).plus(sum) } else { sum };
            }
        }
    }
}
