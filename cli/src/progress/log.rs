//! Progress as lines, where nobody watches but a log is kept.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fletching::{Activity, ActivityKind, ActivityState};

use super::board::{attempt, words};

/// How long a load goes on without a line.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What was said last of each table.
#[derive(Default)]
pub(super) struct Log {
    said: BTreeMap<String, (ActivityState, u32, Instant)>,
}

impl Log {
    /// Returns the lines to write now: one for each table whose state has changed, that is tried
    /// again, or of which nothing was said for a while. What was done before is not mentioned.
    pub(super) fn lines(&mut self, activities: &[Activity], now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        for activity in activities {
            if activity.kind != ActivityKind::TableLoad {
                continue;
            }
            let before = self.said.get(&activity.name);
            let is_due = match before {
                None => activity.state != ActivityState::Done,
                Some((state, attempts, at)) => {
                    *state != activity.state
                        || *attempts != activity.attempts
                        || activity.state == ActivityState::Running && now.duration_since(*at) >= SILENCE_MAX
                }
            };
            if is_due {
                lines.push(line(activity));
                let said = (activity.state, activity.attempts, now);
                self.said.insert(activity.name.clone(), said);
            }
        }
        lines
    }
}

fn line(activity: &Activity) -> String {
    let state = match activity.state {
        ActivityState::Waiting => "waiting",
        ActivityState::Running => "loading",
        ActivityState::Done => "ready",
        _ => "failed",
    };
    let mut line = format!("table {}: {state}", activity.name);
    if matches!(activity.state, ActivityState::Running | ActivityState::Done) {
        line.push_str(&format!(", {}", words(activity)));
    }
    line.push_str(&attempt(activity));
    line
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use fletching::connector::SourceSize;

    use super::*;

    #[test]
    fn a_line_is_written_when_something_changes() {
        let mut activity = Activity {
            name: "users".into(),
            kind: ActivityKind::TableLoad,
            state: ActivityState::Running,
            rows: 0,
            bytes: 0,
            size: SourceSize::default(),
            elapsed: Duration::from_secs(2),
            attempts: 1,
            last_error: None,
        };
        let (mut log, start) = (Log::default(), Instant::now());
        assert_eq!(
            log.lines(from_ref(&activity), start),
            ["table users: loading, 0 rows"]
        );
        assert!(log.lines(from_ref(&activity), start).is_empty());
        assert_eq!(log.lines(from_ref(&activity), start + SILENCE_MAX).len(), 1);
        activity.attempts = 2;
        activity.last_error = Some("it died".into());
        let again = log.lines(from_ref(&activity), start + SILENCE_MAX);
        assert_eq!(
            again,
            ["table users: loading, 0 rows, attempt 2 (last error: it died)"]
        );
        activity.state = ActivityState::Done;
        assert!(log.lines(&[activity], start + SILENCE_MAX)[0].starts_with("table users: ready, "));
    }
}
