//! Rows to predict from, in either type and any layout.
//!
//! In: views of arrays. Out: blocks of tight rows in the type of the network, scaled and finite, or nothing.

use crate::scaling::Scaling;
use dnn_kernels::{Buffer, Isa, Real, all_finite, convert};
use ndarray::{ArrayView2, Axis};

/// Rows and columns that are copied together.
const BLOCK_ROWS: usize = 32;
const BLOCK_COLUMNS: usize = 16;
/// Rows that are copied only to be looked at.
const LOOKED_AT: usize = 16;

/// Rows to predict from, (rows, n_inputs), as they lie.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a, T: Real> {
    /// Of the type of the network.
    Own(ArrayView2<'a, T>),
    /// Of the other type: each number becomes the nearest one of the network's, block by block.
    Other(ArrayView2<'a, T::Other>),
}

impl<'a, T: Real> Inputs<'a, T> {
    /// Rows and columns.
    pub fn dim(&self) -> (usize, usize) {
        match self {
            Inputs::Own(x) => x.dim(),
            Inputs::Other(x) => x.dim(),
        }
    }
}

impl<'a, T: Real> From<ArrayView2<'a, T>> for Inputs<'a, T> {
    fn from(x: ArrayView2<'a, T>) -> Self {
        Inputs::Own(x)
    }
}

/// Rows as they are read.
#[derive(Clone, Copy)]
pub enum Reading<'a, T: Real> {
    /// Where they are: tight.
    InPlace(&'a [T]),
    /// Copied, because they lie apart or across, or are scaled.
    Copied(ArrayView2<'a, T>),
    Converted(ArrayView2<'a, T::Other>),
}

impl<'a, T: Real> Reading<'a, T> {
    /// To be read in place, if they are tight and stay as they are.
    pub fn of(x: &Inputs<'a, T>, is_scaled: bool) -> Reading<'a, T> {
        match x {
            Inputs::Own(x) if is_scaled => Reading::Copied(*x),
            Inputs::Own(x) => x.to_slice().map_or(Reading::Copied(*x), Reading::InPlace),
            Inputs::Other(x) => Reading::Converted(*x),
        }
    }

    /// So many rows of `columns` numbers, from `first` on.
    pub fn part(self, first: usize, rows: usize, columns: usize) -> Reading<'a, T> {
        fn some<'a, A>(x: ArrayView2<'a, A>, first: usize, rows: usize) -> ArrayView2<'a, A> {
            x.slice_axis_move(Axis(0), (first..first + rows).into())
        }
        match self {
            Reading::InPlace(x) => Reading::InPlace(&x[first * columns..][..rows * columns]),
            Reading::Copied(x) => Reading::Copied(some(x, first, rows)),
            Reading::Converted(x) => Reading::Converted(some(x, first, rows)),
        }
    }

    /// Whether they are, scaled and as numbers of the network's type; so many rows and columns.
    pub fn are_finite(self, isa: Isa, scaling: Option<&Scaling>, rows: usize, columns: usize) -> bool {
        if let Reading::InPlace(x) = self {
            return all_finite(isa, x);
        }
        // Without memory nothing is said of them, which is as if they were not: whoever asked looks closer.
        let Some(mut piece) = Buffer::zeroed(LOOKED_AT.min(rows) * columns) else { return false };
        (0..rows).step_by(LOOKED_AT).all(|first| {
            let some = self.part(first, LOOKED_AT.min(rows - first), columns);
            some.finite(isa, scaling, &mut piece).is_some()
        })
    }

    /// All of them, tight and scaled, in `room` if they are not yet; nothing where they are not finite.
    pub fn finite<'b>(self, isa: Isa, scaling: Option<&Scaling>, room: &'b mut [T]) -> Option<&'b [T]>
    where
        'a: 'b,
    {
        match self {
            Reading::InPlace(x) => all_finite(isa, x).then_some(x),
            Reading::Copied(x) => copy(isa, scaling, x, &mut room[..x.len()]),
            Reading::Converted(x) => {
                let room = &mut room[..x.len()];
                match x.to_slice() {
                    Some(x) if scaling.is_none() => convert(isa, x, room).then_some(room),
                    _ => copy(isa, scaling, x, room),
                }
            }
        }
    }
}

/// Reading, written tight and scaled; nothing where they are not finite.
fn copy<'b, A: Real, T: Real>(
    isa: Isa,
    scaling: Option<&Scaling>,
    x: ArrayView2<A>,
    to: &'b mut [T],
) -> Option<&'b [T]> {
    let are_finite = match (x.to_slice(), scaling) {
        (Some(x), Some(scaling)) => scaling.apply(isa, x, to),
        _ => {
            turn(scaling, x, to);
            all_finite(isa, to)
        }
    };
    are_finite.then_some(to)
}

/// Rows that lie apart or across, written tight: some numbers of each of a few columns are read, then written a row at a
/// time, so that neither skips from line to line of the cache.
fn turn<A: Real, T: Real>(scaling: Option<&Scaling>, x: ArrayView2<A>, to: &mut [T]) {
    let columns = x.ncols();
    let mut block = [[T::ZERO; BLOCK_COLUMNS]; BLOCK_ROWS];
    for (x, to) in x.axis_chunks_iter(Axis(0), BLOCK_ROWS).zip(to.chunks_mut(BLOCK_ROWS * columns)) {
        for first in (0..columns).step_by(BLOCK_COLUMNS) {
            let width = BLOCK_COLUMNS.min(columns - first);
            for j in 0..width {
                let pairs = block.iter_mut().zip(x.column(first + j));
                match scaling.map(|scaling| scaling.of(first + j)) {
                    None => pairs.for_each(|(row, x)| row[j] = T::from_f64(x.to_f64())),
                    Some((center, scale)) => {
                        pairs.for_each(|(row, x)| row[j] = T::from_f64((x.to_f64() - center) / scale));
                    }
                }
            }
            for (row, to) in block.iter().zip(to.chunks_mut(columns)) {
                match to[first..].first_chunk_mut() {
                    Some(whole) => *whole = *row,
                    None => to[first..].copy_from_slice(&row[..width]),
                }
            }
        }
    }
}
