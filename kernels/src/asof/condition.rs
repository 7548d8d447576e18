//! Conditions: on which side of a probe row its match lies, and how far away it may be.

/// Says which row of a key is the match of a probe row.
///
/// Of several rows at the same time, the one that arrived last (the highest row id) is taken, on
/// either side.
///
/// ```
/// use fletching_kernels::AsOfOp;
/// // ASOF JOIN … MATCH_CONDITION (probe.time >= build.time)
/// assert_eq!(AsOfOp::AtOrBefore.symbol(), Some(">="));
/// assert_eq!(AsOfOp::Nearest.symbol(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AsOfOp {
    /// The latest at or before the probe row: `probe >= build`.
    AtOrBefore,
    /// The latest before it: `probe > build`.
    Before,
    /// The earliest at or after it: `probe <= build`.
    AtOrAfter,
    /// The earliest after it: `probe < build`.
    After,
    /// The one least far away; where one before and one after are equally far, the one before.
    Nearest,
}

impl AsOfOp {
    /// Returns the comparison `probe ? build` as SQL writes it; none for the nearest row.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::AsOfOp::After.symbol(), Some("<"));
    /// ```
    #[must_use]
    pub fn symbol(self) -> Option<&'static str> {
        match self {
            Self::AtOrBefore => Some(">="),
            Self::Before => Some(">"),
            Self::AtOrAfter => Some("<="),
            Self::After => Some("<"),
            Self::Nearest => None,
        }
    }
}

/// Bounds the distance between a probe row and its match, both ends included.
///
/// ```
/// use fletching_kernels::AsOfTolerance;
/// let five_seconds = AsOfTolerance::whole(5_000_000); // of times in microseconds
/// assert_eq!(five_seconds.to_string(), "5000000");
/// assert_eq!(AsOfTolerance::float(0.5).to_string(), "0.5");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AsOfTolerance(Amount);

/// An amount of time; a float as its bits, so that amounts can be compared and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Amount {
    Whole(u128),
    Float(u64),
}

impl AsOfTolerance {
    /// Bounds times that are whole numbers of some unit: integers, dates, timestamps, decimals.
    ///
    /// ```
    /// let days = fletching_kernels::AsOfTolerance::whole(7);
    /// assert_eq!(days, fletching_kernels::AsOfTolerance::whole(7));
    /// ```
    #[must_use]
    pub fn whole(units: u128) -> Self {
        Self(Amount::Whole(units))
    }

    /// Bounds times that are floats.
    ///
    /// ```
    /// let half = fletching_kernels::AsOfTolerance::float(0.5);
    /// assert_ne!(half, fletching_kernels::AsOfTolerance::float(0.25));
    /// ```
    #[must_use]
    pub fn float(amount: f64) -> Self {
        Self(Amount::Float(amount.to_bits()))
    }

    /// Returns the amount in whole units, of which a part is no further than the whole below it.
    pub(super) fn as_whole(self) -> u128 {
        match self.0 {
            Amount::Whole(units) => units,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a cast from float saturates, and NaN bounds to nothing but equal times"
            )]
            Amount::Float(bits) => f64::from_bits(bits).max(0.0) as u128,
        }
    }

    pub(super) fn as_float(self) -> f64 {
        match self.0 {
            // Distances of floats are no more precise than that.
            Amount::Whole(units) => units as f64,
            Amount::Float(bits) => f64::from_bits(bits),
        }
    }
}

impl std::fmt::Display for AsOfTolerance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Amount::Whole(units) => write!(f, "{units}"),
            Amount::Float(bits) => write!(f, "{}", f64::from_bits(bits)),
        }
    }
}

/// Says which row of a key matches a probe row, if any.
///
/// ```
/// use fletching_kernels::{AsOfCondition, AsOfOp, AsOfTolerance};
/// let condition = AsOfCondition {
///     op: AsOfOp::AtOrBefore,
///     tolerance: Some(AsOfTolerance::whole(60)),
/// };
/// assert_ne!(condition, AsOfCondition::from(AsOfOp::AtOrBefore));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AsOfCondition {
    /// Where the match lies.
    pub op: AsOfOp,
    /// How far away it may be; anywhere where this is not given.
    pub tolerance: Option<AsOfTolerance>,
}

impl From<AsOfOp> for AsOfCondition {
    fn from(op: AsOfOp) -> Self {
        Self { op, tolerance: None }
    }
}
