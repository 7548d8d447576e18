//! The state of a table as bytes: what a base or a delta holds.
//!
//! ```text
//!  "FLTABLE1"
//!  block …       kind u8 │ length u32 │ payload │ CRC-32C u32 of kind, length and payload
//!    1 header      fingerprint u64, number u64, files of rows u32
//!    2 rows        an Arrow IPC stream of rows as the table has them
//!    3 changes     an Arrow IPC stream of records as the source gave them
//!    4 ended       the rows, u32 each, that end their key
//!    5 tombstones  an Arrow IPC stream
//!    6 positions   count u32, then partition and place of each
//!    255 end       number of blocks u32
//! ```
//!
//! The blocks are those of a pipeline's checkpoint: see `format.rs`.

use std::io::Read;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;

use super::crc32c::Crc32c;
use super::format::{Cut, Payload, append};
use crate::connector::Position;
use crate::error::Result;

const MAGIC: &[u8; 8] = b"FLTABLE1";
const HEADER: u8 = 1;
const ROWS: u8 = 2;
const CHANGES: u8 = 3;
const ENDED: u8 = 4;
const TOMBSTONES: u8 = 5;
const POSITIONS: u8 = 6;
const END: u8 = 255;

/// A part of a table's state; they are taken in the order in which they were written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// Rows as the table has them.
    Rows(RecordBatch),
    /// Records as the source gave them.
    Changes(RecordBatch),
    /// Which of the rows so far end their key.
    Ended(Vec<u32>),
    /// The versions of keys that are gone.
    Tombstones(RecordBatch),
}

/// What a file of state says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct StateFile {
    /// What tells the table apart whose state it is.
    pub(super) fingerprint: u64,
    /// Where it stands in the order of bases and deltas.
    pub(super) number: u64,
    /// How many files of rows belong to it, which come before its own pieces.
    pub(super) parts: u32,
    pub(super) pieces: Vec<Piece>,
    pub(super) positions: Vec<Position>,
}

/// Writes a file of state as bytes.
pub(super) fn encode(state: &StateFile) -> Result<Vec<u8>> {
    let mut file = MAGIC.to_vec();
    let mut header = Payload::default();
    header.bytes(&state.fingerprint.to_le_bytes());
    header.bytes(&state.number.to_le_bytes());
    header.bytes(&state.parts.to_le_bytes());
    append(&mut file, HEADER, &header.0);
    for piece in &state.pieces {
        match piece {
            Piece::Rows(rows) => append(&mut file, ROWS, &ipc(rows)?),
            Piece::Changes(rows) => append(&mut file, CHANGES, &ipc(rows)?),
            Piece::Tombstones(rows) => append(&mut file, TOMBSTONES, &ipc(rows)?),
            Piece::Ended(rows) => {
                let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
                append(&mut file, ENDED, &bytes);
            }
        }
    }
    let mut positions = Payload::default();
    positions.count(state.positions.len());
    for position in &state.positions {
        positions.text(&position.partition);
        positions.text(&position.place);
    }
    append(&mut file, POSITIONS, &positions.0);
    let mut end = Payload::default();
    end.count(state.pieces.len() + 2);
    append(&mut file, END, &end.0);
    Ok(file)
}

/// Writes rows as an IPC stream, without what their views share with rows that are not written.
fn ipc(rows: &RecordBatch) -> Result<Vec<u8>> {
    let compact = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => Arc::clone(column),
        }
    };
    let columns = rows.columns().iter().map(compact).collect();
    let rows = RecordBatch::try_new(rows.schema(), columns)?;
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema())?;
    writer.write(&rows)?;
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

/// Reads a file of state of so many bytes, or says what is wrong with it.
///
/// A block is read into memory of its own, and its rows are left there: nothing is copied, and the
/// memory goes with the rows of that block.
pub(super) fn decode(source: &mut dyn Read, length: u64) -> Result<StateFile, String> {
    let mut file = Blocks { source, left: length };
    let mut magic = [0; MAGIC.len()];
    if file.fill(&mut magic).is_err() || magic != *MAGIC {
        return Err("it does not begin as the state of a table does".into());
    }
    let mut state = StateFile::default();
    let (mut blocks, mut has_header, mut has_positions) = (0, false, false);
    loop {
        let (kind, bytes) = file.block()?;
        let mut payload = Cut(&bytes);
        match kind {
            HEADER => {
                state.fingerprint = payload.u64()?;
                state.number = payload.u64()?;
                state.parts = payload.u32()?;
                has_header = true;
            }
            ROWS => state.pieces.push(Piece::Rows(rows(bytes)?)),
            CHANGES => state.pieces.push(Piece::Changes(rows(bytes)?)),
            TOMBSTONES => state.pieces.push(Piece::Tombstones(rows(bytes)?)),
            ENDED => {
                let (words, _) = payload.0.as_chunks::<4>();
                let ended = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
                state.pieces.push(Piece::Ended(ended));
            }
            POSITIONS => {
                for _ in 0..payload.u32()? {
                    let partition = Arc::from(payload.text()?);
                    let place = payload.text()?;
                    state.positions.push(Position { partition, place });
                }
                has_positions = true;
            }
            END if payload.u32()? != blocks || file.left > 0 => {
                return Err("it ends in another place than it says".into());
            }
            END if has_header && has_positions => return Ok(state),
            END => return Err("a block is missing".into()),
            other => return Err(format!("block {other} is not known to this version")),
        }
        blocks += 1;
    }
}

/// The blocks of a file, read one after the other.
struct Blocks<'a> {
    source: &'a mut dyn Read,
    /// Bytes that were not read yet.
    left: u64,
}

impl Blocks<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or("it is cut short")?;
        let read = self.source.read_exact(bytes);
        read.map_err(|error| format!("it cannot be read to its end: {error}"))
    }

    /// Reads the next block, and checks its sum. Its payload begins where any array may.
    fn block(&mut self) -> Result<(u8, Buffer), String> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length);
        // Before memory is asked for: a length may be what is damaged.
        if u64::from(length) > self.left {
            return Err("it is cut short".into());
        }
        let mut payload = MutableBuffer::from_len_zeroed(length as usize);
        self.fill(payload.as_slice_mut())?;
        let mut sum = [0; 4];
        self.fill(&mut sum)?;
        if Crc32c::default().with(&head).with(&payload).sum() != u32::from_le_bytes(sum) {
            return Err(format!("the checksum of block {kind} does not hold"));
        }
        Ok((kind, payload.into()))
    }
}

/// Reads the rows of a block, which stay in its memory.
fn rows(mut bytes: Buffer) -> Result<RecordBatch, String> {
    let failed = |error: ArrowError| format!("its rows cannot be read: {error}");
    let mut decoder = StreamDecoder::new();
    let rows = decoder.decode(&mut bytes).map_err(failed)?;
    rows.ok_or_else(|| "a block of rows is empty".into())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn state() -> StateFile {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20));
        let texts = (0..20).map(|at| (at % 3 > 0).then(|| format!("a text that is not inline {at}")));
        let texts: ArrayRef = Arc::new(texts.collect::<StringViewArray>());
        let rows = RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).unwrap();
        StateFile {
            fingerprint: 7,
            number: 3,
            parts: 2,
            pieces: vec![
                Piece::Rows(rows.clone()),
                Piece::Ended(vec![1, 5]),
                Piece::Tombstones(rows.slice(2, 3)),
                Piece::Changes(rows.slice(9, 1)),
            ],
            positions: vec![Position {
                partition: "users-0".into(),
                place: "41".into(),
            }],
        }
    }

    fn read(bytes: &[u8]) -> Result<StateFile, String> {
        decode(&mut &bytes[..], bytes.len() as u64)
    }

    #[test]
    fn what_was_written_is_read_without_a_copy() {
        let read = read(&encode(&state()).unwrap()).unwrap();
        assert_eq!(read, state());
        let Piece::Rows(rows) = &read.pieces[0] else {
            panic!("the first piece is rows")
        };
        // Both columns are in the one allocation of their block.
        let numbers = rows.column(0).to_data().buffers()[0].clone();
        let views = rows.column(1).to_data().buffers()[0].clone();
        assert_eq!(numbers.data_ptr(), views.data_ptr());
    }

    #[test]
    fn damage_is_found_at_every_place() {
        let whole = encode(&state()).unwrap();
        for length in 0..whole.len() {
            read(&whole[..length]).unwrap_err();
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(read(&damaged).is_err(), "byte {at}");
        }
        read(&[whole.as_slice(), &[0]].concat()).unwrap_err();
    }
}
