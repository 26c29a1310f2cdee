//! Softmax, losses and sums against plain formulas: every tail, every set, strides beyond the padding, extremes.
//!
//! Gaps between the rows of what is only read hold NaN, those of what is written a canary: who looks or writes where it
//! should not is seen.
#![expect(clippy::needless_range_loop, reason = "i and j are the row and the column, in several tables at once")]

use dnn_kernels::{
    Isa, PointLoss, Real, Target, View, ViewMut, multiply_softmax_slope, padded, point_loss, softmax_cross_entropy,
    softmax_in_place, sum_of_magnitudes, sum_of_squares,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Written between and behind the rows of every output; must still be there afterwards.
const CANARY: f64 = -12345.0;

const POINT_LOSSES: [PointLoss; 7] = [
    PointLoss::Squared,
    PointLoss::Absolute,
    PointLoss::Huber { delta: 1.0 },
    PointLoss::Huber { delta: 0.25 },
    PointLoss::Hinge,
    PointLoss::SquaredHinge,
    PointLoss::SigmoidCrossEntropy,
];

fn epsilon<T: Real>() -> f64 {
    if T::NAME == "float32" { f64::from(f32::EPSILON) } else { f64::EPSILON }
}

/// Numbers in a range, the same in every run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) as f64 / (1u64 << 32) as f64
    }
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

/// Rows of numbers with gaps between and behind them.
#[derive(Clone)]
struct Table<T> {
    data: Vec<T>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<T: Real> Table<T> {
    fn new(rows: usize, columns: usize, stride: usize, gap: f64, mut fill: impl FnMut(usize, usize) -> f64) -> Self {
        let mut data = vec![T::from_f64(gap); rows * stride + 2 * T::LANES];
        for i in 0..rows {
            for j in 0..columns {
                data[i * stride + j] = T::from_f64(fill(i, j));
            }
        }
        Table { data, rows, columns, stride }
    }
    /// What a kernel reads without padding.
    fn input(rows: usize, columns: usize, extra: usize, fill: impl FnMut(usize, usize) -> f64) -> Self {
        Self::new(rows, columns, columns + extra, f64::NAN, fill)
    }
    /// What a kernel writes: the padding is not zero before.
    fn output(rows: usize, columns: usize, extra: usize) -> Self {
        Self::new(rows, columns, padded::<T>(columns) + extra, CANARY, |_, _| 7.0)
    }
    /// One row.
    fn row_of(numbers: &[f64]) -> Self {
        Self::input(1, numbers.len(), 0, |_, j| numbers[j])
    }
    fn zero_padding(mut self) -> Self {
        for i in 0..self.rows {
            self.data[i * self.stride..][self.columns..padded::<T>(self.columns)].fill(T::ZERO);
        }
        self
    }
    /// Where the last row ends, when rows are so wide.
    fn end(&self, width: usize) -> usize {
        if self.rows == 0 { 0 } else { (self.rows - 1) * self.stride + width }
    }
    fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.stride + j].to_f64()
    }
    fn row(&self, i: usize) -> Vec<f64> {
        (0..self.columns).map(|j| self.at(i, j)).collect()
    }
    fn view(&self) -> View<'_, T> {
        View::new(&self.data[..self.end(self.columns)], self.rows, self.columns, self.stride)
    }
    fn padded_view(&self) -> View<'_, T> {
        View::new(&self.data[..self.end(padded::<T>(self.columns))], self.rows, self.columns, self.stride)
    }
    fn view_mut(&mut self) -> ViewMut<'_, T> {
        let end = self.end(padded::<T>(self.columns));
        ViewMut::new(&mut self.data[..end], self.rows, self.columns, self.stride)
    }
    /// Zeros in the padding, canaries in the gaps.
    fn assert_gaps(&self, what: &str) {
        let width = padded::<T>(self.columns);
        for (at, x) in self.data.iter().enumerate() {
            let (i, j) = (at / self.stride, at % self.stride);
            if i >= self.rows || j >= width {
                assert!(x.to_f64() == CANARY, "{what}: {x} was written outside, at ({i}, {j})");
            } else if j >= self.columns {
                assert!(x.to_f64() == 0.0, "{what}: the padding at ({i}, {j}) is {x}");
            }
        }
    }
    fn bits(&self) -> Vec<u64> {
        (0..self.rows).flat_map(|i| self.row(i)).map(f64::to_bits).collect()
    }
}

/// Everything that the kernels need, for one shape.
struct Case<T> {
    z: Table<T>,
    one_hot: Table<T>,
    soft: Table<T>,
    /// Rows that add up to anything, zeros among them.
    loose: Table<T>,
    labels: Vec<u32>,
    y: Table<T>,
    t: Table<T>,
    signs: Table<T>,
    scale: Vec<T>,
    extra: usize,
}

impl<T: Real> Case<T> {
    fn new(rows: usize, n: usize, extra: usize) -> Self {
        let mut random = Random::new((1000 * rows + n) as u64);
        let labels: Vec<u32> = (0..rows).map(|_| random.below(n) as u32).collect();
        let loose = Table::input(rows, n, extra, |_, _| if random.unit() < 0.2 { 0.0 } else { random.unit() });
        let sums: Vec<f64> = (0..rows).map(|i| loose.row(i).iter().sum::<f64>().max(0.1)).collect();
        let mut random = Random::new((1000 * rows + n) as u64 + 1);
        Case {
            z: Table::input(rows, n, extra, |_, _| random.between(-8.0, 8.0)),
            one_hot: Table::input(rows, n, extra, |i, j| f64::from(u8::from(labels[i] as usize == j))),
            soft: Table::input(rows, n, extra, |i, j| loose.at(i, j) / sums[i]),
            y: Table::input(rows, n, extra, |_, _| random.between(-3.0, 3.0)),
            t: Table::input(rows, n, extra, |_, _| random.unit()),
            signs: Table::input(rows, n, extra, |_, _| if random.unit() < 0.5 { -1.0 } else { 1.0 }),
            scale: (0..rows).map(|_| T::from_f64(random.between(0.01, 2.0))).collect(),
            labels,
            loose,
            extra,
        }
    }
    fn output(&self) -> Table<T> {
        Table::output(self.z.rows, self.z.columns, self.extra)
    }
    fn no_losses(&self) -> Vec<f64> {
        vec![CANARY; self.z.rows]
    }
    fn softmax(&self, isa: Isa) -> Table<T> {
        let mut a = self.output();
        for i in 0..self.z.rows {
            let from = &self.z.data[i * self.z.stride..][..self.z.columns];
            a.data[i * a.stride..][..self.z.columns].copy_from_slice(from);
        }
        softmax_in_place(isa, a.view_mut());
        a
    }
    fn softmax_slope(&self, isa: Isa) -> Table<T> {
        let a = self.softmax(isa);
        let mut delta = self.output();
        for i in 0..self.y.rows {
            let from = &self.y.data[i * self.y.stride..][..self.y.columns];
            delta.data[i * delta.stride..][..self.y.columns].copy_from_slice(from);
        }
        let mut delta = delta.zero_padding();
        multiply_softmax_slope(isa, a.padded_view(), delta.view_mut());
        delta
    }
    fn cross_entropy(&self, isa: Isa, target: Target<T>) -> (Table<T>, Vec<f64>) {
        let (mut delta, mut losses) = (self.output(), self.no_losses());
        softmax_cross_entropy(isa, self.z.view(), target, &self.scale, delta.view_mut(), &mut losses);
        (delta, losses)
    }
    fn targets(&self, loss: PointLoss) -> &Table<T> {
        if matches!(loss, PointLoss::Hinge | PointLoss::SquaredHinge) { &self.signs } else { &self.t }
    }
    fn point(&self, isa: Isa, loss: PointLoss) -> (Table<T>, Vec<f64>) {
        let (mut gradient, mut losses) = (self.output(), self.no_losses());
        let t = self.targets(loss).view();
        point_loss(isa, loss, self.y.view(), t, &self.scale, gradient.view_mut(), &mut losses);
        (gradient, losses)
    }
    /// Everything there is, with its name.
    fn all(&self, isa: Isa) -> Vec<(String, Table<T>, Vec<f64>)> {
        let mut all = vec![
            ("softmax".to_owned(), self.softmax(isa), vec![]),
            ("slope of softmax".to_owned(), self.softmax_slope(isa), vec![]),
        ];
        let dense = [("one-hot", &self.one_hot), ("soft", &self.soft), ("loose", &self.loose)];
        let targets = dense.map(|(name, t)| (name, Target::Dense(t.view())));
        for (name, target) in targets.into_iter().chain([("labels", Target::Labels(&self.labels))]) {
            let (delta, losses) = self.cross_entropy(isa, target);
            all.push((format!("cross entropy, {name}"), delta, losses));
        }
        for loss in POINT_LOSSES {
            let (gradient, losses) = self.point(isa, loss);
            all.push((format!("{loss:?}"), gradient, losses));
        }
        all
    }
}

/// One row count below, at and above the rows that share a logarithm (16 of float32, 8 of float64).
fn for_every_shape(mut check: impl FnMut(usize, usize, usize)) {
    for n in 1..=70 {
        for (rows, extra) in [(1, 0), (3, 5), (8, 1), (17, 0)] {
            check(rows, n, extra);
        }
    }
    for rows in 0..=40 {
        check(rows, 1 + rows % 19, rows % 3);
    }
}

fn same_on_every_set<T: Real>(rows: usize, n: usize, extra: usize) {
    let case = Case::<T>::new(rows, n, extra);
    let expected = case.all(Isa::SCALAR);
    for isa in Isa::available() {
        for ((name, table, losses), (_, twin, twin_losses)) in case.all(isa).iter().zip(&expected) {
            let what = format!("{name}, {} {isa:?}, {rows} rows of {n}, {extra} apart", T::NAME);
            table.assert_gaps(&what);
            assert_eq!(table.bits(), twin.bits(), "{what}");
            let bits = |losses: &[f64]| losses.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(losses), bits(twin_losses), "losses of {what}");
        }
    }
}

#[test]
fn every_set_gives_the_same_bits_at_every_width_and_stays_within_its_rows() {
    for_every_shape(same_on_every_set::<f32>);
    for_every_shape(same_on_every_set::<f64>);
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_company() {
    fn check<T: Real>(isa: Isa, n: usize) {
        let case = Case::<T>::new(21, n, 2);
        let (soft, labelled) = (
            case.cross_entropy(isa, Target::Dense(case.soft.view())),
            case.cross_entropy(isa, Target::Labels(&case.labels)),
        );
        for i in 0..21 {
            let z = Table::<T>::row_of(&case.z.row(i));
            let t = Table::<T>::row_of(&case.soft.row(i));
            for (target, company) in
                [(Target::Dense(t.view()), &soft), (Target::Labels(&case.labels[i..=i]), &labelled)]
            {
                let (mut delta, mut loss) = (Table::<T>::output(1, n, 0), [CANARY]);
                softmax_cross_entropy(isa, z.view(), target, &case.scale[i..=i], delta.view_mut(), &mut loss);
                assert_eq!(delta.row(0), company.0.row(i), "{isa:?} {} row {i} of {n} columns", T::NAME);
                assert_eq!(loss[0].to_bits(), company.1[i].to_bits(), "{isa:?} {} row {i} of {n} columns", T::NAME);
            }
        }
    }
    for isa in Isa::available() {
        for n in [1, 2, 7, 8, 15, 16, 17, 33, 70] {
            check::<f32>(isa, n);
            check::<f64>(isa, n);
        }
    }
}

fn assert_near(x: f64, formula: f64, tolerance: f64, what: impl Fn() -> String) {
    assert!((x - formula).abs() <= tolerance, "{}: {x}, by the formula {formula}, tolerance {tolerance:e}", what());
}

/// softmax of z, and ln of the sum of `exp(z - largest)` with the largest.
fn softmax(z: &[f64]) -> (Vec<f64>, f64, f64) {
    let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = z.iter().map(|z| (z - largest).exp()).collect();
    let sum: f64 = e.iter().sum();
    (e.iter().map(|e| e / sum).collect(), sum.ln(), largest)
}

fn softmax_follows_its_formula<T: Real>(rows: usize, n: usize, extra: usize) {
    let case = Case::<T>::new(rows, n, extra);
    let eps = epsilon::<T>();
    // z - largest is at most 16, so its rounding moves exp by 8 eps; exp, the sum, the division and the formula in the
    // test (which rounds as much where T is f64) add the rest.
    let relative = 40.0 * eps;
    let isa = Isa::available()[0];
    let (a, slope) = (case.softmax(isa), case.softmax_slope(isa));
    for i in 0..rows {
        let (y, ..) = softmax(&case.z.row(i));
        let delta = case.y.row(i);
        let a_row = a.row(i);
        let dot: f64 = a_row.iter().zip(&delta).map(|(a, d)| a * d).sum();
        let size: f64 = a_row.iter().zip(&delta).map(|(a, d)| (a * d).abs()).sum();
        for j in 0..n {
            let what = || format!("softmax {} {rows} x {n} at ({i}, {j})", T::NAME);
            assert_near(a.at(i, j), y[j], relative * y[j], what);
            // A chain of at most 9 terms in a lane, rounded once each, and three operations more.
            let tolerance = 12.0 * eps * a_row[j] * (delta[j].abs() + size);
            assert_near(slope.at(i, j), a_row[j] * (delta[j] - dot), tolerance, || format!("slope of {}", what()));
        }
    }
}

fn cross_entropy_follows_its_formula<T: Real>(rows: usize, n: usize, extra: usize) {
    let case = Case::<T>::new(rows, n, extra);
    let eps = epsilon::<T>();
    let isa = Isa::available()[0];
    let dense = [&case.one_hot, &case.soft, &case.loose].map(|t| (Target::Dense(t.view()), t));
    for (target, t) in dense.into_iter().chain([(Target::Labels(&case.labels), &case.one_hot)]) {
        let (delta, losses) = case.cross_entropy(isa, target);
        for i in 0..rows {
            let what = || format!("cross entropy {} {rows} x {n}, row {i}", T::NAME);
            let (y, log_sum, largest) = softmax(&case.z.row(i));
            let (t, scale) = (t.row(i), case.scale[i].to_f64());
            // Both terms of -ln y = ln sum + (largest - z) are positive: nothing cancels. The 1 is for a sum near 1,
            // whose rounding is eps while its logarithm is nearly nothing.
            let loss: f64 = t.iter().zip(case.z.row(i)).map(|(t, z)| t * (log_sum + (largest - z))).sum();
            let total: f64 = t.iter().sum();
            assert_near(losses[i], loss, 16.0 * eps * (total + loss), what);
            for j in 0..n {
                // As for softmax, 40 eps of y; t comes off with one rounding.
                let tolerance = 40.0 * eps * (y[j] * total + t[j]) * scale;
                assert_near(delta.at(i, j), (y[j] * total - t[j]) * scale, tolerance, what);
            }
        }
    }
}

/// Value and slope of a point loss, in `f64`.
fn point(loss: PointLoss, y: f64, t: f64) -> (f64, f64) {
    let r = y - t;
    let margin = (-t).mul_add(y, 1.0).max(0.0);
    match loss {
        PointLoss::Squared => (r * r, 2.0 * r),
        PointLoss::Absolute => (r.abs(), if r == 0.0 { 0.0 } else { r.signum() }),
        PointLoss::Huber { delta } if r.abs() <= delta => (r * r / 2.0, r),
        PointLoss::Huber { delta } => (delta * (r.abs() - delta / 2.0), delta * r.signum()),
        PointLoss::Hinge => (margin, if margin > 0.0 { -t } else { 0.0 }),
        PointLoss::SquaredHinge => (margin * margin, -2.0 * t * margin),
        PointLoss::SigmoidCrossEntropy => {
            let softplus = |z: f64| z.max(0.0) + (-z.abs()).exp().ln_1p();
            (t * softplus(-y) + (1.0 - t) * softplus(y), 1.0 / (1.0 + (-y).exp()) - t)
        }
    }
}

fn point_losses_follow_their_formulas<T: Real>(rows: usize, n: usize, extra: usize) {
    let case = Case::<T>::new(rows, n, extra);
    let eps = epsilon::<T>();
    let isa = Isa::available()[0];
    for loss in POINT_LOSSES {
        let (gradient, losses) = case.point(isa, loss);
        let t = case.targets(loss);
        for i in 0..rows {
            let what = || format!("{loss:?} {} {rows} x {n}, row {i}", T::NAME);
            let mut sum = 0.0;
            for j in 0..n {
                let (value, slope) = point(loss, case.y.at(i, j), t.at(i, j));
                sum += value;
                // The slope of the cross entropy is a difference of numbers up to 1, the others are a few roundings.
                let size = if loss == PointLoss::SigmoidCrossEntropy { 1.0 } else { slope.abs() };
                let scale = case.scale[i].to_f64();
                assert_near(gradient.at(i, j), slope * scale, 8.0 * eps * size * scale, what);
            }
            // No value is negative, so a few roundings of each, and nine of the sum of a lane.
            assert_near(losses[i], sum, 20.0 * eps * sum, what);
        }
    }
}

#[test]
fn softmax_and_its_slope_follow_their_formulas() {
    for_every_shape(softmax_follows_its_formula::<f32>);
    for_every_shape(softmax_follows_its_formula::<f64>);
}

#[test]
fn softmax_cross_entropy_follows_its_formula_for_labels_and_for_targets_of_any_sum() {
    for_every_shape(cross_entropy_follows_its_formula::<f32>);
    for_every_shape(cross_entropy_follows_its_formula::<f64>);
}

#[test]
fn point_losses_and_their_slopes_follow_their_formulas() {
    for_every_shape(point_losses_follow_their_formulas::<f32>);
    for_every_shape(point_losses_follow_their_formulas::<f64>);
}

#[test]
fn the_kinks_of_the_point_losses_are_where_the_formulas_have_them() {
    // (loss, y, t, value, slope): worked by hand, exact in both types.
    let cases = [
        (PointLoss::Absolute, 1.5, 1.5, 0.0, 0.0),
        (PointLoss::Absolute, 1.0, 1.5, 0.5, -1.0),
        (PointLoss::Huber { delta: 0.5 }, 1.5, 1.0, 0.125, 0.5),
        (PointLoss::Huber { delta: 0.5 }, -0.5, 1.0, 0.625, -0.5),
        (PointLoss::Hinge, 1.0, 1.0, 0.0, 0.0),
        (PointLoss::Hinge, 2.0, 1.0, 0.0, 0.0),
        (PointLoss::Hinge, 0.5, -1.0, 1.5, 1.0),
        (PointLoss::SquaredHinge, -1.0, -1.0, 0.0, 0.0),
        (PointLoss::SquaredHinge, 0.5, -1.0, 2.25, 3.0),
    ];
    fn check<T: Real>(isa: Isa, (loss, y, t, value, slope): (PointLoss, f64, f64, f64, f64)) {
        let (y, t) = (Table::<T>::row_of(&[y]), Table::<T>::row_of(&[t]));
        let (mut gradient, mut losses) = (Table::<T>::output(1, 1, 0), [CANARY]);
        point_loss(isa, loss, y.view(), t.view(), &[T::ONE], gradient.view_mut(), &mut losses);
        assert_eq!((losses[0], gradient.at(0, 0)), (value, slope), "{loss:?} {} {isa:?}", T::NAME);
    }
    for isa in Isa::available() {
        for case in cases {
            check::<f32>(isa, case);
            check::<f64>(isa, case);
        }
    }
}

/// Loss and delta of one row, for a scale of 1.
fn cross_entropy_of<T: Real>(isa: Isa, z: &[f64], target: Target<T>) -> (f64, Vec<f64>) {
    let (z, mut delta, mut losses) = (Table::<T>::row_of(z), Table::<T>::output(1, z.len(), 0), [CANARY]);
    softmax_cross_entropy(isa, z.view(), target, &[T::ONE], delta.view_mut(), &mut losses);
    delta.assert_gaps("one row");
    (losses[0], delta.row(0))
}

fn softmax_of<T: Real>(isa: Isa, z: &[f64]) -> Vec<f64> {
    let mut a = Table::<T>::new(1, z.len(), padded::<T>(z.len()), CANARY, |_, j| z[j]);
    softmax_in_place(isa, a.view_mut());
    a.assert_gaps("one row");
    a.row(0)
}

fn extremes<T: Real>(isa: Isa, n: usize, huge: f64) {
    let eps = epsilon::<T>();
    let huge = T::from_f64(huge).to_f64();
    let ln_n = (n as f64).ln();
    for level in [0.0, 1e4, -1e4, huge, -huge] {
        // All equal: every probability is 1 / n, whatever the level.
        let z = vec![level; n];
        let what = || format!("{n} times {level:e}, {} {isa:?}", T::NAME);
        for y in softmax_of::<T>(isa, &z) {
            assert_near(y, 1.0 / n as f64, eps, what);
        }
        let (loss, delta) = cross_entropy_of::<T>(isa, &z, Target::Labels(&[n as u32 / 2]));
        assert_near(loss, ln_n, 4.0 * eps * ln_n, what);
        for (j, &delta) in delta.iter().enumerate() {
            let t = f64::from(u8::from(j == n / 2));
            assert_near(delta, 1.0 / n as f64 - t, 2.0 * eps, what);
        }
    }
    if n == 1 {
        return;
    }
    for (high, low) in [(1e4, 0.0), (huge, 0.0), (0.0, -huge), (huge, -huge), (-1e4, -huge), (huge, 1e4)] {
        for at in [0, n / 2, n - 1] {
            // One far above the others: its probability is 1, the others' 0.
            let z: Vec<f64> = (0..n).map(|j| if j == at { high } else { low }).collect();
            let one_hot = |at: usize| (0..n).map(|j| f64::from(u8::from(j == at))).collect::<Vec<_>>();
            let what = || format!("{high:e} at {at} among {n} of {low:e}, {} {isa:?}", T::NAME);
            assert_eq!(softmax_of::<T>(isa, &z), one_hot(at), "{}", what());
            for label in [at, (at + 1) % n] {
                let t = Table::<T>::row_of(&one_hot(label));
                let expected = if label == at { 0.0 } else { high - low };
                for target in [Target::Labels(&[label as u32]), Target::Dense(t.view())] {
                    let (loss, delta) = cross_entropy_of::<T>(isa, &z, target);
                    assert_near(loss, expected, 2.0 * eps * expected, what);
                    for j in 0..n {
                        assert_eq!(delta[j], one_hot(at)[j] - one_hot(label)[j], "{}", what());
                    }
                }
            }
        }
    }
}

#[test]
fn softmax_and_its_cross_entropy_have_their_limits_at_extreme_z() {
    for isa in Isa::available() {
        for n in [1, 2, 3, 10, 16, 17, 33] {
            extremes::<f32>(isa, n, 1e38);
            extremes::<f64>(isa, n, 1e307);
        }
    }
}

#[test]
fn a_target_of_0_costs_nothing_even_where_the_logarithm_overflows() {
    for isa in Isa::available() {
        let z = [f64::from(f32::MAX), -f64::from(f32::MAX), 0.0];
        let t = Table::<f32>::row_of(&[1.0, 0.0, 0.0]);
        assert_eq!(cross_entropy_of(isa, &z, Target::Dense(t.view())), (0.0, vec![0.0; 3]), "{isa:?}");
        let z = [f64::MAX, -f64::MAX, 0.0];
        let t = Table::<f64>::row_of(&[1.0, 0.0, 0.0]);
        assert_eq!(cross_entropy_of(isa, &z, Target::Dense(t.view())), (0.0, vec![0.0; 3]), "{isa:?}");
    }
}

#[test]
fn targets_that_are_all_0_cost_nothing_and_move_nothing() {
    for isa in Isa::available() {
        let t = Table::<f32>::row_of(&[0.0; 5]);
        let (loss, delta) = cross_entropy_of(isa, &[1.0, -2.0, 3.0, 1e4, -1e38], Target::Dense(t.view()));
        assert_eq!((loss, delta), (0.0, vec![0.0; 5]), "{isa:?}");
    }
}

#[test]
fn the_sigmoid_cross_entropy_has_its_limits_at_extreme_z() {
    fn check<T: Real>(isa: Isa, huge: f64) {
        for size in [1e4, T::from_f64(huge).to_f64()] {
            // (z, t, loss, slope)
            let rows = [
                (size, 1.0, 0.0, 0.0),
                (size, 0.0, size, 1.0),
                (-size, 1.0, size, -1.0),
                (-size, 0.0, 0.0, 0.0),
                (size, 0.5, size / 2.0, 0.5),
                (-size, 0.5, size / 2.0, -0.5),
            ];
            let z = Table::<T>::input(rows.len(), 1, 0, |i, _| rows[i].0);
            let t = Table::<T>::input(rows.len(), 1, 0, |i, _| rows[i].1);
            let (mut slope, mut losses) = (Table::<T>::output(rows.len(), 1, 0), vec![CANARY; rows.len()]);
            let scale = vec![T::ONE; rows.len()];
            let loss = PointLoss::SigmoidCrossEntropy;
            point_loss(isa, loss, z.view(), t.view(), &scale, slope.view_mut(), &mut losses);
            for (i, &row) in rows.iter().enumerate() {
                assert_eq!((losses[i], slope.at(i, 0)), (row.2, row.3), "{} {isa:?} {row:?}", T::NAME);
            }
        }
    }
    for isa in Isa::available() {
        check::<f32>(isa, 1e38);
        check::<f64>(isa, 1e307);
    }
}

#[test]
fn losses_that_grow_like_a_line_stay_finite_at_extreme_outputs() {
    for isa in Isa::available() {
        for loss in [PointLoss::Absolute, PointLoss::Huber { delta: 1.0 }, PointLoss::Hinge] {
            let (y, t) = (Table::<f32>::row_of(&[1e38, -1e38]), Table::<f32>::row_of(&[1.0, 1.0]));
            let (mut gradient, mut losses) = (Table::<f32>::output(1, 2, 0), [CANARY]);
            point_loss(isa, loss, y.view(), t.view(), &[1.0], gradient.view_mut(), &mut losses);
            assert!(losses[0].is_finite() && losses[0] > 0.9e38, "{loss:?} {isa:?}: {}", losses[0]);
            let expected = if loss == PointLoss::Hinge { vec![0.0, -1.0] } else { vec![1.0, -1.0] };
            assert_eq!(gradient.row(0), expected, "{loss:?} {isa:?}");
        }
    }
}

fn nan_is_told<T: Real>(isa: Isa, n: usize) {
    let case = Case::<T>::new(3, n, 1);
    for j in 0..n {
        let broken = |table: &Table<T>| {
            let mut table = table.clone();
            table.data[table.stride + j] = T::from_f64(f64::NAN);
            table
        };
        let only_row_1 = |what: &str, losses: &[f64], gradient: &Table<T>| {
            let what = format!("{what} {} {isa:?}, NaN in column {j} of {n}", T::NAME);
            assert!(losses[1].is_nan(), "{what}: {}", losses[1]);
            assert!(losses[0].is_finite() && losses[2].is_finite(), "{what}: the neighbours");
            // The slope of the hinge is chosen by a comparison, which no NaN passes: the loss alone tells.
            assert!(gradient.at(1, j).is_nan() || what.contains("y of Hinge"), "{what}: the gradient there");
            let neighbours = gradient.row(0).into_iter().chain(gradient.row(2));
            assert!(neighbours.into_iter().all(f64::is_finite), "{what}: the gradients of the neighbours");
        };
        let z_broken = Case { z: broken(&case.z), ..Case::new(3, n, 1) };
        for target in [Target::Labels(&case.labels), Target::Dense(case.soft.view())] {
            let (delta, losses) = z_broken.cross_entropy(isa, target);
            only_row_1("z of cross entropy", &losses, &delta);
        }
        let (delta, losses) = case.cross_entropy(isa, Target::Dense(broken(&case.loose).view()));
        only_row_1("target of cross entropy", &losses, &delta);
        assert!(z_broken.softmax(isa).row(1).into_iter().all(f64::is_nan), "softmax, NaN in column {j} of {n}");
        let all_broken = Case { y: broken(&case.y), ..Case::new(3, n, 1) };
        for loss in POINT_LOSSES {
            let (gradient, losses) = all_broken.point(isa, loss);
            only_row_1(&format!("y of {loss:?}"), &losses, &gradient);
            let t_broken = Case { t: broken(&case.t), signs: broken(&case.signs), ..Case::new(3, n, 1) };
            let (gradient, losses) = t_broken.point(isa, loss);
            only_row_1(&format!("t of {loss:?}"), &losses, &gradient);
        }
    }
}

#[test]
fn a_nan_makes_the_loss_of_its_row_nan_and_of_no_other() {
    for isa in Isa::available() {
        for n in [1, 2, 8, 9, 16, 17, 32, 33, 40] {
            nan_is_told::<f32>(isa, n);
            nan_is_told::<f64>(isa, n);
        }
    }
}

fn assert_panics(what: &str, call: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "{what}: no panic");
}

/// Zeros.
fn zeros(rows: usize, columns: usize) -> Table<f32> {
    Table::output(rows, columns, 0).zero_padding()
}

#[test]
fn a_label_beyond_the_columns_panics() {
    for labels in [[0, 3], [3, 0], [u32::MAX, 1]] {
        assert_panics("label", || {
            let (z, mut delta, mut losses) = (zeros(2, 3), zeros(2, 3), [0.0; 2]);
            let isa = Isa::available()[0];
            softmax_cross_entropy(isa, z.view(), Target::Labels(&labels), &[1.0; 2], delta.view_mut(), &mut losses);
        });
    }
}

#[test]
fn shapes_that_do_not_fit_panic() {
    let isa = Isa::available()[0];
    // (rows, columns) of the targets and of delta, lengths of scale and losses; all others are (2, 3).
    let wrong = [
        ((1, 3), (2, 3), 2, 2),
        ((2, 2), (2, 3), 2, 2),
        ((2, 3), (3, 3), 2, 2),
        ((2, 3), (2, 4), 2, 2),
        ((2, 3), (2, 3), 1, 2),
        ((2, 3), (2, 3), 2, 3),
    ];
    for (t, delta, scale, losses) in wrong {
        let what = format!("t {t:?}, delta {delta:?}, scale {scale}, losses {losses}");
        let (z, t, scale, mut losses) = (zeros(2, 3), zeros(t.0, t.1), vec![1.0; scale], vec![0.0; losses]);
        let mut delta = zeros(delta.0, delta.1);
        assert_panics(&what, || {
            softmax_cross_entropy(isa, z.view(), Target::Dense(t.view()), &scale, delta.view_mut(), &mut losses);
        });
        assert_panics(&what, || {
            let loss = PointLoss::Squared;
            point_loss(isa, loss, z.view(), t.view(), &scale, delta.view_mut(), &mut losses);
        });
    }
    for labels in [1, 3] {
        let (z, mut delta, mut losses) = (zeros(2, 3), zeros(2, 3), [0.0; 2]);
        let labels = vec![0; labels];
        assert_panics("number of labels", || {
            softmax_cross_entropy(isa, z.view(), Target::Labels(&labels), &[1.0; 2], delta.view_mut(), &mut losses);
        });
    }
    for (rows, columns) in [(1, 3), (3, 3), (2, 2), (2, 17)] {
        let (a, mut delta) = (zeros(2, 3), zeros(rows, columns));
        assert_panics("slope of softmax", || multiply_softmax_slope(isa, a.padded_view(), delta.view_mut()));
    }
}

#[test]
fn rows_without_room_for_their_padding_panic() {
    let isa = Isa::available()[0];
    let mut short = vec![0.0f32; 31];
    assert_panics("data too short", || softmax_in_place(isa, ViewMut::new(&mut short, 2, 3, 16)));
    let mut tight = vec![0.0f32; 64];
    assert_panics("stride below the padding", || softmax_in_place(isa, ViewMut::new(&mut tight, 2, 3, 3)));
    let a = zeros(2, 3);
    assert_panics("delta not padded", || {
        multiply_softmax_slope(isa, a.padded_view(), ViewMut::new(&mut short, 2, 3, 16));
    });
    let (z, mut losses) = (zeros(2, 3), [0.0; 2]);
    assert_panics("delta not padded", || {
        let delta = ViewMut::new(&mut short, 2, 3, 16);
        softmax_cross_entropy(isa, z.view(), Target::Labels(&[0, 1]), &[1.0; 2], delta, &mut losses);
    });
    assert_panics("gradient not padded", || {
        let gradient = ViewMut::new(&mut short, 2, 3, 16);
        point_loss(isa, PointLoss::Squared, z.view(), z.view(), &[1.0; 2], gradient, &mut losses);
    });
    assert_panics("z too short", || {
        let (z, mut delta) = (View::new(&[0.0f32; 5], 2, 3, 3), zeros(2, 3));
        softmax_cross_entropy(isa, z, Target::Labels(&[0, 1]), &[1.0; 2], delta.view_mut(), &mut losses);
    });
}

#[test]
fn sums_are_sixteen_sums_by_place_and_then_those_in_order() {
    fn check<T: Real>(n: usize) {
        let mut random = Random::new(n as u64);
        let x: Vec<T> = (0..n).map(|_| T::from_f64(random.between(-2.0, 2.0))).collect();
        for (name, got, of) in [
            ("squares", sum_of_squares(&x), (|x| x * x) as fn(f64) -> f64),
            ("magnitudes", sum_of_magnitudes(&x), f64::abs),
        ] {
            let place = |place: usize| x.iter().skip(place).step_by(16).fold(0.0, |sum, x| sum + of(x.to_f64()));
            let twin = (0..16).fold(0.0, |sum, at| sum + place(at));
            assert_eq!(got.to_bits(), twin.to_bits(), "{name} of {n} {}: {got} and {twin}", T::NAME);
            let plain: f64 = x.iter().map(|x| of(x.to_f64())).sum();
            // Sums of n positive numbers in two orders: n roundings each at most.
            assert_near(got, plain, n as f64 * f64::EPSILON * plain, || format!("{name} of {n}"));
        }
    }
    for n in (0..=70).chain([5000]) {
        check::<f32>(n);
        check::<f64>(n);
    }
}

#[test]
fn sums_are_in_float64_and_tell_what_is_not_finite() {
    // The square of 1e30 is no float32.
    assert_eq!(sum_of_squares(&[1e30f32; 4]), 4.0 * f64::from(1e30f32).powi(2));
    assert_eq!(sum_of_magnitudes(&[3e38f32, -3e38]), 2.0 * f64::from(3e38f32));
    assert!(sum_of_squares(&[1.0f32, f32::NAN]).is_nan() && sum_of_magnitudes(&[f64::NAN, 1.0]).is_nan());
    assert_eq!(sum_of_squares(&[f32::NEG_INFINITY]), f64::INFINITY);
}
