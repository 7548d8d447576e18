//! The bars in view, and what they say.

use std::io::{self, Write};
use std::time::Duration;

use fletching::{Activity, ActivityKind, ActivityState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::figures;

/// How many bars are shown at most.
const BARS_MAX: usize = 12;
/// How wide a name may be.
const NAME_WIDTH: usize = 24;
/// How many steps a bar has.
const BAR_STEPS: u64 = 1000;

/// The bars in view.
pub(super) struct Board {
    bars: MultiProgress,
    rows: Vec<Row>,
    styles: Styles,
    has_said: bool,
}

/// One bar and the activity it stands for.
struct Row {
    kind: ActivityKind,
    name: String,
    nth: usize,
    bar: ProgressBar,
    is_done: bool,
}

/// What bars look like.
struct Styles {
    with_share: ProgressStyle,
    without_share: ProgressStyle,
}

impl Styles {
    fn new(is_painted: bool) -> Self {
        let (name, bar) = if is_painted {
            (".bold", ".cyan/blue")
        } else {
            ("", "")
        };
        let style = |template: String| {
            ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let with_share = format!("{{prefix:{NAME_WIDTH}!{name}}} {{bar:24{bar}}} {{percent:>3}}%  {{msg}}");
        let without_share = format!("{{prefix:{NAME_WIDTH}!{name}}} {{spinner:24}}       {{msg}}");
        Self {
            with_share: style(with_share).progress_chars("━╸─"),
            without_share: style(without_share),
        }
    }
}

impl Board {
    /// Begins without bars.
    pub(super) fn new(bars: MultiProgress, is_painted: bool) -> Self {
        Self {
            bars,
            rows: Vec::new(),
            styles: Styles::new(is_painted),
            has_said: false,
        }
    }

    /// Brings the bars up to date.
    pub(super) fn show(&mut self, activities: &[Activity]) {
        for (at, activity) in activities.iter().enumerate() {
            let is_full = self.rows.len() >= BARS_MAX;
            // A stream that is read twice at once has two bars.
            let nth = activities[..at]
                .iter()
                .filter(|before| is_same(before, activity))
                .count();
            let is_its =
                |row: &&mut Row| row.kind == activity.kind && row.name == activity.name && row.nth == nth;
            match self.rows.iter_mut().find(is_its) {
                // What is done keeps the time it took.
                Some(row) if row.is_done => {}
                Some(row) => row.update(activity, &self.styles),
                // What was done before anyone looked needs no bar.
                None if activity.state == ActivityState::Done || is_full => {}
                None => self.add(activity, nth),
            }
        }
    }

    /// Takes every bar off the screen; a bar that is just dropped leaves its last line there.
    pub(super) fn wipe(&self) {
        for row in &self.rows {
            row.bar.finish_and_clear();
        }
    }

    /// Writes a line above the bars, the first time.
    pub(super) fn say_once(&mut self, text: &str) {
        if !std::mem::replace(&mut self.has_said, true) {
            // Without bars the line would not be ended.
            let _ = match self.rows.as_slice() {
                [] => writeln!(io::stderr(), "\n{text}"),
                _ => self.bars.println(text),
            };
        }
    }

    fn add(&mut self, activity: &Activity, nth: usize) {
        let bar = self.bars.add(ProgressBar::new(BAR_STEPS));
        let word = match activity.kind {
            ActivityKind::TableLoad => "table",
            _ => "stream",
        };
        bar.set_prefix(format!("{word} {}", activity.name));
        let mut row = Row {
            kind: activity.kind,
            name: activity.name.clone(),
            nth,
            bar,
            is_done: false,
        };
        row.update(activity, &self.styles);
        self.rows.push(row);
    }
}

impl Row {
    fn update(&mut self, activity: &Activity, styles: &Styles) {
        match share(activity) {
            Some(share) => {
                self.bar.set_style(styles.with_share.clone());
                self.bar.set_position(steps(share));
            }
            None => self.bar.set_style(styles.without_share.clone()),
        }
        self.bar.set_message(words(activity) + &attempt(activity));
        self.bar.tick();
        self.is_done = activity.state == ActivityState::Done;
    }
}

fn is_same(one: &Activity, other: &Activity) -> bool {
    one.kind == other.kind && one.name == other.name
}

/// Says how much of an activity is done, between zero and one, where that is known.
fn share(activity: &Activity) -> Option<f64> {
    if activity.state == ActivityState::Done {
        return Some(1.0);
    }
    let of = |done: u64, all: Option<u64>| {
        all.filter(|all| *all > 0)
            .map(|all| (done as f64 / all as f64).min(1.0))
    };
    of(activity.rows, activity.size.rows).or_else(|| of(activity.bytes, activity.size.bytes))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is between 0 and 1"
)]
fn steps(share: f64) -> u64 {
    (share * BAR_STEPS as f64) as u64
}

/// Says in words how far an activity is: rows, rate, and the time left where it can be told.
pub(super) fn words(activity: &Activity) -> String {
    let rows = activity.rows as f64;
    let seconds = activity.elapsed.as_secs_f64();
    match activity.state {
        ActivityState::Waiting => return "waiting".to_owned(),
        ActivityState::Failed => return "failed".to_owned(),
        _ => {}
    }
    let mut words = format!("{} rows", figures::about(rows));
    if seconds > 0.0 && rows > 0.0 {
        words.push_str(&format!(", {}/s", figures::about(rows / seconds)));
    }
    if activity.state == ActivityState::Done {
        words.push_str(&format!(", {}", figures::duration(activity.elapsed)));
    } else if let Some(left) = time_left(activity) {
        words.push_str(&format!(", {} left", figures::rough_duration(left)));
    }
    words
}

/// Says which attempt it is and why the last one failed, where it is not the first.
pub(super) fn attempt(activity: &Activity) -> String {
    if activity.attempts < 2 {
        return String::new();
    }
    let mut words = format!(", attempt {}", activity.attempts);
    if let Some(error) = activity
        .last_error
        .as_ref()
        .filter(|_| activity.state != ActivityState::Done)
    {
        words.push_str(&format!(" (last error: {error})"));
    }
    words
}

fn time_left(activity: &Activity) -> Option<Duration> {
    let share = share(activity).filter(|share| *share > 0.01)?;
    let seconds = activity.elapsed.as_secs_f64() * (1.0 - share) / share;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use fletching::connector::SourceSize;

    use super::*;

    fn activity(state: ActivityState, rows: u64, size: SourceSize) -> Activity {
        Activity {
            name: "users".into(),
            kind: ActivityKind::TableLoad,
            state,
            rows,
            bytes: 50,
            size,
            elapsed: Duration::from_secs(2),
            attempts: 1,
            last_error: None,
        }
    }

    #[test]
    fn progress_is_told_by_rows_and_else_by_bytes() {
        let by_rows = SourceSize {
            rows: Some(4_000_000),
            bytes: Some(100),
        };
        let running = activity(ActivityState::Running, 1_000_000, by_rows);
        assert_eq!(share(&running), Some(0.25));
        assert_eq!(words(&running), "1.0M rows, 500k/s, 6 s left");

        let by_bytes = SourceSize {
            rows: None,
            bytes: Some(100),
        };
        assert_eq!(share(&activity(ActivityState::Running, 10, by_bytes)), Some(0.5));
        assert_eq!(
            share(&activity(ActivityState::Running, 10, SourceSize::default())),
            None
        );
    }

    #[test]
    fn an_end_is_told_with_its_time() {
        let done = activity(ActivityState::Done, 1000, SourceSize::default());
        assert_eq!(
            (share(&done), words(&done)),
            (Some(1.0), "1.0k rows, 500/s, 2.000 s".to_owned())
        );
        assert_eq!(
            words(&activity(ActivityState::Waiting, 0, SourceSize::default())),
            "waiting"
        );
    }
}
