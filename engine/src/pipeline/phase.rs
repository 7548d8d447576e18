//! The phases of an epoch, and what is done at their borders: nothing, but in tests.

use crate::error::Result;

/// The borders between the phases of a pipeline's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The checkpoint was read; nothing was told to the sink yet.
    Restoring,
    /// The sink stands where the checkpoint does.
    Restored,
    /// Records were taken from the source.
    Polled,
    /// They were computed.
    Computed,
    /// The results were given to the sink.
    Written,
    /// The sink has made them durable.
    Prepared,
    /// The checkpoint is written.
    Checkpointed,
    /// The sink shows the epoch.
    Committed,
}

impl Phase {
    /// All of them.
    #[cfg(any(test, debug_assertions))]
    pub(crate) const ALL: [Self; 8] = [
        Self::Restoring,
        Self::Restored,
        Self::Polled,
        Self::Computed,
        Self::Written,
        Self::Prepared,
        Self::Checkpointed,
        Self::Committed,
    ];
}

/// What is called at each border.
pub(crate) type AtPhase = Box<dyn FnMut(Phase) -> Result<()> + Send>;

/// Does nothing at the borders.
#[cfg(not(debug_assertions))]
pub(crate) fn at_phases() -> AtPhase {
    Box::new(|_| Ok(()))
}

/// Ends the program, as a kill would, where `FLETCHING_ABORT_AT` says so: `prepared:3` is the third
/// time that an epoch was prepared. A release build knows nothing of it.
#[cfg(debug_assertions)]
pub(crate) fn at_phases() -> AtPhase {
    let Ok(text) = std::env::var("FLETCHING_ABORT_AT") else {
        return Box::new(|_| Ok(()));
    };
    let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
    let mut left: u64 = count.parse().unwrap_or(1);
    let target = Phase::ALL
        .into_iter()
        .find(|phase| format!("{phase:?}").eq_ignore_ascii_case(name));
    Box::new(move |phase| {
        if Some(phase) == target {
            left = left.saturating_sub(1);
            if left == 0 {
                std::process::abort();
            }
        }
        Ok(())
    })
}
