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
pub(crate) struct Clock {
    #[cfg(test)]
    ahead_ms: Arc<AtomicU64>,
}

impl Clock {
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
