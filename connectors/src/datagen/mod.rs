//! `connector = 'datagen'`: rows made up from a seed.
//!
//! A value depends on the seed, the column's name and the row's number alone, so that any
//! projection, partitioning and limit gives the same rows:
//!
//! ```text
//!  rows      0 ……… 8191 | 8192 ……… 16383 | …            blocks
//!  column a  rng(seed, a, 0) | rng(seed, a, 1) | …
//!  column b  rng(seed, b, 0) | rng(seed, b, 1) | …
//! ```

mod domain;
mod field;
mod fill;
mod generate;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use fletching::connector::{
    Connector, OptionSpec, Options, Reader, RelationSpec, ScanRequest, Sink, Source, SourceSize,
};
use fletching::{Error, Result};

use field::FieldPlan;
use generate::{BLOCK_ROWS, block_of};

/// Makes up rows, the same for the same seed.
///
/// Each declared column is filled as its options `fields.NAME.…` say, and at random without any.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow::datatypes::{DataType, Field, Schema};
/// use fletching::connector::{Connector, Options, RelationKind, RelationSpec, ScanRequest};
/// use fletching_connectors::DatagenConnector;
///
/// let spec = RelationSpec {
///     name: "orders".into(),
///     kind: RelationKind::Stream,
///     schema: Some(Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]))),
///     primary_key: Vec::new(),
///     options: Options::new("stream orders").with("rows", "3").with("fields.id.kind", "sequence"),
/// };
/// let source = DatagenConnector.source(&spec)?;
/// let batch = source.scan(&ScanRequest::all())?[0].next_batch()?.unwrap();
/// assert_eq!(batch.num_rows(), 3);
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct DatagenConnector;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "connector",
        help: "datagen",
    },
    OptionSpec {
        name: "rows",
        help: "how many rows",
    },
    OptionSpec {
        name: "rows.per_second",
        help: "how fast rows are given, all readers together; as fast as can be by default",
    },
    OptionSpec {
        name: "seed",
        help: "what the values are made from",
    },
    OptionSpec {
        name: "fields.*",
        help: "how a column is filled",
    },
];

impl Connector for DatagenConnector {
    fn name(&self) -> &'static str {
        "datagen"
    }

    fn source(&self, spec: &RelationSpec) -> Result<Arc<dyn Source>> {
        let options = &spec.options;
        options.check(OPTIONS)?;
        let Some(schema) = spec.schema.as_ref().filter(|schema| !schema.fields().is_empty()) else {
            return Err(Error::Option {
                subject: spec.subject(),
                message: "the connector 'datagen' needs declared columns".into(),
                hint: Some(format!("as in CREATE STREAM {} (id BIGINT, …)", spec.name)),
                location: None,
            });
        };
        options.required("rows", "1000000")?;
        let rows = options.parsed("rows", "a whole number")?.unwrap_or(0);
        let seed = options.parsed("seed", "a whole number")?.unwrap_or(0);
        let rows_per_second = rate(options)?;
        field::check_names(options, schema)?;
        let fields = schema
            .fields()
            .iter()
            .map(|field| FieldPlan::new(field, options))
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(DatagenSource {
            schema: Arc::clone(schema),
            fields,
            rows,
            seed,
            rows_per_second,
        }))
    }

    fn sink(&self, spec: &RelationSpec) -> Result<Arc<dyn Sink>> {
        Err(Error::Option {
            subject: spec.subject(),
            message: "the connector 'datagen' cannot be written to".into(),
            hint: Some("use it in CREATE STREAM or CREATE TABLE".into()),
            location: None,
        })
    }
}

/// Reads how fast rows are given.
fn rate(options: &Options) -> Result<Option<f64>> {
    let name = "rows.per_second";
    let rate: Option<f64> = options.parsed(name, "a number")?;
    match rate {
        Some(rate) if !(rate.is_finite() && rate > 0.0) => {
            Err(options.bad_value(name, &format!("expected more than nothing, found '{rate}'"), None))
        }
        rate => Ok(rate),
    }
}

#[derive(Debug)]
struct DatagenSource {
    schema: SchemaRef,
    fields: Vec<FieldPlan>,
    rows: u64,
    seed: u64,
    rows_per_second: Option<f64>,
}

impl Source for DatagenSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn size(&self) -> SourceSize {
        SourceSize {
            rows: Some(self.rows),
            bytes: None,
        }
    }

    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>> {
        let columns = self.fields.len();
        let projection = request
            .projection
            .clone()
            .unwrap_or_else(|| (0..columns).collect());
        if projection.iter().any(|at| *at >= columns) {
            return Err(Error::internal("a column that does not exist was asked for"));
        }
        let fields: Arc<[FieldPlan]> = projection.iter().map(|at| self.fields[*at].clone()).collect();
        let schema = Arc::new(Schema::new(
            projection
                .iter()
                .map(|at| Arc::clone(&self.schema.fields()[*at]))
                .collect::<Vec<_>>(),
        ));
        let rows = self
            .rows
            .min(request.limit.map_or(u64::MAX, |limit| limit as u64));
        let blocks = rows.div_ceil(BLOCK_ROWS);
        let parts = (request.partitions_max.max(1) as u64).min(blocks.max(1));
        let readers = (0..parts)
            .map(|part| -> Box<dyn Reader> {
                // Widened, so that no count of rows overflows.
                let bound = |part: u64| u128::from(blocks) * u128::from(part) / u128::from(parts);
                let row = |part: u64| {
                    u64::try_from(bound(part) * u128::from(BLOCK_ROWS))
                        .unwrap_or(rows)
                        .min(rows)
                };
                Box::new(DatagenReader {
                    schema: Arc::clone(&schema),
                    fields: Arc::clone(&fields),
                    seed: self.seed,
                    rows: row(part)..row(part + 1),
                    block: None,
                    batch_rows_max: request.batch_rows_max.max(1),
                    pace: self.rows_per_second.map(|rate| Pace::new(rate / parts as f64)),
                })
            })
            .collect();
        Ok(readers)
    }
}

/// Makes a run of rows, a block at a time.
struct DatagenReader {
    schema: SchemaRef,
    fields: Arc<[FieldPlan]>,
    seed: u64,
    rows: Range<u64>,
    /// What is left of the block at hand.
    block: Option<RecordBatch>,
    batch_rows_max: usize,
    pace: Option<Pace>,
}

/// How often a paced reader gives rows, at least.
const BATCHES_PER_SECOND: f64 = 20.0;

/// Holds a reader to a rate.
#[derive(Debug)]
struct Pace {
    rows_per_second: f64,
    began: Instant,
    given: u64,
}

impl Pace {
    fn new(rows_per_second: f64) -> Self {
        Self {
            rows_per_second,
            began: Instant::now(),
            given: 0,
        }
    }

    /// Returns the most rows of the next batch: as many as fall due in a twentieth of a second.
    fn rows_max(&self, rows_max: usize) -> usize {
        let due = (self.rows_per_second / BATCHES_PER_SECOND).max(1.0);
        // A rate beyond what a batch holds is cut to it.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number; a float cast saturates"
        )]
        let due = due as usize;
        due.min(rows_max)
    }

    /// Waits until so many more rows are due.
    fn wait(&mut self, rows: usize) {
        self.given += rows as u64;
        let due = Duration::try_from_secs_f64(self.given as f64 / self.rows_per_second);
        let due = due.unwrap_or(Duration::MAX);
        std::thread::sleep(due.saturating_sub(self.began.elapsed()));
    }
}

impl DatagenReader {
    fn make_block(&self) -> Result<Option<RecordBatch>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let block = self.rows.start / BLOCK_ROWS;
        let end = (block + 1).saturating_mul(BLOCK_ROWS).min(self.rows.end);
        let rows = usize::try_from(end - self.rows.start).unwrap_or(0);
        let columns = self
            .fields
            .iter()
            .map(|field| block_of(field, self.seed, block, rows))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map(Some)
            .map_err(|error| Error::internal(format!("datagen made a bad batch: {error}")))
    }
}

impl Reader for DatagenReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let block = match self.block.take() {
            Some(block) => block,
            None => match self.make_block()? {
                Some(block) => block,
                None => return Ok(None),
            },
        };
        let rows_max = match &self.pace {
            Some(pace) => pace.rows_max(self.batch_rows_max),
            None => self.batch_rows_max,
        };
        let rows = block.num_rows().min(rows_max);
        if let Some(pace) = &mut self.pace {
            pace.wait(rows);
        }
        if rows < block.num_rows() {
            self.block = Some(block.slice(rows, block.num_rows() - rows));
        } else {
            self.rows.start += BLOCK_ROWS.min(self.rows.end - self.rows.start);
        }
        Ok(Some(block.slice(0, rows)))
    }
}
