//! A checkpoint as bytes.
//!
//! ```text
//!  "FLCHKPT1"
//!  block …       kind u8 │ length u32 │ payload │ CRC-32C u32 of kind, length and payload
//!    1 identity    name, fingerprint u64, SQL text
//!    2 epoch       number u64, is_finished u8
//!    3 positions   count u32, then partition and place of each
//!    4 counters    count u32, then name and u64 of each
//!    5 watermarks  count u32, then partition and microseconds i64 of each
//!    255 end       number of blocks u32
//! ```
//!
//! Numbers are little-endian, texts a length u32 and UTF-8. The end block stands at the end of the
//! file exactly, so that one cut short is never taken for whole. A block of an unknown kind is of
//! a later version of this program, and refused.

use std::sync::Arc;

use super::crc32c::crc32c;
use super::{Checkpoint, PipelineIdentity};
use crate::connector::Position;

const MAGIC: &[u8; 8] = b"FLCHKPT1";
const IDENTITY: u8 = 1;
const EPOCH: u8 = 2;
const POSITIONS: u8 = 3;
const COUNTERS: u8 = 4;
const WATERMARKS: u8 = 5;
const END: u8 = 255;

/// Writes a checkpoint as bytes.
pub(super) fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    let mut identity = Payload::default();
    identity.text(&checkpoint.identity.name);
    identity.bytes(&checkpoint.identity.fingerprint.to_le_bytes());
    identity.text(&checkpoint.identity.sql);
    let mut epoch = Payload::default();
    epoch.bytes(&checkpoint.epoch.to_le_bytes());
    epoch.bytes(&[u8::from(checkpoint.is_finished)]);
    let mut positions = Payload::default();
    positions.count(checkpoint.positions.len());
    for position in &checkpoint.positions {
        positions.text(&position.partition);
        positions.text(&position.place);
    }
    let mut counters = Payload::default();
    counters.count(checkpoint.counters.len());
    for (name, count) in &checkpoint.counters {
        counters.text(name);
        counters.bytes(&count.to_le_bytes());
    }
    let mut watermarks = Payload::default();
    watermarks.count(checkpoint.watermarks.len());
    for (partition, time_us) in &checkpoint.watermarks {
        watermarks.text(partition);
        watermarks.bytes(&time_us.to_le_bytes());
    }
    let blocks = [
        (IDENTITY, identity),
        (EPOCH, epoch),
        (POSITIONS, positions),
        (COUNTERS, counters),
        (WATERMARKS, watermarks),
    ];
    let mut end = Payload::default();
    end.count(blocks.len());
    for (kind, payload) in blocks.into_iter().chain([(END, end)]) {
        append(&mut file, kind, &payload.0);
    }
    file
}

pub(super) fn append(file: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let from = file.len();
    file.push(kind);
    file.extend(length_of(payload.len()).to_le_bytes());
    file.extend(payload);
    let sum = crc32c(&file[from..]);
    file.extend(sum.to_le_bytes());
}

/// A payload longer than a length can say is cut, and then fails its own reading: nothing that
/// large is ever written.
fn length_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[derive(Default)]
pub(super) struct Payload(pub(super) Vec<u8>);

impl Payload {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.bytes(&length_of(count).to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes(text.as_bytes());
    }
}

/// Reads a checkpoint, or says what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint, String> {
    let mut rest = Cut(bytes
        .strip_prefix(MAGIC)
        .ok_or("it does not begin as a checkpoint does")?);
    let mut checkpoint = Checkpoint::default();
    let mut seen = Vec::new();
    loop {
        let (kind, payload) = block(&mut rest)?;
        let mut payload = Cut(payload);
        if seen.contains(&kind) {
            return Err(format!("block {kind} is there twice"));
        }
        match kind {
            IDENTITY => {
                checkpoint.identity = PipelineIdentity {
                    name: payload.text()?,
                    fingerprint: payload.u64()?,
                    sql: payload.text()?,
                }
            }
            EPOCH => {
                checkpoint.epoch = payload.u64()?;
                checkpoint.is_finished = payload.take(1)? == [1];
            }
            POSITIONS => {
                for _ in 0..payload.u32()? {
                    let partition = Arc::from(payload.text()?);
                    let place = payload.text()?;
                    checkpoint.positions.push(Position { partition, place });
                }
            }
            COUNTERS => {
                for _ in 0..payload.u32()? {
                    checkpoint.counters.push((payload.text()?, payload.u64()?));
                }
            }
            WATERMARKS => {
                for _ in 0..payload.u32()? {
                    let partition = payload.text()?;
                    checkpoint
                        .watermarks
                        .push((partition, payload.u64()?.cast_signed()));
                }
            }
            END => {
                if payload.u32()? as usize != seen.len() || !rest.0.is_empty() {
                    return Err("it ends in another place than it says".into());
                }
                if ![IDENTITY, EPOCH, POSITIONS]
                    .iter()
                    .all(|kind| seen.contains(kind))
                {
                    return Err("a block is missing".into());
                }
                return Ok(checkpoint);
            }
            other => return Err(format!("block {other} is not known to this version")),
        }
        if !payload.0.is_empty() {
            return Err(format!("block {kind} is longer than it should be"));
        }
        seen.push(kind);
    }
}

/// Takes the next block off and checks its sum.
fn block<'a>(rest: &mut Cut<'a>) -> Result<(u8, &'a [u8]), String> {
    let all = rest.0;
    let kind = rest.take(1)?[0];
    let length = rest.u32()? as usize;
    let payload = rest.take(length)?;
    let summed = &all[..all.len() - rest.0.len()];
    if rest.u32()? != crc32c(summed) {
        return Err(format!("the checksum of block {kind} does not hold"));
    }
    Ok((kind, payload))
}

/// Bytes that are taken from the front.
pub(super) struct Cut<'a>(pub(super) &'a [u8]);

impl<'a> Cut<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?.try_into().map_err(|_| "it is cut short")?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        let bytes = self.take(8)?.try_into().map_err(|_| "it is cut short")?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn text(&mut self) -> Result<String, String> {
        let length = self.u32()? as usize;
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|_| "a text is not UTF-8".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            identity: PipelineIdentity {
                name: "enriched".into(),
                fingerprint: 7,
                sql: "CREATE SINK enriched AS SELECT 1".into(),
            },
            epoch: 42,
            is_finished: true,
            positions: (0..9)
                .map(|at| Position {
                    partition: format!("trades-{at}").into(),
                    place: (at * 1_000_003).to_string(),
                })
                .collect(),
            counters: vec![("rows_in".into(), u64::MAX), ("rows_out".into(), 0)],
            watermarks: vec![("trades-0".into(), -5)],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(decode(&encode(&checkpoint())).unwrap(), checkpoint());
    }

    /// Both kinds of damage at every place there is, which is more than a thousand.
    #[test]
    fn damage_is_found_at_every_place() {
        let whole = encode(&checkpoint());
        let mut places = 0;
        for length in 0..whole.len() {
            decode(&whole[..length]).unwrap_err();
            places += 1;
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode(&damaged).is_err(), "bit {bit} of byte {at}");
                places += 1;
            }
        }
        assert!(places > 1000, "{places}");
        let mut longer = whole.clone();
        longer.push(0);
        decode(&longer).unwrap_err();
    }
}
