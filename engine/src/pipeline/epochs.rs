//! The epoch loop.
//!
//! ```text
//!             ┌──────────────── a round ─────────────────┐
//!  restore ─▶ poll ─▶ run (tables pinned) ─▶ sink.write ─┤ until the epoch is due
//!             ▲                                          ▼
//!             │            turn (others wait) ─▶ sink.prepare ─▶ checkpoint ─▶ sink.commit
//!             └───────────────────────────────── feed.committed ◀──────────────────┘
//! ```
//!
//! An epoch is made of rounds: each takes what has arrived and computes it, so that latency is low
//! when there is little to do and batches are long when there is much. Everything from poll to
//! commit is synchronous. Time is asked only to decide when an epoch is due, never to compute.
//!
//! Whatever the moment of a crash, the next start finds one of two states: the checkpoint of an
//! epoch is there, and its output is durable and will be shown; or it is not, and the epoch's
//! records are read again from where the checkpoint before says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arrow::array::{Array, RecordBatch};

use super::bad_rows::{BadRows, Origin};
use super::counters::Counters;
use super::event_time::EventTime;
use super::inbox::Inbox;
use super::phase::{AtPhase, Phase};
use super::sharing::Sharing;
use super::sides::{LATE, Sides};
use crate::checkpoint::{Checkpoint, Keeper, Turn};
use crate::clock::Clock;
use crate::connector::{Chunk, DeadLetter, EpochWriter, Polled, Position, Retry};
use crate::error::{Error, Result};
use crate::prepared::{ChainPins, Prepared};

/// How large an epoch may grow, and how often one is committed.
#[derive(Debug, Clone)]
pub(crate) struct EpochLimits {
    /// Records taken in.
    pub(crate) rows_max: u64,
    /// Bytes of them in memory.
    pub(crate) bytes_max: u64,
    /// Time since its first record.
    pub(crate) us_max: u64,
    /// Time from one commit to the next at least.
    pub(crate) interval_us: u64,
    /// Records given out in all, where the query has a LIMIT.
    pub(crate) limit: Option<u64>,
}

/// Records of one round at most: enough to keep all cores busy, few enough to stay in memory.
const ROUND_ROWS_MAX: u64 = 1 << 17;
/// How long a round waits for its first record before it looks whether to stop.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(20);
/// How often a sink is asked to show an epoch.
const COMMIT_ATTEMPTS: u32 = 3;

/// A pipeline at work.
pub(crate) struct EpochLoop {
    pub(crate) query: Arc<Prepared>,
    pub(crate) inbox: Box<dyn Inbox>,
    pub(crate) writer: Box<dyn EpochWriter>,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) limits: EpochLimits,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) event_time: Option<EventTime>,
    /// What goes to other sinks than that of the rows.
    pub(crate) sides: Sides,
    /// What is done about records that become no row of the result.
    pub(crate) bad_rows: BadRows,
    pub(super) counters: Arc<Counters>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) at_phase: AtPhase,
    pub(crate) state: State,
    pub(crate) making: Making,
    pub(crate) sharing: Sharing,
}

/// Where the pipeline stands: what a checkpoint keeps.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The epoch committed last.
    epoch: u64,
    pub(super) positions: BTreeMap<Arc<str>, String>,
    pub(super) rows_in: u64,
    pub(super) rows_out: u64,
    pub(super) is_finished: bool,
}

impl State {
    /// Takes over where a checkpoint left off.
    pub(crate) fn of_checkpoint(checkpoint: &Checkpoint) -> Self {
        let positions = checkpoint.positions.iter();
        Self {
            epoch: checkpoint.epoch,
            positions: positions
                .map(|position| (Arc::clone(&position.partition), position.place.clone()))
                .collect(),
            rows_in: checkpoint.counter("rows_in"),
            rows_out: checkpoint.counter("rows_out"),
            is_finished: checkpoint.is_finished,
        }
    }

    /// Says whether some epoch was shown for certain: all before the one of the checkpoint, which may not
    /// have been.
    pub(crate) fn has_shown(&self) -> bool {
        self.epoch > 1
    }

    /// Takes the positions that the sink has shown where they are others: then the last epoch of
    /// the checkpoint never came to be.
    pub(crate) fn resume_at(&mut self, positions: Vec<Position>) {
        let positions = positions.into_iter();
        let positions = positions
            .map(|position| (position.partition, position.place))
            .collect();
        if self.positions != positions {
            self.positions = positions;
            self.is_finished = false;
        }
    }

    /// Returns the epoch committed last.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes the number of the epoch that the sink has shown last: what stands beside the rows is shown up
    /// to there.
    pub(crate) fn resume_after(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Returns where each partition stands.
    pub(crate) fn positions(&self) -> Vec<Position> {
        let position = |(partition, place): (&Arc<str>, &String)| Position {
            partition: Arc::clone(partition),
            place: place.clone(),
        };
        self.positions.iter().map(position).collect()
    }
}

/// The epoch in the making.
#[derive(Default)]
pub(crate) struct Making {
    pub(super) pins: Option<ChainPins>,
    pub(super) rows: u64,
    pub(super) rows_out: u64,
    pub(super) bytes: u64,
    /// When its first record came.
    pub(super) began_us: u64,
    /// When the one before was committed.
    pub(super) committed_us: u64,
}

/// What a round took in.
#[derive(Default)]
struct Round {
    batches: Vec<RecordBatch>,
    /// Where the rows of each are from.
    origins: Vec<Origin>,
    rows: u64,
    bytes: u64,
    /// Whether it is the last, and whether that is for good.
    is_last: bool,
    is_end: bool,
}

impl EpochLoop {
    /// Runs until the source ends, the LIMIT is reached or it is told to stop.
    pub(crate) fn run(&mut self) -> Result<()> {
        self.restore()?;
        if self.state.is_finished {
            return self.inbox.close();
        }
        while let Err(error) = self.go_on() {
            self.take_back(error)?;
        }
        self.inbox.close()
    }

    /// Makes epoch after epoch until the last is committed.
    fn go_on(&mut self) -> Result<()> {
        self.state.is_finished = self.is_at_limit();
        let mut is_last = self.state.is_finished;
        while !is_last {
            is_last = self.round()?;
            if self.sharing.is_revoked {
                self.release()?;
            } else if !is_last && self.making.rows > 0 && self.is_due() {
                self.publish()?;
            }
        }
        // That it has ended is worth a checkpoint of its own.
        if self.making.rows > 0 || self.state.is_finished && self.keeper.is_some() {
            self.publish()?;
        }
        Ok(())
    }

    /// Brings the sink to where the checkpoint stands.
    fn restore(&mut self) -> Result<()> {
        (self.at_phase)(Phase::Restoring)?;
        let turn = self.turn()?;
        self.writer.restore(self.state.epoch)?;
        self.sides.restore(self.state.epoch)?;
        self.bad_rows.restore(&self.state.positions())?;
        drop(turn);
        self.count();
        (self.at_phase)(Phase::Restored)
    }

    /// Takes what has arrived, computes it and gives it to the sink. Returns whether it was the last.
    fn round(&mut self) -> Result<bool> {
        let round = self.poll()?;
        self.counters
            .has_caught_up
            .store(self.inbox.has_caught_up(), Relaxed);
        if round.is_end {
            self.state.is_finished = true;
        }
        if round.rows == 0 {
            return Ok(round.is_last);
        }
        (self.at_phase)(Phase::Polled)?;
        self.state.rows_in += round.rows;
        self.making.rows += round.rows;
        self.making.bytes += round.bytes;
        let pins = match self.making.pins.take() {
            Some(pins) => pins,
            None => self.query.pin()?,
        };
        let query = (self.query.as_ref(), &pins);
        let computed = self.bad_rows.compute(query, &round.batches, &round.origins)?;
        self.making.pins = Some(pins);
        (self.at_phase)(Phase::Computed)?;
        for batch in computed.results.rows {
            self.write(&batch)?;
        }
        if !self.sides.are_none() {
            let rows = round.batches.iter().map(|batch| batch.num_rows() as u64);
            self.sides.saw(rows.sum(), false);
            for (sink, letters) in &computed.results.letters {
                self.count_letters(letters.num_rows());
                self.sides.write(sink, letters, self.writer.as_mut())?;
            }
        }
        self.count_letters(computed.letters.len());
        self.bad_rows.put(&computed.letters, self.writer.as_mut())?;
        (self.at_phase)(Phase::Written)?;
        if self.is_at_limit() {
            self.state.is_finished = true;
        }
        self.count();
        Ok(round.is_last || self.state.is_finished)
    }

    fn is_at_limit(&self) -> bool {
        self.limits
            .limit
            .is_some_and(|limit| self.state.rows_out >= limit)
    }

    /// Gives results to the sink, up to the LIMIT.
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows() as u64;
        let left = self
            .limits
            .limit
            .map_or(u64::MAX, |limit| limit - self.state.rows_out.min(limit));
        if left == 0 {
            return Ok(());
        }
        if rows > left {
            let left_rows = usize::try_from(left).unwrap_or(usize::MAX);
            self.state.rows_out += left;
            self.making.rows_out += left;
            let rest = batch.slice(0, left_rows);
            return self.on_threads(|writer| writer.write(&rest));
        }
        self.state.rows_out += rows;
        self.making.rows_out += rows;
        self.on_threads(|writer| writer.write(batch))
    }

    /// Has the sink do work that may be parallel where it should be.
    fn on_threads(&mut self, work: impl FnOnce(&mut dyn EpochWriter) -> Result<()> + Send) -> Result<()> {
        let writer = self.writer.as_mut();
        if writer.is_parallel() {
            self.query.on_threads(|| work(writer))
        } else {
            work(writer)
        }
    }

    fn poll(&mut self) -> Result<Round> {
        let mut round = Round::default();
        while !round.is_last {
            if self.stop.load(Relaxed) {
                round.is_last = true;
                break;
            }
            let wait = if round.rows == 0 {
                self.wait()
            } else {
                Duration::ZERO
            };
            let taken = self.inbox.take(wait);
            // A feed that has failed gives nothing more, not even what was taken back.
            self.sharing.is_on &= taken.is_ok();
            match taken? {
                Polled::Records(chunk) => {
                    self.take(&mut round, chunk)?;
                    let is_full = self.making.rows + round.rows >= self.limits.rows_max
                        || self.making.bytes + round.bytes >= self.limits.bytes_max;
                    if is_full || round.rows >= ROUND_ROWS_MAX {
                        break;
                    }
                }
                Polled::Gone(partition) => {
                    self.state.positions.remove(&partition);
                }
                Polled::Idle => break,
                Polled::Revoked => {
                    self.sharing.is_revoked = true;
                    break;
                }
                Polled::End => (round.is_last, round.is_end) = (true, true),
            }
        }
        Ok(round)
    }

    /// Takes a chunk into a round.
    fn take(&mut self, round: &mut Round, chunk: Chunk) -> Result<()> {
        let Chunk {
            batch,
            position,
            letters,
            mut places,
        } = chunk;
        if self.making.rows == 0 && round.rows == 0 {
            self.making.began_us = self.clock.elapsed_us();
        }
        let rows = batch.num_rows();
        round.rows += (rows + letters.len()) as u64;
        round.bytes += bytes_of(&batch) + letters.iter().map(bytes_of_letter).sum::<u64>();
        self.count_letters(letters.len());
        self.bad_rows.put_undecoded(&letters, self.writer.as_mut())?;
        let batch = match &mut self.event_time {
            Some(time) => {
                let taken = time.take(batch, &position.partition, self.clock.as_ref())?;
                self.counters.late.fetch_add(taken.late, Relaxed);
                self.sides.saw(rows as u64, true);
                if let Some(apart) = &taken.apart {
                    self.counters
                        .dead_letters
                        .fetch_add(apart.num_rows() as u64, Relaxed);
                    self.sides.write(LATE, apart, self.writer.as_mut())?;
                }
                let mut at = 0..rows;
                places.retain(|_| at.next().is_none_or(|at| !taken.is_out(at)));
                *self.counters.watermark_us.lock() = time.watermark_us(self.clock.as_ref());
                taken.passed
            }
            None => batch,
        };
        if batch.num_rows() > 0 {
            round.origins.push(Origin {
                partition: Arc::clone(&position.partition),
                places,
            });
            round.batches.push(batch);
        }
        self.state.positions.insert(position.partition, position.place);
        Ok(())
    }

    /// Returns how long to wait for a record: until the epoch in the making is due at most.
    fn wait(&self) -> Duration {
        if self.making.rows == 0 {
            return WAIT_MAX;
        }
        let now = self.clock.elapsed_us();
        let aged = self.making.began_us.saturating_add(self.limits.us_max);
        let due = aged.max(self.making.committed_us.saturating_add(self.limits.interval_us));
        Duration::from_micros(due.saturating_sub(now)).min(WAIT_MAX)
    }

    /// Says whether the epoch in the making is to be committed.
    fn is_due(&self) -> bool {
        let now = self.clock.elapsed_us();
        let is_grown = self.making.rows >= self.limits.rows_max
            || self.making.bytes >= self.limits.bytes_max
            || now.saturating_sub(self.making.began_us) >= self.limits.us_max;
        is_grown && now.saturating_sub(self.making.committed_us) >= self.limits.interval_us
    }

    /// Commits output, positions and counters as one.
    pub(super) fn publish(&mut self) -> Result<()> {
        let epoch = self.state.epoch + 1;
        let positions = self.state.positions();
        let turn = self.turn()?;
        self.on_threads(|writer| writer.prepare(epoch, &positions))
            .and_then(|()| self.sides.prepare(epoch, &positions))
            .and_then(|()| self.bad_rows.prepare(&positions))
            .map_err(|error| match &self.keeper {
                Some(keeper) => keeper.reason(error),
                None => error,
            })?;
        (self.at_phase)(Phase::Prepared)?;
        if let (Some(keeper), Some(turn)) = (&self.keeper, &turn) {
            keeper.write(&self.checkpoint(keeper, epoch, &positions), turn)?;
        }
        (self.at_phase)(Phase::Checkpointed)?;
        self.show(epoch)?;
        (self.at_phase)(Phase::Committed)?;
        drop(turn);
        if std::mem::take(&mut self.sharing.failures) > 0 {
            *self.counters.retry.lock() = None;
        }
        self.inbox.committed(positions)?;
        self.state.epoch = epoch;
        if let Some(pins) = self.making.pins.take() {
            self.query.unpin(pins);
        }
        self.making = Making {
            committed_us: self.clock.elapsed_us(),
            ..Making::default()
        };
        self.count();
        Ok(())
    }

    fn turn(&self) -> Result<Option<Turn>> {
        self.keeper.as_ref().map(Keeper::turn).transpose()
    }

    /// Has the sink show an epoch that is already part of the checkpoint.
    fn show(&mut self, epoch: u64) -> Result<()> {
        let mut attempt = 1;
        loop {
            let shown = self.writer.commit(epoch);
            let beside = shown.and_then(|_| self.sides.commit(epoch));
            match beside.and_then(|()| self.bad_rows.commit()) {
                Ok(()) => {
                    if attempt > 1 {
                        *self.counters.retry.lock() = None;
                    }
                    return Ok(());
                }
                Err(error @ (Error::File { .. } | Error::External { .. })) if attempt < COMMIT_ATTEMPTS => {
                    *self.counters.retry.lock() = Some(Retry {
                        attempts: u64::from(attempt),
                        reason: format!("to show epoch {epoch}: {error}"),
                    });
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn checkpoint(&self, keeper: &Keeper, epoch: u64, positions: &[Position]) -> Checkpoint {
        let late = self.counters.late.load(Relaxed);
        let counters = [
            ("rows_in", self.state.rows_in),
            ("rows_out", self.state.rows_out),
            ("late", late),
        ];
        Checkpoint {
            identity: keeper.identity().clone(),
            epoch,
            is_finished: self.state.is_finished,
            positions: positions.to_vec(),
            counters: counters.map(|(name, count)| (name.to_string(), count)).to_vec(),
            watermarks: self.event_time.as_ref().map_or_else(Vec::new, EventTime::marks),
        }
    }

    fn count_letters(&self, letters: usize) {
        self.counters.dead_letters.fetch_add(letters as u64, Relaxed);
    }

    pub(super) fn count(&self) {
        self.counters.rows_in.store(self.state.rows_in, Relaxed);
        self.counters.rows_out.store(self.state.rows_out, Relaxed);
        self.counters.epoch.store(self.state.epoch, Relaxed);
        *self.counters.positions.lock() = self.state.positions();
    }
}

fn bytes_of_letter(letter: &DeadLetter) -> u64 {
    let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    (bytes(&letter.key) + bytes(&letter.value)) as u64
}

/// Returns the bytes of a batch's own rows, not of the buffers it shares.
fn bytes_of(batch: &RecordBatch) -> u64 {
    let bytes = |column: &arrow::array::ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0);
    batch.columns().iter().map(bytes).sum::<usize>() as u64
}
