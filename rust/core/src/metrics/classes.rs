//! Precision, recall and F1: from the weight of the rows that are of a class, are taken for it, and both.
//!
//! In: rows one by one. Out: a score, averaged over classes in one of scikit-learn's ways.

use crate::metrics::{Reading, largest};
use dnn_kernels::Real;
use dnn_spec::Average;

/// Which of them.
#[derive(Clone, Copy, Debug)]
pub enum Score {
    /// both / taken
    Precision,
    /// both / are
    Recall,
    /// 2 both / (are + taken), the harmonic mean of the two
    F1,
}

/// Weights of rows by class.
#[derive(Debug)]
pub struct Counts(Vec<Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Of rows of the class that are taken for it.
    both: f64,
    /// Of rows that are taken for the class.
    taken: f64,
    /// Of rows of the class.
    are: f64,
}

impl Counts {
    /// Nothing counted yet, for `n` classes: no and yes of a single output, else one for each output.
    pub fn new(n: usize) -> Counts {
        Counts(vec![Count::default(); n])
    }

    /// Starts over.
    pub fn clear(&mut self) {
        self.0.fill(Count::default());
    }

    /// Counts a row of class `class` that is taken for `taken`.
    pub fn add_class(&mut self, taken: usize, class: usize, weight: f64) {
        self.0[taken].taken += weight;
        self.0[class].are += weight;
        if taken == class {
            self.0[class].both += weight;
        }
    }

    /// Counts a row of outputs `y` and targets `t`, each (n_out).
    pub fn add<T: Real>(&mut self, reading: Reading, y: &[T], t: &[T], threshold: f64, weight: f64) {
        if reading.one_of {
            return self.add_class(largest(y), largest(t), weight);
        }
        let is_taken = |j: usize| y[j].to_f64() > threshold;
        if reading.n_out == 1 {
            return self.add_class(usize::from(is_taken(0)), usize::from(reading.is_of(t, 0)), weight);
        }
        for (j, count) in self.0.iter_mut().enumerate() {
            let (taken, is) = (is_taken(j), reading.is_of(t, j));
            count.taken += weight * f64::from(u8::from(taken));
            count.are += weight * f64::from(u8::from(is));
            count.both += weight * f64::from(u8::from(taken && is));
        }
    }

    /// The score; 0 where it is not defined, as scikit-learn's with its default `zero_division`.
    pub fn value(&self, score: Score, average: Average, reading: Reading) -> f64 {
        let several_labels = !reading.one_of && reading.n_out > 1;
        match average {
            Average::Binary => self.0[1].score(score),
            Average::Auto if reading.is_binary() => self.0[1].score(score),
            Average::Auto | Average::Macro => {
                // A class that no row is of or is taken for is none; of several labels each counts.
                let there = || self.0.iter().filter(|count| several_labels || count.are > 0.0 || count.taken > 0.0);
                ratio(there().map(|count| count.score(score)).sum(), there().count() as f64)
            }
            Average::Micro => {
                let sum = |of: fn(&Count) -> f64| self.0.iter().map(of).sum();
                Count { both: sum(|c| c.both), taken: sum(|c| c.taken), are: sum(|c| c.are) }.score(score)
            }
            Average::Weighted => {
                let weighted = self.0.iter().map(|count| count.are * count.score(score));
                ratio(weighted.sum(), self.0.iter().map(|count| count.are).sum())
            }
        }
    }
}

impl Count {
    fn score(self, score: Score) -> f64 {
        match score {
            Score::Precision => ratio(self.both, self.taken),
            Score::Recall => ratio(self.both, self.are),
            Score::F1 => ratio(2.0 * self.both, self.are + self.taken),
        }
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
