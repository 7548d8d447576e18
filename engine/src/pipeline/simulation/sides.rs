//! What goes beside the rows in the simulated world: which records come late, which have no match, and
//! the sinks that take them.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use parking_lot::Mutex;

use super::letters::is_undecodable;
use super::world::{Shared, broken};
use crate::connector::{Branch, EpochWriter, Position, Shown, Sink, SinkSummary, SinkWriter};
use crate::error::{Error, Result};
use crate::operator::letter_schema;
use crate::pipeline::{EventTimeSpec, LATE, Late, Side, Sides};

/// The name of the sink of letters about rows without a match.
pub(super) const MISSED: &str = "missed";

/// What is behind the times by this much is late.
const DELAY_US: i64 = 50;

/// How rows get into the sinks beside the pipeline's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SideWay {
    /// With the rows.
    Branch,
    /// After them.
    Later,
    /// Before the checkpoint, at least once.
    Sooner,
}

/// Returns the event time of a record: most go up, some fall back.
pub(super) fn time_of(k: i64) -> i64 {
    k * 10 - if k % 10 == 7 { 200 } else { 0 }
}

/// Lists the records of a partition that come late, by the rule in its plainest form.
pub(super) fn late_ones(rows: i64) -> Vec<i64> {
    let seen: Vec<i64> = (0..rows).filter(|k| !is_undecodable(*k)).collect();
    let is_late = |at: usize| {
        let newest = seen[..at].iter().map(|k| time_of(*k)).max();
        newest.is_some_and(|newest| time_of(seen[at]) < newest - DELAY_US)
    };
    (0..seen.len())
        .filter(|at| is_late(*at))
        .map(|at| seen[at])
        .collect()
}

/// Says whether the query looks a row up in vain.
pub(super) fn is_missed(k: i64) -> bool {
    k % 3 != 1 && matches!(k % 17, 3 | 8)
}

pub(super) fn event_time_spec() -> EventTimeSpec {
    EventTimeSpec {
        column: 2,
        delay_us: DELAY_US,
        ahead_max_us: i64::MAX / 2,
        idle_us: u64::MAX,
        late: Late::Apart,
    }
}

/// Opens the sinks beside `writer`.
pub(super) fn open(world: &Shared, writer: &mut dyn EpochWriter, input: &SchemaRef) -> Sides {
    let mut sides = Sides::default();
    for (name, schema) in [(LATE, input), (MISSED, &letter_schema())] {
        let sink: Arc<dyn Sink> = Arc::new(SimSideSink(Arc::clone(world), name));
        let side = Side {
            name: name.into(),
            sink: &sink,
            schema,
            rate_max: 1.0,
            rate_option: "rate_max",
        };
        sides.open(&side, writer, ("simulated", None)).unwrap();
    }
    sides
}

/// Reads which records a batch for a side is about.
pub(super) fn records_of(batch: &RecordBatch) -> Vec<(i64, i64)> {
    if let Some(rows) = batch.column_by_name("stream_row") {
        let number = |text: &str, name: &str| -> i64 {
            let from = text.split(&format!("\"{name}\":")).nth(1).unwrap();
            from.split([',', '}']).next().unwrap().parse().unwrap()
        };
        let rows = rows.as_string::<i32>().iter().flatten();
        return rows.map(|row| (number(row, "p"), number(row, "k"))).collect();
    }
    let column = |at: usize| batch.column(at).as_primitive::<Int64Type>();
    let rows = 0..batch.num_rows();
    rows.map(|row| (column(0).value(row), column(1).value(row)))
        .collect()
}

struct SimSideSink(Shared, &'static str);

impl std::fmt::Debug for SimSideSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.1)
    }
}

impl Sink for SimSideSink {
    fn create(&self, _: &SchemaRef) -> Result<Box<dyn SinkWriter>> {
        Err(Error::internal("a side is written epoch by epoch"))
    }

    fn branch(&self, _: &SchemaRef) -> Result<Option<Branch>> {
        let is_branch = self.0.lock().side_way == SideWay::Branch;
        Ok(is_branch.then(|| Arc::new(self.1) as Branch))
    }

    fn side_epochs(&self, _: &SchemaRef, consumer: &str) -> Result<Box<dyn EpochWriter>> {
        assert!(["simulated.late", "simulated.missed"].contains(&consumer));
        Ok(Box::new(SimSide {
            world: Arc::clone(&self.0),
            name: self.1,
            making: Mutex::default(),
        }))
    }
}

/// A sink beside, as the contract has it.
struct SimSide {
    world: Shared,
    name: &'static str,
    making: Mutex<Vec<(i64, i64)>>,
}

impl EpochWriter for SimSide {
    fn shown(&mut self) -> Result<Option<Shown>> {
        let is_sooner = self.world.lock().side_way == SideWay::Sooner;
        Ok(is_sooner.then(Shown::default))
    }

    fn restore(&mut self, epoch: u64) -> Result<()> {
        {
            let mut world = self.world.lock();
            let name = self.name;
            world
                .sides
                .retain(|(of, known), _| *of != name || *known <= epoch);
            world
                .sides_prepared
                .retain(|(of, known), _| *of != name || *known == epoch);
        }
        match epoch {
            0 => Ok(()),
            _ => self.commit(epoch).map(drop),
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.making.lock().extend(records_of(batch));
        Ok(())
    }

    fn prepare(&mut self, epoch: u64, _: &[Position]) -> Result<()> {
        let mut world = self.world.lock();
        if world.fails("side prepare", 20) {
            return Err(broken("the disk beside is full"));
        }
        let made = std::mem::take(&mut *self.making.lock());
        world.sides_prepared.insert((self.name, epoch), made);
        Ok(())
    }

    fn commit(&mut self, epoch: u64) -> Result<SinkSummary> {
        let mut world = self.world.lock();
        if world.fails("side commit", 15) {
            return Err(broken("the sink beside is away"));
        }
        if let Some(made) = world.sides_prepared.remove(&(self.name, epoch)) {
            world.sides.entry((self.name, epoch)).or_default().extend(made);
        }
        Ok(SinkSummary::default())
    }
}
