//! Prediction: rows in, outputs out.
//!
//! In: parameters and rows. Out: the output of the last layer, or which of it is the largest. A row's output does not
//! depend on its company: every product computes it as one chain of its own, in whatever block of rows it lies.

use crate::error::Error;
use crate::forward::{Last, Mode, forward};
use crate::inputs::{Inputs, Reading};
use crate::params::Params;
use crate::plan::{Output, Plan};
use crate::run::Run;
use crate::scaling::Scalings;
use crate::workspace::{Workspace, view_mut};
use dnn_kernels::{Buffer, Real, Team, Tiny, View, ViewMut, all_finite, softmax_in_place, tiny_forward};
use ndarray::ArrayViewMut2;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Rows that go through together at most: their activations stay in the second-level cache at usual widths.
const PREDICT_ROWS: usize = 128;
/// Fewer rows than twice this are not shared out between threads by rows: a product of less wastes its vectors.
const SHARE_ROWS: usize = 16;
/// Bytes of parameters up to which each thread may read all of them for rows of its own; larger ones are read by one
/// thread in part, so that each part stays in the cache of a core.
const SHARED_PARAMETERS: usize = 1 << 20;
/// Numbers that a thread looks through at a time, or copies, but for rows so long that it copies eight times as many.
const PIECE: usize = 1 << 17;
/// Multiply-adds of a call that is over before another thread has noticed it.
const BRIEF: usize = 1 << 16;
/// Multiply-adds between two questions whether to go on: some 10 ms on one thread.
const WORK_PER_QUESTION: usize = 1 << 27;
/// Workspaces that are kept for the next call.
const KEPT: usize = 16;

/// Rows from which a narrow network goes through the kernel whose vectors run over them: half a vector of float32.
const ROWS_ACROSS: usize = 8;

/// Where predictions go.
#[derive(Debug)]
pub enum Outputs<'a, T: Real> {
    /// What comes out, (rows, n_outputs).
    Values(ArrayViewMut2<'a, T>),
    /// For each row the number of its largest output, the first of several.
    Largest(&'a mut [i64]),
}

impl<'a, T: Real> From<ArrayViewMut2<'a, T>> for Outputs<'a, T> {
    fn from(out: ArrayViewMut2<'a, T>) -> Self {
        Outputs::Values(out)
    }
}

/// What became of a prediction, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Predicted {
    /// x is not finite: what was written means nothing, and nothing was with [`Look::First`].
    Refused,
    /// Outputs are not finite, and which of those is the largest means nothing.
    NotFinite,
    /// All is as it should be.
    Finite,
}

impl Predicted {
    fn of(are_finite: bool) -> Predicted {
        if are_finite { Predicted::Finite } else { Predicted::NotFinite }
    }
}

/// [`Outputs`] in standard layout.
enum Places<'a, T> {
    Values(&'a mut [T]),
    Largest(&'a mut [i64]),
}

impl<'a, T: Real> Places<'a, T> {
    /// Those of the next `rows` rows, of `n_outputs` each; the others stay.
    fn take(&mut self, rows: usize, n_outputs: usize) -> Places<'a, T> {
        fn first<'a, A>(all: &mut &'a mut [A], count: usize) -> &'a mut [A] {
            let (first, rest) = std::mem::take(all).split_at_mut(count);
            *all = rest;
            first
        }
        match self {
            Places::Values(all) => Places::Values(first(all, rows * n_outputs)),
            Places::Largest(all) => Places::Largest(first(all, rows)),
        }
    }
}

/// What a part of a call writes on its way.
#[derive(Debug)]
struct Room<T: Real> {
    /// Rows that could not be read where they are.
    x: Buffer<T>,
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
        let work = Workspace::forward_only(plan, PREDICT_ROWS)?;
        Ok(Room { x: Buffer::empty(), work, narrow: narrow.transpose()? })
    }

    /// Makes room for so many numbers of x.
    fn with_x(mut self, count: usize) -> Result<Room<T>, Error> {
        if self.x.len() < count {
            let refused = || Error::memory("rows of x", Some(count), size_of::<T>());
            self.x = Buffer::zeroed(count).ok_or_else(refused)?;
        }
        Ok(self)
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

/// Predicts every row of `x`, (rows, n_inputs), into `out`, (rows, n_outputs) in standard layout or (rows); scaled on the
/// way in and out.
///
/// # Errors
/// [`Error::Invalid`] for shapes or a layout that do not fit; [`Error::Memory`]; [`Error::Raised`] where it should not
/// go on.
pub fn predict<'a, 'x, 'y, T: Real>(
    plan: &Plan,
    params: &Params<T>,
    idle: &Idle<T>,
    scalings: &Scalings,
    x: impl Into<Inputs<'x, T>>,
    out: impl Into<Outputs<'y, T>>,
    run: impl Into<Run<'a>>,
    look: Look,
) -> Result<Predicted, Error> {
    let (x, mut out, mut run) = (x.into(), out.into(), run.into());
    let (rows, columns) = x.dim();
    crate::data::check_inputs(plan, rows, columns)?;
    scalings.check(plan.n_inputs, plan.n_outputs())?;
    let places = match &mut out {
        Outputs::Values(out) if out.dim() != (rows, plan.n_outputs()) => {
            let (need, got) = ((rows, plan.n_outputs()), out.dim());
            return Err(Error::Invalid(format!("out must have the shape {need:?}, got {got:?}")));
        }
        Outputs::Largest(out) if out.len() != rows => {
            return Err(Error::Invalid(format!("out must have a place for each of {rows} rows, got {}", out.len())));
        }
        Outputs::Values(out) => out.as_slice_mut().map(Places::Values),
        Outputs::Largest(out) => Some(Places::Largest(out)),
    };
    let (x, mut out) =
        (Reading::of(&x, scalings.x.is_some()), places.ok_or_else(|| Error::invalid("out must be C-contiguous"))?);
    if is_brief(plan, rows) {
        let (call, team) = (Call { plan, params, scalings, x, rows, look }, Team::solo());
        let refused = look == Look::First && !call.is_finite(&team);
        return if refused { Ok(Predicted::Refused) } else { call.run(&team, idle, out) };
    }
    let team = Team::of(run.threads());
    team.keep_weights(true);
    let at_a_time = (WORK_PER_QUESTION / plan.len.max(1)).max(2 * PREDICT_ROWS * team.threads());
    let calls = || {
        (0..rows).step_by(at_a_time).map(|first| {
            let rows = at_a_time.min(rows - first);
            Call { plan, params, scalings, x: x.part(first, rows, columns), rows, look }
        })
    };
    if look == Look::First {
        for call in calls() {
            if !run.goes_on() {
                return Err(Error::Raised);
            }
            if !call.is_finite(&team) {
                return Ok(Predicted::Refused);
            }
        }
    }
    let mut worst = Predicted::Finite;
    for call in calls() {
        if !run.goes_on() {
            return Err(Error::Raised);
        }
        let places = out.take(call.rows, plan.n_outputs());
        worst = worst.min(call.run(&team, idle, places)?);
        if worst == Predicted::Refused {
            break;
        }
    }
    Ok(worst)
}

/// A call, or a part of one, checked.
struct Call<'a, 'x, T: Real> {
    plan: &'a Plan,
    params: &'a Params<T>,
    scalings: &'a Scalings,
    x: Reading<'x, T>,
    rows: usize,
    look: Look,
}

impl<T: Real> Call<'_, '_, T> {
    /// Whether all of x is.
    fn is_finite(&self, team: &Team) -> bool {
        let (isa, columns, scaling) = (self.plan.isa, self.plan.n_inputs, self.scalings.x.as_ref());
        let rows = PIECE.div_ceil(columns);
        let finite = AtomicBool::new(true);
        team.run(self.rows.div_ceil(rows), (self.rows * columns) as u64 / 4, |piece| {
            let first = piece * rows;
            let rows = rows.min(self.rows - first);
            if !self.x.part(first, rows, columns).are_finite(isa, scaling, rows, columns) {
                finite.store(false, Ordering::Relaxed);
            }
        });
        finite.into_inner()
    }

    fn run(&self, team: &Team, idle: &Idle<T>, mut out: Places<T>) -> Result<Predicted, Error> {
        let each = self.rows_of_a_part(team.threads());
        let parts = self.rows.div_ceil(each);
        let (inputs, outputs) = (self.plan.n_inputs, self.plan.n_outputs());
        let copied = if matches!(self.x, Reading::InPlace(_)) { 0 } else { each.min(self.rows) * inputs };
        let take = || idle.take(self.plan)?.with_x(copied);
        let rows_of = |part: usize| each.min(self.rows - part * each);
        let x_of = |part: usize| self.x.part(part * each, rows_of(part), inputs);
        let mut worst = Predicted::Finite;
        if parts == 1 || team.threads() == 1 {
            let mut room = take()?;
            for part in 0..parts {
                worst = worst.min(self.part(team, x_of(part), out.take(rows_of(part), outputs), &mut room));
                if worst == Predicted::Refused {
                    break;
                }
            }
            idle.give(room);
            return Ok(worst);
        }
        // Each thread takes parts of its own through the whole network, in a room of its own.
        let rooms = (0..team.threads()).map(|_| take()).collect::<Result<Vec<_>, Error>>()?;
        let rooms = Mutex::new(rooms);
        let places: Vec<_> = (0..parts).map(|part| Mutex::new(Some(out.take(rows_of(part), outputs)))).collect();
        let several = 1 + parts / (8 * team.threads());
        let nanoseconds = (self.plan.len as u64).saturating_mul(self.rows as u64) / 50;
        let shared = Mutex::new(worst);
        team.run(parts.div_ceil(several), nanoseconds, |tile| {
            let taken = rooms.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut room = taken.expect("a room for each thread, and a thread runs one tile at a time");
            let mut worst = Predicted::Finite;
            let its = tile * several..parts.min((tile + 1) * several);
            for (part, places) in its.clone().zip(&places[its]) {
                let taken = places.lock().unwrap_or_else(PoisonError::into_inner).take();
                let out = taken.expect("each part belongs to one tile, and a tile runs once");
                worst = worst.min(self.part(&Team::solo(), x_of(part), out, &mut room));
            }
            rooms.lock().unwrap_or_else(PoisonError::into_inner).push(room);
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            *shared = worst.min(*shared);
        });
        rooms.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().for_each(|room| idle.give(room));
        Ok(shared.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rows that go through together: even shares, of which every thread has as many.
    fn rows_of_a_part(&self, threads: usize) -> usize {
        let most = match self.x {
            Reading::InPlace(_) => PREDICT_ROWS,
            // Of very long rows more than a piece, so that weights are not read again for each of them.
            _ => {
                let rows = PIECE / self.plan.n_inputs;
                if rows >= SHARE_ROWS { rows.min(PREDICT_ROWS) / 8 * 8 } else { (8 * rows).clamp(1, SHARE_ROWS) }
            }
        };
        let mut parts = self.rows.div_ceil(most);
        let small = self.plan.len.saturating_mul(size_of::<T>()) <= SHARED_PARAMETERS;
        if threads > 1 && self.rows >= 2 * SHARE_ROWS && (parts > 1 || small) {
            parts = parts.next_multiple_of(threads.min(self.rows / SHARE_ROWS));
        }
        // Whole tiles of rows, but never more than fit the workspace.
        self.rows.div_ceil(parts).next_multiple_of(8).min(most)
    }

    /// Some rows of x to as many places.
    fn part(&self, team: &Team, x: Reading<T>, mut out: Places<T>, room: &mut Room<T>) -> Predicted {
        let (plan, columns) = (self.plan, self.plan.n_inputs);
        let x = match x {
            Reading::InPlace(x) if self.look == Look::First => x,
            x => match x.finite(plan.isa, self.scalings.x.as_ref(), &mut room.x) {
                Some(x) => x,
                None => return Predicted::Refused,
            },
        };
        let x = View::new(x, x.len() / columns, columns, columns);
        let (last, work) = (plan.last(), &mut room.work);
        let index = work.a.len() - 1;
        match &mut room.narrow {
            Some((tiny, numbers)) if x.rows >= ROWS_ACROSS => {
                // The chains of sums are those of the other way: the same bits.
                tiny_forward(plan.isa, tiny, self.params, x, None, numbers);
                let is_ready = last.output != Output::Softmax && self.scalings.y.is_none();
                if let (Places::Values(out), true) = (&mut out, is_ready) {
                    tiny.output(numbers, ViewMut::new(out, x.rows, last.n_out, last.n_out));
                    return Predicted::of(all_finite(plan.isa, out));
                }
                let a = &mut work.a[index];
                tiny.output(numbers, view_mut(a, x.rows, last));
                if last.output == Output::Softmax {
                    softmax_in_place(plan.isa, view_mut(a, x.rows, last));
                }
            }
            _ => forward(plan, team, self.params, Mode::Inference, x, Last::Activated, work),
        }
        // Indices: what is a call for each row, such as an iterator that was not inlined, costs a twentieth of a product.
        let a = &mut work.a[index][..x.rows * last.stride];
        if let Some(scaling) = &self.scalings.y {
            for i in 0..x.rows {
                scaling.undo(&mut a[i * last.stride..][..last.n_out]);
            }
        }
        match out {
            Places::Values(out) if last.n_out == 1 => {
                for i in 0..x.rows {
                    out[i] = a[i * last.stride];
                }
                Predicted::of(all_finite(plan.isa, out))
            }
            Places::Values(out) => {
                for i in 0..x.rows {
                    out[i * last.n_out..][..last.n_out].copy_from_slice(&a[i * last.stride..][..last.n_out]);
                }
                Predicted::of(all_finite(plan.isa, out))
            }
            Places::Largest(out) => {
                let mut are_finite = true;
                for i in 0..x.rows {
                    let (place, is_finite) = place_of_largest(&a[i * last.stride..][..last.n_out]);
                    out[i] = place;
                    are_finite &= is_finite;
                }
                Predicted::of(are_finite)
            }
        }
    }
}

/// The place of the largest number, the first of several, and whether all are finite.
fn place_of_largest<T: Real>(numbers: &[T]) -> (i64, bool) {
    let (mut place, mut most, mut are_finite) = (0, numbers[0], true);
    for (i, &x) in numbers.iter().enumerate() {
        // Without a jump: which is the largest can't be foreseen.
        let more = x > most;
        place = if more { i as i64 } else { place };
        most = if more { x } else { most };
        are_finite &= x.is_finite();
    }
    (place, are_finite)
}
