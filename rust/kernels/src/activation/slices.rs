//! Activations of whole slices.
//!
//! In: slices of z, or of delta, a and z. Out: a, or delta f'(z), in place.

use super::{Activation, Curve, Visit};
use crate::Real;
use crate::isa::Isa;
use crate::simd::{Kernel, Vector, run};

struct Value<T, C> {
    curve: C,
    n: usize,
    z: *const T,
    a: *mut T,
}

impl<T: Real, C: Curve> Kernel<T> for Value<T, C> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let whole = self.n - self.n % T::LANES;
        let rest = self.n - whole;
        // SAFETY: `i + LANES <= whole`, `whole + rest = n`; the caller vouches for n elements. z may be a.
        unsafe {
            for i in (0..whole).step_by(T::LANES) {
                self.curve.value(V::load(self.z.add(i))).store(self.a.add(i));
            }
            if rest > 0 {
                let z = V::load_first(self.z.add(whole), rest, T::ZERO);
                self.curve.value(z).store_first(self.a.add(whole), rest);
            }
        }
    }
}

struct EachValue<T> {
    isa: Isa,
    n: usize,
    z: *const T,
    a: *mut T,
}

impl<T: Real> Visit for EachValue<T> {
    type Output = ();
    fn visit<C: Curve>(self, curve: C) {
        // SAFETY: only made by `activate` and `activate_in_place`, of slices of n elements.
        unsafe { run(self.isa, Value { curve, n: self.n, z: self.z, a: self.a }) }
    }
}

/// `a = f(z)`, element by element.
///
/// # Panics
/// When z and a differ in length.
pub fn activate<T: Real>(isa: Isa, activation: Activation, z: &[T], a: &mut [T]) {
    assert_eq!(z.len(), a.len(), "lengths of z and a");
    activation.with(EachValue { isa, n: z.len(), z: z.as_ptr(), a: a.as_mut_ptr() });
}

/// `z <- f(z)`, element by element.
pub fn activate_in_place<T: Real>(isa: Isa, activation: Activation, z: &mut [T]) {
    let a = z.as_mut_ptr();
    activation.with(EachValue { isa, n: z.len(), z: a, a });
}

struct MultiplySlope<T, C> {
    curve: C,
    n: usize,
    delta: *mut T,
    a: *const T,
    z: *const T,
}

impl<T: Real, C: Curve> Kernel<T> for MultiplySlope<T, C> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let whole = self.n - self.n % T::LANES;
        let rest = self.n - whole;
        // SAFETY: `i + LANES <= whole`, `whole + rest = n`; the caller vouches for n elements.
        unsafe {
            for i in (0..whole).step_by(T::LANES) {
                let slope = self.curve.slope(V::load(self.a.add(i)), V::load(self.z.add(i)));
                V::load(self.delta.add(i)).mul(slope).store(self.delta.add(i));
            }
            if rest > 0 {
                let a = V::load_first(self.a.add(whole), rest, T::ZERO);
                let z = V::load_first(self.z.add(whole), rest, T::ZERO);
                let delta = V::load_first(self.delta.add(whole), rest, T::ZERO);
                delta.mul(self.curve.slope(a, z)).store_first(self.delta.add(whole), rest);
            }
        }
    }
}

struct EachSlope<T> {
    isa: Isa,
    n: usize,
    delta: *mut T,
    a: *const T,
    z: *const T,
}

impl<T: Real> Visit for EachSlope<T> {
    type Output = ();
    fn visit<C: Curve>(self, curve: C) {
        // SAFETY: only made by `multiply_slope`, of slices of n elements.
        unsafe { run(self.isa, MultiplySlope { curve, n: self.n, delta: self.delta, a: self.a, z: self.z }) }
    }
}

/// `delta <- delta * f'(z)`, in place, given `a = f(z)`.
///
/// z is read only if the activation [needs it](Activation::needs_z); give a again where it doesn't.
///
/// # Panics
/// When delta, a and z differ in length.
pub fn multiply_slope<T: Real>(isa: Isa, activation: Activation, delta: &mut [T], a: &[T], z: &[T]) {
    assert_eq!((delta.len(), delta.len()), (a.len(), z.len()), "lengths of a and z, as against delta");
    activation.with(EachSlope { isa, n: a.len(), delta: delta.as_mut_ptr(), a: a.as_ptr(), z: z.as_ptr() });
}
