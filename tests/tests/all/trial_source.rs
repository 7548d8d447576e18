//! A source made for tests: it is slow, dies where it is told to, or waits for a sign, and notes
//! when it was opened and when it had given its last row.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use fletching::connector::{Connector, Reader, RelationSpec, ScanRequest, Sink, Source, SourceSize};
use fletching::{Error, Result, Session};

/// A sign that readers can wait for.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.changed.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}

/// Where an attempt to read dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// When it is opened.
    AtOpening,
    /// After so many batches.
    After(usize),
    /// After so many batches, by a panic.
    Panics(usize),
}

/// What a trial source does.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// Batches of (k, v) with k = v, so many rows each.
    pub(crate) batches: usize,
    pub(crate) rows: usize,
    /// Before each batch.
    pub(crate) pause: Duration,
    /// One for each attempt, while there are any.
    pub(crate) deaths: Mutex<VecDeque<Death>>,
    /// Waits for the gate before the batch of this number.
    pub(crate) waits_before: Option<usize>,
    pub(crate) gate: Gate,
    /// Opened when the source is.
    pub(crate) opens: Option<Arc<Trial>>,
    pub(crate) opened: Mutex<Vec<Instant>>,
    pub(crate) ended: Mutex<Vec<Instant>>,
    pub(crate) is_opened: AtomicBool,
}

impl Trial {
    pub(crate) fn of(batches: usize, rows: usize) -> Self {
        Self {
            batches,
            rows,
            ..Self::default()
        }
    }

    fn batch(&self, at: usize) -> RecordBatch {
        let from = (at * self.rows) as i64;
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + self.rows as i64));
        RecordBatch::try_from_iter([("k", Arc::clone(&values)), ("v", values)]).unwrap()
    }
}

/// The connector `trial`: relations by their names.
#[derive(Debug, Default)]
pub(crate) struct TrialConnector(BTreeMap<String, Arc<Trial>>);

/// Makes a session in which `s` is a stream and every other trial can be made a table.
pub(crate) fn session_of(trials: &[(&str, &Arc<Trial>)]) -> Session {
    let trials = trials
        .iter()
        .map(|(name, trial)| (name.to_string(), Arc::clone(trial)));
    let connector: Arc<dyn Connector> = Arc::new(TrialConnector(trials.collect()));
    Session::builder()
        .threads(2)
        .connectors([connector])
        .build()
        .unwrap()
}

impl Connector for TrialConnector {
    fn name(&self) -> &'static str {
        "trial"
    }

    fn source(&self, spec: &RelationSpec) -> Result<Arc<dyn Source>> {
        spec.options.check(&[])?;
        Ok(Arc::new(TrialSource(Arc::clone(&self.0[&spec.name]))))
    }

    fn sink(&self, _spec: &RelationSpec) -> Result<Arc<dyn Sink>> {
        Err(Error::internal("a trial is no sink"))
    }
}

#[derive(Debug)]
struct TrialSource(Arc<Trial>);

fn died() -> Error {
    Error::External {
        message: "the source has died".into(),
        source: None,
    }
}

impl Source for TrialSource {
    fn schema(&self) -> SchemaRef {
        self.0.batch(0).schema()
    }

    fn size(&self) -> SourceSize {
        SourceSize {
            rows: Some((self.0.batches * self.0.rows) as u64),
            bytes: None,
        }
    }

    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>> {
        let trial = &self.0;
        trial.opened.lock().unwrap().push(Instant::now());
        trial.is_opened.store(true, SeqCst);
        if let Some(other) = &trial.opens {
            other.gate.open();
        }
        let death = trial.deaths.lock().unwrap().pop_front();
        if death == Some(Death::AtOpening) {
            return Err(died());
        }
        Ok(vec![Box::new(TrialReader {
            trial: Arc::clone(trial),
            projection: request.projection.clone(),
            death,
            next: 0,
        })])
    }
}

struct TrialReader {
    trial: Arc<Trial>,
    projection: Option<Vec<usize>>,
    death: Option<Death>,
    next: usize,
}

impl Reader for TrialReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        std::thread::sleep(self.trial.pause);
        match self.death {
            Some(Death::After(batches)) if self.next == batches => return Err(died()),
            Some(Death::Panics(batches)) if self.next == batches => panic!("the source has panicked"),
            _ => {}
        }
        if self.trial.waits_before == Some(self.next) {
            self.trial.gate.pass();
        }
        if self.next == self.trial.batches {
            self.trial.ended.lock().unwrap().push(Instant::now());
            return Ok(None);
        }
        self.next += 1;
        let batch = self.trial.batch(self.next - 1);
        Ok(Some(match &self.projection {
            Some(columns) => batch.project(columns)?,
            None => batch,
        }))
    }
}
