//! Vectors that may be as long as the data or the network: had, or refused.
//!
//! In: a length and what it is for. Out: the vector, or an error. `Vec` itself ends the program where there is no memory.

use crate::error::Error;
use std::fmt::Display;

/// Room for `count` items, none yet.
///
/// # Errors
/// [`Error::Memory`] that says for what.
pub fn room<A>(count: usize, what: impl Display) -> Result<Vec<A>, Error> {
    let mut room = Vec::new();
    room.try_reserve_exact(count).map_err(|_| Error::memory(what, Some(count), size_of::<A>()))?;
    Ok(room)
}

/// `count` times the same.
///
/// # Errors
/// As [`room`].
pub fn filled<A: Clone>(value: A, count: usize, what: impl Display) -> Result<Vec<A>, Error> {
    let mut all = room(count, what)?;
    all.resize(count, value);
    Ok(all)
}

/// All of `items`, of which there are `count`.
///
/// # Errors
/// As [`room`].
pub fn collected<A>(items: impl IntoIterator<Item = A>, count: usize, what: impl Display) -> Result<Vec<A>, Error> {
    let mut all = room(count, what)?;
    all.extend(items.into_iter().take(count));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_had_is_told_with_its_bytes() {
        let refused = filled(0.0f64, 1 << 58, "the order of the rows").expect_err("2^61 bytes").to_string();
        assert!(refused.starts_with("the order of the rows needs 2305843009213693952 bytes"), "{refused}");
        assert!(room::<u64>(usize::MAX, "it").is_err());
        assert_eq!(collected(0..3, 3, "it").expect("it fits"), [0, 1, 2]);
    }
}
