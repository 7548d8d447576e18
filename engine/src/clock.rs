//! The one place where the engine asks what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
#[cfg(test)]
use std::{
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Returns the time now, in microseconds since 1970 (UTC).
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Measures how long something has waited: by the machine's steady clock, which a test may put ahead.
#[derive(Debug, Clone, Default)]
pub(crate) struct WaitClock {
    #[cfg(test)]
    ahead_ms: Arc<AtomicU64>,
}

impl WaitClock {
    /// Returns the time now.
    pub(crate) fn now(&self) -> Instant {
        #[cfg(test)]
        return Instant::now() + Duration::from_millis(self.ahead_ms.load(Relaxed));
        #[cfg(not(test))]
        Instant::now()
    }

    /// Puts the clock ahead.
    #[cfg(test)]
    pub(crate) fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead_ms.fetch_add(by_ms, Relaxed);
    }
}

/// What the epoch loop asks for the time, so that a simulation can answer.
pub(crate) trait Clock: Send + Sync {
    /// Returns the time now, in microseconds since 1970 (UTC). It may jump.
    fn now_us(&self) -> i64;

    /// Returns the time since some moment before, in microseconds. It never goes back.
    fn elapsed_us(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct SystemClock(Instant);

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        now_us()
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
