//! Finds the field of a key. Records repeat the order of their keys, so the key that came next last
//! time is compared first, and only another one is looked up.
//!
//! ```text
//!  keys   0 id ─▶ 1 price ─▶ 2 note (nobody's) ─▶ 0 …     next[k]: the key that came after k
//!  {"id": 1, "price": 2, …     each key: one comparison of as many bytes as it has, no scan for its end
//! ```

use std::collections::HashMap;

/// How many keys that no field has are remembered; later ones are looked up each time.
const OTHERS_MAX: usize = 1024;
/// How long a key may be that no field has and that is remembered.
const OTHER_BYTES_MAX: usize = 256;

/// A key that is known.
#[derive(Debug)]
struct Key {
    /// The key with the quote that ends it; none for a key that is never written as it is, since
    /// it has a quote or a backslash.
    quoted: Option<Box<[u8]>>,
    /// The field of that name.
    field: Option<usize>,
    /// The key that came after this one last.
    next: usize,
}

/// The keys of the objects that one schema describes.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<Key>,
    places: HashMap<Box<str>, usize>,
    others: usize,
    /// The key that objects begin with.
    first: usize,
}

/// Where an object has got to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor(Option<usize>);

impl Keys {
    /// Knows fields by their names; of equal ones the first counts.
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut keys = Self {
            keys: Vec::new(),
            places: HashMap::new(),
            others: 0,
            first: 0,
        };
        for (field, name) in names.into_iter().enumerate() {
            if !keys.places.contains_key(name) {
                keys.learn(name, Some(field));
            }
        }
        keys
    }

    fn learn(&mut self, name: &str, field: Option<usize>) -> usize {
        let place = self.keys.len();
        let is_plain = !name.contains(['"', '\\']);
        self.keys.push(Key {
            quoted: is_plain.then(|| [name.as_bytes(), b"\""].concat().into()),
            field,
            next: place + 1,
        });
        self.places.insert(name.into(), place);
        place
    }

    /// Stands at the beginning of an object.
    pub(super) fn begin(&self) -> Cursor {
        Cursor(None)
    }

    /// Compares what comes, which a key's opening quote precedes, with the key that came next last
    /// time: its field, and how many bytes it has with the quote that ends it.
    pub(super) fn guess(&self, cursor: &mut Cursor, rest: &[u8]) -> Option<(Option<usize>, usize)> {
        let guess = cursor.0.map_or(self.first, |key| self.keys[key].next);
        let key = self.keys.get(guess)?;
        let quoted = key.quoted.as_deref()?;
        if !rest.starts_with(quoted) {
            return None;
        }
        *cursor = Cursor(Some(guess));
        Some((key.field, quoted.len()))
    }

    /// Looks a key up that was written without escapes, and expects it here the next time.
    pub(super) fn find(&mut self, cursor: &mut Cursor, name: &str) -> Option<usize> {
        let found = self.places.get(name).copied();
        let is_worth = self.others < OTHERS_MAX && name.len() <= OTHER_BYTES_MAX;
        let place = match found {
            Some(place) => place,
            None if is_worth => {
                self.others += 1;
                self.learn(name, None)
            }
            None => return None,
        };
        match cursor.0 {
            Some(before) => self.keys[before].next = place,
            None => self.first = place,
        }
        *cursor = Cursor(Some(place));
        self.keys[place].field
    }

    /// Looks a key up that was written with escapes. It is never expected: what is compared with
    /// expected keys is the text as it was written.
    pub(super) fn find_escaped(&self, name: &str) -> Option<usize> {
        self.places.get(name).and_then(|place| self.keys[*place].field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_is_learnt() {
        let mut keys = Keys::new(["id", "price", "id"]);
        let mut cursor = keys.begin();
        assert_eq!(keys.guess(&mut cursor, b"id\": 1"), Some((Some(0), 3)));
        assert_eq!(keys.guess(&mut cursor, b"note\""), None);
        assert_eq!(keys.find(&mut cursor, "note"), None);
        assert_eq!(keys.find(&mut cursor, "price"), Some(1));

        let mut cursor = keys.begin();
        assert_eq!(keys.guess(&mut cursor, b"id\""), Some((Some(0), 3)));
        assert_eq!(keys.guess(&mut cursor, b"note\""), Some((None, 5)));
        assert_eq!(keys.guess(&mut cursor, b"price\""), Some((Some(1), 6)));
        assert_eq!(keys.guess(&mut cursor, b"prices\""), None);
    }

    #[test]
    fn a_key_that_looks_like_an_escape_is_not_taken_for_one() {
        let keys = Keys::new([r"a\b", "a\"b"]);
        assert_eq!(keys.guess(&mut keys.begin(), br#"a\b""#), None);
        assert_eq!(keys.find_escaped(r"a\b"), Some(0));
        assert_eq!(keys.find_escaped("a\"b"), Some(1));
    }

    #[test]
    fn keys_that_nobody_has_are_remembered_up_to_a_limit() {
        let mut keys = Keys::new(["id"]);
        for other in 0..2 * OTHERS_MAX {
            let mut cursor = keys.begin();
            assert_eq!(keys.find(&mut cursor, &format!("k{other}")), None);
        }
        assert_eq!(keys.keys.len(), OTHERS_MAX + 1);
        let mut cursor = keys.begin();
        assert_eq!(keys.find(&mut cursor, "id"), Some(0));
        assert_eq!(keys.find_escaped("id"), Some(0));
    }
}
