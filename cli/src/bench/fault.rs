//! What goes wrong in a benchmark, in a sentence.

use std::fmt;

use crate::failure::Failure;

/// A sentence that says what failed and, where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault(String);

/// What a step of a benchmark gives.
pub(super) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// Says it.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Says what was being done when it happened.
    pub(super) fn during(self, what: &str) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::outside(fault.0)
    }
}

macro_rules! from_errors {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        })+
    };
}

from_errors!(
    std::io::Error,
    arrow::error::ArrowError,
    parquet::errors::ParquetError,
    fletching::Error,
    serde_json::Error,
    toml::de::Error,
);
