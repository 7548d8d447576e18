//! How a run ends that does not end well: what to say, and the exit code.

use fletching::Error;

use crate::diagnostic::{Diagnostic, Place};
use crate::terminal::Terminal;

/// Everything was done, as far as anyone wants to see it.
const DONE: u8 = 0;
/// A run failed.
const FAILED: u8 = 1;
/// The command line, the SQL or an option is wrong.
const WRONG: u8 = 2;
/// A person stopped it; what shells use for a program ended by SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a run ends early.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    exit_code: u8,
    diagnostic: Option<Box<Diagnostic>>,
}

impl Failure {
    /// The command line is wrong, or a script cannot be read.
    pub(crate) fn usage(diagnostic: Diagnostic) -> Self {
        Self {
            exit_code: WRONG,
            diagnostic: Some(Box::new(diagnostic)),
        }
    }

    /// Something outside the engine failed, as writing the results.
    pub(crate) fn outside(message: impl Into<String>) -> Self {
        Self {
            exit_code: FAILED,
            diagnostic: Some(Box::new(Diagnostic::error(message))),
        }
    }

    /// A statement failed; `statement` is where it begins.
    pub(crate) fn engine(error: &Error, place: impl Fn(Option<(u64, u64)>) -> Option<Place>) -> Self {
        let exit_code = match error {
            Error::Sql(_) | Error::Option { .. } => WRONG,
            Error::Cancelled => INTERRUPTED,
            _ => FAILED,
        };
        Self {
            exit_code,
            diagnostic: Some(Box::new(Diagnostic::of_error(error, place))),
        }
    }

    /// The reader of standard output has seen enough: an end like any other.
    pub(crate) fn pipe_closed() -> Self {
        Self {
            exit_code: DONE,
            diagnostic: None,
        }
    }

    /// A person stopped it between two statements.
    pub(crate) fn interrupted() -> Self {
        Self::engine(&Error::Cancelled, |_| None)
    }

    /// Makes the failure one of what was asked for, as everything is that `check` finds.
    pub(crate) fn into_wrong(mut self) -> Self {
        if self.exit_code == FAILED {
            self.exit_code = WRONG;
        }
        self
    }

    /// Says whether the reader of standard output has gone.
    pub(crate) fn is_pipe_closed(&self) -> bool {
        self.exit_code == DONE
    }

    /// Returns the program's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Prints what there is to say.
    pub(crate) fn show(&self, terminal: &Terminal) {
        if let Some(diagnostic) = &self.diagnostic {
            terminal.message(&diagnostic.render(terminal.message_paint));
        }
    }
}
