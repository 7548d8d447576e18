//! Event time: how far each partition has come, and which records come too late.
//!
//! A partition's watermark is the largest event time it has shown, less the delay that the stream
//! declares. A record below the watermark of its own partition is late. Whether one is depends on
//! the records before it in its partition alone, however they were cut into batches. The
//! pipeline's watermark is the least of those of its partitions that are not idle.
//!
//! A record far in the future would push the watermark past all that follow it. One that is more
//! than `watermark.ahead_max` ahead of the clock passes, but leaves the watermark as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, PrimitiveArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};

use crate::clock::Clock;
use crate::error::{Error, Result};

/// What becomes of late records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Late {
    /// They pass.
    #[default]
    Keep,
    /// They are left out.
    Drop,
    /// They go to a sink of their own.
    Apart,
}

/// What a stream says of its event time, and the settings that go with it.
#[derive(Debug, Clone)]
pub(crate) struct EventTimeSpec {
    /// The column, by position in the stream.
    pub(crate) column: usize,
    /// How much later than its successors a record may come.
    pub(crate) delay_us: i64,
    /// How far ahead of the clock a record moves the watermark at most.
    pub(crate) ahead_max_us: i64,
    /// After how long without records a partition no longer holds the watermark back.
    pub(crate) idle_us: u64,
    /// What becomes of late records.
    pub(crate) late: Late,
}

/// What became of some records.
pub(crate) struct Taken {
    /// Those that go on.
    pub(crate) passed: RecordBatch,
    /// The late ones, where they go elsewhere.
    pub(crate) apart: Option<RecordBatch>,
    /// How many were late.
    pub(crate) late: u64,
    /// Which of them do not go on; empty where all do.
    out: Vec<bool>,
}

impl Taken {
    /// Says whether a record does not go on.
    pub(crate) fn is_out(&self, at: usize) -> bool {
        self.out.get(at).copied().unwrap_or(false)
    }
}

/// Follows the event time of a stream.
#[derive(Debug)]
pub(crate) struct EventTime {
    spec: EventTimeSpec,
    partitions: BTreeMap<Arc<str>, Partition>,
}

#[derive(Debug)]
struct Partition {
    /// The largest event time seen.
    newest_us: i64,
    /// When a record came last.
    seen_us: u64,
}

impl EventTime {
    /// Begins where a checkpoint left off.
    pub(crate) fn new(spec: EventTimeSpec, marks: &[(String, i64)]) -> Self {
        let partition = |(name, newest_us): &(String, i64)| {
            let partition = Partition {
                newest_us: *newest_us,
                seen_us: 0,
            };
            (Arc::from(name.as_str()), partition)
        };
        Self {
            spec,
            partitions: marks.iter().map(partition).collect(),
        }
    }

    /// Forgets all partitions: they go to others, or come again.
    pub(crate) fn forget(&mut self) {
        self.partitions.clear();
    }

    /// Takes note of records of a partition, and tells the late ones from the others.
    pub(crate) fn take(
        &mut self,
        batch: RecordBatch,
        partition: &Arc<str>,
        clock: &dyn Clock,
    ) -> Result<Taken> {
        let times = times_of(&batch, self.spec.column)?;
        let now_us = clock.now_us();
        let bound_us = now_us.saturating_add(self.spec.ahead_max_us);
        let before = self.partitions.get(partition).map(|known| known.newest_us);
        let mut newest_us = before.unwrap_or(i64::MIN);
        let mut is_late = Vec::with_capacity(times.len());
        let mut late = 0;
        for time_us in &times {
            // A record without a time is never late and moves nothing.
            let time_us = time_us.unwrap_or(i64::MAX);
            let is_behind = newest_us != i64::MIN && time_us < newest_us.saturating_sub(self.spec.delay_us);
            late += u64::from(is_behind);
            is_late.push(is_behind);
            if time_us <= bound_us {
                newest_us = newest_us.max(time_us);
            }
        }
        if newest_us != i64::MIN {
            let seen_us = clock.elapsed_us();
            let seen = Partition { newest_us, seen_us };
            self.partitions.insert(Arc::clone(partition), seen);
        }
        if late == 0 || self.spec.late == Late::Keep {
            return Ok(Taken {
                passed: batch,
                apart: None,
                late,
                out: Vec::new(),
            });
        }
        let passes: BooleanArray = is_late.iter().map(|is_late| Some(!is_late)).collect();
        let apart = match self.spec.late {
            Late::Apart => {
                let is_late: BooleanArray = is_late.iter().copied().map(Some).collect();
                Some(filter_record_batch(&batch, &is_late)?)
            }
            _ => None,
        };
        Ok(Taken {
            passed: filter_record_batch(&batch, &passes)?,
            apart,
            late,
            out: is_late,
        })
    }

    /// Returns the event time before which nothing more is expected; none while nothing was seen.
    pub(crate) fn watermark_us(&self, clock: &dyn Clock) -> Option<i64> {
        let now = clock.elapsed_us();
        let mark = |partition: &Partition| partition.newest_us.saturating_sub(self.spec.delay_us);
        let is_awake = |partition: &&Partition| now.saturating_sub(partition.seen_us) <= self.spec.idle_us;
        let awake = self.partitions.values().filter(is_awake).map(mark).min();
        // Where all are idle, the one that has come furthest tells.
        awake.or_else(|| self.partitions.values().map(mark).max())
    }

    /// Returns the largest event time of each partition, for a checkpoint.
    pub(crate) fn marks(&self) -> Vec<(String, i64)> {
        let mark = |(name, partition): (&Arc<str>, &Partition)| (name.to_string(), partition.newest_us);
        self.partitions.iter().map(mark).collect()
    }
}

/// Returns a column as microseconds since 1970.
fn times_of(batch: &RecordBatch, column: usize) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let column = batch.column(column);
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let times = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    match times.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) => Ok(times.clone()),
        None => Err(Error::internal("an event time that is no time")),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, TimestampMicrosecondArray};

    use super::*;

    struct At(i64, u64);

    impl Clock for At {
        fn now_us(&self) -> i64 {
            self.0
        }

        fn elapsed_us(&self) -> u64 {
            self.1
        }
    }

    fn event_time(late: Late) -> EventTime {
        let spec = EventTimeSpec {
            column: 0,
            delay_us: 5,
            ahead_max_us: 100,
            idle_us: 1000,
            late,
        };
        EventTime::new(spec, &[])
    }

    fn batch(times: &[Option<i64>]) -> RecordBatch {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("ts", times, true)]).unwrap()
    }

    #[test]
    fn lateness_does_not_depend_on_the_cut() {
        let times = [10, 20, 14, 15, 13, 40, 34, 35, 9].map(Some);
        let name: Arc<str> = "p".into();
        let clock = At(0, 0);
        for cut in 0..=times.len() {
            let mut whole = event_time(Late::Apart);
            let (mut kept, mut late, mut apart, mut out) = (0, 0, 0, 0);
            for part in [&times[..cut], &times[cut..]] {
                let taken = whole.take(batch(part), &name, &clock).unwrap();
                kept += taken.passed.num_rows();
                out += (0..part.len()).filter(|at| taken.is_out(*at)).count();
                late += taken.late;
                apart += taken.apart.map_or(0, |apart| apart.num_rows());
            }
            // 14 and 13 are below 20 - 5, 34 and 9 below 40 - 5.
            assert_eq!((kept, late, apart, out), (5, 4, 4, 4), "cut at {cut}");
            assert_eq!(whole.watermark_us(&clock), Some(35));
        }
    }

    #[test]
    fn the_slowest_partition_that_is_awake_tells_the_time() {
        let mut time = event_time(Late::Keep);
        let clock = At(50, 0);
        time.take(batch(&[Some(50)]), &"fast".into(), &clock).unwrap();
        time.take(batch(&[Some(20), None]), &"slow".into(), &clock)
            .unwrap();
        assert_eq!(time.watermark_us(&clock), Some(15));
        time.take(batch(&[Some(60)]), &"fast".into(), &At(60, 900))
            .unwrap();
        assert_eq!(time.watermark_us(&At(60, 1001)), Some(55));
        let resumed = EventTime::new(time.spec.clone(), &time.marks());
        assert_eq!(resumed.watermark_us(&clock), Some(15));
    }

    #[test]
    fn a_record_from_the_far_future_moves_nothing() {
        let mut time = event_time(Late::Drop);
        let name: Arc<str> = "p".into();
        let clock = At(100, 0);
        let records = batch(&[Some(90), Some(10_000), Some(91)]);
        let taken = time.take(records, &name, &clock).unwrap();
        assert_eq!((taken.passed.num_rows(), taken.late), (3, 0));
        assert_eq!(time.watermark_us(&clock), Some(86));
    }
}
