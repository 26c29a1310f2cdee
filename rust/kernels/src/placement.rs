//! On which processor a thread runs, and how to leave one.
//!
//! A worker that the system wakes on the caller's processor, as the caller was the one who woke it, has nothing to run on
//! while others are idle: on a virtual machine of two processors that went on for seconds, and a step took as long on two
//! threads as on one, or three times as long. So a worker that finds itself there moves away.

/// The processors that a thread may run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Processors([u64; WORDS]);

/// As long as the C library's `cpu_set_t`: 1024 processors.
const WORDS: usize = 16;

#[cfg(target_os = "linux")]
mod system {
    use super::WORDS;
    use std::ffi::c_int;

    unsafe extern "C" {
        pub safe fn sched_getcpu() -> c_int;
        fn sched_getaffinity(thread: c_int, bytes: usize, mask: *mut u64) -> c_int;
        fn sched_setaffinity(thread: c_int, bytes: usize, mask: *const u64) -> c_int;
    }

    pub fn get() -> Option<[u64; WORDS]> {
        let mut mask = [0; WORDS];
        // SAFETY: 0 is the calling thread, and the mask is as long as it says.
        (unsafe { sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr()) } == 0).then_some(mask)
    }

    pub fn set(mask: &[u64; WORDS]) -> bool {
        // SAFETY: as above.
        unsafe { sched_setaffinity(0, size_of_val(mask), mask.as_ptr()) == 0 }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::WORDS;

    pub fn sched_getcpu() -> i32 {
        -1
    }
    pub fn get() -> Option<[u64; WORDS]> {
        None
    }
    pub fn set(_: &[u64; WORDS]) -> bool {
        false
    }
}

/// The number of the processor that this thread runs on, where the system tells.
pub(crate) fn processor() -> Option<usize> {
    usize::try_from(system::sched_getcpu()).ok()
}

impl Processors {
    /// Those of this thread, where the system tells.
    pub(crate) fn of_this_thread() -> Option<Processors> {
        system::get().map(Processors)
    }

    /// All but one, unless there is no other.
    pub(crate) fn without(mut self, processor: usize) -> Option<Processors> {
        *self.0.get_mut(processor / 64)? &= !(1 << (processor % 64));
        self.0.iter().any(|&word| word != 0).then_some(self)
    }

    /// Makes this thread run on these, from now on. Returns whether the system has agreed.
    pub(crate) fn take(self) -> bool {
        system::set(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_can_be_left_out_and_the_only_one_cannot() {
        let mut words = [0; WORDS];
        words[1] = 0b101;
        let both = Processors(words);
        words[1] = 0b100;
        assert_eq!(both.without(64), Some(Processors(words)));
        assert_eq!(Processors(words).without(66), None);
        assert_eq!(both.without(3), Some(both));
        assert_eq!(both.without(64 * WORDS), None, "beyond what can be told");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_leaves_its_processor() {
        std::thread::spawn(|| {
            let (whole, here) = (Processors::of_this_thread().expect("told"), processor().expect("told"));
            let Some(others) = whole.without(here) else { return };
            assert!(others.take());
            assert_ne!(processor(), Some(here));
            assert_eq!(Processors::of_this_thread(), Some(others));
            assert!(whole.take());
        })
        .join()
        .expect("no panic");
    }
}
