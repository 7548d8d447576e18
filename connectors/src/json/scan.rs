//! Walks over the text of a JSON value, one token at a time, and never over the same bytes twice.
//!
//! What is taken is what Arrow's own JSON reader takes: the grammar of RFC 8259, but that commas are
//! as good as blanks between members, a number is any run of its characters, and text may hold
//! control characters as they are. A value that nobody asks for is walked over by the same rules, so
//! that whether a record is refused does not depend on which columns are read.

use memchr::memchr2;

/// Text that is not JSON: where, and what was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    /// The byte at fault, from zero.
    pub(crate) at: usize,
    pub(crate) expected: &'static str,
}

/// What a value begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// The opening quote of text has been passed.
    Text,
    /// A number, whole.
    Number(&'a str),
    True,
    False,
    Null,
    /// The opening brace of an object has been passed.
    Object,
    /// The opening bracket of a list has been passed.
    List,
}

/// A place in the text of one record.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// The brackets that are open in a value that is walked over; `true` for objects.
    open: Vec<bool>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            open: Vec::new(),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Returns what is not yet passed.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Returns some of the text; empty where there is none such.
    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Passes some bytes, which the caller has looked at.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.at += bytes;
    }

    pub(super) fn fault<T>(&self, expected: &'static str) -> Result<T, Syntax> {
        Err(Syntax {
            at: self.at,
            expected,
        })
    }

    /// Passes blanks.
    pub(super) fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn blanks_and_commas(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t' | b',')) {
            self.at += 1;
        }
    }

    /// Goes on in an object: `true` past the opening quote of a key, `false` past the end.
    pub(super) fn next_key(&mut self) -> Result<bool, Syntax> {
        self.blanks_and_commas();
        let is_key = match self.peek() {
            Some(b'"') => true,
            Some(b'}') => false,
            _ => return self.fault("a key or '}'"),
        };
        self.at += 1;
        Ok(is_key)
    }

    /// Goes on in a list: `true` before an item, `false` past the end.
    pub(super) fn next_item(&mut self) -> Result<bool, Syntax> {
        self.blanks_and_commas();
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Ok(true),
            None => self.fault("a value or ']'"),
        }
    }

    /// Passes the colon behind a key.
    pub(super) fn colon(&mut self) -> Result<(), Syntax> {
        self.blanks();
        if self.peek() != Some(b':') {
            return self.fault("':'");
        }
        self.at += 1;
        Ok(())
    }

    /// Begins a value.
    pub(super) fn token(&mut self) -> Result<Token<'a>, Syntax> {
        self.blanks();
        let token = match self.peek() {
            Some(b'"') => Token::Text,
            Some(b'{') => Token::Object,
            Some(b'[') => Token::List,
            Some(b'-' | b'0'..=b'9') => return Ok(Token::Number(self.number())),
            Some(b't') => return self.word("true", Token::True),
            Some(b'f') => return self.word("false", Token::False),
            Some(b'n') => return self.word("null", Token::Null),
            _ => return self.fault("a value"),
        };
        self.at += 1;
        Ok(token)
    }

    fn word(&mut self, word: &'static str, token: Token<'a>) -> Result<Token<'a>, Syntax> {
        if !self.rest().starts_with(word.as_bytes()) {
            return self.fault("true, false or null");
        }
        self.at += word.len();
        Ok(token)
    }

    fn number(&mut self) -> &'a str {
        let start = self.at;
        let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        while self.peek().is_some_and(is_part) {
            self.at += 1;
        }
        self.slice(start, self.at)
    }

    /// Reads text whose opening quote is passed. Only what has escapes is copied, into `scratch`.
    pub(super) fn text<'b>(&mut self, scratch: &'b mut String) -> Result<&'b str, Syntax>
    where
        'a: 'b,
    {
        let start = self.at;
        self.pass_to_quote()?;
        let plain = self.slice(start, self.at);
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(plain);
        }
        scratch.clear();
        scratch.push_str(plain);
        self.escaped(Some(&mut *scratch))?;
        Ok(scratch)
    }

    /// Reads text without escapes whose opening quote is passed; of text with some, reads nothing.
    pub(super) fn plain_text(&mut self) -> Result<Option<&'a str>, Syntax> {
        let start = self.at;
        self.pass_to_quote()?;
        if self.peek() == Some(b'"') {
            let plain = self.slice(start, self.at);
            self.at += 1;
            return Ok(Some(plain));
        }
        self.at = start;
        Ok(None)
    }

    /// Goes to the next quote or backslash.
    fn pass_to_quote(&mut self) -> Result<(), Syntax> {
        match quote_or_backslash(self.rest()) {
            Some(passed) => {
                self.at += passed;
                Ok(())
            }
            None => {
                self.at = self.text.len();
                self.fault("the end of the text")
            }
        }
    }

    /// Reads the rest of text from an escape on, past its end.
    fn escaped(&mut self, mut out: Option<&mut String>) -> Result<(), Syntax> {
        loop {
            let start = self.at;
            self.pass_to_quote()?;
            if let Some(out) = &mut out {
                out.push_str(self.slice(start, self.at));
            }
            let is_end = self.peek() == Some(b'"');
            self.at += 1;
            if is_end {
                return Ok(());
            }
            let character = self.escape()?;
            if let Some(out) = &mut out {
                out.push(character);
            }
        }
    }

    /// Reads an escape whose backslash is passed.
    fn escape(&mut self) -> Result<char, Syntax> {
        let character = match self.peek() {
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return self.fault("an escape: one of \"\\/bfnrtu behind the backslash"),
        };
        self.at += 1;
        Ok(character)
    }

    /// Reads the digits of `\uXXXX`, and those of the other half where it is one of a pair.
    fn unicode(&mut self) -> Result<char, Syntax> {
        let high = self.four_digits()?;
        if let Some(character) = char::from_u32(high) {
            return Ok(character);
        }
        let expected = "the other half of a surrogate pair";
        if !self.rest().starts_with(b"\\u") {
            return self.fault(expected);
        }
        self.at += 2;
        let low = self.four_digits()?;
        let is_pair = (0xD800..0xDC00).contains(&high) && (0xDC00..0xE000).contains(&low);
        let joined = is_pair.then(|| 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
        match joined.and_then(char::from_u32) {
            Some(character) => Ok(character),
            None => self.fault(expected),
        }
    }

    fn four_digits(&mut self) -> Result<u32, Syntax> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return self.fault("four hexadecimal digits");
            };
            value = (value << 4) | digit;
            self.at += 1;
        }
        Ok(value)
    }

    fn skip_text(&mut self) -> Result<(), Syntax> {
        self.pass_to_quote()?;
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(());
        }
        self.escaped(None)
    }

    /// Walks over a value.
    pub(super) fn skip(&mut self) -> Result<(), Syntax> {
        let token = self.token()?;
        self.skip_rest(token)
    }

    /// Walks over the rest of a value that has begun, however deep it is.
    pub(super) fn skip_rest(&mut self, token: Token<'_>) -> Result<(), Syntax> {
        self.open.clear();
        self.skip_begun(token)?;
        while let Some(is_object) = self.open.last().copied() {
            let goes_on = match is_object {
                true => self.next_key()?,
                false => self.next_item()?,
            };
            if !goes_on {
                self.open.pop();
                continue;
            }
            if is_object {
                self.skip_text()?;
                self.colon()?;
            }
            let token = self.token()?;
            self.skip_begun(token)?;
        }
        Ok(())
    }

    /// Walks over a scalar, or notes what is open.
    fn skip_begun(&mut self, token: Token<'_>) -> Result<(), Syntax> {
        match token {
            Token::Text => self.skip_text()?,
            Token::Object => self.open.push(true),
            Token::List => self.open.push(false),
            _ => {}
        }
        Ok(())
    }

    /// Checks that nothing but blanks is left.
    pub(super) fn end(&mut self) -> Result<(), Syntax> {
        self.blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fault("nothing more behind the object"),
        }
    }
}

/// How many bytes are looked at by words before memchr is called: most keys and texts end within,
/// and the call costs as much as three words (`decode/json-100B` in `benches/`).
const WORDS: usize = 3;

/// Finds the first quote or backslash.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().take(WORDS).enumerate() {
        let found = zero_bytes(u64::from_le_bytes(*word) ^ (ONES * 0x22))
            | zero_bytes(u64::from_le_bytes(*word) ^ (ONES * 0x5c));
        if found != 0 {
            return Some(at * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let from = words.len().min(WORDS) * 8;
    memchr2(b'"', b'\\', bytes.get(from..)?).map(|at| from + at)
}

/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Marks the bytes that are zero by their highest bit. Bytes above the lowest one marked may be
/// marked by mistake (Hacker's Delight, section 6-1).
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_quote_is_found_wherever_it_is() {
        for length in 0..80 {
            for place in 0..length {
                for byte in [b'"', b'\\'] {
                    let mut text = vec![b'#'; length];
                    text[place] = byte;
                    if let Some(last) = text.get_mut(place + 1) {
                        *last = b'"';
                    }
                    assert_eq!(quote_or_backslash(&text), Some(place));
                }
            }
            assert_eq!(quote_or_backslash(&vec![0xa2; length]), None);
            assert_eq!(quote_or_backslash(&vec![0x23; length]), None);
        }
    }

    #[test]
    fn escapes_become_what_they_mean() {
        let mut scratch = String::new();
        let mut read = |text: &'static str| Scanner::new(text).text(&mut scratch).map(str::to_owned);
        assert_eq!(read(r#"plain""#), Ok("plain".to_owned()));
        assert_eq!(read(r#"a\n\u00e4\ud83d\ude00/\/""#), Ok("a\nä😀//".to_owned()));
        for broken in [
            r#"\ud83d""#,
            r#"\ude00\ud83d""#,
            r#"\x""#,
            r#"\u12g4""#,
            "open",
            r#"\""#,
        ] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn values_are_walked_over_whole() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [r#"{"a": [1, {"b": "]"}], "c": null}"#, "-1.5e+3", &deep] {
            let mut scanner = Scanner::new(text);
            assert_eq!(scanner.skip(), Ok(()));
            assert_eq!(scanner.end(), Ok(()));
        }
        for text in ["[1}", r#"{"a" 1}"#, "{1: 2}", "[", "nul", "+1", ""] {
            assert!(Scanner::new(text).skip().is_err(), "{text}");
        }
    }
}
