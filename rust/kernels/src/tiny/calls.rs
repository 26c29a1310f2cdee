//! The calls of this kernel: what is checked before it runs.
//!
//! In: what the kernel is given, from outside. Out: the same as it takes it, and what it finds.

use super::network::{Tiny, TinyLoss};
use super::pass::{Backward, Forward, Pass, Turn, Wanted};
use super::row::{Becomes, Descent};
use super::single::{Back, Single};
use crate::Real;
use crate::dense::View;
use crate::isa::Isa;
use crate::simd::run;
use crate::softmax::{Target, Targets};
use crate::update::{AdamStep, RowStep, Sgd};

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
            run(isa, Pass { forward: Some(forward(isa, tiny, params, x, loss, work)), backward: None });
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
        let backward = Some(Backward { tiny, params, rows, work, last_is_da, accumulate, gradient });
        run(isa, Pass { forward: None, backward })
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
        let forward = forward(isa, tiny, params, x, Some(loss), work);
        let Forward { params, work, .. } = forward;
        let backward = Some(Backward { tiny, params, rows, work, last_is_da, accumulate: false, gradient });
        run(isa, Pass { forward: Some(forward), backward })
    }
}

/// Learns from the rows of x one after the other, in a network for a single one, each with a step: all of gradient descent,
/// along a gradient that is never written, or all of Adam, where everything learns. Tells how many steps were taken: there is
/// none where the size of a loss is above `most_loss`, or the gradient of a stage may have a square that is not finite, and
/// none after it. Gradient and memories that are not needed are empty.
///
/// # Panics
/// As those two, where the network is for several rows, without a step for each row, and where the lengths of parameters,
/// gradient and memories differ.
pub fn tiny_steps<T: Real>(
    isa: Isa,
    tiny: &Tiny,
    params: &mut [T],
    gradient: &mut [T],
    [first, second]: [&mut [T]; 2],
    x: View<T>,
    loss: Asked<T>,
    work: &mut [T],
    steps: &[RowStep],
    most_loss: f64,
) -> usize {
    assert!(tiny.is_row() && x.rows == steps.len(), "rows one by one, with a step for each");
    tiny.check(params, 1, work);
    let last_is_da = loss.loss == TinyLoss::Squared;
    let row = single(tiny, params, x, Some(loss), work);
    let n = params.len();
    let (params, first_at, second_at) = (params.as_mut_ptr(), first.as_mut_ptr(), second.as_mut_ptr());
    let (becomes, gradient, adam) = match steps.first() {
        None => return 0,
        Some(&RowStep::Sgd(rule, rate)) => {
            let same = |step: &RowStep| matches!(*step, RowStep::Sgd(of, _) if of == rule);
            assert!(steps.iter().all(same) && (rule == Sgd::Plain || first.len() == n), "parameters and velocity");
            // The rate is that of each step, in its turn.
            (Becomes::Descended(Descent { rule, rate, params, velocity: first_at }), params, None)
        }
        Some(&RowStep::Adam(rule)) => {
            assert!(steps.iter().all(|step| matches!(step, RowStep::Adam(_))) && tiny.learns(), "everything by Adam");
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

/// Checks what is asked of so many rows.
#[inline]
fn wanted<T: Real>(tiny: &Tiny, rows: usize, Asked { loss, target, scale, losses }: Asked<T>) -> Wanted<T> {
    assert!(scale.len() == rows && losses.len() == rows, "a scale and a loss for each row");
    let targets = Targets::new(target, rows, tiny.stages[tiny.last()].n_out);
    Wanted { loss, targets, scale: scale.as_ptr(), losses: losses.as_mut_ptr() }
}

/// Checks x.
#[inline]
fn check_x<T: Real>(tiny: &Tiny, x: &View<T>) {
    x.check(x.columns);
    assert_eq!(x.columns, tiny.stages[0].n_in, "columns of x");
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
    let loss = loss.map(|asked| wanted(tiny, x.rows, asked));
    let (params, work, x, x_stride) = (params.as_ptr(), work.as_mut_ptr(), x.data.as_ptr(), x.stride);
    Single { tiny, params, work, x, x_stride, loss, back: None, steps: &[], most_loss: f64::MAX, adam: None }
}

/// The same of several rows that go forward together; where x is turned as a whole, that is done already.
#[inline]
fn forward<'a, T: Real>(
    isa: Isa,
    tiny: &'a Tiny,
    params: &[T],
    x: View<'a, T>,
    loss: Option<Asked<T>>,
    work: &mut [T],
) -> Forward<'a, T> {
    check_x(tiny, &x);
    let loss = loss.map(|asked| wanted(tiny, x.rows, asked));
    let has_x = Turn::suits(&x);
    if has_x {
        let (from, to) = (x.data.as_ptr(), work[tiny.x..].as_mut_ptr());
        let turn = Turn { rows: x.rows, columns: x.columns, from, stride: x.stride, to, to_stride: tiny.stride };
        // SAFETY: it suits, and the workspace is for as many rows and columns.
        unsafe { run(isa, turn) }
    }
    Forward { tiny, params: params.as_ptr(), x, has_x, work: work.as_mut_ptr(), loss }
}
