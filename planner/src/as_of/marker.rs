//! The mark that a join carries from its syntax to its plan: `__as_of(kind, relation, …)`.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::error::SqlError;

/// The mark's name.
pub(crate) const MARKER: &str = "__as_of";

/// What a mark stands for, its first argument.
///
/// | kind | arguments after the joined relation's name |
/// |---|---|
/// | `match` | the comparison; and, with a tolerance: two times, the amount by which the first may exceed the second, and `<=` or `<` |
/// | `nearest` | the equality of both times; and, with a tolerance, the amount |
/// | `versions` | the time to read the table as of |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkKind {
    Match,
    Nearest,
    Versions,
}

impl MarkKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Nearest => "nearest",
            Self::Versions => "versions",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Match, Self::Nearest, Self::Versions]
            .into_iter()
            .find(|kind| kind.word() == word)
    }

    /// Returns the word of the statement that errors point at.
    pub(super) fn place(self) -> &'static str {
        match self {
            Self::Match | Self::Nearest => "MATCH_CONDITION",
            Self::Versions => "SYSTEM_TIME",
        }
    }
}

/// Makes the mark's function.
pub(crate) fn marker() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Marker {
        // Volatile: nothing may be made of it, or of a join that has it, before it is found again.
        signature: Signature::variadic_any(Volatility::Volatile),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    signature: Signature,
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        MARKER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let error = SqlError::unsupported(format!("{MARKER} is no function to call")).at(None, MARKER);
        Err(DataFusionError::External(Box::new(error)))
    }
}
