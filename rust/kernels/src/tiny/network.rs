//! What the kernel of small networks is told, and where everything lies in its workspace.
//!
//! In: the stages of a network and a number of rows. Out: offsets, computed once.

use crate::activation::Activation;
use crate::buffer::row_stride;
use crate::dense::{View, ViewMut};
use crate::narrow::NARROW;
use crate::simd::GROUP;
use crate::{Real, padded};

/// Rows of a batch up to which a vector holds those of several units.
pub const GROUPED_ROWS: usize = GROUP;

/// One product of a network with its place in the parameters: rows of weights, `stride` apart, then the bias.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// Inputs.
    pub n_in: usize,
    /// Outputs.
    pub n_out: usize,
    /// Where the weights start in the parameters.
    pub start: usize,
    /// From one row of weights to the next.
    pub stride: usize,
    /// Whether there is a row of `n_in` weights for each output, and not one of `n_out` for each input.
    pub is_turned: bool,
    /// Whether there is a bias.
    pub use_bias: bool,
    /// Applied to the product; on the last stage the loss may want it left out.
    pub activation: Activation,
    /// Whether gradients of the weights are wanted.
    pub learns_weights: bool,
    /// Whether those of the bias are.
    pub learns_bias: bool,
}

impl Stage {
    /// From the weights of one input to those of the next, and from one output to the next.
    #[inline(always)]
    pub(super) fn strides(&self) -> (usize, usize) {
        if self.is_turned { (1, self.stride) } else { (self.stride, 1) }
    }

    /// Whether the gradient of its weights runs in vectors of outputs, whose sums over the rows are chains, and not in
    /// vectors of rows, whose lanes have to be added up in the end. What either takes was counted in instructions: of the
    /// first, a product for each row, and the deltas that are turned; of the other, whose weights share their loads, one for
    /// each vector of rows, and the sum. Steps of 4-16-16-3 at 16 rows have 22 % fewer in all, and take 1.3 instead of 1.55 us.
    #[inline(always)]
    pub(super) fn suits_outputs<T: Real>(&self, rows: usize) -> bool {
        let (inputs, vectors) = (self.n_in + 1, self.n_out.div_ceil(T::LANES));
        let of_outputs = vectors * (rows * inputs + 100 * rows.div_ceil(T::LANES)) + 100;
        let of_rows = inputs * self.n_out * (7 * rows / (4 * T::LANES) + 6);
        !self.is_turned && of_outputs < of_rows
    }

    /// The length of the weights in the parameters; the bias lies behind them.
    #[inline(always)]
    pub(super) fn n_weights(&self) -> usize {
        self.stride * if self.is_turned { self.n_out } else { self.n_in }
    }
}

/// A stage, and where its tables lie in the workspace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub stage: Stage,
    /// Its input, which is a of the stage before.
    pub x: usize,
    pub z: usize,
    pub a: usize,
    /// dL/dz; of several rows every other stage has the same room.
    pub delta: usize,
}

/// Losses that are computed on the spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TinyLoss {
    /// Softmax and cross entropy, from the outputs of the last product.
    SoftmaxCrossEntropy,
    /// The sum over the outputs of (y - t)^2.
    Squared,
}

/// Where everything lies in the workspace of a network.
#[derive(Clone, Debug)]
pub struct Tiny {
    pub(super) stages: Vec<Placed>,
    /// From one unit to the next: rows, padded; of a single row 1, of few a group.
    pub(super) stride: usize,
    /// Deltas of a stage, one row after the other.
    pub(super) turned: usize,
    pub(super) t: usize,
    pub(super) len: usize,
    /// The lowest stage that learns: nobody below it needs a delta.
    pub(super) lowest: usize,
    /// Of a vector of the type that it was made for.
    lanes: usize,
    /// Up to where the parameters of the stages reach.
    end: usize,
}

impl Tiny {
    /// The plan of a network for at most `rows` rows; `None` where its workspace has no size.
    ///
    /// # Panics
    /// When the stages do not fit each other, or the rows of their weights a stride of whole vectors.
    pub fn new<T: Real>(stages: Vec<Stage>, rows: usize) -> Option<Tiny> {
        let last = *stages.last()?;
        let whole = |s: &Stage| s.n_in > 0 && s.n_out > 0 && (!s.is_turned || s.n_out <= NARROW);
        assert!(stages.iter().all(whole), "inputs and outputs, few of them where weights lie turned");
        assert!(stages.windows(2).all(|pair| pair[0].n_out == pair[1].n_in), "widths of the stages");
        let end_of = |s: &Stage| {
            let (rows, width) = if s.is_turned { (s.n_out, s.n_in) } else { (s.n_in, s.n_out) };
            assert!(width <= s.stride && s.stride.is_multiple_of(T::LANES), "rows of weights");
            let bias = if s.use_bias { padded::<T>(s.n_out) } else { 0 };
            rows.checked_mul(s.stride)?.checked_add(bias)?.checked_add(s.start)
        };
        let end = stages.iter().map(end_of).try_fold(0, |end, next| next.map(|next| next.max(end)))?;
        let stride = match rows {
            1 => 1,
            2..=GROUPED_ROWS => GROUP,
            _ => row_stride::<T>(rows),
        };
        let mut len = 0usize;
        let mut room = |units: usize| {
            let start = len;
            let size = match stride {
                1 => padded::<T>(units),
                GROUP => padded::<T>(units.checked_mul(GROUP)?),
                _ => units.checked_mul(stride)?,
            };
            len = len.checked_add(size)?;
            Some(start)
        };
        // Of more rows there is an input more, for the bias.
        let more = usize::from(stride > GROUP);
        let mut placed = Vec::with_capacity(stages.len());
        let mut x = room(stages[0].n_in + more)?;
        for &stage in &stages {
            let a = room(stage.n_out + more)?;
            placed.push(Placed { stage, x, z: a, a, delta: 0 });
            x = a;
        }
        for Placed { stage, z, .. } in placed.iter_mut().filter(|placed| placed.stage.activation.needs_z()) {
            *z = room(stage.n_out)?;
        }
        let widest = stages.iter().map(|s| s.n_out).max()?;
        let rooms = if stride == 1 { stages.len() } else { stages.len().min(2) };
        let rooms = (0..rooms).map(|_| room(widest)).collect::<Option<Vec<_>>>()?;
        for (Placed { delta, .. }, room) in placed.iter_mut().zip(rooms.into_iter().cycle()) {
            *delta = room;
        }
        let turned = if stride <= GROUP { 0 } else { room(padded::<T>(widest))? };
        let t = room(last.n_out)?;
        let lowest = stages.iter().position(|s| s.learns_weights || s.learns_bias).unwrap_or(stages.len());
        Some(Tiny { stages: placed, stride, lowest, turned, t, len, lanes: T::LANES, end })
    }

    /// Numbers in the workspace.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Whether it is for a single row.
    #[inline(always)]
    pub fn is_row(&self) -> bool {
        self.stride == 1
    }

    /// Whether rows lie in groups, those of several units in a vector.
    #[inline(always)]
    pub(super) fn is_grouped(&self) -> bool {
        self.stride == GROUP
    }

    /// Numbers of each unit that are computed.
    #[inline(always)]
    pub(super) fn width<T: Real>(&self, rows: usize) -> usize {
        if self.is_grouped() { GROUP } else { padded::<T>(rows) }
    }

    /// Numbers of a table of so many units, with padding; of rows in groups without what fills the last vector.
    #[inline(always)]
    pub(super) fn size<T: Real>(&self, units: usize) -> usize {
        if self.is_row() { padded::<T>(units) } else { units * self.stride }
    }

    /// What a loop over the numbers of so many units goes through: so many numbers, so many times a stride apart.
    #[inline(always)]
    pub(super) fn tables(&self, units: usize, width: usize) -> (usize, usize) {
        if self.stride == width { (units * width, 1) } else { (width, units) }
    }

    /// Whether everything learns.
    pub fn learns(&self) -> bool {
        self.stages.iter().all(|Placed { stage, .. }| stage.learns_weights && (stage.learns_bias || !stage.use_bias))
    }

    /// Up to where the parameters of the stages reach.
    #[inline(always)]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// The last stage; there is one.
    #[inline(always)]
    pub(super) fn last(&self) -> &Placed {
        &self.stages[self.stages.len() - 1]
    }

    /// Panics unless all that the kernels will touch is there.
    #[inline]
    pub(super) fn check<T: Real>(&self, params: &[T], rows: usize, work: &[T]) {
        // Kernels go over whole vectors, of rows and of columns; what else they go by was looked at in `new`.
        let for_rows = self.lanes == T::LANES && rows <= self.stride;
        let for_rows = for_rows && (rows == 1 || !self.is_row());
        assert!(for_rows && work.len() >= self.len, "the workspace is for these rows, and for numbers of this type");
        assert!(self.end <= params.len(), "the parameters of every stage");
    }

    /// The output of the last stage, one row after the other.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn output<T: Real>(&self, work: &[T], to: ViewMut<T>) {
        assert!(to.columns == self.last().stage.n_out && to.rows <= self.stride, "shape of the output");
        to.check(to.columns);
        for i in 0..to.rows {
            for j in 0..to.columns {
                to.data[i * to.stride + j] = work[self.last().a + j * self.stride + i];
            }
        }
    }

    /// Takes dL/dz of the last stage, one row after the other, from a loss that was computed elsewhere.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn set_delta<T: Real>(&self, delta: View<T>, work: &mut [T]) {
        let &Placed { stage: Stage { n_out, .. }, delta: start, .. } = self.last();
        assert!(delta.columns == n_out && delta.rows <= self.stride, "shape of delta");
        work[start..start + self.size::<T>(n_out)].fill(T::ZERO);
        for i in 0..delta.rows {
            for (j, &d) in delta.row(i).iter().enumerate() {
                work[start + j * self.stride + i] = d;
            }
        }
    }
}
