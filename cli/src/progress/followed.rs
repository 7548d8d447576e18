//! A line for each pipeline at work: on a terminal it is kept up to date, in a log it comes again
//! after a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fletching::connector::Lag;
use fletching::{Pipeline, PipelineState, PipelineStats, Session, TableState};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::screen::Screen;
use super::{DRAWS_PER_S, PATIENCE};
use crate::figures;
use crate::terminal::Terminal;

/// How long a log goes without a line of a pipeline.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Over how long rates are taken.
const RATE_OVER: Duration = Duration::from_secs(2);

/// The lines of pipelines.
pub(crate) struct Followed {
    session: Session,
    terminal: Terminal,
    began: Instant,
    bars: Option<MultiProgress>,
    is_shown: bool,
    lines: BTreeMap<String, Line>,
}

/// One pipeline's line, and what its rates are taken from.
struct Line {
    bar: Option<ProgressBar>,
    said: Instant,
    since: (Instant, u64, u64),
    rates: (f64, f64),
}

impl Followed {
    /// Begins without lines; where nothing is to be shown there never is one.
    pub(crate) fn new(session: &Session, terminal: &Terminal, is_shown: bool) -> Self {
        let bars = (is_shown && terminal.stderr_is_terminal).then(|| {
            let screen = Box::new(Screen::stderr());
            MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(screen, DRAWS_PER_S))
        });
        Self {
            session: session.clone(),
            terminal: terminal.clone(),
            began: Instant::now(),
            bars,
            is_shown,
            lines: BTreeMap::new(),
        }
    }

    /// Brings the lines up to date.
    pub(crate) fn show(&mut self, pipelines: &[Pipeline]) {
        if !self.is_shown || self.began.elapsed() < PATIENCE {
            return;
        }
        for pipeline in pipelines {
            let stats = pipeline.stats();
            let now = Instant::now();
            let bars = self.bars.as_ref();
            let line = self.lines.entry(stats.name.clone()).or_insert_with(|| Line {
                bar: bars.map(|bars| {
                    let bar = bars.add(ProgressBar::no_length());
                    let style = ProgressStyle::with_template("{spinner} {msg}");
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                    bar
                }),
                said: now,
                since: (now, stats.rows_in, stats.rows_out),
                rates: (0.0, 0.0),
            });
            line.take_rates(&stats, now);
            let states = table_states(&self.session, &stats);
            let text = words(&stats, line.rates, &states, now_us());
            match &line.bar {
                Some(bar) => {
                    bar.set_message(text);
                    bar.tick();
                }
                None if now.duration_since(line.said) >= SILENCE_MAX => {
                    line.said = now;
                    self.terminal.message(&text);
                }
                None => {}
            }
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        for line in self.lines.values() {
            if let Some(bar) = &line.bar {
                bar.finish_and_clear();
            }
        }
    }
}

impl Line {
    fn take_rates(&mut self, stats: &PipelineStats, now: Instant) {
        let (at, rows_in, rows_out) = self.since;
        let time = now.duration_since(at);
        if time < RATE_OVER {
            return;
        }
        let rate = |before: u64, rows: u64| rows.saturating_sub(before) as f64 / time.as_secs_f64();
        self.rates = (rate(rows_in, stats.rows_in), rate(rows_out, stats.rows_out));
        self.since = (now, stats.rows_in, stats.rows_out);
    }
}

/// Says of the tables that a pipeline joins how they are, those that are ready together.
fn table_states(session: &Session, stats: &PipelineStats) -> Vec<String> {
    let mut states = Vec::new();
    for lookup in &stats.lookups {
        let Some(table) = session.table(&lookup.table) else {
            continue;
        };
        let state = match table.state() {
            TableState::Ready => "ready",
            TableState::Loading => "loading",
            TableState::Waiting => "waiting",
            TableState::Failed(_) => "failed",
            _ => "stale",
        };
        let state = format!("{} {state}", lookup.table);
        if !states.contains(&state) {
            states.push(state);
        }
    }
    states
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Says how far a pipeline is behind, topic by topic, and which partition most.
fn lags(stats: &PipelineStats) -> Vec<String> {
    let mut topics: BTreeMap<&str, Vec<&Lag>> = BTreeMap::new();
    for lag in &stats.lag {
        let topic = lag
            .partition
            .rsplit_once('-')
            .map_or(&*lag.partition, |(topic, _)| topic);
        topics.entry(topic).or_default().push(lag);
    }
    let words = |(topic, lags): (&str, Vec<&Lag>)| {
        let total: u64 = lags.iter().map(|lag| lag.records).sum();
        let most = lags.iter().max_by_key(|lag| lag.records);
        match most {
            Some(most) if total > 0 && lags.len() > 1 => format!(
                "{topic} lag {} ({} in {})",
                figures::about(total as f64),
                figures::about(most.records as f64),
                most.partition
            ),
            _ if total > 0 => format!("{topic} lag {}", figures::about(total as f64)),
            _ => format!("{topic} caught up"),
        }
    };
    topics.into_iter().map(words).collect()
}

/// Says how a pipeline is doing.
fn words(stats: &PipelineStats, rates: (f64, f64), tables: &[String], now_us: i64) -> String {
    let rows = |rows: u64, rate: f64| format!("{} ({}/s)", figures::about(rows as f64), figures::about(rate));
    let mut parts = vec![
        format!("{} in", rows(stats.rows_in, rates.0)),
        format!("{} out", rows(stats.rows_out, rates.1)),
        format!("epoch {}", stats.epoch),
    ];
    if !stats.lag.is_empty() {
        parts.extend(lags(stats));
    } else if stats.has_caught_up {
        parts.push(format!("{} caught up", stats.stream));
    } else if let [position] = stats.positions.as_slice() {
        parts.push(format!("{} at {}", stats.stream, position.place));
    }
    if let Some(watermark_us) = stats.watermark_us {
        let behind = Duration::from_micros(u64::try_from(now_us.saturating_sub(watermark_us)).unwrap_or(0));
        parts.push(format!("watermark {} ago", figures::rough_duration(behind)));
    }
    parts.extend(tables.iter().cloned());
    let counts = [
        (stats.late, "late"),
        (stats.bad_rows, "bad"),
        (stats.dead_letters, "dead letters"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    parts.extend(counts.map(|(count, word)| format!("{} {word}", figures::count(*count))));
    parts.extend(stats.retry.iter().map(ToString::to_string));
    if stats.state == PipelineState::Stopping {
        parts.push("stopping; Ctrl-C again ends the program at once".to_owned());
    }
    format!("{}: {}", stats.name, parts.join(", "))
}
