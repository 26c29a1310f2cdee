//! How a call may work: on how many threads, and whether it should go on.
//!
//! In: what whoever calls said. Out: the same, asked between two pieces of work. It has no clock: whoever calls knows how
//! often it is worth looking.

/// Threads, and a question that is asked between pieces of work of milliseconds at most: whether to go on.
///
/// A number stands for that many threads, and nobody who asks to stop.
#[derive(Default)]
pub struct Run<'a> {
    threads: usize,
    go_on: Option<&'a mut dyn FnMut() -> bool>,
}

impl<'a> Run<'a> {
    /// On so many threads, for as long as `go_on` says so.
    pub fn new(threads: usize, go_on: &'a mut dyn FnMut() -> bool) -> Run<'a> {
        Run { threads, go_on: Some(go_on) }
    }

    /// At most so many.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether to go on.
    pub fn goes_on(&mut self) -> bool {
        self.go_on.as_mut().is_none_or(|go_on| go_on())
    }
}

impl From<usize> for Run<'_> {
    fn from(threads: usize) -> Self {
        Run { threads, go_on: None }
    }
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Run on {} threads", self.threads)
    }
}
