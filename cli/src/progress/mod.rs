//! Progress bars on standard error while tables load and streams are read.
//!
//! A thread looks at the session ten times a second. Nothing is drawn for what is done within a
//! moment. Where no person watches, tables that load for long are told of in lines.

mod board;
mod followed;
mod log;
mod screen;

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fletching::Session;
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::interrupt::Interrupt;
use crate::terminal::Terminal;
use board::Board;
pub(crate) use followed::Followed;
use log::Log;
use screen::Screen;

/// How long a statement runs before its progress is shown.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long a statement runs before lines are written of its tables.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// How often the session is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How often bars are drawn at most.
const DRAWS_PER_S: u8 = 20;

/// The bars of one statement; cleared when dropped.
pub(crate) struct Progress {
    bars: MultiProgress,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to watch a session and to write lines, as for a log.
    pub(crate) fn log(session: &Session, terminal: &Terminal) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (session, terminal) = (session.clone(), terminal.clone());
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let mut log = Log::default();
            let mut wait = LOG_PATIENCE;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                for line in log.lines(&session.progress(), Instant::now()) {
                    terminal.message(&line);
                }
                wait = INTERVAL;
            }
        });
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            stop: Some(stop),
            thread: thread.ok(),
        }
    }

    /// Begins to watch a session. Without a terminal there is nothing to show.
    pub(crate) fn watch(session: &Session, interrupt: &Interrupt, terminal: Option<&Terminal>) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let Some(terminal) = terminal else {
            return Self {
                bars,
                stop: None,
                thread: None,
            };
        };
        let screen = Box::new(Screen::stderr());
        bars.set_draw_target(ProgressDrawTarget::term_like_with_hz(screen, DRAWS_PER_S));
        let (stop, stopped) = mpsc::channel::<()>();
        let (session, interrupt, shown) = (session.clone(), interrupt.clone(), bars.clone());
        let is_painted = terminal.message_paint.is_enabled();
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let mut board = Board::new(shown, is_painted);
            let mut wait = PATIENCE;
            // The sender's end is the sign to stop.
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                board.show(&session.progress());
                if interrupt.is_asked() {
                    board.say_once("stopping; Ctrl-C again ends the program at once");
                }
                wait = INTERVAL;
            }
            board.wipe();
        });
        // Without a thread to spare there is no progress to see, and that is all.
        Self {
            bars,
            stop: Some(stop),
            thread: thread.ok(),
        }
    }

    /// Writes to the terminal with the bars out of the way.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.thread.is_some() {
            self.bars.suspend(write)
        } else {
            write()
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.bars.clear();
    }
}
