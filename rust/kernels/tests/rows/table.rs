//! Rows of numbers for the tests, with gaps between and behind them, and all that the kernels need for one shape.
//!
//! Gaps between the rows of what is only read hold NaN, those of what is written a canary: who looks or writes where it
//! should not is seen.

use dnn_kernels::{
    ClassLoss, HeadLoss, Isa, PointLoss, Real, Target, View, ViewMut, class_loss, head_loss, multiply_softmax_slope,
    padded, point_loss, softmax_cross_entropy, softmax_in_place,
};

/// Written between and behind the rows of every output; must still be there afterwards.
pub const CANARY: f64 = -12345.0;

pub const POINT_LOSSES: [PointLoss; 19] = [
    PointLoss::Squared,
    PointLoss::Absolute,
    PointLoss::Huber { delta: 1.0 },
    PointLoss::Huber { delta: 0.25 },
    PointLoss::Hinge,
    PointLoss::SquaredHinge,
    PointLoss::SigmoidCrossEntropy,
    PointLoss::SigmoidFocal { gamma: 2.0 },
    PointLoss::SigmoidFocal { gamma: 0.5 },
    PointLoss::LogCosh,
    PointLoss::Poisson { epsilon: 1e-8 },
    PointLoss::PoissonOfLog,
    PointLoss::Gamma,
    PointLoss::GammaOfLog,
    PointLoss::Tweedie { p: 1.5 },
    PointLoss::TweedieOfLog { p: 1.5 },
    PointLoss::TweedieOfLog { p: 3.0 },
    PointLoss::SquaredLog,
    PointLoss::Percentage,
];

pub const CLASS_LOSSES: [ClassLoss; 4] = [
    ClassLoss::Smoothed { smoothing: 0.1 },
    ClassLoss::Focal { gamma: 2.0 },
    ClassLoss::Focal { gamma: 0.5 },
    ClassLoss::Divergence,
];

pub const HEAD_LOSSES: [HeadLoss; 4] = [
    HeadLoss::Quantiles(&[0.3]),
    HeadLoss::Quantiles(&[0.05, 0.5, 0.9]),
    HeadLoss::Gaussian { epsilon: 1e-6 },
    HeadLoss::Gaussian { epsilon: 0.5 },
];

pub fn epsilon<T: Real>() -> f64 {
    if T::NAME == "float32" { f64::from(f32::EPSILON) } else { f64::EPSILON }
}

/// Numbers in a range, the same in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) as f64 / (1u64 << 32) as f64
    }
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

/// Rows of numbers with gaps between and behind them.
#[derive(Clone)]
pub struct Table<T> {
    pub data: Vec<T>,
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

impl<T: Real> Table<T> {
    pub fn new(
        rows: usize,
        columns: usize,
        stride: usize,
        gap: f64,
        mut fill: impl FnMut(usize, usize) -> f64,
    ) -> Self {
        let mut data = vec![T::from_f64(gap); rows * stride + 2 * T::LANES];
        for i in 0..rows {
            for j in 0..columns {
                data[i * stride + j] = T::from_f64(fill(i, j));
            }
        }
        Table { data, rows, columns, stride }
    }
    /// What a kernel reads without padding.
    pub fn input(rows: usize, columns: usize, extra: usize, fill: impl FnMut(usize, usize) -> f64) -> Self {
        Self::new(rows, columns, columns + extra, f64::NAN, fill)
    }
    /// What a kernel writes: the padding is not zero before.
    pub fn output(rows: usize, columns: usize, extra: usize) -> Self {
        Self::new(rows, columns, padded::<T>(columns) + extra, CANARY, |_, _| 7.0)
    }
    /// One row.
    pub fn row_of(numbers: &[f64]) -> Self {
        Self::input(1, numbers.len(), 0, |_, j| numbers[j])
    }
    pub fn zero_padding(mut self) -> Self {
        for i in 0..self.rows {
            self.data[i * self.stride..][self.columns..padded::<T>(self.columns)].fill(T::ZERO);
        }
        self
    }
    /// Where the last row ends, when rows are so wide.
    pub fn end(&self, width: usize) -> usize {
        if self.rows == 0 { 0 } else { (self.rows - 1) * self.stride + width }
    }
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.stride + j].to_f64()
    }
    pub fn row(&self, i: usize) -> Vec<f64> {
        (0..self.columns).map(|j| self.at(i, j)).collect()
    }
    pub fn view(&self) -> View<'_, T> {
        View::new(&self.data[..self.end(self.columns)], self.rows, self.columns, self.stride)
    }
    pub fn padded_view(&self) -> View<'_, T> {
        View::new(&self.data[..self.end(padded::<T>(self.columns))], self.rows, self.columns, self.stride)
    }
    pub fn view_mut(&mut self) -> ViewMut<'_, T> {
        let end = self.end(padded::<T>(self.columns));
        ViewMut::new(&mut self.data[..end], self.rows, self.columns, self.stride)
    }
    /// Zeros in the padding, canaries in the gaps.
    pub fn assert_gaps(&self, what: &str) {
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
    pub fn bits(&self) -> Vec<u64> {
        (0..self.rows).flat_map(|i| self.row(i)).map(f64::to_bits).collect()
    }
}

/// Everything that the kernels need, for one shape.
pub struct Case<T> {
    pub z: Table<T>,
    pub one_hot: Table<T>,
    pub soft: Table<T>,
    /// Rows that add up to anything, zeros among them.
    pub loose: Table<T>,
    pub labels: Vec<u32>,
    pub y: Table<T>,
    /// As y, but above 0.
    pub above: Table<T>,
    /// Three heads beside each other, as y.
    pub heads: Table<T>,
    pub t: Table<T>,
    pub signs: Table<T>,
    pub scale: Vec<T>,
    pub extra: usize,
}

impl<T: Real> Case<T> {
    pub fn new(rows: usize, n: usize, extra: usize) -> Self {
        let mut random = Random::new((1000 * rows + n) as u64);
        let labels: Vec<u32> = (0..rows).map(|_| random.below(n) as u32).collect();
        let loose = Table::input(rows, n, extra, |_, _| if random.unit() < 0.2 { 0.0 } else { random.unit() });
        let sums: Vec<f64> = (0..rows).map(|i| loose.row(i).iter().sum::<f64>().max(0.1)).collect();
        let mut random = Random::new((1000 * rows + n) as u64 + 1);
        let mut other = Random::new((1000 * rows + n) as u64 + 2);
        Case {
            above: Table::input(rows, n, extra, |_, _| other.between(0.05, 3.0)),
            heads: Table::input(rows, 3 * n, extra, |_, _| other.between(-3.0, 3.0)),
            z: Table::new(rows, n, padded::<T>(n) + extra, f64::NAN, |_, _| random.between(-8.0, 8.0)),
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
    pub fn output(&self) -> Table<T> {
        Table::output(self.z.rows, self.z.columns, self.extra)
    }
    pub fn no_losses(&self) -> Vec<f64> {
        vec![CANARY; self.z.rows]
    }
    pub fn softmax(&self, isa: Isa) -> Table<T> {
        let mut a = self.output();
        for i in 0..self.z.rows {
            let from = &self.z.data[i * self.z.stride..][..self.z.columns];
            a.data[i * a.stride..][..self.z.columns].copy_from_slice(from);
        }
        softmax_in_place(isa, a.view_mut());
        a
    }
    pub fn softmax_slope(&self, isa: Isa) -> Table<T> {
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
    pub fn cross_entropy(&self, isa: Isa, target: Target<T>) -> (Table<T>, Vec<f64>) {
        let (mut delta, mut losses) = (self.output(), self.no_losses());
        softmax_cross_entropy(isa, self.z.padded_view(), target, &self.scale, delta.view_mut(), &mut losses);
        (delta, losses)
    }
    pub fn targets(&self, loss: PointLoss) -> &Table<T> {
        if matches!(loss, PointLoss::Hinge | PointLoss::SquaredHinge) { &self.signs } else { &self.t }
    }
    /// The outputs for which the loss is a number.
    pub fn outputs(&self, loss: PointLoss) -> &Table<T> {
        use PointLoss::{Gamma, Poisson, SquaredLog, Tweedie};
        if matches!(loss, Gamma | Poisson { .. } | SquaredLog | Tweedie { .. }) { &self.above } else { &self.y }
    }
    pub fn class(&self, isa: Isa, loss: ClassLoss, target: Target<T>) -> (Table<T>, Vec<f64>) {
        let (mut delta, mut losses) = (self.output(), self.no_losses());
        class_loss(isa, loss, self.z.view(), target, &self.scale, delta.view_mut(), &mut losses);
        (delta, losses)
    }
    /// The outputs are as many columns of `heads` as the loss asks for.
    pub fn head(&self, isa: Isa, loss: HeadLoss) -> (Table<T>, Vec<f64>) {
        let n = loss.heads() * self.t.columns;
        let (mut gradient, mut losses) = (Table::output(self.t.rows, n, self.extra), self.no_losses());
        let y = View::new(&self.heads.data, self.t.rows, n, self.heads.stride);
        head_loss(isa, loss, y, self.t.view(), &self.scale, gradient.view_mut(), &mut losses);
        (gradient, losses)
    }
    pub fn point(&self, isa: Isa, loss: PointLoss) -> (Table<T>, Vec<f64>) {
        let (mut gradient, mut losses) = (self.output(), self.no_losses());
        let t = self.targets(loss).view();
        point_loss(isa, loss, self.outputs(loss).view(), t, &self.scale, gradient.view_mut(), &mut losses);
        (gradient, losses)
    }
    /// Everything there is, with its name.
    pub fn all(&self, isa: Isa) -> Vec<(String, Table<T>, Vec<f64>)> {
        let mut all = vec![
            ("softmax".to_owned(), self.softmax(isa), vec![]),
            ("slope of softmax".to_owned(), self.softmax_slope(isa), vec![]),
        ];
        let dense = [("one-hot", &self.one_hot), ("soft", &self.soft), ("loose", &self.loose)];
        let targets = dense.map(|(name, t)| (name, Target::Dense(t.view())));
        for (name, target) in targets.into_iter().chain([("labels", Target::Labels(&self.labels))]) {
            let (delta, losses) = self.cross_entropy(isa, target);
            all.push((format!("cross entropy, {name}"), delta, losses));
            for loss in CLASS_LOSSES {
                let (delta, losses) = self.class(isa, loss, target);
                all.push((format!("{loss:?}, {name}"), delta, losses));
            }
        }
        for loss in HEAD_LOSSES {
            let (gradient, losses) = self.head(isa, loss);
            all.push((format!("{loss:?}"), gradient, losses));
        }
        for loss in POINT_LOSSES {
            let (gradient, losses) = self.point(isa, loss);
            all.push((format!("{loss:?}"), gradient, losses));
        }
        all
    }
}

pub fn assert_near(x: f64, formula: f64, tolerance: f64, what: impl Fn() -> String) {
    assert!((x - formula).abs() <= tolerance, "{}: {x}, by the formula {formula}, tolerance {tolerance:e}", what());
}
