//! L-BFGS: a direction from the last steps, and a line search along it, on all rows at once.
//!
//! In: parameters, and a function that finds loss and gradient of any others. Out: the parameters after one iteration, or as
//! they were, and why no more follow. Liu and Nocedal, "On the limited memory BFGS method" (Math. Programming 45, 1989);
//! tests, constants and first steps are those of L-BFGS-B as SciPy has it.

use crate::error::{Error, counted};
use crate::history::Stopped;
use crate::line_search::{LineSearch, Next};
use crate::pairs::Pairs;
use crate::params::Params;
use crate::plan::Plan;
use crate::step::{Outcome, Step};
use dnn_kernels::{Isa, Real, add_multiple, all_finite, dot};

/// Evaluations of one line search.
const SEARCH_LIMIT: usize = 20;
/// How often a step that leads to something not finite is made shorter, each time by [`SHORTER`].
const RESCUE_LIMIT: usize = 60;
/// See [`RESCUE_LIMIT`].
const SHORTER: f64 = 0.1;
/// No step is longer than this many directions.
const LONGEST: f64 = 1e10;

/// When L-BFGS ends by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The largest |g| of a minimum.
    pub gtol: f64,
    /// The least decrease worth going on for, relative to the loss or 1.
    pub ftol: f64,
    /// Evaluations of the loss in one call of `fit`.
    pub max_fun: usize,
}

/// What one iteration needs besides the pairs, allocated once.
#[derive(Debug)]
pub struct Lbfgs<T: Real> {
    limits: Limits,
    /// The parameters and their gradient where the iteration began; once one has ended, where it ended.
    x: Params<T>,
    gradient: Params<T>,
    direction: Params<T>,
    alphas: Vec<f64>,
    /// The loss at `x`, once it is known.
    at_x: Option<Known>,
    evaluations: usize,
    /// The last step, as a multiple of its direction.
    pub step_length: f64,
    /// Why no other iteration should follow.
    pub ended: Option<(Stopped, String)>,
}

/// The loss of all rows at some parameters.
#[derive(Clone, Copy, Debug)]
struct Known {
    loss: f64,
    weight: f64,
    penalty: f64,
}

impl Known {
    /// What is minimised.
    fn value(self) -> f64 {
        self.loss / self.weight + self.penalty
    }

    fn outcome(self) -> Outcome {
        Outcome::Done { loss: self.loss, weight: self.weight, penalty: self.penalty }
    }
}

/// How a line search ended.
enum Searched {
    /// At a better point.
    Moved(Known),
    /// At no better point.
    Stuck,
    /// In the middle, because the user asked.
    Stopped,
}

impl<T: Real> Lbfgs<T> {
    /// Room for one `fit` with `m` pairs.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(limits: Limits, m: usize, plan: &Plan) -> Result<Lbfgs<T>, Error> {
        let (x, gradient, direction) = (Params::zeroed(plan)?, Params::zeroed(plan)?, Params::zeroed(plan)?);
        let (at_x, ended, alphas) = (None, None, vec![0.0; m]);
        Ok(Lbfgs { limits, x, gradient, direction, alphas, at_x, evaluations: 0, step_length: 0.0, ended })
    }

    /// One iteration; `evaluate` leaves the gradient in the step.
    ///
    /// The outcome is that of the parameters afterwards. [`Outcome::Diverged`] only where the first ones have no finite
    /// loss; that and [`Outcome::Stopped`] leave the parameters as they were.
    pub fn iterate(
        &mut self,
        isa: Isa,
        pairs: &mut Pairs<T>,
        params: &mut Params<T>,
        step: &mut Step<T>,
        mut evaluate: impl FnMut(&mut Step<T>, &Params<T>) -> Outcome,
    ) -> Outcome {
        // Between two iterations a callback may have changed the parameters.
        let known = self.at_x.filter(|_| self.x[..] == params[..]);
        let start = match known {
            Some(known) => known,
            None => {
                self.x.copy_from_slice(params);
                self.evaluations += 1;
                match evaluate(step, params) {
                    Outcome::Done { loss, weight, penalty } => Known { loss, weight, penalty },
                    other => return other,
                }
            }
        };
        self.gradient.copy_from_slice(step.gradient());
        self.at_x = Some(start);
        self.step_length = 0.0;
        if known.is_none() && self.is_flat(step) {
            return start.outcome();
        }
        loop {
            match self.search(isa, pairs, params, step, start.value(), &mut evaluate) {
                Searched::Moved(end) => {
                    self.learn(isa, pairs, params, step);
                    self.x.copy_from_slice(params);
                    self.at_x = Some(end);
                    self.judge(start.value(), end.value(), step);
                    return end.outcome();
                }
                Searched::Stopped => {
                    params.copy_from_slice(&self.x);
                    self.at_x = None;
                    return Outcome::Stopped;
                }
                // What the pairs say about the loss may be wrong: once more along the gradient.
                Searched::Stuck if pairs.len() > 0 => pairs.clear(),
                Searched::Stuck => {
                    let message = format!(
                        "no step along the gradient lowers the loss, whose largest derivative is {:.1e}: it is as low as \
                         {} can tell, or not smooth there",
                        largest(&self.gradient),
                        T::NAME
                    );
                    self.ended = Some((Stopped::LineSearch, message));
                    params.copy_from_slice(&self.x);
                    // Metrics and gradient are again those of where the iteration began.
                    self.evaluations += 1;
                    return evaluate(step, params);
                }
            }
        }
    }

    /// Looks for a better point along -H g; leaves it, or the last one tried, in `params`.
    fn search(
        &mut self,
        isa: Isa,
        pairs: &mut Pairs<T>,
        params: &mut Params<T>,
        step: &mut Step<T>,
        start: f64,
        evaluate: &mut impl FnMut(&mut Step<T>, &Params<T>) -> Outcome,
    ) -> Searched {
        pairs.direction(isa, &self.gradient, &mut self.alphas, &mut self.direction);
        let mut slope = dot(isa, &self.gradient, &self.direction);
        if pairs.len() > 0 && !(slope < 0.0 && slope.is_finite()) {
            pairs.clear();
            pairs.direction(isa, &self.gradient, &mut self.alphas, &mut self.direction);
            slope = dot(isa, &self.gradient, &self.direction);
        }
        if !(slope < 0.0 && slope.is_finite()) {
            return Searched::Stuck;
        }
        // The gradient says nothing about how far to go: the first step has the length 1.
        let mut t = if pairs.len() > 0 { 1.0 } else { 1.0 / (-slope).sqrt() };
        let noise = rounding::<T>() * start.abs();
        let mut line = LineSearch::new(start, slope, t, LONGEST, noise);
        let (mut tries, mut rescues) = (0, 0);
        while tries < SEARCH_LIMIT {
            params.copy_from_slice(&self.x);
            add_multiple(isa, t, &self.direction, params);
            let known = if all_finite(isa, params) {
                self.evaluations += 1;
                match evaluate(step, params) {
                    Outcome::Done { loss, weight, penalty } => Some(Known { loss, weight, penalty }),
                    Outcome::Stopped | Outcome::Raised => return Searched::Stopped,
                    Outcome::Diverged(_) => None,
                }
            } else {
                None
            };
            let finite = known.map(|known| (known, dot(isa, step.gradient(), &self.direction)));
            let Some((known, slope_here)) = finite.filter(|(_, slope)| slope.is_finite()) else {
                // Too far. Anything longer is, too.
                rescues += 1;
                if rescues > RESCUE_LIMIT {
                    return Searched::Stuck;
                }
                let longest = 0.5 * t;
                t *= SHORTER;
                line = LineSearch::new(start, slope, t, longest, noise);
                continue;
            };
            tries += 1;
            match line.next(t, known.value(), slope_here) {
                Next::Try(next) => t = next,
                Next::Found | Next::Best if t > 0.0 && known.value() <= start + noise => {
                    self.step_length = t;
                    return Searched::Moved(known);
                }
                Next::Found | Next::Best => return Searched::Stuck,
            }
        }
        Searched::Stuck
    }

    /// Remembers the step from `x` to the parameters and what it did to the gradient.
    fn learn(&mut self, isa: Isa, pairs: &mut Pairs<T>, params: &Params<T>, step: &Step<T>) {
        let slope = dot(isa, &self.gradient, &self.direction);
        // A curvature that is nothing but rounding would make the next direction very long.
        let least = -f64::EPSILON * self.step_length * slope;
        let (x, g) = (&self.x, &self.gradient);
        pairs.push(isa, least, |s, y| {
            difference(params, x, s);
            difference(step.gradient(), g, y);
        });
    }

    /// Whether the gradient is that of a minimum; then no iteration follows.
    fn is_flat(&mut self, step: &Step<T>) -> bool {
        let (largest, gtol) = (largest(step.gradient()), self.limits.gtol);
        let flat = largest <= gtol;
        if flat {
            let message = format!("the largest derivative of the loss, {largest:.2e}, is not above gtol={gtol:e}");
            self.ended = Some((Stopped::Gtol, message));
        }
        flat
    }

    /// Whether another iteration is worth it.
    fn judge(&mut self, before: f64, after: f64, step: &Step<T>) {
        if self.is_flat(step) {
            return;
        }
        let Limits { ftol, max_fun, .. } = self.limits;
        let decrease = (before - after) / before.abs().max(after.abs()).max(1.0);
        if decrease <= ftol {
            let message =
                format!("the loss fell by {decrease:.2e} of itself (or of 1), not by more than ftol={ftol:e}");
            self.ended = Some((Stopped::Ftol, message));
        } else if self.evaluations >= max_fun {
            let message = format!("the loss was evaluated {}, max_fun={max_fun}", counted(self.evaluations, "time"));
            self.ended = Some((Stopped::MaxFun, message));
        }
    }
}

/// Relative differences below this are rounding of a mean of losses of this type.
fn rounding<T: Real>() -> f64 {
    if T::NAME == "float32" { f64::from(f32::EPSILON) } else { f64::EPSILON }
}

/// `to <- a - b`
fn difference<T: Real>(a: &[T], b: &[T], to: &mut [T]) {
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = T::from_f64(a.to_f64() - b.to_f64());
    }
}

/// The largest |x|.
fn largest<T: Real>(x: &[T]) -> f64 {
    x.iter().fold(0.0, |largest, x| x.to_f64().abs().max(largest))
}
