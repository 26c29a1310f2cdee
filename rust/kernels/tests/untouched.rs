//! What nobody touches of a buffer takes no memory, whatever a program has freed before.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use dnn_kernels::Buffer;

const BYTES: usize = 24 << 20;
const PAGE: usize = 4096;

/// How many pages of these numbers are in memory.
fn pages_of(numbers: &[f32]) -> usize {
    let start = (numbers.as_ptr() as usize).next_multiple_of(PAGE);
    let mut pages = vec![0u8; size_of_val(numbers) / PAGE - 1];
    // SAFETY: whole pages of the buffer, and a byte for each.
    let failed = unsafe { libc::mincore(start as *mut libc::c_void, pages.len() * PAGE, pages.as_mut_ptr()) };
    assert_eq!(failed, 0, "pages of a buffer");
    pages.iter().filter(|&page| page & 1 == 1).count()
}

#[test]
fn what_is_not_touched_takes_no_memory_whatever_was_freed_before() {
    // The C library learns from what is freed: it keeps blocks as large from then on, and gives them out again.
    for _ in 0..4 {
        drop(std::hint::black_box(vec![1u8; BYTES + (4 << 20)]));
    }
    let mut buffer = Buffer::<f32>::sparse(BYTES / 4).expect("fits");
    assert_eq!(pages_of(&buffer), 0);
    buffer[BYTES / 8] = 1.0;
    assert_eq!(pages_of(&buffer), 1, "a page of its own, not a large one");
    assert_eq!(buffer[BYTES / 8 + 1], 0.0);
}
