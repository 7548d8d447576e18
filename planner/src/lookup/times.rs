//! The times of an as-of arm: what is compared, and how far apart it may be.

use std::fmt;

use arrow_schema::DataType;
use datafusion_expr::Expr;
use fletching_kernels::{AsOfCondition, AsOfTolerance};

use crate::as_of::unit_word;

/// Which one of a key's rows an arm takes: the nearest in time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsOfTimes {
    /// The time of a probe row, over the probe side and earlier arms.
    pub probe: Expr,
    /// The time of a table row. Of the same type as the probe's.
    pub table: Expr,
    /// Their type.
    pub kind: DataType,
    /// On which side the row lies, and how far away it may be.
    pub condition: AsOfCondition,
    /// Whether the rows are versions of their keys, each valid until the next: `FOR SYSTEM_TIME AS OF`.
    pub of_versions: bool,
    /// How far back from the newest version a probe row may lie and still be answered.
    pub retention: Option<AsOfTolerance>,
}

impl AsOfTimes {
    /// Compares two times of one type.
    pub fn new(probe: Expr, table: Expr, kind: DataType, condition: AsOfCondition) -> Self {
        Self {
            probe,
            table,
            kind,
            condition,
            of_versions: false,
            retention: None,
        }
    }
}

impl fmt::Display for AsOfTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (probe, table) = (&self.probe, &self.table);
        match self.condition.op.symbol() {
            _ if self.of_versions => write!(f, "AS OF {probe} IN VERSIONS FROM {table}")?,
            Some(symbol) => write!(f, "AS OF {probe} {symbol} {table}")?,
            None => write!(f, "AS OF {table} NEAREST TO {probe}")?,
        }
        if let Some(tolerance) = self.condition.tolerance {
            write!(f, " WITHIN {tolerance}{}", unit_word(&self.kind))?;
        }
        if let Some(retention) = self.retention {
            write!(f, " BACK TO {retention}{}", unit_word(&self.kind))?;
        }
        Ok(())
    }
}
