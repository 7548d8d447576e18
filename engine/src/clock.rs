//! The one place where the engine asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time now, in microseconds since 1970 (UTC).
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
