//! Data of our own: what `fit` has copied from the user's arrays, checked once.
//!
//! In: blocks of rows. Out: [`Rows`], and [`Data`] that fits a plan. It never holds on to a user's array.

use crate::error::Error;
use crate::loss::{Loss, Range};
use crate::plan::Plan;
use dnn_kernels::{Buffer, Isa, Real, all_finite};
use ndarray::ArrayView2;

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

/// What the rows should come out as.
#[derive(Debug)]
pub enum Targets<'a, T: Real> {
    /// A value for each output.
    Dense(&'a Rows<T>),
    /// The number of the class of each row.
    Labels(Vec<u32>),
}

/// Inputs, targets and a weight for each row, of one length, fit for a plan.
#[derive(Debug)]
pub struct Data<'a, T: Real> {
    /// (rows, n_inputs)
    pub x: &'a Rows<T>,
    /// (rows, n_outputs), or labels (rows)
    pub targets: Targets<'a, T>,
    /// (rows); empty where every row weighs 1.
    pub weights: Vec<f64>,
}

/// Targets as they come: a table or labels.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a, T: Real> {
    /// (rows, n_outputs)
    Table(&'a Rows<T>),
    /// (rows)
    Labels(&'a [i64]),
}

impl<'a, T: Real> Data<'a, T> {
    /// Checks data against a plan and against each other.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the argument, what it is, and what is needed.
    pub fn new(plan: &Plan, x: &'a Rows<T>, y: Given<'a, T>, weights: Option<&[f64]>) -> Result<Self, Error> {
        let Some(loss) = &plan.loss else {
            return Err(Error::invalid("the model has no loss yet: call compile, or pass loss="));
        };
        let (rows, columns) = x.shape();
        check_inputs(plan, rows, columns)?;
        let n_out = plan.n_outputs();
        let targets = match y {
            Given::Table(y) => {
                let (got, need) = (y.shape().1, loss.n_targets());
                if got != need {
                    return Err(Error::Invalid(format!(
                        "y has {got} columns, but a last layer of {n_out} outputs needs {need} with this loss"
                    )));
                }
                check_targets(loss, y)?;
                Targets::Dense(y)
            }
            Given::Labels(_) if !loss.takes_labels() => {
                return Err(Error::invalid("y holds labels, which only losses over the classes of a softmax take"));
            }
            Given::Labels(labels) => Targets::Labels(check_labels(labels, n_out)?),
        };
        let n_targets = match &targets {
            Targets::Dense(y) => y.shape().0,
            Targets::Labels(labels) => labels.len(),
        };
        if n_targets != rows {
            return Err(Error::Invalid(format!("x has {rows} rows, but y has {n_targets}; they need the same number")));
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
        return Err(Error::Invalid(format!("x has {columns} columns, but the network has {need} inputs")));
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
            "y has labels {low}..{high}, but the last layer has {n_out} outputs; give it {}, or pass loss='mse'",
            high.saturating_add(1)
        )));
    }
    u32::try_from(n_out)
        .map_err(|_| Error::Invalid(format!("labels of {n_out} classes are too many; 2^32 are the limit")))?;
    Ok(labels.iter().map(|&y| y as u32).collect())
}

/// Whether the targets are in the range of the loss.
fn check_targets<T: Real>(loss: &Loss, y: &Rows<T>) -> Result<(), Error> {
    let find = |wrong: &dyn Fn(f64) -> bool| {
        (0..y.shape().0).find_map(|i| y.row(i).iter().position(|&t| wrong(t.to_f64())).map(|j| (i, j, y.row(i)[j])))
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

fn check_weights(weights: &[f64], rows: usize) -> Result<Vec<f64>, Error> {
    if weights.len() != rows {
        let got = weights.len();
        return Err(Error::Invalid(format!(
            "sample_weight has {got} values, but x has {rows} rows; give one for each row"
        )));
    }
    if let Some(row) = weights.iter().position(|w| !(*w >= 0.0 && w.is_finite())) {
        let w = weights[row];
        return Err(Error::Invalid(format!("sample_weight has {w} in row {row}; weights are finite and not negative")));
    }
    let total: f64 = weights.iter().sum();
    if !(total > 0.0 && total.is_finite()) {
        return Err(Error::Invalid(format!("the sum of sample_weight is {total}; it must be positive and finite")));
    }
    Ok(weights.to_vec())
}
