//! A line search: how far to go along a direction, by the loss and its slope alone.
//!
//! In: the loss f(0) and the slope f'(0) < 0, then f and f' wherever the search asks for them. Out: a step t with the strong
//! Wolfe conditions, f(t) <= f(0) + c1 t f'(0) and |f'(t)| <= c2 |f'(0)|. It knows no network and never evaluates anything.
//!
//! The algorithm is Moré and Thuente's, "Line search algorithms with guaranteed sufficient decrease" (ACM TOMS 20, 1994),
//! with the constants of L-BFGS-B (Zhu, Byrd, Lu, Nocedal 1997), so that it takes the steps that SciPy's takes.

/// c1, how much of the promised decrease is enough.
const DECREASE: f64 = 1e-3;
/// c2, how much of the slope may be left.
const SLOPE_LEFT: f64 = 0.9;
/// An interval around the minimum that is narrower than this, relative to its end, is not divided further.
const NARROW: f64 = 0.1;
/// Without an upper end of the interval the next step lies so many times the last progress ahead, at least and at most.
const AHEAD: (f64, f64) = (1.1, 4.0);
/// Where the interval did not shrink to this part in two rounds, it is halved.
const SHRINK: f64 = 0.66;

/// f and f' at a step.
#[derive(Clone, Copy, Debug)]
struct Point {
    t: f64,
    f: f64,
    slope: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Find f and f' at this step.
    Try(f64),
    /// The last step is good.
    Found,
    /// The last step is the best that can be told apart from its neighbours; it may be no better than 0.
    Best,
}

/// A search on its way.
#[derive(Clone, Debug)]
pub struct LineSearch {
    start: Point,
    /// The best point so far: one end of the interval that holds a minimum.
    low: Point,
    /// The other end, once there is one.
    high: Point,
    has_interval: bool,
    /// Whether f still has to fall below the line of sufficient decrease with a rising slope.
    first_stage: bool,
    width: f64,
    width_before: f64,
    /// Between these the next step may lie.
    limits: (f64, f64),
    longest: f64,
    /// Differences of f below this are rounding.
    noise: f64,
}

impl LineSearch {
    /// A search from a point with loss `f` and slope `slope`, with steps up to `longest`.
    ///
    /// `noise` is the size below which a difference of losses is rounding: there the slope alone decides (Hager and
    /// Zhang's approximate conditions, SIAM J. Optim. 16, 2005).
    pub fn new(f: f64, slope: f64, first: f64, longest: f64, noise: f64) -> LineSearch {
        let start = Point { t: 0.0, f, slope };
        LineSearch {
            start,
            low: start,
            high: start,
            has_interval: false,
            first_stage: true,
            width: longest,
            width_before: 2.0 * longest,
            limits: (0.0, first + AHEAD.1 * first),
            longest,
            noise,
        }
    }

    /// What follows from f and f' at the step t that was asked for.
    pub fn next(&mut self, t: f64, f: f64, slope: f64) -> Next {
        let sloping = DECREASE * self.start.slope;
        let line = self.start.f + t * sloping;
        if self.first_stage && f <= line && slope >= 0.0 {
            self.first_stage = false;
        }
        let flat_enough = slope.abs() <= -SLOPE_LEFT * self.start.slope;
        let indistinguishable = (f - self.start.f).abs() <= self.noise;
        if flat_enough && (f <= line || indistinguishable) {
            return Next::Found;
        }
        let (lower, upper) = self.limits;
        let no_room = self.has_interval && (t <= lower || t >= upper || upper - lower <= NARROW * upper);
        let at_the_end = t >= self.longest && f <= line && slope <= sloping;
        if no_room || at_the_end || t == 0.0 {
            return Next::Best;
        }
        let here = Point { t, f, slope };
        let next = if self.first_stage && f <= self.low.f && f > line {
            // Lower, but not low enough: the search goes on for the minimum of f(t) - c1 t f'(0).
            let lowered = |p: Point| Point { t: p.t, f: p.f - p.t * sloping, slope: p.slope - sloping };
            let raised = |p: Point| Point { t: p.t, f: p.f + p.t * sloping, slope: p.slope + sloping };
            (self.low, self.high) = (lowered(self.low), lowered(self.high));
            let next = self.trial(lowered(here));
            (self.low, self.high) = (raised(self.low), raised(self.high));
            next
        } else {
            self.trial(here)
        };
        self.narrowed(next)
    }

    /// The next step by interpolation, and the interval with `here` as one of its ends: section 4 of the paper.
    fn trial(&mut self, here: Point) -> f64 {
        let (low, high) = (self.low, self.high);
        let (lower, upper) = self.limits;
        let opposite = here.slope * low.slope.signum() < 0.0;
        let cubic = Cubic::between(low, here);
        let next = if here.f > low.f {
            // 1: higher than the best point. A minimum lies between them; the cubic, unless the parabola is nearer.
            self.has_interval = true;
            let (cubic, parabola) = (cubic.minimum_from_low(), parabola_by_values(low, here));
            if (cubic - low.t).abs() < (parabola - low.t).abs() { cubic } else { cubic + (parabola - cubic) / 2.0 }
        } else if opposite {
            // 2: lower, with a slope of the other sign. The minimum lies between them: the farther of both.
            self.has_interval = true;
            let (cubic, secant) = (cubic.minimum_from_here(), parabola_by_slopes(low, here));
            if (cubic - here.t).abs() > (secant - here.t).abs() { cubic } else { secant }
        } else if here.slope.abs() < low.slope.abs() {
            // 3: lower, with a slope of the same sign that becomes flatter.
            let secant = parabola_by_slopes(low, here);
            let ahead = cubic.minimum_ahead(here.t > low.t).unwrap_or(if here.t > low.t { upper } else { lower });
            if self.has_interval {
                let nearer = if (ahead - here.t).abs() < (secant - here.t).abs() { ahead } else { secant };
                let limit = here.t + SHRINK * (high.t - here.t);
                if here.t > low.t { nearer.min(limit) } else { nearer.max(limit) }
            } else {
                let farther = if (ahead - here.t).abs() > (secant - here.t).abs() { ahead } else { secant };
                farther.clamp(lower, upper)
            }
        } else if self.has_interval {
            // 4: lower, with a slope of the same sign that becomes no flatter.
            Cubic::between(high, here).minimum_from_here()
        } else if here.t > low.t {
            upper
        } else {
            lower
        };
        if here.f > low.f {
            self.high = here;
        } else {
            if opposite {
                self.high = low;
            }
            self.low = here;
        }
        next
    }

    /// The step that is tried: within the interval, which must shrink.
    fn narrowed(&mut self, mut next: f64) -> Next {
        let (low, high) = (self.low.t, self.high.t);
        if self.has_interval {
            if (high - low).abs() >= SHRINK * self.width_before {
                next = low + (high - low) / 2.0;
            }
            (self.width_before, self.width) = (self.width, (high - low).abs());
            self.limits = (low.min(high), low.max(high));
        } else {
            self.limits = (next + (AHEAD.0 * (next - low)), next + AHEAD.1 * (next - low));
        }
        next = next.clamp(0.0, self.longest);
        let (lower, upper) = self.limits;
        let no_room = self.has_interval && (next <= lower || next >= upper || upper - lower <= NARROW * upper);
        // Interpolation of anything but finite numbers gives none; the best point is always one.
        Next::Try(if no_room || !next.is_finite() { low } else { next })
    }
}

/// The cubic through two points with their slopes, in the numbers of the paper.
struct Cubic {
    low: Point,
    here: Point,
    theta: f64,
    gamma: f64,
    /// Whether the root under gamma is of a positive number.
    has_minimum: bool,
}

impl Cubic {
    fn between(low: Point, here: Point) -> Cubic {
        let theta = 3.0 * (low.f - here.f) / (here.t - low.t) + low.slope + here.slope;
        // Scaled, so that squares stay finite.
        let scale = theta.abs().max(low.slope.abs()).max(here.slope.abs());
        let under = (theta / scale).powi(2) - (low.slope / scale) * (here.slope / scale);
        let gamma = scale * under.max(0.0).sqrt();
        Cubic { low, here, theta, gamma, has_minimum: under > 0.0 }
    }

    fn minimum_from_low(&self) -> f64 {
        let gamma = if self.here.t < self.low.t { -self.gamma } else { self.gamma };
        let p = gamma - self.low.slope + self.theta;
        let q = gamma - self.low.slope + gamma + self.here.slope;
        self.low.t + p / q * (self.here.t - self.low.t)
    }

    fn minimum_from_here(&self) -> f64 {
        let gamma = if self.here.t > self.low.t { -self.gamma } else { self.gamma };
        let p = gamma - self.here.slope + self.theta;
        let q = gamma - self.here.slope + gamma + self.low.slope;
        self.here.t + p / q * (self.low.t - self.here.t)
    }

    /// The minimum, if the cubic has one beyond `here`.
    fn minimum_ahead(&self, forward: bool) -> Option<f64> {
        let gamma = if forward { -self.gamma } else { self.gamma };
        let p = gamma - self.here.slope + self.theta;
        let q = gamma + (self.low.slope - self.here.slope) + gamma;
        let r = p / q;
        (r < 0.0 && self.has_minimum).then_some(self.here.t + r * (self.low.t - self.here.t))
    }
}

/// The minimum of the parabola through both points with the slope of the first.
fn parabola_by_values(low: Point, here: Point) -> f64 {
    let length = here.t - low.t;
    low.t + low.slope / ((low.f - here.f) / length + low.slope) / 2.0 * length
}

/// The minimum of the parabola with both slopes.
fn parabola_by_slopes(low: Point, here: Point) -> f64 {
    here.t + here.slope / (here.slope - low.slope) * (low.t - here.t)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches along `f`, which gives value and slope: the step, how often f was evaluated, and how it ended.
    fn search(f: impl Fn(f64) -> (f64, f64), first: f64) -> (f64, usize, Next) {
        let (value, slope) = f(0.0);
        let mut line = LineSearch::new(value, slope, first, 1e10, 0.0);
        let mut t = first;
        for evaluations in 1..=20 {
            let (value, slope) = f(t);
            match line.next(t, value, slope) {
                Next::Try(next) => t = next,
                ended => return (t, evaluations, ended),
            }
        }
        panic!("no step found from {first}");
    }

    fn is_strong_wolfe(f: impl Fn(f64) -> (f64, f64), t: f64) -> bool {
        let ((start, start_slope), (value, slope)) = (f(0.0), f(t));
        value <= start + DECREASE * t * start_slope && slope.abs() <= -SLOPE_LEFT * start_slope
    }

    type Function = Box<dyn Fn(f64) -> (f64, f64)>;

    /// The functions 5.1, 5.2 and 5.3 of the paper, with their minima.
    fn functions() -> Vec<(&'static str, f64, Function)> {
        let valley = |t: f64| {
            let beta = 2.0;
            (-t / (t * t + beta), (t * t - beta) / (t * t + beta).powi(2))
        };
        let late = |t: f64| {
            let beta = 0.004;
            ((t + beta).powi(5) - 2.0 * (t + beta).powi(4), 5.0 * (t + beta).powi(4) - 8.0 * (t + beta).powi(3))
        };
        let waves = |t: f64| {
            let (beta, length) = (0.01, 39.0);
            let frame = if t <= 1.0 - beta {
                (1.0 - t, -1.0)
            } else if t >= 1.0 + beta {
                (t - 1.0, 1.0)
            } else {
                ((t - 1.0).powi(2) / (2.0 * beta) + beta / 2.0, (t - 1.0) / beta)
            };
            let pi = std::f64::consts::PI;
            let wave = 2.0 * (1.0 - beta) / (length * pi) * (length * pi / 2.0 * t).sin();
            (frame.0 + wave, frame.1 + (1.0 - beta) * (length * pi / 2.0 * t).cos())
        };
        vec![("valley", 2f64.sqrt(), Box::new(valley)), ("late", 1.6, Box::new(late)), ("waves", 1.0, Box::new(waves))]
    }

    #[test]
    fn the_functions_of_the_paper_are_searched_from_steps_of_every_size() {
        for (name, minimum, f) in functions() {
            for first in [1e-3, 1e-1, 1e1, 1e3] {
                let (t, evaluations, ended) = search(&f, first);
                // Where nothing is flat enough within a tenth of the minimum, what is found is the best of its neighbours.
                let near = ended == Next::Best && (t - minimum).abs() <= NARROW * minimum;
                assert!(is_strong_wolfe(&f, t) || near, "{name} from {first}: {t} {ended:?}");
                // Their tables 1 to 3 take at most 17, and ask for flatter slopes.
                assert!(evaluations <= 17, "{name} from {first}: {evaluations} evaluations");
            }
        }
    }

    #[test]
    fn a_parabola_ends_at_a_step_within_the_conditions_whatever_its_width() {
        for width in [1e-8, 1e-3, 1.0, 1e3, 1e8] {
            let f = |t: f64| ((t / width - 1.0).powi(2), 2.0 * (t / width - 1.0) / width);
            assert!(is_strong_wolfe(f, search(f, width * 0.02).0));
            assert!(is_strong_wolfe(f, search(f, width * 500.0).0));
        }
    }

    #[test]
    fn a_straight_line_down_goes_to_the_longest_step() {
        let mut line = LineSearch::new(0.0, -1.0, 1.0, 100.0, 0.0);
        let mut t = 1.0;
        while let Next::Try(next) = line.next(t, -t, -1.0) {
            assert!(next > t);
            t = next;
        }
        assert_eq!(t, 100.0);
    }

    #[test]
    fn where_only_rounding_differs_the_slope_decides() {
        // The values are all the same to seven digits; the slope says that the minimum is at 1.
        let mut line = LineSearch::new(1.0, -1e-9, 1.0, 1e10, 1e-7);
        assert_eq!(line.next(1.0, 1.0 + 5e-8, 1e-12), Next::Found);
        let mut line = LineSearch::new(1.0, -1e-9, 1.0, 1e10, 0.0);
        assert_ne!(line.next(1.0, 1.0 + 5e-8, 1e-12), Next::Found);
    }

    #[test]
    fn values_that_are_no_numbers_end_the_search_at_the_best_step() {
        let mut line = LineSearch::new(1.0, -1.0, 1.0, 1e10, 0.0);
        assert_eq!(line.next(1.0, f64::MAX, f64::MAX), Next::Try(0.0));
        assert_eq!(line.next(0.0, 1.0, -1.0), Next::Best);
    }
}
