//! `LiveTable` against a `BTreeMap` for every version that is held.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use fletching_kernels::{LiveOptions, LiveSnapshot, LiveTable, NO_ROW, RowId};
use proptest::prelude::*;

use crate::columns::{Code, Encoding, column, encoding, fold, key_types};

/// What a test does to a table. Numbers of rows are new payloads as they come.
#[derive(Debug, Clone)]
enum Step {
    Upsert(Vec<Vec<u8>>),
    Delete(Vec<Vec<Code>>),
    /// Keeps the current version.
    Hold,
    /// Lets a held version go.
    Release(prop::sample::Index),
    /// Looks keys up in the current version and in all that are held.
    Probe(Vec<Vec<Code>>, Vec<(Encoding, bool)>),
}

#[derive(Debug, Clone)]
struct Case {
    types: Vec<DataType>,
    options: LiveOptions,
    /// Batches of keys that the table is made with.
    loaded: Vec<Vec<Vec<u8>>>,
    steps: Vec<Step>,
}

/// The rows of a version: key to payload.
type Model = BTreeMap<Vec<Code>, i64>;

fn step(width: usize, domain: u8) -> impl Strategy<Value = Step> {
    let key = prop::collection::vec(0..domain, width);
    let code = prop::option::weighted(0.95, 0..domain);
    let keys = move |count| prop::collection::vec(prop::collection::vec(code.clone(), width), count);
    prop_oneof![
        6 => prop::collection::vec(key, 0..40).prop_map(Step::Upsert),
        3 => keys(0..30).prop_map(Step::Delete),
        2 => Just(Step::Hold),
        1 => any::<prop::sample::Index>().prop_map(Step::Release),
        2 => (keys(1..40), prop::collection::vec(encoding(), width))
            .prop_map(|(keys, encodings)| Step::Probe(keys, encodings)),
    ]
}

fn options() -> impl Strategy<Value = LiveOptions> {
    let mask = prop::sample::select(vec![u64::MAX, u64::MAX, u64::MAX << 56, 7, 0]);
    let page_rows = prop::sample::select(vec![1_usize, 4, 16, 64]);
    let shards = prop::sample::select(vec![1_usize, 2, 16]);
    let row_ids_max = prop::sample::select(vec![u32::MAX, 1200]);
    (mask, page_rows, shards, row_ids_max, 0..50_usize).prop_map(
        |(hash_mask, page_rows, shards, row_ids_max, garbage_rows_min)| LiveOptions {
            page_rows,
            shards,
            garbage_rows_min,
            row_ids_max,
            hash_mask,
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let mut key_types = key_types();
    key_types.retain(|data_type| *data_type != DataType::Null);
    let simple = prop::sample::select(vec![DataType::Int64, DataType::Utf8, DataType::Int32]);
    let any_type = prop::sample::select(key_types);
    let types = prop_oneof![
        2 => prop::collection::vec(simple, 1..3),
        2 => prop::collection::vec(any_type, 1..3),
    ];
    (types, 2..120_u8).prop_flat_map(|(types, domain)| {
        let width = types.len();
        let key = prop::collection::vec(0..domain, width);
        let batch = prop::collection::vec(key, 0..80);
        (
            Just(types),
            options(),
            prop::collection::vec(batch, 0..6),
            prop::collection::vec(step(width, domain), 1..40),
        )
            .prop_map(|(types, options, loaded, steps)| Case {
                types,
                options,
                loaded,
                steps,
            })
    })
}

fn schema(types: &[DataType]) -> SchemaRef {
    let keys = types.iter().enumerate();
    let mut fields: Vec<Field> = keys
        .map(|(at, t)| Field::new(format!("k{at}"), t.clone(), false))
        .collect();
    fields.push(Field::new("payload", DataType::Int64, false));
    fields.push(Field::new("maybe", DataType::Int64, true));
    fields.push(Field::new("text", DataType::Utf8View, true));
    Arc::new(Schema::new(fields))
}

/// What stands beside a payload: NULL for some.
fn maybe(payload: i64) -> Option<i64> {
    (payload % 5 != 0).then_some(payload * 10)
}

fn text(payload: i64) -> Option<String> {
    match payload % 3 {
        0 => None,
        1 => Some(format!("t{payload}")),
        _ => Some(format!("a text of more than twelve bytes {payload}")),
    }
}

fn key_columns(types: &[DataType], encodings: &[(Encoding, bool)], keys: &[Vec<Code>]) -> Vec<ArrayRef> {
    let codes = |at: usize| keys.iter().map(|key| key[at]).collect::<Vec<_>>();
    (0..types.len())
        .map(|at| column(&types[at], encodings[at], &codes(at)))
        .collect()
}

fn rows(schema: &SchemaRef, types: &[DataType], keys: &[Vec<Code>], payloads: &[i64]) -> RecordBatch {
    let plain = vec![(Encoding::Plain, false); types.len()];
    let mut columns = key_columns(types, &plain, keys);
    columns.push(Arc::new(Int64Array::from(payloads.to_vec())));
    columns.push(Arc::new(
        payloads.iter().map(|p| maybe(*p)).collect::<Int64Array>(),
    ));
    columns.push(Arc::new(
        payloads.iter().map(|p| text(*p)).collect::<StringViewArray>(),
    ));
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

/// Runs a case's steps; every version that is held must stay what it was.
struct Bench<'a> {
    case: &'a Case,
    table: LiveTable,
    model: Model,
    held: Vec<(LiveSnapshot, Model)>,
    next_payload: i64,
}

impl Bench<'_> {
    fn key(&self, codes: &[Code]) -> Option<Vec<Code>> {
        let codes = self.case.types.iter().zip(codes);
        let key: Vec<Code> = codes.map(|(t, code)| fold(t, *code)).collect();
        key.iter().all(Option::is_some).then_some(key)
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Upsert(keys) => self.upsert(keys)?,
            Step::Delete(keys) => {
                let plain = vec![(Encoding::Plain, false); self.case.types.len()];
                let columns = key_columns(&self.case.types, &plain, keys);
                let before = self.model.len();
                for codes in keys {
                    if let Some(key) = self.key(codes) {
                        self.model.remove(&key);
                    }
                }
                let change = self.table.delete(&columns).unwrap();
                prop_assert_eq!(change.deleted, before - self.model.len());
            }
            Step::Hold => self.held.push((self.table.snapshot(), self.model.clone())),
            Step::Release(at) if !self.held.is_empty() => {
                self.held.swap_remove(at.index(self.held.len()));
            }
            Step::Release(_) => {}
            Step::Probe(keys, encodings) => {
                let columns = key_columns(&self.case.types, encodings, keys);
                let current = (self.table.snapshot(), self.model.clone());
                for (snapshot, model) in self.held.iter().chain([&current]) {
                    self.probe(snapshot, model, keys, &columns)?;
                }
            }
        }
        let memory = self.table.snapshot().memory();
        prop_assert_eq!(memory.live_rows, self.model.len());
        Ok(())
    }

    /// Makes a batch of new rows, and puts them into the model; returns how many keys are new.
    fn rows(&mut self, keys: &[Vec<u8>]) -> (RecordBatch, usize) {
        let keys: Vec<Vec<Code>> = keys
            .iter()
            .map(|key| key.iter().map(|code| Some(*code)).collect())
            .collect();
        let payloads: Vec<i64> = (self.next_payload..).take(keys.len()).collect();
        self.next_payload += keys.len() as i64;
        let batch = rows(self.table.schema(), &self.case.types, &keys, &payloads);
        let mut inserted = 0;
        for (codes, payload) in keys.iter().zip(payloads) {
            if let Some(key) = self.key(codes) {
                inserted += usize::from(self.model.insert(key, payload).is_none());
            }
        }
        (batch, inserted)
    }

    /// Makes the table of batches instead, all at once.
    fn load(&mut self, key: &[usize]) -> Result<(), TestCaseError> {
        let case = self.case;
        let batches: Vec<RecordBatch> = case.loaded.iter().map(|keys| self.rows(keys).0).collect();
        let schema = Arc::clone(self.table.schema());
        self.table = LiveTable::load(schema, key, case.options, batches).unwrap();
        let snapshot = self.table.snapshot();
        prop_assert_eq!(snapshot.memory().live_rows, self.model.len());
        self.scan(&snapshot, &self.model.clone())
    }

    fn upsert(&mut self, keys: &[Vec<u8>]) -> Result<(), TestCaseError> {
        let (batch, inserted) = self.rows(keys);
        let change = self.table.upsert(&batch).unwrap();
        prop_assert_eq!(change.inserted, inserted);
        prop_assert_eq!(change.replaced, keys.len() - inserted);
        Ok(())
    }

    fn probe(
        &self,
        snapshot: &LiveSnapshot,
        model: &Model,
        keys: &[Vec<Code>],
        columns: &[ArrayRef],
    ) -> Result<(), TestCaseError> {
        let expected: Vec<Option<i64>> = keys
            .iter()
            .map(|codes| model.get(&self.key(codes)?).copied())
            .collect();
        let mut heads = vec![1; 2];
        snapshot.locate(columns, None, &mut heads).unwrap();
        prop_assert_eq!(&gathered(snapshot, self.case.types.len(), &heads), &expected);
        let selection: Vec<u32> = (0..keys.len() as u32).rev().step_by(2).collect();
        let mut selected = Vec::new();
        snapshot.locate(columns, Some(&selection), &mut selected).unwrap();
        let picked: Vec<RowId> = selection.iter().map(|at| heads[*at as usize]).collect();
        prop_assert_eq!(selected, picked);
        Ok(())
    }

    /// Compares all rows of a version.
    fn scan(&self, snapshot: &LiveSnapshot, model: &Model) -> Result<(), TestCaseError> {
        prop_assert_eq!(snapshot.row_count(), model.len());
        let width = self.case.types.len();
        let mut scanned = Vec::new();
        for batch in snapshot.scan() {
            let batch = batch.unwrap();
            prop_assert!(batch.num_rows() > 0);
            scanned.extend(payloads(&batch.columns()[width..]).into_iter().flatten());
            let mut heads = Vec::new();
            snapshot
                .locate(&batch.columns()[..width], None, &mut heads)
                .unwrap();
            let found = gathered(snapshot, width, &heads);
            prop_assert_eq!(found, payloads(&batch.columns()[width..]));
        }
        let mut expected: Vec<i64> = model.values().copied().collect();
        expected.sort_unstable();
        scanned.sort_unstable();
        prop_assert_eq!(scanned, expected);
        Ok(())
    }
}

/// Gathers payloads of located rows and checks what stands beside them.
fn gathered(snapshot: &LiveSnapshot, width: usize, heads: &[RowId]) -> Vec<Option<i64>> {
    let columns: Vec<ArrayRef> = (width..width + 3)
        .map(|at| snapshot.gather(at, heads).unwrap())
        .collect();
    for (at, head) in heads.iter().enumerate() {
        assert_eq!(columns[0].is_null(at), *head == NO_ROW);
    }
    payloads(&columns)
}

fn payloads(columns: &[ArrayRef]) -> Vec<Option<i64>> {
    let payload: Vec<Option<i64>> = columns[0].as_primitive::<Int64Type>().iter().collect();
    let beside: Vec<Option<i64>> = columns[1].as_primitive::<Int64Type>().iter().collect();
    let texts = columns[2].as_string_view().iter();
    for ((payload, beside), found) in payload.iter().zip(beside).zip(texts) {
        assert_eq!(beside, payload.and_then(maybe));
        assert_eq!(found.map(String::from), payload.and_then(text));
    }
    payload
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let key: Vec<usize> = (0..case.types.len()).collect();
    let mut bench = Bench {
        case,
        table: LiveTable::new(schema(&case.types), &key, case.options).unwrap(),
        model: Model::new(),
        held: Vec::new(),
        next_payload: 0,
    };
    bench.load(&key)?;
    for step in &case.steps {
        bench.run(step)?;
    }
    let current = (bench.table.snapshot(), bench.model.clone());
    for (snapshot, model) in bench.held.iter().chain([&current]) {
        bench.scan(snapshot, model)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_version_stays_what_it_was(case in case()) {
        check(&case)?;
    }
}
