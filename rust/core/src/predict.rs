//! Prediction: rows in, outputs out.
//!
//! In: parameters and rows. Out: the output of the last layer. A row's output does not depend on its company: every
//! product computes it as one chain of its own, in whatever block of rows it lies.

use crate::error::Error;
use crate::forward::{Last, Mode, forward};
use crate::params::Params;
use crate::plan::{Output, Plan};
use crate::run::Run;
use crate::workspace::{Workspace, view_mut};
use dnn_kernels::{Buffer, Real, Team, Tiny, View, ViewMut, all_finite, softmax_in_place, tiny_forward};
use ndarray::{ArrayView2, ArrayViewMut2};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Rows that go through together at most: their activations stay in the second-level cache at usual widths.
const PREDICT_ROWS: usize = 128;
/// Fewer rows than twice this are not shared out between threads by rows: a product of less wastes its vectors.
const SHARE_ROWS: usize = 16;
/// Bytes of parameters up to which each thread may read all of them for rows of its own; larger ones are read by one
/// thread in part, so that each part stays in the cache of a core.
const SHARED_PARAMETERS: usize = 1 << 20;
/// Numbers that a thread looks through at a time.
const LOOK_PIECE: usize = 1 << 17;
/// Multiply-adds of a call that is over before another thread has noticed it.
const BRIEF: usize = 1 << 16;
/// Multiply-adds between two questions whether to go on: some 10 ms on one thread.
const WORK_PER_QUESTION: usize = 1 << 27;
/// Rows for which a product packs wide weights anyway.
const ROWS_TO_PACK_FOR: usize = 32;
/// Workspaces that are kept for the next call.
const KEPT: usize = 16;

/// Rows from which a narrow network goes through the kernel whose vectors run over them: half a vector of float32.
const ROWS_ACROSS: usize = 8;

/// What a part of a call writes on its way.
#[derive(Debug)]
struct Room<T: Real> {
    work: Workspace<T>,
    /// A narrow network as one kernel, and what that writes.
    narrow: Option<(Tiny, Buffer<T>)>,
}

impl<T: Real> Room<T> {
    fn new(plan: &Plan) -> Result<Room<T>, Error> {
        let refused = || Error::memory(format_args!("{PREDICT_ROWS} rows of the network"), None, size_of::<T>());
        let narrow = plan.forward_stages().map(|stages| -> Result<_, Error> {
            let tiny = Tiny::new::<T>(stages, PREDICT_ROWS).ok_or_else(refused)?;
            let room = Buffer::zeroed(tiny.len()).ok_or_else(refused)?;
            Ok((tiny, room))
        });
        Ok(Room { work: Workspace::forward_only(plan, PREDICT_ROWS)?, narrow: narrow.transpose()? })
    }
}

/// Rooms between two calls, so that a call allocates nothing. Several threads may predict at once.
#[derive(Debug)]
pub struct Idle<T: Real>(Mutex<Vec<Room<T>>>);

impl<T: Real> Idle<T> {
    /// None yet.
    pub fn new() -> Idle<T> {
        Idle(Mutex::new(Vec::new()))
    }

    // A panic under the lock can't break a list: it is only pushed to and popped from.
    fn take(&self, plan: &Plan) -> Result<Room<T>, Error> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.map_or_else(|| Room::new(plan), Ok)
    }

    fn give(&self, room: Room<T>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(room);
        }
    }
}

impl<T: Real> Default for Idle<T> {
    fn default() -> Idle<T> {
        Idle::new()
    }
}

/// When x is looked through for what is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Before anything is written.
    First,
    /// Block by block, while it is in the cache.
    AsItGoes,
}

/// Whether predicting so many rows takes microseconds, in which neither threads nor waiting for anything pay.
pub fn is_brief(plan: &Plan, rows: usize) -> bool {
    plan.len.saturating_mul(rows) < BRIEF
}

/// Predicts every row of `x`, (rows, n_inputs), into `out`, (rows, n_outputs), both in standard layout.
///
/// False where x is not finite: what was written to `out` then means nothing, and nothing was with [`Look::First`].
///
/// # Errors
/// [`Error::Invalid`] for shapes or layouts that do not fit; [`Error::Memory`]; [`Error::Raised`] where it should not
/// go on.
pub fn predict<'a, T: Real>(
    plan: &Plan,
    params: &Params<T>,
    idle: &Idle<T>,
    x: ArrayView2<T>,
    mut out: ArrayViewMut2<T>,
    run: impl Into<Run<'a>>,
    look: Look,
) -> Result<bool, Error> {
    let (rows, mut run) = (x.nrows(), run.into());
    crate::data::check_inputs(plan, rows, x.ncols())?;
    if out.dim() != (rows, plan.n_outputs()) {
        let (need, got) = ((rows, plan.n_outputs()), out.dim());
        return Err(Error::Invalid(format!("out must have the shape {need:?}, got {got:?}")));
    }
    let (Some(x), Some(out)) = (x.as_slice(), out.as_slice_mut()) else {
        return Err(Error::invalid("x and out must be C-contiguous"));
    };
    if is_brief(plan, rows) {
        let call = Call { plan, params, x, rows, look };
        return Ok((look == Look::AsItGoes || call.is_finite(&Team::solo())) && call.run(&Team::solo(), idle, out)?);
    }
    let team = Team::of(run.threads());
    if rows >= ROWS_TO_PACK_FOR {
        drop(params.packed(plan, Some(&team)));
    }
    let at_a_time = (WORK_PER_QUESTION / plan.len.max(1)).max(2 * PREDICT_ROWS * team.threads());
    let parts = || x.chunks(at_a_time * plan.n_inputs);
    let call = |x| Call { plan, params, x, rows: x.len() / plan.n_inputs, look };
    if look == Look::First {
        for x in parts() {
            if !run.goes_on() {
                return Err(Error::Raised);
            }
            if !call(x).is_finite(&team) {
                return Ok(false);
            }
        }
    }
    for (x, out) in parts().zip(out.chunks_mut(at_a_time * plan.n_outputs())) {
        if !run.goes_on() {
            return Err(Error::Raised);
        }
        if !call(x).run(&team, idle, out)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A call, or a part of one, checked.
struct Call<'a, T: Real> {
    plan: &'a Plan,
    params: &'a Params<T>,
    /// (rows, n_inputs), tight.
    x: &'a [T],
    rows: usize,
    look: Look,
}

impl<T: Real> Call<'_, T> {
    /// Whether all of x is.
    fn is_finite(&self, team: &Team) -> bool {
        if self.x.len() <= LOOK_PIECE {
            return all_finite(self.plan.isa, self.x);
        }
        let pieces: Vec<&[T]> = self.x.chunks(LOOK_PIECE).collect();
        let finite = AtomicBool::new(true);
        team.run(pieces.len(), self.x.len() as u64 / 4, |piece| {
            if !all_finite(self.plan.isa, pieces[piece]) {
                finite.store(false, Ordering::Relaxed);
            }
        });
        finite.into_inner()
    }

    fn run(&self, team: &Team, idle: &Idle<T>, out: &mut [T]) -> Result<bool, Error> {
        let each = self.rows_of_a_part(team.threads());
        let parts = self.rows.div_ceil(each);
        let (inputs, outputs) = (self.plan.n_inputs, self.plan.n_outputs());
        if parts == 1 || team.threads() == 1 {
            let mut work = idle.take(self.plan)?;
            let mut pairs = self.x.chunks(each * inputs).zip(out.chunks_mut(each * outputs));
            let finite = pairs.all(|(x, out)| self.part(team, x, out, &mut work));
            idle.give(work);
            return Ok(finite);
        }
        // Each thread takes parts of its own through the whole network, in a workspace of its own.
        let works = (0..team.threads()).map(|_| idle.take(self.plan)).collect::<Result<Vec<_>, Error>>()?;
        let works = Mutex::new(works);
        let pairs: Vec<_> = self.x.chunks(each * inputs).zip(out.chunks_mut(each * outputs)).collect();
        let pairs: Vec<_> = pairs.into_iter().map(|pair| Mutex::new(Some(pair))).collect();
        let several = 1 + parts / (8 * team.threads());
        let nanoseconds = (self.plan.len as u64).saturating_mul(self.rows as u64) / 50;
        let finite = AtomicBool::new(true);
        team.run(parts.div_ceil(several), nanoseconds, |tile| {
            let taken = works.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut work = taken.expect("a workspace for each thread, and a thread runs one tile at a time");
            for pair in &pairs[tile * several..parts.min((tile + 1) * several)] {
                let taken = pair.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (x, out) = taken.expect("each part belongs to one tile, and a tile runs once");
                if !self.part(&Team::solo(), x, out, &mut work) {
                    finite.store(false, Ordering::Relaxed);
                }
            }
            works.lock().unwrap_or_else(PoisonError::into_inner).push(work);
        });
        works.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().for_each(|work| idle.give(work));
        Ok(finite.into_inner())
    }

    /// Rows that go through together: even shares, of which every thread has as many.
    fn rows_of_a_part(&self, threads: usize) -> usize {
        let mut parts = self.rows.div_ceil(PREDICT_ROWS);
        let small = self.plan.len.saturating_mul(size_of::<T>()) <= SHARED_PARAMETERS;
        if threads > 1 && self.rows >= 2 * SHARE_ROWS && (parts > 1 || small) {
            parts = parts.next_multiple_of(threads.min(self.rows / SHARE_ROWS));
        }
        // Whole tiles of rows, but never more than fit the workspace.
        self.rows.div_ceil(parts).next_multiple_of(8).min(PREDICT_ROWS)
    }

    /// Some rows of x, tight, to as many of out; false where they are not finite.
    fn part(&self, team: &Team, x: &[T], out: &mut [T], room: &mut Room<T>) -> bool {
        let (plan, columns) = (self.plan, self.plan.n_inputs);
        if self.look == Look::AsItGoes && !all_finite(plan.isa, x) {
            return false;
        }
        let x = View::new(x, x.len() / columns, columns, columns);
        let (last, a) = (plan.last(), room.work.a.len() - 1);
        match &mut room.narrow {
            Some((tiny, numbers)) if x.rows >= ROWS_ACROSS => {
                // The chains of sums are those of the other way: the same bits.
                tiny_forward(plan.isa, tiny, self.params, x, None, numbers);
                if last.output != Output::Softmax {
                    tiny.output(numbers, ViewMut::new(out, x.rows, last.n_out, last.n_out));
                    return true;
                }
                let a = &mut room.work.a[a];
                tiny.output(numbers, view_mut(a, x.rows, last));
                softmax_in_place(plan.isa, view_mut(a, x.rows, last));
            }
            _ => forward(plan, team, self.params, Mode::Inference, x, Last::Activated, &mut room.work),
        }
        for (to, from) in out.chunks_exact_mut(last.n_out).zip(room.work.a[a].chunks_exact(last.stride)) {
            to.copy_from_slice(&from[..last.n_out]);
        }
        true
    }
}
