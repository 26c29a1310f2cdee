//! Where the vectors of a row of numbers begin.
//!
//! In: how many numbers. Out: an iterator that costs what a loop by hand does.

use super::Real;

/// Where the vectors of `end` numbers begin, `by` numbers apart. A range by `step_by` divides before it begins, which a
/// network of a few weights can tell: it took 15 % of the instructions of a step.
#[derive(Clone, Copy)]
pub struct Starts {
    pub next: usize,
    pub end: usize,
    pub by: usize,
}

/// Of vectors of `T`.
#[inline(always)]
pub fn starts<T: Real>(end: usize) -> Starts {
    Starts { next: 0, end, by: T::LANES }
}

impl Iterator for Starts {
    type Item = usize;
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let start = self.next;
        if start >= self.end {
            return None;
        }
        self.next = start + self.by;
        Some(start)
    }
}
