//! The allocator of the program, the Python module and the benches: mimalloc, as queries use it.
//!
//! Small allocations from several threads at once are what a query is made of; a library leaves
//! the choice to the program it is part of.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its interface, and this one is written in C"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_long, c_void};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_option_set_default, mi_option_t, mi_realloc,
    mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// mimalloc as a global allocator.
///
/// Its functions for aligned memory know no size but powers of two to be aligned by itself: for 160
/// bytes aligned to 8 they take a larger block, and the long way. So memory that the plain ones align
/// as it is to be comes from those: their blocks are aligned to a word, and larger ones to two.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: fletching_allocator::Allocator = fletching_allocator::Allocator;
/// # fn main() { assert_eq!(vec![7; 20].len(), 20); }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator;

/// What every block is aligned to.
const WORD: usize = align_of::<usize>();

/// Says whether any block of so many bytes is aligned as it is to be.
#[inline]
const fn is_aligned_anyway(bytes: usize, align: usize) -> bool {
    align <= WORD || align == 2 * WORD && bytes >= align
}

// SAFETY: blocks are of the size asked for, aligned as asked for: by the functions for aligned
// memory, or by themselves, as mimalloc promises what C's `malloc` does. Each stays until it is
// freed, by the one function that frees both kinds.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_aligned_anyway(layout.size(), layout.align()) {
            // SAFETY: takes any size.
            unsafe { mi_malloc(layout.size()).cast() }
        } else {
            // SAFETY: takes any size, and the alignment of a layout is a power of two.
            unsafe { mi_malloc_aligned(layout.size(), layout.align()).cast() }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_aligned_anyway(layout.size(), layout.align()) {
            // SAFETY: takes any size.
            unsafe { mi_zalloc(layout.size()).cast() }
        } else {
            // SAFETY: takes any size, and the alignment of a layout is a power of two.
            unsafe { mi_zalloc_aligned(layout.size(), layout.align()).cast() }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the block was made above.
        unsafe { mi_free(block.cast::<c_void>()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_aligned_anyway(size, layout.align()) {
            // SAFETY: the block was made above; takes any size.
            unsafe { mi_realloc(block.cast::<c_void>(), size).cast() }
        } else {
            // SAFETY: the same, and the alignment of a layout is a power of two.
            unsafe { mi_realloc_aligned(block.cast::<c_void>(), size, layout.align()).cast() }
        }
    }
}

/// The option `purge_delay` of mimalloc 3, which its bindings do not name.
const PURGE_DELAY: mi_option_t = 15;

/// Freed memory goes back to the system after this time. Result after result of the same size,
/// as streams give them, then never faults a page in twice; that costs more than the join itself.
const PURGE_DELAY_MS: c_long = 60_000;

/// Has freed memory kept for a minute, to be used again; to be called once, at the start. An
/// environment variable of mimalloc's own (`MIMALLOC_PURGE_DELAY`) overrides it.
///
/// ```
/// fletching_allocator::keep_freed_memory();
/// ```
pub fn keep_freed_memory() {
    // SAFETY: stores a number in a table of options, which other threads may read meanwhile.
    unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};

    use super::{Allocator, PURGE_DELAY};

    #[test]
    fn the_option_is_the_one_with_a_delay_by_default() {
        // SAFETY: reads a number from a table of options.
        let delay_ms = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        // Its neighbours are 0 by default.
        assert!(delay_ms > 0, "{delay_ms}");
    }

    #[test]
    fn blocks_are_aligned_zeroed_and_kept_when_they_grow() {
        for (mark, align) in (1_u8..).zip([1, 2, 4, 8, 16, 64, 4096]) {
            let sizes = (1..200).chain([1000, 1024, 5000, 70_000, 3_000_000]);
            let mut blocks = Vec::new();
            for size in sizes {
                let layout = Layout::from_size_align(size, align).unwrap();
                let grown = Layout::from_size_align(size * 2 + 1, align).unwrap();
                // SAFETY: no size is 0, bytes are read and written within their blocks, and each
                // block is freed once, with the layout it has by then.
                unsafe {
                    let block = Allocator.alloc_zeroed(layout);
                    assert!(block.addr().is_multiple_of(align) && !block.is_null());
                    let bytes = std::slice::from_raw_parts_mut(block, size);
                    assert!(bytes.iter().all(|byte| *byte == 0));
                    bytes.fill(mark);
                    let block = Allocator.realloc(block, layout, grown.size());
                    assert!(block.addr().is_multiple_of(align) && !block.is_null());
                    let bytes = std::slice::from_raw_parts(block, size);
                    assert!(bytes.iter().all(|byte| *byte == mark));
                    let other = Allocator.alloc(layout);
                    assert!(other.addr().is_multiple_of(align) && !other.is_null());
                    other.write_bytes(0xFF, size);
                    blocks.push((block, grown));
                    blocks.push((other, layout));
                }
            }
            // SAFETY: as above.
            blocks
                .into_iter()
                .for_each(|(block, layout)| unsafe { Allocator.dealloc(block, layout) });
        }
    }
}
