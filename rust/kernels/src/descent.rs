//! Steps along weight gradients that are never whole: each block is formed, stepped along while the cache has it, and
//! forgotten.
//!
//! In: what the rows of a batch brought to each layer, and their deltas; perhaps the rows that come next. Out: the weights and
//! the memory of the optimizer after the step, with the bits of [`weight_gradient`](crate::weight_gradient) and a step along
//! it; and what the first layer makes of the next rows, with those weights.
//! All layers are one job, so that threads meet once; where products are in tiles, threads first pack what several blocks
//! read, as much of it as there is room for, in a job before. It never asks whether a gradient is finite: who calls it knows.

use crate::amx::{self, Packing};
use crate::bf16::{self, FromB};
use crate::dense::{Shared, View, ViewMut, weight_gradient_with};
use crate::few::Outer;
use crate::isa::{Factors, Isa};
use crate::narrow::NARROW;
use crate::outer_step::{Next, OuterStep};
use crate::pack::{Use, room};
use crate::pool::Team;
use crate::rows::sum_of_squares;
use crate::simd::run;
use crate::tile::{Block, Finish, Layout, Start};
use crate::update::{Change, Sgd, change};
use crate::{Real, padded};
use std::marker::PhantomData;
use std::ops::Range;

/// Numbers of a block at most. Blocks of whole rows are walked through without a jump: pieces of 512 columns took 1.5 to
/// 2 times as long (1000-1000-1000-10 at 1 row), and blocks of 4 Ki or 16 Ki numbers 10 % longer than those of 48 or 128.
const MAX_BLOCK: usize = 96 * 1024;
/// And of smaller networks, where threads would come out unevenly (600-700-700-10 at 32 rows: 1.08 ms for 1.11).
const SMALL_BLOCK: usize = 48 * 1024;
/// But no lower than this, as products of a block copy delta once for each.
const LOW_BLOCK: usize = 96;
/// Numbers from which on a network is not small.
const LARGE: usize = 1 << 20;
/// Columns of a block at most.
const MAX_COLUMNS: usize = 8192;
/// Columns of a block whose products are in tiles: rows are turned and packed once for each.
const TILED_COLUMNS: usize = 1024;
/// Numbers of deltas that are packed at once at most, 4 MiB: with more rows blocks pack their own.
const MAX_PACKED: usize = 1 << 20;
/// Rows at most that come next for the first layer to go over as its weights take their step, and bytes of those weights at least
/// for more than two: more arithmetic on the way wins where memory is what a step waits for. On one thread with AVX-512 a step of
/// 2000-2000-1 takes 0.84 instead of 1.46 ms, with two rows 1.00 instead of 1.54, with four 1.17 instead of 1.59; one of 512-512-10
/// with four rows, which is not worth it, would take 57 instead of 45 us (`steps 2000-2000-1x1 1 sgd`).
const MOST_NEXT_ROWS: usize = 4;
const WORTH_NEXT_ROWS: usize = 3 << 19;
/// Outputs at least for two rows of smaller weights: the sums of few wait for each other (784-30-10 would take 9.0 instead of 5.7
/// us).
const OUTPUTS_FOR_TWO: usize = 64;
/// Bytes of the weights of a layer at least, and of all layers at most, for which a step without a gradient asks before it changes
/// them, where other threads have read them: 512-512-10 at 32 rows takes 11 % less time on two threads, 1000-1000-10 at 8 rows 8 %,
/// 600-600-600-10 at two rows 13 %. Of 784-128-10 at 8 rows asking takes 2 % more, as of 1000-1000-10 on one thread 7 %; and
/// 1500-1500-10, which the caches of two cores do not hold, would take 9 % more at four rows (`steps 512-512-10x32 2 sgd`).
const WORTH_ASKING: usize = 1 << 20;
const MOST_ASKED: usize = 5 << 20;
/// Columns of a strip at least, as what a thread reads should be long pieces. Where threads are more than twice as many as such
/// strips, they are faster by blocks, and with the next rows apart.
const STRIP_COLUMNS: usize = 768;
/// Times that a product takes longer than packing its B, roughly.
const PACKING: u64 = 16;
/// Rows whose multiply-adds take as long as the step of an optimizer.
const STEP_ROWS: usize = 16;
/// Multiply-adds in a nanosecond, roughly.
const WORK_PER_NANOSECOND: usize = 60;

/// The weights of a layer among all parameters: `n_in` rows of `n_out` numbers from `start` on, `stride` apart, padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Placed {
    pub start: usize,
    pub n_in: usize,
    pub n_out: usize,
    pub stride: usize,
}

/// Some rows and columns of the weights of a layer.
#[derive(Clone, Copy, Debug)]
struct Cut {
    layer: usize,
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

/// Some columns of the weights of a layer, and their cuts: threads pack deltas once for all of these, where products are
/// in tiles.
#[derive(Clone, Debug)]
struct Strip {
    layer: usize,
    column: usize,
    columns: usize,
    cuts: Range<usize>,
}

/// How the weights of a network are cut into blocks.
#[derive(Debug)]
pub struct Descent<T> {
    layers: Vec<Placed>,
    cuts: Vec<Cut>,
    strips: Vec<Strip>,
    /// The cuts are of padded rows of this type.
    of: PhantomData<T>,
}

/// What the rows of a batch brought to a layer, (rows, n_in), and dL/dz of it, (rows, n_out) and padded.
pub type Operands<'a, T> = (View<'a, T>, View<'a, T>);

/// Rows that come next, and where z of the first of the layers goes for them, with the weights after the step.
#[derive(Debug)]
pub struct NextRows<'a, T> {
    /// (rows, n_in)
    pub x: View<'a, T>,
    /// Where the bias lies among all parameters, padded; it has taken its step.
    pub bias: Option<usize>,
    /// Twice as many rows of n_out numbers, padded: the first ones become z.
    pub z: ViewMut<'a, T>,
}

impl<T: Real> Descent<T> {
    /// Whether the weights of a layer with so many outputs may be among those that are stepped so.
    pub fn suits(n_out: usize) -> bool {
        n_out > NARROW
    }

    /// Whether gradient descent, plain or with momentum, steps along the gradient of so many rows without writing it: few rows,
    /// and factors that are not rounded.
    pub fn forms_none(products: Isa, layer: Placed, rows: usize) -> bool {
        OuterStep::<T>::suits(rows) && factors_of::<T>(products, layer, rows) == Factors::Exact
    }

    /// Whether [`Descent::step`] of gradient descent, plain or with momentum, had better take the next rows along, when each batch
    /// has so many at most, on so many threads.
    pub fn takes_next_rows(&self, products: Isa, rows: usize, threads: usize) -> bool {
        let Some(first) = self.layers.first() else { return false };
        let is_worth_it = match rows {
            1 => true,
            2 if first.n_out >= OUTPUTS_FOR_TWO => true,
            _ => rows <= MOST_NEXT_ROWS && first.n_in * first.stride * size_of::<T>() >= WORTH_NEXT_ROWS,
        };
        is_worth_it && threads <= 2 * strips::<T>(first, threads).0 && self.can_take_next_rows(products, rows)
    }

    /// Whether it can: no gradient is formed, and no factor rounded.
    fn can_take_next_rows(&self, products: Isa, rows: usize) -> bool {
        let forms_none = |layer: &Placed| Self::forms_none(products, *layer, rows);
        let forward = |layer: &Placed| bf16::factors::<T>(products, rows, padded::<T>(layer.n_out), layer.n_in, false);
        let is_exact = self.layers.first().is_some_and(|first| forward(first) == Factors::Exact);
        is_exact && self.layers.iter().all(forms_none)
    }

    /// Blocks of the weights of these layers, for products on this set with so many rows.
    ///
    /// # Panics
    /// When layers overlap, or one does not [suit](Descent::suits).
    pub fn new(layers: Vec<Placed>, products: Isa, rows: usize) -> Descent<T> {
        let mut end = 0;
        for layer in &layers {
            let size = layer.n_in.checked_mul(layer.stride).and_then(|size| layer.start.checked_add(size));
            assert!(padded::<T>(layer.n_out) <= layer.stride, "rows of {} do not fit a stride", layer.n_out);
            assert!(layer.start >= end, "layers one after the other");
            assert!(Self::suits(layer.n_out), "{} outputs are too few", layer.n_out);
            end = size.expect("layers have addresses");
        }
        let all: usize = layers.iter().map(|layer| layer.n_in * layer.stride).sum();
        let most = if all < LARGE { SMALL_BLOCK } else { MAX_BLOCK };
        let (mut cuts, mut strips) = (Vec::new(), Vec::new());
        for (index, layer) in layers.iter().enumerate() {
            let tiled = parts::<T>(products, *layer, rows) > 0;
            let (rows, columns) = if tiled { tiled_block::<T>(*layer, most) } else { block::<T>(*layer, most) };
            let width = padded::<T>(layer.n_out);
            for column in (0..width).step_by(columns) {
                let (first, columns) = (cuts.len(), columns.min(width - column));
                for row in (0..layer.n_in).step_by(rows) {
                    cuts.push(Cut { layer: index, row, rows: rows.min(layer.n_in - row), column, columns });
                }
                strips.push(Strip { layer: index, column, columns, cuts: first..cuts.len() });
            }
        }
        Descent { layers, cuts, strips, of: PhantomData }
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.cuts.len()
    }

    /// One step of all weights along the gradient of the `operands` of each layer.
    ///
    /// `memories` are those that [`change`] names, as long as the parameters where they are there. `squares` takes the
    /// sum of the squares of the gradient of each block, if it is as long as there are blocks and not empty; a gradient that
    /// [need not be formed](Descent::forms_none) is, then. With `next` the first layer goes over the next rows too, no
    /// more of them than there are, where nobody asks for squares, and no layer forms a gradient: by gradient descent, plain or with
    /// momentum.
    ///
    /// # Panics
    /// When shapes and lengths do not fit, or the next rows can't be taken along.
    pub fn step<'a>(
        &self,
        (isa, products): (Isa, Isa),
        team: &Team,
        rule: Change,
        operands: impl Fn(usize) -> Operands<'a, T> + Sync,
        params: &mut [T],
        memories: [&mut [T]; 3],
        squares: &mut [f64],
        next: Option<NextRows<T>>,
    ) {
        let n = params.len();
        let end = self.layers.last().map_or(0, |last| last.start + last.n_in * last.stride);
        assert!(end <= n, "weights up to {end} among {n} parameters");
        for memory in &memories {
            assert!(memory.is_empty() || memory.len() == n, "parameters and memory");
        }
        let measured = !squares.is_empty();
        assert!(!measured || squares.len() == self.cuts.len(), "a sum for each block");
        let there = [0, 1, 2].map(|i| !memories[i].is_empty());
        let (params, memories) = (Shared(params.as_mut_ptr()), memories.map(|memory| Shared(memory.as_mut_ptr())));
        let squares = Shared(squares.as_mut_ptr());
        let next = next.map(|next| {
            let (is_plain, rows) = (plain_of(rule).is_some(), operands(0).0.rows);
            assert!(is_plain && !measured && self.can_take_next_rows(products, rows), "a step that forms no gradient");
            assert!(next.x.rows <= rows, "no more rows than there are");
            self.next(next, params, n)
        });
        let bytes = |w: &Placed| w.n_in * w.stride * size_of::<T>();
        let may_ask = team.threads() > 1 && self.layers.iter().map(bytes).sum::<usize>() <= MOST_ASKED;
        // The index is that of its sum of squares, which a strip has not.
        let block = |index: usize, cut: Cut, packed: Option<&Packing>, next: Option<Next<T>>| {
            let layer = self.layers[cut.layer];
            let first = layer.start + cut.row * layer.stride + cut.column;
            let of_cut = operands(cut.layer);
            check(layer, of_cut);
            if let (Some((momentum, rate)), false) = (plain_of(rule), measured)
                && Self::forms_none(products, layer, of_cut.0.rows)
            {
                assert!(momentum.is_none() || there[0], "parameters and velocity");
                let (w, velocity) = (params.get().wrapping_add(first), memories[0].get().wrapping_add(first));
                let outer = outer(layer, cut, of_cut, w);
                let next = next.map(|next| next.beginning_at(cut.column));
                let asks_to_write = may_ask && bytes(&layer) >= WORTH_ASKING;
                // SAFETY: the numbers of a block are those of no other, and lie within the parameters, and within the velocity,
                // which is there with momentum; shapes and lengths were compared. With next rows it has all inputs of the first
                // layer, and columns that are no other's: of z and the room behind it, and of the bias, which nobody writes.
                return unsafe { run(isa, OuterStep { momentum, rate, outer, velocity, asks_to_write, next }) };
            }
            let whole = cut.columns == padded::<T>(layer.n_out);
            // A block of whole rows is one piece of memory, with what lies between its rows.
            let stride = if whole { layer.stride } else { cut.columns };
            let gradient = room::<T>(Use::Gradient, cut.rows * stride);
            assert!(!gradient.is_null(), "there is no memory for a block of the gradient");
            // SAFETY: the room is for as many numbers, and this thread asks for it again in its next block only.
            let gradient = unsafe { std::slice::from_raw_parts_mut(gradient, cut.rows * stride) };
            if stride > cut.columns {
                gradient.chunks_exact_mut(stride).for_each(|row| row[cut.columns..].fill(T::ZERO));
            }
            block_of_gradient(products, layer, cut, of_cut, packed, gradient, stride);
            if measured {
                // SAFETY: there is one for each block, and a block is one tile of the job.
                unsafe { *squares.get().add(index) = sum_of_squares(isa, gradient) };
            }
            let (pieces, length) = if whole { (1, gradient.len()) } else { (cut.rows, cut.columns) };
            for piece in 0..pieces {
                let at = first + piece * layer.stride;
                // SAFETY: the numbers of a block are those of no other, and lie within the parameters, whose length was
                // compared with the end of the last layer; a memory that is there is as long.
                let slice = |all: Shared<T>| unsafe { std::slice::from_raw_parts_mut(all.get().add(at), length) };
                let memory = |i: usize| if there[i] { slice(memories[i]) } else { &mut [] };
                let g = &gradient[piece * stride..][..length];
                change(isa, &Team::solo(), rule, slice(params), g, [memory(0), memory(1), memory(2)]);
            }
        };
        let parts_of = |strip: &Strip| parts::<T>(products, self.layers[strip.layer], operands(strip.layer).0.rows);
        let size = |strip: &Strip| Packing::size(operands(strip.layer).1.rows, strip.columns, parts_of(strip));
        let is_packed = |strip: &&Strip| parts_of(strip) > 0 && size(strip) <= MAX_PACKED;
        if !self.strips.iter().any(|strip| is_packed(&strip)) {
            let time = (0..self.cuts.len()).map(|cut| self.nanoseconds(cut, &operands)).fold(0, u64::saturating_add);
            let (strips, columns) = next.map_or((0, 0), |_| strips::<T>(&self.layers[0], team.threads()));
            // The blocks of the first layer, whose place strips take.
            let of_first = if strips > 0 { self.cuts.iter().take_while(|cut| cut.layer == 0).count() } else { 0 };
            return team.run(strips + self.cuts.len() - of_first, time, |index| {
                let (index, cut, next) = match index.checked_sub(strips) {
                    Some(block) => (block + of_first, self.cuts[block + of_first], None),
                    None => (0, strip::<T>(&self.layers[0], index * columns, columns), next),
                };
                block(index, cut, None, next);
            });
        }
        // As many strips at once as there is room for. What is not packed goes with the last of them.
        let (tiled, plain): (Vec<&Strip>, Vec<&Strip>) = self.strips.iter().partition(is_packed);
        let mut tiled = &tiled[..];
        loop {
            let mut len = 0;
            let fits = |strip: &&&Strip| {
                len += size(strip);
                len <= MAX_PACKED
            };
            let (now, later) = tiled.split_at(tiled.iter().take_while(fits).count());
            let mut all = Packing::room(now.iter().map(|strip| size(strip)).sum());
            let packings: Vec<Packing> =
                now.iter().map(|strip| self.packing(strip, &operands, parts_of(strip), &mut all)).collect();
            let panels: Vec<(&Packing, usize)> =
                packings.iter().flat_map(|packing| (0..packing.panels()).map(move |panel| (packing, panel))).collect();
            let mut cuts: Vec<(usize, Option<&Packing>)> = Vec::new();
            for (strip, packing) in now.iter().zip(&packings) {
                cuts.extend(strip.cuts.clone().map(|cut| (cut, Some(packing))));
            }
            if later.is_empty() {
                cuts.extend(plain.iter().flat_map(|strip| strip.cuts.clone()).map(|cut| (cut, None)));
            }
            let time = cuts.iter().map(|(cut, _)| self.nanoseconds(*cut, &operands)).fold(0, u64::saturating_add);
            // SAFETY: these are numbers of float32, whose factors are in tiles; columns and rows were checked.
            team.run(panels.len(), time / PACKING, |index| unsafe { panels[index].0.pack(products, panels[index].1) });
            team.run(cuts.len(), time, |index| {
                let (cut, packed) = cuts[index];
                block(cut, self.cuts[cut], packed, None);
            });
            tiled = later;
            if tiled.is_empty() {
                break;
            }
        }
    }

    /// Checks the next rows, of which the kernel is told where they are.
    fn next(&self, next: NextRows<T>, params: Shared<T>, n: usize) -> Next<T> {
        let NextRows { x, bias, z } = next;
        let (layer, width) = (self.layers[0], padded::<T>(self.layers[0].n_out));
        x.check(x.columns);
        z.check(width);
        assert_eq!((x.columns, 2 * x.rows, z.columns), (layer.n_in, z.rows, layer.n_out), "shapes of x and z");
        let is_apart =
            |bias: usize| self.layers.iter().all(|w| bias + width <= w.start || bias >= w.start + w.n_in * w.stride);
        assert!(
            bias.is_none_or(|bias| bias.saturating_add(width) <= n && is_apart(bias)),
            "a bias among the parameters"
        );
        let z_start = z.data.as_mut_ptr();
        Next {
            rows: x.rows,
            x: x.data.as_ptr(),
            x_stride: x.stride,
            bias: bias.map_or(std::ptr::null(), |bias| params.get().wrapping_add(bias).cast_const()),
            z: z_start,
            z_stride: z.stride,
            piece: z_start.wrapping_add(x.rows * z.stride),
        }
    }

    /// How the deltas of a strip are packed, from `all` on, which goes to where they end.
    fn packing<'a>(
        &self,
        strip: &Strip,
        operands: impl Fn(usize) -> Operands<'a, T>,
        parts: usize,
        all: &mut *mut f32,
    ) -> Packing {
        let (x, delta) = operands(strip.layer);
        check(self.layers[strip.layer], (x, delta));
        let b = delta.data[strip.column..].as_ptr().cast();
        let from = FromB { b, stride: delta.stride, layout: Layout::Rows };
        let packing = Packing::new(from, delta.rows, strip.columns, parts, *all);
        *all = all.wrapping_add(Packing::size(delta.rows, strip.columns, parts));
        packing
    }

    /// What a step of a block takes on one thread, roughly.
    fn nanoseconds<'a>(&self, cut: usize, operands: impl Fn(usize) -> Operands<'a, T>) -> u64 {
        let cut = self.cuts[cut];
        let work = (cut.rows * cut.columns).saturating_mul(operands(cut.layer).0.rows + STEP_ROWS);
        (work / WORK_PER_NANOSECOND) as u64
    }
}

/// How many numbers of bfloat16 stand for a factor of the gradient of a layer in tiles; 0 where it is not in tiles.
fn parts<T: Real>(products: Isa, layer: Placed, rows: usize) -> usize {
    match factors_of::<T>(products, layer, rows) {
        Factors::Tiles { parts } => parts,
        _ => 0,
    }
}

/// Into how many strips of columns a layer is cut that goes over the next rows, and how wide: each thread has its own, as a sum over
/// the inputs is never split.
fn strips<T: Real>(layer: &Placed, threads: usize) -> (usize, usize) {
    let width = padded::<T>(layer.n_out);
    let count = (width / STRIP_COLUMNS).clamp(1, threads);
    let columns = width.div_ceil(count).next_multiple_of(2 * T::LANES);
    (width.div_ceil(columns), columns)
}

/// The one that begins at this column: of all inputs.
fn strip<T: Real>(layer: &Placed, column: usize, columns: usize) -> Cut {
    Cut { layer: 0, row: 0, rows: layer.n_in, column, columns: columns.min(padded::<T>(layer.n_out) - column) }
}

/// What the gradient of a layer does with its factors.
fn factors_of<T: Real>(products: Isa, layer: Placed, rows: usize) -> Factors {
    bf16::factors::<T>(products, layer.n_in, padded::<T>(layer.n_out), rows, true)
}

/// Rows and columns of the blocks of a layer, of so many numbers. They do not depend on threads, as sums of squares go by
/// blocks.
fn block<T: Real>(layer: Placed, numbers: usize) -> (usize, usize) {
    let width = padded::<T>(layer.n_out);
    let columns = width.div_ceil(width.div_ceil(MAX_COLUMNS)).next_multiple_of(4 * T::LANES).min(width);
    // Even shares, so that the last block is no smaller than it must be; tiles are six or eight rows high.
    let most = (numbers / columns).max(LOW_BLOCK.min(MAX_BLOCK / columns)).max(1);
    let rows = layer.n_in.div_ceil(layer.n_in.div_ceil(most)).next_multiple_of(if most < 24 { 1 } else { 24 });
    (rows, columns)
}

/// The same for products in tiles.
fn tiled_block<T: Real>(layer: Placed, numbers: usize) -> (usize, usize) {
    let width = padded::<T>(layer.n_out);
    let columns = width.div_ceil(width.div_ceil(TILED_COLUMNS)).next_multiple_of(amx::PANEL);
    let most = (numbers / columns).max(amx::SIDE);
    let rows = layer.n_in.div_ceil(layer.n_in.div_ceil(most)).next_multiple_of(amx::SIDE);
    (rows, columns)
}

/// Momentum and rate of gradient descent, where a gradient of few rows is not written.
fn plain_of(rule: Change) -> Option<(Option<f64>, f64)> {
    match rule {
        Change::Sgd(Sgd::Plain, rate) => Some((None, rate)),
        Change::Sgd(Sgd::Momentum(momentum), rate) => Some((Some(momentum), rate)),
        _ => None,
    }
}

/// Panics unless what a batch brought to a layer fits it and its data.
fn check<T: Real>(layer: Placed, (x, delta): Operands<T>) {
    assert_eq!((x.columns, delta.columns, x.rows), (layer.n_in, layer.n_out, delta.rows), "shapes of x, delta and w");
    x.check(x.columns);
    delta.check(padded::<T>(delta.columns));
}

/// The gradient of a block of few rows, as far as its operands; w is where the block begins.
fn outer<T: Real>(layer: Placed, cut: Cut, (x, delta): Operands<T>, w: *mut T) -> Outer<T> {
    Outer {
        rows: x.rows,
        n_in: cut.rows,
        n_out: cut.columns,
        x: x.data[cut.row..].as_ptr(),
        x_stride: x.stride,
        delta: delta.data[cut.column..].as_ptr(),
        delta_stride: delta.stride,
        dw: w,
        dw_stride: layer.stride,
        accumulate: false,
    }
}

/// `gradient = x^T delta` for the rows and columns of a block; with `packed`, its columns of delta are packed.
fn block_of_gradient<T: Real>(
    products: Isa,
    layer: Placed,
    cut: Cut,
    (x, delta): Operands<T>,
    packed: Option<&Packing>,
    gradient: &mut [T],
    stride: usize,
) {
    // As for the whole gradient, which has to have the same bits.
    let factors = factors_of::<T>(products, layer, x.rows);
    let x = View::new(&x.data[cut.row..], x.rows, cut.rows, x.stride);
    let delta = View::new(&delta.data[cut.column..], delta.rows, cut.columns, delta.stride);
    let Some(packed) = packed else {
        let dw = ViewMut::new(gradient, cut.rows, cut.columns, stride);
        weight_gradient_with(products, factors, &Team::solo(), x, delta, false, dw);
        return;
    };
    let block = Block {
        m: cut.rows,
        n: cut.columns,
        k: x.rows,
        a: x.data.as_ptr(),
        a_strides: (1, x.stride),
        b: delta.data.as_ptr(),
        b_stride: delta.stride,
        b_layout: packed.layout(),
        pack: false,
        look_ahead: false,
        pack_a: false,
        factors,
        c: gradient.as_mut_ptr(),
        c_stride: stride,
        start: Start::Zero,
        finish: Finish::Keep,
    };
    // SAFETY: shapes and lengths were checked; the gradient is a block of so many rows.
    unsafe { T::run_block(products, block) };
}
