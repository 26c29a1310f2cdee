//! The calls of this kernel: what is checked before it runs.
//!
//! In: what the kernel is given, from outside. Out: the same as it takes it, and what it finds.

use super::network::{Tiny, TinyLoss};
use super::pass::{Backward, Forward, TurnX, Wanted};
use super::row::{Becomes, Step};
use crate::Real;
use crate::dense::View;
use crate::isa::Isa;
use crate::simd::{Kernel, Vector, run};
use crate::softmax::{Target, Targets};
use crate::update::Sgd;

/// Both ways, or one of them. Together they are one call of a kernel, which a step of a few weights can tell.
struct Pass<'a, T: Real> {
    forward: Option<Forward<'a, T>>,
    backward: Option<Backward<'a, T>>,
}

impl<T: Real> Kernel<T> for Pass<'_, T> {
    type Output = Option<usize>;
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) -> Option<usize> {
        // SAFETY: the caller's word.
        unsafe {
            if let Some(forward) = &self.forward {
                forward.run::<V>();
                if let (Some(Wanted { losses, .. }), Some(backward)) = (&forward.loss, &self.backward)
                    && backward.descends()
                    && !(**losses).is_finite()
                {
                    return Some(forward.tiny.last());
                }
            }
            // No closure: it would be a function of its own, without the instructions of the set.
            match &self.backward {
                Some(backward) => backward.run::<V>(),
                None => None,
            }
        }
    }
}

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
    let forward = Some(forward(isa, tiny, params, x, loss, work));
    // SAFETY: shapes and lengths were checked.
    unsafe { run(isa, Pass { forward, backward: None }) };
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
    let becomes = if accumulate { Becomes::Added } else { Becomes::Written };
    let last_is_da = loss == Some(TinyLoss::Squared);
    let backward = Some(Backward { tiny, params, rows, work, last_is_da, becomes, gradient });
    // SAFETY: lengths were checked above.
    unsafe { run(isa, Pass { forward: None, backward }) }
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
    tiny.check(gradient, x.rows, work);
    let (rows, gradient, last_is_da) = (x.rows, gradient.as_mut_ptr(), loss.loss == TinyLoss::Squared);
    let forward = forward(isa, tiny, params, x, Some(loss), work);
    let Forward { params, work, .. } = forward;
    let becomes = Becomes::Written;
    let backward = Some(Backward { tiny, params, rows, work, last_is_da, becomes, gradient });
    // SAFETY: shapes and lengths were checked.
    unsafe { run(isa, Pass { forward: Some(forward), backward }) }
}

/// The same for a single row, with a step of gradient descent along a gradient that is never written. Where the gradient of a
/// stage may have a square that is not finite there is no step, and the stage is returned; the last one where the loss is not
/// finite. The velocity is empty where the rule has none.
///
/// # Panics
/// As those two, where the network is for several rows, and where the lengths of parameters and velocity differ.
#[inline]
pub fn tiny_descent<T: Real>(
    isa: Isa,
    tiny: &Tiny,
    (params, velocity): (&mut [T], &mut [T]),
    x: View<T>,
    loss: Asked<T>,
    work: &mut [T],
    (rule, rate): (Sgd, f64),
) -> Option<usize> {
    assert!(tiny.is_row() && x.rows == 1, "a single row");
    assert!(rule == Sgd::Plain || velocity.len() == params.len(), "parameters and velocity");
    let last_is_da = loss.loss == TinyLoss::Squared;
    let mut forward = forward(isa, tiny, params, x, Some(loss), work);
    let (params, velocity, work) = (params.as_mut_ptr(), velocity.as_mut_ptr(), forward.work);
    forward.params = params;
    let becomes = Becomes::Descended(Step { rule, rate, params, velocity });
    let backward = Some(Backward { tiny, params, rows: 1, work, last_is_da, becomes, gradient: params });
    // SAFETY: shapes and lengths were checked; weights are written when all that is read of them was.
    unsafe { run(isa, Pass { forward: Some(forward), backward }) }
}

/// Checks what goes forward; where x is turned as a whole, that is done already.
#[inline]
fn forward<'a, T: Real>(
    isa: Isa,
    tiny: &'a Tiny,
    params: &[T],
    x: View<'a, T>,
    loss: Option<Asked<T>>,
    work: &mut [T],
) -> Forward<'a, T> {
    tiny.check(params, x.rows, work);
    x.check(x.columns);
    assert_eq!(x.columns, tiny.stages[0].n_in, "columns of x");
    let loss = loss.map(|Asked { loss, target, scale, losses }| {
        assert!(scale.len() == x.rows && losses.len() == x.rows, "a scale and a loss for each row");
        let targets = Targets::new(target, x.rows, tiny.stages[tiny.last()].n_out);
        Wanted { loss, targets, scale: scale.as_ptr(), losses: losses.as_mut_ptr() }
    });
    let has_x = !tiny.is_row() && TurnX::suits(&x);
    if has_x {
        let turn = TurnX { x, to: work[tiny.x..].as_mut_ptr(), stride: tiny.stride };
        // SAFETY: it suits, and the workspace is for as many rows and columns.
        unsafe { run(isa, turn) }
    }
    Forward { tiny, params: params.as_ptr(), x, has_x, work: work.as_mut_ptr(), loss }
}
