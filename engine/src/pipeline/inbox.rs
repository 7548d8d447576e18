//! What a pipeline takes its records from: a feed polled ahead on a thread of its own.
//!
//! ```text
//!  Feed ──poll──▶ thread ──▶ queue of at most 32 chunks ──take──▶ epoch loop
//!    ▲                │                                               │
//!    └──committed─────┴───────────────────────────────────────────────┘
//! ```
//!
//! A full queue stops the polling: that is all the backpressure there is, and all that is needed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::connector::{Feed, Lag, Polled, Position};
use crate::error::{Error, Result};

/// Chunks that may wait for the loop.
const CHUNKS_WAITING_MAX: usize = 32;
/// How often a feed is asked how far it is behind.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// How long a feed may wait for records before it is asked whether to go on.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// Where records come from.
pub(crate) trait Inbox: Send {
    /// Returns what has arrived, waiting for it at most as long as told.
    fn take(&mut self, wait: Duration) -> Result<Polled>;

    /// Passes on that everything up to these positions was committed.
    fn committed(&mut self, positions: Vec<Position>) -> Result<()>;

    /// Says whether all was read that the source holds.
    fn has_caught_up(&self) -> bool;

    /// Passes on that revoked partitions may be given up.
    fn release(&mut self) {}

    /// Passes on that what came since the last commit was taken back.
    fn rejoin(&mut self) {}

    /// Ends it, once the last commit was passed on.
    fn close(&mut self) -> Result<()>;
}

/// A feed polled ahead.
pub(crate) struct Prefetch {
    receiver: Option<Receiver<Result<Polled>>>,
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

/// What the loop tells the thread, and the thread the loop.
#[derive(Default)]
struct Orders {
    is_closed: AtomicBool,
    committed: Mutex<Vec<Position>>,
    has_caught_up: AtomicBool,
    /// Whether revoked partitions may be given up.
    is_released: AtomicBool,
    must_rejoin: AtomicBool,
    /// What went wrong after the loop has stopped listening.
    last: Mutex<Option<Error>>,
    lags: Arc<Lags>,
}

/// How far a pipeline is behind in each partition: what its feed has not read, and what waits for the loop.
#[derive(Default)]
pub(super) struct Lags(Mutex<BTreeMap<Arc<str>, (u64, u64)>>);

impl Lags {
    /// Takes note of what a feed says of itself.
    fn tell(&self, told: Vec<Lag>) {
        if told.is_empty() {
            return;
        }
        let mut lags = self.0.lock();
        lags.retain(|partition, (_, waiting)| {
            *waiting > 0 || told.iter().any(|lag| lag.partition == *partition)
        });
        for lag in told {
            lags.entry(lag.partition).or_default().0 = lag.records;
        }
    }

    fn change(&self, polled: &Polled, change: impl Fn(u64, u64) -> u64) {
        if let Polled::Records(chunk) = polled {
            let records = (chunk.batch.num_rows() + chunk.letters.len()) as u64;
            if let Some((_, waiting)) = self.0.lock().get_mut(&chunk.position.partition) {
                *waiting = change(*waiting, records);
            }
        }
    }

    /// Returns them, the partitions in order.
    pub(super) fn get(&self) -> Vec<Lag> {
        let lags = self.0.lock();
        let lag = |(partition, (unread, waiting)): (&Arc<str>, &(u64, u64))| Lag {
            partition: Arc::clone(partition),
            records: unread + waiting,
        };
        lags.iter().map(lag).collect()
    }
}

impl Prefetch {
    /// Returns how far it is behind, kept up to date by its thread.
    pub(super) fn lags(&self) -> Arc<Lags> {
        Arc::clone(&self.orders.lags)
    }

    /// Begins to poll a feed.
    pub(crate) fn start(name: &str, feed: Box<dyn Feed>) -> Result<Self> {
        let (sender, receiver) = sync_channel(CHUNKS_WAITING_MAX);
        let orders = Arc::<Orders>::default();
        let thread = {
            let orders = Arc::clone(&orders);
            thread::Builder::new()
                .name(format!("fletching-feed-{name}"))
                .spawn(move || run(feed, &sender, &orders))
        };
        let thread = thread.map_err(|error| Error::Resource {
            message: format!("cannot start a thread to read {name}: {error}"),
        })?;
        Ok(Self {
            receiver: Some(receiver),
            orders,
            thread: Some(thread),
        })
    }
}

fn run(mut feed: Box<dyn Feed>, sender: &SyncSender<Result<Polled>>, orders: &Orders) {
    let polled = catch_unwind(AssertUnwindSafe(|| poll(feed.as_mut(), sender, orders)));
    let error = match polled {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => Error::internal("a source panicked"),
    };
    if let Err(unsent) = sender.send(Err(error)) {
        *orders.last.lock() = unsent.0.err();
    }
}

fn poll(feed: &mut dyn Feed, sender: &SyncSender<Result<Polled>>, orders: &Orders) -> Result<()> {
    let mut has_ended = false;
    let mut told = Instant::now();
    loop {
        // Read before what is committed, so that nothing committed before the end is missed.
        let is_closed = orders.is_closed.load(Relaxed);
        let committed = std::mem::take(&mut *orders.committed.lock());
        if !committed.is_empty() {
            feed.committed(&committed)?;
        }
        if is_closed {
            return Ok(());
        }
        if has_ended {
            thread::park_timeout(POLL_WAIT);
            continue;
        }
        if orders.must_rejoin.swap(false, SeqCst) {
            feed.rejoin()?;
        }
        let polled = feed.poll(POLL_WAIT)?;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            orders.lags.tell(feed.lag());
        }
        orders.has_caught_up.store(feed.has_caught_up(), Relaxed);
        has_ended = matches!(polled, Polled::End);
        let is_revoked = matches!(polled, Polled::Revoked);
        if !matches!(polled, Polled::Idle) {
            orders.lags.change(&polled, u64::saturating_add);
            // Nobody listens once the inbox is closed.
            let _ = sender.send(Ok(polled));
        }
        while is_revoked && !orders.is_released.swap(false, SeqCst) && !orders.is_closed.load(Relaxed) {
            thread::park_timeout(POLL_WAIT);
        }
    }
}

impl Inbox for Prefetch {
    fn take(&mut self, wait: Duration) -> Result<Polled> {
        let Some(receiver) = &self.receiver else {
            return Ok(Polled::End);
        };
        match receiver.recv_timeout(wait) {
            Ok(polled) => polled.inspect(|polled| self.orders.lags.change(polled, u64::saturating_sub)),
            Err(RecvTimeoutError::Timeout) => Ok(Polled::Idle),
            Err(RecvTimeoutError::Disconnected) => Err(Error::internal("a source has ended without a word")),
        }
    }

    fn committed(&mut self, positions: Vec<Position>) -> Result<()> {
        let mut committed = self.orders.committed.lock();
        for position in positions {
            committed.retain(|before| before.partition != position.partition);
            committed.push(position);
        }
        Ok(())
    }

    fn has_caught_up(&self) -> bool {
        self.orders.has_caught_up.load(Relaxed)
    }

    fn release(&mut self) {
        self.orders.must_rejoin.store(false, SeqCst);
        self.orders.is_released.store(true, SeqCst);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn rejoin(&mut self) {
        self.orders.must_rejoin.store(true, SeqCst);
    }

    fn close(&mut self) -> Result<()> {
        self.orders.is_closed.store(true, Relaxed);
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        self.orders.last.lock().take().map_or(Ok(()), Err)
    }
}

impl Drop for Prefetch {
    /// Lets the thread end by itself.
    fn drop(&mut self) {
        self.orders.is_closed.store(true, Relaxed);
    }
}
