//! What a session is reading just now, for bars and logs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::connector::{SourceReport, SourceSize};
use crate::table::{Table, TableOrigin, TableState};

/// What an [`Activity`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActivityKind {
    /// Reads a table's source.
    TableLoad,
    /// Reads a stream.
    StreamRead,
}

/// How far an [`Activity`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActivityState {
    /// It has not begun.
    Waiting,
    /// It is at work.
    Running,
    /// It has ended.
    Done,
    /// It has failed.
    Failed,
}

/// One source being read by the running statement.
#[derive(Debug, Clone)]
pub struct Activity {
    /// The stream's or table's name.
    pub name: String,
    /// What it does.
    pub kind: ActivityKind,
    /// How far it is.
    pub state: ActivityState,
    /// Rows decoded so far.
    pub rows: u64,
    /// Encoded bytes read so far.
    pub bytes: u64,
    /// How much there is, as far as known.
    pub size: SourceSize,
    /// Time since it began.
    pub elapsed: Duration,
    /// How often it has been tried; 1 for what is read once.
    pub attempts: u32,
    /// Why the last attempt failed that did.
    pub last_error: Option<String>,
}

/// The sources of the running statement.
#[derive(Debug, Default)]
pub(crate) struct ProgressBoard {
    tables: Mutex<Vec<Arc<Table>>>,
    streams: Mutex<Vec<StreamWatch>>,
}

#[derive(Debug)]
struct StreamWatch {
    name: String,
    report: Arc<SourceReport>,
    size: SourceSize,
    began: Instant,
}

impl ProgressBoard {
    pub(crate) fn watch_tables(&self, tables: Vec<Arc<Table>>) {
        *self.tables.lock() = tables;
        self.streams.lock().clear();
    }

    pub(crate) fn watch_stream(&self, name: &str, report: Arc<SourceReport>, size: SourceSize) {
        let watch = StreamWatch {
            name: name.to_string(),
            report,
            size,
            began: Instant::now(),
        };
        self.streams.lock().push(watch);
    }

    pub(crate) fn clear(&self) {
        self.tables.lock().clear();
        self.streams.lock().clear();
    }

    pub(crate) fn activities(&self) -> Vec<Activity> {
        let tables = self.tables.lock();
        let mut all: Vec<_> = tables.iter().filter_map(|table| table_activity(table)).collect();
        all.extend(self.streams.lock().iter().map(|watch| Activity {
            name: watch.name.clone(),
            kind: ActivityKind::StreamRead,
            state: if watch.report.is_read() {
                ActivityState::Done
            } else {
                ActivityState::Running
            },
            rows: watch.report.rows(),
            bytes: watch.report.bytes(),
            size: watch.size,
            elapsed: watch.began.elapsed(),
            attempts: 1,
            last_error: None,
        }));
        all
    }
}

fn table_activity(table: &Table) -> Option<Activity> {
    let TableOrigin::Source(source) = table.origin() else {
        return None;
    };
    let run = table.load_run();
    let state = match table.state() {
        TableState::Waiting => ActivityState::Waiting,
        TableState::Loading => ActivityState::Running,
        TableState::Ready | TableState::Stale(_) => ActivityState::Done,
        TableState::Failed(_) => ActivityState::Failed,
    };
    Some(Activity {
        name: table.name().to_string(),
        kind: ActivityKind::TableLoad,
        state,
        rows: run.report.rows(),
        bytes: run.report.bytes(),
        size: source.size(),
        elapsed: run.elapsed(),
        attempts: run.attempts,
        last_error: run.last_error,
    })
}
