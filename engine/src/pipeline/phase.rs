//! The phases of an epoch, and what is done at their borders: nothing, but in tests.

use crate::error::Result;
use crate::kill_points;

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
    /// Returns its name.
    fn name(self) -> &'static str {
        match self {
            Self::Restoring => "restoring",
            Self::Restored => "restored",
            Self::Polled => "polled",
            Self::Computed => "computed",
            Self::Written => "written",
            Self::Prepared => "prepared",
            Self::Checkpointed => "checkpointed",
            Self::Committed => "committed",
        }
    }

    /// All of them.
    #[cfg(test)]
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

/// Comes by the places at which a debug build can be made to end.
pub(crate) fn at_phases() -> AtPhase {
    Box::new(|phase| {
        kill_points::pass(phase.name());
        Ok(())
    })
}
