//! Metrics that go by the order of scores: among the outputs of a row, or among all rows.
//!
//! In: scores. Out: the place of a class; the area under the curve of true against false positives.

use crate::metrics::kept::Kept;
use crate::metrics::{Reading, largest};
use dnn_kernels::Real;
use dnn_spec::Average;

/// How many outputs of a row come before that of `class`, largest first. Of equal ones the last comes first, as in
/// scikit-learn's top_k_accuracy_score.
pub fn place<T: Real>(y: &[T], class: usize) -> usize {
    let own = y[class];
    y.iter().enumerate().filter(|&(j, y)| *y > own || *y == own && j > class).count()
}

/// The number of a row. It can't be copied, as numbers can: few of those the standard library sorts by a network of comparisons,
/// which is 11 KB of code.
#[derive(Debug)]
pub struct Row(u32);

/// The area under the receiver operating characteristic: of two classes, or the mean over classes, each against the
/// rest. NaN where a class has no rows, or all of them. `order` has room for a number for each row.
pub fn auc(kept: &Kept, reading: Reading, average: Average, order: &mut Vec<Row>) -> f64 {
    let n = reading.n_out;
    let is_of = |i: usize, j: usize| match kept.n_targets {
        0 => kept.labels[i] == j as i64,
        // Labels of two classes may be two columns.
        columns if reading.one_of => largest(&kept.dense[i * columns..][..columns]) == j,
        columns => reading.is_of(&kept.dense[i * columns..][..columns], j),
    };
    let mut of_class =
        |j: usize| area(order, kept.rows(), |i| kept.scores[i * n + j], |i| is_of(i, j), |i| kept.weights[i]);
    if reading.is_binary() {
        return of_class(n - 1).0;
    }
    let (mut sum, mut total) = (0.0, 0.0);
    for j in 0..n {
        let (area, weight) = of_class(j);
        let share = if average == Average::Weighted { weight } else { 1.0 };
        sum += share * area;
        total += share;
    }
    sum / total
}

/// The share of pairs of a row of the class and another in which the first has the higher score, equal ones counting
/// half, each pair weighing the product of the weights of its rows; and the weight of the rows of the class.
fn area(
    order: &mut Vec<Row>,
    rows: usize,
    score: impl Fn(usize) -> f64,
    is_of: impl Fn(usize) -> bool,
    weight: impl Fn(usize) -> f64,
) -> (f64, f64) {
    order.clear();
    order.extend((0..rows as u32).map(Row));
    order.sort_unstable_by(|a, b| score(a.0 as usize).total_cmp(&score(b.0 as usize)).then(a.0.cmp(&b.0)));
    let (mut pairs, mut lower, mut total) = (0.0, 0.0, 0.0);
    for equal in order.chunk_by(|a, b| score(a.0 as usize) == score(b.0 as usize)) {
        let (mut of, mut others) = (0.0, 0.0);
        for &Row(i) in equal {
            *(if is_of(i as usize) { &mut of } else { &mut others }) += weight(i as usize);
        }
        pairs += of * (lower + 0.5 * others);
        lower += others;
        total += of;
    }
    let all = total * lower;
    (if all > 0.0 { pairs / all } else { f64::NAN }, total)
}
