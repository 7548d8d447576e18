//! Ties the shell's completion and its sense of a statement's end to the line editor.

use fletching::Session;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Highlighter, Hinter, Result};

use super::complete::{Completion, Vocabulary, complete};
use super::dot::DotCommand;
use crate::script::Scan;

/// Helps the line editor.
#[derive(Helper, Highlighter, Hinter)]
pub(crate) struct ShellHelper {
    session: Session,
    files: FilenameCompleter,
}

impl ShellHelper {
    /// Helps with the names of a session.
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            files: FilenameCompleter::new(),
        }
    }
}

impl Completer for ShellHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        match complete(line, position, &self.session) {
            Completion::Words { start, words } => {
                let pair = |word: String| Pair {
                    display: word.clone(),
                    replacement: word,
                };
                Ok((start, words.into_iter().map(pair).collect()))
            }
            Completion::Path => self.files.complete_path(line, position),
        }
    }
}

impl Validator for ShellHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        let text = context.input();
        if DotCommand::is_one(text) || Scan::new(text).is_complete(text) {
            return Ok(ValidationResult::Valid(None));
        }
        Ok(ValidationResult::Incomplete)
    }
}

impl Vocabulary for Session {
    fn relations(&self) -> Vec<String> {
        self.names().into_iter().map(|(name, _)| name).collect()
    }

    fn columns(&self, relation: &str) -> Vec<String> {
        Session::columns(self, relation)
    }

    fn functions(&self) -> Vec<String> {
        self.function_names()
    }

    fn settings(&self) -> Vec<String> {
        self.setting_names()
    }
}
