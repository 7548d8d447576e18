//! Runs scripts: statement by statement, rows to their destination, everything else to standard
//! error.

use std::io::Write;
use std::time::Instant;

use fletching::{Error, Outcome, ParsedStatement, Rows, Session};

use crate::arguments::{OutputArguments, SessionArguments};
use crate::diagnostic::Diagnostic;
use crate::failure::Failure;
use crate::figures;
use crate::follow;
use crate::interrupt::Interrupt;
use crate::lookups;
use crate::opening;
use crate::progress::Progress;
use crate::results::{self, Destination, Format, ROWS_SHOWN, TableLook, WriteError};
use crate::script::{Script, Source};
use crate::terminal::Terminal;

/// Runs scripts in order in one session.
pub(crate) fn run(
    sources: Vec<Source>,
    arguments: &SessionArguments,
    output: &OutputArguments,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let interrupt = Interrupt::listen();
    let scripts = sources
        .into_iter()
        .map(|source| source.read(&arguments.values))
        .collect::<Result<Vec<_>, _>>()?;
    let session = opening::open(arguments)?;
    opening::apply(&session, arguments, |name| {
        scripts.iter().any(|script| script.uses(name))
    })?;

    // A script that does not parse runs not at all, nor does any beside it.
    let mut parsed = Vec::with_capacity(scripts.len());
    for script in &scripts {
        parsed.push((script, parse(&session, script)?));
    }
    let queries = parsed
        .iter()
        .flat_map(|(_, statements)| statements)
        .filter(|s| s.is_query())
        .count();
    let style = Style::of_run(arguments, output, terminal);
    let mut out = destination(output, style.format, queries, terminal)?;
    let mut runner = Runner {
        session,
        interrupt,
        terminal: terminal.clone(),
        style,
    };
    for (script, statements) in &parsed {
        if let Err(failure) = runner.run(script, statements, &mut out) {
            follow::stop(&runner.session);
            return Err(failure);
        }
    }
    follow::follow(&runner.session, &runner.interrupt, &runner.style, terminal)?;
    match out.publish() {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::pipe_closed()),
        Err(error) => Err(cannot_write(output, &error)),
        Ok(()) => Ok(()),
    }
}

/// Parses a script.
pub(crate) fn parse(session: &Session, script: &Script) -> Result<Vec<ParsedStatement>, Failure> {
    session
        .parse(script.text())
        .map_err(|error| Failure::engine(&error, |location| location.map(|_| script.place(location, 0))))
}

/// Opens the destination, or says why the format does not suit it.
fn destination(
    output: &OutputArguments,
    format: Format,
    queries: usize,
    terminal: &Terminal,
) -> Result<Destination, Failure> {
    let word = format.word();
    if format.is_binary() && queries > 1 {
        let error = Diagnostic::error(format!(
            "{word} holds one result, but {queries} statements give rows"
        ));
        let help = "use --format csv or json, or CREATE SINK … AS for all queries but one";
        return Err(Failure::usage(error.help(help)));
    }
    let Some(path) = &output.output else {
        if format.is_binary() && terminal.stdout_is_terminal && queries > 0 {
            let error = Diagnostic::error(format!("{word} is not for a terminal"));
            let help = "write it to a file, as in --output out.".to_owned() + word;
            return Err(Failure::usage(error.help(help)));
        }
        return Ok(Destination::stdout(terminal.stdout_is_terminal));
    };
    if queries == 0 {
        let error = Diagnostic::error(format!("{}: no statement gives rows to write", path.display()));
        return Err(Failure::usage(error.help("leave --output out, or add a query")));
    }
    Destination::file(path).map_err(|error| cannot_write(output, &error))
}

fn cannot_write(output: &OutputArguments, error: &std::io::Error) -> Failure {
    let name = output
        .output
        .as_ref()
        .map_or("standard output".to_owned(), |path| path.display().to_string());
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
    Failure::outside(format!("{name}: {text}"))
}

/// What a run shows, and how.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    /// How rows are written.
    pub(crate) format: Format,
    /// Whether a person sees the rows as they are written.
    pub(crate) is_seen: bool,
    /// At most this many rows of a table are shown.
    pub(crate) rows_shown: Option<usize>,
    /// What a person does to see all of them.
    pub(crate) rows_remedy: &'static str,
    /// Whether each statement's time is told.
    pub(crate) timing: bool,
    /// Whether progress is shown.
    pub(crate) progress: bool,
    /// Whether what was done is told: nothing, what was written, or everything.
    pub(crate) summaries: Summaries,
}

/// Which statements' summaries are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Summaries {
    /// None.
    None,
    /// Those that wrote rows.
    Written,
    /// All, as a shell does.
    All,
}

impl Style {
    /// Takes the style of a run from the command line.
    pub(crate) fn of_run(session: &SessionArguments, output: &OutputArguments, terminal: &Terminal) -> Self {
        let is_seen = terminal.stdout_is_terminal && output.output.is_none();
        let guessed = output.output.as_deref().and_then(Format::of_file);
        let usual = if is_seen { Format::Table } else { Format::Csv };
        Self {
            format: output.format.or(guessed).unwrap_or(usual),
            is_seen,
            rows_shown: (is_seen && !output.all_rows).then_some(ROWS_SHOWN),
            rows_remedy: "--all-rows",
            timing: output.timing,
            progress: !output.no_progress && !session.quiet,
            summaries: if session.quiet {
                Summaries::None
            } else {
                Summaries::Written
            },
        }
    }
}

/// Runs statements in a session.
pub(crate) struct Runner {
    /// The session.
    pub(crate) session: Session,
    /// How a person stops it.
    pub(crate) interrupt: Interrupt,
    /// What it stands in.
    pub(crate) terminal: Terminal,
    /// What it shows.
    pub(crate) style: Style,
}

impl Runner {
    /// Runs a script's statements in order, up to the first that fails.
    pub(crate) fn run(
        &mut self,
        script: &Script,
        statements: &[ParsedStatement],
        out: &mut Destination,
    ) -> Result<(), Failure> {
        let _guard = self.interrupt.guard(self.session.cancel_handle());
        for (statement, offset) in statements.iter().zip(script.offsets(statements)) {
            if self.interrupt.is_asked() {
                return Err(Failure::interrupted());
            }
            let started = Instant::now();
            let warn = || self.show_warnings(script, offset);
            let done = self.run_statement(statement, out, started, warn);
            warn();
            done.map_err(|stop| self.failure(stop, script, offset))?;
            if self.style.timing {
                self.terminal
                    .message(&format!("time: {}", figures::duration(started.elapsed())));
            }
        }
        Ok(())
    }

    fn run_statement(
        &self,
        statement: &ParsedStatement,
        out: &mut Destination,
        started: Instant,
        warn: impl Fn(),
    ) -> Result<(), Stop> {
        let progress = match self.terminal_for_progress() {
            None if self.style.progress => Progress::log(&self.session, &self.terminal),
            terminal => Progress::watch(&self.session, &self.interrupt, terminal),
        };
        match self.session.execute(statement)? {
            Outcome::Rows(rows) => {
                // What planning warns of is told before a query that may take long.
                progress.aside(warn);
                self.write_rows(rows, out, started, &progress)?;
                drop(progress);
                self.tell_lookups(false);
                Ok(())
            }
            Outcome::Done(summary) => {
                drop(progress);
                let is_told = match self.style.summaries {
                    Summaries::None => false,
                    Summaries::Written => summary.rows.is_some(),
                    Summaries::All => true,
                };
                if is_told {
                    self.terminal.message(&summary.message);
                    if summary.rows.is_some() {
                        self.tell_lookups(true);
                    }
                }
                Ok(())
            }
        }
    }

    /// Tells which rows had no match, unless nothing is to be told.
    fn tell_lookups(&self, all: bool) {
        if self.style.summaries != Summaries::None {
            for line in lookups::lines(&self.session.lookup_counts(), all) {
                self.terminal.message(&line);
            }
        }
    }

    /// Returns the terminal where progress is to be shown, if it is.
    fn terminal_for_progress(&self) -> Option<&Terminal> {
        Some(&self.terminal).filter(|terminal| self.style.progress && terminal.stderr_is_terminal)
    }

    fn write_rows(
        &self,
        rows: Rows,
        out: &mut Destination,
        started: Instant,
        progress: &Progress,
    ) -> Result<(), Stop> {
        let goes_on = rows.goes_on();
        let look = TableLook {
            paint: self.terminal.paint,
            rows_shown: self.style.rows_shown.filter(|_| !goes_on),
            as_they_come: goes_on,
            rows_remedy: self.style.rows_remedy,
            width: self.terminal.columns().filter(|_| self.style.is_seen),
            footer: self.style.is_seen.then_some(started),
        };
        let written = self.copy(rows, out, look, progress);
        match written {
            // Whoever read the pipe has what they wanted.
            Err(Stop::Write(_)) if out.is_closed() => Err(Stop::PipeClosed),
            other => other,
        }
    }

    fn copy(
        &self,
        rows: Rows,
        out: &mut Destination,
        look: TableLook,
        progress: &Progress,
    ) -> Result<(), Stop> {
        let mut writer = results::open(self.style.format, rows.schema(), out, look)?;
        for batch in rows {
            let batch = batch?;
            // What goes on ends well when a person asks for it.
            if self.interrupt.is_asked() && !look.as_they_come {
                return Err(Stop::Engine(Error::Cancelled));
            }
            if self.style.is_seen && writer.wants_rows() {
                progress.aside(|| writer.write(&batch))?;
            } else {
                writer.write(&batch)?;
            }
        }
        progress.aside(|| writer.finish())?;
        // A sink of the next statement may write to standard output by itself.
        Ok(out.flush().map_err(WriteError::from)?)
    }

    fn failure(&self, stop: Stop, script: &Script, offset: usize) -> Failure {
        match stop {
            // Nobody has asked for it here: the sink 'stdout' has lost its reader.
            Stop::Engine(Error::Cancelled) if !self.interrupt.is_asked() => Failure::pipe_closed(),
            Stop::Engine(error) => Failure::engine(&error, |location| Some(script.place(location, offset))),
            Stop::Write(error) => Failure::outside(format!("the rows cannot be written: {error}")),
            Stop::PipeClosed => Failure::pipe_closed(),
        }
    }

    fn show_warnings(&self, script: &Script, offset: usize) {
        for warning in self.session.take_warnings() {
            let warning = Diagnostic::of_warning(&warning).at(script.place_of_statement(offset));
            self.terminal
                .message(&warning.render(self.terminal.message_paint));
        }
    }
}

/// Why a statement ended early.
enum Stop {
    /// The engine says so.
    Engine(Error),
    /// Its rows cannot be written.
    Write(WriteError),
    /// Nobody reads its rows any more.
    PipeClosed,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}
