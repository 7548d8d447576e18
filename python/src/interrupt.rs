//! Long work with the GIL released, which Ctrl-C ends.
//!
//! Python handles signals on its main thread and only while that thread runs Python. So the work
//! goes to a thread of its own, and the caller's waits for it, looking for signals now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use fletching::{Error, Result, Session};
use pyo3::prelude::*;

use crate::error::raised;

/// How long a Ctrl-C may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long cancelled work may take to end before it is left to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Room for deep plans, as on a main thread.
const STACK_BYTES: usize = 8 << 20;

/// Set when the work should end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Fails where the work should end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Relaxed) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// Does work with the GIL released and returns what it gives. Cost: a thread started, some 30 µs.
///
/// # Errors
/// Fails where the work does, and with what a signal's handler raises, `KeyboardInterrupt` as a
/// rule: then everything the session runs is cancelled.
pub(crate) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    session: &Session,
    work: impl FnOnce(&Stop) -> Result<T> + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = sync_channel(1);
    let stop = Stop::default();
    let seen = stop.clone();
    std::thread::Builder::new()
        .name("fletching-statement".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Nobody listens any more after a Ctrl-C: what comes too late is let go.
            let _ = sender.send(work(&seen));
        })?;
    loop {
        let waited;
        (waited, receiver) = py.detach(move || (receiver.recv_timeout(LOOK_EVERY), receiver));
        match waited {
            Ok(result) => return result.map_err(|error| raised(&error)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(raised(&Error::internal("a statement panicked")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Err(signal) = py.check_signals() {
            stop.0.store(true, Relaxed);
            py.detach(move || cancel(session, &receiver));
            return Err(signal);
        }
    }
}

/// Cancels what a session runs until the work has ended, or for as long as [`GRACE`]: a statement
/// of it that only now begins is cancelled too.
fn cancel<T>(session: &Session, ended: &Receiver<T>) {
    let begun = Instant::now();
    while begun.elapsed() < GRACE {
        session.cancel_handle().cancel();
        if !matches!(ended.recv_timeout(LOOK_EVERY), Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}
