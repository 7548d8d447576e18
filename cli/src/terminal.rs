//! What the program stands in: which streams are terminals, how wide they are, whether they take
//! colours. Nothing here panics where a stream is closed.

use std::io::{self, IsTerminal, Write};

use crate::paint::{ColorChoice, Paint};

/// The three standard streams.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    /// Whether a person types the input.
    pub(crate) stdin_is_terminal: bool,
    /// Whether a person sees the results.
    pub(crate) stdout_is_terminal: bool,
    /// Whether a person sees the messages.
    pub(crate) stderr_is_terminal: bool,
    /// Colours of results.
    pub(crate) paint: Paint,
    /// Colours of messages.
    pub(crate) message_paint: Paint,
}

impl Terminal {
    /// Looks at the standard streams.
    pub(crate) fn find(color: ColorChoice) -> Self {
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            stdin_is_terminal: io::stdin().is_terminal(),
            stdout_is_terminal: stdout,
            stderr_is_terminal: stderr,
            paint: Paint::decide(color, stdout),
            message_paint: Paint::decide(color, stderr),
        }
    }

    /// Stands in nothing at all, as in a pipe.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            paint: Paint::PLAIN,
            message_paint: Paint::PLAIN,
        }
    }

    /// Returns how many columns fit on the terminal that shows results, if it is one.
    pub(crate) fn columns(&self) -> Option<usize> {
        let size = console::Term::stdout().size_checked();
        size.filter(|_| self.stdout_is_terminal)
            .map(|(_, columns)| usize::from(columns))
    }

    /// Writes a message to standard error. A closed stream is no reason to fail.
    pub(crate) fn message(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "{}", text.trim_end());
    }
}
