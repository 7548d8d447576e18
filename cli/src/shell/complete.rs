//! Completes what is typed at the shell's prompt.

use super::dot;
use super::keywords::KEYWORDS;
use crate::script::Scan;

/// The names that may be typed.
pub(crate) trait Vocabulary {
    /// Streams, tables, sinks and views.
    fn relations(&self) -> Vec<String>;
    /// The columns of one of them.
    fn columns(&self, relation: &str) -> Vec<String>;
    /// Functions.
    fn functions(&self) -> Vec<String>;
    /// Settings.
    fn settings(&self) -> Vec<String>;
}

/// How what stands before the cursor may go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// With one of these words, in the place of what begins at `start`.
    Words {
        /// A byte of the line.
        start: usize,
        /// The words, in the order shown.
        words: Vec<String>,
    },
    /// With the path of a file.
    Path,
}

/// Completes the word that ends at `position`.
pub(crate) fn complete(line: &str, position: usize, names: &impl Vocabulary) -> Completion {
    let before = line.get(..position).unwrap_or(line);
    if let Some((command, argument)) = dot::split(before) {
        return complete_dot(before, command, argument);
    }
    if Scan::new(before).is_in_text(before) {
        return Completion::Path;
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let start = before.trim_end_matches(is_part).len();
    let (head, prefix) = before.split_at(start);
    let context = head
        .trim_end()
        .rsplit(|c: char| !is_part(c))
        .next()
        .unwrap_or_default()
        .to_uppercase();
    let has_gap = head.ends_with(char::is_whitespace);
    let candidates = if head.ends_with('.') {
        columns(line, names)
    } else {
        match context.as_str() {
            "SET" if has_gap => names.settings(),
            "SHOW" if has_gap => {
                let mut words = [
                    "FUNCTIONS",
                    "MEMORY FROM",
                    "SETTINGS",
                    "SINKS",
                    "STREAMS",
                    "TABLES",
                    "VIEWS",
                ]
                .map(String::from)
                .to_vec();
                words.extend(names.settings());
                words
            }
            "FROM" | "JOIN" | "INTO" | "DESCRIBE" if has_gap => names.relations(),
            "DROP" if has_gap => ["SINK", "STREAM", "TABLE", "VIEW"].map(String::from).to_vec(),
            "STREAM" | "TABLE" | "SINK" | "VIEW" if has_gap => names.relations(),
            _ => everything(line, prefix, names),
        }
    };
    Completion::Words {
        start,
        words: matching(prefix, candidates),
    }
}

fn complete_dot(before: &str, command: &str, argument: Option<&str>) -> Completion {
    let words = |prefix: &str, words: Vec<String>| Completion::Words {
        start: before.len() - prefix.len(),
        words: matching(prefix, words),
    };
    match argument {
        None => words(
            command,
            dot::COMMANDS
                .iter()
                .map(|(name, ..)| (*name).to_owned())
                .collect(),
        ),
        Some(_) if command == ".read" => Completion::Path,
        Some(argument) => words(argument, dot::arguments(command)),
    }
}

/// The columns of the relations that the line names, or of all where it names none.
fn columns(line: &str, names: &impl Vocabulary) -> Vec<String> {
    let relations = names.relations();
    let words: Vec<String> = line
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .map(str::to_lowercase)
        .collect();
    let is_named = |relation: &&String| words.contains(&relation.to_lowercase());
    let mut named: Vec<&String> = relations.iter().filter(is_named).collect();
    if named.is_empty() {
        named = relations.iter().collect();
    }
    named
        .into_iter()
        .flat_map(|relation| names.columns(relation))
        .collect()
}

/// What may stand anywhere. Before a letter is typed that would be too much to read.
fn everything(line: &str, prefix: &str, names: &impl Vocabulary) -> Vec<String> {
    let mut words = columns(line, names);
    words.extend(names.relations());
    if !prefix.is_empty() {
        words.extend(names.functions());
        words.extend(KEYWORDS.iter().map(|word| (*word).to_owned()));
    }
    words
}

/// Keeps the words that begin with a prefix. Keywords follow the prefix's case.
fn matching(prefix: &str, words: Vec<String>) -> Vec<String> {
    let is_lower = prefix.starts_with(char::is_lowercase);
    let wanted = prefix.to_lowercase();
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        if !word.to_lowercase().starts_with(&wanted) {
            continue;
        }
        let is_keyword = KEYWORDS.binary_search(&word.as_str()).is_ok();
        let word = if is_lower && is_keyword {
            word.to_lowercase()
        } else {
            word
        };
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names;

    impl Vocabulary for Names {
        fn relations(&self) -> Vec<String> {
            vec!["trades".into(), "users".into()]
        }

        fn columns(&self, relation: &str) -> Vec<String> {
            if relation == "trades" {
                vec!["trade_id".into(), "user_id".into()]
            } else {
                vec!["user_id".into(), "tier".into()]
            }
        }

        fn functions(&self) -> Vec<String> {
            vec!["upper".into()]
        }

        fn settings(&self) -> Vec<String> {
            vec!["threads".into(), "timeout".into()]
        }
    }

    fn words(line: &str) -> Vec<String> {
        match complete(line, line.len(), &Names) {
            Completion::Words { words, .. } => words,
            Completion::Path => vec!["PATH".into()],
        }
    }

    #[test]
    fn relations_follow_from_and_settings_follow_set() {
        assert_eq!(words("SELECT * FROM "), ["trades", "users"]);
        assert_eq!(words("SELECT * FROM t"), ["trades"]);
        assert_eq!(words("set th"), ["threads"]);
        assert_eq!(words("SHOW T"), ["TABLES", "threads", "timeout"]);
    }

    #[test]
    fn columns_are_those_of_the_relations_named() {
        assert_eq!(words("SELECT t. FROM users t WHERE t.t"), ["tier"]);
        assert_eq!(words("SELECT us"), ["user_id", "users", "using"]);
    }

    #[test]
    fn keywords_follow_the_case_typed() {
        assert_eq!(
            (words("SEL"), words("sel")),
            (vec!["SELECT".into()], vec!["select".to_string()])
        );
        assert_eq!(words("SELECT upp"), ["upper"]);
    }

    #[test]
    fn files_are_completed_in_quotes_and_after_read() {
        assert_eq!(words("SELECT * FROM 'tra"), ["PATH"]);
        assert_eq!(words(".read x"), ["PATH"]);
        assert_eq!(words("-- it's\nSEL"), ["SELECT"]);
    }

    #[test]
    fn dot_commands_are_completed_with_their_arguments() {
        assert_eq!(words(".t"), [".tables", ".timing"]);
        assert_eq!(words(".timing o"), ["on", "off"]);
        assert_eq!(words(".format c"), ["csv"]);
    }
}
