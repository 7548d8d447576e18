//! The outbox: a prepared query's dead letters, from the call that wrote them until they are published.
//!
//! ```text
//!   a call that went well ─▶ waiting ──flush(), or the end of the query──▶ the sink
//!                               ▲                                            │ the sink's next output
//!                               └────── published, written again ◀───────────┘ replaces the last one
//! ```
//!
//! Letters leave the outbox only once their sink has published them: what fails can be asked again.
//! A sink whose next output stands beside the last, as a folder's does, is given each letter once. One
//! that has a single output is given all letters of the query each time, so that none replaces another.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use crate::connector::{Sink, SinkSummary};
use crate::error::{Error, Result};
use crate::operator::letter_schema;

/// Letters kept for one sink, at most. Those that can be let go are published by themselves then.
const LETTER_BYTES_MAX: usize = 256 << 20;

/// The dead letters of a prepared query, a box for each sink.
pub(super) struct Outbox {
    boxes: Mutex<Vec<LetterBox>>,
    bytes_max: usize,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let boxes = self.boxes.lock();
        f.debug_list().entries(boxes.iter().map(|own| &own.name)).finish()
    }
}

/// The letters for one sink.
struct LetterBox {
    name: String,
    sink: Arc<dyn Sink>,
    waiting: Vec<RecordBatch>,
    /// Those to be written again with the others; none where the sink keeps its outputs.
    published: Vec<RecordBatch>,
    bytes: usize,
}

impl Outbox {
    /// Makes a box for each sink.
    pub(super) fn new(sinks: Vec<(String, Arc<dyn Sink>)>) -> Self {
        let empty = |(name, sink)| LetterBox {
            name,
            sink,
            waiting: Vec::new(),
            published: Vec::new(),
            bytes: 0,
        };
        Self {
            boxes: Mutex::new(sinks.into_iter().map(empty).collect()),
            bytes_max: LETTER_BYTES_MAX,
        }
    }

    /// Returns the sinks with their names.
    pub(super) fn sinks(&self) -> Vec<(String, Arc<dyn Sink>)> {
        let boxes = self.boxes.lock();
        boxes
            .iter()
            .map(|own| (own.name.clone(), Arc::clone(&own.sink)))
            .collect()
    }

    /// Takes the letters of a call. Where one finds no room, none is taken.
    pub(super) fn put(&self, letters: Vec<(String, RecordBatch)>) -> Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let mut boxes = self.boxes.lock();
        for own in boxes.iter_mut() {
            let to_own = letters.iter().filter(|(name, _)| *name == own.name);
            let bytes = to_own.map(|(_, batch)| batch.get_array_memory_size()).sum();
            own.make_room(bytes, self.bytes_max)?;
        }
        for (name, batch) in letters {
            let own = boxes.iter_mut().find(|own| own.name == name);
            let own = own.ok_or_else(|| Error::internal("a dead letter for a sink that nobody named"))?;
            own.bytes += batch.get_array_memory_size();
            own.waiting.push(batch);
        }
        Ok(())
    }

    /// Publishes what waits, sink by sink. A sink that nothing waits for is left as it is.
    pub(super) fn flush(&self) -> Result<Vec<SinkSummary>> {
        let mut boxes = self.boxes.lock();
        let full = boxes.iter_mut().filter(|own| !own.waiting.is_empty());
        full.map(LetterBox::publish).collect()
    }
}

impl LetterBox {
    fn make_room(&mut self, bytes: usize, bytes_max: usize) -> Result<()> {
        if bytes == 0 || self.bytes + bytes <= bytes_max {
            return Ok(());
        }
        if self.sink.keeps_outputs() {
            if !self.waiting.is_empty() {
                self.publish()?;
            }
            return Ok(());
        }
        Err(Error::Resource {
            message: format!(
                "the dead letters of a prepared query for sink {} take {} MB, and {} MB is the most that is kept \
                 of them; let the sink's path be a folder, as in 'missed/': each output is then a file of its own, \
                 and letters can be let go once published",
                self.name,
                (self.bytes + bytes) >> 20,
                bytes_max >> 20
            ),
        })
    }

    fn publish(&mut self) -> Result<SinkSummary> {
        let mut writer = self.sink.create(&letter_schema())?;
        for batch in self.published.iter().chain(&self.waiting) {
            writer.write(batch)?;
        }
        let summary = writer.commit()?;
        if self.sink.keeps_outputs() {
            self.waiting.clear();
            self.bytes = 0;
        } else {
            self.published.append(&mut self.waiting);
        }
        Ok(summary)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::SchemaRef;

    use super::*;
    use crate::connector::SinkWriter;

    /// A sink that remembers its outputs as numbers of rows.
    #[derive(Debug, Default)]
    struct Kept {
        outputs: Arc<Mutex<Vec<u64>>>,
        keeps: bool,
        fails: AtomicBool,
    }

    struct KeptWriter {
        outputs: Arc<Mutex<Vec<u64>>>,
        rows: u64,
        fails: bool,
    }

    impl Sink for Kept {
        fn create(&self, _schema: &SchemaRef) -> Result<Box<dyn SinkWriter>> {
            Ok(Box::new(KeptWriter {
                outputs: Arc::clone(&self.outputs),
                rows: 0,
                fails: self.fails.load(Relaxed),
            }))
        }

        fn keeps_outputs(&self) -> bool {
            self.keeps
        }
    }

    impl SinkWriter for KeptWriter {
        fn write(&mut self, batch: &RecordBatch) -> Result<()> {
            self.rows += batch.num_rows() as u64;
            Ok(())
        }

        fn commit(self: Box<Self>) -> Result<SinkSummary> {
            if self.fails {
                return Err(Error::internal("full"));
            }
            self.outputs.lock().push(self.rows);
            Ok(SinkSummary {
                rows: self.rows,
                ..SinkSummary::default()
            })
        }
    }

    fn letters(count: usize) -> Vec<(String, RecordBatch)> {
        let text = || Arc::new(StringArray::from(vec!["x"; count])) as ArrayRef;
        let time = Arc::new(TimestampMicrosecondArray::from(vec![0; count]));
        let columns: Vec<ArrayRef> = vec![time, text(), text(), text(), text()];
        let batch = RecordBatch::try_new(letter_schema(), columns).unwrap();
        vec![("s".into(), batch)]
    }

    fn outbox(keeps: bool) -> (Outbox, Arc<Kept>) {
        let sink = Arc::new(Kept {
            keeps,
            ..Kept::default()
        });
        (Outbox::new(vec![("s".into(), Arc::clone(&sink) as _)]), sink)
    }

    #[test]
    fn a_single_output_has_every_letter_and_others_have_each_once() {
        for (keeps, expected) in [(false, vec![3, 5]), (true, vec![3, 2])] {
            let (outbox, sink) = outbox(keeps);
            assert_eq!(outbox.flush().unwrap(), []);
            outbox.put(letters(1)).unwrap();
            outbox.put(letters(2)).unwrap();
            assert_eq!(outbox.flush().unwrap()[0].rows, 3);
            assert_eq!(outbox.flush().unwrap(), []);
            outbox.put(letters(2)).unwrap();
            outbox.flush().unwrap();
            assert_eq!(*sink.outputs.lock(), expected);
        }
    }

    #[test]
    fn letters_that_could_not_be_published_stay() {
        for keeps in [false, true] {
            let (outbox, sink) = outbox(keeps);
            outbox.put(letters(4)).unwrap();
            sink.fails.store(true, Relaxed);
            assert!(outbox.flush().is_err());
            sink.fails.store(false, Relaxed);
            outbox.flush().unwrap();
            assert_eq!(*sink.outputs.lock(), [4]);
        }
    }

    #[test]
    fn a_full_box_publishes_what_can_be_let_go_and_refuses_otherwise() {
        for keeps in [false, true] {
            let (mut outbox, sink) = outbox(keeps);
            outbox.put(letters(1)).unwrap();
            outbox.bytes_max = outbox.boxes.lock()[0].bytes * 3 / 2;
            let second = outbox.put(letters(1));
            assert_eq!(second.is_ok(), keeps);
            assert_eq!(*sink.outputs.lock(), if keeps { vec![1] } else { vec![] });
            outbox.flush().unwrap();
            assert_eq!(*sink.outputs.lock(), if keeps { vec![1, 1] } else { vec![1] });
        }
    }
}
