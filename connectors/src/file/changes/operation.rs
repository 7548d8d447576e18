//! What a record of a changelog does, and the words that say so.

use fletching::connector::Change;

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Changes the table.
    Does(Change),
    /// Nothing: the image of a row before its update, or a message of the log itself.
    Skips,
}

impl Operation {
    /// Returns the change, if it is one.
    pub(crate) fn change(self) -> Option<Change> {
        match self {
            Self::Does(change) => Some(change),
            Self::Skips => None,
        }
    }
}

const WORDS: &[(&str, Operation)] = &[
    ("c", Operation::Does(Change::Upsert)),
    ("r", Operation::Does(Change::Upsert)),
    ("u", Operation::Does(Change::Upsert)),
    ("i", Operation::Does(Change::Upsert)),
    ("insert", Operation::Does(Change::Upsert)),
    ("update", Operation::Does(Change::Upsert)),
    ("upsert", Operation::Does(Change::Upsert)),
    ("+i", Operation::Does(Change::Upsert)),
    ("+u", Operation::Does(Change::Upsert)),
    ("d", Operation::Does(Change::Delete)),
    ("delete", Operation::Does(Change::Delete)),
    ("-d", Operation::Does(Change::Delete)),
    ("-u", Operation::Skips),
];

/// Reads the word of a column: Debezium's letters, SQL's verbs, or the signs of a retract stream.
pub(super) fn operation(text: &str) -> Option<Operation> {
    let text = text.trim();
    let found = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, operation)| *operation)
}

/// What is expected in the place of a word that says nothing.
pub(super) const EXPECTED: &str = "c, r, u, d, insert, update, upsert, delete, I, U, D, +I, +U, -U or -D";

/// Reads the letter of an envelope.
pub(crate) fn envelope_operation(text: &str) -> Option<Operation> {
    match text {
        "c" | "r" | "u" => Some(Operation::Does(Change::Upsert)),
        "d" => Some(Operation::Does(Change::Delete)),
        "t" => Some(Operation::Does(Change::Truncate)),
        "m" => Some(Operation::Skips),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_without_regard_to_case() {
        let change = |text: &str| operation(text).and_then(Operation::change);
        for word in [
            "c", "R", "u", "Insert", "UPDATE", "upsert", "I", "+I", "+u", " U ",
        ] {
            assert_eq!(change(word), Some(Change::Upsert), "{word}");
        }
        for word in ["d", "D", "delete", "-D"] {
            assert_eq!(change(word), Some(Change::Delete), "{word}");
        }
        assert_eq!(operation("-U"), Some(Operation::Skips));
        for word in ["", "x", "inserted", "-i"] {
            assert_eq!(operation(word), None, "{word}");
        }
        assert_eq!(
            EXPECTED
                .split([',', ' '])
                .filter(|word| !word.is_empty() && *word != "or")
                .count(),
            15
        );
    }
}
