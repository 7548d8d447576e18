//! Layouts: the small family of indexes, and which one serves given keys.

use crate::key::NullEquality;
use crate::key::class::KeyClass;
use crate::key::words::{Place, WordPlan};

/// Names how an index stores its keys. Chosen once, when the index is built; every layout gives
/// the same answers.
///
/// | layout | keys | bytes a row |
/// |---|---|---|
/// | `Dense` | one whole number, date, time or decimal whose range is narrow | 4 for each number of the range |
/// | `Fixed8` | tuples of fixed widths and short strings, together at most 8 bytes; a whole number of a tuple, and a decimal, counts no more than its distance from the least takes; a long string of a tuple counts 4, and has an index of its own | 16 |
/// | `Fixed16` | the same, at most 16 bytes | 27 |
/// | `Bytes` | one string or binary of any length | 12, and 16 for views where the column has none |
/// | `Rows` | any other tuple that arrow-row encodes | 12, and 8 + the encoded length |
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, StringArray};
/// use fletching_kernels::{BuildOptions, KernelError, KeyIndex, KeyLayout};
///
/// let dates: ArrayRef = Arc::new(Int64Array::from(vec![20_240_101, 20_240_102]));
/// let symbols: ArrayRef = Arc::new(StringArray::from(vec!["AAPL", "MSFT"]));
/// let tags: ArrayRef = Arc::new(arrow_array::Decimal256Array::from_iter_values([1.into(), 2.into()]));
/// let names: ArrayRef = Arc::new(StringArray::from(vec!["Apple Incorporated", "Microsoft"]));
/// let options = BuildOptions::default();
/// assert_eq!(KeyIndex::build(&[dates.clone()], &options)?.layout(), KeyLayout::Dense);
/// assert_eq!(KeyIndex::build(&[symbols], &options)?.layout(), KeyLayout::Fixed8);
/// assert_eq!(KeyIndex::build(&[names.clone()], &options)?.layout(), KeyLayout::Bytes);
/// assert_eq!(KeyIndex::build(&[dates, names], &options)?.layout(), KeyLayout::Fixed8);
/// assert_eq!(KeyIndex::build(&[tags], &options)?.layout(), KeyLayout::Rows);
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyLayout {
    /// Whole numbers of a narrow range address an array of row ids.
    Dense,
    /// Keys of at most 8 bytes, inline in the table.
    Fixed8,
    /// Keys of at most 16 bytes, inline in the table.
    Fixed16,
    /// One string or binary column, compared as views.
    Bytes,
    /// Tuples encoded by arrow-row.
    Rows,
}

/// Says how to build an index. The default is right outside tests: SQL's `=`, the layout that
/// suits the keys, whole hashes, one thread.
///
/// ```
/// use fletching_kernels::{BuildOptions, NullEquality};
/// let options = BuildOptions { parallel: true, ..BuildOptions::default() };
/// assert_eq!(options.null_equality, NullEquality::NullEqualsNothing);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildOptions {
    /// Whether NULL keys match.
    pub null_equality: NullEquality,
    /// Forces a layout; an error where it cannot hold the keys. For tests and benches.
    pub layout: Option<KeyLayout>,
    /// Bits kept of every hash: all of them, or few to force collisions in tests.
    pub hash_mask: u64,
    /// Whether large builds use rayon's threads.
    pub parallel: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            null_equality: NullEquality::default(),
            layout: None,
            hash_mask: u64::MAX,
            parallel: false,
        }
    }
}

/// What the columns of a key allow, before their values are seen.
pub(crate) enum KeyShape {
    /// A word of at most 8 bytes; with the sign of a single whole number.
    Word(WordPlan, Option<bool>),
    /// A word of at most 16 bytes.
    WideWord(WordPlan),
    /// A single string or binary.
    Bytes,
    /// Anything.
    Row,
}

impl KeyShape {
    /// Finds the narrowest shape that fits the key, or the forced layout. `places` are those of each
    /// column in a word, where it has one.
    pub(crate) fn of(
        classes: &[KeyClass],
        places: &[Option<Place>],
        null_bits: bool,
        layout: Option<KeyLayout>,
        is_binary: bool,
    ) -> Result<Self, &'static str> {
        let plan = WordPlan::new(places, null_bits);
        let sign = match classes {
            [KeyClass::Integer { signed, .. }] => Some(*signed),
            _ => None,
        };
        let is_bytes = matches!(classes, [KeyClass::Bytes]);
        match (layout, plan) {
            (None | Some(KeyLayout::Fixed8 | KeyLayout::Dense), Some(plan)) if plan.bytes() <= 8 => {
                match (layout, sign) {
                    (Some(KeyLayout::Dense), None) => Err("it needs one whole-number key"),
                    _ => Ok(Self::Word(plan, sign)),
                }
            }
            (None | Some(KeyLayout::Fixed16), Some(plan)) => Ok(Self::WideWord(plan)),
            (Some(KeyLayout::Dense), _) => Err("it needs one whole-number key"),
            (Some(KeyLayout::Fixed8), _) => Err("they do not fit into 8 bytes"),
            (Some(KeyLayout::Fixed16), _) => Err("they do not fit into 16 bytes"),
            (None | Some(KeyLayout::Bytes), _) if is_bytes || (is_binary && layout.is_some()) => {
                Ok(Self::Bytes)
            }
            (Some(KeyLayout::Bytes), _) => Err("it needs one string or binary key"),
            (None | Some(KeyLayout::Rows), _) => Ok(Self::Row),
        }
    }
}
