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
mod feed;
mod field;
mod fill;
mod generate;
mod rate;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use fletching::connector::{
    Connector, Feed, FeedRequest, OptionSpec, Reader, RelationKind, RelationSpec, ScanRequest, Sink, Source,
    SourceSize,
};
use fletching::{Error, Result};

use feed::{DatagenFeed, Pace};
use field::FieldPlan;
use generate::{BLOCK_ROWS, block_of};
use rate::Rate;

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
///
/// A stream without `rows` never ends; a query over it is a pipeline:
///
/// ```
/// use fletching::{PipelineState, Session};
///
/// let folder = std::env::temp_dir().join(format!("fletching-datagen-{}", std::process::id()));
/// let session = Session::builder().connectors(fletching_connectors::all()).build()?;
/// session.sql("CREATE STREAM s (id BIGINT) WITH (connector = 'datagen', fields.id.kind = 'sequence')")?;
/// let pipeline = session.start(&format!(
///     "CREATE SINK even WITH (path = '{}/', format = 'csv') AS SELECT id FROM s WHERE id % 2 = 0 LIMIT 500",
///     folder.display()
/// ))?;
/// let stats = pipeline.wait()?;
/// assert_eq!((stats.rows_out, stats.state), (500, PipelineState::Ended));
/// # std::fs::remove_dir_all(&folder).ok();
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
        help: "how many rows; a stream without it never ends",
    },
    OptionSpec {
        name: "follow",
        help: "whether a stream goes on, rather than being read at once",
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
        if spec.kind != RelationKind::Stream {
            options.required("rows", "1000000")?;
        }
        let rows = options.parsed("rows", "a whole number")?;
        let pace = Pace::from_options(options)?;
        if pace.follows && spec.kind != RelationKind::Stream {
            let hint = Some("leave it out, or create a STREAM".to_owned());
            return Err(options.bad_value("follow", "made-up rows go on in a stream only", hint));
        }
        let seed = options.parsed("seed", "a whole number")?.unwrap_or(0);
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
            pace,
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

#[derive(Debug)]
struct DatagenSource {
    schema: SchemaRef,
    fields: Vec<FieldPlan>,
    /// None where there is no end.
    rows: Option<u64>,
    seed: u64,
    pace: Pace,
}

impl DatagenSource {
    /// Returns the columns asked for, and how they are filled.
    fn project(&self, projection: Option<&[usize]>) -> Result<(SchemaRef, Arc<[FieldPlan]>)> {
        let columns = self.fields.len();
        let projection = projection.map_or_else(|| (0..columns).collect(), <[usize]>::to_vec);
        if projection.iter().any(|at| *at >= columns) {
            return Err(Error::internal("a column that does not exist was asked for"));
        }
        let fields = projection.iter().map(|at| self.fields[*at].clone()).collect();
        let schema = Schema::new(
            projection
                .iter()
                .map(|at| Arc::clone(&self.schema.fields()[*at]))
                .collect::<Vec<_>>(),
        );
        Ok((Arc::new(schema), fields))
    }
}

impl Source for DatagenSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn size(&self) -> SourceSize {
        SourceSize {
            rows: self.rows,
            bytes: None,
        }
    }

    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>> {
        let (schema, fields) = self.project(request.projection.as_deref())?;
        let limit = request.limit.map_or(u64::MAX, |limit| limit as u64);
        let rows = self.rows.unwrap_or(u64::MAX).min(limit);
        let blocks = rows.div_ceil(BLOCK_ROWS);
        // What has no end is read from its beginning only.
        let parts_max = if rows == u64::MAX {
            1
        } else {
            request.partitions_max.max(1)
        };
        let parts = (parts_max as u64).min(blocks.max(1));
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
                    rate: self.pace.per_second().map(|rate| Rate::new(rate / parts as f64)),
                })
            })
            .collect();
        Ok(readers)
    }

    fn is_unbounded(&self) -> bool {
        self.pace.follows
    }

    fn has_end_now(&self) -> bool {
        self.rows.is_some()
    }

    fn feed(&self, request: &FeedRequest) -> Result<Box<dyn Feed>> {
        let (schema, fields) = self.project(request.projection.as_deref())?;
        let feed = DatagenFeed::open(schema, fields, self.seed, self.rows, self.pace, request)?;
        Ok(Box::new(feed))
    }
}

/// Makes the first rows of a block.
fn make_rows(
    schema: &SchemaRef,
    fields: &[FieldPlan],
    seed: u64,
    block: u64,
    rows: usize,
) -> Result<RecordBatch> {
    let columns = fields
        .iter()
        .map(|field| block_of(field, seed, block, rows))
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Error::internal(format!("datagen made a bad batch: {error}")))
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
    rate: Option<Rate>,
}

impl DatagenReader {
    fn make_block(&self) -> Result<Option<RecordBatch>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let block = self.rows.start / BLOCK_ROWS;
        let end = (block + 1).saturating_mul(BLOCK_ROWS).min(self.rows.end);
        let rows = usize::try_from(end - self.rows.start).unwrap_or(0);
        make_rows(&self.schema, &self.fields, self.seed, block, rows).map(Some)
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
        let rows_max = match &self.rate {
            Some(rate) => rate.rows_max(self.batch_rows_max),
            None => self.batch_rows_max,
        };
        let rows = block.num_rows().min(rows_max);
        if let Some(rate) = &mut self.rate {
            rate.wait(rows);
        }
        if rows < block.num_rows() {
            self.block = Some(block.slice(rows, block.num_rows() - rows));
        } else {
            self.rows.start += BLOCK_ROWS.min(self.rows.end - self.rows.start);
        }
        Ok(Some(block.slice(0, rows)))
    }
}
