//! An elementary function of every element of a slice.
//!
//! In: a slice. Out: a slice of the same length. For measuring and testing; the kernels call the functions themselves.

use super::{exp, expm1, log, log1p, normal, sigmoid, softplus, tanh};
use crate::Real;
use crate::isa::Isa;
use crate::simd::{Kernel, Vector, run};

/// The functions of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elementary {
    /// e^x
    Exp,
    /// e^x - 1
    Expm1,
    /// The natural logarithm.
    Log,
    /// log(1 + x)
    Log1p,
    /// The hyperbolic tangent.
    Tanh,
    /// 1/(1 + e^-x)
    Sigmoid,
    /// log(1 + e^x)
    Softplus,
    /// The probability that a standard normal number is at most x.
    NormalCdf,
    /// The density of the standard normal distribution.
    NormalDensity,
}

struct Evaluate<T> {
    function: Elementary,
    n: usize,
    x: *const T,
    y: *mut T,
}

/// `y = f(x)` in a loop of its own for each function; a closure would not be compiled for the set.
macro_rules! each {
    ($self:ident, $V:ident, $x:ident => $value:expr) => {{
        let whole = $self.n - $self.n % T::LANES;
        // SAFETY: `i + LANES <= whole` and `whole + rest = n`; the caller vouches for n elements.
        unsafe {
            for i in (0..whole).step_by(T::LANES) {
                let $x = $V::load($self.x.add(i));
                $value.store($self.y.add(i));
            }
            let rest = $self.n - whole;
            if rest > 0 {
                let $x = $V::load_first($self.x.add(whole), rest, T::ZERO);
                $value.store_first($self.y.add(whole), rest);
            }
        }
    }};
}

impl<T: Real> Kernel<T> for Evaluate<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        match self.function {
            Elementary::Exp => each!(self, V, x => exp(x)),
            Elementary::Expm1 => each!(self, V, x => expm1(x)),
            Elementary::Log => each!(self, V, x => log(x)),
            Elementary::Log1p => each!(self, V, x => log1p(x)),
            Elementary::Tanh => each!(self, V, x => tanh(x)),
            Elementary::Sigmoid => each!(self, V, x => sigmoid(x)),
            Elementary::Softplus => each!(self, V, x => softplus(x)),
            Elementary::NormalCdf => each!(self, V, x => normal(x).0),
            Elementary::NormalDensity => each!(self, V, x => normal(x).1),
        }
    }
}

/// `y = f(x)`, element by element.
///
/// # Panics
/// When x and y differ in length.
pub fn evaluate<T: Real>(isa: Isa, function: Elementary, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    let kernel = Evaluate { function, n: x.len(), x: x.as_ptr(), y: y.as_mut_ptr() };
    // SAFETY: the lengths were compared above.
    unsafe { run(isa, kernel) }
}
