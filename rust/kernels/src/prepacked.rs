//! Weights that were packed before they are needed: in the order in which the tiles of a product read them.
//!
//! In: weights as rows. Out: a copy for [`forward_packed`], which has the bits of [`forward`](crate::forward()). Products
//! with wide weights pack them each time, panel by panel; who multiplies by the same weights again packs them once.

use crate::activation::Activation;
use crate::dense::{Shared, View, ViewMut, Weights, forward_with};
use crate::isa::Isa;
use crate::pack::pack_rows;
use crate::pool::Team;
use crate::simd::{Kernel, Vector, run};
use crate::tile::{KC, Layout};
use crate::{Buffer, Real, padded};

/// Weights in panels: of each piece of the sum, as wide as a tile of the set they were packed for.
#[derive(Debug)]
pub struct PackedWeights<T: Real> {
    panels: Buffer<T>,
    isa: Isa,
    n_in: usize,
    n_out: usize,
}

struct Pack<T> {
    from: *const T,
    stride: usize,
    depth: usize,
    /// Padded.
    columns: usize,
    to: *mut T,
}

impl<T: Real> Kernel<T> for Pack<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let width = V::TILE_VECTORS * T::LANES;
        for j in (0..self.columns).step_by(width) {
            let vectors = width.min(self.columns - j) / T::LANES;
            // SAFETY: the caller vouches for `depth` padded rows, and as many numbers in the panels.
            unsafe { pack_rows::<V>(self.from.add(j), self.stride, self.depth, vectors, self.to.add(j * self.depth)) }
        }
    }
}

impl<T: Real> PackedWeights<T> {
    /// Whether products of many rows pack weights with rows so far apart, which is what this saves.
    pub fn pays(stride: usize) -> bool {
        stride >= crate::dense::PACK_COLUMNS
    }

    /// Numbers of a copy of weights of this shape.
    pub fn numbers(n_in: usize, n_out: usize) -> usize {
        n_in.saturating_mul(padded::<T>(n_out))
    }

    /// A copy; `None` where there is no memory for it.
    ///
    /// # Panics
    /// When the rows of w, (n_in, n_out) and padded, do not fit its data.
    pub fn new(isa: Isa, team: &Team, w: View<T>) -> Option<PackedWeights<T>> {
        let columns = padded::<T>(w.columns);
        w.check(columns);
        let mut panels = Buffer::<T>::zeroed(w.rows * columns)?;
        let (from, to) = (w.data, Shared(panels.as_mut_ptr()));
        let work = (w.rows * columns / 8) as u64;
        team.run(w.rows.div_ceil(KC), work, |piece| {
            let k = piece * KC;
            let depth = KC.min(w.rows - k);
            let (from, to) = (from[k * w.stride..].as_ptr(), to.get().wrapping_add(k * columns));
            // SAFETY: the rows were checked above; the pieces are apart from each other.
            unsafe { run(isa, Pack { from, stride: w.stride, depth, columns, to }) }
        });
        Some(PackedWeights { panels, isa: isa.without_bf16(), n_in: w.rows, n_out: w.columns })
    }
}

/// [`forward`](crate::forward()) with weights that were packed: `a = f(x w + bias)`, the same bits.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn forward_packed<T: Real>(
    team: &Team,
    x: View<T>,
    w: &PackedWeights<T>,
    bias: Option<&[T]>,
    activation: Activation,
    a: ViewMut<T>,
) {
    let columns = padded::<T>(w.n_out);
    let layout = Layout::Packed { columns, first: 0 };
    let weights = Weights { b: w.panels.as_ptr(), stride: columns, layout, n_in: w.n_in, n_out: w.n_out };
    forward_with(w.isa, team, x, weights, bias, activation, None, a);
}
