//! Into how many shares a block of rows is cut, whose ways through the network are apart from each other.
//!
//! In: a plan and a number of rows. Out: the rows of a share.

use crate::loss::Loss;
use crate::plan::{Kind, Plan};

/// Shares of a block at most.
pub(super) const SHARDS: usize = 2;
/// Multiply-adds of a share at least, below which handing it over costs more than it brings.
const MIN_SHARE_WORK: usize = 400_000;
/// Rows that are shared out at least: each share goes through all weights and writes a gradient of its own, which for a
/// few rows is most of the work (784-30-10 at 10 rows: 12.0 us a step in two shares, 10.1 us in one), and keeps gradient descent
/// from forming none. Where the processors are far apart, in busy minutes, two threads took 115 us in two shares and 96 in one
/// for 256-256-10 at 16 rows and Adam, 153 and 128 for 784-128-10, 81 and 53 for 300-300-10 and gradient descent; at 24 rows 111
/// and 97, 174 and 146, 133 and 82 (`steps 784-128-10x24 2 adam`). One thread takes 9 to 36 % less in one share. From 32 rows on
/// shares stay: digits gain a quarter by them where the processors are near each other.
const MIN_SHARED_ROWS: usize = 32;
/// Parameters of a network at most whose blocks are shared out: above, the products are large enough to be shared out
/// one by one, and to add up gradients would cost more.
const MAX_SHARED_PARAMETERS: usize = 160 * 1024;

/// Rows of a block of `rows` that go through the network apart from the others.
///
/// It depends on the network and the rows alone, never on threads, because it decides the order of sums.
pub(super) fn share_of(plan: &Plan, rows: usize) -> usize {
    let share = rows.div_ceil(SHARDS).next_multiple_of(4);
    // Layers that look at a whole batch can't have it in parts.
    let by_rows = |kind: Kind| matches!(kind, Kind::Dense | Kind::Activation | Kind::Noise { .. });
    let apart = plan.layers.iter().all(|layer| by_rows(layer.kind)) && !is_called(plan);
    let sized = rows >= MIN_SHARED_ROWS && plan.len <= MAX_SHARED_PARAMETERS;
    if apart && sized && plan.len.saturating_mul(3 * share) >= MIN_SHARE_WORK { share } else { rows.max(1) }
}

/// Share number `i` of these rows, `size` in each; empty where there are fewer.
pub(super) fn share_at(rows: &[u32], size: usize, i: usize) -> &[u32] {
    rows.chunks(size).nth(i).unwrap_or(&[])
}

/// Whether the loss is a function of whoever calls: it is given all rows of a batch at once, on one thread.
pub(super) fn is_called(plan: &Plan) -> bool {
    plan.loss.as_ref().is_some_and(Loss::is_called)
}

#[cfg(test)]
mod tests {
    use super::share_at;

    #[test]
    fn shares_are_all_rows_in_their_order_and_empty_behind_them() {
        let rows: Vec<u32> = (0..10).collect();
        let shares = [0, 1, 2, 3].map(|i| share_at(&rows, 4, i));
        assert_eq!(shares, [&[0, 1, 2, 3][..], &[4, 5, 6, 7], &[8, 9], &[]]);
        assert!(share_at(&[], 4, 0).is_empty());
    }
}
