//! The world around a simulated pipeline: what survives its crashes, and what goes wrong in it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;

use super::letters::{is_uncomputable, is_undecodable, letter, record_of};
use super::sides::{SideWay, is_missed, late_ones, records_of, time_of};
use crate::checkpoint::{Storage, StorageError, StorageErrorKind, StorageLock, StorageResult, StoredObject};
use crate::clock::Clock;
use crate::connector::{Branch, Chunk, DeadLetter, EpochWriter, Polled, Position, Shown, SinkSummary};
use crate::error::{Error, Result};
use crate::pipeline::inbox::Inbox;

/// A row of the output: partition, number in it, and what the table says.
pub(super) type Row = (i64, i64, Option<i64>);

/// Numbers that follow from a seed (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    /// Returns a place in something of a length.
    pub(super) fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.roll(length as u64)).unwrap()
    }
}

/// Dead letters that were prepared, and with which positions.
type PreparedLetters = (Vec<Position>, Vec<(i64, i64)>);

/// What survives a crash, and the dice that all roll.
#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    /// How many things may still go wrong.
    pub(super) faults: u64,
    /// Rows of each partition.
    pub(super) partitions: Vec<i64>,
    files: BTreeMap<String, Vec<u8>>,
    prepared: BTreeMap<u64, Vec<Row>>,
    /// Of a sink whose epochs are transactions: the positions shown with the last.
    pub(super) shown: Option<Vec<Position>>,
    /// The number of the epoch they were shown with.
    shown_epoch: u64,
    pub(super) published: BTreeMap<u64, Vec<Row>>,
    /// The positions that the source was told last.
    pub(super) committed: Vec<Position>,
    /// Dead letters that the sink was given, by epoch.
    sink_letters_prepared: BTreeMap<u64, Vec<(i64, i64)>>,
    pub(super) sink_letters: BTreeMap<u64, Vec<(i64, i64)>>,
    /// Dead letters of a place beside the sink; whether there is one.
    pub(super) has_letter_place: bool,
    pub(super) letters_prepared: Option<PreparedLetters>,
    pub(super) letters: Vec<(i64, i64)>,
    /// What goes beside the rows, by where and by epoch; and whether records have a time to be late by.
    pub(super) side_way: SideWay,
    pub(super) is_timed: bool,
    pub(super) sides: BTreeMap<(&'static str, u64), Vec<(i64, i64)>>,
    pub(super) sides_prepared: BTreeMap<(&'static str, u64), Vec<(i64, i64)>>,
    /// What happened, for whoever looks into a failure.
    pub(super) log: Vec<String>,
}

pub(super) type Shared = Arc<Mutex<World>>;

impl World {
    pub(super) fn new(seed: u64) -> Shared {
        let mut dice = Dice::new(seed);
        let partitions = (0..1 + dice.roll(4))
            .map(|_| dice.roll(400).cast_signed())
            .collect();
        Arc::new(Mutex::new(Self {
            faults: dice.roll(14),
            partitions,
            files: BTreeMap::new(),
            prepared: BTreeMap::new(),
            shown: (dice.roll(3) == 0).then(Vec::new),
            published: BTreeMap::new(),
            committed: Vec::new(),
            sink_letters_prepared: BTreeMap::new(),
            sink_letters: BTreeMap::new(),
            has_letter_place: dice.roll(2) == 0,
            letters_prepared: None,
            letters: Vec::new(),
            shown_epoch: 0,
            side_way: [SideWay::Branch, SideWay::Later, SideWay::Sooner][dice.pick(3)],
            is_timed: dice.roll(2) == 0,
            sides: BTreeMap::new(),
            sides_prepared: BTreeMap::new(),
            log: Vec::new(),
            dice,
        }))
    }

    /// Says whether something goes wrong now, once in `times`.
    pub(super) fn fails(&mut self, what: &str, times: u64) -> bool {
        let fails = self.faults > 0 && self.dice.roll(times) == 0;
        if fails {
            self.faults -= 1;
            self.log.push(what.to_string());
        }
        fails
    }

    /// Damages the newest checkpoint, where there is another.
    pub(super) fn damage(&mut self) {
        let mut names: Vec<_> = self
            .files
            .keys()
            .filter(|name| name.starts_with("checkpoint"))
            .cloned()
            .collect();
        // Event times of an epoch that a transaction has shown are in its checkpoint alone.
        let is_precious = self.is_timed && self.shown.is_some();
        if is_precious || names.len() < 2 || !self.fails("damage", 3) {
            return;
        }
        let newest = names.pop().unwrap();
        let bytes = self.files.get_mut(&newest).unwrap();
        let at = self.dice.pick(bytes.len());
        if self.dice.roll(2) == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << self.dice.roll(8);
        }
    }

    /// Lists the late records of each partition.
    pub(super) fn late(&self) -> Vec<(i64, i64)> {
        let partitions = self.partitions.iter().enumerate();
        let of_one = |(p, rows): (usize, &i64)| -> Vec<_> {
            late_ones(*rows).into_iter().map(|k| (p as i64, k)).collect()
        };
        match self.is_timed {
            true => partitions.flat_map(of_one).collect(),
            false => Vec::new(),
        }
    }

    /// Lists the records that reach the query: partition after partition.
    pub(super) fn on_time(&self) -> Vec<(i64, i64)> {
        let late: HashSet<_> = self.late().into_iter().collect();
        let rows = self.partitions.iter().enumerate();
        rows.flat_map(|(p, rows)| (0..*rows).map(move |k| (p as i64, k)))
            .filter(|record| !is_undecodable(record.1) && !late.contains(record))
            .collect()
    }

    /// Returns all input that comes to rows as one batch.
    pub(super) fn good_rows(&self) -> RecordBatch {
        let mut rows = self.on_time();
        rows.retain(|(_, k)| !is_missed(*k) && !is_uncomputable(*k));
        batch_of(&rows)
    }
}

fn batch_of(rows: &[(i64, i64)]) -> RecordBatch {
    let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    RecordBatch::try_from_iter([
        ("p", column(rows.iter().map(|row| row.0).collect())),
        ("k", column(rows.iter().map(|row| row.1).collect())),
        ("ts", {
            let times = rows.iter().map(|row| time_of(row.1));
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)) as ArrayRef
        }),
    ])
    .unwrap()
}

/// Reads results back.
pub(super) fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let column = |at: usize| batch.column(at).as_primitive::<Int64Type>();
    let (p, k, v) = (column(0), column(1), column(2));
    let value = |row| v.is_valid(row).then(|| v.value(row));
    (0..batch.num_rows())
        .map(|row| (p.value(row), k.value(row), value(row)))
        .collect()
}

pub(super) fn broken(what: &str) -> Error {
    Error::External {
        message: format!("simulated: {what}"),
        source: None,
    }
}

/// A source whose partitions give what they have in chunks of any size, in any order.
pub(super) struct SimInbox {
    pub(super) world: Shared,
    /// The next row of each partition.
    pub(super) next: Vec<i64>,
}

impl Inbox for SimInbox {
    fn take(&mut self, _wait: Duration) -> Result<Polled> {
        let mut world = self.world.lock();
        if world.fails("source", 60) {
            return Err(broken("the source is away"));
        }
        let open: Vec<_> = (0..self.next.len())
            .filter(|p| self.next[*p] < world.partitions[*p])
            .collect();
        if open.is_empty() {
            return Ok(Polled::End);
        }
        if world.dice.roll(4) == 0 {
            return Ok(Polled::Idle);
        }
        let p = open[world.dice.pick(open.len())];
        let left = world.partitions[p] - self.next[p];
        let rows = (1 + world.dice.roll(60).cast_signed()).min(left);
        let from = self.next[p];
        self.next[p] += rows;
        let rows = (from..from + rows).map(|k| (p as i64, k));
        let (bad, rows): (Vec<_>, Vec<_>) = rows.partition(|(_, k)| is_undecodable(*k));
        let position = Position {
            partition: p.to_string().into(),
            place: self.next[p].to_string(),
        };
        Ok(Polled::Records(Chunk {
            letters: bad.into_iter().map(|(p, k)| letter(p, k)).collect(),
            places: rows.iter().map(|(_, k)| *k).collect(),
            ..Chunk::new(batch_of(&rows), position)
        }))
    }

    fn committed(&mut self, positions: Vec<Position>) -> Result<()> {
        let mut world = self.world.lock();
        if world.fails("committed", 60) {
            return Err(broken("positions are not taken"));
        }
        world.committed = positions;
        Ok(())
    }

    fn has_caught_up(&self) -> bool {
        false
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A sink as the contract has it: what is prepared is durable, what is committed is seen.
pub(super) struct SimSink {
    pub(super) world: Shared,
    pub(super) making: Vec<Row>,
    pub(super) letters: Vec<(i64, i64)>,
    /// What goes to other sinks, by name.
    pub(super) branches: Vec<(&'static str, Vec<(i64, i64)>)>,
    /// The positions of the epoch that was prepared.
    pub(super) positions: Vec<Position>,
}

impl EpochWriter for SimSink {
    fn shown(&mut self) -> Result<Option<Shown>> {
        let world = self.world.lock();
        Ok(world.shown.clone().map(|positions| Shown {
            epoch: world.shown_epoch,
            positions,
        }))
    }

    fn take_branch(&mut self, branch: &Branch) -> Result<Option<usize>> {
        let name = branch.downcast_ref::<&'static str>().unwrap();
        self.branches.push((name, Vec::new()));
        Ok(Some(self.branches.len() - 1))
    }

    fn write_branch(&mut self, branch: usize, batch: &RecordBatch) -> Result<()> {
        self.branches[branch].1.extend(records_of(batch));
        Ok(())
    }

    fn restore(&mut self, epoch: u64) -> Result<()> {
        {
            let mut world = self.world.lock();
            if world.shown.is_some() {
                // A transaction that was not committed is gone, and one that was is not taken back.
                world.prepared.clear();
                world.sink_letters_prepared.clear();
                if world.side_way == SideWay::Branch {
                    world.sides_prepared.clear();
                }
                return Ok(());
            }
            if world.side_way == SideWay::Branch {
                world.sides.retain(|(_, known), _| *known <= epoch);
                world.sides_prepared.retain(|(_, known), _| *known == epoch);
            }
            world.published.retain(|known, _| *known <= epoch);
            world.prepared.retain(|known, _| *known == epoch);
            world.sink_letters.retain(|known, _| *known <= epoch);
            world.sink_letters_prepared.retain(|known, _| *known == epoch);
        }
        match epoch {
            0 => Ok(()),
            _ => self.commit(epoch).map(|_| ()),
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.making.extend(rows_of(batch));
        Ok(())
    }

    fn write_letters(&mut self, letters: &[DeadLetter]) -> Result<()> {
        self.letters.extend(letters.iter().map(record_of));
        Ok(())
    }

    fn prepare(&mut self, epoch: u64, positions: &[Position]) -> Result<()> {
        let mut world = self.world.lock();
        if world.fails("prepare", 20) {
            return Err(broken("the disk of the sink is full"));
        }
        world.prepared.insert(epoch, std::mem::take(&mut self.making));
        let letters = std::mem::take(&mut self.letters);
        world.sink_letters_prepared.insert(epoch, letters);
        for (name, rows) in &mut self.branches {
            world.sides_prepared.insert((*name, epoch), std::mem::take(rows));
        }
        self.positions = positions.to_vec();
        Ok(())
    }

    fn commit(&mut self, epoch: u64) -> Result<SinkSummary> {
        let mut world = self.world.lock();
        if world.fails("commit", 10) {
            return Err(broken("the sink is away"));
        }
        if let Some(rows) = world.prepared.remove(&epoch) {
            world.published.entry(epoch).or_default().extend(rows);
            let letters = world.sink_letters_prepared.remove(&epoch).unwrap_or_default();
            world.sink_letters.entry(epoch).or_default().extend(letters);
            for (name, _) in &self.branches {
                let rows = world.sides_prepared.remove(&(*name, epoch)).unwrap_or_default();
                world.sides.entry((*name, epoch)).or_default().extend(rows);
            }
            if let Some(shown) = &mut world.shown {
                shown.clone_from(&self.positions);
                world.shown_epoch = epoch;
            }
        }
        Ok(SinkSummary::default())
    }
}

/// A storage that is full now and then, and whose answer is lost now and then; what it has written stays.
pub(super) struct SimStorage(pub(super) Shared);

impl std::fmt::Debug for SimStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimStorage")
    }
}

/// Nobody else is there.
struct SimLock;

impl StorageLock for SimLock {}

impl Storage for SimStorage {
    fn place(&self) -> String {
        "simulated".into()
    }

    fn folder(&self, _name: &str) -> Arc<dyn Storage> {
        Arc::new(Self(Arc::clone(&self.0)))
    }

    fn make(&self) -> StorageResult<()> {
        Ok(())
    }

    fn folders(&self) -> StorageResult<Vec<String>> {
        Ok(Vec::new())
    }

    fn objects(&self) -> StorageResult<Vec<StoredObject>> {
        let world = self.0.lock();
        let object = |(name, bytes): (&String, &Vec<u8>)| StoredObject {
            name: name.clone(),
            bytes: bytes.len() as u64,
        };
        Ok(world.files.iter().map(object).collect())
    }

    fn read(&self, name: &str) -> StorageResult<Vec<u8>> {
        let files = &self.0.lock().files;
        let found = files.get(name).cloned();
        found.ok_or_else(|| StorageError::new(StorageErrorKind::NotFound, name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> StorageResult<()> {
        let mut world = self.0.lock();
        if world.fails("disk", 15) {
            return Err(StorageError::new(StorageErrorKind::Full, "full"));
        }
        world.files.insert(name.to_string(), bytes.to_vec());
        if world.fails("answer", 15) {
            return Err(StorageError::new(StorageErrorKind::Unavailable, "no answer"));
        }
        Ok(())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> StorageResult<()> {
        if self.0.lock().files.contains_key(name) {
            return Err(StorageError::new(StorageErrorKind::AlreadyExists, name));
        }
        self.write(name, bytes)
    }

    fn remove(&self, name: &str) -> StorageResult<()> {
        let mut world = self.0.lock();
        if world.fails("remove", 15) {
            return Err(StorageError::new(StorageErrorKind::Denied, name));
        }
        world.files.remove(name);
        Ok(())
    }

    fn try_lock(&self) -> StorageResult<Option<Box<dyn StorageLock>>> {
        Ok(Some(Box::new(SimLock)))
    }
}

/// A clock that moves by any amount whenever it is looked at.
pub(super) struct SimClock(pub(super) Shared, pub(super) Mutex<u64>);

impl Clock for SimClock {
    fn now_us(&self) -> i64 {
        self.elapsed_us().cast_signed()
    }

    fn elapsed_us(&self) -> u64 {
        let mut now = self.1.lock();
        *now += self.0.lock().dice.roll(3000);
        *now
    }
}
