//! Ctrl-C: the first asks the running statement to end cleanly, the second ends the program.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fletching::CancelHandle;

use crate::failure::INTERRUPTED;

/// What the signal handler and the run share.
#[derive(Default)]
struct State {
    /// How to stop what runs; `None` while nothing does.
    running: Option<CancelHandle>,
    /// Whether a stop has been asked for since the run began.
    asked: bool,
}

/// Listens for Ctrl-C (and for SIGTERM, which means the same).
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    state: Arc<Mutex<State>>,
}

impl Interrupt {
    /// Begins to listen. Where that cannot be, signals do what they do by default.
    pub(crate) fn listen() -> Self {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        let _ = ctrlc::set_handler(move || heard.hear());
        interrupt
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self) {
        let mut state = self.state();
        match &state.running {
            Some(handle) if !state.asked => {
                handle.cancel();
                state.asked = true;
            }
            _ => std::process::exit(i32::from(INTERRUPTED)),
        }
    }

    /// Says that something runs from now on, until the guard is dropped.
    pub(crate) fn guard(&self, handle: CancelHandle) -> RunGuard {
        *self.state() = State {
            running: Some(handle),
            asked: false,
        };
        RunGuard {
            interrupt: self.clone(),
        }
    }

    /// Says whether a stop has been asked for since the run began.
    pub(crate) fn is_asked(&self) -> bool {
        self.state().asked
    }
}

/// Something runs that Ctrl-C can stop.
pub(crate) struct RunGuard {
    interrupt: Interrupt,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        *self.interrupt.state() = State::default();
    }
}
