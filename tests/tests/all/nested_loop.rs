//! The oracle of joins: two loops and nothing clever.

use proptest::prelude::{Strategy, prop, prop_oneof};
use proptest::strategy::Just;

/// What kind of join, as SQL writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Inner,
    Left,
    Right,
    Full,
    LeftSemi,
    LeftAnti,
    RightSemi,
    RightAnti,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Inner,
        Self::Left,
        Self::Right,
        Self::Full,
        Self::LeftSemi,
        Self::LeftAnti,
        Self::RightSemi,
        Self::RightAnti,
    ];

    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Inner => "INNER JOIN",
            Self::Left => "LEFT JOIN",
            Self::Right => "RIGHT JOIN",
            Self::Full => "FULL JOIN",
            Self::LeftSemi => "LEFT SEMI JOIN",
            Self::LeftAnti => "LEFT ANTI JOIN",
            Self::RightSemi => "RIGHT SEMI JOIN",
            Self::RightAnti => "RIGHT ANTI JOIN",
        }
    }

    /// Says whether each stream row's result depends on no other stream row.
    pub(crate) fn is_per_row(self) -> bool {
        matches!(self, Self::Inner | Self::Left | Self::LeftSemi | Self::LeftAnti)
    }
}

/// A row of either side: a key among a few values or NULL, and a number to compare by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SideRow {
    pub(crate) key: Option<u8>,
    pub(crate) number: Option<i64>,
}

/// How many distinct keys there are: few, so that they meet and repeat.
pub(crate) const KEYS: u8 = 9;

/// Random rows: one in eight has no key, one in eight no number.
pub(crate) fn side_rows(rows_max: usize) -> impl Strategy<Value = Vec<SideRow>> {
    let key = prop_oneof![1 => Just(None), 7 => (0..KEYS).prop_map(Some)];
    let number = prop_oneof![1 => Just(None), 7 => (0..10_i64).prop_map(Some)];
    prop::collection::vec(
        (key, number).prop_map(|(key, number)| SideRow { key, number }),
        0..=rows_max,
    )
}

/// The condition of a join.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Condition {
    /// `IS NOT DISTINCT FROM` instead of `=`.
    pub(crate) null_equals_null: bool,
    /// `AND s.number < t.number`.
    pub(crate) has_residual: bool,
}

impl Condition {
    pub(crate) const ALL: [Self; 4] = [
        Self {
            null_equals_null: false,
            has_residual: false,
        },
        Self {
            null_equals_null: false,
            has_residual: true,
        },
        Self {
            null_equals_null: true,
            has_residual: false,
        },
        Self {
            null_equals_null: true,
            has_residual: true,
        },
    ];

    fn holds(self, left: SideRow, right: SideRow) -> bool {
        let keys_meet = match (left.key, right.key) {
            (Some(left), Some(right)) => left == right,
            (None, None) => self.null_equals_null,
            _ => false,
        };
        let residual_holds = match (left.number, right.number) {
            (Some(left), Some(right)) => left < right,
            _ => false,
        };
        keys_meet && (!self.has_residual || residual_holds)
    }
}

/// A row of a result: the positions of the rows it is made of; of a semi or anti join only one.
pub(crate) type Pair = (Option<i64>, Option<i64>);

/// Joins by comparing every row with every row.
pub(crate) fn join(kind: Kind, condition: Condition, left: &[SideRow], right: &[SideRow]) -> Vec<Pair> {
    let position = |at: usize| Some(i64::try_from(at).unwrap());
    let mut pairs = Vec::new();
    let mut is_left_met = vec![false; left.len()];
    let mut is_right_met = vec![false; right.len()];
    for (l, left_row) in left.iter().enumerate() {
        for (r, right_row) in right.iter().enumerate() {
            if condition.holds(*left_row, *right_row) {
                is_left_met[l] = true;
                is_right_met[r] = true;
                pairs.push((position(l), position(r)));
            }
        }
    }
    let lefts = |met: bool| {
        (0..left.len())
            .filter(move |at| is_left_met[*at] == met)
            .map(move |at| (position(at), None))
    };
    let rights = |met: bool| {
        (0..right.len())
            .filter(move |at| is_right_met[*at] == met)
            .map(move |at| (None, position(at)))
    };
    match kind {
        Kind::Inner => pairs,
        Kind::Left => pairs.into_iter().chain(lefts(false)).collect(),
        Kind::Right => pairs.into_iter().chain(rights(false)).collect(),
        Kind::Full => pairs
            .into_iter()
            .chain(lefts(false))
            .chain(rights(false))
            .collect(),
        Kind::LeftSemi => lefts(true).collect(),
        Kind::LeftAnti => lefts(false).collect(),
        Kind::RightSemi => rights(true).collect(),
        Kind::RightAnti => rights(false).collect(),
    }
}
