//! Dead letters in the simulated world: which records are bad, and a place for letters beside the sink.

use crate::connector::{DeadLetter, LetterWriter, Position};
use crate::error::Result;

use super::world::{Shared, broken};

/// Says whether a record cannot be decoded.
pub(super) fn is_undecodable(k: i64) -> bool {
    k % 11 == 5
}

/// Says whether a row cannot be computed by the query.
pub(super) fn is_uncomputable(k: i64) -> bool {
    k % 13 == 0 && k % 3 != 1
}

/// Makes the letter of a record that cannot be decoded.
pub(super) fn letter(p: i64, k: i64) -> DeadLetter {
    DeadLetter {
        partition: p.to_string().into(),
        place: k.to_string(),
        code: "BAD_RECORD".into(),
        column: None,
        reason: "simulated".into(),
        key: None,
        value: None,
    }
}

/// Tells which record a letter is about.
pub(super) fn record_of(letter: &DeadLetter) -> (i64, i64) {
    let code = if is_undecodable(letter.place.parse().unwrap()) {
        "BAD_RECORD"
    } else {
        "COMPUTE"
    };
    assert_eq!(letter.code, code);
    (letter.partition.parse().unwrap(), letter.place.parse().unwrap())
}

/// A place that shows letters by itself, after the sink has shown the rows.
pub(super) struct SimLetters {
    pub(super) world: Shared,
    pub(super) making: Vec<(i64, i64)>,
}

fn publish(world: &Shared) {
    let mut world = world.lock();
    if let Some((_, letters)) = world.letters_prepared.take() {
        world.letters.extend(letters);
    }
}

impl LetterWriter for SimLetters {
    fn restore(&mut self, positions: &[Position]) -> Result<()> {
        let prepared = self.world.lock().letters_prepared.clone();
        if prepared.is_some_and(|(of, _)| of == positions) {
            publish(&self.world);
        }
        let mut world = self.world.lock();
        world.letters_prepared = None;
        let is_before = |(p, k): &(i64, i64)| {
            let mut of = positions
                .iter()
                .filter(|position| *position.partition == p.to_string());
            match of.next() {
                Some(position) => *k < position.place.parse().unwrap(),
                // None of the partition had been read yet.
                None => positions.is_empty(),
            }
        };
        world.letters.retain(is_before);
        Ok(())
    }

    fn write(&mut self, letters: &[DeadLetter]) -> Result<()> {
        self.making.extend(letters.iter().map(record_of));
        Ok(())
    }

    fn prepare(&mut self, positions: &[Position]) -> Result<()> {
        let mut world = self.world.lock();
        if world.fails("letters prepare", 20) {
            return Err(broken("the disk of the letters is full"));
        }
        world.letters_prepared = Some((positions.to_vec(), std::mem::take(&mut self.making)));
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if self.world.lock().fails("letters commit", 20) {
            return Err(broken("the place of the letters is away"));
        }
        publish(&self.world);
        Ok(())
    }
}
