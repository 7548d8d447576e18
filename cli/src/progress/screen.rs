//! The terminal as the bars see it.
//!
//! Bars fill their lines with spaces and leave the cursor at the terminal's edge. A `^C` that the
//! terminal then echoes would begin a new line, and the bar above it could no longer be wiped
//! away. So the cursor is taken back a little after each picture; the next begins by placing it.

use std::io;

use console::Term;
use indicatif::TermLike;

/// Standard error, with the cursor kept off its edge.
#[derive(Debug)]
pub(super) struct Screen {
    term: Term,
}

/// Room for `^C`, twice.
const MARGIN: usize = 5;

impl Screen {
    /// Draws on standard error, a whole picture at a time.
    pub(super) fn stderr() -> Self {
        Self {
            term: Term::buffered_stderr(),
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.term.size().1
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.term.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.term.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.term.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.term.move_cursor_left(MARGIN)?;
        self.term.flush()
    }
}
