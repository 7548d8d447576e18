//! One output that ends: written as it comes, or in one transaction.

use arrow::array::RecordBatch;
use fletching::Result;
use fletching::connector::{SinkSummary, SinkWriter};

use super::outlet::Outlet;
use super::transaction;

/// Sends records as they come and waits for all of them at the end: each is there at least once.
/// What was sent stays, also where the output is given up.
pub(super) struct SteadyWriter(Outlet);

impl SteadyWriter {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self(outlet)
    }
}

impl SinkWriter for SteadyWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.send(batch)
    }

    fn commit(mut self: Box<Self>) -> Result<SinkSummary> {
        self.0.flush()?;
        Ok(self.0.summary())
    }
}

/// Sends all records in one transaction: readers of committed records see all of them or none.
pub(super) struct TransactionWriter {
    outlet: Outlet,
    is_open: bool,
}

impl TransactionWriter {
    pub(super) fn begin(outlet: Outlet) -> Result<Self> {
        transaction::init(&outlet)?;
        transaction::begin(&outlet)?;
        Ok(Self {
            outlet,
            is_open: true,
        })
    }
}

impl SinkWriter for TransactionWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.outlet.send(batch)
    }

    fn commit(mut self: Box<Self>) -> Result<SinkSummary> {
        self.outlet.flush()?;
        transaction::commit(&self.outlet)?;
        self.is_open = false;
        Ok(self.outlet.summary())
    }
}

impl Drop for TransactionWriter {
    fn drop(&mut self) {
        if self.is_open {
            transaction::abort(&self.outlet);
        }
    }
}
