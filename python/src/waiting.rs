//! Waiting with the GIL released, which Ctrl-C ends.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// How long a Ctrl-C may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits in pieces until something is so, or the seconds given are over; returns whether it is. Without
/// a time it waits for ever.
///
/// # Errors
/// Raises `ValueError` where the time is none, and what a signal's handler raises.
pub(crate) fn wait_until(
    py: Python<'_>,
    timeout: Option<f64>,
    mut wait: impl FnMut(Duration) -> bool + Send,
) -> PyResult<bool> {
    let until = match timeout {
        None => None,
        Some(seconds) => {
            let longest = Duration::try_from_secs_f64(seconds).map_err(|_| {
                PyValueError::new_err(format!("expected a number of seconds, found {seconds}"))
            })?;
            Instant::now().checked_add(longest)
        }
    };
    loop {
        let left = until.map_or(LOOK_EVERY, |until| {
            until.saturating_duration_since(Instant::now())
        });
        if py.detach(|| wait(left.min(LOOK_EVERY))) {
            return Ok(true);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(false);
        }
        py.check_signals()?;
    }
}
