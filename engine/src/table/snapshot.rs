//! One version of a table: immutable, shared, with the indexes that lookups have asked for.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::PhysicalExpr;
use fletching_kernels::{
    AsOfIndex, BuildOptions, KeyIndex, LiveSnapshot, NullEquality, concat_batches, gather_batch,
};
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::build::build;
use super::copies::Copies;
use super::live::pieces_of;
use crate::clock::now_us;
use crate::error::{Error, Result};

/// What is built by the first who needs it.
type Slot<T> = Arc<OnceLock<Result<Arc<T>, String>>>;

/// One version of a table.
pub struct TableSnapshot {
    version: u64,
    updated_at_us: i64,
    schema: SchemaRef,
    /// The store that the rows are in, where they change in place.
    live: Option<LiveRows>,
    /// All rows; of a live version made when asked for.
    chunks: OnceLock<Result<Vec<RecordBatch>, String>>,
    row_count: usize,
    rows: OnceLock<Result<RecordBatch, String>>,
    indexes: Mutex<HashMap<KeyLabel, Slot<KeyIndex>>>,
    as_of_indexes: Mutex<HashMap<(KeyLabel, String), Slot<AsOfIndex>>>,
    /// Of a versioned table, the rows that end their key, ascending: none is ever given out.
    ended: Arc<Vec<u32>>,
    /// Of a versioned table, the newest row of each key.
    newest: OnceLock<Result<Arc<TableSnapshot>, String>>,
    pub(super) copies: Copies,
}

impl fmt::Debug for TableSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableSnapshot")
            .field("version", &self.version)
            .field("row_count", &self.row_count)
            .finish_non_exhaustive()
    }
}

/// A version of a live store, and the columns of its key.
#[derive(Debug, Clone)]
struct LiveRows {
    snapshot: LiveSnapshot,
    key: Vec<usize>,
}

/// What an index is kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyLabel {
    expressions: String,
    null_equals_null: bool,
}

/// A key to look a table up by: expressions over the table's columns.
#[derive(Debug, Clone)]
pub(crate) struct KeySpec {
    pub(super) expressions: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) label: KeyLabel,
}

impl KeySpec {
    pub(crate) fn new(expressions: Vec<Arc<dyn PhysicalExpr>>, null_equals_null: bool) -> Self {
        let text = expressions
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        Self {
            expressions,
            label: KeyLabel {
                expressions: text,
                null_equals_null,
            },
        }
    }

    /// Returns the key's expressions for people: columns by their names.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |expression: &Arc<dyn PhysicalExpr>| {
            let column = expression.downcast_ref::<datafusion::physical_expr::expressions::Column>();
            column.map_or_else(|| expression.to_string(), |column| column.name().to_string())
        };
        self.expressions.iter().map(name).collect()
    }

    /// Says whether NULL matches NULL.
    pub(crate) fn null_equals_null(&self) -> bool {
        self.label.null_equals_null
    }

    /// Makes the key of a table's own columns.
    pub(crate) fn of_columns(schema: &Schema, columns: &[usize]) -> Self {
        let column = |&at: &usize| {
            let name = schema.field(at).name();
            Arc::new(Column::new(name, at)) as Arc<dyn PhysicalExpr>
        };
        Self::new(columns.iter().map(column).collect(), false)
    }

    /// Returns for each of some columns where it is among the key's, if those are these columns and
    /// no others, in whatever order.
    fn order_of(&self, columns: &[usize]) -> Option<Vec<usize>> {
        let at = |expression: &Arc<dyn PhysicalExpr>| expression.downcast_ref::<Column>().map(Column::index);
        let own = self.expressions.iter().map(at).collect::<Option<Vec<_>>>()?;
        let order: Option<Vec<_>> = columns
            .iter()
            .map(|column| own.iter().position(|own| own == column))
            .collect();
        order.filter(|_| own.len() == columns.len())
    }

    fn build_options(&self, parallel: bool) -> BuildOptions {
        BuildOptions {
            null_equality: if self.label.null_equals_null {
                NullEquality::NullEqualsNull
            } else {
                NullEquality::NullEqualsNothing
            },
            parallel,
            ..BuildOptions::default()
        }
    }
}

/// A time to look a table up as of: an expression over its columns.
#[derive(Debug, Clone)]
pub(crate) struct TimeSpec {
    expression: Arc<dyn PhysicalExpr>,
}

impl TimeSpec {
    pub(crate) fn new(expression: Arc<dyn PhysicalExpr>) -> Self {
        Self { expression }
    }

    /// Makes the time of a table's own column.
    fn of_column(schema: &Schema, column: usize) -> Self {
        let name = schema.field(column).name();
        Self::new(Arc::new(datafusion::physical_expr::expressions::Column::new(
            name, column,
        )))
    }
}

impl TableSnapshot {
    pub(crate) fn empty(schema: SchemaRef) -> Self {
        Self {
            version: 0,
            updated_at_us: now_us(),
            schema,
            live: None,
            chunks: OnceLock::from(Ok(Vec::new())),
            row_count: 0,
            rows: OnceLock::new(),
            indexes: Mutex::default(),
            as_of_indexes: Mutex::default(),
            ended: Arc::default(),
            newest: OnceLock::new(),
            copies: Copies::default(),
        }
    }

    pub(crate) fn try_new(
        schema: SchemaRef,
        chunks: Vec<RecordBatch>,
        version: u64,
        table: &str,
    ) -> Result<Self> {
        let row_count = chunks.iter().map(RecordBatch::num_rows).sum::<usize>();
        if row_count >= u32::MAX as usize {
            return Err(Error::Resource {
                message: format!(
                    "table {table} has {row_count} rows; a table holds at most {}",
                    u32::MAX - 1
                ),
            });
        }
        Ok(Self {
            version,
            chunks: OnceLock::from(Ok(chunks)),
            row_count,
            ..Self::empty(schema)
        })
    }

    /// Makes a version of what a live store holds by the columns of its key.
    pub(super) fn of_live(snapshot: LiveSnapshot, version: u64, key: Vec<usize>) -> Self {
        Self {
            version,
            row_count: snapshot.row_count(),
            chunks: OnceLock::new(),
            ..Self::empty(Arc::clone(snapshot.schema()))
        }
        .with_live(LiveRows { snapshot, key })
    }

    /// Names the rows that end their key.
    pub(super) fn with_ended(mut self, ended: Vec<u32>) -> Self {
        self.ended = Arc::new(ended);
        self
    }

    /// Returns the rows that end their key, ascending.
    pub(crate) fn ended(&self) -> &[u32] {
        &self.ended
    }

    fn with_live(mut self, live: LiveRows) -> Self {
        self.live = Some(live);
        self
    }

    /// Says whether the rows are in a live store, and unique by their key.
    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Returns the live store's version.
    pub(crate) fn live(&self) -> Option<&LiveSnapshot> {
        self.live.as_ref().map(|live| &live.snapshot)
    }

    /// Returns the live store's version for lookups by a key, and where each column of the store's
    /// key is among the key's; none where the key is another, or the rows are not in such a store.
    pub(crate) fn live_for(&self, key: &KeySpec) -> Option<(LiveSnapshot, Vec<usize>)> {
        let live = self.live.as_ref()?;
        let order = key.order_of(&live.key)?;
        Some((live.snapshot.clone(), order))
    }

    /// Copies this version with more rows, in at least one batch. What comes at once is one chunk,
    /// merged with those before that are no larger, so that n single-row appends leave about log n
    /// chunks.
    pub(crate) fn with_appended(&self, batches: Vec<RecordBatch>, table: &str) -> Result<Self> {
        let mut chunks = self.chunks()?.to_vec();
        let mut rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut kept = chunks.len();
        while kept > 0 && chunks[kept - 1].num_rows() <= rows {
            kept -= 1;
            rows += chunks[kept].num_rows();
        }
        let mut merged = chunks.split_off(kept);
        merged.extend(batches);
        chunks.push(match merged.as_slice() {
            [one] => one.clone(),
            several => concat_batches(&self.schema, several)?,
        });
        let mut copy = Self::try_new(Arc::clone(&self.schema), chunks, self.version + 1, table)?;
        copy.ended = Arc::clone(&self.ended);
        Ok(copy)
    }

    /// Returns the number of this version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns when this version was made, in microseconds since 1970 (UTC).
    pub fn updated_at_us(&self) -> i64 {
        self.updated_at_us
    }

    /// Returns how many rows there are.
    pub fn row_count(&self) -> usize {
        self.row_count
    }

    /// Returns the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the rows in pieces, in the order they came; of a table that changes in place, in the
    /// order they were last written.
    ///
    /// # Errors
    /// Fails where the rows of such a table do not fit in arrays.
    pub fn chunks(&self) -> Result<&[RecordBatch]> {
        let chunks = self.chunks.get_or_init(|| match &self.live {
            None => Ok(Vec::new()),
            Some(live) => pieces_of(&live.snapshot).map_err(|error| error.to_string()),
        });
        match chunks {
            Ok(chunks) => Ok(chunks),
            Err(message) => Err(Error::Resource {
                message: message.clone(),
            }),
        }
    }

    /// Returns the pieces that there are, unless none were made.
    pub(super) fn chunks_built(&self) -> &[RecordBatch] {
        match self.chunks.get() {
            Some(Ok(chunks)) => chunks,
            _ => &[],
        }
    }

    /// Returns all rows as one batch, where that was made.
    pub(super) fn rows_built(&self) -> Option<&RecordBatch> {
        self.rows.get()?.as_ref().ok()
    }

    /// Returns the version of the newest rows, where that was made.
    pub(super) fn newest_built(&self) -> Option<&Arc<Self>> {
        self.newest.get()?.as_ref().ok()
    }

    /// Returns the bytes of columns copied row by row for queries that now run or are prepared.
    pub(super) fn copied_bytes(&self) -> usize {
        self.copies.heap_bytes()
    }

    /// Returns the bytes of indexes, the live store's included.
    pub(crate) fn index_bytes(&self) -> usize {
        let own = self.live.as_ref().map(|live| live.snapshot.memory().index_bytes);
        own.unwrap_or(0) + self.built_bytes()
    }

    /// Returns the bytes of the indexes that were built over this version.
    pub(super) fn built_bytes(&self) -> usize {
        let indexes = self.indexes.lock();
        let built = indexes
            .values()
            .filter_map(|slot| slot.get()?.as_ref().ok().map(|index| index.heap_bytes()));
        let as_of = self.as_of_indexes.lock();
        let as_of_built = as_of
            .values()
            .filter_map(|slot| slot.get()?.as_ref().ok().map(|index| index.heap_bytes()));
        built.chain(as_of_built).sum()
    }

    /// Returns all rows as one batch: row id *i* is row *i* of it.
    ///
    /// # Errors
    /// Fails where the rows do not fit in one batch.
    pub fn rows(&self) -> Result<&RecordBatch> {
        let chunks = self.chunks()?;
        let rows = self.rows.get_or_init(|| match chunks {
            [one] => Ok(one.clone()),
            chunks => concat_batches(&self.schema, chunks).map_err(|error| error.to_string()),
        });
        rows.as_ref().map_err(|message| Error::Resource {
            message: message.clone(),
        })
    }

    /// Returns the index over a key, built on first use by at most so many threads.
    pub(crate) fn index(&self, key: &KeySpec, threads: usize) -> Result<Arc<KeyIndex>> {
        let slot = Arc::clone(self.indexes.lock().entry(key.label.clone()).or_default());
        let built = slot.get_or_init(|| {
            build(self.row_count, threads, |parallel| {
                self.build_index(key, parallel)
            })
            .map(Arc::new)
            .map_err(|error| error.to_string())
        });
        built
            .clone()
            .map_err(|message| Error::Compute { message, hint: None })
    }

    /// Returns the index over a key and a time, built on first use by at most so many threads. All
    /// joins with this key and time share it, whatever their conditions.
    pub(crate) fn as_of_index(
        &self,
        key: &KeySpec,
        time: &TimeSpec,
        threads: usize,
    ) -> Result<Arc<AsOfIndex>> {
        let label = (key.label.clone(), time.expression.to_string());
        let slot = Arc::clone(self.as_of_indexes.lock().entry(label).or_default());
        let built = slot.get_or_init(|| {
            build(self.row_count, threads, |parallel| {
                let rows = self.rows()?;
                let columns = self.evaluate(&key.expressions)?;
                let time = time.expression.evaluate(rows)?.into_array(rows.num_rows())?;
                Ok(AsOfIndex::build(&columns, &time, &key.build_options(parallel))?)
            })
            .map(Arc::new)
            .map_err(|error| error.to_string())
        });
        built
            .clone()
            .map_err(|message| Error::Compute { message, hint: None })
    }

    /// Returns the newest row of each key, in the order they came, as a version of its own.
    pub(super) fn newest(&self, key: &[usize], version: usize, table: &str) -> Result<Arc<Self>> {
        let find = || -> Result<Arc<Self>> {
            let key = KeySpec::of_columns(&self.schema, key);
            let time = TimeSpec::of_column(&self.schema, version);
            let mut last = self.as_of_index(&key, &time, 1)?.last_rows();
            if !self.ended.is_empty() {
                last.retain(|row| self.ended.binary_search(row).is_err());
            }
            let rows = gather_batch(self.rows()?, &self.schema, &last)?;
            Ok(Arc::new(Self::try_new(
                Arc::clone(&self.schema),
                vec![rows],
                self.version,
                table,
            )?))
        };
        let newest = self
            .newest
            .get_or_init(|| find().map_err(|error| error.to_string()));
        newest
            .clone()
            .map_err(|message| Error::Compute { message, hint: None })
    }

    fn build_index(&self, key: &KeySpec, parallel: bool) -> Result<KeyIndex> {
        let columns = self.evaluate(&key.expressions)?;
        Ok(KeyIndex::build(&columns, &key.build_options(parallel))?)
    }

    /// Computes expressions over all rows.
    pub(super) fn evaluate(&self, expressions: &[Arc<dyn PhysicalExpr>]) -> Result<Vec<ArrayRef>> {
        let rows = self.rows()?;
        expressions
            .iter()
            .map(|expression| Ok(expression.evaluate(rows)?.into_array(rows.num_rows())?))
            .collect()
    }
}

/// Copies a schema with texts and bytes as views.
pub(crate) fn view_schema(schema: &SchemaRef) -> SchemaRef {
    let view = |kind: &DataType| match kind {
        DataType::Utf8 | DataType::LargeUtf8 => Some(DataType::Utf8View),
        DataType::Binary | DataType::LargeBinary => Some(DataType::BinaryView),
        _ => None,
    };
    if schema
        .fields()
        .iter()
        .all(|field| view(field.data_type()).is_none())
    {
        return Arc::clone(schema);
    }
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| match view(field.data_type()) {
            Some(kind) => field.as_ref().clone().with_data_type(kind),
            None => field.as_ref().clone(),
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Gives a batch a table's types, which differ in how texts and bytes are stored. The bytes
/// themselves are shared.
pub(crate) fn as_views(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() != schema.fields().len() {
        return Err(Error::Batch {
            message: format!(
                "expected {} columns, found a batch of {}",
                schema.fields().len(),
                batch.num_columns()
            ),
        });
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast_with_options(column, field.data_type(), &options)
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| Error::Batch {
        message: error.to_string(),
    })
}
