//! One call of a prepared query: what it leaves behind it leaves only if it goes well.
//!
//! Rows that wait for their keys are parked between calls. A call takes its turn with them, and its
//! dead letters are its own until it is done: one that fails has parked, released and written nothing,
//! and can be made again.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use crate::operator::{CallLetters, Parking};

/// The rows that wait at each step of a chain, where some may.
pub(super) type Parkings = Vec<Option<Parking>>;

/// What one run of a chain has at hand.
pub(super) struct Call<'a> {
    /// Takes dead letters, where some table wants any.
    pub(super) letters: Option<&'a Arc<CallLetters>>,
    /// Rows that wait, by step; empty where none may.
    pub(super) parkings: &'a mut [Option<Parking>],
    /// The time, where some row may wait.
    pub(super) now: Option<Instant>,
    /// Whether everything that waits is to be let go.
    pub(super) is_last: bool,
    /// Into how many pieces its input is cut, where what it gives is more than the caches hold; else none.
    pub(super) kept_pieces: usize,
}

/// A call's turn with the rows that wait: calls that would disturb each other come one by one.
pub(super) struct Turn<'a> {
    parkings: MutexGuard<'a, Parkings>,
    is_kept: bool,
}

impl<'a> Turn<'a> {
    /// Waits for the turn.
    pub(super) fn take(parkings: &'a Mutex<Parkings>) -> Self {
        let mut parkings = parkings.lock();
        parkings.iter_mut().flatten().for_each(Parking::begin);
        let is_kept = false;
        Self { parkings, is_kept }
    }

    pub(super) fn parkings(&mut self) -> &mut [Option<Parking>] {
        &mut self.parkings
    }

    /// Ends a turn that went well.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let end = if self.is_kept {
            Parking::keep
        } else {
            Parking::undo
        };
        self.parkings.iter_mut().flatten().for_each(end);
    }
}
