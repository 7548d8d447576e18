//! `star_join` against recursion over nested loops.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int32Array, Int64Array};
use fletching_kernels::{
    AsOfCondition, AsOfIndex, AsOfOp, AsOfTolerance, BuildOptions, KernelError, KeyIndex, NO_ROW, RowId,
    StarArm, StarFinder, StarKind, StarProbe, StarRows, gather, star_join_from,
};
use proptest::prelude::*;

use crate::asof::{Tick, condition, pick};

/// One arm: its table's keys, its kind, whether it has a residual, and where its keys come from.
#[derive(Debug, Clone)]
struct Arm {
    table: Vec<Option<i32>>,
    kind: StarKind,
    has_residual: bool,
    /// Take keys from the rows of the arm before, where it has any: a snowflake.
    is_snowflake: bool,
    /// Whether it wants to see what it misses.
    is_watched: bool,
    probe_keys: Vec<Option<i32>>,
    /// A column of this table that the next arm may use as its key.
    link: Vec<Option<i32>>,
    as_of: Option<AsOf>,
    /// The arm whose table, keys and times these are too.
    same_as: Option<usize>,
}

/// What makes an arm an as-of arm.
#[derive(Debug, Clone)]
struct AsOf {
    condition: (AsOfOp, Option<u64>),
    table_times: Vec<Tick>,
    probe_times: Vec<Tick>,
}

/// The index of an arm's table.
enum Index {
    Key(Box<KeyIndex>),
    AsOf(Arc<AsOfIndex>, AsOfCondition),
}

impl Index {
    fn of(arm: &Arm) -> Self {
        let keys: ArrayRef = Arc::new(Int32Array::from(arm.table.clone()));
        let Some(as_of) = &arm.as_of else {
            let index = KeyIndex::build(&[keys], &BuildOptions::default()).unwrap();
            return Self::Key(Box::new(index));
        };
        let times: ArrayRef = Arc::new(Int64Array::from(as_of.table_times[..arm.table.len()].to_vec()));
        let (op, tolerance) = as_of.condition;
        let condition = AsOfCondition {
            op,
            tolerance: tolerance.map(|ticks| AsOfTolerance::whole(ticks.into())),
        };
        Self::AsOf(
            Arc::new(AsOfIndex::build(&[keys], &times, &BuildOptions::default()).unwrap()),
            condition,
        )
    }

    /// Builds the index of each table once.
    fn of_all(arms: &[Arm]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for arm in arms {
            let mut index = Self::of(arm);
            let known = arm.same_as.map(|at| &all[at]);
            if let (Some(Self::AsOf(known, _)), Self::AsOf(own, _)) = (known, &mut index) {
                *own = Arc::clone(known);
            }
            all.push(index);
        }
        all
    }

    fn finder(&self) -> StarFinder<'_> {
        match self {
            Self::Key(index) => StarFinder::Key(index),
            Self::AsOf(index, condition) => StarFinder::AsOf(index, *condition),
        }
    }
}

const PROBE_ROWS: usize = 40;

fn keys(rows: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Option<i32>>> {
    prop::collection::vec(prop::option::weighted(0.9, 0..25), rows)
}

fn as_of() -> impl Strategy<Value = AsOf> {
    let ticks = |rows| prop::collection::vec(prop::option::weighted(0.9, 0_i64..30), rows);
    (condition(), ticks(40), ticks(PROBE_ROWS)).prop_map(|(condition, table_times, probe_times)| AsOf {
        condition,
        table_times,
        probe_times,
    })
}

fn arm() -> impl Strategy<Value = Arm> {
    use StarKind::{Inner, Left, LeftAnti, LeftSemi};
    let unique = (10..30).prop_map(|rows| (0..rows).map(Some).collect::<Vec<_>>());
    (
        prop_oneof![unique, keys(0..40)],
        prop::sample::select(vec![Inner, Inner, Left, LeftSemi, LeftAnti]),
        prop::bool::weighted(0.3),
        any::<bool>(),
        any::<bool>(),
        keys(PROBE_ROWS),
        keys(40),
        prop::option::weighted(0.4, as_of()),
    )
        .prop_map(
            |(table, kind, has_residual, is_snowflake, is_watched, probe_keys, link, as_of)| Arm {
                table,
                kind,
                has_residual,
                is_snowflake,
                is_watched,
                probe_keys,
                link,
                as_of,
                same_as: None,
            },
        )
}

/// Arms of which some look the same table up by the same keys and times, by other conditions.
fn alike_arms() -> impl Strategy<Value = Vec<Arm>> {
    use StarKind::{Inner, Left, LeftSemi};
    let variant = (
        prop::sample::select(vec![Inner, Left, Left, Left, LeftSemi]),
        prop::bool::weighted(0.15),
        any::<bool>(),
        condition(),
        prop::option::weighted(0.15, arm()),
    );
    (arm(), as_of(), prop::collection::vec(variant, 2..6)).prop_map(|(base, times, variants)| {
        let mut arms: Vec<Arm> = Vec::new();
        let mut first = None;
        for (kind, has_residual, is_watched, condition, other) in variants {
            arms.extend(other);
            let times = times.clone();
            let arm = Arm {
                kind,
                has_residual,
                is_watched,
                is_snowflake: false,
                as_of: Some(AsOf { condition, ..times }),
                same_as: first,
                ..base.clone()
            };
            first = first.or(Some(arms.len()));
            arms.push(arm);
        }
        arms
    })
}

/// Judges by what both the kernel and the oracle know.
fn judge(probe: u32, row: RowId) -> Option<bool> {
    if row % 7 == 3 {
        None
    } else {
        Some(!(probe + row).is_multiple_of(3))
    }
}

/// Says whether an arm's keys come from the arm before.
fn is_linked(arms: &[Arm], arm: usize) -> bool {
    arm > 0 && arms[arm].is_snowflake && arms[arm - 1].kind.emits_build()
}

/// A miss: the arm, the probe row, and the row ids of the arms before.
type Miss = (usize, u32, Vec<RowId>);

/// What is told of arms: what they missed, and how many keys were looked up and were not there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    missed: Vec<Miss>,
    located: BTreeMap<usize, (usize, usize)>,
}

impl Told {
    fn note_located(&mut self, arm: usize, keys: usize, missing: usize) {
        let (all, not_there) = self.located.entry(arm).or_default();
        *all += keys;
        *not_there += missing;
    }
}

struct Probe<'a> {
    arms: &'a [Arm],
    limit: usize,
    told: Told,
}

fn positions(rows: &StarRows) -> Vec<u32> {
    (0..rows.len)
        .map(|row| rows.probe_position(row).unwrap())
        .collect()
}

impl StarProbe for Probe<'_> {
    type Error = KernelError;

    fn keys(&mut self, arm: usize, rows: &StarRows) -> Result<Vec<ArrayRef>, KernelError> {
        assert!(rows.len > 0 && rows.arms.len() == arm);
        let (column, picks) = if is_linked(self.arms, arm) {
            (&self.arms[arm - 1].link, rows.arms[arm - 1].clone())
        } else {
            (&self.arms[arm].probe_keys, positions(rows))
        };
        let column: ArrayRef = Arc::new(Int32Array::from(column.clone()));
        let mut keys = vec![gather(&column, &picks)?];
        if let Some(as_of) = &self.arms[arm].as_of {
            let times: ArrayRef = Arc::new(Int64Array::from(as_of.probe_times.clone()));
            keys.push(gather(&times, &positions(rows))?);
        }
        Ok(keys)
    }

    fn shares_keys(&self, arm: usize, with: usize) -> bool {
        let first = |arm: usize| self.arms[arm].same_as.unwrap_or(arm);
        first(arm) == first(with)
    }

    fn has_residual(&self, arm: usize) -> bool {
        self.arms[arm].has_residual
    }

    fn residual(&mut self, arm: usize, candidates: &StarRows) -> Result<Option<BooleanArray>, KernelError> {
        assert!(candidates.len <= self.limit && candidates.arms.len() == arm + 1);
        let rows = positions(candidates)
            .into_iter()
            .zip(candidates.arms[arm].clone());
        Ok(Some(rows.map(|(probe, row)| judge(probe, row)).collect()))
    }

    fn located(&mut self, arm: usize, keys: usize, missing: usize) -> Result<(), KernelError> {
        self.told.note_located(arm, keys, missing);
        Ok(())
    }

    fn watches(&self, arm: usize) -> bool {
        self.arms[arm].is_watched
    }

    fn missed(&mut self, arm: usize, rows: &StarRows, positions: &[u32]) -> Result<(), KernelError> {
        for &position in positions {
            let probe = rows.probe_position(position as usize).unwrap();
            let before = rows.arms[..arm]
                .iter()
                .map(|list| list.get(position as usize).copied().unwrap_or(NO_ROW));
            self.told.missed.push((arm, probe, before.collect()));
        }
        Ok(())
    }
}

/// Joins one row, so far `row`, with the arms from `arm` on.
fn nested_loops(
    arms: &[Arm],
    probe: u32,
    row: &mut Vec<RowId>,
    out: &mut Vec<(u32, Vec<RowId>)>,
    told: &mut Told,
) {
    let at = row.len();
    let Some(arm) = arms.get(at) else {
        out.push((probe, row.clone()));
        return;
    };
    let key = if is_linked(arms, at) {
        arms[at - 1].link.get(row[at - 1] as usize).copied().flatten()
    } else {
        arm.probe_keys[probe as usize]
    };
    let mut candidates: Vec<RowId> = (0..arm.table.len() as u32)
        .filter(|r| key.is_some() && arm.table[*r as usize] == key)
        .collect();
    if let Some(as_of) = &arm.as_of {
        let timed = candidates
            .iter()
            .filter_map(|row| Some((*row, as_of.table_times[*row as usize]?)));
        let found =
            as_of.probe_times[probe as usize].map_or(NO_ROW, |time| pick(timed, time, as_of.condition));
        candidates.retain(|row| *row == found);
    }
    told.note_located(at, 1, usize::from(candidates.is_empty()));
    let matches: Vec<RowId> = candidates
        .into_iter()
        .filter(|r| !arm.has_residual || judge(probe, *r) == Some(true))
        .collect();
    if matches.is_empty() && arm.kind.emits_build() && arm.is_watched {
        told.missed.push((at, probe, row.clone()));
    }
    let kept = match arm.kind {
        StarKind::Inner => matches,
        StarKind::Left if matches.is_empty() => vec![NO_ROW],
        StarKind::Left => matches,
        StarKind::LeftSemi if matches.is_empty() => vec![],
        StarKind::LeftAnti if !matches.is_empty() => vec![],
        StarKind::LeftSemi | StarKind::LeftAnti => vec![NO_ROW],
    };
    for id in kept {
        row.push(id);
        nested_loops(arms, probe, row, out, told);
        row.pop();
    }
}

fn check(arms: &[Arm], limit: usize, selection: Option<Vec<u32>>) -> Result<(), TestCaseError> {
    let tables = Index::of_all(arms);
    let star: Vec<StarArm<'_>> = tables
        .iter()
        .zip(arms)
        .map(|(index, arm)| StarArm {
            finder: index.finder(),
            kind: arm.kind,
        })
        .collect();
    let start = match &selection {
        Some(positions) => StarRows::selected(positions.clone()),
        None => StarRows::identity(PROBE_ROWS),
    };
    let mut probe = Probe {
        arms,
        limit,
        told: Told::default(),
    };
    let mut found = Vec::new();
    star_join_from(&star, start, &mut probe, limit, &mut |rows| {
        assert!(rows.len > 0 && rows.len <= limit.max(PROBE_ROWS));
        assert!(rows.probe.is_some() || rows.len == PROBE_ROWS);
        for (list, arm) in rows.arms.iter().zip(arms) {
            assert_eq!(list.len(), if arm.kind.emits_build() { rows.len } else { 0 });
        }
        for (at, position) in positions(&rows).into_iter().enumerate() {
            let ids = rows
                .arms
                .iter()
                .map(|list| list.get(at).copied().unwrap_or(NO_ROW));
            found.push((position, ids.collect::<Vec<_>>()));
        }
        Ok(())
    })
    .unwrap();
    let (mut expected, mut told) = (Vec::new(), Told::default());
    for probe in selection.unwrap_or_else(|| (0..PROBE_ROWS as u32).collect()) {
        nested_loops(arms, probe, &mut Vec::new(), &mut expected, &mut told);
    }
    prop_assert_eq!(found, expected);
    probe.told.missed.sort();
    told.missed.sort();
    prop_assert_eq!(probe.told, told);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn joins_as_nested_loops_do(
        arms in prop::collection::vec(arm(), 1..4),
        limit in prop::sample::select(vec![1, 2, 7, 49, 64, 8192]),
        selection in prop::option::weighted(
            0.3,
            prop::collection::vec(0..PROBE_ROWS as u32, 0..PROBE_ROWS),
        ),
    ) {
        check(&arms, limit, selection)?;
    }

    #[test]
    fn arms_that_share_keys_join_as_nested_loops_do(
        arms in alike_arms(),
        limit in prop::sample::select(vec![1, 7, 8192]),
        selection in prop::option::weighted(
            0.3,
            prop::collection::vec(0..PROBE_ROWS as u32, 0..PROBE_ROWS),
        ),
    ) {
        check(&arms, limit, selection)?;
    }
}

#[test]
fn keeps_the_identity_while_every_row_matches_once() {
    let arm = |kind| Arm {
        table: (0..25).map(Some).collect(),
        kind,
        has_residual: false,
        is_snowflake: false,
        is_watched: false,
        probe_keys: vec![Some(3); PROBE_ROWS],
        link: Vec::new(),
        as_of: None,
        same_as: None,
    };
    let arms = [arm(StarKind::Inner), arm(StarKind::Left), arm(StarKind::LeftSemi)];
    let keys: ArrayRef = Arc::new(Int32Array::from_iter_values(0..25));
    let index = KeyIndex::build(&[keys], &BuildOptions::default()).unwrap();
    let star = arms.clone().map(|arm| StarArm {
        finder: StarFinder::Key(&index),
        kind: arm.kind,
    });
    let mut emitted = 0;
    let mut probe = Probe {
        arms: &arms,
        limit: 8,
        told: Told::default(),
    };
    fletching_kernels::star_join(&star, PROBE_ROWS, &mut probe, 8, &mut |rows| {
        assert_eq!(rows.probe, None);
        emitted += rows.len;
        Ok(())
    })
    .unwrap();
    assert_eq!(emitted, PROBE_ROWS);
}
