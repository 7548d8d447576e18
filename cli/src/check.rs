//! `fletching check`: plans every statement of a script, runs none.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::arguments::SessionArguments;
use crate::diagnostic::Diagnostic;
use crate::failure::Failure;
use crate::figures;
use crate::opening;
use crate::run;
use crate::script::{Script, Source};
use crate::terminal::Terminal;

/// Checks files in order, each in a session of its own. Everything it finds is exit code 2.
pub(crate) fn check(
    files: &[PathBuf],
    arguments: &SessionArguments,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let read = |file: &PathBuf| Source::file(file.clone()).read(&arguments.values);
    let scripts: Vec<_> = files.iter().map(read).collect();
    let is_used = |name: &str| scripts.iter().flatten().any(|script| script.uses(name));
    let mut failed = None;
    for script in &scripts {
        let checked = match script {
            Ok(script) => check_script(script, arguments, is_used, terminal),
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
    arguments: &SessionArguments,
    is_used: impl Fn(&str) -> bool,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let session = opening::open(arguments)?;
    opening::apply(&session, arguments, is_used)?;
    let statements = run::parse(&session, script)?;
    for (statement, offset) in statements.iter().zip(script.offsets(&statements)) {
        let checked = session.check(statement);
        for warning in session.take_warnings() {
            let warning = Diagnostic::of_warning(&warning).at(script.place_of_statement(offset));
            terminal.message(&warning.render(terminal.message_paint));
        }
        checked.map_err(|error| Failure::engine(&error, |location| Some(script.place(location, offset))))?;
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
