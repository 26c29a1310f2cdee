//! Prediction: rows in, outputs out.
//!
//! In: parameters and rows. Out: the output of the last layer. A row's output does not depend on its company: every
//! product computes it as one chain of its own.

use crate::error::Error;
use crate::forward::{Last, forward};
use crate::params::Params;
use crate::plan::Plan;
use crate::workspace::Workspace;
use dnn_kernels::{Real, Team, View};
use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use std::sync::Mutex;

/// Rows that go through together: their activations stay in the second-level cache at usual widths.
const PREDICT_ROWS: usize = 128;

/// Predicts every row of `x`, (rows, n_inputs), into `out`, (rows, n_outputs), both in standard layout.
///
/// # Errors
/// [`Error::Invalid`] for shapes that do not fit; [`Error::Memory`].
pub fn predict<T: Real>(
    plan: &Plan,
    params: &Params<T>,
    x: ArrayView2<T>,
    mut out: ArrayViewMut2<T>,
    threads: usize,
) -> Result<(), Error> {
    let rows = x.nrows();
    crate::data::check_inputs(plan, rows, x.ncols())?;
    if out.dim() != (rows, plan.n_outputs()) {
        let (need, got) = ((rows, plan.n_outputs()), out.dim());
        return Err(Error::Invalid(format!("out must have the shape {need:?}, got {got:?}")));
    }
    let x = x.as_standard_layout();
    let blocks = rows.div_ceil(PREDICT_ROWS);
    if blocks == 1 {
        let mut work = Workspace::new(plan, rows, false)?;
        let work_is_small = plan.len.saturating_mul(rows) < 1 << 16;
        let team = if work_is_small { Team::solo() } else { Team::of(threads) };
        predict_block(plan, &team, params, x.view(), out, &mut work);
        return Ok(());
    }
    // Each thread takes blocks of its own through the whole network, in a workspace of its own.
    let team = Team::of(threads);
    let workspaces = (0..team.threads()).map(|_| Workspace::new(plan, PREDICT_ROWS, false));
    let free = Mutex::new(workspaces.collect::<Result<Vec<_>, Error>>()?);
    let parts: Vec<_> = x
        .axis_chunks_iter(Axis(0), PREDICT_ROWS)
        .zip(out.axis_chunks_iter_mut(Axis(0), PREDICT_ROWS))
        .map(|part| Mutex::new(Some(part)))
        .collect();
    let nanoseconds = (plan.len as u64).saturating_mul(rows as u64) / 50;
    let several = 1 + parts.len() / (8 * team.threads());
    team.run(parts.len().div_ceil(several), nanoseconds, |tile| {
        let taken = free.lock().ok().and_then(|mut free| free.pop());
        let mut work = taken.expect("a workspace for each thread, and a thread runs one tile at a time");
        for part in &parts[tile * several..parts.len().min((tile + 1) * several)] {
            if let Some((x, out)) = part.lock().ok().and_then(|mut part| part.take()) {
                predict_block(plan, &Team::solo(), params, x, out, &mut work);
            }
        }
        if let Ok(mut free) = free.lock() {
            free.push(work);
        }
    });
    Ok(())
}

fn predict_block<T: Real>(
    plan: &Plan,
    team: &Team,
    params: &Params<T>,
    x: ArrayView2<T>,
    mut out: ArrayViewMut2<T>,
    work: &mut Workspace<T>,
) {
    let (rows, columns) = x.dim();
    let data = x.as_slice().expect("`predict` takes the standard layout");
    forward(plan, team, params, View::new(data, rows, columns, columns), Last::Activated, work);
    let last = plan.last();
    let a = work.a.last().expect("a plan has layers");
    for (mut to, from) in out.rows_mut().into_iter().zip(a.chunks_exact(last.stride)) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = from;
        }
    }
}
