//! `join_pairs` and `finish_pairs` against nested loops.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int32Array};
use fletching_kernels::{
    BuildOptions, JoinKind, JoinPairs, KernelError, KeyIndex, KeyLayout, NO_ROW, ProbeCursor, RowId,
    TableCursor, VisitedRows, finish_pairs, join_pairs,
};
use proptest::prelude::*;

const LIMITS: [usize; 7] = [1, 2, 7, 49, 64, 8192, usize::MAX];

/// A residual over (global probe row, table row): true, false or NULL.
type Judge = fn(u32, RowId) -> Option<bool>;

const JUDGES: [Option<Judge>; 5] = [
    None,
    Some(|_, _| Some(true)),
    Some(|_, _| None),
    Some(|probe, row| {
        if (probe + row) % 5 == 0 {
            None
        } else {
            Some((probe ^ row) % 3 == 0)
        }
    }),
    Some(|_, row| Some(row % 16 == 15)),
];

#[derive(Debug, Clone)]
struct Case {
    build: Vec<Option<i32>>,
    probe: Vec<Option<i32>>,
    cuts: Vec<prop::sample::Index>,
    limit: usize,
    judge: usize,
    layout: Option<KeyLayout>,
    hash_mask: u64,
}

fn keys(rows: usize) -> impl Strategy<Value = Vec<Option<i32>>> {
    (1..50)
        .prop_flat_map(move |domain| prop::collection::vec(prop::option::weighted(0.9, 0..domain), 0..rows))
}

fn case() -> impl Strategy<Value = Case> {
    // Half of the tables are unique, which has loops of its own.
    let unique = (0..60).prop_map(|rows| (0..rows).map(Some).collect());
    let build = prop_oneof![unique, keys(120)];
    let layout = prop::sample::select(vec![None, Some(KeyLayout::Fixed8), Some(KeyLayout::Rows)]);
    (
        build,
        keys(100),
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        prop::sample::select(LIMITS.to_vec()),
        0..JUDGES.len(),
        layout,
        prop::sample::select(vec![u64::MAX, 7, 0]),
    )
        .prop_map(|(build, probe, cuts, limit, judge, layout, hash_mask)| Case {
            build,
            probe,
            cuts,
            limit,
            judge,
            layout,
            hash_mask,
        })
}

/// Joins by nested loops; a side that is not in the output is `NO_ROW`.
fn nested_loops(case: &Case, kind: JoinKind) -> Vec<(u32, RowId)> {
    let mut out = Vec::new();
    let mut visited = vec![false; case.build.len()];
    for (at, probe) in (0_u32..).zip(&case.probe) {
        let mut has_matched = false;
        for (row, build) in (0_u32..).zip(&case.build) {
            let passes = JUDGES[case.judge].is_none_or(|judge| judge(at, row) == Some(true));
            if probe.is_some() && probe == build && passes {
                has_matched = true;
                visited[row as usize] = true;
                if kind.emits_pairs() {
                    out.push((at, row));
                }
            }
        }
        match kind {
            JoinKind::Left | JoinKind::Full if !has_matched => out.push((at, NO_ROW)),
            JoinKind::LeftSemi if has_matched => out.push((at, NO_ROW)),
            JoinKind::LeftAnti if !has_matched => out.push((at, NO_ROW)),
            _ => {}
        }
    }
    for (row, was_visited) in (0_u32..).zip(visited) {
        let is_due = match kind {
            JoinKind::Right | JoinKind::Full | JoinKind::RightAnti => !was_visited,
            JoinKind::RightSemi => was_visited,
            _ => false,
        };
        if is_due {
            out.push((NO_ROW, row));
        }
    }
    out
}

/// Appends a chunk, its probe positions moved by `offset`, after checking its shape.
fn append(kind: JoinKind, chunk: &JoinPairs, offset: u32, out: &mut Vec<(u32, RowId)>) {
    assert_eq!(
        chunk.probe.len(),
        if kind.emits_probe() { chunk.len() } else { 0 }
    );
    assert_eq!(
        chunk.build.len(),
        if kind.emits_build() { chunk.len() } else { 0 }
    );
    for at in 0..chunk.len() {
        let probe = chunk.probe.get(at).map_or(NO_ROW, |probe| match *probe {
            NO_ROW => NO_ROW,
            probe => probe + offset,
        });
        out.push((probe, chunk.build.get(at).copied().unwrap_or(NO_ROW)));
    }
}

fn kernel(case: &Case, kind: JoinKind) -> Vec<(u32, RowId)> {
    let options = BuildOptions {
        layout: case.layout,
        hash_mask: case.hash_mask,
        ..BuildOptions::default()
    };
    let build: ArrayRef = Arc::new(Int32Array::from(case.build.clone()));
    let index = KeyIndex::build(&[build], &options).unwrap();
    let visited = VisitedRows::new(case.build.len());
    let mut cuts: Vec<usize> = case
        .cuts
        .iter()
        .map(|cut| cut.index(case.probe.len() + 1))
        .collect();
    cuts.extend([0, case.probe.len()]);
    cuts.sort_unstable();

    let (mut out, mut chunk, mut cursor) = (Vec::new(), JoinPairs::default(), ProbeCursor::default());
    for piece in cuts.windows(2) {
        let keys: ArrayRef = Arc::new(Int32Array::from(case.probe[piece[0]..piece[1]].to_vec()));
        let mut heads = Vec::new();
        index.locate(&[keys], None, &mut heads).unwrap();
        let offset = piece[0] as u32;
        cursor.reset();
        loop {
            let mut judge = |pairs: &JoinPairs| -> Result<BooleanArray, KernelError> {
                assert!(!pairs.is_empty() && pairs.len() <= case.limit);
                assert_eq!(pairs.probe.len(), pairs.build.len());
                let judge = JUDGES[case.judge].unwrap();
                let pairs = pairs.probe.iter().zip(&pairs.build);
                Ok(pairs.map(|(probe, row)| judge(probe + offset, *row)).collect())
            };
            let residual = JUDGES[case.judge].is_some().then_some(&mut judge as _);
            let done = join_pairs::<KernelError>(
                &index,
                &heads,
                kind,
                &mut cursor,
                case.limit,
                residual,
                Some(&visited),
                &mut chunk,
            )
            .unwrap();
            assert!(
                chunk.len() <= case.limit,
                "{} of at most {}",
                chunk.len(),
                case.limit
            );
            assert!(done || !chunk.is_empty(), "only the last chunk may be empty");
            append(kind, &chunk, offset, &mut out);
            if done {
                break;
            }
        }
    }
    let mut cursor = TableCursor::default();
    loop {
        let done = finish_pairs(kind, &visited, &mut cursor, case.limit, &mut chunk);
        assert!(chunk.len() <= case.limit);
        append(kind, &chunk, 0, &mut out);
        if done {
            return out;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn joins_as_nested_loops_do(case in case()) {
        for kind in JoinKind::ALL {
            prop_assert_eq!(kernel(&case, kind), nested_loops(&case, kind), "{:?}", kind);
        }
    }
}

#[test]
fn pads_once_where_candidates_span_many_chunks() {
    let case = Case {
        build: vec![Some(1); 1000],
        probe: vec![Some(1), Some(2), Some(1)],
        cuts: Vec::new(),
        limit: 7,
        judge: 2,
        layout: None,
        hash_mask: u64::MAX,
    };
    assert_eq!(
        kernel(&case, JoinKind::Left),
        [(0, NO_ROW), (1, NO_ROW), (2, NO_ROW)]
    );
    assert_eq!(kernel(&case, JoinKind::LeftSemi), []);
}

#[test]
fn refuses_a_join_without_its_visited_rows() {
    let keys: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let index = KeyIndex::build(&[keys], &BuildOptions::default()).unwrap();
    let run = |visited: Option<&VisitedRows>| {
        let (mut cursor, mut out) = (ProbeCursor::default(), JoinPairs::default());
        let kind = JoinKind::Full;
        join_pairs::<KernelError>(&index, &[0], kind, &mut cursor, 1, None, visited, &mut out)
            .unwrap_err()
            .code()
    };
    assert_eq!(run(None), "visited_rows_missing");
    assert_eq!(run(Some(&VisitedRows::new(1))), "length_mismatch");
}

#[test]
fn passes_the_residuals_error_through_and_checks_its_length() {
    #[derive(Debug)]
    enum EngineError {
        Kernel(KernelError),
        Own,
    }
    impl From<KernelError> for EngineError {
        fn from(error: KernelError) -> Self {
            Self::Kernel(error)
        }
    }
    let keys: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let index = KeyIndex::build(&[keys], &BuildOptions::default()).unwrap();
    let run = |residual: &mut dyn FnMut(&JoinPairs) -> Result<BooleanArray, EngineError>| {
        let (mut cursor, mut out) = (ProbeCursor::default(), JoinPairs::default());
        join_pairs(
            &index,
            &[0],
            JoinKind::Left,
            &mut cursor,
            1,
            Some(residual),
            None,
            &mut out,
        )
    };
    assert!(matches!(
        run(&mut |_| Err(EngineError::Own)),
        Err(EngineError::Own)
    ));
    let short = run(&mut |_| Ok(BooleanArray::from(Vec::<bool>::new())));
    assert!(matches!(
        short,
        Err(EngineError::Kernel(KernelError::LengthMismatch { .. }))
    ));
}
