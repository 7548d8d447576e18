//! `AsOfIndex` against a loop over all rows.

use std::sync::Arc;

use arrow_array::*;
use arrow_schema::{DataType, TimeUnit};
use fletching_kernels::{
    AsOfCondition, AsOfIndex, AsOfOp, AsOfTolerance, BuildOptions, KernelError, NO_ROW, NullEquality, RowId,
};
use proptest::prelude::*;

use crate::columns::{Code, Encoding, column, encoding, fold, key_types};

/// A time by number, or NULL.
pub(crate) type Tick = Option<i64>;

/// How ticks are written as a column. The tick 7 of floats is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
enum TimeType {
    Int8,
    UInt64,
    Date32,
    Timestamp,
    Decimal128,
    Float32,
    Float64,
    Dictionary,
}

const TIME_TYPES: [TimeType; 8] = [
    TimeType::Int8,
    TimeType::UInt64,
    TimeType::Date32,
    TimeType::Timestamp,
    TimeType::Decimal128,
    TimeType::Float32,
    TimeType::Float64,
    TimeType::Dictionary,
];

impl TimeType {
    fn column(self, ticks: &[Tick]) -> ArrayRef {
        let map = |f: &dyn Fn(i64) -> i64| ticks.iter().map(|tick| tick.map(f)).collect::<Vec<_>>();
        let float = |tick: i64| if tick == 7 { f64::NAN } else { tick as f64 * 0.5 };
        match self {
            Self::Int8 => Arc::new(ticks.iter().map(|t| t.map(|t| t as i8)).collect::<Int8Array>()),
            Self::UInt64 => {
                let shifted = ticks.iter().map(|t| t.map(|t| (t + 50) as u64 + (1 << 63) - 60));
                Arc::new(shifted.collect::<UInt64Array>())
            }
            Self::Date32 => Arc::new(ticks.iter().map(|t| t.map(|t| t as i32)).collect::<Date32Array>()),
            Self::Timestamp => Arc::new(TimestampMillisecondArray::from(map(&|t| t))),
            Self::Decimal128 => {
                let wide = ticks.iter().map(|t| t.map(|t| i128::from(t) * 10_i128.pow(30)));
                let array = wide.collect::<Decimal128Array>();
                Arc::new(array.with_precision_and_scale(38, 4).unwrap())
            }
            Self::Float32 => {
                let floats = ticks.iter().map(|t| t.map(|t| float(t) as f32));
                Arc::new(floats.collect::<Float32Array>())
            }
            Self::Float64 => Arc::new(ticks.iter().map(|t| t.map(float)).collect::<Float64Array>()),
            Self::Dictionary => {
                let plain: ArrayRef = Arc::new(Int64Array::from(map(&|t| t * 3)));
                let kind = DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Int64));
                arrow_cast::cast(&plain, &kind).unwrap()
            }
        }
    }

    fn tolerance(self, ticks: u64) -> AsOfTolerance {
        match self {
            Self::Decimal128 => AsOfTolerance::whole(u128::from(ticks) * 10_u128.pow(30)),
            Self::Float32 | Self::Float64 => AsOfTolerance::float(ticks as f64 * 0.5),
            Self::Dictionary => AsOfTolerance::whole(u128::from(ticks) * 3),
            _ => AsOfTolerance::whole(u128::from(ticks)),
        }
    }

    /// Returns the tick as the index sees it.
    fn fold(self, tick: Tick) -> Tick {
        let is_float = matches!(self, Self::Float32 | Self::Float64);
        tick.filter(|tick| !(is_float && *tick == 7))
    }
}

/// Draws where the match lies, and how far away it may be.
pub(crate) fn condition() -> impl Strategy<Value = (AsOfOp, Option<u64>)> {
    use AsOfOp::{After, AtOrAfter, AtOrBefore, Before, Nearest};
    (
        prop::sample::select(vec![AtOrBefore, Before, AtOrAfter, After, Nearest]),
        prop::option::weighted(0.4, 0_u64..9),
    )
}

/// Picks the match among candidates in the order they arrived in: the plain definition.
pub(crate) fn pick(
    candidates: impl Iterator<Item = (RowId, i64)>,
    time: i64,
    (op, tolerance): (AsOfOp, Option<u64>),
) -> RowId {
    let mut best: Option<(RowId, i64)> = None;
    for (row, other) in candidates {
        let fits = match op {
            AsOfOp::AtOrBefore => other <= time,
            AsOfOp::Before => other < time,
            AsOfOp::AtOrAfter => other >= time,
            AsOfOp::After => other > time,
            AsOfOp::Nearest => true,
        };
        let distance = other.abs_diff(time);
        let near = tolerance.is_none_or(|tolerance| distance <= tolerance);
        let is_better = |(_, least): (RowId, i64)| {
            let least_distance = least.abs_diff(time);
            // Later arrivals win at the same time; of two sides equally far, the earlier wins.
            distance < least_distance || (distance == least_distance && other <= least)
        };
        if fits && near && best.is_none_or(is_better) {
            best = Some((row, other));
        }
    }
    best.map_or(NO_ROW, |(row, _)| row)
}

#[derive(Debug, Clone)]
struct Case {
    types: Vec<DataType>,
    build_encodings: Vec<(Encoding, bool)>,
    probe_encodings: Vec<(Encoding, bool)>,
    time_type: TimeType,
    build: Vec<(Vec<Code>, Tick)>,
    probe: Vec<(Vec<Code>, Tick)>,
    condition: (AsOfOp, Option<u64>),
    options: BuildOptions,
    cut: prop::sample::Index,
}

fn rows(width: usize, count: usize) -> impl Strategy<Value = Vec<(Vec<Code>, Tick)>> {
    let key = prop::collection::vec(prop::option::weighted(0.9, 0_u8..6), width);
    let tick = prop::option::weighted(0.9, -20_i64..40);
    (prop::collection::vec((key, tick), 0..count), 0..3).prop_map(|(mut rows, order)| {
        // In order, in order but for a few, or in none.
        if order < 2 {
            rows.sort_by_key(|(_, tick)| *tick);
        }
        if order == 1 && rows.len() > 3 {
            let last = rows.len() - 1;
            rows.swap(1, last);
        }
        rows
    })
}

fn case() -> impl Strategy<Value = Case> {
    let types = prop_oneof![
        1 => Just(Vec::new()),
        2 => Just(vec![DataType::Int64]),
        2 => Just(vec![DataType::Utf8]),
        2 => prop::collection::vec(prop::sample::select(key_types()), 1),
        2 => prop::collection::vec(prop::sample::select(key_types()), 2..4),
    ];
    types.prop_flat_map(|types| {
        let width = types.len();
        let options = (
            any::<bool>(),
            any::<bool>(),
            prop::sample::select(vec![u64::MAX, 7, 0]),
        );
        (
            (
                Just(types),
                prop::collection::vec(encoding(), width),
                prop::collection::vec(encoding(), width),
            ),
            prop::sample::select(TIME_TYPES.to_vec()),
            (rows(width, 120), rows(width, 200)),
            condition(),
            options,
            any::<prop::sample::Index>(),
        )
            .prop_map(
                |(
                    (types, build_encodings, probe_encodings),
                    time_type,
                    (build, probe),
                    condition,
                    options,
                    cut,
                )| {
                    let (nulls_match, parallel, hash_mask) = options;
                    let null_equality = if nulls_match {
                        NullEquality::NullEqualsNull
                    } else {
                        NullEquality::NullEqualsNothing
                    };
                    let options = BuildOptions {
                        null_equality,
                        parallel,
                        hash_mask,
                        layout: None,
                    };
                    Case {
                        types,
                        build_encodings,
                        probe_encodings,
                        time_type,
                        build,
                        probe,
                        condition,
                        options,
                        cut,
                    }
                },
            )
    })
}

impl Case {
    fn keys(&self, encodings: &[(Encoding, bool)], rows: &[(Vec<Code>, Tick)]) -> Vec<ArrayRef> {
        (0..self.types.len())
            .map(|at| {
                let codes: Vec<Code> = rows.iter().map(|(key, _)| key[at]).collect();
                column(&self.types[at], encodings[at], &codes)
            })
            .collect()
    }

    /// Returns the key as the index sees it, or nothing where it matches nothing.
    fn key(&self, codes: &[Code]) -> Option<Vec<Code>> {
        let folded = self.types.iter().zip(codes).map(|(kind, code)| fold(kind, *code));
        let key: Vec<Code> = folded.collect();
        let nulls_match = self.options.null_equality == NullEquality::NullEqualsNull;
        (nulls_match || key.iter().all(Option::is_some)).then_some(key)
    }

    fn expected(&self, condition: (AsOfOp, Option<u64>)) -> Vec<RowId> {
        let fold = |(key, tick): &(Vec<Code>, Tick)| Some((self.key(key)?, self.time_type.fold(*tick)?));
        let build: Vec<_> = self.build.iter().map(fold).collect();
        let find = |probe: &(Vec<Code>, Tick)| {
            let Some((key, time)) = fold(probe) else {
                return NO_ROW;
            };
            let same = (0..).zip(&build).filter_map(|(row, build)| match build {
                Some((other, tick)) if *other == key => Some((row, *tick)),
                _ => None,
            });
            pick(same, time, condition)
        };
        self.probe.iter().map(find).collect()
    }
}

fn times(kind: TimeType, rows: &[(Vec<Code>, Tick)]) -> ArrayRef {
    kind.column(&rows.iter().map(|(_, tick)| *tick).collect::<Vec<_>>())
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let build = case.keys(&case.build_encodings, &case.build);
    let index = AsOfIndex::build(&build, &times(case.time_type, &case.build), &case.options).unwrap();
    let (op, tolerance) = case.condition;
    let tolerance = tolerance.map(|ticks| case.time_type.tolerance(ticks));
    let condition = AsOfCondition { op, tolerance };
    let probe = case.keys(&case.probe_encodings, &case.probe);
    let time = times(case.time_type, &case.probe);
    let expected = case.expected(case.condition);
    let mut heads = vec![5; 3];
    // A second time: where the first left its cursors changes nothing.
    for _ in 0..2 {
        index.locate(&probe, &time, &condition, &mut heads).unwrap();
        prop_assert_eq!(&heads, &expected);
    }
    // Nor does it how the rows are cut into batches; the short ones have more keys than rows.
    if !expected.is_empty() {
        let cut = case.cut.index(expected.len());
        for (from, to) in [
            (0, cut),
            (cut, (cut + 2).min(expected.len())),
            (cut, expected.len()),
        ] {
            let piece: Vec<ArrayRef> = probe.iter().map(|column| column.slice(from, to - from)).collect();
            index
                .locate(&piece, &time.slice(from, to - from), &condition, &mut heads)
                .unwrap();
            prop_assert_eq!(&heads, &expected[from..to]);
        }
    }
    check_together(case, &index, &probe, &time)
}

/// All conditions in one walk find what each finds alone.
fn check_together(
    case: &Case,
    index: &AsOfIndex,
    probe: &[ArrayRef],
    time: &ArrayRef,
) -> Result<(), TestCaseError> {
    use AsOfOp::{After, AtOrAfter, AtOrBefore, Before, Nearest};
    let asked: Vec<_> = [Before, Nearest, AtOrAfter, AtOrBefore, After]
        .into_iter()
        .flat_map(|op| [(op, None), (op, case.condition.1)])
        .take(1 + case.cut.index(10))
        .collect();
    let conditions: Vec<_> = asked
        .iter()
        .map(|(op, tolerance)| AsOfCondition {
            op: *op,
            tolerance: tolerance.map(|ticks| case.time_type.tolerance(ticks)),
        })
        .collect();
    let expected: Vec<_> = asked.iter().map(|asked| case.expected(*asked)).collect();
    for _ in 0..2 {
        prop_assert_eq!(&index.locate_each(probe, time, &conditions).unwrap(), &expected);
    }
    // Fewer rows than keys.
    let few = case.probe.len().min(2);
    let piece: Vec<ArrayRef> = probe.iter().map(|column| column.slice(0, few)).collect();
    let found = index
        .locate_each(&piece, &time.slice(0, few), &conditions)
        .unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        prop_assert_eq!(&found[..], &expected[..few]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn finds_what_a_loop_over_all_rows_finds(case in case()) {
        check(&case)?;
    }
}

/// Many keys and rows, so that keys are collected from several blocks and groups are sorted on
/// several threads.
#[test]
fn collects_keys_from_many_blocks() {
    for (keys, step) in [(1_000_u32, 7_919), (150_000, 1), (1, 1)] {
        let rows = 300_000_u32;
        let key = |row: u32| row.wrapping_mul(step) % keys;
        let time = |row: u32| i64::from(row / 2) ^ i64::from(row.is_multiple_of(7));
        let build: ArrayRef = Arc::new(UInt32Array::from_iter_values((0..rows).map(key)));
        let table_times: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(time)));
        let mut answers = Vec::new();
        for parallel in [false, true] {
            let options = BuildOptions {
                parallel,
                ..BuildOptions::default()
            };
            let index = AsOfIndex::build(&[Arc::clone(&build)], &table_times, &options).unwrap();
            assert_eq!(index.group_count(), keys as usize);
            let mut heads = Vec::new();
            let ask = AsOfOp::AtOrBefore.into();
            index
                .locate(&[Arc::clone(&build)], &table_times, &ask, &mut heads)
                .unwrap();
            for row in (0..rows).step_by(997) {
                let head = heads[row as usize];
                assert_eq!((key(head), time(head) <= time(row)), (key(row), true));
                assert!((time(head), head) >= (time(row), row));
            }
            answers.push(heads);
        }
        assert_eq!(answers[0], answers[1]);
    }
}

#[test]
fn refuses_what_is_no_time_or_does_not_fit() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let options = BuildOptions::default();
    let error = AsOfIndex::build(&[], &texts, &options).unwrap_err();
    assert!(
        matches!(error, KernelError::UnsupportedTimeType { .. }),
        "{error}"
    );
    let error = AsOfIndex::build(&[numbers.slice(0, 1)], &numbers, &options).unwrap_err();
    assert!(matches!(error, KernelError::LengthMismatch { .. }), "{error}");

    let index = AsOfIndex::build(&[], &numbers, &options).unwrap();
    let mut heads = Vec::new();
    let condition = AsOfOp::Nearest.into();
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1]));
    assert_eq!(seconds.data_type(), &DataType::Timestamp(TimeUnit::Second, None));
    let error = index.locate(&[], &seconds, &condition, &mut heads).unwrap_err();
    assert!(
        matches!(error, KernelError::KeyTypeMismatch { position: 0, .. }),
        "{error}"
    );
    let error = index
        .locate(&[Arc::clone(&numbers)], &numbers, &condition, &mut heads)
        .unwrap_err();
    assert!(
        matches!(error, KernelError::KeyCount { expected: 0, .. }),
        "{error}"
    );
}

/// Short texts as views take a way of their own; it leads where all others do.
#[test]
fn short_texts_are_found_in_any_encoding() {
    let table = ["", "A", "AB", "exactly12345", "\0", "A\0", "B"];
    let stream = [
        Some("A"),
        Some("exactly12345"),
        Some("exactly123456"),
        Some(""),
        None,
        Some("A\0"),
        Some("\0"),
        Some("C"),
        Some("a text of more than twelve bytes"),
    ];
    let expected = [1, 3, NO_ROW, 0, NO_ROW, 5, 4, NO_ROW, NO_ROW];
    let keys: ArrayRef = Arc::new(StringArray::from(table.to_vec()));
    let times: ArrayRef = Arc::new(Int64Array::from(vec![1; table.len()]));
    for hash_mask in [u64::MAX, 0] {
        let options = BuildOptions {
            hash_mask,
            ..BuildOptions::default()
        };
        let index = AsOfIndex::build(&[Arc::clone(&keys)], &times, &options).unwrap();
        let longer: Vec<Option<&str>> = [Some("B"), None].into_iter().chain(stream).collect();
        let views: ArrayRef = Arc::new(StringViewArray::from(longer));
        let views = views.slice(2, stream.len());
        let time: ArrayRef = Arc::new(Int64Array::from(vec![9; stream.len()]));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View));
        for kind in [
            DataType::Utf8View,
            DataType::Utf8,
            DataType::LargeUtf8,
            dictionary,
        ] {
            let probe = arrow_cast::cast(&views, &kind).unwrap();
            let mut heads = Vec::new();
            index
                .locate(&[probe], &time, &AsOfOp::AtOrBefore.into(), &mut heads)
                .unwrap();
            assert_eq!(heads, expected, "{kind}");
        }
    }
}
