//! Our own contender: the hidden subcommand `bench-worker`.
//!
//! It speaks the protocol of the rivals and runs the query through [`Session::prepare_over`]:
//! `enrich` for a batch, `enrich_batches` for the whole stream.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{BatchCoalescer, cast};
use arrow::datatypes::{DataType, SchemaRef};
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use fletching::{Prepared, Session};
use serde::Serialize;

use super::fault::{Fault, Result};
use super::protocol::{Hello, Job, Loaded, Ran, Reply, Request, Spread, peak_rss_bytes};
use super::scenario::{Run, RunKind};
use crate::failure::Failure;

/// Tables and their index are kept.
pub(super) const READY: &str = "ready";
/// Tables and their index are made anew in each run, and counted.
pub(super) const BUILD: &str = "build";

/// Rows of a batch of a table, and of the stream where it is run whole. With powers of two the allocator,
/// whose pages begin with a header, needs up to a tenth more memory for the same arrays.
const BATCH_ROWS: usize = 16_000;

/// Answers requests until the input ends.
pub(crate) fn serve() -> std::result::Result<(), Failure> {
    answer_all().map_err(Failure::from)
}

fn answer_all() -> Result<()> {
    let mut contender = None;
    for line in io::stdin().lock().lines() {
        match serde_json::from_str(&line?)? {
            Request::Hello => answer(Ok(Hello {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                modes: vec![READY.to_owned()],
            }))?,
            Request::Load { job } => answer(Contender::load(*job).map(|loaded| {
                let input_bytes = loaded.input_bytes;
                contender = Some(loaded);
                Loaded { input_bytes }
            }))?,
            Request::Run => answer(loaded(&mut contender).and_then(Contender::run))?,
            Request::Write { path } => {
                answer(loaded(&mut contender).and_then(|contender| contender.write(&path)))?;
            }
            Request::End => break,
        }
    }
    Ok(())
}

fn loaded(contender: &mut Option<Contender>) -> Result<&mut Contender> {
    contender.as_mut().ok_or_else(|| Fault::new("nothing is loaded"))
}

fn answer<T: Serialize>(done: Result<T>) -> Result<()> {
    let reply = done.map_or_else(
        |fault| Reply::Error {
            error: fault.to_string(),
        },
        Reply::Done,
    );
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&reply)?)?;
    Ok(out.flush()?)
}

/// The engine with its data.
struct Contender {
    job: Job,
    /// The stream, cut as it is run.
    batches: Vec<RecordBatch>,
    /// The tables, where they are made anew.
    tables: Vec<Vec<RecordBatch>>,
    /// The query over tables that are kept.
    prepared: Option<Prepared>,
    input_bytes: u64,
    /// What the last run gave; dropped before the next, outside its time.
    last: Vec<RecordBatch>,
}

impl Contender {
    fn load(job: Job) -> Result<Self> {
        let batch_rows = match job.run.kind {
            RunKind::Batches => job.run.batch_rows,
            RunKind::Whole | RunKind::Process => BATCH_ROWS,
        };
        let batches_max = match job.run.batches {
            0 => usize::MAX,
            batches => batches,
        };
        let batches = read(&job.input, batch_rows, batches_max)?;
        let tables: Vec<_> = job
            .tables
            .iter()
            .map(|table| read(&table.path, BATCH_ROWS, usize::MAX))
            .collect::<Result<_>>()?;
        let input_bytes = bytes_of(&batches) + tables.iter().map(|table| bytes_of(table)).sum::<u64>();
        let mut contender = Self {
            job,
            batches,
            tables,
            prepared: None,
            input_bytes,
            last: Vec::new(),
        };
        if contender.job.mode != BUILD {
            contender.prepared = Some(contender.prepare()?);
            contender.tables = Vec::new();
        }
        Ok(contender)
    }

    /// Makes the tables and plans the query.
    fn prepare(&self) -> Result<Prepared> {
        let session = Session::builder().threads(self.job.threads).build()?;
        for (table, batches) in self.job.tables.iter().zip(&self.tables) {
            let key: Vec<&str> = table.key.iter().map(String::as_str).collect();
            session.create_table(&table.name, batches.clone(), &key)?;
        }
        Ok(session.prepare_over("input", self.schema()?, &self.job.query.sql)?)
    }

    fn schema(&self) -> Result<SchemaRef> {
        let first = self.batches.first();
        Ok(first.ok_or_else(|| Fault::new("the stream is empty"))?.schema())
    }

    fn run(&mut self) -> Result<Ran> {
        self.last = Vec::new();
        match self.job.run.kind {
            RunKind::Whole => self.run_whole(),
            RunKind::Batches => self.run_batches(),
            RunKind::Process => Err(Fault::new("a process is not run by a worker")),
        }
    }

    fn run_whole(&mut self) -> Result<Ran> {
        let started = Instant::now();
        self.last = match &self.prepared {
            Some(prepared) => prepared.enrich_batches(&self.batches)?,
            None => self.prepare()?.enrich_batches(&self.batches)?,
        };
        let seconds = started.elapsed().as_secs_f64();
        Ok(Ran {
            seconds,
            input_rows: row_count(&self.batches),
            rows: row_count(&self.last),
            output_bytes: bytes_of(&self.last),
            batch_ns: None,
            peak_rss_bytes: peak_rss_bytes("self"),
        })
    }

    fn run_batches(&self) -> Result<Ran> {
        let prepared = self
            .prepared
            .as_ref()
            .ok_or_else(|| Fault::new("nothing is prepared"))?;
        let batches = self.cut(&self.job.run);
        let mut times = Vec::with_capacity(batches.len() * self.job.run.passes);
        let (mut rows, mut bytes) = (0, 0);
        for _ in 0..self.job.run.passes {
            for batch in batches {
                let started = Instant::now();
                let enriched = prepared.enrich(batch)?;
                times.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
                rows += enriched.num_rows() as u64;
                bytes += bytes_of(std::slice::from_ref(&enriched));
            }
        }
        Ok(Ran {
            // What lies between two calls is the measuring's own.
            seconds: times.iter().sum::<u64>() as f64 / 1e9,
            input_rows: row_count(batches) * self.job.run.passes as u64,
            rows,
            output_bytes: bytes,
            batch_ns: Spread::of(times),
            peak_rss_bytes: peak_rss_bytes("self"),
        })
    }

    /// The batches that a run goes through.
    fn cut(&self, run: &Run) -> &[RecordBatch] {
        match run.batches {
            0 => &self.batches,
            batches => &self.batches[..batches.min(self.batches.len())],
        }
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        let results = match self.job.run.kind {
            RunKind::Batches => {
                let prepared = self
                    .prepared
                    .as_ref()
                    .ok_or_else(|| Fault::new("nothing is prepared"))?;
                let run = Run {
                    batches: self.job.compared_batches,
                    ..self.job.run.clone()
                };
                let enrich = |batch| Ok(prepared.enrich(batch)?);
                self.cut(&run).iter().map(enrich).collect::<Result<Vec<_>>>()?
            }
            _ => {
                self.run()?;
                std::mem::take(&mut self.last)
            }
        };
        write(&results, path)
    }
}

/// Reads a file into batches of exactly so many rows, but for the last, and at most so many; text
/// as views, which is how our tables hold it.
fn read(path: &Path, batch_rows: usize, batches_max: usize) -> Result<Vec<RecordBatch>> {
    let reader = FileReader::try_new_buffered(File::open(path)?, None)?;
    let viewed = |batch: RecordBatch| -> Result<RecordBatch> {
        let names = batch.schema();
        let names = names.fields().iter().map(|field| field.name().clone());
        let columns: Vec<ArrayRef> = batch.columns().iter().map(view).collect::<Result<_>>()?;
        Ok(RecordBatch::try_from_iter_with_nullable(
            names.zip(columns).map(|(name, column)| (name, column, true)),
        )?)
    };
    let mut batches = Vec::new();
    let mut coalescer: Option<BatchCoalescer> = None;
    for batch in reader {
        let batch = viewed(batch?)?;
        let coalescer = coalescer.get_or_insert_with(|| BatchCoalescer::new(batch.schema(), batch_rows));
        coalescer.push_batch(batch)?;
        batches.extend(std::iter::from_fn(|| coalescer.next_completed_batch()));
        if batches.len() >= batches_max {
            break;
        }
    }
    if let Some(mut coalescer) = coalescer {
        coalescer.finish_buffered_batch()?;
        batches.extend(std::iter::from_fn(|| coalescer.next_completed_batch()));
    }
    batches.truncate(batches_max);
    Ok(batches)
}

fn view(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => {
            let views = cast(column, &DataType::Utf8View)?;
            // Short texts stand in the views; their old bytes need not be kept.
            Ok(std::sync::Arc::new(views.as_string_view().gc()))
        }
        _ => Ok(std::sync::Arc::clone(column)),
    }
}

fn write(batches: &[RecordBatch], path: &Path) -> Result<()> {
    let Some(first) = batches.first() else {
        return Err(Fault::new("nothing came out"));
    };
    let plain = |batch: &RecordBatch| -> Result<RecordBatch> {
        let schema = batch.schema();
        let columns = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                let column = match column.data_type() {
                    DataType::Utf8View => cast(column, &DataType::Utf8)?,
                    _ => std::sync::Arc::clone(column),
                };
                Ok((field.name().clone(), column, true))
            });
        Ok(RecordBatch::try_from_iter_with_nullable(
            columns.collect::<Result<Vec<_>>>()?,
        )?)
    };
    let _ = fs::remove_file(path);
    let mut writer = FileWriter::try_new(BufWriter::new(File::create(path)?), plain(first)?.schema_ref())?;
    for batch in batches {
        writer.write(&plain(batch)?)?;
    }
    Ok(writer.finish()?)
}

fn row_count(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

/// The bytes of batches' own rows; buffers that several views share count once.
fn bytes_of(batches: &[RecordBatch]) -> u64 {
    let mut shared = HashSet::new();
    let mut bytes = 0;
    for column in batches.iter().flat_map(RecordBatch::columns) {
        if let Some(views) = column.as_string_view_opt() {
            bytes += column.len() * 16;
            for buffer in views.data_buffers() {
                if shared.insert(buffer.as_ptr()) {
                    bytes += buffer.len();
                }
            }
        } else {
            bytes += column.to_data().get_slice_memory_size().unwrap_or(0);
        }
    }
    bytes as u64
}
