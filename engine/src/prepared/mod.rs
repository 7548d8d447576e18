//! Prepared queries: planned once, tables kept hot, a batch in, a batch out.
//!
//! A query made of filters, projections and lookup joins becomes a chain of steps (`chain.rs`)
//! that runs on the caller's thread without a scheduler. Any other query runs as a plan of
//! DataFusion's, made once and given the batch at its leaf.
//!
//! Between calls a query may keep rows that wait for their keys (`waiting.rs`) and dead letters that
//! are not published yet (`outbox.rs`).

mod call;
mod chain;
mod columns;
mod condition;
mod epoch;
mod outbox;
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use fletching_planner::{MissPolicy, RelationKind, Statement};
use parking_lot::Mutex;
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use self::call::{Call, Parkings, Turn};
pub(crate) use self::chain::{Chain, ChainPins};
pub(crate) use self::epoch::EpochRows;
use self::outbox::Outbox;
use crate::clock::WaitClock;
use crate::error::{Error, Result};
use crate::exec::{InputExec, LateTables, lookups_of};
use crate::fit::fit;
use crate::operator::{ArmSpec, CallLetters, LookupCounts, LookupJoin};
use crate::session::{
    Entry, Session, StatementCatalog, context_with, letter_sinks, named, output_schema, relations_of,
    tables_of,
};
use crate::table::{Pins, Table};

/// A query over one stream, ready to be called with batches of it, from many threads at once.
///
/// Each call reads the tables' current versions. Cost: no planning, no task switch; see
/// `benches/README.md` for figures by batch size. For an example see [`Session::prepare`].
pub struct Prepared {
    session: Session,
    state: SessionState,
    input: SchemaRef,
    output: SchemaRef,
    /// The result without rows.
    empty: RecordBatch,
    kind: Kind,
    lookups: Vec<Arc<LookupJoin>>,
    /// Rows that wait for their keys, where some may.
    waiting: Option<Mutex<Parkings>>,
    /// Dead letters that are not published yet, where there may be some.
    outbox: Option<Outbox>,
    clock: WaitClock,
}

enum Kind {
    /// Filters, projections and lookup joins, in order.
    Chain(Chain),
    /// Anything else, and the tables that it reads.
    Plan(Arc<dyn ExecutionPlan>, Vec<Arc<Table>>),
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("input", &self.input)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    pub(crate) fn new(session: &Session, query: &str, input: Option<(&str, SchemaRef)>) -> Result<Self> {
        let statements = session.parse(query)?;
        let [statement] = statements.as_slice() else {
            return Err(Error::Batch {
                message: format!("prepare takes one query, found {} statements", statements.len()),
            });
        };
        let mut catalog = session.catalog()?;
        let input_name = input.map(|(name, schema)| {
            catalog
                .registry
                .insert(name.to_string(), Entry::memory_stream(schema));
            name.to_string()
        });
        // Planned twice: first to learn which stream it reads, then with that stream as its input.
        let streams: Vec<String> = {
            let planned = session.plan(statement, &catalog)?;
            let Statement::Query(plan) = &planned.statement else {
                return Err(Error::Batch {
                    message: "prepare takes a SELECT".into(),
                });
            };
            relations_of(plan)?
                .into_iter()
                .filter(|name| {
                    catalog
                        .registry
                        .get(name)
                        .is_some_and(|entry| entry.kind() == RelationKind::Stream)
                })
                .collect()
        };
        // A stream that is given may decide nothing (`WHERE false`), and then is not scanned.
        let streams = match input_name {
            Some(name) if streams.iter().all(|stream| *stream == name) => vec![name],
            _ => streams,
        };
        let [stream] = streams.as_slice() else {
            let found = if streams.is_empty() {
                "none".to_string()
            } else {
                streams.join(", ")
            };
            return Err(Error::Batch {
                message: format!(
                    "prepare takes a query over exactly one stream, found {found}; the others must be tables"
                ),
            });
        };
        let input = catalog.registry.get(stream).and_then(|entry| entry.schema());
        let input = input.ok_or_else(|| Error::internal("a stream without columns"))?;
        catalog.input = Some(stream.clone());
        let planned = session.plan(statement, &catalog)?;
        for warning in planned.warnings {
            session.warn(warning);
        }
        let Statement::Query(plan) = planned.statement else {
            return Err(Error::internal("a query became something else"));
        };
        Self::of_plan(session, &plan, catalog, input)
    }

    /// Prepares a plan whose one stream is the catalog's input. Tables are loaded and indexed now.
    pub(crate) fn of_plan(
        session: &Session,
        plan: &LogicalPlan,
        catalog: StatementCatalog,
        input: SchemaRef,
    ) -> Result<Self> {
        session.load_tables(plan, &catalog)?;
        let physical = session.single_threaded_plan(plan, &catalog, true)?;
        let planned = physical.schema();
        let lookups = lookups_of(&physical);
        let sinks = letter_sinks(&physical, &catalog)?;
        let outbox = (!sinks.is_empty()).then(|| Outbox::new(sinks));
        let (kind, waiting) = match Chain::of_plan(&physical)? {
            Some(chain) => {
                let waiting = chain.parkings().map(Mutex::new);
                (Kind::Chain(chain), waiting)
            }
            None => {
                check_nothing_waits(&lookups)?;
                (Kind::Plan(physical, tables_of(plan)?), None)
            }
        };
        let named = output_schema(plan);
        // The very schema that batches come with need not be compared in every call.
        let output = if planned == named { planned } else { named };
        Ok(Self {
            session: session.clone(),
            state: catalog.state,
            input,
            empty: RecordBatch::new_empty(Arc::clone(&output)),
            output,
            kind,
            lookups,
            waiting,
            outbox,
            clock: WaitClock::default(),
        })
    }

    /// Returns what the lookups of all calls so far have come to: one entry for each table joined,
    /// in the order of the joins.
    pub fn lookup_counts(&self) -> Vec<LookupCounts> {
        self.lookups.iter().flat_map(|join| join.counts()).collect()
    }

    /// Returns the columns a batch must have, by name.
    pub fn input_schema(&self) -> &SchemaRef {
        &self.input
    }

    /// Returns the columns of the result.
    pub fn schema(&self) -> &SchemaRef {
        &self.output
    }

    /// Runs the query over one batch and returns its rows as one batch.
    ///
    /// Columns are taken by name, in any order, and cast where their types differ from the
    /// stream's. Columns that the query passes through share their buffers with `batch`.
    ///
    /// Where a table says `on_miss = 'wait'`, rows that lack their key stay behind, and come out
    /// first in a later call: in the first one after their key has come, or after `miss.wait`, as
    /// `miss.then` says; see also [`Prepared::release`]. Such calls take turns. Dead letters are
    /// kept until [`Prepared::flush`].
    ///
    /// # Errors
    /// Fails where a column is missing or of a type that cannot be cast, or a row cannot be
    /// computed; then no row is given, none is parked or released, and no dead letter is kept: the
    /// call can be made again. The counts of [`Prepared::lookup_counts`] have it all the same.
    pub fn enrich(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let batch = fit(batch, &self.input)?;
        self.in_one_call(false, |call| match &self.kind {
            Kind::Chain(chain) => self.one(chain.run(&batch, call)?),
            Kind::Plan(..) => {
                let batches = vec![batch.into_owned()];
                self.one(self.run_plan(batches, Arc::default(), call.letters)?)
            }
        })
    }

    /// Does a call's work, and keeps what it leaves behind if it goes well.
    fn in_one_call<T>(&self, is_last: bool, work: impl FnOnce(&mut Call<'_>) -> Result<T>) -> Result<T> {
        let letters = self.outbox.as_ref().map(|_| Arc::new(CallLetters::default()));
        let mut turn = self.waiting.as_ref().map(Turn::take);
        let mut call = Call {
            letters: letters.as_ref(),
            parkings: turn.as_mut().map_or(&mut [], Turn::parkings),
            now: self.waiting.as_ref().map(|_| self.clock.now()),
            is_last,
            kept_pieces: 0,
        };
        let done = work(&mut call)?;
        if let (Some(outbox), Some(letters)) = (&self.outbox, &letters) {
            outbox.put(letters.drain())?;
        }
        if let Some(turn) = turn {
            turn.keep();
        }
        Ok(done)
    }

    /// Runs the query over many batches as one input, on the session's threads, and returns its
    /// rows as batches, none of them empty.
    ///
    /// Long batches are cut, so that what is at work stays in cache; a query of filters,
    /// projections and lookup joins gives its rows in the order of the input.
    ///
    /// # Errors
    /// As [`Prepared::enrich`]; and with [`Error::Cancelled`] after [`CancelHandle::cancel`](crate::CancelHandle::cancel).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// use fletching::Session;
    ///
    /// let session = Session::new()?;
    /// session.sql("CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id)); INSERT INTO users VALUES (7, 'gold')")?;
    /// let user_id: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 7]));
    /// let batch = RecordBatch::try_from_iter([("user_id", user_id)])?;
    /// let query = session.prepare_over("input", batch.schema(), "SELECT tier FROM input JOIN users ON user_id = id")?;
    /// let enriched = query.enrich_batches(&[batch.clone(), batch])?;
    /// assert_eq!(enriched.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn enrich_batches(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let cancelled = self.session.cancel_flag();
        self.in_one_call(false, |call| match &self.kind {
            Kind::Chain(chain) => self.run_pieces(chain, batches, &cancelled, call),
            Kind::Plan(..) => {
                let fitted = batches
                    .iter()
                    .map(|batch| Ok(fit(batch, &self.input)?.into_owned()));
                self.all(self.run_plan(fitted.collect::<Result<_>>()?, cancelled, call.letters)?)
            }
        })
    }

    /// Runs a chain over many batches, on all threads where no row waits for another.
    fn run_pieces(
        &self,
        chain: &Chain,
        batches: &[RecordBatch],
        cancelled: &AtomicBool,
        call: &mut Call<'_>,
    ) -> Result<Vec<RecordBatch>> {
        let pieces: Vec<RecordBatch> = batches.iter().flat_map(pieces).collect();
        let rows: usize = pieces.iter().map(RecordBatch::num_rows).sum();
        call.kept_pieces = if rows >= KEPT_ROWS_MIN { pieces.len() } else { 0 };
        let run = |piece: &RecordBatch, call: &mut Call<'_>| {
            if cancelled.load(Relaxed) {
                return Err(Error::Cancelled);
            }
            let piece = fit(piece, &self.input)?;
            self.all(chain.run(&piece, call)?)
        };
        if pieces.len() < 2 || self.session.thread_count() == 1 || self.waiting.is_some() {
            let enriched = pieces.iter().map(|piece| run(piece, call));
            return Ok(enriched.collect::<Result<Vec<_>>>()?.concat());
        }
        let (letters, now, kept_pieces) = (call.letters, call.now, call.kept_pieces);
        let run_alone = |piece: &RecordBatch| {
            let mut call = Call {
                letters,
                parkings: &mut [],
                now,
                is_last: false,
                kept_pieces,
            };
            run(piece, &mut call)
        };
        let pool = self.session.pool()?;
        let enriched = pool.install(|| pieces.par_iter().map(run_alone).collect::<Result<Vec<_>>>())?;
        Ok(enriched.concat())
    }

    /// Names the columns of batches as the query does, and leaves out empty ones.
    fn all(&self, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        batches
            .into_iter()
            .filter(|batch| batch.num_rows() > 0)
            .map(|batch| named(batch, &self.output))
            .collect()
    }

    /// Makes one batch of all rows, and names its columns.
    fn one(&self, mut batches: Vec<RecordBatch>) -> Result<RecordBatch> {
        match (batches.pop(), batches.first()) {
            (None, _) => Ok(self.empty.clone()),
            (Some(only), None) => named(only, &self.output),
            (Some(last), Some(first)) => {
                let all = batches.iter().chain([&last]);
                named(concat_batches(first.schema_ref(), all)?, &self.output)
            }
        }
    }

    fn run_plan(
        &self,
        batches: Vec<RecordBatch>,
        cancelled: Arc<AtomicBool>,
        letters: Option<&Arc<CallLetters>>,
    ) -> Result<Vec<RecordBatch>> {
        let Kind::Plan(plan, tables) = &self.kind else {
            return Err(Error::internal("a chain is no plan"));
        };
        let fresh = datafusion::physical_plan::execution_plan::reset_plan_states(Arc::clone(plan))?;
        let with_batches = fresh.transform_up(|plan| {
            Ok(match plan.downcast_ref::<InputExec>() {
                Some(input) => {
                    let input = input.with_batches(batches.clone(), Arc::clone(&cancelled));
                    Transformed::yes(Arc::new(input) as Arc<dyn ExecutionPlan>)
                }
                None => Transformed::no(plan),
            })
        })?;
        let mut state = self.state.clone();
        state.config_mut().set_extension(Arc::new(Pins::take(tables)?));
        let context = match letters {
            Some(letters) => context_with(&state, Arc::clone(letters) as _),
            None => state.task_ctx(),
        };
        self.session
            .block_on(async move { Ok(collect(with_batches.data, context).await?) })
    }
}

/// Fails where rows are to wait in a query whose every call has an answer of its own.
fn check_nothing_waits(lookups: &[Arc<LookupJoin>]) -> Result<()> {
    let mut arms = lookups.iter().flat_map(|join| join.arms());
    match arms.find(|arm: &&ArmSpec| arm.lets_wait()) {
        None => Ok(()),
        Some(arm) => Err(Error::Option {
            subject: format!("table {}", arm.source),
            message: "on_miss = 'wait' keeps rows for a later call, and this prepared query does more than filter, \
                      compute and look up: each call is answered from its own rows alone"
                .into(),
            hint: Some(
                "prepare the lookups alone and group what comes of them, or say /*+ ON_MISS(alias, 'null') */".into(),
            ),
            location: None,
        }),
    }
}

/// Fails on policies that need a run which ends.
pub(crate) fn check_policies(lookups: &[Arc<LookupJoin>], but: &str) -> Result<()> {
    for arm in lookups.iter().flat_map(|join| join.arms()) {
        let Some(on_miss) = arm.miss.on_miss else {
            continue;
        };
        let needs_run =
            on_miss.policy == MissPolicy::Wait || on_miss.settled() == Some(MissPolicy::DeadLetter);
        if needs_run {
            return Err(Error::Option {
                subject: format!("table {}", arm.source),
                message: format!("on_miss = '{on_miss}' needs a run that ends, {but}"),
                hint: Some(
                    "say /*+ ON_MISS(alias, 'null') */ in the query, and look for NULLs or _matched".into(),
                ),
                location: None,
            });
        }
    }
    Ok(())
}

/// Rows worked on at once: the table's rows that so many find are still in a core's second-level cache
/// when they are gathered. Not a power of two: of arrays of 256 KiB an allocator that lays them into
/// larger pages, after a header, fits one fewer.
const PIECE_ROWS_MAX: usize = 16_000;

/// From this many rows on, what a call gives is more than caches hold.
const KEPT_ROWS_MIN: usize = 1 << 20;

/// Cuts a batch into pieces of at most [`PIECE_ROWS_MAX`] rows, which share its buffers.
fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + use<'_> {
    let rows = batch.num_rows();
    (0..rows)
        .step_by(PIECE_ROWS_MAX)
        .map(move |start| batch.slice(start, PIECE_ROWS_MAX.min(rows - start)))
}

impl Session {
    /// Plans a query whose leaf is given batches as a chain; none where it is more than that.
    pub(crate) fn chain(&self, plan: &datafusion::logical_expr::LogicalPlan) -> Result<Option<Chain>> {
        Chain::of_plan(&self.physical_chain(plan)?)
    }

    /// Plans a query whose leaf is given batches, so that chains can be made of its parts.
    pub(crate) fn physical_chain(
        &self,
        plan: &datafusion::logical_expr::LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let physical = self.single_threaded_plan(plan, &self.catalog()?, false)?;
        check_policies(&lookups_of(&physical), "which this table does not have")?;
        Ok(physical)
    }

    /// Plans for one thread, so that nothing is exchanged between partitions; where told so, with
    /// tables read late.
    fn single_threaded_plan(
        &self,
        plan: &LogicalPlan,
        catalog: &StatementCatalog,
        is_late: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut state = catalog.state.clone();
        state.config_mut().options_mut().execution.target_partitions = 1;
        if is_late {
            state.config_mut().set_extension(Arc::new(LateTables));
        }
        let plan = plan.clone();
        // Nobody sets it: the plan outlives the statement that made it, and each call has its own.
        let cancelled = Arc::default();
        self.block_on(async move { Ok(crate::exec::plan_physical(&plan, &state, cancelled).await?) })
    }
}
