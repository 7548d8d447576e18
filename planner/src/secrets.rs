//! Secrets in SQL: which options hold them, and text without them.

use std::borrow::Cow;

/// Says whether an option by this name holds what nobody else may read: a password, a token, a key.
///
/// ```
/// assert!(fletching_planner::is_secret("kafka.sasl.password"));
/// assert!(!fletching_planner::is_secret("topic"));
/// ```
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "token"]
        .iter()
        .any(|word| name.contains(word))
        || name.ends_with("pem")
}

/// Returns SQL text with a `*` for each character of a secret: of a text that an option by a secret's
/// name has. What is stored or shown of a statement goes through this. Takes a few ns a byte.
///
/// ```
/// let text = "WITH ('kafka.sasl.password' = 'it''s', topic = 'trades')";
/// assert_eq!(
///     fletching_planner::without_secrets(text),
///     "WITH ('kafka.sasl.password' = '*****', topic = 'trades')"
/// );
/// ```
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        masked.push_str(before);
        rest = after;
        let spaces = rest.len() - rest.trim_start().len();
        let Some(quoted) = rest[spaces..].strip_prefix('\'') else {
            continue;
        };
        if !is_secret(name_at_end(&before[..at])) {
            continue;
        }
        masked.push_str(&rest[..=spaces]);
        let length = quoted_length(quoted);
        masked.extend(quoted[..length].chars().map(|_| '*'));
        rest = &quoted[length..];
    }
    if masked.is_empty() {
        return Cow::Borrowed(text);
    }
    masked.push_str(rest);
    Cow::Owned(masked)
}

/// Returns the name that a text ends with, without quotes.
fn name_at_end(text: &str) -> &str {
    let text = text.trim_end().trim_end_matches(['\'', '"']);
    let is_end = |c: char| c.is_whitespace() || matches!(c, ',' | '(' | '\'' | '"');
    text.rfind(is_end).map_or(text, |at| &text[at + 1..])
}

/// Returns how long a text is up to its closing quote; a quote within is written twice.
fn quoted_length(text: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find('\'') {
        let at = from + at;
        if !text[at + 1..].starts_with('\'') {
            return at;
        }
        from = at + 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_however_they_are_written() {
        for (text, expected) in [
            ("a = 'b', c=1", "a = 'b', c=1"),
            ("(kafka.sasl.password='äb'", "(kafka.sasl.password='**'"),
            (
                "\"kafka.ssl.key.pem\"\n = \n'x\ny' , b = 'c'",
                "\"kafka.ssl.key.pem\"\n = \n'***' , b = 'c'",
            ),
            ("PASSWORD = ''", "PASSWORD = ''"),
            ("password = 'cut", "password = '***"),
            ("password = 'a=''b' = 'c'", "password = '*****' = 'c'"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }

    #[test]
    fn a_changed_password_is_the_same_statement() {
        let of = |password: &str| {
            let text =
                format!("CREATE SINK s WITH (path = 'p', 'kafka.sasl.password' = '{password}') AS SELECT 1");
            crate::parse(&text).unwrap()[0].fingerprint()
        };
        assert_eq!(of("old"), of("new"));
        let other = "CREATE SINK s WITH (path = 'q', 'kafka.sasl.password' = 'old') AS SELECT 1";
        assert_ne!(of("old"), crate::parse(other).unwrap()[0].fingerprint());
    }
}
