//! Places at which a debug build ends itself, as a kill would, where `FLETCHING_ABORT_AT` says so.
//!
//! `prepared:3` is the third time that an epoch was prepared. Besides the phases of an epoch
//! (`pipeline/phase.rs`) there are:
//!
//! ```text
//!  loading              a table's source was opened, or gave rows before the table was ready
//!  restoring_table      the state of a table was read, and nothing of it was published yet
//!  writing_table        half of a file of a table's state is written, under another name
//!  writing_checkpoint   half of a checkpoint is
//! ```
//!
//! A release build knows nothing of it.

/// Comes by a place.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn pass(_place: &str) {}

/// Comes by a place, and ends the program if this is the one, and the time.
#[cfg(debug_assertions)]
pub(crate) fn pass(place: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// The place, and how often it is still to be passed.
    static TARGET: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let text = std::env::var("FLETCHING_ABORT_AT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(count.parse().unwrap_or(1))))
    });
    if let Some((name, left)) = target
        && name.eq_ignore_ascii_case(place)
        && left.fetch_sub(1, Relaxed) == 1
    {
        std::process::abort();
    }
}
