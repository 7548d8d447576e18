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

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;

use super::format::{Cut, Payload, append, block};
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

/// Reads a file of state, or says what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<StateFile, String> {
    let rest = bytes.strip_prefix(MAGIC);
    let mut rest = Cut(rest.ok_or("it does not begin as the state of a table does")?);
    let mut state = StateFile::default();
    let (mut blocks, mut has_header, mut has_positions) = (0, false, false);
    loop {
        let (kind, payload) = block(&mut rest)?;
        let mut payload = Cut(payload);
        match kind {
            HEADER => {
                state.fingerprint = payload.u64()?;
                state.number = payload.u64()?;
                state.parts = payload.u32()?;
                has_header = true;
            }
            ROWS => state.pieces.push(Piece::Rows(rows(payload.0)?)),
            CHANGES => state.pieces.push(Piece::Changes(rows(payload.0)?)),
            TOMBSTONES => state.pieces.push(Piece::Tombstones(rows(payload.0)?)),
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
            END if payload.u32()? != blocks || !rest.0.is_empty() => {
                return Err("it ends in another place than it says".into());
            }
            END if has_header && has_positions => return Ok(state),
            END => return Err("a block is missing".into()),
            other => return Err(format!("block {other} is not known to this version")),
        }
        blocks += 1;
    }
}

fn rows(bytes: &[u8]) -> Result<RecordBatch, String> {
    let failed = |error: ArrowError| format!("its rows cannot be read: {error}");
    let mut reader = StreamReader::try_new(bytes, None).map_err(failed)?;
    match reader.next() {
        Some(rows) => rows.map_err(failed),
        None => Err("a block of rows is empty".into()),
    }
}
