//! Protobuf's wire format: tags, numbers and lengths.

/// A field's value as it stands in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// Reads a message's fields one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct WireReader<'a> {
    rest: &'a [u8],
}

/// What is wrong with a message.
pub(super) type Fault = &'static str;

const CUT: Fault = "ends in the middle of a field";

impl<'a> WireReader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns the next field's number and value, `None` at the end. Groups are passed over.
    pub(super) fn next_field(&mut self) -> Result<Option<(u32, Wire<'a>)>, Fault> {
        let mut depth = 0_u32;
        while !self.rest.is_empty() {
            let tag = self.varint()?;
            let number = u32::try_from(tag >> 3).map_err(|_| "has a field number past all that there are")?;
            if number == 0 {
                return Err("has a field of number 0");
            }
            let value = match tag & 7 {
                0 => Wire::Varint(self.varint()?),
                1 => Wire::Fixed64(self.fixed()?),
                2 => Wire::Bytes(self.bytes()?),
                3 => {
                    depth += 1;
                    continue;
                }
                4 => {
                    depth = depth.checked_sub(1).ok_or("ends a group that it has not begun")?;
                    continue;
                }
                5 => Wire::Fixed32(self.fixed()?),
                _ => return Err("has a field of a kind that there is not"),
            };
            if depth == 0 {
                return Ok(Some((number, value)));
            }
        }
        if depth == 0 {
            Ok(None)
        } else {
            Err("begins a group that it does not end")
        }
    }

    /// Reads a number of 7 bits a byte, the lowest first.
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(CUT)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("has a number of more than ten bytes")
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(self.varint()?).map_err(|_| CUT)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CUT)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Returns what is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Writes a number of 7 bits a byte.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Writes a field.
pub(super) fn put_field(number: u32, value: Wire<'_>, out: &mut Vec<u8>) {
    let tag = |kind: u64| u64::from(number) << 3 | kind;
    match value {
        Wire::Varint(value) => {
            put_varint(tag(0), out);
            put_varint(value, out);
        }
        Wire::Fixed64(bytes) => {
            put_varint(tag(1), out);
            out.extend_from_slice(&bytes);
        }
        Wire::Bytes(bytes) => {
            put_varint(tag(2), out);
            put_varint(bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Wire::Fixed32(bytes) => {
            put_varint(tag(5), out);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Turns a signed number into one that is short where it is near zero.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Undoes [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_were() {
        let fields = [
            (1, Wire::Varint(u64::MAX)),
            (2, Wire::Bytes(b"abc")),
            (300, Wire::Fixed32([1, 2, 3, 4])),
            (4, Wire::Fixed64([9; 8])),
        ];
        let mut out = Vec::new();
        fields
            .iter()
            .for_each(|(number, value)| put_field(*number, *value, &mut out));
        let mut reader = WireReader::new(&out);
        for field in fields {
            assert_eq!(reader.next_field().unwrap(), Some(field));
        }
        assert_eq!(reader.next_field().unwrap(), None);
        // A message that is cut anywhere within a field is a fault, never a panic.
        for length in 0..out.len() {
            let mut reader = WireReader::new(&out[..length]);
            while let Ok(Some(_)) = reader.next_field() {}
        }
    }

    #[test]
    fn signed_numbers_survive() {
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn groups_are_passed_over() {
        let mut out = Vec::new();
        put_varint(1 << 3 | 3, &mut out);
        put_field(7, Wire::Varint(1), &mut out);
        put_varint(1 << 3 | 4, &mut out);
        put_field(2, Wire::Varint(5), &mut out);
        assert_eq!(
            WireReader::new(&out).next_field().unwrap(),
            Some((2, Wire::Varint(5)))
        );
    }
}
