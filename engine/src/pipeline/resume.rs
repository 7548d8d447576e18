//! Where a pipeline goes on: what its checkpoints say, and what its sink says that knows better.
//!
//! A sink that shows positions with its rows, as a transaction does, may stand an epoch behind the newest
//! checkpoint: then that epoch came to nothing, and all is taken from the checkpoint before. It stands
//! ahead where the newest checkpoint was damaged.

use super::epochs::State;
use crate::checkpoint::{Checkpoint, Keeper};
use crate::connector::{EpochWriter, Shown};
use crate::error::Result;

/// What a pipeline takes over from its former life.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    pub(crate) state: State,
    /// The largest event time seen of each partition.
    pub(crate) watermarks: Vec<(String, i64)>,
    /// Late records counted so far.
    pub(crate) late: u64,
    /// Whether the sink shows positions with its rows: then nobody else may note them in its name.
    pub(crate) is_of_the_sink: bool,
}

impl Resumed {
    /// Takes over from a checkpoint.
    fn of_checkpoint(checkpoint: &Checkpoint) -> Self {
        Self {
            state: State::of_checkpoint(checkpoint),
            watermarks: checkpoint.watermarks.clone(),
            late: checkpoint.counter("late"),
            is_of_the_sink: false,
        }
    }

    /// Takes over the counters alone, where a group says from where partitions are read.
    pub(crate) fn of_a_member(checkpoint: Option<&Checkpoint>) -> Self {
        let mut resumed = checkpoint.map_or_else(Self::default, Self::of_checkpoint);
        resumed.state.resume_at(Vec::new());
        resumed.watermarks.clear();
        resumed
    }

    /// Finds where to go on.
    ///
    /// # Errors
    /// Fails where the sink cannot be asked.
    pub(crate) fn new(
        checkpoint: Option<&Checkpoint>,
        keeper: Option<&Keeper>,
        writer: &mut dyn EpochWriter,
    ) -> Result<Self> {
        let resumed = checkpoint.map_or_else(Self::default, Self::of_checkpoint);
        let Some(shown) = writer.shown()? else {
            return Ok(resumed);
        };
        Ok(Self {
            is_of_the_sink: true,
            ..resumed.at(shown, keeper)
        })
    }

    /// Goes to where the sink stands.
    fn at(self, shown: Shown, keeper: Option<&Keeper>) -> Self {
        let mut resumed = self;
        // A place that says it has shown nothing, where it has shown epochs, has forgotten them.
        if shown.epoch == 0 && resumed.state.has_shown() {
            return resumed;
        }
        if shown.epoch < resumed.state.epoch() {
            let before = keeper.and_then(|keeper| keeper.older(shown.epoch));
            match before {
                Some(before) => resumed = Self::of_checkpoint(&before),
                None if shown.epoch == 0 => resumed = Self::default(),
                // Records come again that this checkpoint's event times have seen: none of them is late.
                None => resumed.watermarks.clear(),
            }
        }
        resumed.state.resume_after(shown.epoch);
        resumed.state.resume_at(shown.positions);
        resumed
    }
}
