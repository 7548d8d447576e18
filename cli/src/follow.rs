//! Waits for the pipelines that scripts have started, until they end or a person asks them to.

use std::time::Duration;

use fletching::{Error, Pipeline, PipelineState, PipelineStats, Session};

use crate::failure::Failure;
use crate::figures;
use crate::interrupt::Interrupt;
use crate::lookups;
use crate::progress::Followed;
use crate::run::{Style, Summaries};
use crate::terminal::Terminal;

/// How often pipelines are looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Follows a session's pipelines to their end. Ctrl-C has them compute and commit what they have
/// taken in: that is a good end. One that fails ends the others.
pub(crate) fn follow(
    session: &Session,
    interrupt: &Interrupt,
    style: &Style,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let pipelines = session.pipelines();
    if pipelines.is_empty() {
        return Ok(());
    }
    if style.summaries == Summaries::Written {
        let all = pipelines.iter().map(Pipeline::stats);
        for stats in all.filter(|stats| stats.restored_epoch > 0) {
            let (name, epoch) = (stats.name, stats.restored_epoch);
            terminal.message(&format!("sink {name}: going on after epoch {epoch}"));
        }
    }
    let guard = interrupt.guard(session.cancel_handle());
    let mut shown = Followed::new(session, terminal, style.progress);
    let mut is_stopping = false;
    while let Some(running) = pipelines.iter().find(|pipeline| is_running(pipeline)) {
        let has_failed = pipelines
            .iter()
            .any(|pipeline| matches!(pipeline.state(), PipelineState::Failed(_)));
        if !is_stopping && (interrupt.is_asked() || has_failed) {
            pipelines.iter().for_each(Pipeline::stop);
            is_stopping = true;
        }
        shown.show(&pipelines);
        running.wait_for(INTERVAL);
    }
    drop(shown);
    drop(guard);
    let mut failure = None;
    for pipeline in &pipelines {
        match pipeline.wait() {
            // Nobody has asked for it: whoever read standard output has gone.
            Err(Error::Cancelled) => failure = failure.or(Some(Failure::pipe_closed())),
            Err(error) => failure = failure.or(Some(Failure::engine(&error, |_| None))),
            Ok(stats) if style.summaries != Summaries::None => {
                terminal.message(&summary(&stats));
                for line in lookups::lines(&stats.lookups, true) {
                    terminal.message(&line);
                }
            }
            Ok(_) => {}
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Says what a pipeline has done.
fn summary(stats: &PipelineStats) -> String {
    let mut summary = format!(
        "sink {}: {} of {}, up to epoch {}",
        stats.name,
        figures::counted(stats.rows_out, "row"),
        figures::count(stats.rows_in),
        stats.epoch
    );
    for (count, word) in [(stats.late, "late"), (stats.bad_rows, "bad")] {
        if count > 0 {
            summary.push_str(&format!(", {} {word}", figures::count(count)));
        }
    }
    summary
}

/// Ends a session's pipelines well, whatever else has gone wrong.
pub(crate) fn stop(session: &Session) {
    let pipelines = session.pipelines();
    pipelines.iter().for_each(Pipeline::stop);
    for pipeline in pipelines {
        // What is told is why the run ends, which was first.
        let _ = pipeline.wait();
    }
}

fn is_running(pipeline: &Pipeline) -> bool {
    matches!(pipeline.state(), PipelineState::Running | PipelineState::Stopping)
}
