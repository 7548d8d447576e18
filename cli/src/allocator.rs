//! The allocator, and how long it keeps what is freed.
#![expect(
    unsafe_code,
    reason = "the allocator's options are set through its C interface"
)]

/// Small allocations from several threads at once are what a query is made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The option `purge_delay` of mimalloc 3, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Freed memory goes back to the system after this time. Result after result of the same size,
/// as streams give them, then never faults a page in twice; that costs more than the join itself.
const PURGE_DELAY_MS: std::ffi::c_long = 60_000;

/// Sets the options; an environment variable of mimalloc's own overrides them.
pub(crate) fn tune() {
    // SAFETY: called once, at the start, before other threads allocate; the function stores a
    // number in a table of options.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_option_is_the_one_with_a_delay_by_default() {
        // SAFETY: reads a number from a table of options.
        let delay_ms = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        // Its neighbours are 0 by default.
        assert!(delay_ms > 0, "{delay_ms}");
    }
}
