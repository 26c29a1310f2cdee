//! The input gradient of few rows, computed crosswise: `dX^T = W delta^T` where `dX = delta W^T` would turn all of W.
//!
//! In: the product as the tile takes it, with W as the transposed operand. Out: the same numbers in the same places. What is
//! turned are the deltas, once for all threads, and each block of dX as it is ready; W is read where it is. Every element
//! is the same chain of multiply-adds.

use crate::Real;
use crate::activation::Activation;
use crate::dense::{FEW_ROWS, Product, Shared, WORK_PER_NANOSECOND, least_work};
use crate::isa::{Factors, Isa};
use crate::pack::{Use, room};
use crate::pool::Team;
use crate::simd::{Kernel, Vector, run};
use crate::tile::{Block, Finish, KC, Layout, Start};

/// Rows that are multiplied in the time in which the numbers of W that take part are turned.
const ROWS_OF_A_TURN: usize = 16;
/// Rows at most: of 256 the turn is a sixteenth, and deltas no longer fit the second-level cache (512 x 4096 -> 4096 would go from
/// 140 to 136 GF/s).
const MOST_ROWS: usize = 192;
/// Inputs of a block at most, so that it stays in the second-level cache with the deltas.
const MOST_INPUTS: usize = 240;

/// Numbers of the deltas at most, 4 MiB: their room stays with the thread.
const MOST_DELTAS: usize = 1 << 20;

/// A product with W transposed, and the deltas in rows of whole vectors.
pub(crate) struct Crosswise<'p, T> {
    pub product: &'p Product<T>,
    /// Inputs, of which the columns of the product are the padding.
    pub n_in: usize,
}

/// Some rows of numbers turned to where they belong.
struct Turn<T> {
    from: *const T,
    stride: usize,
    /// Rows that there are; the others, up to whole vectors, are zero.
    rows: usize,
    columns: usize,
    to: *mut T,
    to_stride: usize,
}

impl<T: Real> Kernel<T> for Turn<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for j in (0..self.rows).step_by(T::LANES) {
            for k in (0..self.columns).step_by(T::LANES) {
                let (there, columns) = (T::LANES.min(self.rows - j), T::LANES.min(self.columns - k));
                // SAFETY: the caller vouches for whole vectors on both sides.
                unsafe {
                    let (from, to) = (self.from.add(j * self.stride + k), self.to.add(k * self.to_stride + j));
                    V::turn(from, self.stride, there, to, self.to_stride, columns);
                }
            }
        }
    }
}

/// What follows the last product of a block.
struct Finished<'b, T>(&'b Block<T>);

impl<T: Real> Kernel<T> for Finished<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let block = self.0;
        // SAFETY: the block lies within its product.
        unsafe {
            let Finish::Slope { activation: Activation::Relu, a, stride, .. } = block.finish else {
                return block.finish_panel::<V>(0, block.n);
            };
            for i in 0..block.m {
                for j in (0..block.n).step_by(T::LANES) {
                    let at = block.c.add(i * block.c_stride + j);
                    let gate = V::load(a.add(i * stride + j));
                    V::select(V::zero().lt(gate), V::load(at), V::zero()).store(at);
                }
            }
        }
    }
}

impl<T: Real> Crosswise<'_, T> {
    /// Whether turning the deltas and dX, and filling whole vectors with rows, takes clearly less than turning W. Rows for one
    /// vector would leave tiles waiting, and deltas that one thread has turned reach another slowly.
    pub fn pays(&self, team: &Team) -> bool {
        let Product { m, k, factors, .. } = *self.product;
        let width = m.next_multiple_of(T::LANES);
        let (n_in, n_out, width_of_all) = (self.n_in as u128, k as u128, width as u128);
        let deltas = if team.threads() > 1 { 2 * n_out } else { n_out };
        let left = ROWS_OF_A_TURN.saturating_sub(width - m) as u128;
        matches!(factors, Factors::Exact)
            && width > T::LANES
            && m <= MOST_ROWS
            && k.saturating_mul(width) <= MOST_DELTAS
            && left * n_in * n_out > 2 * ROWS_OF_A_TURN as u128 * width_of_all * (n_in + deltas)
    }

    /// Whether it was done: not where there is no memory for it.
    ///
    /// # Safety
    /// As for [`Product::run`]; whole vectors can be read at each row of A.
    pub unsafe fn run(&self, isa: Isa, team: &Team) -> bool {
        let whole = self.product;
        let (width, depth) = (whole.m.next_multiple_of(T::LANES), whole.k);
        let deltas = Shared(room::<T>(Use::Job, depth * width));
        if deltas.get().is_null() {
            return false;
        }
        team.run(depth.div_ceil(KC), (depth * width / 8) as u64, |piece| {
            let k = piece * KC;
            let (from, to) = (whole.a.wrapping_add(k), deltas.get().wrapping_add(k * width));
            let (stride, columns) = (whole.a_strides.0, KC.min(depth - k));
            // SAFETY: the caller's word; the room is for `depth` rows of `width`.
            unsafe { run(isa, Turn { from, stride, rows: whole.m, columns, to, to_stride: width }) }
        });
        let crossed = Product {
            m: self.n_in,
            n: width,
            a: whole.b,
            a_strides: (whole.b_stride, 1),
            b: deltas.get().cast_const(),
            b_stride: width,
            b_layout: Layout::Rows,
            c: std::ptr::null_mut(),
            c_stride: width,
            start: Start::Zero,
            finish: Finish::Keep,
            ..*whole
        };
        let each = self.inputs_of_a_block(team);
        let work = (whole.m.max(FEW_ROWS) as u64).saturating_mul(self.n_in as u64).saturating_mul(depth as u64);
        team.run(self.n_in.div_ceil(each), work / WORK_PER_NANOSECOND, |index| {
            let i = index * each;
            let inputs = each.min(self.n_in - i);
            let block = whole.block(0, whole.m, i, each.min(whole.n - i));
            let sums = room::<T>(Use::Gradient, each * width);
            // SAFETY: the caller's word; blocks lie within their products, and the room is for one of them.
            unsafe {
                if sums.is_null() {
                    T::run_block(isa, block);
                    return;
                }
                T::run_block(isa, Block { c: sums, ..crossed.block(i, inputs, 0, width) });
                let (to, to_stride) = (block.c, block.c_stride);
                run(isa, Turn { from: sums, stride: width, rows: inputs, columns: whole.m, to, to_stride });
                run(isa, Finished(&block));
            }
        });
        true
    }

    /// Even shares: two for every thread, or one, as long as one is worth its hand-over.
    fn inputs_of_a_block(&self, team: &Team) -> usize {
        let Product { m, k, .. } = *self.product;
        let (threads, work) = (team.threads(), self.n_in * m.max(FEW_ROWS) * k);
        let one_each = (work / least_work(team, 1)).min(threads);
        let shares = if threads > 1 { (work / least_work(team, threads)).min(2 * threads).max(one_each) } else { 1 };
        let blocks = shares.max(self.n_in.div_ceil(MOST_INPUTS)).next_multiple_of(if shares > 1 { threads } else { 1 });
        self.n_in.div_ceil(blocks).next_multiple_of(T::LANES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::{Below, ViewMut, slope_of};
    use crate::{View, padded};

    /// Numbers that look like noise, some of them negative.
    fn noise(count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + 13) % 1021) as f32 / 512.0 - 1.0).collect()
    }

    #[test]
    fn deltas_that_are_turned_give_the_bits_of_weights_that_are() {
        let (plain, all) = (
            &[Activation::Identity][..],
            &[Activation::Identity, Activation::Relu, Activation::Tanh, Activation::Gelu][..],
        );
        for (rows, n_in, n_out, threads, activations) in [
            (30, 330, 259, 1, all),
            (47, 330, 420, 2, all),
            (64, 300, 280, 1, all),
            (96, 520, 500, 1, plain),
            (192, 800, 800, 1, plain),
        ] {
            let (width, below) = (padded::<f32>(n_in), padded::<f32>(n_out));
            let (delta, w) = (noise(rows * below), noise(n_in * below));
            let (a, z) = (noise(rows * width), noise(rows * width + 1));
            for isa in Isa::available() {
                let team = Team::exactly(threads);
                for &activation in activations {
                    let [mut across, mut along] = [(); 2].map(|()| vec![f32::NAN; rows * width]);
                    let finish = |out: &mut [f32]| {
                        let [a, z] = [&a[..], &z[1..]].map(|data| View::new(data, rows, n_in, width));
                        slope_of(Some(Below { activation, a, z }), &ViewMut::new(out, rows, n_in, width))
                    };
                    let product = |out: &mut [f32]| Product {
                        m: rows,
                        n: width,
                        k: n_out,
                        factors: Factors::Exact,
                        a: delta.as_ptr(),
                        a_strides: (below, 1),
                        b: w.as_ptr(),
                        b_stride: below,
                        b_layout: Layout::Transposed { columns: n_in },
                        b_is_fresh: false,
                        finish: finish(out),
                        c: out.as_mut_ptr(),
                        c_stride: width,
                        start: Start::Zero,
                    };
                    let crosswise = product(&mut across);
                    let crosswise = Crosswise { product: &crosswise, n_in };
                    assert!(crosswise.pays(&team), "{rows} x {n_in} -> {n_out}");
                    // SAFETY: the vectors are as long as the shapes say, rows of delta padded.
                    unsafe {
                        assert!(crosswise.run(isa, &team));
                        product(&mut along).run(isa, &team);
                    }
                    assert!(along == across, "{isa:?} {rows} x {n_in} -> {n_out} {activation:?} threads {threads}");
                }
            }
        }
    }
}
