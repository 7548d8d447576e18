//! The bytes of many messages, end to end.

use std::ops::Range;

/// Messages' bytes, in one piece: one allocation for many of them.
///
/// ```text
///   bytes  [ message 0 | message 1 | … ]
///   ends           ^           ^
/// ```
#[derive(Debug, Clone, Default)]
pub(crate) struct Payloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Payloads {
    /// Adds a message.
    pub(crate) fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
    }

    /// Adds a message that is made of some parts.
    pub(crate) fn push_parts(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ends.push(self.bytes.len());
    }

    /// Adds a message that `write` appends to the bytes.
    pub(crate) fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        write(&mut self.bytes)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// Returns how many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns where a message's bytes are among all of them.
    pub(crate) fn range(&self, message: usize) -> Range<usize> {
        let start = message.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[message]
    }

    /// Returns a message.
    pub(crate) fn get(&self, message: usize) -> &[u8] {
        &self.bytes[self.range(message)]
    }

    /// Returns the messages in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|message| self.get(message))
    }

    /// Returns all the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the messages and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_bounds() {
        let mut messages = Payloads::default();
        messages.push(b"one");
        messages.push(b"");
        messages.push(b"three");
        assert_eq!(
            messages.iter().collect::<Vec<_>>(),
            [b"one".as_slice(), b"", b"three"]
        );
        assert_eq!(messages.range(2), 3..8);
        messages.clear();
        assert_eq!(messages.len(), 0);
    }
}
