//! The losses beside the cross entropy of softmax against plain formulas in `f64`.

use crate::table::{CLASS_LOSSES, Case, HEAD_LOSSES, POINT_LOSSES, assert_near, epsilon};
use crate::{for_every_shape, softmax};
use dnn_kernels::{ClassLoss, HeadLoss, Isa, PointLoss, Real, Target};

/// A number, and the size of the largest terms it is made of, to which rounding is relative.
#[derive(Clone, Copy)]
struct Sized(f64, f64);

/// One term.
fn one(x: f64) -> Sized {
    Sized(x, x.abs())
}

/// The sum of two terms.
fn sum(x: f64, y: f64) -> Sized {
    Sized(x + y, x.abs() + y.abs())
}

/// Value and slope of a point loss.
fn point(loss: PointLoss, y: f64, t: f64) -> (Sized, Sized) {
    let r = y - t;
    let margin = (-t).mul_add(y, 1.0).max(0.0);
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let softplus = |z: f64| z.max(0.0) + (-z.abs()).exp().ln_1p();
    let cross_entropy = t * softplus(-y) + (1.0 - t) * softplus(y);
    match loss {
        PointLoss::Squared => (one(r * r), one(2.0 * r)),
        PointLoss::Absolute => (one(r.abs()), one(if r == 0.0 { 0.0 } else { r.signum() })),
        PointLoss::Huber { delta } if r.abs() <= delta => (one(r * r / 2.0), one(r)),
        PointLoss::Huber { delta } => (one(delta * (r.abs() - delta / 2.0)), one(delta * r.signum())),
        PointLoss::Hinge => (one(margin), one(if margin > 0.0 { -t } else { 0.0 })),
        PointLoss::SquaredHinge => (one(margin * margin), one(-2.0 * t * margin)),
        PointLoss::SigmoidCrossEntropy => (one(cross_entropy), sum(sigmoid(y), -t)),
        PointLoss::SigmoidFocal { gamma } => {
            let u = t * sigmoid(-y) + (1.0 - t) * sigmoid(y);
            let u_slope = (1.0 - 2.0 * t) * sigmoid(y) * sigmoid(-y);
            let of_power = gamma * u.powf(gamma - 1.0) * u_slope * cross_entropy;
            let slope = u.powf(gamma) * (sigmoid(y) - t);
            // u_slope has a difference in it, and the powers a logarithm of some size.
            let size = 4.0 * (u.powf(gamma) + of_power.abs());
            (Sized(u.powf(gamma) * cross_entropy, 4.0 * u.powf(gamma) * cross_entropy), Sized(slope + of_power, size))
        }
        PointLoss::LogCosh => {
            // By the series where cosh rounds to 1.
            let value = if r.abs() < 1e-3 { r * r / 2.0 - r.powi(4) / 12.0 } else { r.cosh().ln() };
            (one(value), one(r.tanh()))
        }
        PointLoss::Poisson { epsilon } => (sum(y, -t * (y + epsilon).ln()), sum(1.0, -t / (y + epsilon))),
        PointLoss::PoissonOfLog => (sum(y.exp(), -t * y), sum(y.exp(), -t)),
        PointLoss::Gamma => (sum(y.ln(), t / y), sum(1.0 / y, -t / (y * y))),
        PointLoss::GammaOfLog => (sum(y, t * (-y).exp()), sum(1.0, -t * (-y).exp())),
        PointLoss::Tweedie { p } => {
            let value = sum(y.powf(2.0 - p) / (2.0 - p), -t * y.powf(1.0 - p) / (1.0 - p));
            (value, sum(y.powf(1.0 - p), -t * y.powf(-p)))
        }
        PointLoss::TweedieOfLog { p } => {
            let (of_y, of_t) = (((2.0 - p) * y).exp(), t * ((1.0 - p) * y).exp());
            (sum(of_y / (2.0 - p), -of_t / (1.0 - p)), sum(of_y, -of_t))
        }
        PointLoss::SquaredLog => {
            let (a, b) = (y.ln_1p(), t.ln_1p());
            (Sized((a - b).powi(2), (a + b).powi(2)), Sized(2.0 * (a - b) / (1.0 + y), 2.0 * (a + b) / (1.0 + y)))
        }
        PointLoss::Percentage => (one(100.0 * r.abs() / t), one(100.0 * if r == 0.0 { 0.0 } else { r.signum() } / t)),
    }
}

fn point_losses_follow_their_formulas<T: Real>(rows: usize, n: usize, extra: usize) {
    let case = Case::<T>::new(rows, n, extra);
    let eps = epsilon::<T>();
    let isa = Isa::available()[0];
    for loss in POINT_LOSSES {
        let (gradient, losses) = case.point(isa, loss);
        let (y, t) = (case.outputs(loss), case.targets(loss));
        for i in 0..rows {
            let what = || format!("{loss:?} {} {rows} x {n}, row {i}", T::NAME);
            let (mut value, mut size) = (0.0, 0.0);
            for j in 0..n {
                let (Sized(of_value, value_size), Sized(slope, slope_size)) = point(loss, y.at(i, j), t.at(i, j));
                (value, size) = (value + of_value, size + value_size);
                let scale = case.scale[i].to_f64();
                assert_near(gradient.at(i, j), slope * scale, 8.0 * eps * slope_size * scale, what);
            }
            // A few roundings of each term, and nine of the sum of a lane; the twin of ln cosh loses an epsilon near 0.
            assert_near(losses[i], value, 20.0 * eps * size + f64::EPSILON * n as f64, what);
        }
    }
}

#[test]
fn point_losses_and_their_slopes_follow_their_formulas() {
    for_every_shape(point_losses_follow_their_formulas::<f32>);
    for_every_shape(point_losses_follow_their_formulas::<f64>);
}

/// h(t, y) and dh/dy of a class loss.
fn class(loss: ClassLoss, n: usize, t: f64, y: f64) -> (f64, f64) {
    match loss {
        ClassLoss::Smoothed { smoothing } => {
            let t = (1.0 - smoothing) * t + smoothing / n as f64;
            (-t * y.ln(), -t / y)
        }
        ClassLoss::Focal { gamma } if y < 1.0 => {
            let rest = 1.0 - y;
            let slope = gamma * rest.powf(gamma - 1.0) * y.ln() - rest.powf(gamma) / y;
            (-t * rest.powf(gamma) * y.ln(), t * slope)
        }
        ClassLoss::Focal { .. } => (0.0, 0.0),
        ClassLoss::Divergence if t == 0.0 => (0.0, 0.0),
        ClassLoss::Divergence => (t * (t / y).ln(), -t / y),
    }
}

fn class_losses_follow_their_formulas<T: Real>(rows: usize, n: usize, extra: usize) {
    let case = Case::<T>::new(rows, n, extra);
    let eps = epsilon::<T>();
    let isa = Isa::available()[0];
    let dense = [&case.one_hot, &case.soft, &case.loose].map(|t| (Target::Dense(t.view()), t));
    for loss in CLASS_LOSSES {
        for (target, t) in dense.into_iter().chain([(Target::Labels(&case.labels), &case.one_hot)]) {
            let (delta, losses) = case.class(isa, loss, target);
            for i in 0..rows {
                let what = || format!("{loss:?} {} {rows} x {n}, row {i}", T::NAME);
                let (y, ..) = softmax(&case.z.row(i));
                let found: Vec<_> = (0..n).map(|j| class(loss, n, t.at(i, j), y[j])).collect();
                let value: f64 = found.iter().map(|(value, _)| value).sum();
                // -ln y is at most 20 here, and 1 - y of the twin has the rounding of y.
                let total: f64 = (0..n).map(|j| t.at(i, j)).sum::<f64>() + 1.0;
                assert_near(losses[i], value, 60.0 * eps * total * 20.0, what);
                let shares: f64 = found.iter().zip(&y).map(|((_, slope), y)| slope * y).sum();
                for j in 0..n {
                    let slope = (found[j].1 * y[j] - y[j] * shares) * case.scale[i].to_f64();
                    assert_near(delta.at(i, j), slope, 200.0 * eps * total, what);
                }
            }
        }
    }
}

#[test]
fn losses_over_classes_and_their_slopes_follow_their_formulas() {
    for_every_shape(class_losses_follow_their_formulas::<f32>);
    for_every_shape(class_losses_follow_their_formulas::<f64>);
}

fn head_losses_follow_their_formulas<T: Real>(rows: usize, m: usize, extra: usize) {
    let case = Case::<T>::new(rows, m, extra);
    let eps = epsilon::<T>();
    let isa = Isa::available()[0];
    for loss in HEAD_LOSSES {
        let (gradient, losses) = case.head(isa, loss);
        for i in 0..rows {
            let what = || format!("{loss:?} {} {rows} x {m}, row {i}", T::NAME);
            let scale = case.scale[i].to_f64();
            let (mut value, mut size) = (0.0, 0.0);
            for j in 0..m {
                let t = case.t.at(i, j);
                match loss {
                    HeadLoss::Quantiles(q) => {
                        for (head, &q) in q.iter().enumerate() {
                            let r = t - case.heads.at(i, head * m + j);
                            value += (q * r).max((q - 1.0) * r);
                            let slope = if r > 0.0 { -q } else { 1.0 - q } * scale;
                            assert_near(gradient.at(i, head * m + j), slope, 4.0 * eps * scale, what);
                        }
                        size = value;
                    }
                    HeadLoss::Gaussian { epsilon } => {
                        let (y, s) = (case.heads.at(i, j), case.heads.at(i, m + j));
                        let v = s.exp().max(epsilon);
                        value += 0.5 * (v.ln() + (t - y).powi(2) / v);
                        size += v.ln().abs() + (t - y).powi(2) / v;
                        assert_near(
                            gradient.at(i, j),
                            (y - t) / v * scale,
                            8.0 * eps * (y - t).abs() / v * scale,
                            what,
                        );
                        let slope = 0.5 * (1.0 / v - (t - y).powi(2) / (v * v)) * s.exp() * scale;
                        let of_slope = (1.0 / v + (t - y).powi(2) / (v * v)) * s.exp() * scale;
                        assert_near(gradient.at(i, m + j), slope, 16.0 * eps * of_slope, what);
                    }
                }
            }
            assert_near(losses[i], value, 20.0 * eps * size, what);
        }
    }
}

#[test]
fn losses_of_several_heads_and_their_slopes_follow_their_formulas() {
    for_every_shape(head_losses_follow_their_formulas::<f32>);
    for_every_shape(head_losses_follow_their_formulas::<f64>);
}
