//! Keys: what may be one, when two are equal, and how a tuple of columns becomes words.
//!
//! Two key values are equal as SQL's `=` says, with three choices made once here:
//!
//! - floats: `-0.0 = 0.0`, and `NaN = NaN` (every bit pattern of it), so that a NaN key can be
//!   found again;
//! - NULL: equals nothing, or equals NULL, as [`NullEquality`] says. A NULL is a logical one: a
//!   null in the values of a dictionary counts as much as one in its keys;
//! - encodings do not matter: `Utf8`, `LargeUtf8`, `Utf8View`, dictionaries and run-end encoded
//!   columns of them hold the same keys, and so for `Binary`.
//!
//! Types must otherwise be the same on both sides; casting is the planner's task.

pub(crate) mod class;
pub(crate) mod float;
pub(crate) mod hash;
pub(crate) mod packed;
pub(crate) mod span;
mod values;
pub(crate) mod words;

/// Says whether NULL keys match.
///
/// SQL's `=` is [`NullEqualsNothing`](Self::NullEqualsNothing); `IS NOT DISTINCT FROM` is
/// [`NullEqualsNull`](Self::NullEqualsNull), column by column of a tuple.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int32Array};
/// use fletching_kernels::{BuildOptions, KernelError, KeyIndex, NO_ROW, NullEquality};
///
/// let keys: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
/// let mut options = BuildOptions::default();
/// let mut heads = Vec::new();
/// KeyIndex::build(&[keys.clone()], &options)?.locate(&[keys.clone()], None, &mut heads)?;
/// assert_eq!(heads, [0, NO_ROW]);
///
/// options.null_equality = NullEquality::NullEqualsNull;
/// KeyIndex::build(&[keys.clone()], &options)?.locate(&[keys], None, &mut heads)?;
/// assert_eq!(heads, [0, 1]);
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NullEquality {
    /// A key with a NULL in any column matches nothing: SQL's `=`.
    #[default]
    NullEqualsNothing,
    /// NULL matches NULL: SQL's `IS NOT DISTINCT FROM`.
    NullEqualsNull,
}
