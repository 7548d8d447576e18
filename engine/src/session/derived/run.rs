//! A pipeline at work: the thread that keeps a table current from a stream that goes on.
//!
//! ```text
//!   feed ─▶ chunk ─▶ stage ─▶ table, one commit
//!    │ error                   │ error: the same records would fail again, so it ends
//!    ▼                         ▼
//!   opened again where the last commit was, after a pause      failed; once it was ready, stale
//! ```
//!
//! The table is ready once the feed has given what the stream held when the pipeline began. A feed that
//! fails is tried again as the table's options `retry.*` say: before the table is ready `retry.max`
//! times, afterwards without end unless that option is set; meanwhile the table is stale.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::feed::Stage;
use crate::connector::{Feed, FeedRequest, Polled, Position, Source};
use crate::error::{Error, ErrorClass, Result};
use crate::table::{Table, TableState};

/// How long a pipeline waits for records before it looks whether its table is still there.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// A pipeline at work.
pub(super) struct Run {
    pub(super) table: Weak<Table>,
    pub(super) source: Arc<dyn Source>,
    /// What is asked of the source, but for the positions.
    pub(super) request: FeedRequest,
    pub(super) stage: Stage,
    pub(super) is_stopped: Arc<AtomicBool>,
    /// Where each partition stands, after what was applied.
    pub(super) positions: BTreeMap<Arc<str>, Position>,
}

/// What ended a reading of the feed.
enum Failure {
    /// The feed: another may do.
    OfFeed(Error),
    /// The query, or the table.
    OfStage(Error),
}

impl Run {
    /// Starts the thread, with a feed that is open already.
    pub(super) fn start(mut self, name: &str, feed: Box<dyn Feed>) -> Result<()> {
        let mut first = Some(feed);
        let named = thread::Builder::new().name(format!("keep {name}"));
        let started = named.spawn(move || {
            let mut failures = 0;
            while let Some(error) = self.attempt(first.take(), &mut failures) {
                failures += 1;
                let Some(pause) = self.after(error, failures) else {
                    return;
                };
                self.sleep(pause);
            }
        });
        started.map(|_| ()).map_err(|error| Error::Resource {
            message: format!("cannot start a thread to keep a table current: {error}"),
        })
    }

    /// Opens a feed from where the last one was left.
    pub(super) fn open(&self) -> Result<Box<dyn Feed>> {
        self.source.feed(&FeedRequest {
            from: self.positions.values().cloned().collect(),
            ..self.request.clone()
        })
    }

    /// Reads the feed, or opens one to read, until it ends or somebody ends it; then returns nothing.
    fn attempt(&mut self, feed: Option<Box<dyn Feed>>, failures: &mut u32) -> Option<Failure> {
        let read = catch_unwind(AssertUnwindSafe(|| {
            let mut feed = match feed {
                Some(feed) => feed,
                None => self.open().map_err(Failure::OfFeed)?,
            };
            self.consume(feed.as_mut(), failures)
        }));
        let panicked = || Err(Failure::OfStage(Error::internal("a pipeline panicked")));
        read.unwrap_or_else(|_| panicked()).err()
    }

    /// Takes chunks until the stream ends, or nobody has the table any more.
    fn consume(&mut self, feed: &mut dyn Feed, failures: &mut u32) -> std::result::Result<(), Failure> {
        while !self.is_stopped.load(Relaxed) {
            let polled = feed.poll(POLL_WAIT).map_err(Failure::OfFeed)?;
            let Some(table) = self.table.upgrade() else {
                return Ok(());
            };
            let has_ended = matches!(polled, Polled::End);
            if let Polled::Gone(partition) = &polled {
                self.positions.remove(partition);
            }
            if let Polled::Records(chunk) = polled {
                self.stage.apply(&table, chunk.batch).map_err(Failure::OfStage)?;
                let position = chunk.position;
                self.positions
                    .insert(Arc::clone(&position.partition), position.clone());
                feed.committed(&[position]).map_err(Failure::OfFeed)?;
            }
            if has_ended || feed.has_caught_up() {
                *failures = 0;
                table.set_state(TableState::Ready);
            }
            if has_ended {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Says in the table's state what has failed, and returns how long to wait before it is tried again,
    /// if it is.
    fn after(&self, failure: Failure, failures: u32) -> Option<Duration> {
        let table = self.table.upgrade()?;
        let was_ready = matches!(table.state(), TableState::Ready | TableState::Stale(_));
        let retry = &table.options().retry;
        let (error, is_over) = match failure {
            Failure::OfStage(error) => (error, true),
            Failure::OfFeed(error) if was_ready => (error, retry.max_set.is_some_and(|max| failures > max)),
            Failure::OfFeed(error) => {
                let is_users = matches!(error.class(), ErrorClass::User);
                (error, is_users || failures > retry.max)
            }
        };
        if was_ready {
            table.set_state(TableState::Stale(error.to_string()));
        } else if is_over {
            table.set_state(TableState::Failed(error.to_string()));
        }
        (!is_over).then(|| retry.pause(failures))
    }

    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.is_stopped.load(Relaxed) {
            thread::sleep(POLL_WAIT.min(until.saturating_duration_since(Instant::now())));
        }
    }
}
