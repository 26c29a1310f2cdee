//! What is done to rows element by element: activations, sums, the rectifier whose slope is learned.
//!
//! In: views of rows, which need no padding. Out: padded rows, the padding 0.

use crate::activation::{Activation, Curve, Visit};
use crate::dense::{View, ViewMut};
use crate::each::{Each, Operand, check, check_rows, each, sums};
use crate::isa::Isa;
use crate::pool::Team;
use crate::simd::Vector;
use crate::{Real, padded};

#[derive(Clone, Copy)]
struct Value<C>(C);
impl<C: Curve> Each<1> for Value<C> {
    #[inline(always)]
    fn each<V: Vector>(self, [z]: [V; 1]) -> V {
        self.0.value(z)
    }
}

struct Activate<'a, T> {
    isa: Isa,
    team: &'a Team,
    z: View<'a, T>,
    a: ViewMut<'a, T>,
}

impl<T: Real> Visit for Activate<'_, T> {
    type Output = ();
    fn visit<C: Curve>(self, curve: C) {
        // SAFETY: only made by `activate_rows`, which has checked the shapes.
        unsafe { each(self.isa, self.team, Value(curve), [Operand::rows(self.z)], self.a) }
    }
}

/// `a = f(z)` for rows.
///
/// # Shapes
/// z and a are (rows, n); a is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn activate_rows<T: Real>(isa: Isa, team: &Team, activation: Activation, z: View<T>, a: ViewMut<T>) {
    check([z], &a);
    activation.with(Activate { isa, team, z, a });
}

struct ActivateInPlace<'a, T> {
    isa: Isa,
    team: &'a Team,
    a: ViewMut<'a, T>,
}

impl<T: Real> Visit for ActivateInPlace<'_, T> {
    type Output = ();
    fn visit<C: Curve>(mut self, curve: C) {
        let from = [Operand::in_place(&mut self.a)];
        // SAFETY: only made by `activate_rows_in_place`, which has checked the shape.
        unsafe { each(self.isa, self.team, Value(curve), from, self.a) }
    }
}

/// [`activate_rows`] in place.
///
/// # Panics
/// When the shape does not fit the data.
pub(crate) fn activate_rows_in_place<T: Real>(isa: Isa, team: &Team, activation: Activation, a: ViewMut<T>) {
    check([], &a);
    activation.with(ActivateInPlace { isa, team, a });
}

#[derive(Clone, Copy)]
struct Slope<C>(C);
impl<C: Curve> Each<3> for Slope<C> {
    #[inline(always)]
    fn each<V: Vector>(self, [delta, a, z]: [V; 3]) -> V {
        delta.mul(self.0.slope(a, z))
    }
}

struct MultiplySlope<'a, T> {
    isa: Isa,
    team: &'a Team,
    delta: ViewMut<'a, T>,
    a: View<'a, T>,
    z: View<'a, T>,
}

impl<T: Real> Visit for MultiplySlope<'_, T> {
    type Output = ();
    fn visit<C: Curve>(mut self, curve: C) {
        let from = [Operand::in_place(&mut self.delta), Operand::rows(self.a), Operand::rows(self.z)];
        // SAFETY: only made by `multiply_slope_rows`, which has checked the shapes.
        unsafe { each(self.isa, self.team, Slope(curve), from, self.delta) }
    }
}

/// `delta <- delta * f'(z)` for rows, in place, given `a = f(z)`.
///
/// z is read only if the activation [needs it](Activation::needs_z); give a again where it doesn't.
///
/// # Shapes
/// delta, a and z are (rows, n); delta is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn multiply_slope_rows<T: Real>(
    isa: Isa,
    team: &Team,
    activation: Activation,
    delta: ViewMut<T>,
    a: View<T>,
    z: View<T>,
) {
    check([a, z], &delta);
    activation.with(MultiplySlope { isa, team, delta, a, z });
}

#[derive(Clone, Copy)]
struct Add;
impl Each<2> for Add {
    #[inline(always)]
    fn each<V: Vector>(self, [x, y]: [V; 2]) -> V {
        x.add(y)
    }
}

/// `out = x + y`
///
/// # Shapes
/// x, y and out are (rows, n); out is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn add_rows<T: Real>(isa: Isa, team: &Team, x: View<T>, y: View<T>, out: ViewMut<T>) {
    check([x, y], &out);
    // SAFETY: shapes and lengths were checked above.
    unsafe { each(isa, team, Add, [Operand::rows(x), Operand::rows(y)], out) }
}

/// `x <- x + y`, in place; as [`add_rows`].
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn add_rows_in_place<T: Real>(isa: Isa, team: &Team, mut x: ViewMut<T>, y: View<T>) {
    check([y], &x);
    // SAFETY: shapes and lengths were checked above.
    unsafe { each(isa, team, Add, [Operand::in_place(&mut x), Operand::rows(y)], x) }
}

#[derive(Clone, Copy)]
struct Prelu;
impl Each<2> for Prelu {
    #[inline(always)]
    fn each<V: Vector>(self, [x, slope]: [V; 2]) -> V {
        V::select(V::zero().lt(x), x, x.mul(slope))
    }
}

/// `a = x` where x is above 0, else `slope x`, with a slope for each column (He et al., 2015).
///
/// # Shapes
/// x and a are (rows, n), slope is (n); a is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn prelu<T: Real>(isa: Isa, team: &Team, x: View<T>, slope: &[T], a: ViewMut<T>) {
    check([x], &a);
    check_rows(a.columns, [slope]);
    // SAFETY: shapes and lengths were checked above.
    unsafe { each(isa, team, Prelu, [Operand::rows(x), Operand::row(slope)], a) }
}

#[derive(Clone, Copy)]
struct PreluGradient;
impl Each<3> for PreluGradient {
    #[inline(always)]
    fn each<V: Vector>(self, [delta, x, slope]: [V; 3]) -> V {
        V::select(V::zero().lt(x), delta, delta.mul(slope))
    }
}

/// `out = delta da/dx` of [`prelu`]; at 0 the derivative is the slope.
///
/// # Shapes
/// delta, x and out are (rows, n), slope is (n); out is padded, and its padding becomes 0.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn prelu_gradient<T: Real>(isa: Isa, team: &Team, delta: View<T>, x: View<T>, slope: &[T], out: ViewMut<T>) {
    check([delta, x], &out);
    check_rows(out.columns, [slope]);
    // SAFETY: shapes and lengths were checked above.
    unsafe {
        each(isa, team, PreluGradient, [Operand::rows(delta), Operand::rows(x), Operand::row(slope)], out);
    }
}

#[derive(Clone, Copy)]
struct PreluSlope;
impl Each<2> for PreluSlope {
    #[inline(always)]
    fn each<V: Vector>(self, [delta, x]: [V; 2]) -> V {
        V::select(V::zero().lt(x), V::zero(), delta.mul(x))
    }
}

/// `slopes = sum over the rows of delta min(x, 0)`, the gradient of the slopes of [`prelu`], or added to what is there.
/// Returns whether their squares are finite.
///
/// # Shapes
/// delta and x are (rows, n), slopes is (n) and padded.
///
/// # Panics
/// When the shapes do not fit each other or their data.
pub fn prelu_slope_gradient<T: Real>(
    isa: Isa,
    team: &Team,
    delta: View<T>,
    x: View<T>,
    accumulate: bool,
    slopes: &mut [T],
) -> bool {
    x.check(x.columns);
    delta.check(delta.columns);
    assert_eq!((x.rows, x.columns), (delta.rows, delta.columns), "shapes of x and delta");
    assert!(slopes.len() >= padded::<T>(x.columns), "the slopes are padded");
    let from = [Operand::rows(delta), Operand::rows(x)];
    // SAFETY: shapes and lengths were checked above.
    unsafe { sums(isa, team, PreluSlope, from, (x.rows, x.columns), accumulate, slopes) }
}
