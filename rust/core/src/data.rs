//! Data: rows of our own or of the user's, checked once.
//!
//! In: blocks of rows, or the user's rows as they lie. Out: [`Rows`], [`Table`], and [`Data`] that fits a plan. It never
//! writes to a user's array, and reads it by copying rows alone: whoever changes it meanwhile changes what is learnt.

use crate::error::{Error, counted};
use crate::loss::{Loss, Range};
use crate::memory::{collected, filled};
use crate::plan::Plan;
use crate::run::Run;
use dnn_kernels::{Buffer, Isa, Lent, Real, Team, all_finite};
use ndarray::ArrayView2;
use std::sync::atomic::{AtomicBool, Ordering};

/// A table in storage of its own.
#[derive(Debug)]
pub struct Rows<T: Real> {
    data: Buffer<T>,
    rows: usize,
    columns: usize,
}

/// Values that are NaN or infinite: how many, and the row and column of the first.
pub type NonFinite = (usize, usize, usize);

impl<T: Real> Rows<T> {
    /// A table of zeros.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn zeroed(rows: usize, columns: usize) -> Result<Rows<T>, Error> {
        let count = rows.checked_mul(columns);
        let data = count.and_then(Buffer::zeroed);
        let data =
            data.ok_or_else(|| Error::memory(format_args!("a table of {rows} x {columns}"), count, size_of::<T>()))?;
        Ok(Rows { data, rows, columns })
    }

    /// Copies a block to the rows from `start` on, and tells what of it is not finite.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the block does not fit.
    pub fn fill(&mut self, start: usize, block: ArrayView2<T>) -> Result<Option<NonFinite>, Error> {
        let fits = start.checked_add(block.nrows()).is_some_and(|end| end <= self.rows);
        if !fits || block.ncols() != self.columns {
            let (rows, columns) = block.dim();
            let here = (self.rows, self.columns);
            return Err(Error::Invalid(format!(
                "a block of {rows} x {columns} from row {start} on does not fit {here:?}"
            )));
        }
        // The usual block lies tight and is finite.
        if let Some(from) = block.as_slice() {
            let to = &mut self.data[start * self.columns..][..from.len()];
            to.copy_from_slice(from);
            if all_finite(Isa::available()[0], to) {
                return Ok(None);
            }
        }
        let mut wrong: Option<NonFinite> = None;
        let to = self.data[start * self.columns..].chunks_exact_mut(self.columns.max(1));
        for (i, (to, from)) in to.zip(block.rows()).enumerate() {
            for (j, (to, &from)) in to.iter_mut().zip(from).enumerate() {
                *to = from;
                if !from.is_finite() {
                    wrong.get_or_insert((0, start + i, j)).0 += 1;
                }
            }
        }
        Ok(wrong)
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.columns..][..self.columns]
    }
}

/// Numbers that a thread looks through at a time.
const PIECE: usize = 1 << 17;
/// Pieces between two questions whether to go on: some milliseconds.
const PIECES: usize = 256;

/// A table to read, ours or the user's, or some of its rows.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a, T: Real> {
    data: Lent<'a, T>,
    rows: usize,
    columns: usize,
    /// The rows that count, in their order; all of them where it is `None`.
    picked: Option<&'a [u32]>,
}

impl<'a, T: Real> Table<'a, T> {
    /// Rows of `columns` numbers, one after the other.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they don't come out even.
    pub fn new(data: &'a [T], columns: usize) -> Result<Table<'a, T>, Error> {
        match data.len().checked_div(columns) {
            Some(rows) if rows * columns == data.len() => Ok(Table { data: data.into(), rows, columns, picked: None }),
            _ => Err(Error::Invalid(format!("{} numbers are no rows of {columns}", data.len()))),
        }
    }

    /// The rows of these numbers only.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such row.
    pub fn picked(self, rows: &'a [u32]) -> Result<Table<'a, T>, Error> {
        match rows.iter().find(|&&row| row as usize >= self.rows) {
            Some(row) => Err(Error::Invalid(format!("row {row} of {} was picked", self.rows))),
            None => Ok(Table { picked: Some(rows), ..self }),
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.picked.map_or(self.rows, <[u32]>::len), self.columns)
    }

    /// Copies row `i`.
    pub fn copy_row(&self, i: usize, to: &mut [T]) {
        let row = self.picked.map_or(i, |picked| picked[i] as usize);
        self.data.copy_to(row * self.columns, &mut to[..self.columns]);
    }

    /// Copies the rows of these numbers to rows `stride` apart.
    pub fn copy_rows(&self, isa: Isa, rows: &[u32], to: &mut [T], stride: usize) {
        match rows {
            // A step of a few weights can tell: 2-2-1 takes 0.17 instead of 0.21 us.
            &[row] => self.copy_row(row as usize, to),
            _ => self.data.copy_rows(isa, (self.rows, self.columns), (rows, self.picked), to, stride),
        }
    }

    /// Asks for these rows, which [will be copied](Table::copy_rows) some time later.
    pub fn ask_for_rows(&self, rows: &[u32]) {
        self.data.ask_for_rows((self.rows, self.columns), (rows, self.picked));
    }

    /// Values that are NaN or infinite in the whole table, picked or not.
    ///
    /// # Errors
    /// [`Error::Raised`] where it should not go on; [`Error::Memory`].
    pub fn non_finite<'b>(&self, run: impl Into<Run<'b>>) -> Result<Option<NonFinite>, Error> {
        let mut run = run.into();
        let (isa, len) = (Isa::available()[0], self.data.len());
        let pieces = len.div_ceil(PIECE);
        let finite = AtomicBool::new(true);
        let team = if pieces < 4 { Team::solo() } else { Team::of(run.threads()) };
        for first in (0..pieces).step_by(PIECES) {
            if !run.goes_on() {
                return Err(Error::Raised);
            }
            let tiles = PIECES.min(pieces - first);
            team.run(tiles, (tiles * PIECE) as u64 / 4, |tile| {
                let start = (first + tile) * PIECE;
                if !self.data.all_finite(isa, start..len.min(start + PIECE)) {
                    finite.store(false, Ordering::Relaxed);
                }
            });
        }
        if finite.into_inner() {
            return Ok(None);
        }
        let mut row = filled(T::ZERO, self.columns, "a row")?;
        let mut found: Option<NonFinite> = None;
        for i in 0..self.rows {
            if i.is_multiple_of(PIECE) && !run.goes_on() {
                return Err(Error::Raised);
            }
            self.data.copy_to(i * self.columns, &mut row);
            for (j, _) in row.iter().enumerate().filter(|(_, x)| !x.is_finite()) {
                found.get_or_insert((0, i, j)).0 += 1;
            }
        }
        Ok(found)
    }
}

impl<'a, T: Real> From<&'a Rows<T>> for Table<'a, T> {
    fn from(rows: &'a Rows<T>) -> Table<'a, T> {
        Table { data: Lent::from(&rows.data[..]), rows: rows.rows, columns: rows.columns, picked: None }
    }
}

/// What the rows should come out as.
#[derive(Debug)]
pub enum Targets<'a, T: Real> {
    /// A value for each output.
    Dense(Table<'a, T>),
    /// The number of the class of each row.
    Labels(Vec<u32>),
}

/// Inputs, targets and a weight for each row, of one length, fit for a plan.
#[derive(Debug)]
pub struct Data<'a, T: Real> {
    /// (rows, n_inputs)
    pub x: Table<'a, T>,
    /// (rows, n_outputs), or labels (rows)
    pub targets: Targets<'a, T>,
    /// (rows); empty where every row weighs 1.
    pub weights: Vec<f64>,
}

/// Targets as they come: a table or labels.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a, T: Real> {
    /// (rows, n_outputs), ours
    Table(&'a Rows<T>),
    /// (rows, n_outputs), anybody's
    Lent(Table<'a, T>),
    /// (rows)
    Labels(&'a [i64]),
}

impl<'a, T: Real> Data<'a, T> {
    /// Checks data against a plan and against each other.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the argument, what it is, and what is needed.
    pub fn new(
        plan: &Plan,
        x: impl Into<Table<'a, T>>,
        y: Given<'a, T>,
        weights: Option<&[f64]>,
    ) -> Result<Self, Error> {
        let x = x.into();
        let Some(loss) = &plan.loss else {
            return Err(Error::invalid("the model has no loss yet: call compile, or pass loss="));
        };
        if loss.is_lost() {
            return Err(Error::invalid("the loss of the model is a function, which no file has: compile it again"));
        }
        let (rows, columns) = x.shape();
        check_inputs(plan, rows, columns)?;
        let n_out = plan.n_outputs();
        let table = match y {
            Given::Table(rows) => Some(rows.into()),
            Given::Lent(table) => Some(table),
            Given::Labels(_) => None,
        };
        let targets = match (y, table) {
            (_, Some(y)) => {
                let (got, need) = (y.shape().1, loss.n_targets());
                if got != need {
                    return Err(Error::Invalid(format!(
                        "y has {}, but a last layer of {} needs {need} with this loss",
                        counted(got, "column"),
                        counted(n_out, "output")
                    )));
                }
                check_targets(loss, y)?;
                Targets::Dense(y)
            }
            (Given::Labels(labels), _) if loss.takes_labels() => Targets::Labels(check_labels(labels, n_out)?),
            _ => return Err(Error::invalid("y holds labels, which only losses over the classes of a softmax take")),
        };
        let n_targets = match &targets {
            Targets::Dense(y) => y.shape().0,
            Targets::Labels(labels) => labels.len(),
        };
        if n_targets != rows {
            let rows = counted(rows, "row");
            return Err(Error::Invalid(format!("x has {rows}, but y has {n_targets}; they need the same number")));
        }
        let weights = weights.map_or(Ok(Vec::new()), |weights| check_weights(weights, rows))?;
        Ok(Data { x, targets, weights })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.x.shape().0
    }
}

/// Checks the shape of x.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_inputs(plan: &Plan, rows: usize, columns: usize) -> Result<(), Error> {
    if columns != plan.n_inputs {
        let need = plan.n_inputs;
        let (columns, need) = (counted(columns, "column"), counted(need, "input"));
        return Err(Error::Invalid(format!("x has {columns}, but the network has {need}")));
    }
    if rows == 0 {
        return Err(Error::invalid("x has no rows; give at least one"));
    }
    Ok(())
}

fn check_labels(labels: &[i64], n_out: usize) -> Result<Vec<u32>, Error> {
    let (low, high) = labels.iter().fold((i64::MAX, i64::MIN), |(low, high), &y| (low.min(y), high.max(y)));
    if low < 0 {
        let row = labels.iter().position(|&y| y < 0).unwrap_or(0);
        return Err(Error::Invalid(format!(
            "y has the label {} in row {row}; labels are whole numbers from 0 to {}",
            labels[row],
            n_out - 1
        )));
    }
    if high >= 0 && high as u64 >= n_out as u64 {
        return Err(Error::Invalid(format!(
            "y has labels {low}..{high}, but the last layer has {}; give it {}, or pass loss='mse'",
            counted(n_out, "output"),
            high.saturating_add(1)
        )));
    }
    u32::try_from(n_out)
        .map_err(|_| Error::Invalid(format!("labels of {n_out} classes are too many; 2^32 are the limit")))?;
    collected(labels.iter().map(|&y| y as u32), labels.len(), "the labels")
}

/// Whether the targets are in the range of the loss.
fn check_targets<T: Real>(loss: &Loss, y: Table<T>) -> Result<(), Error> {
    let mut row = filled(T::ZERO, y.shape().1, "a row of y")?;
    let mut find = |wrong: &dyn Fn(f64) -> bool| {
        (0..y.shape().0).find_map(|i| {
            y.copy_row(i, &mut row);
            row.iter().position(|&t| wrong(t.to_f64())).map(|j| (i, j, row[j]))
        })
    };
    let (found, need) = match loss.range() {
        Range::Any => (None, ""),
        Range::Unit => {
            (find(&|t| !(0.0..=1.0).contains(&t)), "probabilities from 0 to 1 (or labels, for 'cross_entropy')")
        }
        Range::Signs => (find(&|t| t.abs() != 1.0), "targets -1 and +1"),
        Range::NotNegative => (find(&|t| t < 0.0), "targets of 0 or more"),
        Range::Positive => (find(&|t| t <= 0.0), "targets above 0"),
        Range::NotZero => (find(&|t| t == 0.0), "targets other than 0"),
    };
    match found {
        Some((i, j, t)) => Err(Error::Invalid(format!("y has {t} in row {i}, column {j}; this loss needs {need}"))),
        None => Ok(()),
    }
}

/// What the weights of all rows must add up to.
const LEAST_WEIGHT: f64 = 1e-200;

fn check_weights(weights: &[f64], rows: usize) -> Result<Vec<f64>, Error> {
    if weights.len() != rows {
        let got = weights.len();
        let (got, rows) = (counted(got, "value"), counted(rows, "row"));
        return Err(Error::Invalid(format!("sample_weight has {got}, but x has {rows}; give one for each row")));
    }
    if let Some(row) = weights.iter().position(|w| !(*w >= 0.0 && w.is_finite())) {
        let w = weights[row];
        return Err(Error::Invalid(format!("sample_weight has {w} in row {row}; weights are finite and not negative")));
    }
    let total: f64 = weights.iter().sum();
    if !(total > 0.0 && total.is_finite()) {
        return Err(Error::Invalid(format!("the sum of sample_weight is {total}; it must be positive and finite")));
    }
    // Products with numbers that are hardly normal lose digits.
    if total < LEAST_WEIGHT {
        return Err(Error::Invalid(format!(
            "the sum of sample_weight is {total:e}; below {LEAST_WEIGHT:e} losses would lose digits: multiply the weights"
        )));
    }
    collected(weights.iter().copied(), weights.len(), "sample_weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_picked_by_their_numbers() {
        let numbers: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let table = Table::new(&numbers, 3).expect("four rows");
        let picked = table.picked(&[3, 0, 3]).expect("rows that are there");
        let mut row = [7.0; 4];
        let rows: Vec<_> = (0..3)
            .map(|i| {
                picked.copy_row(i, &mut row);
                row
            })
            .collect();
        assert_eq!(picked.shape(), (3, 3));
        assert_eq!(rows, [[9.0, 10.0, 11.0, 7.0], [0.0, 1.0, 2.0, 7.0], [9.0, 10.0, 11.0, 7.0]]);
        assert_eq!(table.picked(&[1, 4]).expect_err("no such row").to_string(), "row 4 of 4 was picked");
    }

    #[test]
    fn numbers_that_are_no_rows_are_refused() {
        assert_eq!(Table::new(&[1.0f32; 7], 3).expect_err("7 numbers").to_string(), "7 numbers are no rows of 3");
        assert!(Table::<f32>::new(&[], 0).is_err());
    }

    #[test]
    fn what_is_not_finite_is_counted_wherever_it_lies_for_any_number_of_threads() {
        let rows = 3 * PIECE / 5 + 11;
        for threads in 1..=3 {
            let mut numbers = vec![1.0f32; rows * 5];
            let found = Table::new(&numbers, 5).expect("rows of 5").non_finite(threads).expect("nobody asks");
            assert_eq!(found, None);
            numbers[rows * 5 - 1] = f32::NAN;
            numbers[PIECE + 2] = f32::INFINITY;
            let first = ((PIECE + 2) / 5, (PIECE + 2) % 5);
            let found = Table::new(&numbers, 5).expect("rows of 5").non_finite(threads).expect("nobody asks");
            assert_eq!(found, Some((2, first.0, first.1)));
        }
    }
}
