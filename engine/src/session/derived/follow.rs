//! Tables made from tables: brought to the versions that their reader has pinned.
//!
//! A reader that finds a source changed has the query run over the pinned versions, or, where each
//! row follows from one row of one keyed table and few keys have changed, only over those
//! (`by_key.rs`). A query that groups is run whole: the rows of a group are not found without a pass
//! over the table, which is what running it costs, some 10 ns a row.

use std::fmt;
use std::sync::{Arc, Weak};

use arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use parking_lot::Mutex;

use super::by_key::ByKey;
use crate::error::{Error, Result};
use crate::exec::{lookups_of, plan_physical};
use crate::prepared::check_policies;
use crate::session::{Inner, Session, named, output_schema, tables_of};
use crate::table::{Derivation, Pins, Table, TableSnapshot, TableState};
use datafusion::execution::SessionState;

/// Of this share of a table's keys on, all rows are computed anew: looking a key up and replacing
/// its row costs about four times what computing a row in bulk does.
const CHANGED_SHARE_MAX: usize = 4;

/// Keeps a table current that is made from tables.
pub(super) struct Follow {
    query: LogicalPlan,
    state: SessionState,
    inputs: Vec<Arc<Table>>,
    by_key: Option<ByKey>,
    session: Weak<Inner>,
    /// The versions of the inputs that the rows are of; none before they are computed first. Held
    /// while they are computed.
    seen: Mutex<Option<Vec<u64>>>,
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl Follow {
    /// Plans how the rows of a query are kept current.
    pub(super) fn try_new(session: &Session, query: &LogicalPlan, declared: &[String]) -> Result<Self> {
        let inputs = tables_of(query)?;
        let by_key = match inputs.as_slice() {
            [source] => ByKey::of(session, query, source, declared)?,
            _ => None,
        };
        Ok(Self {
            query: query.clone(),
            state: session.state()?,
            inputs,
            by_key,
            session: Arc::downgrade(&session.inner),
            seen: Mutex::new(None),
        })
    }

    /// Returns the key that the rows are replaced by, where they can be.
    pub(super) fn key(&self) -> Option<&[String]> {
        self.by_key.as_ref().map(|by_key| by_key.key.as_slice())
    }

    fn compute(&self, table: &Table, pins: &Pins, seen: Option<&[u64]>) -> Result<()> {
        if let (Some(by_key), [source], Some([seen])) = (&self.by_key, self.inputs.as_slice(), seen)
            && let Some(now) = pins.get(source)
            && let Some(changed) = source.changed_keys(*seen, now.version())
            && is_few(&changed, now)
        {
            if changed.is_empty() {
                return Ok(());
            }
            if let Some(exchange) = by_key.exchange(source, now, table, &changed)? {
                return table.exchange(&exchange.gone, &exchange.rows);
            }
        }
        table.rewrite(self.run(pins)?)
    }

    /// Runs the query over pinned versions.
    fn run(&self, pins: &Pins) -> Result<Vec<RecordBatch>> {
        let Some(inner) = self.session.upgrade() else {
            return Err(Error::External {
                message: "its session has ended".into(),
                source: None,
            });
        };
        let session = Session { inner };
        let mut state = self.state.clone();
        state.config_mut().set_extension(Arc::new(pins.clone()));
        let query = self.query.clone();
        let batches = session.block_on(async move {
            let physical = plan_physical(&query, &state, Arc::default()).await?;
            check_policies(
                &lookups_of(&physical),
                "which a table that is made from it does not have",
            )?;
            Ok(collect(physical, state.task_ctx()).await?)
        })?;
        let output = output_schema(&self.query);
        batches.into_iter().map(|batch| named(batch, &output)).collect()
    }

    fn bring(&self, table: &Table, pins: &Pins) -> Result<Option<Arc<TableSnapshot>>> {
        let mut seen = self.seen.lock();
        let pinned = self
            .inputs
            .iter()
            .map(|input| pins.get(input).map(|pin| pin.version()));
        let pinned = pinned
            .collect::<Option<Vec<u64>>>()
            .ok_or_else(|| Error::internal("an input is not pinned"))?;
        match seen.as_deref() {
            Some(seen) if *seen == pinned[..] => return table.as_published().map(Some),
            Some(seen) if seen.iter().zip(&pinned).any(|(seen, pinned)| seen > pinned) => return Ok(None),
            _ => {}
        }
        if let Err(error) = self.compute(table, pins, seen.as_deref()) {
            table.set_state(TableState::Failed(error.to_string()));
            return Err(error);
        }
        *seen = Some(pinned);
        table.set_state(TableState::Ready);
        table.as_published().map(Some)
    }
}

impl Derivation for Follow {
    fn inputs(&self) -> &[Arc<Table>] {
        &self.inputs
    }

    fn is_pushed(&self) -> bool {
        false
    }

    fn follow(&self, table: &Table, pins: &Pins) -> Result<Option<Arc<TableSnapshot>>> {
        // Whoever waits here must not keep the session's threads from the one who computes.
        match tokio::runtime::Handle::try_current() {
            Ok(handle) if handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(|| self.bring(table, pins))
            }
            _ => self.bring(table, pins),
        }
    }

    fn is_stale(&self) -> bool {
        let Some(seen) = self.seen.try_lock() else {
            return true;
        };
        let Some(seen) = seen.as_deref() else { return true };
        let mut inputs = self.inputs.iter().zip(seen);
        inputs.any(|(input, seen)| !input.is_current(*seen))
    }
}

/// Says whether so few keys have changed that looking them up pays.
fn is_few(changed: &[Vec<arrow::array::ArrayRef>], now: &TableSnapshot) -> bool {
    let keys = changed.iter().filter_map(|keys| keys.first());
    let keys: usize = keys.map(|column| column.len()).sum();
    keys <= now.row_count() / CHANGED_SHARE_MAX
}
