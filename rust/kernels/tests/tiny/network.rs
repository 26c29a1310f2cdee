//! Small networks of noise, and the steps that they take.

use dnn_kernels::{Activation, Adam, Real, Sgd, Stage, TinyStep, is_turned, padded, row_stride};

/// Numbers between -1 and 1 that look like noise.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Steps of every kind.
pub const STEPS: [TinyStep; 5] = [
    TinyStep::Sgd(Sgd::Plain, 0.3),
    TinyStep::Sgd(Sgd::Momentum(0.9), 0.3),
    TinyStep::Sgd(Sgd::Nesterov(0.9), 0.3),
    TinyStep::Sgd(Sgd::Dampened(0.9), 0.3),
    TinyStep::Adam(Adam { beta_1: 0.9, beta_2: 0.99, size: 0.1, scale: 1.5, epsilon: 1e-3 }),
];

/// Which memories a step needs.
pub fn has_memory(step: TinyStep) -> [bool; 2] {
    [!matches!(step, TinyStep::Sgd(Sgd::Plain, _)), matches!(step, TinyStep::Adam(_))]
}

/// A network, and where its parameters lie.
pub struct Network<T> {
    pub stages: Vec<Stage>,
    pub params: Vec<T>,
}

/// Layers of these widths, with weights of noise.
pub fn network<T: Real>(
    widths: &[usize],
    hidden: Activation,
    last: Activation,
    bias: bool,
    noise: &mut Noise,
) -> Network<T> {
    let (mut stages, mut params) = (Vec::new(), Vec::new());
    for (i, pair) in widths.windows(2).enumerate() {
        let activation = if i + 2 == widths.len() { last } else { hidden };
        let (n_in, n_out) = (pair[0], pair[1]);
        let is_turned = is_turned(n_in, n_out);
        let (rows, columns) = if is_turned { (n_out, n_in) } else { (n_in, n_out) };
        let stride = row_stride::<T>(columns);
        stages.push(Stage {
            n_in,
            n_out,
            start: params.len(),
            stride,
            is_turned,
            use_bias: bias,
            activation,
            learns_weights: true,
            learns_bias: bias,
        });
        let size = 1.0 / (n_in as f64).sqrt();
        let mut row = |columns: usize, stride: usize| {
            params.extend((0..stride).map(|j| T::from_f64(if j < columns { size * noise.next() } else { 0.0 })));
        };
        (0..rows).for_each(|_| row(columns, stride));
        if bias {
            row(n_out, padded::<T>(n_out));
        }
    }
    Network { stages, params }
}
