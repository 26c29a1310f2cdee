//! The calls of this kernel: what is checked before it runs.
//!
//! In: what the kernel is given, from outside. Out: the same as it takes it, and what it finds.

use super::network::{Tiny, TinyLoss};
use super::pass::{Backward, Forward, Turn, Wanted};
use super::row::{Becomes, Descent};
use super::several::{Several, Steps};
use super::single::{Back, Single};
use crate::Real;
use crate::dense::View;
use crate::isa::Isa;
use crate::simd::run;
use crate::softmax::{Target, Targets};
use crate::update::{AdamStep, Sgd, TinyStep};

/// A loss to compute: what the rows should come out as, what the gradient of each is multiplied by, and where to put the
/// loss of each.
#[derive(Debug)]
#[expect(missing_docs, reason = "the sentence above names them in order")]
pub struct Asked<'a, T> {
    pub loss: TinyLoss,
    pub target: Target<'a, T>,
    pub scale: &'a [T],
    pub losses: &'a mut [f64],
}

/// Steps to take one after the other. None is taken where the size of a loss is above `most_loss`, or a gradient may
/// have a square that is not finite, and none after it. Memories that are not needed are empty; `squares` takes what those of each
/// gradient add up to, or is empty.
#[derive(Debug)]
#[expect(missing_docs, reason = "the sentences above name them")]
pub struct InTurn<'a, T> {
    pub steps: &'a [TinyStep],
    pub memories: [&'a mut [T]; 2],
    pub most_loss: f64,
    pub squares: &'a mut [f64],
}

/// All rows forward; with a loss also the loss of each row and, times the scale of its row, dL/dz of the last stage, or dL/da
/// where the loss is not that of a softmax.
///
/// The output of the last stage is its product, without an activation, where the loss is softmax and cross entropy.
///
/// # Shapes
/// x is (rows, n_in), the targets are (rows, n_out) or labels (rows), scale and losses are (rows).
///
/// # Panics
/// When the shapes do not fit each other, the parameters or the workspace, or a label is not below n_out.
pub fn tiny_forward<T: Real>(isa: Isa, tiny: &Tiny, params: &[T], x: View<T>, loss: Option<Asked<T>>, work: &mut [T]) {
    tiny.check(params, x.rows, work);
    // SAFETY: shapes and lengths are checked.
    unsafe {
        if tiny.is_row() {
            run(isa, single(tiny, params, x, loss, work));
        } else {
            let forward = Some(forward(tiny, params, x, x.rows, 1, loss, work));
            run(isa, Several { forward, backward: None, steps: None });
        }
    }
}

/// From the delta of the last stage, which is in the workspace and used up, to the gradient of everything that learns, or
/// added to it.
/// Returns the first stage met whose gradient has a square that is not finite, or may have one. `loss` is what
/// [`tiny_forward`] was asked for, or none where [`Tiny::set_delta`] gave dL/dz.
///
/// # Panics
/// When the parameters, the gradient or the workspace are too short.
pub fn tiny_backward<T: Real>(
    isa: Isa,
    tiny: &Tiny,
    params: &[T],
    rows: usize,
    work: &mut [T],
    loss: Option<TinyLoss>,
    accumulate: bool,
    gradient: &mut [T],
) -> Option<usize> {
    tiny.check(params, rows, work);
    tiny.check(gradient, rows, work);
    let (params, work, gradient) = (params.as_ptr(), work.as_mut_ptr(), gradient.as_mut_ptr());
    let last_is_da = loss == Some(TinyLoss::Squared);
    // SAFETY: lengths were checked above.
    unsafe {
        if tiny.is_row() {
            let becomes = if accumulate { Becomes::Added } else { Becomes::Written };
            let back = Some(Back { last_is_da, becomes, gradient });
            let (x, most_loss) = (std::ptr::null(), f64::MAX);
            return run(
                isa,
                Single { tiny, params, work, x, x_stride: 0, loss: None, back, steps: &[], most_loss, adam: None },
            )
            .1;
        }
        let backward = Some(Backward { tiny, params, rows, work, last_is_da, accumulate, checks: true, gradient });
        run(isa, Several { forward: None, backward, steps: None }).1
    }
}

/// [`tiny_forward`] and [`tiny_backward`], whatever the loss comes to: a gradient of one that is not finite means nothing.
///
/// # Panics
/// As those two.
#[inline]
pub fn tiny_gradient<T: Real>(
    isa: Isa,
    tiny: &Tiny,
    params: &[T],
    x: View<T>,
    loss: Asked<T>,
    work: &mut [T],
    gradient: &mut [T],
) -> Option<usize> {
    tiny.check(params, x.rows, work);
    tiny.check(gradient, x.rows, work);
    let (rows, gradient, last_is_da) = (x.rows, gradient.as_mut_ptr(), loss.loss == TinyLoss::Squared);
    // SAFETY: shapes and lengths are checked.
    unsafe {
        if tiny.is_row() {
            let back = Some(Back { last_is_da, becomes: Becomes::Written, gradient });
            return run(isa, Single { back, ..single(tiny, params, x, Some(loss), work) }).1;
        }
        let forward = forward(tiny, params, x, rows, 1, Some(loss), work);
        let Forward { params, work, .. } = forward;
        let backward =
            Some(Backward { tiny, params, rows, work, last_is_da, accumulate: false, checks: true, gradient });
        run(isa, Several { forward: Some(forward), backward, steps: None }).1
    }
}

/// Learns from the rows of x one after the other, in a network for a single one, each with a step and all with one scale, and
/// tells how many steps were taken: all of gradient descent with one rule, or all of Adam, which learns where everything does.
/// Gradient descent goes along a gradient that is never written, and may be empty; nobody asks for squares.
///
/// # Panics
/// As those two, where the network is for several rows, without a step for each row, with steps of several kinds, and where the
/// lengths of parameters, gradient and memories differ.
pub fn tiny_steps<T: Real>(
    isa: Isa,
    tiny: &Tiny,
    params: &mut [T],
    gradient: &mut [T],
    x: View<T>,
    loss: Asked<T>,
    work: &mut [T],
    in_turn: InTurn<T>,
) -> usize {
    let InTurn { steps, memories: [first, second], most_loss, squares } = in_turn;
    assert!(tiny.is_row() && x.rows == steps.len() && squares.is_empty(), "rows one by one, with a step for each");
    tiny.check(params, 1, work);
    let last_is_da = loss.loss == TinyLoss::Squared;
    let row = single(tiny, params, x, Some(loss), work);
    let n = params.len();
    let (params, first_at, second_at) = (params.as_mut_ptr(), first.as_mut_ptr(), second.as_mut_ptr());
    let (becomes, gradient, adam) = match steps.first() {
        None => return 0,
        Some(&TinyStep::Sgd(rule, rate)) => {
            let same = |step: &TinyStep| matches!(*step, TinyStep::Sgd(of, _) if of == rule);
            assert!(steps.iter().all(same) && (rule == Sgd::Plain || first.len() == n), "parameters and velocity");
            // The rate is that of each step, in its turn.
            (Becomes::Descended(Descent { rule, rate, params, velocity: first_at }), params, None)
        }
        Some(&TinyStep::Adam(rule)) => {
            assert!(steps.iter().all(|step| matches!(step, TinyStep::Adam(_))) && tiny.learns(), "everything by Adam");
            assert!([gradient.len(), first.len(), second.len()] == [n; 3], "parameters, gradient and moments");
            let gradient = gradient.as_mut_ptr();
            let adam = AdamStep::new(rule, tiny.end(), params, gradient, [first_at, second_at]);
            (Becomes::Written, gradient, Some(adam))
        }
    };
    let back = Some(Back { last_is_da, becomes, gradient });
    // SAFETY: shapes and lengths were checked; weights are written when all that is read of them was.
    unsafe { run(isa, Single { params, back, steps, most_loss, adam, ..row }).0 }
}

/// The same of several rows at a time, as many as there are scales, where everything learns: of the next ones for each step, or
/// of the same ones where x has no more. The gradient of each is written.
///
/// # Panics
/// As those two, without a step or with rows for another number of them, where something does not learn, where parameters are
/// no whole vectors, and where the lengths of parameters, gradient, memories and squares differ.
pub fn tiny_batch_steps<T: Real>(
    isa: Isa,
    tiny: &Tiny,
    params: &mut [T],
    gradient: &mut [T],
    x: View<T>,
    loss: Asked<T>,
    work: &mut [T],
    in_turn: InTurn<T>,
) -> usize {
    let InTurn { steps, memories, most_loss, squares } = in_turn;
    let (n, rows) = (params.len(), loss.scale.len());
    assert!(rows > 0 && !steps.is_empty() && !tiny.is_row() && tiny.learns(), "steps, and rows, for all that there is");
    let again = x.rows == rows;
    assert!(again || x.rows == rows * steps.len(), "rows for each step, or the same ones for all");
    tiny.check(params, rows, work);
    let has = |memory: usize| memories[memory].len() == n;
    let has_memories = |step: &TinyStep| match step {
        TinyStep::Sgd(rule, _) => *rule == Sgd::Plain || has(0),
        TinyStep::Adam(_) => has(0) && has(1),
    };
    assert!(gradient.len() == n && steps.iter().all(has_memories), "parameters, gradient and memories");
    assert!(n.is_multiple_of(T::LANES), "whole vectors of parameters");
    assert!(squares.is_empty() || squares.len() == steps.len(), "squares of each gradient");
    let last_is_da = loss.loss == TinyLoss::Squared;
    let forward = forward(tiny, params, x, rows, steps.len(), Some(loss), work);
    let params = params.as_mut_ptr();
    let (gradient, memories) = (gradient.as_mut_ptr(), memories.map(<[T]>::as_mut_ptr));
    let squares = if squares.is_empty() { std::ptr::null_mut() } else { squares.as_mut_ptr() };
    let Forward { work, .. } = forward;
    let steps = Steps { each: steps, again, most_loss, n, params, gradient, memories, squares };
    let backward = Backward { tiny, params, rows, work, last_is_da, accumulate: false, checks: false, gradient };
    let forward = Forward { params, ..forward };
    // SAFETY: shapes and lengths were checked; weights are written when all that is read of them was.
    unsafe { run(isa, Several { forward: Some(forward), backward: Some(backward), steps: Some(steps) }).0 }
}

/// Checks what is asked of so many rows of x, `rows` of them for each of the steps.
#[inline]
fn wanted<T: Real>(tiny: &Tiny, x: &View<T>, rows: usize, steps: usize, asked: Asked<T>) -> Wanted<T> {
    let Asked { loss, target, scale, losses } = asked;
    assert!(scale.len() == rows && losses.len() == rows * steps, "a scale and a loss for each row");
    let targets = Targets::new(target, x.rows, tiny.last().stage.n_out);
    Wanted { loss, targets, scale: scale.as_ptr(), losses: losses.as_mut_ptr() }
}

/// Checks x.
#[inline]
fn check_x<T: Real>(tiny: &Tiny, x: &View<T>) {
    x.check(x.columns);
    assert_eq!(x.columns, tiny.stages[0].stage.n_in, "columns of x");
}

/// Checks rows that go forward one by one, and their loss; parameters and workspace are checked.
#[inline]
fn single<'a, T: Real>(
    tiny: &'a Tiny,
    params: &[T],
    x: View<T>,
    loss: Option<Asked<T>>,
    work: &mut [T],
) -> Single<'a, T> {
    check_x(tiny, &x);
    let loss = loss.map(|asked| wanted(tiny, &x, 1, x.rows, asked));
    let (params, work, x, x_stride) = (params.as_ptr(), work.as_mut_ptr(), x.data.as_ptr(), x.stride);
    Single { tiny, params, work, x, x_stride, loss, back: None, steps: &[], most_loss: f64::MAX, adam: None }
}

/// The same of several rows that go forward together, `rows` for each of the steps.
#[inline]
fn forward<'a, T: Real>(
    tiny: &'a Tiny,
    params: &[T],
    x: View<'a, T>,
    rows: usize,
    steps: usize,
    loss: Option<Asked<T>>,
    work: &mut [T],
) -> Forward<'a, T> {
    check_x(tiny, &x);
    let loss = loss.map(|asked| wanted(tiny, &x, rows, steps, asked));
    let turns = rows >= T::LANES && Turn::suits(&x);
    let (params, work) = (params.as_ptr(), work.as_mut_ptr());
    Forward { tiny, params, x: View { rows, ..x }, has_rows: false, turns, work, loss }
}
