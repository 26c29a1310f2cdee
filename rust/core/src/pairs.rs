//! The memory of L-BFGS: the last steps and what they did to the gradient, as an inverse Hessian that is never formed.
//!
//! In: points and their gradients. Out: the direction -H g. It evaluates nothing and knows no step length.

use crate::error::Error;
use crate::params::Params;
use crate::plan::Plan;
use dnn_kernels::{Isa, Real, add_multiple, dot};

/// A step s = x' - x and the change y = g' - g of the gradient along it.
#[derive(Debug)]
struct Pair<T: Real> {
    s: Params<T>,
    y: Params<T>,
    /// s . y
    sy: f64,
    /// y . y
    yy: f64,
}

/// The last m pairs.
#[derive(Debug)]
pub struct Pairs<T: Real> {
    /// Room for one more than m: the next pair is tried out without losing the oldest.
    room: Vec<Pair<T>>,
    len: usize,
    /// Where the next one goes.
    next: usize,
}

impl<T: Real> Pairs<T> {
    /// Room for `m` pairs, none yet.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(m: usize, plan: &Plan) -> Result<Pairs<T>, Error> {
        let pair = |_| Ok(Pair { s: Params::zeroed(plan)?, y: Params::zeroed(plan)?, sy: 0.0, yy: 0.0 });
        Ok(Pairs { room: (0..m.saturating_add(1)).map(pair).collect::<Result<_, Error>>()?, len: 0, next: 0 })
    }

    /// The same pairs once more.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn duplicate(&self) -> Result<Pairs<T>, Error> {
        let pair =
            |pair: &Pair<T>| Ok(Pair { s: pair.s.duplicate()?, y: pair.y.duplicate()?, sy: pair.sy, yy: pair.yy });
        let room = self.room.iter().map(pair).collect::<Result<_, Error>>()?;
        Ok(Pairs { room, len: self.len, next: self.next })
    }

    /// Pairs in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Forgets all of them: the next direction is that of steepest descent.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The pairs (s, y), oldest first.
    pub fn in_order(&self) -> impl DoubleEndedIterator<Item = (&Params<T>, &Params<T>)> {
        self.used().map(|pair| (&pair.s, &pair.y))
    }

    fn used(&self) -> impl DoubleEndedIterator<Item = &Pair<T>> {
        let size = self.room.len();
        (size - self.len..size).map(move |i| &self.room[(self.next + i) % size])
    }

    /// Remembers the pair that `fill` writes into (s, y), unless it bends the wrong way; tells whether it was kept.
    ///
    /// `least` is what s . y must be above, 0 or more: so H stays positive definite.
    pub fn push(&mut self, isa: Isa, least: f64, fill: impl FnOnce(&mut Params<T>, &mut Params<T>)) -> bool {
        let size = self.room.len();
        let pair = &mut self.room[self.next];
        fill(&mut pair.s, &mut pair.y);
        (pair.sy, pair.yy) = (dot(isa, &pair.s, &pair.y), dot(isa, &pair.y, &pair.y));
        let keeps = pair.sy > least && pair.sy.is_finite() && pair.yy > 0.0 && pair.yy.is_finite();
        if keeps {
            self.next = (self.next + 1) % size;
            self.len = (self.len + 1).min(size - 1);
        }
        keeps
    }

    /// `direction <- -H g`: the two-loop recursion (Nocedal and Wright, Numerical Optimization, algorithm 7.4), with
    /// H0 = (s . y) / (y . y) of the last pair (their 7.20); -g without any pair.
    ///
    /// `alphas` has room for m numbers.
    pub fn direction(&self, isa: Isa, gradient: &[T], alphas: &mut [f64], direction: &mut Params<T>) {
        for (d, g) in direction.iter_mut().zip(gradient) {
            *d = T::from_f64(-g.to_f64());
        }
        for (pair, alpha) in self.used().rev().zip(alphas.iter_mut()) {
            *alpha = dot(isa, &pair.s, direction) / pair.sy;
            add_multiple(isa, -*alpha, &pair.y, direction);
        }
        let Some(newest) = self.used().next_back() else { return };
        let scale = newest.sy / newest.yy;
        for d in direction.iter_mut() {
            *d = T::from_f64(scale * d.to_f64());
        }
        for (pair, alpha) in self.used().zip(alphas[..self.len].iter().rev()) {
            let beta = dot(isa, &pair.y, direction) / pair.sy;
            add_multiple(isa, *alpha - beta, &pair.s, direction);
        }
    }
}
