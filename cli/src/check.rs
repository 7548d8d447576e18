//! `fletching check`: plans every statement of a script, runs none; tries its joins on a sample.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use fletching::Rows;

use crate::arguments::SessionArguments;
use crate::diagnostic::Diagnostic;
use crate::failure::Failure;
use crate::figures;
use crate::opening;
use crate::results::{self, Destination, Format, TableLook, WriteError};
use crate::run;
use crate::script::{Script, Source};
use crate::terminal::Terminal;

/// Checks files in order, each in a session of its own. Everything it finds is exit code 2.
pub(crate) fn check(
    files: &[PathBuf],
    sample: Option<NonZeroUsize>,
    arguments: &SessionArguments,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let read = |file: &PathBuf| Source::file(file.clone()).read(&arguments.values);
    let scripts: Vec<_> = files.iter().map(read).collect();
    let is_used = |name: &str| scripts.iter().flatten().any(|script| script.uses(name));
    let mut failed = None;
    for script in &scripts {
        let checked = match script {
            Ok(script) => check_script(script, sample, arguments, is_used, terminal),
            Err(failure) => Err(failure.clone()),
        };
        // Each file is looked at, also after one that has an error.
        if let Err(failure) = checked
            && let Some(before) = failed.replace(failure.into_wrong())
        {
            Failure::show(&before, terminal);
        }
    }
    failed.map_or(Ok(()), Err)
}

fn check_script(
    script: &Script,
    sample: Option<NonZeroUsize>,
    arguments: &SessionArguments,
    is_used: impl Fn(&str) -> bool,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let session = opening::open(arguments)?;
    opening::apply(&session, arguments, is_used)?;
    let statements = run::parse(&session, script)?;
    for (statement, offset) in statements.iter().zip(script.offsets(&statements)) {
        let checked = match sample {
            Some(rows) => session.check_sampled(statement, rows.get()),
            None => session.check(statement).map(|()| None),
        };
        for warning in session.take_warnings() {
            let warning = Diagnostic::of_warning(&warning).at(script.place_of_statement(offset));
            terminal.message(&warning.render(terminal.message_paint));
        }
        let found = checked
            .map_err(|error| Failure::engine(&error, |location| Some(script.place(location, offset))))?;
        if let Some(found) = found {
            show(found, terminal).map_err(|error| Failure::outside(error.to_string()))?;
        }
    }
    if !arguments.quiet {
        let count = statements.len() as u64;
        let verb = if count == 1 { "is" } else { "are" };
        let line = format!(
            "{}: {} {verb} fine",
            script.name(),
            figures::counted(count, "statement")
        );
        // Nobody is left to read it where standard output is closed.
        let _ = writeln!(io::stdout().lock(), "{line}");
    }
    Ok(())
}

/// Writes what a check of joins found as a table.
fn show(found: Rows, terminal: &Terminal) -> Result<(), WriteError> {
    let mut out = Destination::stdout(terminal.stdout_is_terminal);
    let look = TableLook {
        as_they_come: false,
        paint: terminal.paint,
        rows_shown: None,
        rows_remedy: "",
        width: terminal.columns(),
        footer: None,
    };
    let mut writer = results::open(Format::Table, found.schema(), &mut out, look)?;
    for batch in found {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    Ok(out.flush()?)
}
