//! What is done to rows element by element, and normalisation, against plain twins in float64: every tail, every set,
//! strides beyond the padding.
#![expect(clippy::needless_range_loop, reason = "i and j are the row and the column, in several tables at once")]

mod norms;

use dnn_kernels::{
    Activation, Isa, Real, Team, View, ViewMut, activate, activate_rows, add_rows, add_rows_in_place,
    multiply_slope_rows, padded, prelu, prelu_gradient, prelu_slope_gradient,
};

const CANARY: f64 = -12345.0;

fn epsilon<T: Real>() -> f64 {
    if T::NAME == "float32" { f64::from(f32::EPSILON) } else { f64::EPSILON }
}

/// Rows with gaps between them, which hold NaN where they are only read.
struct Table<T> {
    data: Vec<T>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<T: Real> Table<T> {
    /// What is read without padding: numbers that depend on `seed`.
    fn input(rows: usize, columns: usize, seed: usize) -> Self {
        let stride = columns + 2;
        let mut data = vec![T::from_f64(f64::NAN); rows * stride];
        for i in 0..rows {
            for j in 0..columns {
                data[i * stride + j] = number((i * columns + j) * 7 + seed * 1001);
            }
        }
        Table { data, rows, columns, stride }
    }
    /// What is written: canaries everywhere.
    fn output(rows: usize, columns: usize) -> Self {
        let stride = padded::<T>(columns) + 3;
        Table { data: vec![T::from_f64(CANARY); rows * stride], rows, columns, stride }
    }
    fn view(&self) -> View<'_, T> {
        View::new(&self.data, self.rows, self.columns, self.stride)
    }
    fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut::new(&mut self.data, self.rows, self.columns, self.stride)
    }
    fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.stride + j].to_f64()
    }
    /// Numbers near those of the twin, zeros in the padding, canaries behind it.
    fn assert_is(&self, what: &str, tolerance: f64, twin: impl Fn(usize, usize) -> f64) {
        for i in 0..self.rows {
            for j in 0..self.stride {
                let got = self.at(i, j);
                if j < self.columns {
                    let need = twin(i, j);
                    assert!((got - need).abs() <= tolerance, "{what} at ({i}, {j}): {got}, by the twin {need}");
                } else {
                    let need = if j < padded::<T>(self.columns) { 0.0 } else { CANARY };
                    assert!(got == need, "{what}: padding at ({i}, {j}) is {got}");
                }
            }
        }
    }
}

/// A number from -2 to 2, a few of them 0.
fn number<T: Real>(seed: usize) -> T {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let unit = ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / f64::from(1 << 24);
    T::from_f64(if unit < 0.05 { 0.0 } else { 4.0 * unit - 2.0 })
}

fn row<T: Real>(n: usize, seed: usize) -> Vec<T> {
    (0..n).map(|j| number(j * 13 + seed * 77)).collect()
}

/// Shapes with every tail.
fn for_every_shape(check: impl Fn(usize, usize)) {
    for columns in 1..=70 {
        check(1 + columns % 4, columns);
    }
    check(300, 19);
}

/// Runs `make` in every set, on one thread and several; all have to give the bits of plain Rust. Returns one result.
fn same_everywhere<T: Real>(make: impl Fn(Isa, &Team) -> Vec<Table<T>>) -> Vec<Table<T>> {
    let expected = make(Isa::SCALAR, &Team::solo());
    for isa in Isa::available() {
        for team in [Team::solo(), Team::exactly(3)] {
            for (table, twin) in make(isa, &team).iter().zip(&expected) {
                assert!(table.data == twin.data, "{isa:?}, {} threads: other bits than scalar", team.threads());
            }
        }
    }
    expected
}

fn pointwise_follows_its_twin<T: Real>(rows: usize, columns: usize) {
    let what = |name: &str| format!("{name} {} {rows} x {columns}", T::NAME);
    let (x, y) = (Table::<T>::input(rows, columns, 1), Table::<T>::input(rows, columns, 2));
    let slope = row::<T>(columns, 3);
    let tables = same_everywhere(|isa, team| {
        let mut all: Vec<Table<T>> = (0..6).map(|_| Table::output(rows, columns)).collect();
        add_rows(isa, team, x.view(), y.view(), all[0].view_mut());
        add_rows(isa, team, x.view(), y.view(), all[1].view_mut());
        add_rows_in_place(isa, team, all[1].view_mut(), x.view());
        prelu(isa, team, x.view(), &slope, all[2].view_mut());
        prelu_gradient(isa, team, y.view(), x.view(), &slope, all[3].view_mut());
        activate_rows(isa, team, Activation::Gelu, x.view(), all[4].view_mut());
        activate_rows(isa, team, Activation::Identity, y.view(), all[5].view_mut());
        // The slope of tanh, as if x were its output.
        multiply_slope_rows(isa, team, Activation::Tanh, all[5].view_mut(), x.view(), x.view());
        all
    });
    let eps = 8.0 * epsilon::<T>();
    tables[0].assert_is(&what("sum"), 0.5 * eps, |i, j| x.at(i, j) + y.at(i, j));
    tables[1].assert_is(&what("sum in place"), eps, |i, j| 2.0 * x.at(i, j) + y.at(i, j));
    let factor = |i: usize, j: usize| if x.at(i, j) > 0.0 { 1.0 } else { slope[j].to_f64() };
    tables[2].assert_is(&what("prelu"), 0.5 * eps, |i, j| factor(i, j) * x.at(i, j));
    tables[3].assert_is(&what("gradient of prelu"), 0.5 * eps, |i, j| factor(i, j) * y.at(i, j));
    tables[4].assert_is(&what("gelu"), 0.0, |i, j| {
        let mut a = [T::ZERO];
        activate(Isa::SCALAR, Activation::Gelu, &[x.data[i * x.stride + j]], &mut a);
        a[0].to_f64()
    });
    tables[5].assert_is(&what("slope"), 2.0 * eps, |i, j| y.at(i, j) * (1.0 - x.at(i, j) * x.at(i, j)));
}

fn slopes_follow_their_twin<T: Real>(rows: usize, columns: usize) {
    let (x, delta) = (Table::<T>::input(rows, columns, 1), Table::<T>::input(rows, columns, 2));
    let sums = same_everywhere(|isa, team| {
        let (mut once, mut twice) = (Table::<T>::output(1, columns), Table::<T>::output(1, columns));
        assert!(prelu_slope_gradient(isa, team, delta.view(), x.view(), false, &mut once.data));
        assert!(prelu_slope_gradient(isa, team, delta.view(), x.view(), false, &mut twice.data));
        assert!(prelu_slope_gradient(isa, team, delta.view(), x.view(), true, &mut twice.data));
        vec![once, twice]
    });
    let sum = |j: usize| (0..rows).map(|i| delta.at(i, j) * x.at(i, j).min(0.0)).sum::<f64>();
    // A rounding for each of the numbers, which are below 4.
    let tolerance = 4.0 * (rows * rows) as f64 * epsilon::<T>();
    let what = format!("slopes {} {rows} x {columns}", T::NAME);
    sums[0].assert_is(&what, tolerance, |_, j| sum(j));
    sums[1].assert_is(&what, 4.0 * tolerance, |_, j| 2.0 * sum(j));
}

#[test]
fn sums_and_activations_of_rows_follow_their_twins() {
    for_every_shape(pointwise_follows_its_twin::<f32>);
    for_every_shape(pointwise_follows_its_twin::<f64>);
}

#[test]
fn the_gradient_of_learned_slopes_follows_its_twin() {
    for_every_shape(slopes_follow_their_twin::<f32>);
    for_every_shape(slopes_follow_their_twin::<f64>);
}

#[test]
fn large_tables_are_shared_out_between_threads_without_a_trace() {
    pointwise_follows_its_twin::<f32>(1000, 130);
    slopes_follow_their_twin::<f64>(520, 300);
}

#[test]
fn a_sum_that_is_not_finite_is_told() {
    let x = Table::<f32>::input(3, 5, 1);
    let mut delta = Table::<f32>::input(3, 5, 2);
    for isa in Isa::available() {
        for wrong in [f32::NAN, f32::INFINITY, 3e30] {
            let at = (0..15).find(|at| x.at(at / 5, at % 5) < 0.0).expect("some are negative");
            delta.data[at / 5 * delta.stride + at % 5] = wrong;
            let mut sums = vec![0.0; padded::<f32>(5)];
            assert!(!prelu_slope_gradient(isa, &Team::solo(), delta.view(), x.view(), false, &mut sums), "{wrong}");
        }
    }
}
